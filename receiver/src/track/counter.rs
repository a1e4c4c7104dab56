//! The width of a sequence counter, and differences on its circle.

/// How many bits a stream's full counter has: the 14 of CCSDS 133.0-B-2 §4.1.3.4, or more where a
/// packet carries an extension. The counter wraps to 0 behind its last value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterWidth(u8);

impl CounterWidth {
    /// The primary header's count alone.
    pub const PRIMARY: Self = Self(BITS_MIN);
    /// The shipped mission's counter: 16 bits of extension above the primary header's count.
    pub const EXTENDED: Self = Self(30);

    /// A width of 14 to 31 bits; none for any other.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if bits < BITS_MIN || bits > BITS_MAX { None } else { Some(Self(bits)) }
    }

    /// The number of bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Half of all counts: how far behind the newest a count can be told from one ahead of it.
    #[must_use]
    pub const fn half(self) -> u32 {
        1 << (self.0 - 1)
    }

    /// A value modulo 2^width.
    #[must_use]
    pub const fn wrap(self, value: u32) -> u32 {
        value & (u32::MAX >> (u32::BITS - self.0 as u32))
    }

    /// Signed steps from `earlier` to `later`, the shorter way round: −2^(width−1) … 2^(width−1) − 1.
    #[must_use]
    pub const fn steps(self, earlier: u32, later: u32) -> i32 {
        let unused = u32::BITS - self.0 as u32;
        (later.wrapping_sub(earlier) << unused) as i32 >> unused
    }

    /// How many counts `count` lies behind `newest`, 0 to 2^width − 1.
    #[must_use]
    pub const fn behind(self, newest: u32, count: u32) -> u32 {
        self.wrap(newest.wrapping_sub(count))
    }
}

const BITS_MIN: u8 = 14;
/// The column `sequence` is a signed 32-bit integer.
const BITS_MAX: u8 = 31;

#[cfg(test)]
mod tests {
    use super::CounterWidth;
    use proptest::prelude::*;
    use protocol::Sequence;

    #[test]
    fn widths_from_14_to_31() {
        assert_eq!(CounterWidth::new(13), None);
        assert_eq!(CounterWidth::new(14), Some(CounterWidth::PRIMARY));
        assert_eq!(CounterWidth::new(30), Some(CounterWidth::EXTENDED));
        assert_eq!(CounterWidth::new(31).map(CounterWidth::half), Some(1 << 30));
        assert_eq!(CounterWidth::new(32), None);
    }

    #[test]
    fn differences_go_the_shorter_way_round() {
        let width = CounterWidth::PRIMARY;
        for (earlier, later, steps) in
            [(16_383, 0, 1), (0, 16_383, -1), (0, 8_191, 8_191), (0, 8_192, -8_192), (5, 5, 0)]
        {
            assert_eq!(width.steps(earlier, later), steps, "{earlier} {later}");
        }
        assert_eq!(width.behind(0, 16_383), 1);
        assert_eq!(width.behind(16_383, 0), 16_383);
    }

    proptest! {
        #[test]
        fn thirty_bits_are_those_of_the_protocol(earlier: u32, later: u32) {
            let (from, to) = (Sequence::new(earlier), Sequence::new(later));
            prop_assert_eq!(CounterWidth::EXTENDED.steps(earlier, later), to.since(from));
            prop_assert_eq!(CounterWidth::EXTENDED.wrap(earlier), from.value());
        }
    }
}
