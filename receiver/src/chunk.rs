//! Samples on their way from the doors to the writers: many in one buffer, so that one send over a
//! channel carries hundreds.
//!
//! Bounded: a [`Pool`] hands out at most as many chunks as it was made for. When none is free the
//! caller sheds what it holds and counts it.
//!
//! What lies in a chunk, and in a journal's record, are entries of one [`EntryFormat`].

mod entry;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use protocol::Telemetry;
use zerocopy::IntoBytes as _;

use crate::{
    definitions::Decodable, ledger::StationRow, link, rejected::RejectedFrame, sparse::Sparse,
};
use entry::{
    FRAME, HEAD_OCTETS, JUMP, LINK, REJECTED, RawEntries, SPARSE, STATION, shard_of_number,
};

pub use entry::{Entries, Entry, EntryFormat, Record, Sample, Unreadable, Why};

pub(crate) use entry::first;

/// Octets in a chunk: some 400 health frames, small enough to stay in the processor's cache
/// between the socket and the writer.
pub const CHUNK_OCTETS: usize = 32 * 1_024;

/// The longest entries that a record of the journal holds.
pub const RECORD_ENTRIES_OCTETS_MAX: usize = CHUNK_OCTETS;

/// The chunks of the samples' hypertables are 6 hours long (`schema`, V1), and begin with the day.
pub(crate) const SLOT_US: i64 = 6 * 3_600 * 1_000_000;

/// Slots of time in which the samples of one chunk may lie.
const SLOTS_MAX: usize = 64;

/// A buffer of entries, all for one writer.
pub struct Chunk {
    octets: Vec<u8>,
    /// What its entries follow.
    format: EntryFormat,
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
    /// The run that wrote it to the journal, if one did.
    run: Option<i64>,
    slots: Slots,
}

/// The slots of [`SLOT_US`] in which samples lie, [`SLOTS_MAX`] at most: a chunk is stored as a whole,
/// and so is all that a hypertable needs for it.
struct Slots {
    /// Where the slot of the last sample begins.
    start_us: i64,
    /// Where each of them begins. Its memory stays with the chunk.
    starts_us: Vec<i64>,
}

impl Chunk {
    /// An empty chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            octets: Vec::with_capacity(CHUNK_OCTETS),
            format: EntryFormat::current(),
            samples: 0,
            shards: 0,
            writer: 0,
            number: 0,
            state: None,
            is_copy: false,
            run: None,
            slots: Slots::new(),
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

    /// What its entries follow.
    #[must_use]
    pub fn format(&self) -> EntryFormat {
        self.format
    }

    /// Samples in it whose shard `is_wanted`, decodable or not.
    #[must_use]
    pub fn samples_of(&self, is_wanted: impl Fn(usize) -> bool) -> u64 {
        let entries = RawEntries::new(&self.octets, self.format, self.samples);
        entries.filter(|entry| is_wanted(entry.shard())).map(|entry| entry.samples).sum()
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

    /// Becomes a copy of entries that were written down before, which follow `format` and stand for so
    /// many samples.
    pub fn fill(&mut self, number: i64, samples: u64, entries: &[u8], format: EntryFormat) {
        self.clear();
        self.octets.extend_from_slice(entries);
        (self.number, self.samples, self.format) = (number, samples, format);
        self.is_copy = true;
    }

    /// The run of the journal that wrote it; none if it is of no journal, or was not written to it.
    #[must_use]
    pub fn run(&self) -> Option<i64> {
        self.run
    }

    /// Says which run of the journal wrote it.
    pub fn set_run(&mut self, run: i64) {
        self.run = Some(run);
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
        let spacecraft = frame.spacecraft().number();
        let is_pushed = self.slots.admit(frame.time().unix_us())
            && self.push(spacecraft, received_us, FRAME, frame.octets());
        self.samples += u64::from(is_pushed);
        is_pushed
    }

    /// Appends a sparse sample; false, and nothing done, when it has no room.
    pub fn push_sparse(&mut self, sample: &Sparse, received_us: i64) -> bool {
        let spacecraft = sample.spacecraft.number();
        let is_pushed = self.slots.admit(sample.time_us)
            && self.push(spacecraft, received_us, SPARSE, &sample.to_octets());
        self.samples += u64::from(is_pushed);
        is_pushed
    }

    /// Appends a row of `link_health`; false, and nothing done, when it has no room.
    pub fn push_link(&mut self, row: &link::Row) -> bool {
        self.push(row.spacecraft.get(), row.time_us.get(), LINK, row.as_bytes())
    }

    /// Appends a row of `station_health`; false, and nothing done, when it has no room.
    pub fn push_station(&mut self, row: &StationRow) -> bool {
        self.push(NO_SPACECRAFT, row.time_us.get(), STATION, row.as_bytes())
    }

    /// Appends a refused frame; false, and nothing done, when it has no room.
    pub fn push_rejected(&mut self, frame: &RejectedFrame<'_>, received_us: i64) -> bool {
        self.push(NO_SPACECRAFT, received_us, REJECTED, &frame.to_octets())
    }

    /// Appends a jump of a counter; false, and nothing done, when it has no room.
    pub fn push_jump(&mut self, jump: &link::Jump) -> bool {
        self.push(jump.spacecraft.get(), jump.time_us.get(), JUMP, jump.as_bytes())
    }

    /// The entries, in the order in which they were appended, as far as this program decodes them
    /// without descriptions of other definitions.
    pub fn entries(&self) -> Entries<'_> {
        self.entries_as(Decodable::built_in(self.format.fingerprint))
    }

    /// The entries, of which only those of `decodable` kinds are decoded.
    pub fn entries_as(&self, decodable: Decodable) -> Entries<'_> {
        Entries::new(&self.octets, self.format, self.samples, decodable)
    }

    /// The samples among the entries.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries().filter_map(|entry| match entry {
            Entry::Sample(record) => Some(record),
            _ => None,
        })
    }

    #[inline]
    fn push(&mut self, spacecraft: u16, received_us: i64, kind: u8, octets: &[u8]) -> bool {
        if self.octets.len() + HEAD_OCTETS + octets.len() > CHUNK_OCTETS {
            return false;
        }
        entry::append(&mut self.octets, received_us, spacecraft, kind, octets);
        self.shards |= 1 << shard_of_number(spacecraft);
        true
    }

    fn clear(&mut self) {
        self.octets.clear();
        self.slots.clear();
        (self.samples, self.shards) = (0, 0);
        (self.state, self.run) = (None, None);
        self.format = EntryFormat::current();
    }
}

impl Slots {
    fn new() -> Self {
        Self { start_us: i64::MAX, starts_us: Vec::new() }
    }

    fn clear(&mut self) {
        self.start_us = i64::MAX;
        self.starts_us.clear();
    }

    /// Whether there is room for the slot of a sample of this time, which has it from then on.
    #[inline]
    fn admit(&mut self, time_us: i64) -> bool {
        let is_same = time_us.wrapping_sub(self.start_us).cast_unsigned() < SLOT_US.cast_unsigned();
        is_same || self.admit_other(time_us)
    }

    fn admit_other(&mut self, time_us: i64) -> bool {
        let start_us = time_us.saturating_sub(time_us.rem_euclid(SLOT_US));
        if !self.starts_us.contains(&start_us) {
            if self.starts_us.len() == SLOTS_MAX {
                return false;
            }
            self.starts_us.push(start_us);
        }
        self.start_us = start_us;
        true
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
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

/// The spacecraft of entries about none.
const NO_SPACECRAFT: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, emit,
        health::Health,
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
        assert_eq!(chunk.samples_of(|shard| shard == 3), chunk.samples());
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

    #[test]
    fn samples_of_many_days_have_no_room_in_one_chunk() {
        let spacecraft = SpacecraftId::new(1).unwrap();
        let mut chunk = Chunk::new();
        let push = |chunk: &mut Chunk, slot: i64| {
            let time_us = slot.saturating_mul(SLOT_US).saturating_add(7);
            chunk.push_sparse(&Sparse::new(&protocol::health::KIND, spacecraft, time_us), 7)
        };
        let slots = SLOTS_MAX as i64;
        for slot in (1 - slots..=0).chain((1 - slots..=0).rev()) {
            assert!(push(&mut chunk, slot), "{slot}");
        }
        assert!(!push(&mut chunk, 1) && push(&mut chunk, 0) && push(&mut chunk, -5));
        assert_eq!(chunk.samples(), 2 * SLOTS_MAX as u64 + 2);
        chunk.clear();
        assert!([1, i64::MAX, i64::MIN, 0].into_iter().all(|slot| push(&mut chunk, slot)));
    }
}
