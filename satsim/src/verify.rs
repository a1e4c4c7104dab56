//! `satsim verify`: what was sent against what was stored, stream by stream.
//!
//! Guarantee: it succeeds only when every term agrees. It never repairs, rounds or forgives: a row
//! that is missing or stored twice, a frame that is counted twice or nowhere, each names its stream.
//!
//! Data flows one way: [`truth`] (the report of the flight) and [`station`] (the report of the
//! ground station) are read from files, [`stored`] (how many rows) and [`values`] (digests of what is in
//! them) from the database, [`compare`] puts them side by
//! side, [`table`] shows them. Where anomalies were put into the readings, [`alarms`] has what the
//! station found, [`detection`] scores it and [`scoreboard`] shows it. Only what reads does I/O.

pub mod alarms;
pub mod compare;
pub mod database;
pub mod detection;
mod json;
mod score;
pub mod scoreboard;
pub mod station;
pub mod stored;
pub mod table;
pub mod truth;
pub mod values;

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::de::DeserializeOwned;

use crate::{anomaly, output};
use compare::{Comparison, Link};
use database::Database;
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

    /// Write the comparison to this file as JSON, besides printing it
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// What is asked of detection.
    #[command(flatten)]
    pub detection: DetectionOptions,
}

/// What is asked of detection.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Detection, scored when anomalies were flown or anything is asked")]
pub struct DetectionOptions {
    /// Score detection also when no anomalies were flown: then every alarm is false
    #[arg(long = "detection")]
    pub is_wanted: bool,

    /// Fail when the onset F1 is below this, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_f1: Option<f64>,

    /// Fail when less of a kind's events are found, such as drift=0.65; may be given several times
    #[arg(long, value_name = "KIND=SHARE")]
    pub min_recall: Vec<RecallWanted>,

    /// Fail when there are more false alarms
    #[arg(long, value_name = "N")]
    pub max_false: Option<u64>,
}

/// A share of a kind's events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallWanted {
    /// Which.
    pub kind: anomaly::Kind,
    /// How many, 0 to 1.
    pub share: f64,
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
    Database(#[from] database::DatabaseError),
    #[error("cannot write {0}: {1}; give --json another place")]
    Unwritable(String, std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Unprintable(std::io::Error),
}

/// Reads, compares and prints; whether all agrees.
pub fn run(options: &VerifyOptions) -> Result<bool, VerifyError> {
    let truth: Truth = read(&options.report, "--report", "satsim")?;
    let station: Option<StationReport> = options
        .receiver_report
        .as_deref()
        .map(|path| read(path, "--receiver-report", "receiver"))
        .transpose()?;
    // Opened before the work, so that a wrong path does not cost it.
    let json = options.json.as_deref().map(create).transpose()?;
    let database = Database::open(&options.database_url)?;
    let stored = stored::read(&database, &truth)?;
    let link = if options.lossy_link { Link::Lossy } else { Link::Faultless };
    let values = values::read(&database, &truth)?;
    let mut comparison = Comparison::new(&truth, &stored, values.as_ref(), station.as_ref(), link);
    if options.detection.is_asked() || !truth.anomalies.is_empty() {
        let (detection, notes) = score::read(&database, &truth, &stored)?;
        comparison.totals.extend(scoreboard::terms(&detection, &options.detection));
        comparison.notes.extend(notes);
        comparison.detection = Some(detection);
    }
    if let Some((name, file)) = json {
        json::write(&comparison, BufWriter::new(file))
            .map_err(|error| VerifyError::Unwritable(name, error))?;
    }
    let page = table::page(&comparison, options.all);
    output::text(format_args!("{page}")).map_err(VerifyError::Unprintable)?;
    Ok(comparison.agrees())
}

fn create(path: &Path) -> Result<(String, File), VerifyError> {
    let name = path.display().to_string();
    match File::create(path) {
        Ok(file) => Ok((name, file)),
        Err(error) => Err(VerifyError::Unwritable(name, error)),
    }
}

impl DetectionOptions {
    fn is_asked(&self) -> bool {
        self.is_wanted
            || self.min_f1.is_some()
            || !self.min_recall.is_empty()
            || self.max_false.is_some()
    }
}

impl FromStr for RecallWanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, share) = text.split_once('=').ok_or(RECALL_EXPECTED)?;
        let kind = anomaly::Kind::ALL.into_iter().find(|kind| kind.name() == name);
        Ok(Self { kind: kind.ok_or(RECALL_EXPECTED)?, share: self::share(share)? })
    }
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().unwrap_or(f64::NAN);
    (0.0..=1.0).contains(&share).then_some(share).ok_or("expected a share from 0 to 1")
}

const RECALL_EXPECTED: &str = "expected a kind and a share from 0 to 1, such as drift=0.65; kinds are spike, step, drift, \
     stuck and noise";

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
