//! What the station counted, as its report says it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::truth::StreamKey;

/// The report of a station: its ledger, and every stream.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the ledger's")]
pub struct StationReport {
    pub frames: u64,
    pub idle: u64,
    pub rejected: BTreeMap<String, u64>,
    pub accepted: u64,
    pub json: u64,
    pub recovered: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub missed: u64,
    pub late: u64,
    pub lost: u64,
    pub resets: u64,
    pub kernel_dropped: u64,
    pub queue_dropped: u64,
    pub quarantined: u64,
    /// Reports of earlier stations do not have it.
    #[serde(default)]
    pub quarantine_dropped: u64,
    pub committed: u64,
    pub pending: u64,
    pub streams: Vec<HeardStream>,
}

/// One stream as the station counted it.
#[derive(Clone, Debug, Deserialize)]
pub struct HeardStream {
    /// Which.
    #[serde(flatten)]
    pub key: StreamKey,
    /// Its counts.
    #[serde(flatten)]
    pub heard: Heard,
}

/// What became of a stream's frames at the station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are the ledger's")]
pub struct Heard {
    pub accepted: u64,
    pub missed: u64,
    pub late: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub resets: u64,
}

impl Heard {
    /// Frames that never came; negative when more came late than were missed.
    pub fn lost(&self) -> i64 {
        self.missed.cast_signed().wrapping_sub(self.late.cast_signed())
    }

    /// A boot that ended and came back is listed twice; it is one to us.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.missed += other.missed;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
        self.resets += other.resets;
    }
}

impl StationReport {
    /// Stretches that were refused as damaged.
    pub fn damaged(&self) -> u64 {
        let count = |reason: &&str| self.rejected.get(*reason).copied().unwrap_or_default();
        DAMAGE.iter().map(count).sum()
    }

    /// Frames refused for any reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// How far the frames' identity is from holding: 0.
    pub fn frames_residual(&self) -> i128 {
        let places = [self.accepted, self.duplicate, self.stale, self.idle, self.rejected_total()];
        i128::from(self.frames) - sum(&places)
    }

    /// How far the samples' identity is from holding: 0.
    pub fn samples_residual(&self) -> i128 {
        let places = [
            self.committed,
            self.pending,
            self.queue_dropped,
            self.quarantined,
            self.quarantine_dropped,
        ];
        sum(&[self.accepted, self.json, self.recovered]) - sum(&places)
    }
}

/// A file may hold any numbers; their sum must not overflow.
fn sum(counts: &[u64]) -> i128 {
    counts.iter().map(|&count| i128::from(count)).sum()
}

/// Reasons that a frame that was damaged on its way is refused for.
const DAMAGE: [&str; 3] = ["too_short", "length_mismatch", "crc_mismatch"];
