//! Samples that are stored in one transaction, and which samples of each shard they are.

mod present;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{KINDS, SpacecraftId};

use crate::{
    chunk::{Chunk, Entries, Entry, EntryFormat, Record, Unreadable},
    copy::{
        CopyBuffer,
        side::{SIDES, Side},
    },
    definitions::Definitions,
    detect::Event,
    queue::SHARDS,
    spacecraft::SpacecraftSet,
};
pub use present::Presence;
use present::Skipped;

pub use crate::time_window::TimeWindow;

/// Rows of every table, encoded, and their ranges.
pub struct Batch {
    /// The rows.
    pub rows: Rows,
    /// Spacecraft that this writer had not met before.
    pub newcomers: Vec<SpacecraftId>,
    /// All that it has met.
    named: SpacecraftSet,
    /// For each shard which of its chunks are in the batch.
    ranges: [Range; SHARDS],
    /// The shards that it takes, one bit each.
    own: u64,
    samples: u64,
    /// Events that are entries, by identity.
    events: BTreeMap<i64, Event>,
    /// When its first sample was received.
    since: Option<Instant>,
    /// The chunks as they came, in case that a row is refused: its sample is then set aside as it
    /// was.
    chunks: Vec<u8>,
    /// Each of them, in order.
    places: Vec<Place>,
    /// What kinds of entries can be decoded.
    definitions: Arc<Definitions>,
    /// What the database has already.
    skipped: Skipped,
    /// Entries that the database does not take, by number among the entries.
    poison: BTreeMap<usize, Poison>,
}

/// A chunk of a batch.
#[derive(Clone, Copy)]
struct Place {
    /// Its place in the order of all.
    number: i64,
    /// Where among the batch's octets it ends.
    end: usize,
    /// Samples that its entries stand for.
    samples: u64,
    /// What its entries follow.
    format: EntryFormat,
}

/// Rows of every table, encoded.
pub struct Rows {
    /// One stream for each kind's table, in the order of [`KINDS`].
    pub tables: Vec<CopyBuffer>,
    /// The tables beside them, in the order of [`Side`].
    pub sides: [CopyBuffer; SIDES],
    /// Samples of `quarantine` that have no row of their own: one row has what could not be told
    /// apart.
    unseparated: u64,
}

/// What a writer's rows are made with.
#[derive(Clone, Debug)]
pub struct Form {
    /// The station's name.
    pub station: String,
    /// Which samples are set aside.
    pub window: TimeWindow,
}

/// Why the database does not take a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// In the server's words.
    pub reason: String,
    /// Its code.
    pub sqlstate: String,
}

/// Consecutive chunks of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Place behind the last chunk that was stored before.
    pub first: i64,
    /// Place behind the last chunk of this batch.
    pub next: i64,
    /// Samples of it that are in the batch.
    pub samples: i64,
}

/// What became of an entry that was to be put into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is a sample, and goes to its table.
    Row,
    /// It goes elsewhere.
    Beside,
    /// It is stored already.
    Stored,
    /// It belongs to another writer.
    NotOwn,
}

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// It has this many rows,
    pub rows_max: u64,
    /// or this many octets,
    pub octets_max: usize,
    /// or its first sample was received this long ago, and no more wait that could go with it.
    pub age_max: Duration,
}

impl Batch {
    /// An empty batch of a writer with these shards, one bit each, and the definitions that are built
    /// in.
    #[must_use]
    pub fn new(own: u64) -> Self {
        Self::with_definitions(own, Arc::new(Definitions::built_in()))
    }

    /// An empty batch of a writer with these shards, one bit each.
    #[must_use]
    pub fn with_definitions(own: u64, definitions: Arc<Definitions>) -> Self {
        Self {
            rows: Rows::new(),
            newcomers: Vec::new(),
            named: SpacecraftSet::none(),
            ranges: [Range::default(); SHARDS],
            own,
            samples: 0,
            events: BTreeMap::new(),
            since: None,
            chunks: Vec::new(),
            places: Vec::new(),
            definitions,
            skipped: Skipped::nothing(),
            poison: BTreeMap::new(),
        }
    }

    /// Says up to which place each shard is stored, of the run whose chunks follow; to be called while
    /// it is empty.
    pub fn resume(&mut self, positions: &[i64; SHARDS]) {
        for (range, &first) in self.ranges.iter_mut().zip(positions) {
            *range = Range { first, next: first, samples: 0 };
        }
    }

    /// Leaves out what another process has stored of the same records meanwhile: what is before these
    /// places. Returns how many samples these are.
    pub fn skip_to(&mut self, positions: &[i64; SHARDS], form: &Form) -> u64 {
        let before = self.samples;
        for (range, &first) in self.ranges.iter_mut().zip(positions) {
            // A range that is empty afterwards goes on from there.
            let first = first.max(range.first);
            *range = Range { first, next: range.next.max(first), samples: 0 };
        }
        let (mut counts, mut samples) = ([0; SHARDS], 0);
        for entry in self.entries() {
            counts[entry.shard()] += entry.samples().cast_signed();
            samples += entry.samples();
        }
        for (range, count) in self.ranges.iter_mut().zip(counts) {
            range.samples = count;
        }
        self.samples = samples;
        // Both know entries by numbers that have changed; they are looked for again.
        self.poison.clear();
        self.skipped.advance();
        self.encode(form);
        before - samples
    }

    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Appends the entries of a chunk, which was `received` then, and tells `met` what became of
    /// each.
    pub fn push(
        &mut self,
        chunk: &Chunk,
        form: &Form,
        received: Instant,
        mut met: impl FnMut(&Entry<'_>, Put),
    ) {
        let place = chunk.place();
        let mut is_here = false;
        let decodable = self.definitions.of(chunk.format().fingerprint);
        for entry in chunk.entries_as(decodable) {
            let put = self.belongs(place, &entry);
            if put != Put::Row {
                met(&entry, put);
                continue;
            }
            is_here = true;
            self.since.get_or_insert(received);
            let range = &mut self.ranges[entry.shard()];
            range.next = place + 1;
            let samples = entry.samples();
            range.samples += samples.cast_signed();
            self.samples += samples;
            if let Entry::Sample(record) = &entry
                && self.named.insert(record.spacecraft())
            {
                self.newcomers.push(record.spacecraft());
            }
            if let Entry::Jump(jump) = &entry {
                let event = Event::of_jump(jump, &form.station);
                self.events.extend(event.map(|event| (event.id, event)));
            }
            let is_row = self.rows.push(&entry, form, None);
            met(&entry, if is_row { Put::Row } else { Put::Beside });
        }
        // What was stored before is read again for the detectors, and that may be much.
        if is_here {
            self.chunks.extend_from_slice(chunk.octets());
            let (end, samples) = (self.chunks.len(), chunk.samples());
            self.places.push(Place { number: place, end, samples, format: chunk.format() });
        }
    }

    /// The events that are entries of its chunks, by identity.
    #[must_use]
    pub fn events(&self) -> &BTreeMap<i64, Event> {
        &self.events
    }

    /// Its entries, as they came.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut start = 0;
        self.places.iter().flat_map(move |&Place { number, end, samples, format }| {
            let octets = &self.chunks[start..end];
            start = end;
            let decodable = self.definitions.of(format.fingerprint);
            let all = Entries::new(octets, format, samples, decodable);
            all.filter(move |entry| self.belongs(number, entry) == Put::Row)
        })
    }

    /// Encodes it anew, with the entries at these places among its [`Self::entries`] set aside.
    pub fn set_aside(&mut self, poison: &BTreeMap<usize, Poison>, form: &Form) {
        self.poison.clone_from(poison);
        self.encode(form);
    }

    /// Leaves out the rows of samples that are stored already, and what was stored with them, in
    /// place of what was left out before. The ranges stay: these samples are dealt with.
    pub fn skip_stored(&mut self, presence: &Presence, form: &Form) {
        let mut skipped = std::mem::replace(&mut self.skipped, Skipped::nothing());
        let is_changed = skipped.replace(presence, self.entries());
        self.skipped = skipped;
        if is_changed {
            self.encode(form);
        }
    }

    /// Samples whose rows are left out, since they are stored already.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.samples()
    }

    fn encode(&mut self, form: &Form) {
        let mut rows = Rows::new();
        for (number, entry) in self.entries().enumerate() {
            if !self.skipped.has(number, &entry) {
                rows.push(&entry, form, self.poison.get(&number));
            }
        }
        self.rows = rows;
    }

    /// Whether it has all that it may have.
    #[must_use]
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.samples >= limits.rows_max
            || self.rows.octets() >= limits.octets_max
            || self.rows.slots() >= SLOTS_MAX
    }

    /// The time until its first sample has waited long enough; none while it is empty.
    #[must_use]
    pub fn due_in(&self, limits: &Limits, now: Instant) -> Option<Duration> {
        Some(limits.age_max.saturating_sub(now.saturating_duration_since(self.since?)))
    }

    /// The shards that have entries here, with their ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, Range)> {
        let ranges = self.ranges.iter().copied().enumerate();
        ranges.filter(|(_, range)| range.next != range.first)
    }

    /// Empties it after it has been stored: the next entry of each shard follows the last one.
    pub fn advance(&mut self) {
        self.rows.clear();
        self.newcomers.clear();
        for range in &mut self.ranges {
            *range = Range { first: range.next, next: range.next, samples: 0 };
        }
        self.samples = 0;
        self.events.clear();
        self.since = None;
        self.chunks.clear();
        self.places.clear();
        self.skipped.advance();
        self.poison.clear();
    }

    fn belongs(&self, place: i64, entry: &Entry<'_>) -> Put {
        let shard = entry.shard();
        if self.own & (1 << shard) == 0 {
            Put::NotOwn
        } else if place < self.ranges[shard].first {
            Put::Stored
        } else {
            Put::Row
        }
    }
}

impl Rows {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: KINDS.iter().map(|_| CopyBuffer::new()).collect(),
            sides: std::array::from_fn(|_| CopyBuffer::new()),
            unseparated: 0,
        }
    }

    /// Samples that are set aside.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.sides[Side::Quarantine as usize].rows() + self.unseparated
    }

    /// Samples that go to their tables.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.tables.iter().map(CopyBuffer::rows).sum()
    }

    /// Chunks of hypertables that samples go to.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.tables.iter().map(CopyBuffer::slots).sum()
    }

    /// Octets of all of them.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.tables.iter().chain(&self.sides).map(CopyBuffer::len).sum()
    }

    /// Appends an entry. True when it is a sample that goes to its table. What the database does not
    /// take is set aside if it is a sample, and else left out.
    pub fn push(&mut self, entry: &Entry<'_>, form: &Form, poison: Option<&Poison>) -> bool {
        let station = &*form.station;
        match (entry, poison) {
            (Entry::Sample(record), poison) => return self.push_sample(record, form, poison),
            (Entry::Unreadable(entry), poison) => self.push_unreadable(entry, form, poison),
            // Events are no rows of a COPY.
            (_, Some(_)) | (Entry::Jump(_), None) => {}
            (Entry::Link(row), None) => self.side(Side::LinkHealth).push_link(row, station),
            (Entry::Station(row), None) => {
                self.side(Side::StationHealth).push_station(row, station)
            }
            (Entry::Rejected(received_us, frame), None) => {
                self.side(Side::RejectedFrame).push_rejected(*received_us, frame, station);
            }
        }
        false
    }

    fn push_sample(&mut self, record: &Record<'_>, form: &Form, poison: Option<&Poison>) -> bool {
        let refusal = form.window.refusal(record.generated_us(), record.received_us);
        let (reason, sqlstate) = match (poison, refusal) {
            (Some(poison), _) => (&*poison.reason, Some(&*poison.sqlstate)),
            (None, Some(reason)) => (reason, None),
            (None, None) => {
                let place = KINDS.iter().position(|kind| kind.apid == record.apid());
                self.tables[place.unwrap_or_default()].push(record, &form.station);
                return true;
            }
        };
        let side = self.side(Side::Quarantine);
        side.push_quarantine(record, &form.station, reason, sqlstate);
        false
    }

    /// Keeps what was a sample, as it lies there; other entries have nothing that is to be kept.
    fn push_unreadable(&mut self, entry: &Unreadable<'_>, form: &Form, poison: Option<&Poison>) {
        if entry.samples == 0 {
            return;
        }
        let (reason, sqlstate) = match poison {
            Some(poison) => (&*poison.reason, Some(&*poison.sqlstate)),
            None => (UNDECODABLE, None),
        };
        let side = self.side(Side::Quarantine);
        let (received_us, octets) = (entry.received_us, entry.octets);
        side.push_quarantined_octets(received_us, &form.station, (reason, sqlstate), octets);
        self.unseparated += entry.samples - 1;
    }

    fn clear(&mut self) {
        self.tables.iter_mut().for_each(CopyBuffer::clear);
        self.sides.iter_mut().for_each(CopyBuffer::clear);
        self.unseparated = 0;
    }

    fn side(&mut self, side: Side) -> &mut CopyBuffer {
        &mut self.sides[side as usize]
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Limits {
    /// At most so many rows, and so old; octets in proportion to the rows.
    #[must_use]
    pub fn new(rows_max: u32, age_max: Duration) -> Self {
        let octets_max = OCTETS_MAX.max(rows_max as usize * ROW_OCTETS);
        Self { rows_max: rows_max.into(), octets_max, age_max }
    }
}

/// The reason in `quarantine` of samples that no known definitions decode.
pub const UNDECODABLE: &str = "undecodable";
/// Rows of a batch, unless somebody wants it otherwise: the columnstore's segments have up to 1,000
/// rows of one satellite each, and cost the more for a row the fewer they have.
pub const ROWS_MAX: u32 = 50_000;
/// Chunks of hypertables that a batch may touch before it is closed; one chunk of samples more brings
/// no more than twice as many as that. A chunk that is not there yet takes some 10 ms to make, and
/// whoever needs another one waits for that until the end of the transaction; and each takes some of
/// the server's locks.
const SLOTS_MAX: usize = 64;
/// A batch of refused frames has few rows, and long ones.
const OCTETS_MAX: usize = 8 << 20;
/// No row of a sample is longer.
const ROW_OCTETS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::Chunk, link, sparse::Sparse};

    const WINDOW: TimeWindow =
        TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(5) };

    fn chunk(samples: &[(u16, i64)]) -> Chunk {
        let mut chunk = Chunk::new();
        for &(spacecraft, time_us) in samples {
            let id = SpacecraftId::new(spacecraft).unwrap();
            let sample = Sparse::new(&protocol::health::KIND, id, time_us);
            assert!(chunk.push_sparse(&sample, 100_000_000));
        }
        chunk
    }

    fn form() -> Form {
        Form { station: "GS-01".into(), window: WINDOW }
    }

    fn fill(batch: &mut Batch, place: i64, samples: &[(u16, i64)], now: Instant) -> Vec<Put> {
        let mut chunk = chunk(samples);
        chunk.number(place);
        let mut put = Vec::new();
        batch.push(&chunk, &form(), now, |_, what| put.push(what));
        put
    }

    const TIME: i64 = 100_000_000;

    #[test]
    fn ranges_go_on_from_batch_to_batch() {
        let now = Instant::now();
        let mut batch = Batch::new(u64::MAX);
        fill(&mut batch, 0, &[(1, TIME), (65, TIME), (2, TIME)], now);
        fill(&mut batch, 3, &[(1, TIME)], now);
        let ranges = |batch: &Batch| batch.ranges().collect::<Vec<_>>();
        assert_eq!(
            ranges(&batch),
            [
                (1, Range { first: 0, next: 4, samples: 3 }),
                (2, Range { first: 0, next: 1, samples: 1 })
            ]
        );
        batch.advance();
        assert!(ranges(&batch).is_empty() && batch.samples() == 0);
        fill(&mut batch, 9, &[(65, TIME)], now);
        assert_eq!(ranges(&batch), [(1, Range { first: 4, next: 10, samples: 1 })]);
    }

    #[test]
    fn only_what_is_its_own_and_not_stored() {
        let now = Instant::now();
        let mut batch = Batch::new(0b110);
        let mut positions = [0; SHARDS];
        positions[1] = 5;
        batch.resume(&positions);
        let all = [(1, TIME), (2, TIME), (3, TIME), (2, 0)];
        assert_eq!(
            fill(&mut batch, 4, &all, now),
            [Put::Stored, Put::Row, Put::NotOwn, Put::Beside]
        );
        let octets = batch.chunks.len();
        assert_eq!(fill(&mut batch, 4, &[(1, TIME), (3, TIME)], now), [Put::Stored, Put::NotOwn]);
        assert_eq!(batch.chunks.len(), octets, "what is not stored is not kept");
        assert_eq!(fill(&mut batch, 5, &[(1, TIME)], now), [Put::Row]);
        assert_eq!((batch.samples(), batch.rows.stored(), batch.rows.quarantined()), (3, 2, 1));
        let entries: Vec<_> = batch.entries().map(|entry| entry.shard()).collect();
        assert_eq!(entries, [2, 2, 1]);
        let poison = Poison { reason: "no".into(), sqlstate: "23514".into() };
        batch.set_aside(&BTreeMap::from([(2, poison)]), &form());
        assert_eq!((batch.samples(), batch.rows.stored(), batch.rows.quarantined()), (3, 1, 2));
    }

    #[test]
    fn what_is_stored_already_has_no_row_and_stays_in_its_range() {
        let mut batch = Batch::new(u64::MAX);
        let presence = |stored: &[u32]| Presence { stored: stored.iter().copied().collect() };
        fill(&mut batch, 0, &[(1, TIME), (2, TIME), (1, TIME + 1), (2, 0)], Instant::now());
        let ranges: Vec<_> = batch.ranges().collect();
        batch.skip_stored(&presence(&[0, 1, 2]), &form());
        assert_eq!((batch.samples(), batch.skipped()), (4, 3));
        assert_eq!((batch.rows.stored(), batch.rows.quarantined()), (0, 1));
        // Asked again, after an attempt that failed: the last answer counts, and a row that is set
        // aside meanwhile stays so.
        let poison = Poison { reason: "no".into(), sqlstate: "23514".into() };
        batch.set_aside(&BTreeMap::from([(2, poison)]), &form());
        batch.skip_stored(&presence(&[1]), &form());
        assert_eq!((batch.samples(), batch.skipped()), (4, 1));
        assert_eq!((batch.rows.stored(), batch.rows.quarantined()), (1, 2));
        assert_eq!(batch.ranges().collect::<Vec<_>>(), ranges);
        batch.advance();
        assert_eq!((batch.skipped(), batch.rows.stored()), (0, 0));
    }

    #[test]
    fn link_health_follows_the_samples_of_its_spacecraft() {
        let mut batch = Batch::new(u64::MAX);
        let mut next = 0;
        let mut links = |batch: &mut Batch, samples: &[u16], stored: &[u32]| {
            let samples: Vec<_> = samples.iter().map(|&id| (id, TIME)).collect();
            let mut chunk = chunk(&samples);
            for spacecraft in [1_u16, 2] {
                let row = link::Row { spacecraft: spacecraft.into(), ..link::Row::default() };
                assert!(chunk.push_link(&row));
            }
            chunk.number(next);
            next += 1;
            batch.push(&chunk, &form(), Instant::now(), |_, _| {});
            let stored = stored.iter().copied().collect();
            batch.skip_stored(&Presence { stored }, &form());
            let rows = batch.rows.sides[Side::LinkHealth as usize].rows();
            batch.advance();
            rows
        };
        assert_eq!(links(&mut batch, &[1, 2, 1], &[]), 2);
        assert_eq!(links(&mut batch, &[1, 2, 1], &[0, 1]), 1, "one of the first is new");
        assert_eq!(links(&mut batch, &[1, 2, 1], &[0, 1, 2]), 0);
        assert_eq!(links(&mut batch, &[], &[]), 0, "their samples came in the batch before");
        assert_eq!(links(&mut batch, &[1], &[]), 1);
        assert_eq!(links(&mut batch, &[2], &[]), 2);
    }

    #[test]
    fn what_another_process_has_stored_is_skipped_and_no_other_row_with_it() {
        let now = Instant::now();
        let mut batch = Batch::new(u64::MAX);
        fill(&mut batch, 4, &[(1, TIME), (2, TIME)], now);
        fill(&mut batch, 5, &[(1, TIME), (2, TIME)], now);
        // The database refused the first entry, and has the second.
        let poison = Poison { reason: "no".into(), sqlstate: "23514".into() };
        batch.set_aside(&BTreeMap::from([(0, poison)]), &form());
        batch.skip_stored(&Presence { stored: [1].into() }, &form());
        let counts = |batch: &Batch| (batch.rows.stored(), batch.rows.quarantined());
        assert_eq!((counts(&batch), batch.skipped()), ((2, 1), 1));
        let mut positions = [0; SHARDS];
        (positions[1], positions[2]) = (5, 5);
        assert_eq!(batch.skip_to(&positions, &form()), 2);
        assert_eq!((batch.samples(), counts(&batch), batch.skipped()), (2, (2, 0), 0));
        let ranges: Vec<_> = batch.ranges().collect();
        let range = Range { first: 5, next: 6, samples: 1 };
        assert_eq!(ranges, [(1, range), (2, range)]);
    }

    #[test]
    fn what_is_too_old_or_too_new_is_set_aside() {
        let mut batch = Batch::new(u64::MAX);
        let times = [39_999_999, 40_000_000, 105_000_000, 105_000_001, i64::MIN, i64::MAX];
        fill(&mut batch, 0, &times.map(|time| (1, time)), Instant::now());
        assert_eq!((batch.samples(), batch.rows.stored(), batch.rows.quarantined()), (6, 2, 4));
    }

    #[test]
    fn rows_octets_or_age_close_it() {
        let now = Instant::now();
        let age_max = Duration::from_millis(100);
        let limits = Limits { rows_max: 2, octets_max: 1 << 20, age_max };
        let mut batch = Batch::new(u64::MAX);
        assert!(!batch.is_full(&limits) && batch.due_in(&limits, now).is_none());
        fill(&mut batch, 0, &[(1, TIME)], now);
        assert!(!batch.is_full(&limits) && batch.is_full(&Limits { octets_max: 100, ..limits }));
        fill(&mut batch, 1, &[(1, TIME)], now + age_max);
        assert!(batch.is_full(&limits));
        assert_eq!(batch.due_in(&limits, now), Some(age_max));
        assert_eq!(batch.due_in(&limits, now + age_max), Some(Duration::ZERO));
    }

    #[test]
    fn many_chunks_of_hypertables_close_it() {
        use crate::chunk::SLOT_US;
        let slots = SLOTS_MAX as i64;
        let far = Duration::from_secs(86_400 * 365);
        let form = Form { window: TimeWindow { past: far, future: far }, ..form() };
        let limits = Limits::new(ROWS_MAX, Duration::from_secs(1));
        let mut batch = Batch::new(u64::MAX);
        let push = |batch: &mut Batch, place, times: &mut dyn Iterator<Item = i64>| {
            let samples: Vec<_> = times.map(|time_us| (1, time_us)).collect();
            let mut chunk = chunk(&samples);
            chunk.number(place);
            batch.push(&chunk, &form, Instant::now(), |_, _| {});
        };
        // Back and forth within one less than it may have.
        let times = (0..slots - 1).chain((0..slots - 1).rev());
        push(&mut batch, 0, &mut times.map(|slot| slot * SLOT_US + 7));
        assert_eq!(batch.rows.slots(), SLOTS_MAX - 1);
        assert!(!batch.is_full(&limits));
        push(&mut batch, 1, &mut [-1, SLOT_US - 1].into_iter());
        assert_eq!(batch.rows.slots(), SLOTS_MAX);
        assert!(batch.is_full(&limits));
        batch.advance();
        assert!(batch.rows.slots() == 0 && !batch.is_full(&limits));
    }
}
