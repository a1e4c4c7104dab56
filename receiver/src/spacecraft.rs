//! The set of spacecraft that the station listens to.

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
        let members: u32 = self.bits.iter().map(|word| word.count_ones()).sum();
        write!(f, "SpacecraftSet({members} ids)")
    }
}

const BITS: usize = u64::BITS as usize;
const WORDS: usize = (1 << 16) / BITS;

#[cfg(test)]
mod tests {
    use super::SpacecraftSet;
    use protocol::SpacecraftId;

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
