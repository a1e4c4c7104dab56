//! Which definitions kept entries follow, and which packet kinds of them can still be decoded.
//!
//! Frames and JSON samples lie in the journal as octets that only mean something by the definitions of
//! their time. So every record names those by a fingerprint, and the journal's folder keeps a
//! description of each. Guarantee: an entry is decoded only if its kind was defined then as it is now;
//! nothing else becomes a value. Definitions without a description decode nothing.

use std::{fmt::Write as _, sync::OnceLock};

use protocol::{Apid, KINDS, Kind};

/// Definitions by fingerprint, and what this program decodes of each.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    known: Vec<(u64, Decodable)>,
}

/// The packet kinds of some definitions that are defined in the same way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decodable {
    /// By place among [`KINDS`], one bit each.
    kinds: u64,
}

/// Definitions as their description states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    fingerprint: u64,
    kinds: Vec<(Apid, u64)>,
}

/// Why a text is no description of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADescription {
    /// The first line is another.
    #[error("it does not begin with `{HEADING}`")]
    Heading,
    /// A line is not as [`describe`] writes it.
    #[error("line {line} describes no packet kind")]
    Line {
        /// Which, from 1.
        line: usize,
    },
}

/// A description of this program's definitions: a heading, and a line for each packet kind with APID,
/// name, octets of a frame, and fingerprint. The fingerprint of the definitions is that of this text.
#[must_use]
pub fn describe() -> String {
    describe_kinds(KINDS)
}

/// The fingerprint of this program's definitions.
#[must_use]
pub fn fingerprint() -> u64 {
    static FINGERPRINT: OnceLock<u64> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| protocol::fingerprint(&describe()))
}

/// The same of any definitions, whatever the order in which they are declared.
fn describe_kinds(kinds: &[&Kind]) -> String {
    let mut sorted = kinds.to_vec();
    sorted.sort_by_key(|kind| (kind.apid, kind.name));
    let mut text = format!("{HEADING}\n");
    for kind in sorted {
        let (apid, name, octets) = (kind.apid, kind.name, kind.frame_octets());
        // Writing to a string does not fail.
        let _written = writeln!(text, "{apid} {name} {octets} {:016x}", kind.fingerprint());
    }
    text
}

impl Definitions {
    /// This program's own definitions, and those of the builds before records named theirs.
    #[must_use]
    pub fn built_in() -> Self {
        let mut definitions = Self { known: vec![(fingerprint(), Decodable::ALL)] };
        if let Ok(legacy) = Known::parse(LEGACY_DESCRIPTION) {
            definitions.learn(&legacy);
        }
        definitions
    }

    /// Adds definitions that a description states.
    pub fn learn(&mut self, known: &Known) {
        if !self.known.iter().any(|&(fingerprint, _)| fingerprint == known.fingerprint) {
            self.known.push((known.fingerprint, known.decodable()));
        }
    }

    /// What can be decoded of entries that follow the definitions with this fingerprint.
    #[must_use]
    pub fn of(&self, fingerprint: u64) -> Decodable {
        let mut known = self.known.iter();
        known.find(|known| known.0 == fingerprint).map_or(Decodable::NONE, |known| known.1)
    }
}

impl Decodable {
    /// All kinds: the definitions are this program's own.
    pub const ALL: Self = Self { kinds: u64::MAX };
    /// No kind: the definitions are not known.
    pub const NONE: Self = Self { kinds: 0 };

    /// What this program alone decodes of such entries, without descriptions of others.
    #[must_use]
    pub fn built_in(fingerprint: u64) -> Self {
        static BUILT_IN: OnceLock<Definitions> = OnceLock::new();
        BUILT_IN.get_or_init(Definitions::built_in).of(fingerprint)
    }

    /// Whether samples of a kind can be decoded.
    #[inline]
    #[must_use]
    pub fn includes(self, apid: Apid) -> bool {
        self == Self::ALL
            || KINDS
                .iter()
                .position(|kind| kind.apid == apid)
                .is_some_and(|place| self.kinds >> place & 1 == 1)
    }
}

impl Known {
    /// Reads a description, as [`describe`] writes it.
    pub fn parse(text: &str) -> Result<Self, NotADescription> {
        let mut lines = text.lines().zip(1..);
        if lines.next().is_none_or(|(heading, _)| heading != HEADING) {
            return Err(NotADescription::Heading);
        }
        let kinds = lines.map(|(text, line)| kind(text).ok_or(NotADescription::Line { line }));
        let fingerprint = protocol::fingerprint(text);
        Ok(Self { fingerprint, kinds: kinds.collect::<Result<_, _>>()? })
    }

    /// The fingerprint of the definitions.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn decodable(&self) -> Decodable {
        let is_same = |kind: &Kind| self.kinds.contains(&(kind.apid, kind.fingerprint()));
        let places = (0..).zip(KINDS).filter(|(_, kind)| is_same(kind));
        Decodable { kinds: places.map(|(place, _)| 1_u64 << place).sum() }
    }
}

/// APID and fingerprint of a kind.
fn kind(line: &str) -> Option<(Apid, u64)> {
    let mut parts = line.split(' ');
    let apid = parts.next()?.parse().ok().filter(|&apid| apid <= Apid::IDLE.number())?;
    let _name = parts.next()?;
    let _octets: usize = parts.next()?.parse().ok()?;
    let fingerprint = u64::from_str_radix(parts.next()?, 16).ok()?;
    parts.next().is_none().then_some((Apid::new(apid), fingerprint))
}

// As many have a bit, and one is left so that some are never taken for all.
const _: () = assert!(KINDS.len() < u64::BITS as usize);

/// The fingerprint of the definitions that all entries follow whose records name none.
pub const LEGACY_FINGERPRINT: u64 = 0xAC2C_D8BC_05EF_1519;
const LEGACY_DESCRIPTION: &str = include_str!("definitions/legacy.txt");
const HEADING: &str = "orbitstream definitions 1";

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{attitude, health};

    #[test]
    fn a_description_reads_back() {
        let known = Known::parse(&describe()).unwrap();
        assert_eq!(known.fingerprint(), fingerprint());
        assert_eq!(known.kinds.len(), KINDS.len());
        let mut reversed = KINDS.to_vec();
        reversed.reverse();
        assert_eq!(describe_kinds(&reversed), describe());
        assert_eq!(
            Known::parse(LEGACY_DESCRIPTION).unwrap().fingerprint(),
            LEGACY_FINGERPRINT,
            "{:x}",
            protocol::fingerprint(LEGACY_DESCRIPTION)
        );
    }

    #[test]
    fn what_is_no_description_is_refused_with_its_line() {
        assert_eq!(Known::parse(""), Err(NotADescription::Heading));
        assert_eq!(Known::parse("else\n"), Err(NotADescription::Heading));
        for wrong in ["", "100", "100 health 68", "100 health 68 xyz", "2048 a 1 0", "1 a 1 0 0"] {
            let text = format!("{HEADING}\n100 health 68 0\n{wrong}\n");
            assert_eq!(Known::parse(&text), Err(NotADescription::Line { line: 3 }), "{wrong:?}");
        }
    }

    #[test]
    fn kinds_that_did_not_change_are_decoded_and_others_are_not() {
        let wider = Kind { data_octets: attitude::KIND.data_octets + 2, ..attitude::KIND };
        let known = Known::parse(&describe_kinds(&[&health::KIND, &wider])).unwrap();
        let mut definitions = Definitions::built_in();
        assert_eq!(definitions.of(known.fingerprint()), Decodable::NONE);
        definitions.learn(&known);
        let decodable = definitions.of(known.fingerprint());
        let includes = |apid| decodable.includes(apid);
        assert_eq!((includes(health::KIND.apid), includes(attitude::KIND.apid)), (true, false));
        assert!(!includes(Apid::new(7)) && !Decodable::NONE.includes(health::KIND.apid));
        for own in [fingerprint(), LEGACY_FINGERPRINT] {
            assert!(KINDS.iter().all(|kind| definitions.of(own).includes(kind.apid)));
        }
    }
}
