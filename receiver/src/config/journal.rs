//! Options of `receiver journal`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FileOption, LogOptions, StationOptions};

/// Options of `receiver journal`.
#[derive(Clone, Debug, Args)]
pub struct JournalOptions {
    /// What to do with it
    #[arg(value_enum)]
    pub action: Action,

    /// Folder of the journal [default: as for `receiver run`, by station and database]
    #[arg(long, env = "ORBITSTREAM_JOURNAL", value_name = "FOLDER")]
    pub journal: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub station: StationOptions,

    /// The database, as postgresql://USER:PASSWORD@HOST:5432/DATABASE; needed to drain
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = super::database_url
    )]
    pub database_url: Option<crate::address::Address>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: FileOption,
}

/// What to do with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// List its files and what is in them
    Ls,
    /// Check every record; fails if something is damaged
    Verify,
    /// Write to the database what is not stored yet
    Drain,
}
