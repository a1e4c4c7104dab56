//! The thread that makes the journal durable, group by group, and removes what is not needed any
//! more. Nobody waits for it.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    apart,
    checkpoint::{self, Pending},
    described,
    files::Files,
    open::FolderLock,
    shared::{Gauges, Segment, Shared},
};

/// Synchronises and removes.
pub struct Keeper {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    period: Duration,
    /// Nothing comes out of it; it ends with the appender.
    ended: Receiver<()>,
    lock: FolderLock,
    /// Whether the folder has gone and could not be made again.
    is_gone: bool,
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
        lock: FolderLock,
    ) -> Self {
        let warned = Warned::No;
        Self { shared, pending, period, ended, lock, is_gone: false, warned, told: None }
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
        // Also after an attempt that got no further than the lock: the disk may have been full.
        if self.is_gone || !self.lock.is_there(&self.shared.folder) || !self.has_all_files() {
            self.restore();
        }
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
            let begun = Instant::now();
            let synced = segment.file.sync();
            let synced =
                synced.and_then(|()| if is_new { self.shared.sync_folder() } else { Ok(()) });
            Gauges::add(&self.shared.gauges.syncs, 1);
            self.shared.gauges.sync.observe(begun.elapsed(), 1);
            self.told(synced, "cannot be synchronised");
            // Also after an error: the kernel says it once, and asked again it says that all is well.
            let mut segments = self.shared.segments();
            if let Some(same) = segments.iter_mut().find(|same| same.first == segment.first) {
                same.synced = segment.end;
            }
        }
    }

    /// Whether every segment still has its name in the folder.
    fn has_all_files(&self) -> bool {
        let Ok(paths) = self.shared.files.list(&self.shared.folder) else { return false };
        self.shared.segments().iter().all(|segment| paths.contains(&segment.path))
    }

    /// Makes the folder again, or files of it, which somebody has deleted or replaced, and writes what
    /// still waits in the open files there.
    fn restore(&mut self) {
        let folder = self.shared.folder.clone();
        let shown = folder.display();
        self.shared.set_failing(true);
        if !self.is_gone {
            tracing::error!(
                "the journal's folder {shown}, or a segment in it, has gone; it is made again"
            );
            Gauges::add(&self.shared.gauges.failures, 1);
        }
        // What is appended from now on goes to a file in the new folder.
        self.shared.seal();
        match self.try_restore(&folder) {
            Ok(octets) => {
                self.is_gone = false;
                self.shared.set_failing(false);
                tracing::warn!("the journal's folder {shown} is there again, with {octets} octets");
            }
            Err(error) => {
                if !self.is_gone {
                    tracing::error!(
                        "the journal's folder {shown} cannot be made again, and samples that wait \
                         are lost if the station stops now: {error:#}"
                    );
                }
                self.is_gone = true;
            }
        }
    }

    fn try_restore(&self, folder: &Path) -> anyhow::Result<u64> {
        let files = &*self.shared.files;
        files.make_folder(folder)?;
        if !self.lock.is_there(folder) {
            self.lock.take_again(folder)?;
        }
        let mut octets = 0;
        let mut copied = Vec::new();
        // The segment that was being written may have grown once more since it was sealed.
        loop {
            let segments: Vec<_> = self.shared.segments().iter().cloned().collect();
            let missing = segments
                .into_iter()
                .find(|segment| !copied.contains(&(segment.first, segment.end)));
            let Some(segment) = missing else { break };
            octets += copy_segment(files, &segment)?;
            copied.push((segment.first, segment.end));
        }
        described::write(files, folder)?;
        Ok(octets)
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
            let head = |last: &Segment| last.layout.segment_head_octets() as u64;
            let is_over = |last: &&mut Segment| {
                last.is_sealed && last.next <= stored && last.end > head(last)
            };
            let Some(last) = segments.back_mut().filter(is_over) else { return };
            let head = head(last);
            last.end = head;
            last.file.truncate(head)
        };
        self.told(emptied, "has a file that cannot be emptied");
    }

    fn discard(&mut self, segment: &Segment) {
        let path = &segment.path;
        let is_kept = segment.is_damaged && self.damaged_files() < DAMAGED_MAX;
        let done = if is_kept {
            self.shared.keep_damaged(path).map(drop)
        } else {
            self.shared.files.remove(path)
        };
        // What stays is found at the next start, and known to be stored by what the database says.
        self.told(done, "has a file that cannot be removed");
    }

    /// Damaged segments that are kept, also those of earlier runs.
    fn damaged_files(&self) -> usize {
        let files = self.shared.files.list(&self.shared.folder).unwrap_or_default();
        files.iter().filter(|path| apart::is_damaged(path)).count()
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

/// Writes a segment whose file has lost its name, as far as it is not there yet; the octets of it.
fn copy_segment(files: &dyn Files, segment: &Segment) -> io::Result<u64> {
    let file = match files.open(&segment.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.create(&segment.path)?,
        Err(error) => return Err(error),
    };
    let mut offset = file.length()?;
    let mut octets = vec![0; COPY_OCTETS];
    while offset < segment.end {
        let left = usize::try_from(segment.end - offset).unwrap_or(COPY_OCTETS);
        let read = segment.file.read_at(&mut octets[..left.min(COPY_OCTETS)], offset)?;
        if read == 0 {
            break;
        }
        file.write_at(&octets[..read], offset)?;
        offset += read as u64;
    }
    file.sync()?;
    Ok(offset)
}

const COPY_OCTETS: usize = 1 << 20;
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
