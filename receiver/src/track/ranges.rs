//! The ranges of counts of one boot that have not been received.
//!
//! Bounded: [`RANGES_MAX`] ranges. When one more is needed the smallest is forgotten, among equals the
//! oldest, and its counts can no longer be told from repeats. But where fewer counts were received
//! between two ranges than the smallest has, those two become one, of equals the youngest: the few
//! counts between are then accepted once more if they are repeated. So a sender that leaps ahead again
//! and again cannot push out the range that the true frames are in. A range that lies more than half the
//! modulus behind the newest count is forgotten as far as it does, since its counts could not be told
//! from those ahead.
//!
//! The ranges are disjoint and stand in the order of their counts. Gaps open only at the newest count,
//! so this is the order of their age, too.

use super::counter::CounterWidth;

/// Ranges that are remembered of one boot.
pub const RANGES_MAX: usize = 64;

/// Consecutive counts that have not been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The oldest of them.
    pub(super) start: u32,
    /// How many they are, at most half the modulus.
    pub(super) counts: u32,
    /// Whether they were counted as missed; those before the first frame of a boot were not.
    pub(super) is_missed: bool,
}

/// All ranges of a boot, in a ring: most ranges are opened at its end and forgotten at its beginning.
#[derive(Clone)]
pub(super) struct Ranges {
    ring: [Entry; RANGES_MAX],
    first: u8,
    length: u8,
}

/// A range in eight octets: the counts shifted left by one, and whether they were missed.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    tagged_counts: u32,
}

impl Ranges {
    /// No range.
    pub(super) const EMPTY: Self =
        Self { ring: [Entry { start: 0, tagged_counts: 0 }; RANGES_MAX], first: 0, length: 0 };

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range> {
        (0..self.len()).map(|index| self.at(index))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.length.into()
    }

    /// Appends a range that lies behind all others.
    pub(super) fn push(&mut self, width: CounterWidth, range: Range) {
        self.insert(width, self.len(), range);
    }

    /// Forgets what will lie more than half the modulus behind when the newest count has gone `steps`
    /// further. To be called before each such step, at the latest every 64 counts.
    pub(super) fn trim(&mut self, width: CounterWidth, newest: u32, steps: u32) {
        while self.length > 0 {
            let Range { start, counts, is_missed } = self.at(0);
            let behind = width.behind(newest, start) + steps;
            let excess = behind.saturating_sub(width.half());
            if excess == 0 {
                return;
            }
            if excess < counts {
                let start = width.wrap(start.wrapping_add(excess));
                self.put(0, Range { start, counts: counts - excess, is_missed });
                return;
            }
            self.remove(0);
        }
    }

    /// Takes a count out of its range; says whether it was counted as missed, or none when no range has
    /// it.
    pub(super) fn take(&mut self, width: CounterWidth, newest: u32, count: u32) -> Option<bool> {
        self.trim(width, newest, 0);
        let index = self.find(width, newest, count)?;
        let range = self.at(index);
        let before = width.behind(count, range.start);
        let after = range.counts - before - 1;
        let younger = Range { start: width.wrap(count.wrapping_add(1)), counts: after, ..range };
        match (before, after) {
            (0, 0) => self.remove(index),
            (0, _) => self.put(index, younger),
            (_, 0) => self.put(index, Range { counts: before, ..range }),
            _ => {
                self.put(index, Range { counts: before, ..range });
                self.insert(width, index + 1, younger);
            }
        }
        Some(range.is_missed)
    }

    /// Whether they can be those of a boot with this newest count.
    pub(super) fn are_valid(&self, width: CounterWidth, newest: u32) -> bool {
        // Between two calls of `trim` the newest count may go 64 further.
        let mut room = width.half() + u64::BITS;
        self.iter().all(|range| {
            let behind = width.behind(newest, range.start);
            let is_valid = range.start == width.wrap(range.start)
                && (1..=behind).contains(&range.counts)
                && behind <= room;
            room = behind.saturating_sub(range.counts);
            is_valid
        })
    }

    /// Appends the octets of [`Self::restored`], little-endian: how many (u8), and for each its start
    /// (u32), its counts shifted left by one, and in the lowest bit whether they were missed (u32).
    pub(super) fn state(&self, octets: &mut Vec<u8>) {
        octets.push(self.length);
        for range in self.iter() {
            let entry = Entry::new(range);
            octets.extend_from_slice(&entry.start.to_le_bytes());
            octets.extend_from_slice(&entry.tagged_counts.to_le_bytes());
        }
    }

    /// The ranges that [`Self::state`] has written, and what follows them. They are not checked.
    pub(super) fn restored(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (&length, mut rest) = octets.split_first()?;
        let mut ranges = Self::EMPTY;
        for entry in ranges.ring.get_mut(..length.into())? {
            let (start, tail) = rest.split_first_chunk()?;
            let (tagged, tail) = tail.split_first_chunk()?;
            entry.start = u32::from_le_bytes(*start);
            entry.tagged_counts = u32::from_le_bytes(*tagged);
            rest = tail;
        }
        ranges.length = length;
        Some((ranges, rest))
    }

    /// The range that has the count.
    fn find(&self, width: CounterWidth, newest: u32, count: u32) -> Option<usize> {
        let behind = width.behind(newest, count);
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if width.behind(newest, self.at(middle).start) >= behind {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        let range = self.at(index);
        (width.behind(newest, range.start) - behind < range.counts).then_some(index)
    }

    fn insert(&mut self, width: CounterWidth, mut index: usize, range: Range) {
        if self.len() == RANGES_MAX {
            let (smallest, counts) = self.smallest();
            if let Some(left) = self.closest(width, index, range, counts.min(range.counts)) {
                // Which of the two is the new one decides where it goes.
                if left + 1 == index {
                    self.put(left, joined(width, self.at(left), range));
                    return;
                }
                if left == index {
                    self.put(left, joined(width, range, self.at(left)));
                    return;
                }
                let left = if left < index { left } else { left - 1 };
                self.put(left, joined(width, self.at(left), self.at(left + 1)));
                self.remove(left + 1);
                index -= usize::from(left + 1 < index);
                self.make_place(index);
                self.put(index, range);
                return;
            }
            if range.counts < counts || (range.counts == counts && index <= smallest) {
                return;
            }
            self.remove(smallest);
            index -= usize::from(smallest < index);
        }
        self.make_place(index);
        self.put(index, range);
    }

    /// Of the ranges with a new one at `index`, the place of the one that is followed by the fewest
    /// received counts, if these are fewer than `limit`; of equals the youngest.
    fn closest(
        &self,
        width: CounterWidth,
        index: usize,
        range: Range,
        limit: u32,
    ) -> Option<usize> {
        let with_new = |place: usize| match place.cmp(&index) {
            std::cmp::Ordering::Less => self.at(place),
            std::cmp::Ordering::Equal => range,
            std::cmp::Ordering::Greater => self.at(place - 1),
        };
        let mut found = None;
        // At least one count was received between two ranges.
        let mut limit = limit.checked_sub(1).filter(|&limit| limit > 0)?;
        for place in 0..self.len() {
            let (left, right) = (with_new(place), with_new(place + 1));
            let between = width.behind(right.start, left.start) - left.counts;
            if left.is_missed == right.is_missed && between <= limit {
                (found, limit) = (Some(place), between);
            }
        }
        found
    }

    /// Makes the ring longer by one place, which is free.
    fn make_place(&mut self, index: usize) {
        if index < self.len() / 2 {
            self.first = (self.first.wrapping_sub(1)) % RANGES_MAX as u8;
            self.length += 1;
            (0..index).for_each(|place| self.put(place, self.at(place + 1)));
        } else {
            self.length += 1;
            (index + 1..self.len()).rev().for_each(|place| self.put(place, self.at(place - 1)));
        }
    }

    fn remove(&mut self, index: usize) {
        if index < self.len() / 2 {
            (1..=index).rev().for_each(|place| self.put(place, self.at(place - 1)));
            self.first = (self.first + 1) % RANGES_MAX as u8;
        } else {
            (index + 1..self.len()).for_each(|place| self.put(place - 1, self.at(place)));
        }
        self.length -= 1;
    }

    /// The smallest, among equals the oldest.
    fn smallest(&self) -> (usize, u32) {
        let mut found = (0, u32::MAX);
        for (index, range) in self.iter().enumerate() {
            if range.counts < found.1 {
                found = (index, range.counts);
                if range.counts == 1 {
                    break;
                }
            }
        }
        found
    }

    #[inline]
    fn at(&self, index: usize) -> Range {
        let Entry { start, tagged_counts } = self.ring[self.place(index)];
        Range { start, counts: tagged_counts >> 1, is_missed: tagged_counts & 1 == 1 }
    }

    #[inline]
    fn put(&mut self, index: usize, range: Range) {
        self.ring[self.place(index)] = Entry::new(range);
    }

    #[inline]
    fn place(&self, index: usize) -> usize {
        (usize::from(self.first) + index) % RANGES_MAX
    }
}

/// One range from the beginning of `left` to the end of `right`.
fn joined(width: CounterWidth, left: Range, right: Range) -> Range {
    Range { counts: width.behind(right.start, left.start) + right.counts, ..left }
}

impl Entry {
    fn new(range: Range) -> Self {
        let tagged_counts = range.counts << 1 | u32::from(range.is_missed);
        Self { start: range.start, tagged_counts }
    }
}

const _: () = assert!(RANGES_MAX.is_power_of_two() && RANGES_MAX <= 128);

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: CounterWidth = CounterWidth::EXTENDED;

    fn range(start: u32, counts: u32) -> Range {
        Range { start, counts, is_missed: true }
    }

    fn of(all: &[(u32, u32)]) -> Ranges {
        let mut ranges = Ranges::EMPTY;
        for &(start, counts) in all {
            ranges.push(WIDTH, range(start, counts));
        }
        ranges
    }

    fn all(ranges: &Ranges) -> Vec<(u32, u32)> {
        ranges.iter().map(|range| (range.start, range.counts)).collect()
    }

    #[test]
    fn a_count_shrinks_or_splits_its_range() {
        let mut ranges = of(&[(10, 5), (20, 1)]);
        for (count, found, left) in [
            (9, None, vec![(10, 5), (20, 1)]),
            (15, None, vec![(10, 5), (20, 1)]),
            (10, Some(true), vec![(11, 4), (20, 1)]),
            (14, Some(true), vec![(11, 3), (20, 1)]),
            (12, Some(true), vec![(11, 1), (13, 1), (20, 1)]),
            (12, None, vec![(11, 1), (13, 1), (20, 1)]),
            (20, Some(true), vec![(11, 1), (13, 1)]),
            (13, Some(true), vec![(11, 1)]),
        ] {
            assert_eq!(ranges.take(WIDTH, 30, count), found, "count {count}");
            assert_eq!(all(&ranges), left, "count {count}");
        }
    }

    #[test]
    fn the_smallest_is_forgotten_and_among_equals_the_oldest() {
        let gaps: Vec<_> = (0..RANGES_MAX as u32).map(|n| (100 * n, 2 + n % 3)).collect();
        let mut ranges = of(&gaps);
        ranges.push(WIDTH, range(10_000, 2));
        assert_eq!(ranges.len(), RANGES_MAX);
        assert_eq!((all(&ranges)[0], all(&ranges)[63]), ((100, 3), (10_000, 2)));
        ranges.push(WIDTH, range(10_100, 1));
        assert_eq!(all(&ranges)[63], (10_000, 2), "the new one was the smallest");
        // A split needs one more: the older of its two parts is the oldest of the smallest.
        ranges.take(WIDTH, 20_000, 101);
        assert_eq!(all(&ranges)[..2], [(102, 1), (200, 4)], "count 100 is forgotten");
        assert_eq!(ranges.take(WIDTH, 20_000, 100), None);
    }

    #[test]
    fn leaps_again_and_again_push_out_no_true_range() {
        let mut ranges = of(&[(100, 900)]);
        for leap in 1..500 {
            ranges.push(WIDTH, range(1_000 * leap + 1, 999));
        }
        assert_eq!((ranges.len(), all(&ranges)[0]), (RANGES_MAX, (100, 900)));
        let newest = 500_000;
        for count in 100..1_000 {
            assert_eq!(ranges.take(WIDTH, newest, count), Some(true), "count {count}");
        }
        // All that was left out is remembered, and a few of the leaps with it.
        let counts: u32 = ranges.iter().map(|range| range.counts).sum();
        assert!((499 * 999..499 * 1_000).contains(&counts), "{counts}");
        assert!(ranges.are_valid(WIDTH, newest));
        // Splitting the old range joins young ones, not its own parts.
        let mut ranges = of(&[(100, 900)]);
        for leap in 1..64 {
            ranges.push(WIDTH, range(1_000 * leap + 1, 999));
        }
        for count in (101..1_000).step_by(2) {
            assert_eq!(ranges.take(WIDTH, newest, count), Some(true), "count {count}");
            assert_eq!(ranges.take(WIDTH, newest, count), None, "count {count}");
        }
    }

    #[test]
    fn what_lies_more_than_half_the_modulus_behind_is_forgotten() {
        let half = WIDTH.half();
        let mut ranges = of(&[(0, 10), (20, 10)]);
        ranges.trim(WIDTH, half, 0);
        assert_eq!(all(&ranges), [(0, 10), (20, 10)]);
        ranges.trim(WIDTH, half, 4);
        assert_eq!(all(&ranges), [(4, 6), (20, 10)]);
        ranges.trim(WIDTH, half, 25);
        assert_eq!(all(&ranges), [(25, 5)]);
        ranges.trim(WIDTH, half, half - 1);
        assert_eq!(all(&ranges), []);
    }
}
