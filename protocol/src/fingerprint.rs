//! Fingerprints of definitions: whether octets that were kept mean the same now as when they were
//! received.
//!
//! A fingerprint is the FNV-1a hash, 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv), of a text that
//! states everything that a value depends on. It tells definitions apart that were changed by people;
//! it does not protect against somebody who looks for two texts with one hash.

use core::fmt::{self, Write as _};

use crate::{
    channel::{Field, Meaning},
    header::{HEADER_OCTETS, LAYOUT_VERSION},
    packet::Kind,
};

/// The fingerprint of a text.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    let mut hash = Fnv::default();
    // Writing to a hash does not fail.
    let _written: fmt::Result = hash.write_str(text);
    hash.0
}

impl Kind {
    /// The fingerprint of this kind: the same as long as its frames have the same size and the same
    /// fields at the same places, with the same names, types, scales and units. Descriptions, ranges,
    /// labels and tables can change without changing it.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::default();
        let _written: fmt::Result = self.write_canonical(&mut hash);
        hash.0
    }

    /// Writes what the fingerprint is taken of: a line about the packet, and one for each field.
    fn write_canonical(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let (name, apid, octets) = (self.name, self.apid, self.frame_octets());
        writeln!(
            out,
            "{name:?} apid {apid} layout {LAYOUT_VERSION} header {HEADER_OCTETS} frame {octets}"
        )?;
        self.fields.iter().try_for_each(|field| field.write_canonical(out))
    }
}

impl Field {
    fn write_canonical(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Self { name, raw, offset, .. } = self;
        write!(out, "{name:?} {} at {offset}", raw.name())?;
        match self.meaning {
            // The shortest decimal that reads back as the same number.
            Meaning::Channel(channel) => {
                write!(out, " scale {} {:?}", channel.scale, channel.unit)?;
            }
            Meaning::Flags(flags) => {
                flags
                    .iter()
                    .try_for_each(|flag| write!(out, " bit {} {:?}", flag.bit, flag.name))?;
            }
            Meaning::Reserved => out.write_str(" reserved")?,
        }
        out.write_char('\n')
    }
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(FNV_OFFSET_BASIS)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(FNV_PRIME);
        }
        Ok(())
    }
}

const FNV_OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attitude,
        channel::{Channel, RawType},
        health,
    };

    #[test]
    fn the_hash_is_fnv_1a() {
        // Of the test vectors of draft-eastlake-fnv.
        for (text, hash) in [
            ("", FNV_OFFSET_BASIS),
            ("a", 0xAF63_DC4C_8601_EC8C),
            ("foobar", 0x8594_4171_F739_67E8),
        ] {
            assert_eq!(fingerprint(text), hash, "{text:?}");
        }
    }

    #[test]
    fn the_canonical_text_states_what_a_value_depends_on() {
        let mut text = String::new();
        health::KIND.write_canonical(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1 + health::KIND.fields.len());
        assert_eq!(lines[0], "\"health\" apid 100 layout 1 header 22 frame 68");
        assert_eq!(
            lines[2],
            "\"flags\" u8 at 1 bit 0 \"in_eclipse\" bit 1 \"charging\" bit 2 \"heater_on\""
        );
        assert_eq!(lines[3], "\"cpu_temp\" i16 at 2 scale 0.01 \"°C\"");
        assert_eq!(fingerprint(&text), health::KIND.fingerprint());
    }

    #[test]
    fn every_change_of_a_value_changes_the_fingerprint_and_words_do_not() {
        let kind = attitude::KIND;
        let of = |change: fn(&mut Field)| {
            let mut fields = kind.fields.to_vec();
            change(&mut fields[4]);
            let mut out = Fnv::default();
            for field in &fields {
                field.write_canonical(&mut out).unwrap();
            }
            out.0
        };
        let same = of(|_| {});
        let channel = |field: &Field| match field.meaning {
            Meaning::Channel(channel) => channel,
            _ => unreachable!("all are channels"),
        };
        assert_eq!(channel(&kind.fields[4]).unit, "°/s");
        let changes: [fn(&mut Field); 6] = [
            |field| field.name = "rate_u",
            |field| field.raw = RawType::U16,
            |field| field.offset += 1,
            |field| field.meaning = Meaning::Reserved,
            |field| {
                if let Meaning::Channel(Channel { scale, .. }) = &mut field.meaning {
                    *scale = 0.02;
                }
            },
            |field| {
                if let Meaning::Channel(Channel { unit, .. }) = &mut field.meaning {
                    *unit = "rad/s";
                }
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(of(change), same, "change {number}");
        }
        assert_eq!(of(|field| field.description = "Another sentence."), same);
        assert_ne!(Kind { apid: health::KIND.apid, ..kind }.fingerprint(), kind.fingerprint());
        assert_ne!(Kind { data_octets: 24, ..kind }.fingerprint(), kind.fingerprint());
        assert_ne!(Kind { name: "posture", ..kind }.fingerprint(), kind.fingerprint());
        assert_eq!(Kind { table: "posture", ..kind }.fingerprint(), kind.fingerprint());
    }
}
