//! What is taken in, whatever it comes from: options of several commands.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;

use super::{station_name, values};
use crate::{batch::TimeWindow, detect::Settings, spacecraft::SpacecraftSet};

/// For whom samples are stored, and which are set aside.
#[derive(Clone, Debug, Args)]
pub struct StationOptions {
    /// Name of the ground station
    #[arg(
        id = "station",
        long = "station",
        env = "ORBITSTREAM_STATION",
        value_name = "NAME",
        default_value = "GS-01",
        value_parser = station_name
    )]
    pub name: String,

    /// Frames older than this when they were received are quarantined
    #[arg(
        long,
        env = "ORBITSTREAM_TIME_PAST",
        value_name = "TIME",
        default_value = "30d",
        value_parser = humantime::parse_duration
    )]
    pub time_past: Duration,

    /// Frames dated later than this from when they were received are quarantined
    #[arg(
        long,
        env = "ORBITSTREAM_TIME_FUTURE",
        value_name = "TIME",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub time_future: Duration,
}

impl StationOptions {
    /// Which samples are set aside.
    #[must_use]
    pub fn window(&self) -> TimeWindow {
        TimeWindow { past: self.time_past, future: self.time_future }
    }
}

/// Who is let in, and what is looked for.
#[derive(Clone, Debug, Args)]
pub struct ReceptionOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub station: StationOptions,

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

    /// How many streams, each one packet kind of one spacecraft, are tracked at most
    #[arg(
        long,
        env = "ORBITSTREAM_MAX_STREAMS",
        value_name = "NUMBER",
        default_value = "20000",
        value_parser = clap::value_parser!(u32).range(1..=STREAMS_MAX)
    )]
    pub max_streams: u32,

    /// Sources that are accepted, such as 192.0.2.0/24 or 192.0.2.1; may be given several times
    /// [default: all]
    #[arg(
        long,
        env = "ORBITSTREAM_ALLOW",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = values::network
    )]
    pub allow: Vec<IpNet>,

    /// Look for anomalies in what is received
    #[arg(
        long,
        env = "ORBITSTREAM_DETECT",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value = "true",
        value_parser = values::boolean
    )]
    pub detect: bool,

    /// Write the counters to this file as JSON at the end
    #[arg(long, env = "ORBITSTREAM_REPORT", value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// What the detectors look for: only the file says it.
    #[arg(skip)]
    pub detection: Settings,
}

/// Every spacecraft there can be with three packet kinds each: what the file of the tracker's state has
/// room for.
const STREAMS_MAX: i64 = 65_535 * 3;
