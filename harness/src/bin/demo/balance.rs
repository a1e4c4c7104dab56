//! The final ledger: every frame that the satellites made, and where it is.

use harness::{Counters, Truth};

use crate::rows::Stored;
use crate::screen::grouped;

/// The books of the whole run.
pub(crate) struct Balance<'a> {
    pub(crate) truth: &'a Truth,
    pub(crate) counters: &'a Counters,
    pub(crate) stored: &'a Stored,
}

impl Balance<'_> {
    /// Frames generated, samples sent via HTTP and samples recovered from the journal whose place
    /// is not known.
    fn unexplained(&self) -> i64 {
        let counters = self.counters;
        let explained = counters.committed
            + counters.pending
            + counters.quarantined
            + counters.quarantine_dropped
            + counters.queue_dropped
            + counters.lost;
        let taken = self.truth.generated + counters.json + counters.recovered;
        taken as i64 - explained as i64
    }

    /// Rows that the station says it has stored and the database does not have.
    fn rows_missing(&self) -> i64 {
        self.counters.committed as i64 - self.stored.rows as i64
    }

    /// Whether every frame and every sample is accounted for.
    pub(crate) fn is_even(&self) -> bool {
        let residuals = [
            self.counters.frame_residual(),
            self.counters.sample_residual(),
            self.unexplained(),
            self.rows_missing(),
        ];
        residuals == [0; 4]
    }

    /// The page as text.
    pub(crate) fn page(&self) -> String {
        let Self { truth, counters, stored } = self;
        let row = |name: &str, value: u64, note: &str| {
            format!("  {name:<18}{:>14}  {note}\n", grouped(value))
        };
        let residual =
            |name: &str, value: i64, note: &str| format!("  {name:<18}{value:>14}  {note}\n");
        [
            "Final ledger\n".into(),
            row("generated", truth.generated, "frames made by the satellites"),
            row("received", counters.frames, "frames that reached the station"),
            row("via HTTP", counters.json, "samples sent as JSON"),
            row("recovered", counters.recovered, "samples found in the journal at start"),
            row("lost", counters.lost, "frames lost in transit"),
            row("corrupt", counters.corrupt(), "frames that failed validation"),
            row("queue_dropped", counters.queue_dropped, "dropped because a queue was full"),
            row("quarantined", counters.quarantined, "stored in the table quarantine"),
            row("quarantine_dropped", counters.quarantine_dropped, "beyond the quarantine's bound"),
            row("pending", counters.pending, "accepted but not yet committed"),
            row("committed", counters.committed, "samples stored, as the station says"),
            row("rows", stored.rows, "in telemetry and attitude, as the database says"),
            residual(
                "frame residual",
                counters.frame_residual(),
                "frames - (accepted + duplicate + stale + idle + rejected)",
            ),
            residual(
                "sample residual",
                counters.sample_residual(),
                "accepted + json + recovered \
                 - (committed + pending + queue_dropped + quarantined \
                 + quarantine_dropped)",
            ),
            residual(
                "unexplained",
                self.unexplained(),
                "generated + via HTTP + recovered \
                 - (committed + pending + quarantined + quarantine_dropped + queue_dropped \
                 + lost)",
            ),
            residual("rows missing", self.rows_missing(), "committed - rows"),
            format!(
                "{} values stored in {:.1} s: {} values/s\n",
                grouped(stored.values()),
                stored.seconds,
                grouped(stored.values_per_second())
            ),
            self.verdict().into(),
        ]
        .concat()
    }

    fn verdict(&self) -> &'static str {
        if !self.is_even() {
            "FAILED: the ledger does not balance."
        } else if self.counters.lost > 0 {
            "Every frame is accounted for, though some were lost in transit: this machine was too \
             busy to receive them all."
        } else {
            "Every frame is accounted for."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(committed: u64, lost: u64) -> Counters {
        let text = format!(
            r#"{{"datagrams": 0, "bytes": 0, "frames": {committed}, "idle": 0, "rejected": {{}},
                "accepted": {committed}, "json": 0, "recovered": 0, "duplicate": 0, "stale": 0,
                "missed": {lost}, "late": 0, "lost": {lost}, "resets": 0, "kernel_dropped": 0,
                "queue_dropped": 0, "quarantined": 0, "quarantine_dropped": 0,
                "committed": {committed}, "pending": 0}}"#
        );
        serde_json::from_str(&text).expect("valid counters")
    }

    fn is_even(generated: u64, committed: u64, lost: u64, rows: u64) -> bool {
        let truth = Truth { generated, sent: generated };
        let stored = Stored { rows, telemetry: rows, attitude: 0, seconds: 1.0 };
        Balance { truth: &truth, counters: &counters(committed, lost), stored: &stored }.is_even()
    }

    #[test]
    fn is_even_only_if_every_frame_is_somewhere() {
        assert!(is_even(100, 100, 0, 100));
        assert!(is_even(100, 97, 3, 97), "a loss that was noticed is accounted for");
        assert!(!is_even(100, 97, 0, 97), "a loss that nobody noticed");
        assert!(!is_even(100, 100, 0, 99), "a row that is not there");
        assert!(!is_even(100, 100, 0, 101), "a row too many");
    }
}
