//! The full sequence counter: 16 bits of extension above the 14 bits of CCSDS 133.0-B-2 §4.1.3.4.

use core::fmt;

/// A frame's place in its stream: 30 bits, counted per spacecraft, APID and boot, wrapping to 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(u32);

impl Sequence {
    /// Counts before the counter starts again at 0.
    pub const MODULUS: u32 = 1 << 30;

    /// The counter with this value modulo [`Self::MODULUS`].
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value % Self::MODULUS)
    }

    /// Puts the counter together from the frame's two fields; of `count` the low 14 bits are used.
    #[must_use]
    pub const fn from_parts(extension: u16, count: u16) -> Self {
        Self((extension as u32) << COUNT_BITS | (count & COUNT_MASK) as u32)
    }

    /// The 14 bits of the primary header's sequence count.
    #[must_use]
    pub const fn count(self) -> u16 {
        (self.0 & COUNT_MASK as u32) as u16
    }

    /// The 16 bits above them.
    #[must_use]
    pub const fn extension(self) -> u16 {
        (self.0 >> COUNT_BITS) as u16
    }

    /// The whole counter, 0 to 2^30 − 1.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The counter `steps` later.
    #[must_use]
    pub const fn plus(self, steps: u32) -> Self {
        Self::new(self.0.wrapping_add(steps))
    }

    /// Signed steps from `earlier` to `self` on the circle: the shorter way round, in
    /// −2^29 … 2^29 − 1.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i32 {
        (self.0.wrapping_sub(earlier.0) << 2) as i32 >> 2
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const COUNT_BITS: u32 = 14;
/// The bits of the primary header's count field.
pub(crate) const COUNT_MASK: u16 = (1 << COUNT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::Sequence;
    use proptest::prelude::*;

    #[test]
    fn differences_wrap() {
        let last = Sequence::new(Sequence::MODULUS - 1);
        assert_eq!(last.plus(1), Sequence::new(0));
        assert_eq!(Sequence::new(0).since(last), 1);
        assert_eq!(last.since(Sequence::new(0)), -1);
        assert_eq!(Sequence::new(16_384).since(Sequence::new(16_383)), 1);
    }

    proptest! {
        #[test]
        fn parts_are_the_whole(value in 0..Sequence::MODULUS) {
            let sequence = Sequence::new(value);
            prop_assert_eq!(Sequence::from_parts(sequence.extension(), sequence.count()), sequence);
        }

        #[test]
        fn since_undoes_plus(from in 0..Sequence::MODULUS, steps in 0..1_u32 << 29) {
            let from = Sequence::new(from);
            prop_assert_eq!(from.plus(steps).since(from), steps as i32);
        }
    }
}
