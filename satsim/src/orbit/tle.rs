//! Two-line element sets from a file, with or without a line of name above each (the formats that
//! `CelesTrak` calls 2LE and TLE).
//!
//! Guarantee: whatever the text, there is no panic, and every refusal names the line. Blank lines
//! and lines that begin with `#` are skipped.

use sgp4::Elements;

use super::Orbit;

/// The orbits of a text, in its order.
pub fn parse(text: &str) -> Result<Vec<Orbit>, TleError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| Line { number: index + 1, text: line.trim_end() })
        .filter(|line| !line.text.trim().is_empty() && !line.text.starts_with('#'))
        .peekable();
    let mut orbits = Vec::new();
    while let Some(line) = lines.next() {
        let first = if line.text.starts_with(FIRST) {
            line
        } else {
            match lines.next_if(|next| next.text.starts_with(FIRST)) {
                Some(first) => first,
                None => {
                    return Err(
                        line.error("expected a line that begins with 1, or a name and then it")
                    );
                }
            }
        };
        let second = lines
            .next_if(|next| next.text.starts_with(SECOND))
            .ok_or_else(|| first.error("is not followed by a line that begins with 2"))?;
        first.check()?;
        second.check()?;
        let elements = Elements::from_tle(None, first.text.as_bytes(), second.text.as_bytes())
            .map_err(|error| first.error(&format!("and the next: {error}")))?;
        let orbit = Orbit::from_elements(&elements)
            .map_err(|error| first.error(&format!("and the next: {error}")))?;
        orbits.push(orbit);
    }
    if orbits.is_empty() {
        return Err(TleError { line: 1, what: "there is no element set in the file".into() });
    }
    Ok(orbits)
}

/// Why a text is no list of element sets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TleError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// What both lines of a set have in common: ASCII, their length, and the checksum: the sum of
    /// all digits, a minus counting 1, modulo 10.
    fn check(&self) -> Result<(), TleError> {
        // Checked first, since the fields are cut out by octets.
        if !self.text.is_ascii() {
            return Err(self.error("not plain ASCII"));
        }
        let octets = self.text.as_bytes();
        if octets.len() != LINE_OCTETS {
            return Err(
                self.error(&format!("has {} characters instead of {LINE_OCTETS}", octets.len()))
            );
        }
        let sum: u32 = octets[..LINE_OCTETS - 1]
            .iter()
            .map(|&octet| match octet {
                b'0'..=b'9' => u32::from(octet - b'0'),
                b'-' => 1,
                _ => 0,
            })
            .sum();
        let expected = b'0' + (sum % 10) as u8;
        let found = octets[LINE_OCTETS - 1];
        if found == expected {
            Ok(())
        } else {
            Err(self.error(&format!(
                "the checksum is {} and should be {}",
                char::from(found),
                char::from(expected)
            )))
        }
    }

    fn error(&self, what: &str) -> TleError {
        TleError { line: self.number, what: what.into() }
    }
}

const FIRST: &str = "1 ";
const SECOND: &str = "2 ";
const LINE_OCTETS: usize = 69;

#[cfg(test)]
mod tests {
    use super::{LINE_OCTETS, Line, parse};
    use crate::satellite::{Satellite, noise::Noise};
    use proptest::prelude::*;

    const NAME: &str = "ISS (ZARYA)";
    const FIRST: &str = "1 25544U 98067A   20194.88612269 -.00002218  00000-0 -31515-4 0  9992";
    const SECOND: &str = "2 25544  51.6461 221.2784 0001413  89.1723 280.4612 15.49507896236008";

    #[test]
    fn with_and_without_names() {
        let two = format!("{FIRST}\n{SECOND}\n");
        let three = format!("# stations\r\n\r\n{NAME}   \r\n{FIRST}\r\n{SECOND}\r\n");
        assert_eq!(parse(&two).unwrap().len(), 1);
        assert_eq!(parse(&format!("{three}{two}{three}")).unwrap().len(), 3);
        let orbit = parse(&two).unwrap().remove(0);
        let motion = orbit.at(orbit.epoch_unix_us).unwrap();
        assert!((motion.speed() - 7.66).abs() < 0.02);
    }

    #[test]
    fn each_error_names_its_line() {
        let cases = [
            (String::new(), 1),
            (format!("{NAME}\n"), 1),
            (format!("{NAME}\n{NAME}\n{FIRST}\n{SECOND}"), 1),
            (format!("{FIRST}\n"), 1),
            (format!("{FIRST}\n{SECOND}\n{SECOND}"), 3),
            (format!("{FIRST}\n{}", SECOND.replace("6008", "6009")), 2),
            (format!("{NAME}\n{}\n{SECOND}", FIRST.replace("25544U", "25545U")), 2),
            (format!("{FIRST}\n{}", &SECOND[..60]), 2),
            (format!("{}\n{SECOND}", FIRST.replace('U', "é")), 1),
            // Right checksums, but the sets of two satellites.
            (format!("\n{FIRST}\n{}", SECOND.replace("25544", "25553")), 2),
        ];
        for (text, line) in cases {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    proptest! {
        /// Digits that make no sense pass the checksum; the satellite flies or is refused.
        #[test]
        fn no_orbit_is_a_panic(changes in prop::collection::vec((0..68_usize, 0..10_u8), 1..8)) {
            let mut lines = [FIRST.as_bytes().to_vec(), SECOND.as_bytes().to_vec()];
            for (place, digit) in changes {
                for line in &mut lines {
                    if place > 7 && line[place].is_ascii_digit() {
                        line[place] = b'0' + digit;
                    }
                }
            }
            let [first, second] = lines.map(|mut line| {
                for digit in b'0'..=b'9' {
                    line[LINE_OCTETS - 1] = digit;
                    let text = str::from_utf8(&line).unwrap();
                    if (Line { number: 1, text }).check().is_ok() {
                        break;
                    }
                }
                String::from_utf8(line).unwrap()
            });
            for orbit in parse(&format!("{first}\n{second}")).unwrap_or_default() {
                let start = orbit.epoch_unix_us;
                if let Ok(mut satellite) = Satellite::new(orbit, 1, 1, start) {
                    let mut noise = Noise::of_satellite(1, 1);
                    for hour in 0..5 {
                        let readings = satellite.health(hour * 3_600_000_000, &mut noise);
                        prop_assert!(readings.altitude_km.is_finite());
                    }
                }
            }
        }

        #[test]
        fn no_text_is_a_panic(position in 0..140_usize, replacement: char, cut in 0..140_usize) {
            let text = format!("{FIRST}\n{SECOND}");
            let mut damaged: String = text
                .chars()
                .enumerate()
                .map(|(i, c)| if i == position { replacement } else { c })
                .collect();
            let _ = parse(&damaged);
            damaged = damaged.chars().take(cut).collect();
            prop_assert!(parse(&damaged).is_err() || cut >= 139);
        }
    }
}
