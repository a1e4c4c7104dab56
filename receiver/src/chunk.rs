//! Samples on their way from the doors to the writers: many in one buffer, so that one send over a
//! channel carries hundreds.
//!
//! Bounded: a [`Pool`] hands out at most as many chunks as it was made for. When none is free the
//! caller sheds what it holds and counts it.
//!
//! Layout of one entry, little-endian: received_at in µs since 1970 (i64), octets that follow
//! (u16), what they are (u8: 0 a frame as received, 1 a JSON sample, 2 a row of `link_health`, 3 one
//! of `station_health`, 4 a refused frame, 5 a jump of a counter), then the octets.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use protocol::{Apid, SpacecraftId, Telemetry};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    ledger::StationRow,
    link,
    queue::{STATION_SHARD, shard_of},
    rejected::RejectedFrame,
    sparse::Sparse,
};

/// Octets in a chunk: some 400 health frames, small enough to stay in the processor's cache
/// between the socket and the writer.
pub const CHUNK_OCTETS: usize = 32 * 1_024;

/// A buffer of entries, all for one writer.
pub struct Chunk {
    octets: Vec<u8>,
    samples: u64,
    /// The shards that have entries in it, one bit each.
    shards: u64,
    /// Which writer it is for.
    writer: usize,
    /// Its place in the order of all chunks, which the database's ledger knows it by.
    number: i64,
    /// What the tracker knows after the frames of this chunk and of all before it.
    state: Option<Vec<u8>>,
    /// Whether it was read from the journal, and is of no pool.
    is_copy: bool,
}

/// What a writer stores.
pub enum Entry<'a> {
    /// A sample; only these are in the ledger.
    Sample(Record<'a>),
    /// How a link did.
    Link(link::Row),
    /// How the station did.
    Station(Box<StationRow>),
    /// What was refused, and when.
    Rejected(i64, RejectedFrame<'a>),
    /// A counter that has leapt.
    Jump(link::Jump),
}

/// One sample and when it arrived.
pub struct Record<'a> {
    /// Arrival in µs since 1970.
    pub received_us: i64,
    /// What arrived.
    pub sample: Sample<'a>,
}

/// What a door let in.
pub enum Sample<'a> {
    /// A frame, all of it.
    Frame(Telemetry<'a>),
    /// Some channels, by HTTP.
    Sparse(Box<Sparse>),
}

impl Chunk {
    /// An empty chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            octets: Vec::with_capacity(CHUNK_OCTETS),
            samples: 0,
            shards: 0,
            writer: 0,
            number: 0,
            state: None,
            is_copy: false,
        }
    }

    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The entries, as they lie in it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The shards that have entries in it, one bit each.
    #[must_use]
    pub fn shards(&self) -> u64 {
        self.shards
    }

    /// Samples in it whose shard `is_wanted`.
    #[must_use]
    pub fn samples_of(&self, is_wanted: impl Fn(usize) -> bool) -> u64 {
        self.records().filter(|record| is_wanted(shard_of(record.spacecraft()))).count() as u64
    }

    /// When its first entry was received, µs since 1970.
    #[must_use]
    pub fn received_us(&self) -> Option<i64> {
        self.octets.first_chunk().map(|octets| i64::from_le_bytes(*octets))
    }

    /// Which writer it is for.
    #[must_use]
    pub fn writer(&self) -> usize {
        self.writer
    }

    /// Its place in the order of all chunks.
    #[must_use]
    pub fn place(&self) -> i64 {
        self.number
    }

    /// Gives it its place in the order of all chunks.
    pub fn number(&mut self, number: i64) {
        self.number = number;
    }

    /// Becomes a chunk that was written down before.
    pub fn fill(&mut self, number: i64, samples: u64, entries: &[u8]) {
        self.clear();
        self.octets.extend_from_slice(entries);
        (self.number, self.samples) = (number, samples);
        self.is_copy = true;
    }

    /// Whether it was written down before, and is only a copy of that.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Attaches what the tracker knows after it.
    pub fn attach(&mut self, state: Vec<u8>) {
        self.state = Some(state);
    }

    /// Takes off what was attached.
    pub fn take_state(&mut self) -> Option<Vec<u8>> {
        self.state.take()
    }

    /// Appends a frame; false, and nothing done, when it has no room.
    #[inline]
    pub fn push_frame(&mut self, frame: &Telemetry<'_>, received_us: i64) -> bool {
        let shard = shard_of(frame.spacecraft());
        let is_pushed = self.push(shard, received_us, TAG_FRAME, frame.octets());
        self.samples += u64::from(is_pushed);
        is_pushed
    }

    /// Appends a sparse sample; false, and nothing done, when it has no room.
    pub fn push_sparse(&mut self, sample: &Sparse, received_us: i64) -> bool {
        let shard = shard_of(sample.spacecraft);
        let is_pushed = self.push(shard, received_us, TAG_SPARSE, &sample.to_octets());
        self.samples += u64::from(is_pushed);
        is_pushed
    }

    /// Appends a row of `link_health`; false, and nothing done, when it has no room.
    pub fn push_link(&mut self, row: &link::Row) -> bool {
        let shard = SpacecraftId::new(row.spacecraft.get()).map_or(STATION_SHARD, shard_of);
        self.push(shard, row.time_us.get(), TAG_LINK, row.as_bytes())
    }

    /// Appends a row of `station_health`; false, and nothing done, when it has no room.
    pub fn push_station(&mut self, row: &StationRow) -> bool {
        self.push(STATION_SHARD, row.time_us.get(), TAG_STATION, row.as_bytes())
    }

    /// Appends a refused frame; false, and nothing done, when it has no room.
    pub fn push_rejected(&mut self, frame: &RejectedFrame<'_>, received_us: i64) -> bool {
        self.push(STATION_SHARD, received_us, TAG_REJECTED, &frame.to_octets())
    }

    /// Appends a jump of a counter; false, and nothing done, when it has no room.
    pub fn push_jump(&mut self, jump: &link::Jump) -> bool {
        let shard = SpacecraftId::new(jump.spacecraft.get()).map_or(STATION_SHARD, shard_of);
        self.push(shard, jump.time_us.get(), TAG_JUMP, jump.as_bytes())
    }

    /// The entries, in the order in which they were appended.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        entries(&self.octets)
    }

    /// The samples among the entries.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries().filter_map(|entry| match entry {
            Entry::Sample(record) => Some(record),
            _ => None,
        })
    }

    #[inline]
    fn push(&mut self, shard: usize, received_us: i64, tag: u8, octets: &[u8]) -> bool {
        if self.octets.len() + HEAD_OCTETS + octets.len() > CHUNK_OCTETS {
            return false;
        }
        append(&mut self.octets, received_us, tag, octets);
        self.shards |= 1 << shard;
        true
    }

    fn clear(&mut self) {
        self.octets.clear();
        (self.samples, self.shards) = (0, 0);
        self.state = None;
    }
}

/// The entries of a chunk's octets, in the order in which they were appended.
pub fn entries(octets: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let (entry, tail) = first(rest)?;
        rest = tail;
        Some(entry)
    })
}

/// The first entry of some, and what follows it.
pub fn first(octets: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (head, tail) = octets.split_first_chunk::<HEAD_OCTETS>()?;
    let received_us = i64::from_le_bytes(*head.first_chunk()?);
    let length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    let (octets, tail) = tail.split_at_checked(length)?;
    let sample = |sample| Entry::Sample(Record { received_us, sample });
    let entry = match head[10] {
        TAG_FRAME => sample(Sample::Frame(Telemetry::from_checked(octets)?)),
        TAG_SPARSE => sample(Sample::Sparse(Box::new(Sparse::from_octets(octets)?))),
        TAG_LINK => Entry::Link(link::Row::read_from_bytes(octets).ok()?),
        TAG_STATION => Entry::Station(Box::new(StationRow::read_from_bytes(octets).ok()?)),
        TAG_REJECTED => Entry::Rejected(received_us, RejectedFrame::from_octets(octets)?),
        TAG_JUMP => Entry::Jump(link::Jump::read_from_bytes(octets).ok()?),
        _ => return None,
    };
    Some((entry, tail))
}

/// Appends an entry to some.
#[inline]
fn append(to: &mut Vec<u8>, received_us: i64, tag: u8, octets: &[u8]) {
    let mut head = [0; HEAD_OCTETS];
    head[..8].copy_from_slice(&received_us.to_le_bytes());
    head[8..10].copy_from_slice(&(octets.len() as u16).to_le_bytes());
    head[10] = tag;
    to.extend_from_slice(&head);
    to.extend_from_slice(octets);
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry<'_> {
    /// The shard in whose order it is stored.
    #[must_use]
    pub fn shard(&self) -> usize {
        match self {
            Self::Sample(record) => shard_of(record.spacecraft()),
            Self::Link(row) => {
                SpacecraftId::new(row.spacecraft.get()).map_or(STATION_SHARD, shard_of)
            }
            Self::Jump(jump) => {
                SpacecraftId::new(jump.spacecraft.get()).map_or(STATION_SHARD, shard_of)
            }
            Self::Station(_) | Self::Rejected(..) => STATION_SHARD,
        }
    }
}

impl Record<'_> {
    /// Appends it to some entries.
    #[inline]
    pub fn append_to(&self, entries: &mut Vec<u8>) {
        match &self.sample {
            Sample::Frame(frame) => {
                append(entries, self.received_us, TAG_FRAME, frame.octets());
            }
            Sample::Sparse(sample) => {
                append(entries, self.received_us, TAG_SPARSE, &sample.to_octets());
            }
        }
    }

    /// Who sent it.
    #[must_use]
    pub fn spacecraft(&self) -> SpacecraftId {
        match &self.sample {
            Sample::Frame(frame) => frame.spacecraft(),
            Sample::Sparse(sample) => sample.spacecraft,
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn apid(&self) -> Apid {
        match &self.sample {
            Sample::Frame(frame) => frame.apid(),
            Sample::Sparse(sample) => sample.kind().apid,
        }
    }

    /// When it was generated, in µs since 1970.
    #[must_use]
    pub fn generated_us(&self) -> i64 {
        match &self.sample {
            Sample::Frame(frame) => frame.time().unix_us(),
            Sample::Sparse(sample) => sample.time_us,
        }
    }
}

/// A bounded supply of chunks, shared by the doors and one writer.
#[derive(Clone)]
pub struct Pool {
    free: Receiver<Chunk>,
    give: Sender<Chunk>,
    made: Arc<AtomicUsize>,
    chunks_max: usize,
    writer: usize,
}

impl Pool {
    /// A pool of at most `chunks_max` chunks for a writer, made when first needed.
    #[must_use]
    pub fn new(chunks_max: usize, writer: usize) -> Self {
        let (give, free) = bounded(chunks_max);
        Self { free, give, made: Arc::default(), chunks_max, writer }
    }

    /// An empty chunk, if one is free.
    #[must_use]
    pub fn take(&self) -> Option<Chunk> {
        if let Ok(chunk) = self.free.try_recv() {
            return Some(chunk);
        }
        let more = |made| (made < self.chunks_max).then_some(made + 1);
        self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Chunk { writer: self.writer, ..Chunk::new() })
    }

    /// An empty chunk, if at least half of all are free: for a door whose senders can wait.
    #[must_use]
    pub fn take_spare(&self) -> Option<Chunk> {
        self.has_spare().then(|| self.take()).flatten()
    }

    /// Whether at least half of all are free.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        let unmade = self.chunks_max - self.made.load(Ordering::Relaxed);
        (self.free.len() + unmade) * 2 > self.chunks_max
    }

    /// Takes a chunk back.
    pub fn give_back(&self, mut chunk: Chunk) {
        chunk.clear();
        // There is always room: no more chunks exist than the channel holds.
        let _kept = self.give.try_send(chunk);
    }
}

const HEAD_OCTETS: usize = 8 + 2 + 1;
const TAG_FRAME: u8 = 0;
const TAG_SPARSE: u8 = 1;
const TAG_LINK: u8 = 2;
const TAG_STATION: u8 = 3;
const TAG_REJECTED: u8 = 4;
const TAG_JUMP: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, Stamp, emit, health::Health,
    };

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(3).unwrap(),
            boot_count: 1,
            sequence: Sequence::new(9),
            time: CdsTime { day: 24_837, ms: 5, us: 6 },
        };
        let mut out = [0; FRAME_OCTETS_MAX];
        let octets = emit(&stamp, &Packet::Health(Health::default()), &mut out);
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
            panic!("refused");
        };
        let mut sparse = Sparse::new(&protocol::attitude::KIND, stamp.spacecraft, 77);
        sparse.set(2, -0.5);
        let mut chunk = Chunk::new();
        assert!(chunk.push_frame(&frame, 1_000));
        assert!(chunk.push_sparse(&sparse, 2_000));
        let mut records = chunk.records();
        let first = records.next().unwrap();
        assert_eq!(first.received_us, 1_000);
        assert!(matches!(first.sample, Sample::Frame(f) if f.octets() == octets));
        let second = records.next().unwrap();
        assert_eq!((second.received_us, second.generated_us()), (2_000, 77));
        assert!(matches!(second.sample, Sample::Sparse(s) if *s == sparse));
        assert!(records.next().is_none());
        drop(records);
        while chunk.push_frame(&frame, 0) {}
        assert_eq!(chunk.records().count() as u64, chunk.samples());
    }

    #[test]
    fn a_pool_has_an_end() {
        let pool = Pool::new(2, 0);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        pool.give_back(first);
        pool.give_back(second);
        assert!(pool.take().is_some() && pool.take().is_some());
        assert!(pool.take().is_none());
    }
}
