//! The books that must balance: the station's counters and the constellation's truth.
//!
//! Both are read from the JSON that the programs write; a missing field is an error that names it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The receiver's counters, as in `GET /stats` and in its report.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are the ledger's, documented in docs/operations.md")]
pub struct Counters {
    pub datagrams: u64,
    pub bytes: u64,
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
    pub quarantine_dropped: u64,
    pub committed: u64,
    pub pending: u64,
}

impl Counters {
    /// Frames refused, for all reasons together.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Frames damaged on their way: too short, of a wrong length, or with a wrong checksum.
    pub fn corrupt(&self) -> u64 {
        ["too_short", "length_mismatch", "crc_mismatch"]
            .iter()
            .filter_map(|reason| self.rejected.get(*reason))
            .sum()
    }

    /// Frames that came and are counted nowhere (or, negative, twice): 0 when the books balance.
    pub fn frame_residual(&self) -> i64 {
        let places =
            self.accepted + self.duplicate + self.stale + self.idle + self.rejected_total();
        self.frames as i64 - places as i64
    }

    /// Samples taken in that are counted nowhere (or twice): 0 when the books balance.
    pub fn sample_residual(&self) -> i64 {
        let taken = self.accepted + self.json + self.recovered;
        let places = self.committed
            + self.pending
            + self.queue_dropped
            + self.quarantined
            + self.quarantine_dropped;
        taken as i64 - places as i64
    }
}

/// What satsim says it has done.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of satsim's report")]
pub struct Truth {
    pub generated: u64,
    pub sent: u64,
}

/// Reads [`Counters`] or a [`Truth`] from a report.
pub fn read_report<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the report {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCED: &str = r#"{
        "datagrams": 20, "bytes": 999, "frames": 24, "idle": 1,
        "rejected": {"too_short": 1, "crc_mismatch": 2, "unknown_apid": 3},
        "accepted": 14, "json": 2, "recovered": 1, "duplicate": 2, "stale": 1,
        "missed": 4, "late": 1, "lost": 3, "resets": 0, "kernel_dropped": 0,
        "queue_dropped": 1, "quarantined": 2, "quarantine_dropped": 4, "committed": 9,
        "pending": 1, "streams": []
    }"#;

    #[test]
    fn balanced_books_have_no_residual() -> Result<()> {
        let counters: Counters = serde_json::from_str(BALANCED)?;
        assert_eq!(counters.frame_residual(), 0);
        assert_eq!(counters.sample_residual(), 0);
        assert_eq!(counters.corrupt(), 3);
        assert_eq!(counters.rejected_total(), 6);
        Ok(())
    }

    #[test]
    fn each_side_of_an_identity_shows() -> Result<()> {
        let mut counters: Counters = serde_json::from_str(BALANCED)?;
        counters.frames += 5;
        counters.committed += 7;
        assert_eq!(counters.frame_residual(), 5);
        assert_eq!(counters.sample_residual(), -7);
        Ok(())
    }

    #[test]
    fn a_missing_counter_is_named() {
        let error = serde_json::from_str::<Counters>(&BALANCED.replace("\"stale\": 1,", ""))
            .expect_err("stale is missing");
        assert!(error.to_string().contains("stale"), "{error}");
    }
}
