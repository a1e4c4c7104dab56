//! Opening a journal: what is in the folder, where its numbering goes on, and which parts of the
//! station get what.

use std::{
    collections::VecDeque,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Appender, Keeper, Reader, apart,
    checkpoint::{self, Pending},
    described,
    files::Files,
    read::NOBODY,
    record::{
        FIRST_MAX, RECORD_OCTETS_MAX, SEGMENT_HEAD_OCTETS, SegmentHead, Unusable, first_of_run,
        next_run, run_identity,
    },
    shared::{Gauges, Segment, Shared},
    walk::Walk,
};
use crate::{
    chunk::Chunk,
    queue::{Lane, SHARDS},
    shutdown::Drain,
    socket::now_us,
    state,
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
    lock: FolderLock,
}

impl Journal {
    /// Opens the journal, and keeps apart what is not its own. A folder that cannot be made, that was
    /// never written to and cannot be, or that another station uses, is an error; whatever is in it is
    /// none.
    pub fn open(
        options: &Options,
        files: Arc<dyn Files>,
        gauges: Arc<Gauges>,
    ) -> anyhow::Result<Self> {
        let Options { folder, octets_max, sync_period, station, writers } = options;
        files.make_folder(folder).with_context(|| {
            let shown = folder.display();
            format!("cannot make the journal's folder {shown}; choose another --journal FOLDER")
        })?;
        let lock = FolderLock::take(folder)?;
        if let Err(error) = described::write(&*files, folder) {
            let shown = folder.display();
            tracing::warn!("{shown}: the definitions of packets cannot be kept: {error}");
        }
        let found = Found::in_folder(&*files, folder, station, &gauges);
        // What is written from now on is numbered above all that was ever written, so that what the
        // database has stored is never mistaken for it, even if the end of a file is gone.
        let next = first_of_run(found.highest, now_us());
        let identity = found.identity.unwrap_or_else(rand::random);
        let (shared, wakes) = Shared::new(
            (files, folder.clone()),
            station,
            (identity, run_identity(identity), next),
            *octets_max,
            *writers,
            found.segments,
            gauges,
        );
        let pending = Arc::default();
        Ok(Self { shared, pending, sync_period: *sync_period, wakes, lock })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// The identity of the folder, which files beside the segments refer to.
    #[must_use]
    pub fn identity(&self) -> i64 {
        self.shared.identity
    }

    /// The number that the commit ledger knows the records of this run by.
    #[must_use]
    pub fn run_identity(&self) -> i64 {
        self.shared.run_identity
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
                let _may_stay = self.shared.keep_damaged(&path);
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
        Keeper::new(shared, pending, self.sync_period, ended, self.lock.clone())
    }

    /// Nothing will be appended.
    pub fn close(&self) {
        self.shared.close();
    }

    /// The header of a segment of this run.
    #[cfg(test)]
    pub(crate) fn segment_header(&self, first: i64) -> Vec<u8> {
        self.shared.segment_head(first, now_us()).to_octets().unwrap_or_default()
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
        let Shared { files, folder, .. } = &*self.shared;
        // What cannot be read of it may have higher numbers.
        let next = if last.is_damaged { next_run(last.next) } else { last.next };
        let path = folder.join(super::file_name(next));
        if path != last.path {
            let head = self.shared.segment_head(next, now_us());
            let made = files.create(&path).and_then(|file| {
                file.write_at(&head.to_octets().unwrap_or_default(), 0)?;
                file.sync()?;
                files.sync_folder(folder)
            });
            if made.is_err() {
                return;
            }
        }
        for segment in segments.iter().filter(|segment| segment.path != path) {
            let _may_stay = if segment.is_damaged {
                self.shared.keep_damaged(&segment.path).map(drop)
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
        let list = || {
            super::segments_in(files, folder).unwrap_or_else(|error| {
                tracing::error!("cannot read the journal's folder {}: {error}", folder.display());
                Vec::new()
            })
        };
        // The newest says whose journal it is.
        let heads = list().into_iter().rev().filter_map(|path| {
            let head = apart::read_head(files, &path).ok()?.1.ok()?;
            (number_in(&path) == Some(head.first) && head.station == station).then_some(head)
        });
        found.identity = { heads }.next().map(|head| head.journal);
        apart::adopt(files, folder, station, found.identity);
        let paths = list();
        for path in paths.iter().rev() {
            found.highest = found.highest.max(number_in(path).unwrap_or(-1));
            if let Err(misfit) = found.look_at(files, path, station, gauges) {
                misfit.keep(files, path, gauges);
            }
        }
        if let Some(last) = found.segments.back_mut()
            && let Err(error) = end_of_last(last, gauges)
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
        let (end, head) = apart::read_head(files, path)?;
        let first = number_in(path);
        let head = match (head, first) {
            (Ok(head), _) => head,
            (Err(_), _) if end <= SEGMENT_HEAD_OCTETS as u64 => {
                // The station, or the machine, ended as it began the file.
                Gauges::add(&gauges.torn, end);
                return Ok(files.remove(path)?);
            }
            (Err(Unusable::Damaged), Some(first)) => {
                let file = files.open(path)?;
                let head = SegmentHead::recover(&*file, end, first, station);
                let mut head = head.ok_or(Misfit::Damaged(Unusable::Damaged.to_string()))?;
                head.journal = *self.identity.get_or_insert_with(rand::random);
                Gauges::add(&gauges.damaged, 1);
                let shown = path.display();
                tracing::error!("{shown}: the segment's header is damaged; its records replace it");
                head
            }
            (Err(Unusable::Damaged), None) => {
                return Err(Misfit::Damaged(Unusable::Damaged.to_string()));
            }
            (Err(unknown @ Unusable::Version(_)), _) => {
                return Err(Misfit::Unknown(unknown.to_string()));
            }
        };
        if first != Some(head.first) {
            let why = format!("its name does not fit its first record {}", head.first);
            return Err(Misfit::Foreign(why, head));
        }
        if head.station != station {
            let why = format!("it is of station {:?}", head.station);
            return Err(Misfit::Foreign(why, head));
        }
        if *self.identity.get_or_insert(head.journal) != head.journal {
            return Err(Misfit::Foreign("it is of another journal".into(), head));
        }
        let segment = Segment {
            path: path.to_owned(),
            file: files.open(path)?,
            layout: head.layout,
            run: head.run,
            first: head.first,
            // Its last number is not known yet; that of the one after it is a bound.
            next: self.segments.front().map_or(head.first, |later| later.first),
            end,
            // What an earlier run left unsynchronised is made durable like the rest.
            synced: 0,
            is_sealed: true,
            is_damaged: false,
        };
        self.segments.push_front(segment);
        Ok(())
    }
}

/// Why a file is not part of the journal.
enum Misfit {
    /// It cannot be opened, or something of the kind: it may be read at another start.
    Unreadable(io::Error),
    Damaged(String),
    /// Of a version that this program does not know.
    Unknown(String),
    Foreign(String, SegmentHead),
}

impl From<io::Error> for Misfit {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Misfit {
    fn keep(&self, files: &dyn Files, path: &Path, gauges: &Gauges) {
        let (why, kept) = match self {
            Self::Unreadable(error) => (error.to_string(), apart::keep_damaged(files, path)),
            Self::Damaged(why) => (why.clone(), apart::keep_damaged(files, path)),
            Self::Unknown(why) => (why.clone(), apart::keep_unknown(files, path)),
            Self::Foreign(why, head) => (why.clone(), apart::keep_foreign(files, path, head)),
        };
        Gauges::add(&gauges.set_aside, 1);
        let shown = path.display();
        match kept {
            Ok(kept) => {
                let kept = kept.display();
                tracing::error!("{shown} is not part of the journal: {why}; it is kept as {kept}");
            }
            Err(_) => tracing::error!("{shown} is not part of the journal: {why}"),
        }
    }
}

/// Finds the last whole record, and cuts off what stands behind it, since the last write was not
/// finished. It stays if it is more than a write, or in format 1, where records may stand behind damage.
fn end_of_last(segment: &mut Segment, gauges: &Gauges) -> io::Result<()> {
    let mut walk = Walk::new(&*segment.file, segment.layout, segment.first, segment.end);
    let mut next = segment.first;
    let mut whole = segment.layout.segment_head_octets() as u64;
    while let Some((offset, record)) = walk.next_whole() {
        next = next.max(record.number + 1);
        whole = offset + record.octets() as u64;
    }
    segment.next = next;
    let torn = segment.end.saturating_sub(whole);
    let shown = segment.path.display();
    // One write is not finished by a kill; more than a record is damage.
    if walk.is_cut_short || torn > RECORD_OCTETS_MAX as u64 {
        tracing::error!("{shown}: the last {torn} octets cannot be read; the file is kept");
        Gauges::add(&gauges.damaged, 1);
        (segment.end, segment.is_damaged) = (whole, true);
    } else if torn > 0 {
        tracing::warn!("{shown}: the last {torn} octets are no whole record; they are cut off");
        Gauges::add(&gauges.torn, torn);
        segment.end = whole;
        segment.file.truncate(whole)?;
    }
    Ok(())
}

/// The station whose samples a folder holds: what its newest segment says.
#[must_use]
pub fn station_of(files: &dyn Files, folder: &Path) -> Option<String> {
    let paths = super::segments_in(files, folder).ok()?;
    let heads = paths.into_iter().rev().map(|path| apart::read_head(files, &path));
    let mut heads = heads.filter_map(|head| head.ok()?.1.ok());
    heads.next().map(|head| head.station)
}

/// The number in a segment's name; none if it is no number that a journal would give.
fn number_in(path: &Path) -> Option<i64> {
    let number = i64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
    (0..FIRST_MAX).contains(&number).then_some(number)
}

/// Whether a station uses the folder now.
#[must_use]
pub fn is_in_use(folder: &Path) -> bool {
    let lock = state::open_lock_read_only(&folder.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// A folder is locked by a station that runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal {} is in use by another station{}; choose another --journal",
    folder.display(),
    holder.map_or_else(String::new, |holder| format!(", process {holder}"))
)]
pub struct InUse {
    /// Which folder.
    pub folder: PathBuf,
    /// The process that has locked it, if it could say so.
    pub holder: Option<u32>,
}

impl InUse {
    fn of(folder: &Path, lock: &Path) -> Self {
        let holder = state::open_lock_read_only(lock).ok().and_then(|lock| {
            let mut id = [0; 16];
            let octets = lock.read_at(&mut id, 0).ok()?;
            str::from_utf8(&id[..octets]).ok()?.trim().parse().ok()
        });
        Self { folder: folder.to_owned(), holder }
    }
}

/// The folder is this station's own as long as this lives.
#[derive(Clone, Debug)]
pub(super) struct FolderLock(Arc<Mutex<File>>);

impl FolderLock {
    fn take(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let path = folder.join(LOCK);
        // A disk that has become read-only has the file still: what waits there can be stored.
        let lock = state::open_lock(&path)
            .or_else(|error| state::open_lock_read_only(&path).map_err(|_| error));
        let lock = lock.with_context(|| {
            format!("cannot write to the journal's folder {shown}; choose another --journal FOLDER")
        })?;
        match lock.try_lock() {
            Ok(()) => {
                // For whoever finds it locked; on a disk that is read-only they do without.
                let id = format!("{}\n", std::process::id());
                let _noted = lock.set_len(0).and_then(|()| lock.write_all_at(id.as_bytes(), 0));
                Ok(Self(Arc::new(Mutex::new(lock))))
            }
            Err(TryLockError::WouldBlock) => Err(InUse::of(folder, &path).into()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock the journal {shown}"))
            }
        }
    }

    /// Whether the folder still has the file that was locked.
    pub(super) fn is_there(&self, folder: &Path) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).metadata();
        let named = fs::metadata(folder.join(LOCK));
        let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
        matches!((held, named), (Ok(held), Ok(named)) if id(&held) == id(&named))
    }

    /// Takes a lock in a folder that was made again.
    pub(super) fn take_again(&self, folder: &Path) -> anyhow::Result<()> {
        let Self(again) = Self::take(folder)?;
        let again = Arc::into_inner(again).context("it is held once")?;
        let again = again.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = again;
        Ok(())
    }
}

pub(super) const LOCK: &str = "journal.lock";
