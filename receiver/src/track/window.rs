//! The last counts of one boot of one stream, and which of them are missing.

use protocol::Sequence;

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
    /// Too old to know.
    Stale,
}

impl Verdict {
    /// Whether the frame is new, and so to be stored.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Next | Self::Gap { .. } | Self::Late)
    }
}

/// Counts that are remembered, the newest included.
pub const WINDOW_COUNTS: u32 = 4_096;

/// Remembers the newest count and, with [`Bits`] of its own, for each of the [`WINDOW_COUNTS`] up to it,
/// whether it came.
#[derive(Default)]
pub(super) struct Window {
    newest: Sequence,
    /// Counts from the first that was heard up to the newest, as far as the window reaches; 0
    /// before any. Only these were ever counted as missed.
    heard: u32,
    /// The word of the bits that the newest count is in, which stands here and not there: so frames
    /// that come in their order touch the bits once in 64 times.
    recent: u64,
}

/// One bit for each count modulo the window's length: it came.
pub(super) type Bits = [u64; WORDS];
/// Nothing came.
pub(super) const NO_BITS: Bits = [0; WORDS];

impl Window {
    /// Takes notice of a count and says what it is.
    #[inline]
    pub(super) fn take(&mut self, bits: &mut Bits, sequence: Sequence) -> Verdict {
        if self.heard == 0 {
            self.newest = sequence;
            self.heard = 1;
            self.mark(bits, sequence);
            return Verdict::Next;
        }
        let steps = sequence.since(self.newest);
        if steps > 0 {
            return self.advance(bits, sequence, steps.unsigned_abs());
        }
        let age = steps.unsigned_abs();
        if age >= WINDOW_COUNTS {
            return Verdict::Stale;
        }
        if self.mark(bits, sequence) {
            return Verdict::Duplicate;
        }
        if age < self.heard {
            return Verdict::Late;
        }
        // Between it and the first there may be counts that never came: they were not waited for.
        Verdict::Next
    }

    /// Appends what it remembers, little-endian: newest (u32), counts heard (u32), the bits (u64 each).
    pub(super) fn state(&self, bits: &Bits, octets: &mut Vec<u8>) {
        octets.extend_from_slice(&self.newest.value().to_le_bytes());
        octets.extend_from_slice(&self.heard.to_le_bytes());
        let mut bits = *bits;
        bits[place(self.newest).0] = self.recent;
        octets.extend(bits.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// What [`Self::state`] has appended, and what follows it.
    pub(super) fn restored(octets: &[u8]) -> Option<(Self, Bits, &[u8])> {
        let (newest, octets) = octets.split_first_chunk()?;
        let (heard, octets) = octets.split_first_chunk()?;
        let (words, octets) = octets.split_at_checked(WORDS * 8)?;
        let (words, _) = words.as_chunks();
        let mut bits = NO_BITS;
        bits.iter_mut().zip(words).for_each(|(word, octets)| *word = u64::from_le_bytes(*octets));
        let newest = Sequence::new(u32::from_le_bytes(*newest));
        let heard = u32::from_le_bytes(*heard).min(WINDOW_COUNTS);
        if heard == 0 {
            // No count came, whatever the bits say.
            return Some((Self::default(), NO_BITS, octets));
        }
        Some((Self { newest, heard, recent: bits[place(newest).0] }, bits, octets))
    }

    #[inline]
    fn advance(&mut self, bits: &mut Bits, sequence: Sequence, steps: u32) -> Verdict {
        self.heard = self.heard.saturating_add(steps).min(WINDOW_COUNTS);
        let (word, bit) = place(sequence);
        if steps == 1 && word == place(self.newest).0 {
            self.newest = sequence;
            self.recent |= bit;
            return Verdict::Next;
        }
        self.leap(bits, sequence, steps);
        match steps - 1 {
            0 => Verdict::Next,
            missed => Verdict::Gap { missed },
        }
    }

    /// Goes on to a count that is in another word, or does not follow the newest.
    fn leap(&mut self, bits: &mut Bits, sequence: Sequence, steps: u32) {
        bits[place(self.newest).0] = self.recent;
        if steps >= WINDOW_COUNTS {
            *bits = NO_BITS;
        } else {
            // The places of the skipped counts still speak of one window ago.
            unmark(bits, self.newest.plus(1), steps - 1);
        }
        let (word, bit) = place(sequence);
        self.newest = sequence;
        self.recent = bits[word] | bit;
    }

    /// The count came; whether it had come before.
    fn mark(&mut self, bits: &mut Bits, sequence: Sequence) -> bool {
        let (word, bit) = place(sequence);
        let is_recent = word == place(self.newest).0;
        let came = if is_recent { &mut self.recent } else { &mut bits[word] };
        let had_come = *came & bit != 0;
        *came |= bit;
        had_come
    }
}

/// Forgets `counts` counts from `first` on, word by word, so that no gap is expensive.
fn unmark(bits: &mut Bits, first: Sequence, counts: u32) {
    let (mut sequence, mut left) = (first, counts);
    while left > 0 {
        let (word, bit) = place(sequence);
        let here = (u64::BITS - bit.trailing_zeros()).min(left);
        bits[word] &= !(u64::MAX >> (u64::BITS - here) << bit.trailing_zeros());
        sequence = sequence.plus(here);
        left -= here;
    }
}

fn place(sequence: Sequence) -> (usize, u64) {
    let place = sequence.value() % WINDOW_COUNTS;
    ((place / u64::BITS) as usize, 1 << (place % u64::BITS))
}

const WORDS: usize = (WINDOW_COUNTS / u64::BITS) as usize;
const _: () = assert!(Sequence::MODULUS.is_multiple_of(WINDOW_COUNTS));

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    /// Remembers every count that ever came, on an unwrapped line.
    #[derive(Default)]
    struct Oracle {
        came: HashSet<i64>,
        first: i64,
        newest: i64,
    }

    impl Oracle {
        fn take(&mut self, count: i64) -> Verdict {
            if self.came.is_empty() {
                (self.first, self.newest) = (count, count);
                self.came.insert(count);
                return Verdict::Next;
            }
            if count <= self.newest - i64::from(WINDOW_COUNTS) {
                return Verdict::Stale;
            }
            if !self.came.insert(count) {
                return Verdict::Duplicate;
            }
            if count < self.newest {
                return if count > self.first { Verdict::Late } else { Verdict::Next };
            }
            let missed = (count - self.newest - 1) as u32;
            self.newest = count;
            if missed == 0 { Verdict::Next } else { Verdict::Gap { missed } }
        }
    }

    fn steps() -> impl Strategy<Value = i64> {
        prop_oneof![
            8 => Just(1_i64),
            4 => -8..8_i64,
            2 => -5_000..5_000_i64,
            1 => 4_090..4_100_i64,
            1 => -4_100..-4_090_i64,
            1 => 16_380..16_390_i64,
            1 => 0..100_000_000_i64,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_an_oracle_that_remembers_everything(
            start in 0..i64::from(Sequence::MODULUS),
            steps in prop::collection::vec(steps(), 0..400),
        ) {
            let (mut window, mut bits, mut oracle) = (Window::default(), NO_BITS, Oracle::default());
            let mut count = start;
            for step in steps {
                count += step;
                let sequence = Sequence::new(count.rem_euclid(Sequence::MODULUS.into()) as u32);
                prop_assert_eq!(window.take(&mut bits, sequence), oracle.take(count), "count {}", count);
            }
        }
    }

    proptest! {
        #[test]
        fn a_restored_window_goes_on_as_the_one_before(
            start in 0..Sequence::MODULUS,
            before in prop::collection::vec(-80..100_i64, 1..200),
            after in prop::collection::vec(-5_000..200_i64, 1..200),
        ) {
            let at = |count: i64| Sequence::new(count.rem_euclid(Sequence::MODULUS.into()) as u32);
            let (mut window, mut bits) = (Window::default(), NO_BITS);
            let mut count = i64::from(start);
            for step in before {
                count += step;
                window.take(&mut bits, at(count));
            }
            let mut octets = Vec::new();
            window.state(&bits, &mut octets);
            let (mut restored, mut others, rest) = Window::restored(&octets).unwrap();
            prop_assert!(rest.is_empty());
            for step in after {
                count += step / 40;
                let sequence = at(count + step);
                let verdict = restored.take(&mut others, sequence);
                prop_assert_eq!(verdict, window.take(&mut bits, sequence));
            }
        }
    }

    #[test]
    fn a_repeat_at_the_wrap_is_no_gap() {
        let (mut window, mut bits) = (Window::default(), NO_BITS);
        for (count, verdict) in [
            (16_383, Verdict::Next),
            (16_384, Verdict::Next),
            (16_383, Verdict::Duplicate),
            (16_384, Verdict::Duplicate),
            (16_385, Verdict::Next),
            (16_385 + 16_384, Verdict::Gap { missed: 16_383 }),
        ] {
            assert_eq!(window.take(&mut bits, Sequence::new(count)), verdict, "count {count}");
        }
    }
}
