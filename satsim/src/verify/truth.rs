//! What was sent, as the flight's report says it. Fields that are not compared are not read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    anomaly::Kind,
    digest::{DIGEST_FORM, Slices},
    report::Faults,
};

/// One stream in one boot, the key of every comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct StreamKey {
    /// The satellite, as `SAT-01`.
    pub satellite_id: String,
    /// The kind.
    pub apid: u16,
    /// The boot.
    pub boot_count: u16,
}

/// The report of a flight.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// What it was drawn from.
    pub seed: u64,
    /// Simulated time of the first frame, RFC 3339.
    pub start: String,
    /// Simulated time of the last frame, RFC 3339.
    pub end: String,
    /// Frames made.
    pub generated: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames in each datagram; reports of old do not say.
    pub frames_per_datagram: Option<u16>,
    /// Damage done on purpose, over all streams.
    pub faults: Faults,
    /// How digests were made; reports of old have none.
    pub digest: Option<String>,
    /// Each stream.
    pub streams: Vec<TrueStream>,
    /// What went wrong on board on purpose.
    #[serde(default)]
    pub anomalies: Vec<TrueAnomaly>,
}

/// One stream of a flight.
#[derive(Clone, Debug, Deserialize)]
pub struct TrueStream {
    /// Which.
    #[serde(flatten)]
    pub key: StreamKey,
    /// Full sequence counter of the first frame.
    pub first: u32,
    /// Full sequence counter of the last frame.
    pub last: u32,
    /// Frames made.
    pub generated: u64,
    /// Damage done to them on purpose.
    #[serde(flatten)]
    pub faults: Faults,
    /// Digests of those that came to the ground whole.
    #[serde(default)]
    pub slices: Slices,
}

/// What was done to one channel of one satellite.
#[derive(Clone, Debug, Deserialize)]
pub struct TrueAnomaly {
    /// The satellite, as `SAT-01`.
    pub satellite_id: String,
    /// The channel.
    pub channel: String,
    /// What went wrong.
    pub kind: Kind,
    /// Time of the first sample that was altered.
    pub start: Moment,
    /// Time of the last sample that was altered.
    pub end: Moment,
    /// Altered samples that came to the ground whole, as far as satsim decided.
    pub sent: u32,
}

/// Unix µs, written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(pub i64);

impl TryFrom<String> for Moment {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(|time: Timestamp| Self(time.as_microsecond()))
    }
}

impl Truth {
    /// Whether its digests are made as this program makes them.
    pub fn has_digests(&self) -> bool {
        self.digest.as_deref() == Some(DIGEST_FORM)
    }

    /// Every boot of the flight, as the database counts them.
    pub fn boots(&self) -> Vec<i32> {
        let boots: BTreeSet<i32> =
            self.streams.iter().map(|stream| i32::from(stream.key.boot_count)).collect();
        boots.into_iter().collect()
    }
}

impl Faults {
    /// Frames that cannot be stored any more.
    pub fn gone(&self) -> u64 {
        self.dropped + self.damaged()
    }

    /// Frames that arrive, but not as they were made.
    pub fn damaged(&self) -> u64 {
        self.corrupted + self.truncated
    }
}

impl TrueStream {
    /// Rows that a station that loses nothing stores; none if the report contradicts itself.
    pub fn rows(&self) -> Option<u64> {
        self.generated.checked_sub(self.faults.gone())
    }
}
