//! Spacecraft identifiers and the names people see.

use core::{fmt, num::NonZeroU16, ops::Deref, str::FromStr};

/// A spacecraft's number, 1 to 65,535; shown as `SAT-01`, …, `SAT-99`, `SAT-100`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpacecraftId(NonZeroU16);

impl SpacecraftId {
    /// The first one, `SAT-01`.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The identifier with this number; none for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number, never 0.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// Its name, without an allocation.
    #[must_use]
    pub fn name(self) -> SpacecraftName {
        let mut digits = [b'0'; DIGITS_MAX];
        let mut rest = self.number();
        let mut first = DIGITS_MAX;
        while rest > 0 || first > DIGITS_MAX - DIGITS_MIN {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let mut text = [0; NAME_OCTETS_MAX];
        let digits = &digits[first..];
        let octets = PREFIX.len() + digits.len();
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        text[PREFIX.len()..octets].copy_from_slice(digits);
        SpacecraftName { text, octets: octets as u8 }
    }
}

impl fmt::Display for SpacecraftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl FromStr for SpacecraftId {
    type Err = NotASpacecraft;

    /// Reads a name as it is shown; other spellings of the number (`SAT-1`, `sat-01`) are refused,
    /// since they would not be found again under that name.
    fn from_str(name: &str) -> Result<Self, NotASpacecraft> {
        let id = name
            .strip_prefix(PREFIX)
            .and_then(|digits| digits.parse().ok())
            .and_then(Self::new)
            .ok_or(NotASpacecraft)?;
        if *id.name() == *name { Ok(id) } else { Err(NotASpacecraft) }
    }
}

/// The text is no spacecraft's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected SAT- and a number from 1 to 65535 with at least two digits, such as SAT-01")]
pub struct NotASpacecraft;

/// A spacecraft's name, held in place.
#[derive(Clone, Copy)]
pub struct SpacecraftName {
    text: [u8; NAME_OCTETS_MAX],
    octets: u8,
}

impl Deref for SpacecraftName {
    type Target = str;

    fn deref(&self) -> &str {
        // Only ASCII is ever written, so the fallback is never taken.
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl SpacecraftName {
    /// The name's octets, all ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.octets)]
    }
}

const PREFIX: &str = "SAT-";
const DIGITS_MIN: usize = 2;
const DIGITS_MAX: usize = 5;
const NAME_OCTETS_MAX: usize = PREFIX.len() + DIGITS_MAX;

#[cfg(test)]
mod tests {
    use super::SpacecraftId;

    #[test]
    fn every_name_reads_back() {
        for number in 1..=u16::MAX {
            let id = SpacecraftId::new(number).unwrap();
            assert_eq!(id.to_string(), format!("SAT-{number:02}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for name in [
            "",
            "SAT-",
            "SAT-0",
            "SAT-00",
            "SAT-1",
            "SAT-001",
            "sat-01",
            "SAT-65536",
            "SAT-+1",
            "7",
        ] {
            assert!(name.parse::<SpacecraftId>().is_err(), "{name}");
        }
    }
}
