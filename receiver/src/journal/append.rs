//! The thread that appends what the doors have taken to the newest segment, before a writer may
//! see it. When the disk fails, samples pass it by, straight to the writers, and that is said.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use zerocopy::IntoBytes as _;

use super::{
    checkpoint::Pending,
    record::{RecordHead, SEGMENT_HEAD_OCTETS, SegmentHead, next_run},
    shared::{Gauges, Segment, Shared, segment_octets},
};
use crate::{chunk::Chunk, queue::Lane, shutdown::Drain, socket::now_us};

/// Writes the journal.
pub struct Appender {
    shared: Arc<Shared>,
    inlet: Receiver<Chunk>,
    /// By writer: where samples go that cannot be written.
    lanes: Vec<Lane>,
    direct: Vec<Sender<Chunk>>,
    pending: Arc<Pending>,
    drain: Drain,
    /// The number of the next record.
    next: i64,
    /// Whether the last segment may be appended to.
    is_open: bool,
    segment_octets: u64,
    record: Vec<u8>,
    trouble: Option<Trouble>,
}

struct Trouble {
    since: Instant,
    tried: Instant,
    told: Instant,
}

impl Appender {
    pub(super) fn new(
        shared: Arc<Shared>,
        pending: Arc<Pending>,
        (inlet, lanes, direct): (Receiver<Chunk>, Vec<Lane>, Vec<Sender<Chunk>>),
        drain: Drain,
        next: i64,
    ) -> Self {
        let segment_octets = segment_octets(shared.octets_max);
        Self {
            shared,
            inlet,
            lanes,
            direct,
            pending,
            drain,
            next,
            is_open: false,
            segment_octets,
            record: Vec::new(),
            trouble: None,
        }
    }

    /// Appends until the doors are closed.
    pub fn run(mut self) {
        while let Ok(mut chunk) = self.inlet.recv() {
            let state = chunk.take_state();
            self.append(chunk);
            if let Some(state) = state {
                self.pending.put(self.next, state);
            }
        }
        self.shared.close();
    }

    fn append(&mut self, mut chunk: Chunk) {
        let writer = chunk.writer();
        if chunk.is_empty() {
            self.lanes[writer].give_back(chunk);
            return;
        }
        while self.is_full() {
            if self.drain.is_over() {
                self.lanes[writer].shed(chunk);
                return;
            }
            std::thread::sleep(FULL_PAUSE);
        }
        match self.write(&chunk) {
            Ok(()) => {
                self.lanes[writer].give_back(chunk);
                self.shared.wake(writer);
            }
            Err(()) => {
                Gauges::add(&self.shared.gauges.bypassed, chunk.samples());
                chunk.number(self.next);
                self.next += 1;
                // As long as the writer lives there is room: chunks are as many as the channel holds.
                if let Err(refused) = self.direct[writer].try_send(chunk) {
                    self.lanes[writer].shed(refused.into_inner());
                }
            }
        }
    }

    /// Whether another segment would be one too many.
    fn is_full(&self) -> bool {
        self.trouble.is_none() && self.shared.is_full()
    }

    fn write(&mut self, chunk: &Chunk) -> Result<(), ()> {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.tried.elapsed() < RETRY_PERIOD) {
            return Err(());
        }
        match self.try_write(chunk) {
            Ok(()) => {
                if let Some(trouble) = self.trouble.take() {
                    self.shared.gauges.is_failing.store(0, std::sync::atomic::Ordering::Relaxed);
                    let after = trouble.since.elapsed();
                    tracing::info!("the journal is written again after {after:.1?}");
                }
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(())
            }
        }
    }

    fn try_write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let entries = chunk.octets();
        let last = self.shared.segments().back().cloned();
        let mut last = last.filter(|last| self.is_open && last.end < self.segment_octets);
        let segment = match last.take() {
            Some(segment) => segment,
            None => self.begin()?,
        };
        let head = RecordHead::new(self.next, chunk.shards(), chunk.samples() as u32, entries);
        self.record.clear();
        self.record.extend_from_slice(head.as_bytes());
        self.record.extend_from_slice(entries);
        if let Err(error) = segment.file.write_at(&self.record, segment.end) {
            // What part of it was written is behind the end, and not read; it may stay.
            let _may_stay = segment.file.truncate(segment.end);
            return Err(error);
        }
        self.next += 1;
        self.shared.appended(segment.end + self.record.len() as u64, self.next);
        Ok(())
    }

    /// Begins a segment.
    fn begin(&mut self) -> io::Result<Segment> {
        self.is_open = false;
        let Shared { files, folder, identity, station, .. } = &*self.shared;
        let path = folder.join(super::file_name(self.next));
        let file = files.create(&path)?;
        let head = SegmentHead::new(*identity, self.next, now_us(), station);
        if let Err(error) = file.write_at(head.as_bytes(), 0) {
            let _may_stay = files.remove(&path);
            return Err(error);
        }
        let (first, next, end) = (self.next, self.next, SEGMENT_HEAD_OCTETS as u64);
        let (synced, is_sealed, is_damaged) = (0, false, false);
        let segment = Segment { path, file, first, next, end, synced, is_sealed, is_damaged };
        self.shared.began(segment.clone());
        self.is_open = true;
        Ok(segment)
    }

    fn fail(&mut self, error: &io::Error) {
        Gauges::add(&self.shared.gauges.failures, 1);
        self.shared.gauges.is_failing.store(1, std::sync::atomic::Ordering::Relaxed);
        // Numbers that are given meanwhile are in no file; a new run says that this is no damage.
        self.next = next_run(self.next);
        self.is_open = false;
        self.shared.seal();
        let now = Instant::now();
        let is_told = self.trouble.as_ref().is_some_and(|t| t.told.elapsed() < TELL_PERIOD);
        if !is_told {
            let folder = self.shared.folder.display();
            tracing::error!(
                "the journal in {folder} cannot be written: {error}; samples go on to the database, \
                 but are lost if the station or the database stops now"
            );
        }
        let trouble = self.trouble.get_or_insert(Trouble { since: now, tried: now, told: now });
        trouble.tried = now;
        if !is_told {
            trouble.told = now;
        }
    }
}

const FULL_PAUSE: Duration = Duration::from_millis(5);
/// How often a disk that fails is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
const TELL_PERIOD: Duration = Duration::from_secs(30);
