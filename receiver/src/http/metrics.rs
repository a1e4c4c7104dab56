//! The ledger, and how the station does, in the Prometheus text format. Labels come from this program
//! alone, never from what was received; the database is not asked.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use protocol::header::LAYOUT_VERSION;

use super::process::Usage;
use crate::{
    journal::Gauges,
    ledger::{Counters, DetectCounts, JumpCounts, Ledger},
    readiness::Readiness,
    timing::Histogram,
};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters as text.
pub(super) fn encode(counters: &Arc<Counters>, readiness: &Readiness) -> String {
    let (ledger, shed, detect) = (counters.ledger(), counters.shed(), counters.detect());
    text(Snapshot {
        ledger,
        jumps: counters.jumps(),
        shed,
        detect,
        journal: Arc::clone(counters.journal()),
        http_refused: counters.http_refused(),
        counters: Arc::clone(counters),
        is_database_up: readiness.is_database_up(),
        is_ready: readiness.wrong().is_none(),
        usage: Usage::now(),
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
    /// For the histograms.
    counters: Arc<Counters>,
    is_database_up: bool,
    is_ready: bool,
    usage: Usage,
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
            (
                "database_up",
                "1 if the database could be used when that was tried last",
                self.is_database_up.into(),
            ),
            ("ready", "1 if /readyz says so", self.is_ready.into()),
        ] {
            let gauge = ConstGauge::new(value.cast_signed());
            let name = format!("{PREFIX}{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        let name = format!("{PREFIX}ledger_residual");
        let help = "How far a ledger identity is from holding; 0 whenever the station is quiet";
        let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (identity, value) in
            [("frames", ledger.frames_residual()), ("samples", ledger.samples_residual())]
        {
            let labels = [("identity", identity)];
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
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
        let timings = self.counters.timings();
        for (name, help, histogram) in [
            (
                "commit_latency",
                "From the reception of a sample to its commit",
                &timings.commit_latency,
            ),
            (
                "transaction",
                "A transaction that stored a batch, with its COPY",
                &timings.transaction,
            ),
            ("journal_sync", "A synchronisation of the journal", &journal.sync),
        ] {
            encode_histogram(&mut encoder, &format!("{PREFIX}{name}"), help, histogram)?;
        }
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("layout_version", LAYOUT_VERSION.to_string()),
        ]);
        let name = format!("{PREFIX}build");
        let help = "The program that runs here, always 1";
        build.encode(encoder.encode_descriptor(&name, help, None, MetricType::Info)?)?;
        self.usage.encode(&mut encoder)
    }
}

fn encode_histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    histogram: &Histogram,
) -> fmt::Result {
    let buckets = histogram.buckets();
    let count = buckets.iter().map(|&(_, count)| count).sum();
    let mut metric =
        encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(histogram.sum_s(), count, &buckets, None)
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
        let counters = Counters::new(1);
        counters.timings().transaction.observe(std::time::Duration::from_millis(2), 3);
        let text = text(Snapshot {
            ledger: ledger.clone(),
            jumps: JumpCounts { seen: 3, unstored: 2, last: None },
            shed,
            detect,
            journal,
            http_refused: 7,
            counters,
            is_database_up: true,
            is_ready: false,
            usage: Usage::now(),
        });
        assert!(text.contains("orbitstream_link_jumps_total 3"), "{text}");
        assert!(text.contains("orbitstream_link_jumps_unstored_total 2"), "{text}");
        assert!(text.contains("orbitstream_journal_damaged_total 9"), "{text}");
        assert!(text.contains("orbitstream_http_refused_total 7"), "{text}");
        assert!(text.contains("orbitstream_database_up 1\n"), "{text}");
        assert!(text.contains("orbitstream_ready 0\n"), "{text}");
        assert!(text.contains("orbitstream_transaction_seconds_sum 0.006\n"), "{text}");
        assert!(text.contains("orbitstream_transaction_seconds_bucket{le=\"0.001\"} 0\n"));
        assert!(text.contains("orbitstream_transaction_seconds_bucket{le=\"0.005\"} 3\n"));
        assert!(text.contains("orbitstream_transaction_seconds_bucket{le=\"+Inf\"} 3\n"));
        let build = concat!("orbitstream_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",");
        assert!(text.contains(build), "{text}");
        assert!(text.contains("orbitstream_ledger_residual{identity=\"frames\"} 2\n"), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
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
