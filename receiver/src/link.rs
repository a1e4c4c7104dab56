//! How each link did over the last interval: the rows of `link_health`.
//!
//! Pure: time is an argument. Bounded: [`BYTES_PER_LINK`] a stream, and at most `ROWS_PER_SECOND_MAX`
//! rows a second: with more streams than that each gets its row less often. A row that cannot be
//! sent is no loss, the interval just goes on.

mod jump;
mod latency;

use protocol::{Apid, SpacecraftId};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{F32, I64, U16, U64},
};

use crate::track::Verdict;
pub use jump::{Budget, Jump};
use latency::Histogram;

/// Every stream's interval, in columns as in the tracker. Each accepted frame changes something in two
/// of them.
#[derive(Default)]
pub struct Links {
    links: Vec<Link>,
    latencies: Vec<Histogram>,
    streams: Vec<(SpacecraftId, Apid)>,
    /// When the last interval began.
    ticked_us: i64,
    /// Whole seconds seen by [`Links::rows`].
    ticks: usize,
}

/// One stream's interval but for its histogram, in one line of the processor's cache.
#[repr(align(64))]
struct Link {
    tally: Tally,
    heard_us: i64,
    /// When the interval began; [`VACANT_US`] while the place is that of no stream.
    opened_us: i64,
    /// The largest latency; [`NONE`] before the first.
    latency_max_us: i64,
}

const _: () = assert!(size_of::<Link>() == 64);

/// What is counted in an interval.
#[derive(Clone, Copy, Default)]
struct Tally {
    received: u64,
    missed: u64,
    late: u64,
    duplicate: u64,
    bytes: u64,
}

/// One row of `link_health`, as it lies in a chunk.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The columns, in order.
pub struct Row {
    pub time_us: I64,
    pub seconds: F32,
    pub spacecraft: U16,
    pub apid: U16,
    pub received: U64,
    pub missed: U64,
    pub late: U64,
    pub duplicate: U64,
    pub bytes: U64,
    /// Not a number without frames.
    pub latency_ms_p50: F32,
    /// Not a number without frames.
    pub latency_ms_max: F32,
}

/// What a link costs beside its stream.
pub const BYTES_PER_LINK: usize =
    size_of::<Link>() + size_of::<Histogram>() + size_of::<(SpacecraftId, Apid)>();

impl Links {
    /// Nothing heard yet, of at most so many streams.
    #[must_use]
    pub fn new(streams_max: usize) -> Self {
        // So that they never move; what is not used yet takes no memory.
        Self {
            links: Vec::with_capacity(streams_max),
            latencies: Vec::with_capacity(streams_max),
            streams: Vec::with_capacity(streams_max),
            ticked_us: 0,
            ticks: 0,
        }
    }

    /// Counts a valid frame of the stream at `place`, which is the tracker's number of it.
    /// `latency_us` is its way from generation to arrival.
    #[inline]
    pub fn count(
        &mut self,
        place: usize,
        stream: (SpacecraftId, Apid),
        verdict: Verdict,
        octets: usize,
        (received_us, latency_us): (i64, i64),
    ) {
        if self.links.get(place).is_none_or(|link| link.opened_us == VACANT_US) {
            self.open(place, stream, received_us);
        }
        let link = &mut self.links[place];
        link.heard_us = received_us;
        let tally = &mut link.tally;
        tally.bytes += octets as u64;
        match verdict {
            Verdict::Duplicate => tally.duplicate += 1,
            Verdict::Stale => {}
            Verdict::Next => tally.received += 1,
            Verdict::Gap { missed } => {
                tally.received += 1;
                tally.missed += u64::from(missed);
            }
            Verdict::Late => {
                tally.received += 1;
                tally.late += 1;
            }
        }
        if verdict.is_accepted() {
            // A clock that is ahead makes a negative one, which counts as none.
            let latency_us = latency_us.max(0);
            link.latency_max_us = link.latency_max_us.max(latency_us);
            self.latencies[place].add(latency_us.unsigned_abs());
        }
    }

    /// The stream at `place` is followed no more: what was counted of it is handed to `send`, and the
    /// place is free for another one.
    pub fn close(&mut self, place: usize, now_us: i64, send: impl FnOnce(&Row) -> bool) {
        let Some(link) = self.links.get(place) else { return };
        if link.tally.bytes > 0 {
            // What finds no room is in the ledger all the same.
            let _sent = send(&self.row(place, now_us));
        }
        self.reopen(place, VACANT_US);
    }

    /// Knows a stream from before: it gets rows from `now_us` on, also if it is silent.
    pub fn know(&mut self, stream: (SpacecraftId, Apid), now_us: i64) {
        self.links.push(Link::new(now_us));
        self.latencies.push(Histogram::EMPTY);
        self.streams.push(stream);
    }

    /// The row of the stream at `place` was told before.
    pub fn was_told(&mut self, place: usize, at_us: i64) {
        if place < self.links.len() {
            self.reopen(place, at_us);
        }
    }

    /// Once a second: hands the rows that are due to `send`; where it says no, the interval goes
    /// on.
    pub fn rows(&mut self, now_us: i64, mut send: impl FnMut(&Row) -> bool) {
        let turns = self.links.len().div_ceil(ROWS_PER_SECOND_MAX).max(1);
        let turn = self.ticks % turns;
        self.ticks += 1;
        self.ticked_us = now_us;
        for place in (turn..self.links.len()).step_by(turns) {
            if self.links[place].is_due(now_us) && send(&self.row(place, now_us)) {
                self.reopen(place, now_us);
            }
        }
    }

    /// At the end: the rows of all intervals in which anything came.
    pub fn last_rows(&mut self, now_us: i64, mut send: impl FnMut(&Row) -> bool) {
        for place in 0..self.links.len() {
            if self.links[place].tally.bytes > 0 && send(&self.row(place, now_us)) {
                self.reopen(place, now_us);
            }
        }
    }

    #[cold]
    fn open(&mut self, place: usize, stream: (SpacecraftId, Apid), received_us: i64) {
        // Its first interval is as long as everybody's, so that rates are right.
        let opened_us = self.ticked_us.clamp(received_us - TICK_US, received_us - 1);
        if place < self.links.len() {
            self.reopen(place, opened_us);
            self.streams[place] = stream;
        } else {
            debug_assert_eq!(place, self.links.len());
            self.know(stream, opened_us);
        }
    }

    fn row(&self, place: usize, now_us: i64) -> Row {
        let Link { tally, opened_us, latency_max_us: max_us, .. } = self.links[place];
        let Tally { received, missed, late, duplicate, bytes } = tally;
        let (spacecraft, apid) = self.streams[place];
        // No more than the largest, which is exact.
        let median_us = self.latencies[place].median_us().map(|us| us.cast_signed().min(max_us));
        let ms = |us: Option<i64>| F32::new(us.map_or(f32::NAN, |us| us as f32 / 1e3));
        Row {
            time_us: now_us.into(),
            // Above 0 even when the clock is set back: people divide by it.
            seconds: ((now_us - opened_us).max(1) as f32 / 1e6).into(),
            spacecraft: spacecraft.number().into(),
            apid: apid.number().into(),
            received: received.into(),
            missed: missed.into(),
            late: late.into(),
            duplicate: duplicate.into(),
            bytes: bytes.into(),
            latency_ms_p50: ms(median_us),
            latency_ms_max: ms((max_us != NONE).then_some(max_us)),
        }
    }

    fn reopen(&mut self, place: usize, now_us: i64) {
        let heard_us = self.links[place].heard_us;
        self.links[place] = Link { heard_us, ..Link::new(now_us) };
        self.latencies[place] = Histogram::EMPTY;
    }
}

impl Link {
    fn new(opened_us: i64) -> Self {
        let tally = Tally::default();
        Self { tally, heard_us: opened_us, opened_us, latency_max_us: NONE }
    }

    /// A link that is silent for long gets its row only once a minute.
    fn is_due(&self, now_us: i64) -> bool {
        self.opened_us != VACANT_US
            && (now_us - self.heard_us < SILENT_AFTER_US
                || now_us - self.opened_us >= SILENT_PERIOD_US)
    }
}

/// No interval begins then.
const VACANT_US: i64 = i64::MIN;
/// No latency is negative.
const NONE: i64 = -1;
/// A thousand rows a second are what a database stores in passing.
const ROWS_PER_SECOND_MAX: usize = 1_000;
/// How often [`Links::rows`] is called.
const TICK_US: i64 = 1_000_000;
const SILENT_AFTER_US: i64 = 60_000_000;
const SILENT_PERIOD_US: i64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn links(streams: u16, now_us: i64) -> Links {
        let mut links = Links::default();
        for number in 1..=streams {
            let stream = (SpacecraftId::new(number).unwrap(), Apid::new(100));
            let gap = Verdict::Gap { missed: 3 };
            links.count(usize::from(number) - 1, stream, gap, 68, (now_us, 5_000));
        }
        links
    }

    fn rows(links: &mut Links, now_us: i64) -> Vec<Row> {
        let mut rows = Vec::new();
        links.rows(now_us, |row| {
            rows.push(*row);
            true
        });
        rows
    }

    #[test]
    fn differences_over_a_second() {
        let mut links = Links { ticked_us: SECOND, ..links(1, SECOND + 1) };
        links.links[0].opened_us = SECOND;
        let stream = (SpacecraftId::new(1).unwrap(), Apid::new(100));
        links.count(0, stream, Verdict::Late, 68, (SECOND, 9_000));
        links.count(0, stream, Verdict::Duplicate, 68, (SECOND, 900_000));
        let row = rows(&mut links, 2 * SECOND)[0];
        let counts = [row.received, row.missed, row.late, row.duplicate, row.bytes];
        assert_eq!(counts.map(U64::get), [2, 3, 1, 1, 204]);
        assert!((row.seconds.get() - 1.0).abs() < 1e-5);
        assert!((row.latency_ms_max.get() - 9.0).abs() < 1e-6);
        assert!((row.latency_ms_p50.get() - 5.0).abs() < 0.5);
        let row = rows(&mut links, 3 * SECOND)[0];
        assert_eq!((row.received.get(), row.bytes.get()), (0, 0));
        assert!(row.latency_ms_p50.get().is_nan());
    }

    #[test]
    fn a_silent_stream_is_told_for_a_minute_and_then_each_minute() {
        let mut links = links(1, 0);
        let told: Vec<i64> =
            (1..=300).filter(|s| !rows(&mut links, s * SECOND).is_empty()).collect();
        let expected: Vec<i64> = (1..60).chain([119, 179, 239, 299]).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn many_streams_take_turns() {
        let mut links = links(2_500, 0);
        let mut received = 0;
        for second in 1..=3 {
            let rows = rows(&mut links, second * SECOND);
            assert!(rows.len() <= ROWS_PER_SECOND_MAX);
            received += rows.iter().map(|row| row.received.get()).sum::<u64>();
        }
        assert_eq!(received, 2_500);
        assert!((rows(&mut links, 4 * SECOND)[0].seconds.get() - 3.0).abs() < 1e-5);
    }

    #[test]
    fn a_place_that_is_used_again_has_only_the_figures_of_its_stream() {
        let mut links = links(2, 0);
        let mut closed = Vec::new();
        links.close(0, SECOND, |row| {
            closed.push((row.spacecraft.get(), row.received.get(), row.missed.get()));
            true
        });
        assert_eq!(closed, [(1, 1, 3)]);
        let told = |links: &mut Links, now_us| -> Vec<(u16, u64)> {
            let rows = rows(links, now_us);
            rows.iter().map(|row| (row.spacecraft.get(), row.received.get())).collect()
        };
        assert_eq!(told(&mut links, SECOND), [(2, 1)]);
        let stream = (SpacecraftId::new(9).unwrap(), Apid::new(101));
        for _ in 0..2 {
            links.count(0, stream, Verdict::Next, 46, (2 * SECOND, 1));
        }
        assert_eq!(told(&mut links, 2 * SECOND), [(9, 2), (2, 0)]);
        links.close(0, 3 * SECOND, |_| panic!("nothing came since the last row"));
        links.last_rows(4 * SECOND, |_| panic!("nothing came at all"));
    }

    #[test]
    fn latencies_may_be_none_negative_or_endless() {
        let mut links = Links::default();
        let stream = (SpacecraftId::new(1).unwrap(), Apid::new(100));
        let mut told = |verdict, latency_us| {
            links.count(0, stream, verdict, 68, (SECOND, latency_us));
            let row = rows(&mut links, 2 * SECOND)[0];
            (row.latency_ms_p50.get(), row.latency_ms_max.get())
        };
        let (median, max) = told(Verdict::Duplicate, 5);
        assert!(median.is_nan() && max.is_nan());
        assert_eq!(told(Verdict::Next, i64::MIN), (0.0, 0.0));
        let (median, max) = told(Verdict::Next, i64::MAX);
        assert!(median > 1e6 && max > 1e15, "{median} {max}");
    }

    #[test]
    fn what_cannot_be_sent_is_told_later() {
        let mut links = links(1, 0);
        links.rows(SECOND, |_| false);
        let row = rows(&mut links, 2 * SECOND)[0];
        assert_eq!(row.received.get(), 1);
        assert!((row.seconds.get() - 2.0).abs() < 1e-5);
    }
}
