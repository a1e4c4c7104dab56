//! The set of spacecraft that the station listens to, and things in the order of their spacecraft.

use std::{fmt, str::FromStr};

use protocol::SpacecraftId;

/// A set of spacecraft ids, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct SpacecraftSet {
    bits: Vec<u64>,
}

impl SpacecraftSet {
    /// Every spacecraft.
    #[must_use]
    pub fn all() -> Self {
        Self { bits: vec![u64::MAX; WORDS] }
    }

    /// No spacecraft.
    #[must_use]
    pub fn none() -> Self {
        Self { bits: vec![0; WORDS] }
    }

    /// Adds one; false when it was there.
    #[inline]
    pub fn insert(&mut self, spacecraft: SpacecraftId) -> bool {
        let number = usize::from(spacecraft.number());
        let bit = 1 << (number % BITS);
        let is_new = self.bits[number / BITS] & bit == 0;
        self.bits[number / BITS] |= bit;
        is_new
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes one.
    pub fn remove(&mut self, spacecraft: SpacecraftId) {
        let number = usize::from(spacecraft.number());
        self.bits[number / BITS] &= !(1 << (number % BITS));
    }

    /// Whether it is one of them.
    #[inline]
    #[must_use]
    pub fn contains(&self, spacecraft: SpacecraftId) -> bool {
        let number = usize::from(spacecraft.number());
        self.bits[number / BITS] >> (number % BITS) & 1 == 1
    }
}

impl FromStr for SpacecraftSet {
    type Err = String;

    /// Reads a list such as `1-100,205`.
    fn from_str(list: &str) -> Result<Self, String> {
        let mut set = Self::none();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u16>().ok().filter(|&n| n > 0);
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("`{part}`: expected ids from 1 to 65535, such as 1-100,205"));
            };
            if first > last {
                return Err(format!("`{part}`: the range ends before it begins"));
            }
            for number in first..=last {
                SpacecraftId::new(number).map(|id| set.insert(id));
            }
        }
        Ok(set)
    }
}

impl fmt::Debug for SpacecraftSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpacecraftSet({} ids)", self.len())
    }
}

/// Brings things together by spacecraft, in the order of their `number`s; those of one spacecraft keep
/// theirs. Counts and distributes (Knuth, The Art of Computer Programming 3, 5.2, algorithm D), which takes as
/// long for each of many things as for each of few. Few things of many spacecraft are compared.
#[must_use]
pub fn by_spacecraft<T: Copy>(things: &[T], number: impl Fn(&T) -> u16) -> Vec<T> {
    let mut sorted = things.to_vec();
    let width = things.iter().map(|thing| usize::from(number(thing)) + 1).max().unwrap_or_default();
    if width > WIDTH_MAX * things.len() {
        sorted.sort_by_key(number);
        return sorted;
    }
    let mut places = vec![0_usize; width];
    for thing in things {
        places[usize::from(number(thing))] += 1;
    }
    let mut next = 0;
    for place in &mut places {
        next += std::mem::replace(place, next);
    }
    for thing in things {
        let place = &mut places[usize::from(number(thing))];
        sorted[*place] = *thing;
        *place += 1;
    }
    sorted
}

/// Numbers for each thing that are counted without loss of time.
const WIDTH_MAX: usize = 4;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = (1 << 16) / BITS;

#[cfg(test)]
mod tests {
    use super::{SpacecraftSet, by_spacecraft};
    use proptest::prelude::*;
    use protocol::SpacecraftId;

    proptest! {
        #[test]
        fn as_a_stable_sort_has_it(
            few in prop::collection::vec(1_u16..20, 0..200),
            wide in prop::collection::vec(any::<u16>(), 0..50),
        ) {
            for numbers in [few, wide] {
                let things: Vec<_> = numbers.into_iter().zip(0..).collect();
                let mut sorted: Vec<(u16, u32)> = things.clone();
                sorted.sort_by_key(|thing| thing.0);
                prop_assert_eq!(by_spacecraft(&things, |thing| thing.0), sorted);
            }
        }
    }

    #[test]
    fn lists() {
        let set: SpacecraftSet = "1-3, 205,65535-65535".parse().unwrap();
        let contains = |number| set.contains(SpacecraftId::new(number).unwrap());
        assert!([1, 2, 3, 205, 65_535].into_iter().all(contains));
        assert!(![4, 204, 206, 65_534].into_iter().any(contains));
        for wrong in ["", "0", "1-", "-3", "3-1", "65536", "SAT-01", "1,,2"] {
            assert!(wrong.parse::<SpacecraftSet>().is_err(), "{wrong}");
        }
    }
}
