//! `satsim verify`: what was sent against what was stored, stream by stream.
//!
//! Guarantee: it succeeds only when every term agrees. It never repairs, rounds or forgives: a row
//! that is missing or stored twice, a frame that is counted twice or nowhere, each names its stream.
//!
//! Data flows one way: [`truth`] (the report of the flight) and [`station`] (the report of the
//! ground station) are read from files, [`stored`] from the database, [`compare`] puts them side by
//! side, [`table`] shows them. Only the first three do I/O.

pub mod compare;
pub mod station;
pub mod stored;
pub mod table;
pub mod truth;

use std::{fs::File, io::BufReader, path::Path, path::PathBuf};

use serde::de::DeserializeOwned;

use compare::{Comparison, Link};
use station::StationReport;
use truth::Truth;

/// Compares what was sent with what a ground station has stored, and succeeds when all agrees.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyOptions {
    /// What was sent: the file that satsim wrote with --report
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,

    /// The database the station stores in.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        help = "The database the station stores in, as \
                postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    )]
    pub database_url: String,

    /// What the station counted: the file that receiver wrote with --report
    #[arg(long, value_name = "FILE")]
    pub receiver_report: Option<PathBuf>,

    /// Frames may be lost, repeated or damaged on their way as well: then each frame must be stored
    /// or counted as lost
    #[arg(long, requires = "receiver_report")]
    pub lossy_link: bool,

    /// Show every stream, not only those that disagree and the first few
    #[arg(long)]
    pub all: bool,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum VerifyError {
    #[error("cannot read {0}: {1}; give {2} a file that {3} wrote with --report")]
    Unreadable(String, std::io::Error, &'static str, &'static str),
    #[error("{0} is no report of {3}: {1}; give {2} a file that {3} wrote with --report")]
    Malformed(String, serde_json::Error, &'static str, &'static str),
    #[error(transparent)]
    Database(#[from] stored::StoredError),
}

/// Reads, compares and prints; whether all agrees.
pub fn run(options: &VerifyOptions) -> Result<bool, VerifyError> {
    let truth: Truth = read(&options.report, "--report", "satsim")?;
    let station: Option<StationReport> = options
        .receiver_report
        .as_deref()
        .map(|path| read(path, "--receiver-report", "receiver"))
        .transpose()?;
    let stored = stored::read(&options.database_url, &truth)?;
    let link = if options.lossy_link { Link::Lossy } else { Link::Faultless };
    let comparison = Comparison::new(&truth, &stored, station.as_ref(), link);
    print!("{}", table::page(&comparison, options.all));
    Ok(comparison.agrees())
}

fn read<T: DeserializeOwned>(
    path: &Path,
    option: &'static str,
    program: &'static str,
) -> Result<T, VerifyError> {
    let name = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Err(VerifyError::Unreadable(name, error, option, program)),
    };
    serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        if error.is_io() {
            VerifyError::Unreadable(name, error.into(), option, program)
        } else {
            VerifyError::Malformed(name, error, option, program)
        }
    })
}
