//! One boot of one stream: the last counts, which of them were received, the ranges that were not, and
//! what a frame is among them.

use super::{
    counter::CounterWidth,
    ranges::{Range, Ranges},
};

/// What a frame is among the frames of its boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first, the one after the newest, or one from before the first that was heard: nothing
    /// is missing because of it.
    Next,
    /// Newer, with this many counts left out before it.
    Gap {
        /// How many.
        missed: u32,
    },
    /// It fills a gap that was counted as missed.
    Late,
    /// It has come before.
    Duplicate,
    /// Behind the window, and in no range that is remembered: it may have come before.
    Stale,
}

impl Verdict {
    /// Whether the frame is new, and so to be stored.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Next | Self::Gap { .. } | Self::Late)
    }
}

/// What became of a stream's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New frames, late ones included.
    pub accepted: u64,
    /// Counts that were skipped; those that came late are not taken off.
    pub missed: u64,
    /// Frames that filled a gap.
    pub late: u64,
    /// Frames that had come before.
    pub duplicate: u64,
    /// Frames behind the window and in no remembered range.
    pub stale: u64,
}

/// Counts of which is known whether they were received, the newest included.
pub const WINDOW_COUNTS: u32 = 4_096;

/// What a frame turned out to be in its boot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) verdict: Verdict,
    /// For a gap that is not plausible, how many missed counts would have been.
    pub(super) plausible: Option<f32>,
}

/// One boot of a stream.
#[derive(Clone)]
pub(super) struct Boot {
    pub(super) line: Line,
    pub(super) memory: Memory,
}

/// What changes with a frame that is received in order, in one line of the processor's cache. Those of
/// the streams' current boots lie together in a column.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) accepted: u64,
    /// Generation time of the newest count, µs since 1970; [`UNKNOWN_US`] after an upgrade.
    pub(super) newest_us: i64,
    /// The word of the bits that the newest count is in, which stands here and not there: so frames
    /// in order touch the bits once in 64 times.
    pub(super) recent: u64,
    /// Where the stretch without a gap begins that the rate is measured over: time,
    pub(super) stretch_us: i64,
    /// and count.
    pub(super) stretch: u32,
    pub(super) newest: u32,
    pub(super) boot_count: u32,
    /// The number of the boot that has the rest, among all boots of the tracker.
    pub(super) boot: u32,
    /// Counts from the first that was heard up to the newest, as far as the window reaches; 0
    /// before any. Within the window only these were counted as missed.
    pub(super) heard: u16,
    pub(super) width: CounterWidth,
    /// Whether it followed another boot.
    pub(super) is_reset: bool,
    /// Whether one frame of the stream was accepted, and no other.
    pub(super) is_lone: bool,
}

/// What seldom changes.
#[derive(Clone)]
pub(super) struct Memory {
    /// One bit for each count modulo the window's length: it came. The newest word is [`Line::recent`].
    pub(super) bits: [u64; WORDS],
    pub(super) ranges: Ranges,
    /// All counts but `accepted`.
    pub(super) rest: Counts,
    /// The highest rate seen, counts a second of generation time.
    pub(super) rate: f32,
    /// For a candidate, its frames with rising times, and the latest time among them.
    pub(super) confirmations: u8,
    pub(super) confirmed_us: i64,
}

const _: () = assert!(size_of::<Line>() == 64);

/// No time: that of the newest frame was not written down.
pub(super) const UNKNOWN_US: i64 = i64::MIN;

impl Boot {
    /// A boot of which nothing was heard; `rate` is the highest that was seen of its stream.
    pub(super) const fn new(boot_count: u32, width: CounterWidth, rate: f32) -> Self {
        let line = Line {
            accepted: 0,
            newest_us: UNKNOWN_US,
            recent: 0,
            stretch_us: UNKNOWN_US,
            stretch: 0,
            newest: 0,
            boot_count,
            boot: 0,
            heard: 0,
            width,
            is_reset: false,
            is_lone: false,
        };
        let rest = Counts { accepted: 0, missed: 0, late: 0, duplicate: 0, stale: 0 };
        let memory = Memory {
            bits: [0; WORDS],
            ranges: Ranges::EMPTY,
            rest,
            rate,
            confirmations: 0,
            confirmed_us: UNKNOWN_US,
        };
        Self { line, memory }
    }

    /// As [`Line::take`].
    pub(super) fn take(&mut self, count: u32, time_us: i64) -> Taken {
        if self.line.follow(count, time_us) {
            return Taken { verdict: Verdict::Next, plausible: None };
        }
        self.line.take(&mut self.memory, count, time_us)
    }
}

impl Line {
    /// Takes the count after the newest if it is in the same word of the bits, which needs this line and
    /// nothing else; false, and nothing changed, for any other.
    #[inline]
    pub(super) fn follow(&mut self, count: u32, time_us: i64) -> bool {
        let place = count % u64::BITS;
        // The first count of a word may follow the last one before the wrap.
        if count != self.newest.wrapping_add(1) || place == 0 || self.heard == 0 {
            return false;
        }
        self.newest = count;
        self.newest_us = time_us;
        self.recent |= 1 << place;
        self.heard = (self.heard + 1).min(WINDOW_COUNTS as u16);
        self.accepted += 1;
        true
    }

    /// Takes any count and says what its frame is.
    pub(super) fn take(&mut self, memory: &mut Memory, count: u32, time_us: i64) -> Taken {
        let count = self.width.wrap(count);
        let mut plausible = None;
        let steps = self.width.steps(self.newest, count);
        let verdict = if self.heard == 0 {
            self.begin(memory, count, time_us);
            Verdict::Next
        } else if steps > 0 {
            let missed = steps.unsigned_abs() - 1;
            self.learn_rate(memory, missed == 0, (count, time_us));
            if missed > 0 {
                plausible = self.implausible(memory, missed, time_us);
            }
            self.advance(memory, count, steps.unsigned_abs());
            self.newest_us = time_us;
            if missed == 0 { Verdict::Next } else { Verdict::Gap { missed } }
        } else {
            self.behind(memory, count, steps.unsigned_abs())
        };
        self.count(memory, verdict);
        Taken { verdict, plausible }
    }

    /// The counts so far.
    pub(super) fn counts(&self, memory: &Memory) -> Counts {
        Counts { accepted: self.accepted, ..memory.rest }
    }

    /// The first count of the boot. All that lies before it may still come.
    fn begin(&mut self, memory: &mut Memory, count: u32, time_us: i64) {
        self.newest = count;
        self.newest_us = time_us;
        (self.stretch, self.stretch_us) = (count, time_us);
        self.heard = 1;
        self.mark(memory, count);
        let counts = self.width.half();
        let start = self.width.wrap(count.wrapping_sub(counts));
        memory.ranges.push(self.width, Range { start, counts, is_missed: false });
    }

    /// A count that is not newer than the newest.
    fn behind(&mut self, memory: &mut Memory, count: u32, age: u32) -> Verdict {
        let was_missed = if age < WINDOW_COUNTS {
            if self.mark(memory, count) {
                return Verdict::Duplicate;
            }
            // Within the window that is known even of a range that was forgotten.
            memory.ranges.take(self.width, self.newest, count);
            age < u32::from(self.heard)
        } else {
            match memory.ranges.take(self.width, self.newest, count) {
                Some(was_missed) => was_missed,
                None => return Verdict::Stale,
            }
        };
        if was_missed { Verdict::Late } else { Verdict::Next }
    }

    /// Goes on to a count that is in another word, or does not follow the newest.
    fn advance(&mut self, memory: &mut Memory, count: u32, steps: u32) {
        memory.ranges.trim(self.width, self.newest, steps);
        let bits = &mut memory.bits;
        let skipped = self.width.wrap(self.newest.wrapping_add(1));
        bits[place(self.newest).0] = self.recent;
        if steps >= WINDOW_COUNTS {
            *bits = [0; WORDS];
        } else {
            // The places of the skipped counts still speak of one window ago.
            unmark(bits, skipped, steps - 1);
        }
        if steps > 1 {
            memory
                .ranges
                .push(self.width, Range { start: skipped, counts: steps - 1, is_missed: true });
        }
        let (word, bit) = place(count);
        self.newest = count;
        self.recent = bits[word] | bit;
        self.heard = steps.saturating_add(self.heard.into()).min(WINDOW_COUNTS) as u16;
    }

    /// Notes that a count came; whether it had come before.
    fn mark(&mut self, memory: &mut Memory, count: u32) -> bool {
        let (word, bit) = place(count);
        let is_recent = word == place(self.newest).0;
        let came = if is_recent { &mut self.recent } else { &mut memory.bits[word] };
        let had_come = *came & bit != 0;
        *came |= bit;
        had_come
    }

    /// Learns the rate from the stretch without a gap up to the newest count, and begins another one
    /// at the count that comes next; not every time, since a stretch that is too short says little.
    fn learn_rate(&mut self, memory: &mut Memory, is_next: bool, (count, time_us): (u32, i64)) {
        let counts = self.width.behind(self.newest, self.stretch);
        let us = self.newest_us.saturating_sub(self.stretch_us);
        let is_known = self.stretch_us != UNKNOWN_US && self.newest_us != UNKNOWN_US;
        if is_known && counts >= STRETCH_COUNTS_MIN && us > 0 {
            memory.rate = memory.rate.max((f64::from(counts) / us as f64 * 1e6) as f32);
        } else if is_next && self.stretch_us != UNKNOWN_US {
            return;
        }
        (self.stretch, self.stretch_us) = (count, time_us);
    }

    /// How many missed counts would be plausible before a frame of this time, if these are too many.
    fn implausible(&self, memory: &Memory, missed: u32, time_us: i64) -> Option<f32> {
        if self.newest_us == UNKNOWN_US {
            return None;
        }
        let seconds = time_us.saturating_sub(self.newest_us).max(0) as f64 / 1e6;
        let plausible = RATE_MARGIN * f64::from(memory.rate) * seconds + MISSED_PLAUSIBLE;
        (f64::from(missed) > plausible).then_some(plausible as f32)
    }

    fn count(&mut self, memory: &mut Memory, verdict: Verdict) {
        self.accepted += u64::from(verdict.is_accepted());
        let rest = &mut memory.rest;
        match verdict {
            Verdict::Next => {}
            Verdict::Gap { missed } => rest.missed += u64::from(missed),
            Verdict::Late => rest.late += 1,
            Verdict::Duplicate => rest.duplicate += 1,
            Verdict::Stale => rest.stale += 1,
        }
    }
}

/// Forgets `counts` counts from `first` on, word by word, so that no gap is expensive.
fn unmark(bits: &mut [u64; WORDS], first: u32, counts: u32) {
    let (mut count, mut left) = (first, counts);
    while left > 0 {
        let (word, bit) = place(count);
        let here = (u64::BITS - bit.trailing_zeros()).min(left);
        bits[word] &= !(u64::MAX >> (u64::BITS - here) << bit.trailing_zeros());
        // The modulus is a multiple of the window.
        count = count.wrapping_add(here);
        left -= here;
    }
}

pub(super) fn place(count: u32) -> (usize, u64) {
    let place = count % WINDOW_COUNTS;
    ((place / u64::BITS) as usize, 1 << (place % u64::BITS))
}

pub(super) const WORDS: usize = (WINDOW_COUNTS / u64::BITS) as usize;
const _: () = assert!((1_u32 << 14).is_multiple_of(WINDOW_COUNTS));
/// The shortest stretch without a gap that says how fast frames are generated.
const STRETCH_COUNTS_MIN: u32 = 8;
/// A gap is plausible up to so many times the highest rate seen …
const RATE_MARGIN: f64 = 2.0;
/// … and so many counts more.
const MISSED_PLAUSIBLE: f64 = 64.0;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn boot(width: CounterWidth) -> Boot {
        Boot::new(0, width, 0.0)
    }

    fn verdicts(boot: &mut Boot, counts: impl IntoIterator<Item = u32>) -> Vec<Verdict> {
        counts.into_iter().map(|count| boot.take(count, 0).verdict).collect()
    }

    #[test]
    fn a_repeat_at_the_wrap_is_no_gap() {
        let mut boot = boot(CounterWidth::EXTENDED);
        for (count, verdict) in [
            (16_383, Verdict::Next),
            (16_384, Verdict::Next),
            (16_383, Verdict::Duplicate),
            (16_384, Verdict::Duplicate),
            (16_385, Verdict::Next),
            (16_385 + 16_384, Verdict::Gap { missed: 16_383 }),
        ] {
            assert_eq!(boot.take(count, 0).verdict, verdict, "count {count}");
        }
    }

    #[test]
    fn a_counter_of_fourteen_bits_wraps() {
        let mut boot = boot(CounterWidth::PRIMARY);
        for lap in 0..5 {
            let verdicts = verdicts(&mut boot, 0..16_384);
            assert!(verdicts.iter().all(|&verdict| verdict == Verdict::Next), "lap {lap}");
        }
        for (count, verdict) in [
            (8_190, Verdict::Gap { missed: 8_190 }),
            (16_383, Verdict::Stale),
            (4_095, Verdict::Late),
            (4_095, Verdict::Duplicate),
            (4_094, Verdict::Late),
            (4_094, Verdict::Stale),
            (0, Verdict::Late),
        ] {
            assert_eq!(boot.take(count, 0).verdict, verdict, "count {count}");
        }
        assert_eq!(boot.line.counts(&boot.memory).missed, 8_190);
    }

    #[test]
    fn frames_behind_one_far_ahead_are_late() {
        let mut boot = boot(CounterWidth::EXTENDED);
        verdicts(&mut boot, 0..100);
        let leap = Verdict::Gap { missed: 500_000_000 - 100 };
        assert_eq!(boot.take(500_000_000, 0).verdict, leap);
        assert_eq!(verdicts(&mut boot, 100..600), [Verdict::Late; 500]);
        assert_eq!(
            verdicts(&mut boot, [50, 599, 600]),
            [Verdict::Stale, Verdict::Stale, Verdict::Late]
        );
        let Counts { missed, late, .. } = boot.line.counts(&boot.memory);
        assert_eq!(missed - late, 500_000_000 - 100 - 501);
    }

    #[test]
    fn a_dump_of_a_recorder_is_late() {
        let mut boot = boot(CounterWidth::EXTENDED);
        verdicts(&mut boot, (0..10).chain(6_000..6_010));
        assert!(verdicts(&mut boot, 10..6_000).iter().all(|&verdict| verdict == Verdict::Late));
        assert_eq!(boot.memory.ranges.iter().filter(|range| range.is_missed).count(), 0);
        assert_eq!(verdicts(&mut boot, [10, 5_999]), [Verdict::Stale, Verdict::Duplicate]);
    }

    #[test]
    fn what_lies_before_the_first_is_accepted_without_being_late() {
        let mut boot = boot(CounterWidth::EXTENDED);
        verdicts(&mut boot, [100_000_000, 100_000_001]);
        for (count, verdict) in [
            (99_999_999, Verdict::Next),
            (99_999_999, Verdict::Duplicate),
            (5, Verdict::Next),
            (5, Verdict::Stale),
            (4, Verdict::Next),
            (CounterWidth::EXTENDED.wrap(u32::MAX), Verdict::Next),
        ] {
            assert_eq!(boot.take(count, 0).verdict, verdict, "count {count}");
        }
        assert_eq!(boot.line.counts(&boot.memory).late, 0);
    }

    #[test]
    fn the_window_knows_more_than_the_ranges() {
        let mut boot = boot(CounterWidth::EXTENDED);
        // 1,000 gaps of one count: far more than there are ranges.
        verdicts(&mut boot, (0..1_000).map(|n| 2 * n));
        assert_eq!(
            verdicts(&mut boot, [1, 3, 3]),
            [Verdict::Late, Verdict::Late, Verdict::Duplicate]
        );
    }

    /// Ten frames a second, then some are missing.
    fn plausible(missed: u32, seconds: i64) -> Option<f32> {
        let mut boot = boot(CounterWidth::EXTENDED);
        let mut at_us = 0;
        for count in 0..200 {
            at_us = i64::from(count) * SECOND / 10;
            boot.take(count, at_us);
        }
        let taken = boot.take(200 + missed, at_us + seconds * SECOND);
        assert_eq!(taken.verdict, Verdict::Gap { missed });
        taken.plausible
    }

    #[test]
    fn a_gap_is_plausible_up_to_twice_what_the_rate_explains() {
        assert_eq!(plausible(64, 0), None);
        assert_eq!(plausible(65, 0), Some(64.0));
        assert_eq!(plausible(65, -1_000), Some(64.0));
        assert_eq!(plausible(2_064, 100), None);
        assert_eq!(plausible(2_066, 100), Some(2_064.0));
    }

    #[test]
    fn the_rate_is_learned_from_stretches_without_a_gap() {
        let mut boot = boot(CounterWidth::EXTENDED);
        // Every second frame is lost: no stretch, no rate, and gaps that need none.
        for count in 0..1_000 {
            assert_eq!(boot.take(2 * count, i64::from(count) * SECOND).plausible, None);
        }
        assert!(boot.memory.rate.abs() < f32::EPSILON);
        for count in 2_000..2_010 {
            boot.take(count, i64::from(count) * SECOND);
        }
        boot.take(2_050, 2_050 * SECOND);
        assert!((boot.memory.rate - 1.0).abs() < 1e-6, "{}", boot.memory.rate);
    }
}
