//! CCSDS day-segmented time (CDS; CCSDS 301.0-B-4 §3.3): epoch 1958-01-01, 16-bit day, 32-bit
//! milliseconds of the day, 16-bit microseconds of the millisecond. It counts UTC days.

/// A moment as the frame carries it, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdsTime {
    /// Days since 1958-01-01.
    pub day: u16,
    /// Milliseconds of the day, below 86,401,000 (a leap second) in a valid frame.
    pub ms: u32,
    /// Microseconds of the millisecond, below 1,000 in a valid frame.
    pub us: u16,
}

impl CdsTime {
    /// Microseconds since 1970-01-01T00:00:00Z; negative before it. A leap second counts as the
    /// first second of the next day, as POSIX has it.
    #[must_use]
    pub const fn unix_us(self) -> i64 {
        (self.day as i64 - UNIX_EPOCH_DAY) * US_OF_DAY + self.ms as i64 * 1_000 + self.us as i64
    }

    /// The time code of a moment given in microseconds since 1970; none before 1958-01-01 or after
    /// 2137-06-06, which 16 bits of days cannot say.
    #[must_use]
    pub const fn from_unix_us(unix_us: i64) -> Option<Self> {
        let day = unix_us.div_euclid(US_OF_DAY) + UNIX_EPOCH_DAY;
        let us_of_day = unix_us.rem_euclid(US_OF_DAY);
        if day < 0 || day > u16::MAX as i64 {
            return None;
        }
        Some(Self {
            day: day as u16,
            ms: (us_of_day / 1_000) as u32,
            us: (us_of_day % 1_000) as u16,
        })
    }

    pub(crate) const fn is_valid(self) -> bool {
        self.ms < MS_OF_DAY_LIMIT && self.us < US_OF_MS_LIMIT
    }
}

/// The time code's P-field: CDS, 1958 epoch, 16-bit day, 16-bit microseconds.
pub(crate) const P_FIELD: u8 = 0x41;
/// A day of 86,400 s and a leap second.
pub(crate) const MS_OF_DAY_LIMIT: u32 = 86_401_000;
pub(crate) const US_OF_MS_LIMIT: u16 = 1_000;
/// 1970-01-01 in days since 1958-01-01.
const UNIX_EPOCH_DAY: i64 = 4_383;
const US_OF_DAY: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::CdsTime;
    use proptest::prelude::*;

    #[test]
    fn golden_time() {
        // 2026-01-01T00:00:00Z
        let time = CdsTime { day: 0x6105, ms: 0, us: 0 };
        assert_eq!(time.unix_us(), 1_767_225_600_000_000);
        assert_eq!(CdsTime::from_unix_us(1_767_225_600_000_000), Some(time));
    }

    #[test]
    fn what_days_cannot_say() {
        assert_eq!(CdsTime::from_unix_us(i64::MIN), None);
        assert_eq!(CdsTime::from_unix_us(i64::MAX), None);
        let first = CdsTime { day: 0, ms: 0, us: 0 };
        assert_eq!(CdsTime::from_unix_us(first.unix_us()), Some(first));
        assert_eq!(CdsTime::from_unix_us(first.unix_us() - 1), None);
    }

    proptest! {
        #[test]
        fn there_and_back(day: u16, ms in 0..86_400_000_u32, us in 0..1_000_u16) {
            let time = CdsTime { day, ms, us };
            prop_assert_eq!(CdsTime::from_unix_us(time.unix_us()), Some(time));
        }
    }
}
