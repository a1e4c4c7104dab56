//! Counters that have leapt further than rate and time explain, and how many of these jumps are stored.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{F32, I64, U16, U32},
};

/// A gap that is not plausible, as it lies in a chunk.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Jump {
    /// When the frame behind the gap was received, µs since 1970. Its own time is the sender's choice.
    pub time_us: I64,
    /// Whose counter.
    pub spacecraft: U16,
    /// Of which packets.
    pub apid: U16,
    /// The boot that the frame names.
    pub boot_count: U32,
    /// The frame's count.
    pub count: U32,
    /// Counts that were left out.
    pub missed: U32,
    /// The most that would have been plausible.
    pub plausible: F32,
}

/// How many jumps may be stored: `JUMPS_AT_ONCE`, and then `JUMPS_PER_SECOND`. So nobody fills a table
/// with them.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u32,
    refilled_us: i64,
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn new() -> Self {
        Self { left: JUMPS_AT_ONCE, refilled_us: 0 }
    }

    /// Whether one more may be stored now (µs since 1970).
    pub fn permits(&mut self, now_us: i64) -> bool {
        let seconds = (now_us - self.refilled_us) / 1_000_000;
        // Also after a clock that was set back.
        if seconds != 0 {
            let gained = seconds.unsigned_abs().saturating_mul(JUMPS_PER_SECOND.into());
            let left = u64::from(self.left).saturating_add(gained).min(JUMPS_AT_ONCE.into());
            (self.left, self.refilled_us) = (left as u32, now_us);
        }
        let is_permitted = self.left > 0;
        self.left -= u32::from(is_permitted);
        is_permitted
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// Jumps that are stored however close together.
pub const JUMPS_AT_ONCE: u32 = 100;
/// Jumps that are stored a second for as long as they come.
pub const JUMPS_PER_SECOND: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_stored() {
        let mut budget = Budget::new();
        let mut stored = |range: std::ops::Range<i64>, times| {
            let permits =
                |second| (0..times).filter(|_| budget.permits(second * 1_000_000)).count();
            range.map(permits).collect::<Vec<_>>()
        };
        assert_eq!(stored(1_000..1_003, 500), [100, 1, 1]);
        assert_eq!(stored(1_100..1_101, 500), [98]);
        assert_eq!(stored(50..51, 500), [100], "the clock was set back");
    }
}
