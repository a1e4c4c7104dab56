//! Options of `receiver replay`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;

use super::{DatabaseOptions, FileOption, station_name};
use crate::{detect::Settings, spacecraft::SpacecraftSet};

/// Options of `receiver replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// What was recorded: a pcap file, or packets one after the other
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,

    /// Store nothing that an earlier replay of this file, with the same options, has stored
    #[arg(long)]
    pub once: bool,

    /// Recorded seconds that pass in a second [default: as fast as they can be stored]
    #[arg(long, value_name = "NUMBER", value_parser = speed)]
    pub speed: Option<f64>,

    /// Only datagrams to this UDP port, of a pcap file [default: all]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseOptions,

    /// Name of the ground station that the samples are stored for
    #[arg(
        long,
        env = "ORBITSTREAM_STATION",
        value_name = "NAME",
        default_value = "GS-01",
        value_parser = station_name
    )]
    pub station: String,

    /// Spacecraft ids that are accepted, such as 1-100,205 [default: all]
    #[arg(long, env = "ORBITSTREAM_SPACECRAFT", value_name = "IDS")]
    pub spacecraft: Option<SpacecraftSet>,

    /// How many spacecraft are accepted at most
    #[arg(
        long,
        env = "ORBITSTREAM_MAX_SATELLITES",
        value_name = "NUMBER",
        default_value = "10000",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_satellites: u16,

    /// Frames older than this when they were recorded are quarantined
    #[arg(
        long,
        env = "ORBITSTREAM_TIME_PAST",
        value_name = "TIME",
        default_value = "30d",
        value_parser = humantime::parse_duration
    )]
    pub time_past: Duration,

    /// Frames dated later than this from when they were recorded are quarantined
    #[arg(
        long,
        env = "ORBITSTREAM_TIME_FUTURE",
        value_name = "TIME",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub time_future: Duration,

    /// Sources that are accepted, such as 192.0.2.0/24; may be given several times [default: all]
    #[arg(long, env = "ORBITSTREAM_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    pub allow: Vec<IpNet>,

    /// Look for anomalies in what was recorded
    #[arg(
        long,
        env = "ORBITSTREAM_DETECT",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value = "true"
    )]
    pub detect: bool,

    /// Write the counters to this file as JSON at the end
    #[arg(long, env = "ORBITSTREAM_REPORT", value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// What the detectors look for: only the file says it.
    #[arg(skip)]
    pub detection: Settings,

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
