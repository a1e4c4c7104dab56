//! Samples that are stored in one transaction, and which samples of each shard they are.

use std::time::{Duration, Instant};

use protocol::{KINDS, SpacecraftId};

use crate::{
    chunk::{Entry, Record},
    copy::{
        CopyBuffer,
        side::{SIDES, Side},
    },
    queue::SHARDS,
};

/// Rows of every table, encoded, and their ranges.
pub struct Batch {
    /// One stream for each kind's table, in the order of [`KINDS`].
    pub tables: Vec<CopyBuffer>,
    /// The tables beside them, in the order of [`Side`].
    pub sides: [CopyBuffer; SIDES],
    /// Spacecraft that this writer had not met before.
    pub newcomers: Vec<SpacecraftId>,
    /// For each shard the position of its first entry in the batch and how many there are.
    ranges: [Range; SHARDS],
    samples: u64,
    opened: Option<Instant>,
}

/// Consecutive entries of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Position of the first, counted from 0 since the journal began.
    pub first: i64,
    /// How many.
    pub entries: i64,
    /// How many of them are samples.
    pub samples: i64,
}

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// It has this many rows,
    pub rows_max: u64,
    /// or this many octets,
    pub octets_max: usize,
    /// or its first sample has waited this long.
    pub age_max: Duration,
}

/// Which samples are stored as rows and which are set aside.
#[derive(Clone, Copy, Debug)]
pub struct TimeWindow {
    /// The oldest that a sample may be on arrival.
    pub past: Duration,
    /// The furthest that it may lie in the future.
    pub future: Duration,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: KINDS.iter().map(|_| CopyBuffer::new()).collect(),
            sides: std::array::from_fn(|_| CopyBuffer::new()),
            newcomers: Vec::new(),
            ranges: [Range::default(); SHARDS],
            samples: 0,
            opened: None,
        }
    }

    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_none()
    }

    /// Samples that are set aside.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.sides[Side::Quarantine as usize].rows()
    }

    /// Samples that go to their tables.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.tables.iter().map(CopyBuffer::rows).sum()
    }

    /// Appends an entry at the end of its shard. True when it is a sample that goes to its table.
    pub fn push(
        &mut self,
        entry: &Entry<'_>,
        station: &str,
        window: &TimeWindow,
        now: Instant,
    ) -> bool {
        self.opened.get_or_insert(now);
        let range = &mut self.ranges[entry.shard()];
        range.entries += 1;
        match entry {
            Entry::Sample(record) => {
                range.samples += 1;
                self.samples += 1;
                return self.push_sample(record, station, window);
            }
            Entry::Link(row) => self.side(Side::LinkHealth).push_link(row, station),
            Entry::Station(row) => self.side(Side::StationHealth).push_station(row, station),
            Entry::Rejected(received_us, frame) => {
                self.side(Side::RejectedFrame).push_rejected(*received_us, frame, station);
            }
        }
        false
    }

    /// Whether it is to be closed now.
    #[must_use]
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        let octets: usize = self.tables.iter().chain(&self.sides).map(CopyBuffer::len).sum();
        self.samples >= limits.rows_max
            || octets >= limits.octets_max
            || self.due_in(limits, now).is_some_and(|rest| rest.is_zero())
    }

    /// The time until its age closes it; none while it is empty.
    #[must_use]
    pub fn due_in(&self, limits: &Limits, now: Instant) -> Option<Duration> {
        Some(limits.age_max.saturating_sub(now.saturating_duration_since(self.opened?)))
    }

    /// The shards that have entries here, with their ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, Range)> {
        let ranges = self.ranges.iter().copied().enumerate();
        ranges.filter(|(_, range)| range.entries > 0)
    }

    /// Empties it after it has been stored: the next entry of each shard follows the last one.
    pub fn advance(&mut self) {
        self.tables.iter_mut().for_each(CopyBuffer::clear);
        self.sides.iter_mut().for_each(CopyBuffer::clear);
        self.newcomers.clear();
        for range in &mut self.ranges {
            *range = Range { first: range.first + range.entries, entries: 0, samples: 0 };
        }
        self.samples = 0;
        self.opened = None;
    }

    fn push_sample(&mut self, record: &Record<'_>, station: &str, window: &TimeWindow) -> bool {
        let refusal = window.refusal(record.generated_us(), record.received_us);
        if let Some(reason) = refusal {
            self.side(Side::Quarantine).push_quarantine(record, station, reason);
        } else {
            let place = KINDS.iter().position(|kind| kind.apid == record.apid());
            self.tables[place.unwrap_or_default()].push(record, station);
        }
        refusal.is_none()
    }

    fn side(&mut self, side: Side) -> &mut CopyBuffer {
        &mut self.sides[side as usize]
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeWindow {
    /// Why a sample generated and received at these times (µs since 1970) is set aside, if it is.
    #[must_use]
    pub fn refusal(&self, generated_us: i64, received_us: i64) -> Option<&'static str> {
        let past = received_us.saturating_sub(us(self.past)).max(TIMESTAMPTZ_MIN_US);
        if generated_us < past {
            Some("time_past")
        } else if generated_us > received_us.saturating_add(us(self.future)) {
            Some("time_future")
        } else {
            None
        }
    }
}

/// The first moment of a `timestamptz`, 4714-11-24 BC; its last lies beyond any time code.
const TIMESTAMPTZ_MIN_US: i64 = -210_866_803_200_000_000;

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::Chunk, sparse::Sparse};

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

    fn fill(batch: &mut Batch, samples: &[(u16, i64)], now: Instant) {
        for entry in chunk(samples).entries() {
            batch.push(&entry, "GS-01", &WINDOW, now);
        }
    }

    #[test]
    fn ranges_go_on_from_batch_to_batch() {
        let now = Instant::now();
        let mut batch = Batch::new();
        let time = 100_000_000;
        fill(&mut batch, &[(1, time), (65, time), (2, time)], now);
        let ranges = |batch: &Batch| batch.ranges().collect::<Vec<_>>();
        assert_eq!(
            ranges(&batch),
            [
                (1, Range { first: 0, entries: 2, samples: 2 }),
                (2, Range { first: 0, entries: 1, samples: 1 })
            ]
        );
        batch.advance();
        assert!(ranges(&batch).is_empty() && batch.samples() == 0);
        fill(&mut batch, &[(65, time)], now);
        assert_eq!(ranges(&batch), [(1, Range { first: 2, entries: 1, samples: 1 })]);
    }

    #[test]
    fn what_is_too_old_or_too_new_is_set_aside() {
        let mut batch = Batch::new();
        let times = [39_999_999, 40_000_000, 105_000_000, 105_000_001, i64::MIN, i64::MAX];
        fill(&mut batch, &times.map(|time| (1, time)), Instant::now());
        assert_eq!((batch.samples(), batch.stored(), batch.quarantined()), (6, 2, 4));
    }

    #[test]
    fn rows_octets_or_age_close_it() {
        let now = Instant::now();
        let age_max = Duration::from_millis(100);
        let limits = Limits { rows_max: 2, octets_max: 1 << 20, age_max };
        let mut batch = Batch::new();
        assert!(!batch.is_due(&limits, now + age_max) && batch.due_in(&limits, now).is_none());
        fill(&mut batch, &[(1, 100_000_000)], now);
        assert!(!batch.is_due(&limits, now));
        assert_eq!(batch.due_in(&limits, now), Some(age_max));
        assert!(batch.is_due(&limits, now + age_max));
        assert!(batch.is_due(&Limits { octets_max: 100, ..limits }, now));
        fill(&mut batch, &[(1, 100_000_000)], now);
        assert!(batch.is_due(&limits, now));
    }
}
