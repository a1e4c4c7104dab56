//! The ledger in the Prometheus text format. Labels come from this program alone, never from what
//! was received.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    journal::Gauges,
    ledger::{Counters, DetectCounts, JumpCounts, Ledger},
};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters as text.
pub(super) fn encode(counters: &Counters) -> String {
    let (ledger, shed, detect) = (counters.ledger(), counters.shed(), counters.detect());
    text(Snapshot {
        ledger,
        jumps: counters.jumps(),
        shed,
        detect,
        journal: Arc::clone(counters.journal()),
        http_refused: counters.http_refused(),
    })
}

fn text(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _written: fmt::Result = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Snapshot {
    ledger: Ledger,
    jumps: JumpCounts,
    /// By writer.
    shed: Vec<u64>,
    detect: DetectCounts,
    journal: Arc<Gauges>,
    http_refused: u64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { ledger, detect: DetectCounts { watch, unstored }, journal, .. } = self;
        let of = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        for (name, help, value) in [
            ("datagrams", "Datagrams received", ledger.datagrams),
            ("bytes", "Octets received", ledger.bytes),
            ("frames", "Frames and rejected stretches received", ledger.frames),
            ("idle", "Idle frames", ledger.idle),
            ("accepted", "New frames", ledger.accepted),
            ("json", "Samples received by HTTP", ledger.json),
            ("recovered", "Samples found in the journal at start", ledger.recovered),
            ("duplicate", "Frames that had come before", ledger.duplicate),
            ("stale", "Frames older than the window of their stream", ledger.stale),
            ("missed", "Counts that were skipped", ledger.missed),
            ("late", "Frames that filled a gap", ledger.late),
            ("resets", "Reboots of spacecraft", ledger.resets),
            ("kernel_dropped", "Datagrams dropped by the kernel", ledger.kernel_dropped),
            ("quarantined", "Samples set aside", ledger.quarantined),
            (
                "quarantine_dropped",
                "Frames dated outside the window, beyond the quarantine's bound",
                ledger.quarantine_dropped,
            ),
            ("committed", "Samples stored", ledger.committed),
            ("batches", "Batches stored, each a transaction", ledger.batches),
            ("http_refused", "HTTP connections beyond the limit", self.http_refused),
            ("detect_values", "Values that detectors have looked at", watch.values),
            ("detect_opened", "Anomalies opened", watch.opened),
            ("detect_refused", "Anomalies for which too many were open", watch.refused),
            ("detect_unstored", "Changes of anomalies that the database refused", *unstored),
            ("link_jumps", "Sequence counters that have leapt", self.jumps.seen),
            (
                "link_jumps_unstored",
                "Leaps of sequence counters that are no event, since too many were",
                self.jumps.unstored,
            ),
            ("journal_records", "Records written to the journal", of(&journal.records)),
            ("journal_syncs", "Times that the journal was synchronised", of(&journal.syncs)),
            ("journal_failures", "Operations on the journal that failed", of(&journal.failures)),
            ("journal_bypassed", "Samples that could not be journaled", of(&journal.bypassed)),
            ("journal_damaged", "Places of the journal that cannot be read", of(&journal.damaged)),
            ("journal_missing", "Records that the journal lacks", of(&journal.missing)),
            ("journal_torn_bytes", "Octets of unfinished last writes", of(&journal.torn)),
            ("journal_set_aside", "Files of the journal set aside", of(&journal.set_aside)),
            (
                "journal_unreadable_entries",
                "Entries of the journal that could not be decoded",
                of(&journal.unreadable),
            ),
        ] {
            let counter = ConstCounter::new(value);
            let name = format!("{PREFIX}{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            counter.encode(metric)?;
        }
        for (name, help, value) in [
            ("pending", "Samples on their way", ledger.pending),
            ("lost", "Counts missed that have not come late", ledger.lost),
            ("detect_limits_only", "Satellites beyond the detectors' memory", watch.limits_only),
            ("journal_bytes", "Octets of the journal's files", of(&journal.octets)),
            (
                "journal_unstored_bytes",
                "Octets of those with samples to store",
                of(&journal.unstored),
            ),
            ("journal_failing", "1 while the journal cannot be written", of(&journal.is_failing)),
            ("journal_size_bytes", "How large the journal may get", of(&journal.octets_max)),
        ] {
            let gauge = ConstGauge::new(value.cast_signed());
            let name = format!("{PREFIX}{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        let name = format!("{PREFIX}rejected");
        let mut metric =
            encoder.encode_descriptor(&name, "Refused frames", None, MetricType::Counter)?;
        for (reason, value) in ledger.rejected.by_reason() {
            let labels = [("reason", reason)];
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        let name = format!("{PREFIX}queue_dropped");
        let help = "Samples that found no room in a queue";
        let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (writer, value) in self.shed.iter().enumerate() {
            let labels = [("stage", format!("writer-{writer}"))];
            ConstCounter::new(*value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

const PREFIX: &str = "orbitstream_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_the_ledger_is_there() {
        let mut ledger = Ledger { frames: 7, pending: 3, ..Ledger::default() };
        ledger.rejected.crc_mismatch = 5;
        let mut detect = DetectCounts { unstored: 6, ..DetectCounts::default() };
        detect.watch.limits_only = 8;
        let journal = Arc::new(Gauges::default());
        journal.damaged.store(9, Ordering::Relaxed);
        let shed = vec![0, 4];
        let text = text(Snapshot {
            ledger: ledger.clone(),
            jumps: JumpCounts { seen: 3, unstored: 2, last: None },
            shed,
            detect,
            journal,
            http_refused: 7,
        });
        assert!(text.contains("orbitstream_link_jumps_total 3"), "{text}");
        assert!(text.contains("orbitstream_link_jumps_unstored_total 2"), "{text}");
        assert!(text.contains("orbitstream_journal_damaged_total 9"), "{text}");
        assert!(text.contains("orbitstream_http_refused_total 7"), "{text}");
        assert!(text.contains("orbitstream_detect_unstored_total 6"), "{text}");
        assert!(text.contains("orbitstream_detect_limits_only 8"), "{text}");
        assert!(text.contains("orbitstream_frames_total 7"), "{text}");
        assert!(text.contains("orbitstream_pending 3"));
        assert!(text.contains("orbitstream_queue_dropped_total{stage=\"writer-1\"} 4"));
        assert!(text.contains("orbitstream_rejected_total{reason=\"crc_mismatch\"} 5"));
        let names = serde_json::to_value(&ledger).unwrap();
        for name in names.as_object().unwrap().keys() {
            assert!(text.contains(&format!("orbitstream_{name}")), "{name}");
        }
    }
}
