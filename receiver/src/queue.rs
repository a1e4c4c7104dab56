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

/// The sending ends of all queues.
#[derive(Clone)]
pub struct Outlets {
    outlets: Vec<Outlet>,
    counters: Arc<Counters>,
}

#[derive(Clone)]
struct Outlet {
    pool: Pool,
    chunks: Sender<Chunk>,
}

/// The receiving end of one writer's queue.
pub struct Inlet {
    /// Which writer this is.
    pub writer: usize,
    /// Full chunks.
    pub chunks: Receiver<Chunk>,
    /// Where empty ones go back to.
    pub pool: Pool,
}

/// Makes a queue for each of `writers`, of `octets` altogether.
#[must_use]
pub fn queues(writers: usize, octets: usize, counters: &Arc<Counters>) -> (Outlets, Vec<Inlet>) {
    let chunks_max = (octets / writers.max(1) / CHUNK_OCTETS).max(CHUNKS_MIN);
    let (mut outlets, mut inlets) = (Vec::new(), Vec::new());
    for writer in 0..writers {
        let pool = Pool::new(chunks_max);
        let (send, receive) = bounded(chunks_max);
        outlets.push(Outlet { pool: pool.clone(), chunks: send });
        inlets.push(Inlet { writer, chunks: receive, pool });
    }
    (Outlets { outlets, counters: Arc::clone(counters) }, inlets)
}

impl Outlets {
    /// How many writers there are.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.outlets.len()
    }

    /// Which writer stores a spacecraft's samples.
    #[inline]
    #[must_use]
    pub fn writer_of(&self, spacecraft: SpacecraftId) -> usize {
        shard_of(spacecraft) % self.outlets.len()
    }

    /// Which writer stores what is about no spacecraft.
    #[must_use]
    pub fn station_writer(&self) -> usize {
        STATION_SHARD % self.outlets.len()
    }

    /// Whether a writer waits for chunks. While it does not, a chunk that is not full had better
    /// wait and fill: the queue holds so many chunks, however little is in them.
    #[must_use]
    pub fn is_hungry(&self, writer: usize) -> bool {
        self.outlets[writer].chunks.is_empty()
    }

    /// An empty chunk for a writer, if one is free.
    #[must_use]
    pub fn take(&self, writer: usize) -> Option<Chunk> {
        self.outlets[writer].pool.take()
    }

    /// An empty chunk for a writer, if half of them are free: a sender by HTTP can try again, a
    /// satellite cannot.
    #[must_use]
    pub fn take_spare(&self, writer: usize) -> Option<Chunk> {
        self.outlets[writer].pool.take_spare()
    }

    /// Gives an unused chunk back.
    pub fn give_back(&self, writer: usize, chunk: Chunk) {
        self.outlets[writer].pool.give_back(chunk);
    }

    /// Sends a chunk. It never blocks. Only when the writer is gone does it fail: then the number
    /// of samples that were shed with it comes back.
    pub fn send(&self, writer: usize, chunk: Chunk) -> Result<(), u64> {
        let samples = chunk.samples();
        self.counters.enqueued(writer, samples);
        self.outlets[writer].chunks.try_send(chunk).map_err(|_| {
            self.counters.dequeued(writer, samples);
            samples
        })
    }
}

/// Enough that one chunk can be filled, one sent and one written at a time.
const CHUNKS_MIN: usize = 4;
