//! RFC 3339 times as text, and nothing else: the grammar of §5.6 with the ranges of §5.7.
//!
//! `T` and `Z` may be lower case (§5.6). Not accepted are what other readers of ISO 8601 take besides:
//! a space in place of `T`, a comma before the fraction, a time without offset or without seconds,
//! week and ordinal dates, offsets with seconds or without minutes, names of time zones in brackets.
//! Digits after the sixth of a fraction are read and dropped.
//!
//! A leap second, `23:59:60` in UTC, counts as the first second of the next day, as in a frame
//! ([`crate::CdsTime`]). Which days had one is not checked.

/// The text is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an RFC 3339 time such as \"2026-01-01T00:00:00Z\"")]
pub struct NotATime;

/// The microseconds since 1970-01-01T00:00:00Z of a time such as `2026-01-01T00:00:00.5+07:00`.
pub fn unix_us(text: &str) -> Result<i64, NotATime> {
    let mut reader = Reader(text.as_bytes());
    let year = reader.number(4)?;
    reader.one_of(b"-")?;
    let month = reader.number(2)?;
    reader.one_of(b"-")?;
    let day = reader.number(2)?;
    reader.one_of(b"Tt")?;
    let hour = reader.number(2)?;
    reader.one_of(b":")?;
    let minute = reader.number(2)?;
    reader.one_of(b":")?;
    let second = reader.number(2)?;
    let fraction_us = reader.fraction_us()?;
    let offset_s = reader.offset_s()?;
    let is_within = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !is_within || !reader.0.is_empty() {
        return Err(NotATime);
    }
    let seconds =
        days_since_1970(year, month, day) * SECONDS_OF_DAY + hour * 3_600 + minute * 60 + second
            - offset_s;
    // A leap second comes before midnight in UTC, wherever the clock is that shows it.
    if second == 60 && seconds.rem_euclid(SECONDS_OF_DAY) != 0 {
        return Err(NotATime);
    }
    Ok(seconds * 1_000_000 + fraction_us)
}

/// What is left of the text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn one_of(&mut self, expected: &[u8]) -> Result<u8, NotATime> {
        let (&first, rest) = self.0.split_first().ok_or(NotATime)?;
        self.0 = rest;
        if expected.contains(&first) { Ok(first) } else { Err(NotATime) }
    }

    /// A number of exactly this many digits, which are few.
    fn number(&mut self, digits: usize) -> Result<i64, NotATime> {
        (0..digits).try_fold(0, |number, _| {
            Ok(number * 10 + i64::from(self.one_of(b"0123456789")? - b'0'))
        })
    }

    /// `.` and at least one digit, or nothing.
    fn fraction_us(&mut self) -> Result<i64, NotATime> {
        let Some(rest) = self.0.strip_prefix(b".") else { return Ok(0) };
        let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (fraction, rest) = rest.split_at(digits);
        self.0 = rest;
        if fraction.is_empty() {
            return Err(NotATime);
        }
        let digit = |place: usize| fraction.get(place).map_or(0, |octet| i64::from(octet - b'0'));
        Ok((0..6).fold(0, |us, place| us * 10 + digit(place)))
    }

    /// `Z`, or hours and minutes with their sign.
    fn offset_s(&mut self) -> Result<i64, NotATime> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Ok(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        if hours > 23 || minutes > 59 {
            return Err(NotATime);
        }
        Ok(sign * (hours * 3_600 + minutes * 60))
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_of_years =
        year * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let days_of_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    days_of_years + days_of_months + day - 1 - DAYS_TO_1970
}

const SECONDS_OF_DAY: i64 = 86_400;
/// What [`days_since_1970`] counts from the year 0 on until then.
const DAYS_TO_1970: i64 = 719_527;

#[cfg(test)]
mod tests {
    use super::{NotATime, unix_us};

    use proptest::prelude::*;

    const NEW_YEAR_US: i64 = 1_767_225_600_000_000;

    #[test]
    fn the_grammar_of_rfc_3339_is_accepted() {
        for (text, expected_us) in [
            ("2026-01-01T00:00:00Z", NEW_YEAR_US),
            ("2026-01-01t00:00:00z", NEW_YEAR_US),
            ("2026-01-01T00:00:00+00:00", NEW_YEAR_US),
            ("2026-01-01T00:00:00-00:00", NEW_YEAR_US),
            ("2026-01-01T07:00:00+07:00", NEW_YEAR_US),
            ("2025-12-31T18:30:00-05:30", NEW_YEAR_US),
            ("2026-01-01T00:00:00.5Z", NEW_YEAR_US + 500_000),
            ("2026-01-01T00:00:00.000001Z", NEW_YEAR_US + 1),
            ("2026-01-01T00:00:00.123456789012345678901Z", NEW_YEAR_US + 123_456),
            ("2025-12-31T23:59:59.999999Z", NEW_YEAR_US - 1),
            // The leap seconds of §5.8, and one on another day.
            ("1990-12-31T23:59:60Z", 662_688_000_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000_000),
            ("2025-12-31T23:59:60.25Z", NEW_YEAR_US + 250_000),
            // The other examples of §5.8.
            ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ] {
            assert_eq!(unix_us(text), Ok(expected_us), "{text}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "now",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01T00Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01_00:00:00Z",
            "2026-01-01T00:00:00 Z",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "2026-01-01T00:00:00Z\n",
            "2026-01-01T00:00:00Zulu",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-01-01T00:00:00+01:00[Europe/Paris]",
            "2026-01-01T00:00:00[UTC]",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.5",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+01:00:00",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+01:60",
            "2026-01-01T00:00:00\u{2212}01:00",
            "20260101T000000Z",
            "2026-01-01T000000Z",
            "2026-W01-1T00:00:00Z",
            "2026-001T00:00:00Z",
            "+002026-01-01T00:00:00Z",
            "-2026-01-01T00:00:00Z",
            "26-01-01T00:00:00Z",
            "2026-1-1T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T12:00:60Z",
            "2026-01-01T23:59:60+01:00",
            "\u{0662}026-01-01T00:00:00Z",
            "1767225600",
            "Thu, 01 Jan 2026 00:00:00 GMT",
        ] {
            assert_eq!(unix_us(text), Err(NotATime), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn days_follow_each_other(days in -719_528_i64..2_932_896) {
            // Each day of the calendar, found by its number and read again.
            let (mut year, mut left) = (0, days + 719_528);
            while left >= 365 + i64::from(super::is_leap(year)) {
                left -= 365 + i64::from(super::is_leap(year));
                year += 1;
            }
            let mut month = 1;
            while left >= super::days_of(year, month) {
                left -= super::days_of(year, month);
                month += 1;
            }
            let text = format!("{year:04}-{month:02}-{:02}T00:00:00Z", left + 1);
            prop_assert_eq!(unix_us(&text), Ok(days * 86_400_000_000), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9TtZz:., \\[\\]]{0,40}") {
            let _read = unix_us(&text);
        }
    }
}
