//! What the journal's threads and the writers' readers know in common: which segments there are, up
//! to where they are written, and what is not needed any more.

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    apart,
    files::{Files, Octets},
    record::{Layout, SegmentHead},
};
use crate::timing::Histogram;

/// A journal that is open.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) folder: PathBuf,
    pub(super) station: String,
    /// Of the folder.
    pub(super) identity: i64,
    /// Of this run.
    pub(super) run_identity: i64,
    /// The number of this run's first record.
    pub(super) run: i64,
    pub(super) octets_max: u64,
    pub(super) gauges: Arc<Gauges>,
    /// In order; the last one is written to, unless it is sealed.
    segments: Mutex<VecDeque<Segment>>,
    /// By writer: of records before this number it needs nothing any more.
    stored: Vec<AtomicI64>,
    /// By writer: what its detectors know of records before this number is on disk.
    learned: Vec<AtomicI64>,
    /// What the tracker knows of records before this number is on disk.
    tracked: AtomicI64,
    wake: Vec<Sender<()>>,
    is_closed: AtomicBool,
}

/// One file.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn Octets>,
    /// How its records are found.
    pub(super) layout: Layout,
    /// Identity of the run that wrote it.
    pub(super) run: i64,
    /// Number of its first record.
    pub(super) first: i64,
    /// The number after its last record.
    pub(super) next: i64,
    /// Octets that may be read.
    pub(super) end: u64,
    /// Octets that are known to be durable.
    pub(super) synced: u64,
    /// Whether nothing will be appended, though it may be the last.
    pub(super) is_sealed: bool,
    /// Whether something in it could not be read.
    pub(super) is_damaged: bool,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: records {} to {}", self.path.display(), self.first, self.next)
    }
}

/// What one earlier run has left in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRange {
    /// Its identity.
    pub run: i64,
    /// The number of the first record of it that is there.
    pub first: i64,
    /// A number above those of all its records.
    pub next: i64,
}

/// The journal in figures; all but the first four only grow.
#[derive(Debug, Default)]
pub struct Gauges {
    /// How large it may get.
    pub octets_max: AtomicU64,
    /// Octets of all its files.
    pub octets: AtomicU64,
    /// Octets of those files that hold something that is not stored yet.
    pub unstored: AtomicU64,
    /// 1 while samples pass it by, since it cannot be written.
    pub is_failing: AtomicU64,
    /// Records written.
    pub records: AtomicU64,
    /// Times that it was synchronised.
    pub syncs: AtomicU64,
    /// How long that took.
    pub sync: Histogram,
    /// Writes, synchronisations and the like that failed.
    pub failures: AtomicU64,
    /// Samples that could not be written to it.
    pub bypassed: AtomicU64,
    /// Records, or stretches between records, that could not be read.
    pub damaged: AtomicU64,
    /// Records that are not where they should be.
    pub missing: AtomicU64,
    /// Octets cut off at the end of a file whose last write was not whole.
    pub torn: AtomicU64,
    /// Files set aside.
    pub set_aside: AtomicU64,
    /// Entries that could not be decoded.
    pub unreadable: AtomicU64,
}

impl Gauges {
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// What a reader finds where it has read everything it knew of.
pub(super) enum After {
    /// The same segment, longer.
    Longer(u64),
    /// The one that follows.
    Next(Segment),
    /// Nothing yet.
    Tail,
}

impl Shared {
    pub(super) fn new(
        (files, folder): (Arc<dyn Files>, PathBuf),
        station: &str,
        (identity, run_identity, run): (i64, i64, i64),
        octets_max: u64,
        writers: usize,
        segments: VecDeque<Segment>,
        gauges: Arc<Gauges>,
    ) -> (Arc<Self>, Vec<Receiver<()>>) {
        let (wake, wakes) = (0..writers).map(|_| bounded(1)).unzip();
        gauges.octets_max.store(octets_max, Ordering::Relaxed);
        let places = || (0..writers).map(|_| AtomicI64::new(i64::MIN)).collect();
        let shared = Self {
            files,
            folder,
            station: station.to_owned(),
            identity,
            run_identity,
            run,
            octets_max,
            gauges,
            segments: Mutex::new(segments),
            stored: places(),
            learned: places(),
            tracked: AtomicI64::new(i64::MIN),
            wake,
            is_closed: AtomicBool::new(false),
        };
        shared.measure();
        (Arc::new(shared), wakes)
    }

    pub(super) fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first segment that may hold records from `number` on.
    pub(super) fn segment_for(&self, number: i64) -> Option<Segment> {
        let segments = self.segments();
        segments.iter().find(|segment| segment.next > number).or(segments.back()).cloned()
    }

    /// What comes behind `end` of the segment that begins with `first`.
    pub(super) fn after(&self, first: i64, end: u64) -> After {
        let segments = self.segments();
        let Some(place) = segments.iter().position(|segment| segment.first == first) else {
            // It is gone, so all of it was stored.
            let next = segments.iter().find(|segment| segment.first > first);
            return next.cloned().map_or(After::Tail, After::Next);
        };
        match segments.get(place + 1) {
            _ if segments[place].end > end => After::Longer(segments[place].end),
            Some(next) => After::Next(next.clone()),
            None => After::Tail,
        }
    }

    /// A record was appended to the last segment.
    pub(super) fn appended(&self, end: u64, next: i64) {
        if let Some(segment) = self.segments().back_mut() {
            let more = end - segment.end;
            (segment.end, segment.next) = (end, next);
            Gauges::add(&self.gauges.octets, more);
            Gauges::add(&self.gauges.unstored, more);
        }
        Gauges::add(&self.gauges.records, 1);
    }

    pub(super) fn began(&self, segment: Segment) {
        self.segments().push_back(segment);
        self.measure();
    }

    /// Nothing will be appended to the last segment.
    pub(super) fn seal(&self) {
        if let Some(segment) = self.segments().back_mut() {
            segment.is_sealed = true;
        }
    }

    /// Whether another segment would be one too many.
    pub(super) fn is_full(&self) -> bool {
        let unstored = self.gauges.unstored.load(Ordering::Relaxed);
        unstored + segment_octets(self.octets_max) > self.octets_max
    }

    /// Says whether the journal can be written.
    pub(super) fn set_failing(&self, is_failing: bool) {
        self.gauges.is_failing.store(is_failing.into(), Ordering::Relaxed);
    }

    /// Whether samples pass the journal by.
    pub(super) fn is_failing(&self) -> bool {
        self.gauges.is_failing.load(Ordering::Relaxed) != 0
    }

    pub(super) fn damaged(&self, first: i64) {
        if let Some(segment) = self.segments().iter_mut().find(|segment| segment.first == first) {
            segment.is_damaged = true;
        }
    }

    pub(super) fn wake(&self, writer: usize) {
        if let Some(wake) = self.wake.get(writer) {
            // One that has not been taken yet is as good.
            let _full = wake.try_send(());
        }
    }

    /// A writer has stored all before `number`, as far as it is its own.
    pub(super) fn set_stored(&self, writer: usize, number: i64) {
        self.stored[writer].store(number, Ordering::Release);
    }

    pub(super) fn set_learned(&self, writer: usize, number: i64) {
        self.learned[writer].store(number, Ordering::Release);
    }

    pub(super) fn set_tracked(&self, number: i64) {
        self.tracked.store(number, Ordering::Release);
    }

    /// Everything before it is stored.
    pub(super) fn stored(&self) -> i64 {
        least(&self.stored)
    }

    /// Everything before it is known by files.
    pub(super) fn known(&self) -> i64 {
        least(&self.learned).min(self.tracked.load(Ordering::Acquire))
    }

    /// Nothing more will be appended.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        (0..self.wake.len()).for_each(|writer| self.wake(writer));
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Counts octets anew.
    pub(super) fn measure(&self) {
        let stored = self.stored();
        let segments = self.segments();
        let all: u64 = segments.iter().map(|segment| segment.end).sum();
        let old: u64 = segments
            .iter()
            .filter(|segment| segment.next <= stored)
            .map(|segment| segment.end)
            .sum();
        self.gauges.octets.store(all, Ordering::Relaxed);
        self.gauges.unstored.store(all - old, Ordering::Relaxed);
    }

    pub(super) fn sync_folder(&self) -> io::Result<()> {
        self.files.sync_folder(&self.folder)
    }

    /// The header of a segment that begins with this number now.
    pub(super) fn segment_head(&self, first: i64, now_us: i64) -> SegmentHead {
        SegmentHead::new(self.identity, self.run_identity, first, now_us, &self.station)
    }

    /// Keeps a damaged file under another name, so that it is not read again, and not lost either.
    pub(super) fn keep_damaged(&self, path: &Path) -> io::Result<PathBuf> {
        let kept = apart::keep_damaged(&*self.files, path)?;
        Gauges::add(&self.gauges.set_aside, 1);
        Ok(kept)
    }

    /// The runs that wrote what is there, in the order of their numbers.
    pub(super) fn runs(&self) -> Vec<RunRange> {
        let mut runs: Vec<RunRange> = Vec::new();
        for &Segment { run, first, next, .. } in &*self.segments() {
            match runs.last_mut().filter(|last| last.run == run) {
                Some(last) => last.next = last.next.max(next),
                None => runs.push(RunRange { run, first, next }),
            }
        }
        runs.retain(|range| range.first < range.next);
        runs
    }
}

fn least(places: &[AtomicI64]) -> i64 {
    places.iter().map(|place| place.load(Ordering::Acquire)).min().unwrap_or(i64::MAX)
}

/// The size of one file.
pub(super) fn segment_octets(octets_max: u64) -> u64 {
    (octets_max / SEGMENTS).clamp(SEGMENT_OCTETS_MIN, SEGMENT_OCTETS_MAX)
}

/// A full journal is in so many files at least, so that room comes back in small steps.
const SEGMENTS: u64 = 16;
const SEGMENT_OCTETS_MIN: u64 = 256 << 10;
const SEGMENT_OCTETS_MAX: u64 = 64 << 20;
