//! Options of `receiver replay`.

use std::path::PathBuf;

use clap::Args;

use super::{DatabaseOptions, FileOption, LogOptions, ReceptionOptions, values};

/// Options of `receiver replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// What was recorded: a capture (pcap or pcapng), or packets one after the other; either may be
    /// packed with gzip
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,

    /// Store nothing that the database has already of this station, live or by an earlier replay
    #[arg(long, action = clap::ArgAction::SetTrue, value_parser = values::boolean)]
    pub once: bool,

    /// With --once, nothing either that the database has of any other station
    #[arg(
        long,
        requires = "once",
        action = clap::ArgAction::SetTrue,
        value_parser = values::boolean
    )]
    pub any_station: bool,

    /// Recorded seconds that pass in a second [default: as fast as they can be stored]
    #[arg(long, value_name = "NUMBER", value_parser = speed)]
    pub speed: Option<f64>,

    /// Only datagrams to this UDP port, of a capture [default: all]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Take each packet of the link types USER0 to USER15 as a datagram, without any header
    #[arg(long)]
    pub bare_packets: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub reception: ReceptionOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: FileOption,
}

fn speed(number: &str) -> Result<f64, String> {
    let speed: f64 = number.parse().map_err(|_| "expected a number".to_owned())?;
    let is_good = speed.is_finite() && (SPEED_MIN..=SPEED_MAX).contains(&speed);
    if is_good { Ok(speed) } else { Err("expected 0.001 to 1000000".into()) }
}

const SPEED_MIN: f64 = 1e-3;
const SPEED_MAX: f64 = 1e6;
