//! Opening a journal: what is in the folder, where its numbering goes on, and which parts of the
//! station get what.

use std::{
    collections::VecDeque,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Appender, DAMAGED, FOREIGN, Keeper, Reader, SEGMENT,
    checkpoint::{self, Pending},
    files::{Files, Octets},
    read::NOBODY,
    record::{
        NUMBER_MAX, RECORD_HEAD_OCTETS, RecordHead, SEGMENT_HEAD_OCTETS, SegmentHead, first_of_run,
    },
    shared::{Gauges, Segment, Shared},
    window::Window,
};
use crate::{
    chunk::Chunk,
    queue::{Lane, SHARDS},
    shutdown::Drain,
    socket::now_us,
};

/// Which journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, which is made if need be.
    pub folder: PathBuf,
    /// How large it may get.
    pub octets_max: u64,
    /// How often it is synchronised.
    pub sync_period: Duration,
    /// Whose samples it holds.
    pub station: String,
    /// How many read from it.
    pub writers: usize,
}

/// A journal that was opened.
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    pending: Arc<Pending>,
    sync_period: Duration,
    wakes: Vec<Receiver<()>>,
    _lock: Option<File>,
}

impl Journal {
    /// Opens the journal, and sets aside what is not its own. Only a folder that another station
    /// uses is an error; one that cannot be written is said, and tried again later.
    pub fn open(
        options: &Options,
        files: Arc<dyn Files>,
        gauges: Arc<Gauges>,
    ) -> anyhow::Result<Self> {
        let Options { folder, octets_max, sync_period, station, writers } = options;
        if let Err(error) = files.make_folder(folder) {
            tracing::error!("cannot make the journal's folder {}: {error}", folder.display());
        }
        let lock = lock(folder)?;
        let found = Found::in_folder(&*files, folder, station, &gauges);
        // What is written from now on is numbered above all that was ever written, so that what the
        // database has stored is never mistaken for it, even if the end of a file is gone.
        let next = first_of_run(found.highest, now_us());
        let identity = found.identity.unwrap_or_else(rand::random);
        let (shared, wakes) = Shared::new(
            (files, folder.clone()),
            station,
            (identity, next),
            *octets_max,
            *writers,
            found.segments,
            gauges,
        );
        let pending = Arc::default();
        Ok(Self { shared, pending, sync_period: *sync_period, wakes, _lock: lock })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// The number that the database's ledger knows this journal by.
    #[must_use]
    pub fn identity(&self) -> i64 {
        self.shared.identity
    }

    /// Records with this number or a higher one are written by this run.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.shared.run
    }

    /// What the tracker knew, and before which record; nothing if that is not known.
    #[must_use]
    pub fn tracker_state(&self) -> Option<(i64, Vec<u8>)> {
        let Shared { files, folder, identity, .. } = &*self.shared;
        match checkpoint::read(&**files, folder, *identity) {
            Ok(state) => state,
            Err(error) => {
                let path = folder.join(checkpoint::NAME);
                tracing::warn!("{} is not used: {error}", path.display());
                let _may_stay = self.shared.set_aside(&path, DAMAGED);
                None
            }
        }
    }

    /// Reads all records from `number` on, whatever their shards.
    pub fn replay(&self, number: i64, mut take: impl FnMut(&Chunk)) {
        let (_wake, wake) = bounded(1);
        let mut reader = Reader::new(Arc::clone(&self.shared), NOBODY, u64::MAX, wake);
        reader.seek(number);
        let mut chunk = Chunk::new();
        while reader.peek().is_some() {
            if reader.take(&mut chunk).is_ok() {
                take(&chunk);
            }
        }
    }

    /// A reader for each writer.
    #[must_use]
    pub fn readers(&mut self) -> Vec<Reader> {
        let writers = self.wakes.len();
        let wakes = std::mem::take(&mut self.wakes).into_iter().enumerate();
        wakes
            .map(|(writer, wake)| {
                let own: u64 = (writer..SHARDS).step_by(writers).map(|shard| 1_u64 << shard).sum();
                Reader::new(Arc::clone(&self.shared), writer, own, wake)
            })
            .collect()
    }

    /// What appends to it: chunks that come out of `inlet`, or past it to the writers' own channels.
    #[must_use]
    pub fn appender(
        &self,
        inlet: Receiver<Chunk>,
        lanes: Vec<Lane>,
        direct: Vec<Sender<Chunk>>,
        drain: Drain,
    ) -> Appender {
        let (shared, pending) = (Arc::clone(&self.shared), Arc::clone(&self.pending));
        Appender::new(shared, pending, (inlet, lanes, direct), drain, self.next())
    }

    /// What makes it durable; it ends when the other end of `ended` is dropped.
    #[must_use]
    pub fn keeper(&self, ended: Receiver<()>) -> Keeper {
        let (shared, pending) = (Arc::clone(&self.shared), Arc::clone(&self.pending));
        Keeper::new(shared, pending, self.sync_period, ended)
    }

    /// Nothing will be appended.
    pub fn close(&self) {
        self.shared.close();
    }

    /// To be called when all threads have ended: when everything is stored only an empty segment
    /// stays, which remembers the journal's identity and numbering.
    pub fn finish(self) {
        let segments = std::mem::take(&mut *self.shared.segments());
        let stored = self.shared.stored();
        let Some(last) = segments.back() else { return };
        if segments.iter().any(|segment| segment.next > stored) {
            return;
        }
        let Shared { files, folder, identity, station, .. } = &*self.shared;
        let head = SegmentHead::new(*identity, last.next, now_us(), station);
        let path = folder.join(super::file_name(last.next));
        if path != last.path {
            let made = files.create(&path).and_then(|file| {
                file.write_at(zerocopy::IntoBytes::as_bytes(&head), 0)?;
                file.sync()?;
                files.sync_folder(folder)
            });
            if made.is_err() {
                return;
            }
        }
        for segment in segments.iter().filter(|segment| segment.path != path) {
            let _may_stay = if segment.is_damaged {
                self.shared.set_aside(&segment.path, DAMAGED).map(drop)
            } else {
                files.remove(&segment.path)
            };
        }
    }
}

/// What a folder holds.
pub(super) struct Found {
    pub(super) segments: VecDeque<Segment>,
    pub(super) identity: Option<i64>,
    /// The highest number that was ever given, as far as names and records tell.
    pub(super) highest: i64,
}

impl Found {
    fn in_folder(files: &dyn Files, folder: &Path, station: &str, gauges: &Gauges) -> Self {
        let mut found = Self { segments: VecDeque::new(), identity: None, highest: -1 };
        let mut paths = match files.list(folder) {
            Ok(paths) => paths,
            Err(error) => {
                tracing::error!("cannot read the journal's folder {}: {error}", folder.display());
                return found;
            }
        };
        paths.retain(|path| path.extension().is_some_and(|ending| ending == SEGMENT));
        paths.sort();
        // The newest says whose journal it is.
        for path in paths.iter().rev() {
            found.highest = found.highest.max(number_in(path).unwrap_or(-1));
            if let Err(why) = found.look_at(files, path, station, gauges) {
                why.set_aside(files, path, gauges);
            }
        }
        if let Some(last) = found.segments.back_mut()
            && let Err(error) = cut_torn_end(last, gauges)
        {
            tracing::error!("{}: {error}", last.path.display());
        }
        let highest = found.segments.iter().map(|segment| segment.next - 1).max();
        found.highest = found.highest.max(highest.unwrap_or(-1));
        found
    }

    fn look_at(
        &mut self,
        files: &dyn Files,
        path: &Path,
        station: &str,
        gauges: &Gauges,
    ) -> Result<(), Misfit> {
        let file = files.open(path)?;
        let end = file.length()?;
        let mut head = [0; SEGMENT_HEAD_OCTETS];
        let read = file.read_at(&mut head, 0)?;
        if end <= SEGMENT_HEAD_OCTETS as u64 && SegmentHead::read(&head[..read]).is_err() {
            // The station, or the machine, ended as it began the file.
            Gauges::add(&gauges.torn, end);
            return Ok(files.remove(path)?);
        }
        let head = SegmentHead::read(&head[..read])?;
        let (journal, first) = (head.journal.get(), head.first.get());
        if number_in(path) != Some(first) {
            return Err(Misfit::Foreign(format!("its name does not fit its first record {first}")));
        }
        if head.station() != station {
            let of = head.station();
            return Err(Misfit::Foreign(format!("it is of station {of}")));
        }
        if *self.identity.get_or_insert(journal) != journal {
            return Err(Misfit::Foreign("it is of another journal".into()));
        }
        // Its last number is not known yet; that of the one after it is a bound.
        let next = self.segments.front().map_or(first, |later| later.first);
        let path = path.to_owned();
        // What an earlier run left unsynchronised is made durable like the rest.
        let synced = 0;
        let (is_sealed, is_damaged) = (true, false);
        let segment = Segment { path, file, first, next, end, synced, is_sealed, is_damaged };
        self.segments.push_front(segment);
        Ok(())
    }
}

/// Why a file is not part of the journal.
enum Misfit {
    Unreadable(String),
    Foreign(String),
}

impl From<io::Error> for Misfit {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<super::record::Unusable> for Misfit {
    fn from(error: super::record::Unusable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Misfit {
    fn set_aside(&self, files: &dyn Files, path: &Path, gauges: &Gauges) {
        let (ending, why) = match self {
            Self::Unreadable(why) => (DAMAGED, why),
            Self::Foreign(why) => (FOREIGN, why),
        };
        let aside = path.with_extension(ending);
        Gauges::add(&gauges.set_aside, 1);
        let shown = path.display();
        match files.rename(path, &aside) {
            Ok(()) => {
                let aside = aside.display();
                tracing::error!("{shown} is not used: {why}; it is set aside as {aside}");
            }
            Err(_) => tracing::error!("{shown} is not used: {why}"),
        }
    }
}

/// Finds the last whole record and cuts off what stands behind it, if that is no record either: the
/// last write was not finished.
fn cut_torn_end(segment: &mut Segment, gauges: &Gauges) -> io::Result<()> {
    let mut walk = Walk::new(&*segment.file, segment.end);
    let mut next = segment.first;
    let mut whole = SEGMENT_HEAD_OCTETS as u64;
    while let Some((offset, head)) = walk.next_whole() {
        next = head.number.get() + 1;
        whole = offset + head.length();
    }
    segment.next = next;
    let torn = segment.end - whole.min(segment.end);
    if torn > 0 {
        let shown = segment.path.display();
        tracing::warn!("{shown}: the last {torn} octets are no whole record; they are cut off");
        Gauges::add(&gauges.torn, torn);
        segment.end = whole;
        segment.file.truncate(whole)?;
    }
    Ok(())
}

/// A walk over the whole records of a file, wherever they are.
pub(super) struct Walk<'a> {
    file: &'a dyn Octets,
    end: u64,
    offset: u64,
    /// Octets passed over because they are in no record.
    pub(super) skipped: u64,
    /// Records with a good header whose entries are damaged.
    pub(super) damaged: u64,
    window: Window,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a dyn Octets, end: u64) -> Self {
        let offset = SEGMENT_HEAD_OCTETS as u64;
        Self { file, end, offset, skipped: 0, damaged: 0, window: Window::default() }
    }

    /// The next whole record and where it stands.
    pub(super) fn next_whole(&mut self) -> Option<(u64, RecordHead)> {
        while self.offset < self.end {
            let offset = self.offset;
            let Some(head) = self.view(offset, RECORD_HEAD_OCTETS).and_then(RecordHead::read)
            else {
                self.skipped += 1;
                self.offset += 1;
                continue;
            };
            let length = head.length();
            let is_whole = offset + length <= self.end
                && self
                    .view(offset, length as usize)
                    .is_some_and(|record| head.is_of(&record[RECORD_HEAD_OCTETS..]));
            if is_whole {
                self.offset += length;
                return Some((offset, head));
            }
            self.damaged += 1;
            self.offset += if offset + length <= self.end { length } else { 1 };
        }
        None
    }

    fn view(&mut self, offset: u64, octets: usize) -> Option<&[u8]> {
        self.window.view(self.file, offset, octets, self.end)
    }
}

/// The number in a segment's name; none if it is no number that a journal would give.
fn number_in(path: &Path) -> Option<i64> {
    let number = i64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
    (0..NUMBER_MAX).contains(&number).then_some(number)
}

/// The folder is this station's own as long as the file that comes back lives. Where it cannot be
/// made, on a disk that is read-only, there is none.
fn lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let shown = folder.display();
    let Ok(lock) = File::create(folder.join(LOCK)) else { return Ok(None) };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => {
            bail!("the journal {shown} is in use by another station; choose another --journal")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock the journal {shown}"))
        }
    }
}

const LOCK: &str = "journal.lock";
