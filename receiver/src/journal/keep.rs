//! The thread that makes the journal durable, group by group, and removes what is not needed any
//! more. Nobody waits for it.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    checkpoint::{self, Pending},
    record::SEGMENT_HEAD_OCTETS,
    shared::{Gauges, Segment, Shared},
};

/// Synchronises and removes.
pub struct Keeper {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    period: Duration,
    /// Nothing comes out of it; it ends with the appender.
    ended: Receiver<()>,
    warned: Warned,
    /// When an operation that failed was told last.
    told: Option<Instant>,
}

/// What has been said about the journal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warned {
    No,
    Nearly,
    Full,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        pending: Arc<Pending>,
        period: Duration,
        ended: Receiver<()>,
    ) -> Self {
        let warned = Warned::No;
        Self { shared, pending, period, ended, warned, told: None }
    }

    /// Works until the appender has ended.
    pub fn run(mut self) {
        loop {
            let waited = self.ended.recv_timeout(self.period);
            self.work();
            if waited == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn work(&mut self) {
        self.sync();
        if let Some((number, state)) = self.pending.take() {
            self.checkpoint(number, &state);
        }
        self.remove();
        self.shared.measure();
        self.warn();
    }

    fn sync(&mut self) {
        let unsynced: Vec<_> = {
            let segments = self.shared.segments();
            segments.iter().filter(|segment| segment.synced < segment.end).cloned().collect()
        };
        for segment in unsynced {
            let is_new = segment.synced == 0;
            let synced = segment.file.sync();
            let synced =
                synced.and_then(|()| if is_new { self.shared.sync_folder() } else { Ok(()) });
            Gauges::add(&self.shared.gauges.syncs, 1);
            self.told(synced, "cannot be synchronised");
            // Also after an error: the kernel says it once, and asked again it says that all is well.
            let mut segments = self.shared.segments();
            if let Some(same) = segments.iter_mut().find(|same| same.first == segment.first) {
                same.synced = segment.end;
            }
        }
    }

    fn checkpoint(&mut self, number: i64, state: &[u8]) {
        let Shared { files, folder, identity, .. } = &*self.shared;
        let written = checkpoint::write(&**files, folder, *identity, number, state);
        self.told(written, "cannot keep what is known of sequence counts");
        // Also after an error: old segments must not fill a disk for the sake of repeats.
        self.shared.set_tracked(number);
    }

    /// Removes segments whose samples are all stored, unless the files of tracker and detectors
    /// still need them and there is room.
    fn remove(&mut self) {
        let (stored, known) = (self.shared.stored(), self.shared.known());
        let is_failing = self.shared.is_failing();
        // A disk that takes no more has no room for what could be done without.
        let retained_max =
            if is_failing { 0 } else { RETAINED_OCTETS_MAX.min(self.shared.octets_max / 4) };
        if is_failing {
            self.empty_last(stored);
        }
        loop {
            let segment = {
                let mut segments = self.shared.segments();
                let retained: u64 = segments
                    .iter()
                    .take_while(|segment| segment.next <= stored)
                    .map(|segment| segment.end)
                    .sum();
                let is_over = |segment: &Segment| {
                    segment.next <= stored && (segment.next <= known || retained > retained_max)
                };
                // The last is being written.
                if segments.len() < 2 || !segments.front().is_some_and(is_over) {
                    return;
                }
                segments.pop_front()
            };
            if let Some(segment) = segment {
                self.discard(&segment);
            }
        }
    }

    /// Makes room where the last segment is all that fills the disk: its header stays, since it says
    /// whose journal this is and where numbering has come to.
    fn empty_last(&mut self, stored: i64) {
        let emptied = {
            let mut segments = self.shared.segments();
            let (head, last) = (SEGMENT_HEAD_OCTETS as u64, segments.back_mut());
            let is_over =
                |last: &&mut Segment| last.is_sealed && last.next <= stored && last.end > head;
            let Some(last) = last.filter(is_over) else { return };
            last.end = head;
            last.file.truncate(head)
        };
        self.told(emptied, "has a file that cannot be emptied");
    }

    fn discard(&mut self, segment: &Segment) {
        let path = &segment.path;
        let is_kept = segment.is_damaged && self.damaged_files() < DAMAGED_MAX;
        let done = if is_kept {
            self.shared.set_aside(path, super::DAMAGED).map(|_| ())
        } else {
            self.shared.files.remove(path)
        };
        // What stays is found at the next start, and known to be stored by what the database says.
        self.told(done, "has a file that cannot be removed");
    }

    /// Damaged segments that are kept, also those of earlier runs.
    fn damaged_files(&self) -> usize {
        let files = self.shared.files.list(&self.shared.folder).unwrap_or_default();
        files.iter().filter(|path| super::is_aside(path)).count()
    }

    fn warn(&mut self) {
        let unstored = self.shared.gauges.unstored.load(Ordering::Relaxed);
        let percent = unstored * 100 / self.shared.octets_max.max(1);
        let is = match percent {
            ..ALARM_PERCENT if self.warned == Warned::No || percent < CALM_PERCENT => Warned::No,
            ..FULL_PERCENT => Warned::Nearly,
            _ => Warned::Full,
        };
        if is != self.warned {
            match is {
                Warned::No => tracing::info!("the journal has room again: {percent} % are used"),
                Warned::Nearly => tracing::warn!(
                    "the journal is {percent} % full: samples come faster than they are stored"
                ),
                Warned::Full => tracing::error!(
                    "the journal is full: what finds no room in the queue will be dropped"
                ),
            }
            self.warned = is;
        }
    }

    fn told(&mut self, done: io::Result<()>, what: &str) {
        if let Err(error) = &done {
            Gauges::add(&self.shared.gauges.failures, 1);
            if self.told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
                let folder = self.shared.folder.display();
                tracing::error!("the journal in {folder} {what}: {error}");
                self.told = Some(Instant::now());
            }
        }
    }
}

/// Octets that are kept, though stored, so that tracker and detectors can go on from them.
const RETAINED_OCTETS_MAX: u64 = 256 << 20;
/// More files of damaged segments are not kept.
const DAMAGED_MAX: usize = 8;
/// How often a lasting error is repeated in the log.
const TELL_PERIOD: Duration = Duration::from_secs(30);
const ALARM_PERCENT: u64 = 80;
const CALM_PERCENT: u64 = 70;
/// A file more may be one too many.
const FULL_PERCENT: u64 = 94;
