//! The bounded, lock-free way from the doors to the writers.
//!
//! Each writer has one queue and one pool of chunks; the queue is as long as the pool, so that a
//! chunk that was taken can always be sent. A door that gets no chunk sheds, and counts it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use protocol::SpacecraftId;

use crate::{
    chunk::{CHUNK_OCTETS, Chunk, Pool},
    ledger::Counters,
};

/// Shards that never change: spacecraft id modulo this. A shard belongs to one writer at a time,
/// and keeps its order.
pub const SHARDS: usize = 64;

/// The shard of what is about no spacecraft: the station's own figures and refused frames.
pub const STATION_SHARD: usize = 0;

/// The shard of a spacecraft.
#[must_use]
pub fn shard_of(spacecraft: SpacecraftId) -> usize {
    usize::from(spacecraft.number()) % SHARDS
}

/// The shards of one of so many writers, one bit each.
#[must_use]
pub fn shards_of(writer: usize, writers: usize) -> u64 {
    (writer..SHARDS).step_by(writers.max(1)).map(|shard| 1 << shard).sum()
}

/// The sending ends of all queues.
#[derive(Clone)]
pub struct Outlets {
    lanes: Vec<Lane>,
    /// By writer; with a journal all of them lead to it.
    chunks: Vec<Sender<Chunk>>,
}

/// What belongs to the way to one writer: its chunks, and what is counted on it.
#[derive(Clone)]
pub struct Lane {
    writer: usize,
    pool: Pool,
    counters: Arc<Counters>,
}

/// The receiving end of one writer's queue.
pub struct Inlet {
    /// Where chunks go back to, and are counted.
    pub lane: Lane,
    /// Full chunks.
    pub chunks: Receiver<Chunk>,
}

/// Makes a queue for each of `writers`, of `octets` altogether.
#[must_use]
pub fn queues(writers: usize, octets: usize, counters: &Arc<Counters>) -> (Outlets, Vec<Inlet>) {
    let chunks_max = (octets / writers.max(1) / CHUNK_OCTETS).max(CHUNKS_MIN);
    let (mut lanes, mut senders, mut inlets) = (Vec::new(), Vec::new(), Vec::new());
    for writer in 0..writers {
        let pool = Pool::new(chunks_max, writer);
        let (send, receive) = bounded(chunks_max);
        let lane = Lane { writer, pool, counters: Arc::clone(counters) };
        lanes.push(lane.clone());
        senders.push(send);
        inlets.push(Inlet { lane, chunks: receive });
    }
    (Outlets { lanes, chunks: senders }, inlets)
}

impl Outlets {
    /// Lets all queues lead through one, whose receiving end comes back with their own sending ends.
    #[must_use]
    pub fn through_one(&mut self) -> (Receiver<Chunk>, Vec<Sender<Chunk>>) {
        let room = self.chunks.iter().filter_map(Sender::capacity).sum();
        let (send, receive) = bounded(room);
        let through = vec![send; self.chunks.len()];
        (receive, std::mem::replace(&mut self.chunks, through))
    }

    /// The ways to all writers.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.clone()
    }

    /// How many writers there are.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.lanes.len()
    }

    /// Which writer stores a spacecraft's samples.
    #[inline]
    #[must_use]
    pub fn writer_of(&self, spacecraft: SpacecraftId) -> usize {
        shard_of(spacecraft) % self.lanes.len()
    }

    /// Which writer stores what is about no spacecraft.
    #[must_use]
    pub fn station_writer(&self) -> usize {
        STATION_SHARD % self.lanes.len()
    }

    /// Whether somebody waits for a writer's chunks. While nobody does, a chunk that is not full had
    /// better wait and fill: the queue holds so many chunks, however little is in them.
    #[must_use]
    pub fn is_hungry(&self, writer: usize) -> bool {
        self.chunks[writer].is_empty()
    }

    /// An empty chunk for a writer, if one is free.
    #[must_use]
    pub fn take(&self, writer: usize) -> Option<Chunk> {
        self.lanes[writer].pool.take()
    }

    /// An empty chunk for a writer, if half of them are free: a sender by HTTP can try again, a
    /// satellite cannot.
    #[must_use]
    pub fn take_spare(&self, writer: usize) -> Option<Chunk> {
        self.lanes[writer].pool.take_spare()
    }

    /// Whether each writer has a good part of its chunks left, for a door that can wait.
    #[must_use]
    pub fn have_room(&self) -> bool {
        self.lanes.iter().all(|lane| lane.pool.has_spare())
    }

    /// Gives an unused chunk back.
    pub fn give_back(&self, writer: usize, chunk: Chunk) {
        self.lanes[writer].give_back(chunk);
    }

    /// Sends a chunk. It never blocks. Only when the receiving end is gone does it fail: then the
    /// number of samples that were shed with it comes back.
    pub fn send(&self, writer: usize, chunk: Chunk) -> Result<(), u64> {
        let samples = chunk.samples();
        self.lanes[writer].enqueued(samples);
        self.chunks[writer].try_send(chunk).map_err(|_| {
            self.lanes[writer].dequeued(samples);
            samples
        })
    }
}

impl Lane {
    /// Which writer it leads to.
    #[must_use]
    pub fn writer(&self) -> usize {
        self.writer
    }

    /// Gives a chunk back that is not needed any more.
    pub fn give_back(&self, chunk: Chunk) {
        self.pool.give_back(chunk);
    }

    /// Samples are waiting on it.
    pub fn enqueued(&self, samples: u64) {
        self.counters.enqueued(self.writer, samples);
    }

    /// Samples are not waiting any more.
    pub fn dequeued(&self, samples: u64) {
        self.counters.dequeued(self.writer, samples);
    }

    /// Samples that an earlier run has left are waiting on it.
    pub fn recovered(&self, samples: u64) {
        self.counters.add_recovered(samples);
        self.enqueued(samples);
    }

    /// Samples that were waiting are lost.
    pub fn lost(&self, samples: u64) {
        self.counters.add_shed(self.writer, samples);
        self.dequeued(samples);
    }

    /// Gives up a chunk and counts its samples.
    pub fn shed(&self, chunk: Chunk) {
        self.lost(chunk.samples());
        self.give_back(chunk);
    }
}

/// Enough that one chunk can be filled, one sent and one written at a time.
const CHUNKS_MIN: usize = 4;
