//! The ledger: every frame and every sample in exactly one counted place.
//!
//! Each loop owns plain integers and publishes them, once a batch, under a lock that nobody holds
//! for longer than a copy. [`Counters::ledger`] puts them together. Two identities hold whenever
//! the station is quiet, and at exit:
//!
//! 1. `frames = accepted + duplicate + stale + idle + Σ rejected`
//! 2. `accepted + json + recovered
//!    = committed + pending + queue_dropped + quarantined + quarantine_dropped`

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use protocol::Refusal;
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::I64};

use crate::{
    detect::WatchCounts, journal::Gauges, link::Jump, rejected::Example, timing::Timings,
    track::StreamCounts,
};

/// The station's counters since it started. All only grow, but for `pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Datagrams taken from the sockets.
    pub datagrams: u64,
    /// Octets in them.
    pub bytes: u64,
    /// Frames and rejected stretches in them.
    pub frames: u64,
    /// Idle frames.
    pub idle: u64,
    /// Refused frames, by reason.
    pub rejected: Rejections,
    /// New frames.
    pub accepted: u64,
    /// Samples that came by HTTP.
    pub json: u64,
    /// Samples found in the journal at start.
    pub recovered: u64,
    /// Frames that had come before.
    pub duplicate: u64,
    /// Frames older than their stream's window.
    pub stale: u64,
    /// Counts that were skipped.
    pub missed: u64,
    /// Frames that filled a gap afterwards.
    pub late: u64,
    /// `missed − late`.
    pub lost: u64,
    /// Reboots.
    pub resets: u64,
    /// Datagrams that the kernel dropped for want of buffer; a lower bound when it coalesces.
    pub kernel_dropped: u64,
    /// Samples shed because the writers did not keep up.
    pub queue_dropped: u64,
    /// Samples stored in `quarantine` instead of their table.
    pub quarantined: u64,
    /// Frames dated outside the window that were not stored in `quarantine`: more than the bound.
    pub quarantine_dropped: u64,
    /// Samples stored in their tables.
    pub committed: u64,
    /// Batches that were stored; not in the report, since nothing balances against it.
    #[serde(skip)]
    pub batches: u64,
    /// Samples on their way.
    pub pending: u64,
}

/// Reasons to refuse a frame or a datagram.
pub const REASONS: usize = Refusal::ALL.len() + 2;

/// Refused frames, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names are those of `Refusal` and its like.
pub struct Rejections {
    pub too_short: u64,
    pub length_mismatch: u64,
    pub crc_mismatch: u64,
    pub bad_version: u64,
    pub bad_layout: u64,
    pub unknown_apid: u64,
    pub unknown_spacecraft: u64,
    pub bad_time: u64,
    pub not_allowed: u64,
    pub rate_limited: u64,
}

impl Rejections {
    /// The place of datagrams from sources that are not allowed in [`Self::by_reason`].
    pub const NOT_ALLOWED: u8 = Refusal::ALL.len() as u8;

    /// The place of datagrams from sources that sent too many in [`Self::by_reason`].
    pub const RATE_LIMITED: u8 = Self::NOT_ALLOWED + 1;

    /// The place of a refusal in [`Self::by_reason`]. Refused frames wait in journals with this
    /// number, so it never changes, whatever the order of the checks.
    #[must_use]
    pub const fn place(reason: Refusal) -> u8 {
        match reason {
            Refusal::TooShort => 0,
            Refusal::LengthMismatch => 1,
            Refusal::CrcMismatch => 2,
            Refusal::BadVersion => 3,
            Refusal::BadLayout => 4,
            Refusal::UnknownApid => 5,
            Refusal::UnknownSpacecraft => 6,
            Refusal::BadTime => 7,
        }
    }

    /// Counts one refusal.
    pub fn count(&mut self, reason: Refusal) {
        *match reason {
            Refusal::TooShort => &mut self.too_short,
            Refusal::LengthMismatch => &mut self.length_mismatch,
            Refusal::CrcMismatch => &mut self.crc_mismatch,
            Refusal::BadVersion => &mut self.bad_version,
            Refusal::BadLayout => &mut self.bad_layout,
            Refusal::UnknownApid => &mut self.unknown_apid,
            Refusal::UnknownSpacecraft => &mut self.unknown_spacecraft,
            Refusal::BadTime => &mut self.bad_time,
        } += 1;
    }

    /// Every reason with its count.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); REASONS] {
        [
            ("too_short", self.too_short),
            ("length_mismatch", self.length_mismatch),
            ("crc_mismatch", self.crc_mismatch),
            ("bad_version", self.bad_version),
            ("bad_layout", self.bad_layout),
            ("unknown_apid", self.unknown_apid),
            ("unknown_spacecraft", self.unknown_spacecraft),
            ("bad_time", self.bad_time),
            ("not_allowed", self.not_allowed),
            ("rate_limited", self.rate_limited),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}

/// One row of `station_health`, as it lies in a chunk.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StationRow {
    /// End of the interval, in µs since 1970.
    pub time_us: I64,
    /// Differences, in the order of [`Ledger::by_name`].
    pub differences: [I64; COUNTERS],
}

impl StationRow {
    /// Reads a row as it lies in a chunk, also one of a build with fewer or with more counters: they
    /// are only ever appended, so what both know stands in the same places. A counter that the other
    /// build did not have is 0, and one that this build does not know is left out.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let (numbers, rest) = octets.as_chunks::<{ size_of::<I64>() }>();
        let (time_us, counters) = numbers.split_first().filter(|_| rest.is_empty())?;
        let mut differences = [I64::ZERO; COUNTERS];
        for (slot, counter) in differences.iter_mut().zip(counters) {
            *slot = I64::from_bytes(*counter);
        }
        Some(Self { time_us: I64::from_bytes(*time_us), differences })
    }
}

/// Counters in the ledger, each reason of refusal counted as one.
pub const COUNTERS: usize = 30;

impl Ledger {
    /// Every counter with its name, as the columns of `station_health` have them; `pending` is the
    /// only one that is no sum over time. A new counter comes last: rows of earlier builds wait in
    /// journals, and their counters are known by place.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, u64); COUNTERS] {
        let mut named = [("", 0); COUNTERS];
        let before = [
            ("datagrams", self.datagrams),
            ("bytes", self.bytes),
            ("frames", self.frames),
            ("idle", self.idle),
        ];
        let after = [
            ("accepted", self.accepted),
            ("json", self.json),
            ("recovered", self.recovered),
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("missed", self.missed),
            ("late", self.late),
            ("lost", self.lost),
            ("resets", self.resets),
            ("kernel_dropped", self.kernel_dropped),
            ("queue_dropped", self.queue_dropped),
            ("quarantined", self.quarantined),
            ("committed", self.committed),
            ("batches", self.batches),
            ("pending", self.pending),
            ("quarantine_dropped", self.quarantine_dropped),
        ];
        let all = before.into_iter().chain(self.rejected.by_reason()).chain(after);
        named.iter_mut().zip(all).for_each(|(slot, counter)| *slot = counter);
        named
    }

    /// What happened since `earlier`, and what is pending now.
    #[must_use]
    pub fn row_since(&self, earlier: &Self, now_us: i64) -> StationRow {
        let mut differences = [I64::ZERO; COUNTERS];
        let pairs = self.by_name().into_iter().zip(earlier.by_name());
        for (slot, ((name, now), (_, before))) in differences.iter_mut().zip(pairs) {
            let before = if name == "pending" { 0 } else { before };
            *slot = (now.cast_signed() - before.cast_signed()).into();
        }
        StationRow { time_us: now_us.into(), differences }
    }

    /// How far the first identity is from holding: 0.
    #[must_use]
    pub fn frames_residual(&self) -> i64 {
        let places =
            self.accepted + self.duplicate + self.stale + self.idle + self.rejected.total();
        self.frames.cast_signed() - places.cast_signed()
    }

    /// How far the second identity is from holding: 0 when the station is quiet.
    #[must_use]
    pub fn samples_residual(&self) -> i64 {
        let came = self.accepted + self.json + self.recovered;
        let places = self.committed
            + self.pending
            + self.queue_dropped
            + self.quarantined
            + self.quarantine_dropped;
        came.cast_signed() - places.cast_signed()
    }
}

/// The final report: the ledger and every stream.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The ledger.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Every stream and boot.
    pub streams: Vec<StreamReport>,
}

/// One boot of one stream, as it stands in the report.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // As in `Counts`.
pub struct StreamReport {
    pub satellite_id: String,
    pub apid: u16,
    pub boot_count: u32,
    pub accepted: u64,
    pub missed: u64,
    pub late: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub resets: u64,
}

impl From<&StreamCounts> for StreamReport {
    fn from(stream: &StreamCounts) -> Self {
        let counts = &stream.counts;
        Self {
            satellite_id: stream.spacecraft.to_string(),
            apid: stream.apid.number(),
            boot_count: stream.boot_count,
            accepted: counts.accepted,
            missed: counts.missed,
            late: counts.late,
            duplicate: counts.duplicate,
            stale: counts.stale,
            resets: stream.is_reset.into(),
        }
    }
}

/// What the socket side counts.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // As in `Ledger`.
pub struct IntakeCounts {
    pub datagrams: u64,
    pub bytes: u64,
    pub frames: u64,
    pub idle: u64,
    pub rejected: Rejections,
    pub accepted: u64,
    pub duplicate: u64,
    pub stale: u64,
    pub missed: u64,
    pub late: u64,
    pub resets: u64,
    pub kernel_dropped: u64,
    pub quarantine_dropped: u64,
    /// Samples in chunks that have not been sent on yet.
    pub open: u64,
    pub jumps: JumpCounts,
    /// The last refused frame of each reason, in the order of [`Rejections::by_reason`].
    pub examples: [Option<Example>; REASONS],
}

/// Counters that have leapt; no part of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JumpCounts {
    /// How often.
    pub seen: u64,
    /// Those that are no event of the database, since too many were.
    pub unstored: u64,
    /// The last one.
    pub last: Option<Jump>,
}

/// What one writer counts.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // As in `Ledger`.
pub struct WriterCounts {
    pub committed: u64,
    pub batches: u64,
    pub quarantined: u64,
    /// Samples in the batch at hand.
    pub batched: u64,
    /// Samples of a recording that are stored already: repeats, whatever the tracker says.
    pub repeated: u64,
    /// Samples of a journal that turned out to be stored already: committed, as after a commit whose
    /// answer was lost.
    pub found: u64,
    /// What its detectors have done.
    pub detect: DetectCounts,
}

/// What detectors have done; no part of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectCounts {
    /// What was looked at and found.
    pub watch: WatchCounts,
    /// Changes of events that the database refused for what they are.
    pub unstored: u64,
}

/// Where the loops publish their counts.
#[derive(Debug)]
pub struct Counters {
    intake: Mutex<IntakeCounts>,
    writers: Vec<Mutex<WriterCounts>>,
    /// Samples accepted by HTTP.
    json: AtomicU64,
    /// Samples in each writer's queue.
    queued: Vec<AtomicU64>,
    /// Samples that each writer's queue had no room for.
    shed: Vec<AtomicU64>,
    /// Samples found in the journal that were not stored.
    recovered: AtomicU64,
    /// The journal in figures.
    journal: Arc<Gauges>,
    /// HTTP connections that were refused.
    http_refused: AtomicU64,
    /// How long storing takes.
    timings: Timings,
}

impl Counters {
    /// All zero.
    #[must_use]
    pub fn new(writers: usize) -> Arc<Self> {
        Arc::new(Self {
            intake: Mutex::default(),
            writers: (0..writers).map(|_| Mutex::default()).collect(),
            json: AtomicU64::new(0),
            queued: (0..writers).map(|_| AtomicU64::new(0)).collect(),
            shed: (0..writers).map(|_| AtomicU64::new(0)).collect(),
            recovered: AtomicU64::new(0),
            journal: Arc::default(),
            http_refused: AtomicU64::new(0),
            timings: Timings::default(),
        })
    }

    /// How many writers there are.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.writers.len()
    }

    /// Publishes the socket side's counts.
    pub fn publish_intake(&self, counts: IntakeCounts) {
        *hold(&self.intake) = counts;
    }

    /// Publishes one writer's counts.
    pub fn publish_writer(&self, writer: usize, counts: WriterCounts) {
        if let Some(slot) = self.writers.get(writer) {
            *hold(slot) = counts;
        }
    }

    /// Adds samples that came by HTTP.
    pub fn add_json(&self, samples: u64) {
        self.json.fetch_add(samples, Ordering::Relaxed);
    }

    /// Adds samples that an earlier run has left in the journal.
    pub fn add_recovered(&self, samples: u64) {
        self.recovered.fetch_add(samples, Ordering::Relaxed);
    }

    /// The journal in figures.
    #[must_use]
    pub fn journal(&self) -> &Arc<Gauges> {
        &self.journal
    }

    /// How long storing takes.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// An HTTP connection was refused, since too many were open.
    pub fn add_http_refused(&self) {
        self.http_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// HTTP connections that were refused.
    #[must_use]
    pub fn http_refused(&self) -> u64 {
        self.http_refused.load(Ordering::Relaxed)
    }

    /// Samples went into a writer's queue.
    pub fn enqueued(&self, writer: usize, samples: u64) {
        if let Some(queued) = self.queued.get(writer) {
            queued.fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Samples were shed for want of room in a writer's queue.
    pub fn add_shed(&self, writer: usize, samples: u64) {
        if let Some(shed) = self.shed.get(writer) {
            shed.fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Samples that each writer's queue had no room for.
    #[must_use]
    pub fn shed(&self) -> Vec<u64> {
        self.shed.iter().map(|shed| shed.load(Ordering::Relaxed)).collect()
    }

    /// Samples came out of a writer's queue.
    pub fn dequeued(&self, writer: usize, samples: u64) {
        if let Some(queued) = self.queued.get(writer) {
            // Whatever a journal says of its samples, a count never wraps.
            let fewer = |queued: u64| Some(queued.saturating_sub(samples));
            let _never_fails = queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
    }

    /// Counters that have leapt.
    #[must_use]
    pub fn jumps(&self) -> JumpCounts {
        hold(&self.intake).jumps
    }

    /// The last refused frame of each reason, in the order of [`Rejections::by_reason`].
    #[must_use]
    pub fn refused_examples(&self) -> [Option<Example>; REASONS] {
        hold(&self.intake).examples
    }

    /// What all writers' detectors have done.
    #[must_use]
    pub fn detect(&self) -> DetectCounts {
        let mut sum = DetectCounts::default();
        for writer in &self.writers {
            let DetectCounts { watch, unstored } = hold(writer).detect;
            sum.watch.values += watch.values;
            sum.watch.opened += watch.opened;
            sum.watch.refused += watch.refused;
            sum.watch.limits_only += watch.limits_only;
            sum.unstored += unstored;
        }
        sum
    }

    /// Each writer's samples that are stored, in quarantine or not, and those that wait for it.
    pub fn progress(&self) -> impl Iterator<Item = (u64, u64)> {
        self.writers.iter().zip(&self.queued).map(|(writer, queued)| {
            let writer = hold(writer);
            let waiting = writer.batched + queued.load(Ordering::Relaxed);
            (writer.committed + writer.quarantined, waiting)
        })
    }

    /// The counters as they stand.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let intake = *hold(&self.intake);
        let mut written = WriterCounts::default();
        for writer in &self.writers {
            let writer = hold(writer);
            written.committed += writer.committed;
            written.batches += writer.batches;
            written.quarantined += writer.quarantined;
            written.batched += writer.batched;
            written.repeated += writer.repeated;
            written.found += writer.found;
        }
        let queued: u64 = self.queued.iter().map(|q| q.load(Ordering::Relaxed)).sum();
        Ledger {
            datagrams: intake.datagrams,
            bytes: intake.bytes,
            frames: intake.frames,
            idle: intake.idle,
            rejected: intake.rejected,
            accepted: intake.accepted - written.repeated.min(intake.accepted),
            json: self.json.load(Ordering::Relaxed),
            recovered: self.recovered.load(Ordering::Relaxed),
            duplicate: intake.duplicate + written.repeated,
            stale: intake.stale,
            missed: intake.missed,
            late: intake.late,
            lost: intake.missed.saturating_sub(intake.late),
            resets: intake.resets,
            kernel_dropped: intake.kernel_dropped,
            queue_dropped: self.shed().iter().sum(),
            quarantined: written.quarantined,
            quarantine_dropped: intake.quarantine_dropped,
            committed: written.committed + written.found,
            batches: written.batches,
            pending: intake.open + queued + written.batched,
        }
    }
}

const _: () = assert!(size_of::<StationRow>() == 8 * (1 + COUNTERS));

/// Counts are plain data, whole after any panic: a poisoned lock is as good as another.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_name_and_place() {
        let ledger =
            Ledger { datagrams: 1, pending: 2, quarantine_dropped: 3, ..Ledger::default() };
        let named = ledger.by_name();
        let ends = [named[0], named[COUNTERS - 2], named[COUNTERS - 1]];
        assert_eq!(ends, [("datagrams", 1), ("pending", 2), ("quarantine_dropped", 3)]);
        let json = serde_json::to_value(&ledger).unwrap();
        let fields = json.as_object().unwrap();
        let reasons = fields["rejected"].as_object().unwrap();
        let names = fields.keys().filter(|name| *name != "rejected").chain(reasons.keys());
        for name in names.clone() {
            assert!(named.iter().any(|(other, _)| other == name), "{name}");
        }
        // All but the batches.
        assert_eq!(names.count(), COUNTERS - 1);
        let rejected = Rejections { not_allowed: 1, rate_limited: 2, ..Rejections::default() };
        let reasons = rejected.by_reason();
        assert_eq!(reasons[usize::from(Rejections::NOT_ALLOWED)], ("not_allowed", 1));
        assert_eq!(reasons[usize::from(Rejections::RATE_LIMITED)], ("rate_limited", 2));
        for reason in Refusal::ALL {
            let mut rejections = Rejections::default();
            rejections.count(reason);
            let place = usize::from(Rejections::place(reason));
            assert_eq!(rejections.by_reason()[place], (&*reason.to_string(), 1));
        }
    }

    /// Rows of all earlier builds wait in journals: the order may only grow.
    #[test]
    fn counters_keep_their_places() {
        let before = [
            "datagrams",
            "bytes",
            "frames",
            "idle",
            "too_short",
            "length_mismatch",
            "crc_mismatch",
            "bad_version",
            "bad_layout",
            "unknown_apid",
            "unknown_spacecraft",
            "bad_time",
            "not_allowed",
            "rate_limited",
            "accepted",
            "json",
            "recovered",
            "duplicate",
            "stale",
            "missed",
            "late",
            "lost",
            "resets",
            "kernel_dropped",
            "queue_dropped",
            "quarantined",
            "committed",
            "batches",
            "pending",
        ];
        let names = Ledger::default().by_name().map(|(name, _)| name);
        assert_eq!(names[..before.len()], before);
    }

    #[test]
    fn rows_with_fewer_or_more_counters_are_read_as_far_as_both_know_them() {
        let mut row = StationRow { time_us: 7.into(), differences: [I64::ZERO; COUNTERS] };
        (0..).zip(&mut row.differences).for_each(|(place, slot)| *slot = I64::new(place + 100));
        let octets = row.as_bytes();
        let read = |octets: &[u8]| {
            let row = StationRow::from_octets(octets)?;
            Some((row.time_us.get(), row.differences.map(I64::get)))
        };
        let whole = row.differences.map(I64::get);
        assert_eq!(read(octets), Some((7, whole)));
        assert_eq!(read(&[octets, &[1; 16]].concat()), Some((7, whole)));
        let mut shorter = whole;
        shorter[COUNTERS - 2..].fill(0);
        assert_eq!(read(&octets[..octets.len() - 16]), Some((7, shorter)));
        assert_eq!(read(&octets[..8]), Some((7, [0; COUNTERS])));
        for cut in [0, 7, 9, octets.len() - 1] {
            assert_eq!(read(&octets[..cut]), None, "{cut} octets");
        }
    }

    #[test]
    fn differences() {
        let earlier = Ledger { lost: 5, pending: 7, ..Ledger::default() };
        let later = Ledger { lost: 3, pending: 4, bytes: 9, ..Ledger::default() };
        let names = earlier.by_name().map(|(name, _)| name);
        let row = later.row_since(&earlier, 1).differences.map(I64::get);
        let changed: Vec<_> = names.into_iter().zip(row).filter(|(_, d)| *d != 0).collect();
        assert_eq!(changed, [("bytes", 9), ("lost", -2), ("pending", 4)]);
    }
}
