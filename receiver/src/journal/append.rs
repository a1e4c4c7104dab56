//! The thread that appends what the doors have taken to the newest segment, before a writer may
//! see it. When the disk fails, samples pass it by, straight to the writers, and that is said.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};

use super::{
    checkpoint::Pending,
    record::{Layout, RecordHead, next_run},
    shared::{Gauges, Segment, Shared, segment_octets},
};
use crate::{
    chunk::Chunk,
    queue::{Lane, SHARDS},
    shutdown::Drain,
    socket::now_us,
};

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
    /// By shard: the number of the last record that has entries of it, or -1.
    previous: [i64; SHARDS],
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
            previous: [-1; SHARDS],
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
                    self.shared.set_failing(false);
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
        let last = self.shared.segments().back().cloned();
        let can_grow =
            |last: &Segment| self.is_open && !last.is_sealed && last.end < self.segment_octets;
        let segment = match last.filter(can_grow) {
            Some(segment) => segment,
            None => self.begin()?,
        };
        let Layout::Two(marker) = segment.layout else {
            return Err(io::Error::other("a segment of an earlier format cannot be appended to"));
        };
        let head = RecordHead {
            marker,
            offset: segment.end,
            run: self.shared.run_identity,
            station: &self.shared.station,
            number: self.next,
            shards: chunk.shards(),
            samples: chunk.samples() as u32,
            format: chunk.format(),
            previous: &self.previous,
        };
        self.record.clear();
        head.append_to(&mut self.record, chunk.octets());
        self.record.extend_from_slice(chunk.octets());
        if let Err(error) = segment.file.write_at(&self.record, segment.end) {
            // What part of it was written is behind the end, and not read; it may stay.
            let _may_stay = segment.file.truncate(segment.end);
            return Err(error);
        }
        for (shard, previous) in self.previous.iter_mut().enumerate() {
            if chunk.shards() >> shard & 1 == 1 {
                *previous = self.next;
            }
        }
        self.next += 1;
        self.shared.appended(segment.end + self.record.len() as u64, self.next);
        Ok(())
    }

    /// Begins a segment.
    fn begin(&mut self) -> io::Result<Segment> {
        self.is_open = false;
        let Shared { files, folder, run_identity, .. } = &*self.shared;
        let head = self.shared.segment_head(self.next, now_us());
        let octets = head.to_octets().unwrap_or_default();
        let path = folder.join(super::file_name(self.next));
        let file = files.create(&path)?;
        if let Err(error) = file.write_at(&octets, 0) {
            let _may_stay = files.remove(&path);
            return Err(error);
        }
        let segment = Segment {
            path,
            file,
            layout: head.layout,
            run: *run_identity,
            first: self.next,
            next: self.next,
            end: octets.len() as u64,
            synced: 0,
            is_sealed: false,
            is_damaged: false,
        };
        self.shared.began(segment.clone());
        self.is_open = true;
        Ok(segment)
    }

    fn fail(&mut self, error: &io::Error) {
        Gauges::add(&self.shared.gauges.failures, 1);
        self.shared.set_failing(true);
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
