//! Valid `health` frames of many satellites in turn, made as cheaply as the sender needs them: every
//! satellite's counter goes on for ever, and every CRC is right.
//!
//! A frame is copied from its satellite's template, and its counter is put in. The CRC follows
//! without summing the frame again: a CRC is linear, so that each octet of the counter changes it by
//! an amount that depends on that octet alone.

use std::time::SystemTime;

use anyhow::{Context, Result};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, crc16, emit, health::Health,
};

/// Octets of each frame.
pub(crate) const FRAME_OCTETS: usize = protocol::health::KIND.frame_octets();

/// All satellites, each with its next frame.
pub(crate) struct Frames {
    templates: Vec<Template>,
    /// What each value of each octet of the counter adds to the CRC.
    crc_of: [[u16; 256]; COUNTER_AT.len()],
    next: usize,
    sequence: Sequence,
}

/// A satellite's frame with counter 0.
struct Template {
    octets: [u8; FRAME_OCTETS],
    crc: u16,
}

impl Frames {
    /// Satellites 1 to `satellites`, each at its first frame.
    pub(crate) fn new(satellites: u16) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let time = CdsTime::from_unix_us(now.as_micros() as i64).context("what year is it?")?;
        let template = |number| {
            let spacecraft = SpacecraftId::new(number)?;
            let stamp = Stamp { spacecraft, boot_count: 1, sequence: Sequence::new(0), time };
            let health = Health { mode: 1, cpu_temp: number as i16, ..Health::default() };
            let mut out = [0; FRAME_OCTETS_MAX];
            let frame = emit(&stamp, &Packet::Health(health), &mut out);
            let (covered, checkword) = frame.split_last_chunk()?;
            let mut octets = [0; FRAME_OCTETS];
            octets[..covered.len()].copy_from_slice(covered);
            Some(Template { octets, crc: u16::from_be_bytes(*checkword) })
        };
        let templates: Option<Vec<_>> = (1..=satellites).map(template).collect();
        let templates = templates.filter(|templates| !templates.is_empty());
        Ok(Self {
            templates: templates.context("no satellites")?,
            crc_of: COUNTER_AT.map(crc_of),
            next: 0,
            sequence: Sequence::new(0),
        })
    }

    /// Writes the next frames over `out`, whose length is a multiple of [`FRAME_OCTETS`].
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        let (frames, _) = out.as_chunks_mut::<FRAME_OCTETS>();
        for frame in frames {
            let template = &self.templates[self.next];
            *frame = template.octets;
            let count = self.sequence.count().to_be_bytes();
            let extension = self.sequence.extension().to_be_bytes();
            let mut crc = template.crc;
            let counter = count.into_iter().chain(extension);
            for ((at, octet), crc_of) in COUNTER_AT.into_iter().zip(counter).zip(&self.crc_of) {
                // The two bits beside the count are in the template.
                frame[at] |= octet;
                crc ^= crc_of[usize::from(octet)];
            }
            frame[FRAME_OCTETS - 2..].copy_from_slice(&crc.to_be_bytes());
            self.next += 1;
            if self.next == self.templates.len() {
                self.next = 0;
                self.sequence = self.sequence.plus(1);
            }
        }
    }
}

/// What each value of the octet at this place adds to the CRC.
fn crc_of(at: usize) -> [u16; 256] {
    let mut covered = [0; FRAME_OCTETS - 2];
    let zero = crc16(&covered);
    std::array::from_fn(|value| {
        covered[at] = value as u8;
        crc16(&covered) ^ zero
    })
}

/// Where the counter is: 14 bits in the primary header, and its extension in the secondary one.
const COUNTER_AT: [usize; 4] = [2, 3, 20, 21];

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Datagram, Frame};

    #[test]
    fn frames_are_valid_and_counters_go_on() {
        let mut frames = Frames::new(3).unwrap();
        frames.sequence = Sequence::new(Sequence::MODULUS - 2);
        let mut octets = [0xA5; 12 * FRAME_OCTETS];
        frames.fill(&mut octets[..5 * FRAME_OCTETS]);
        frames.fill(&mut octets[5 * FRAME_OCTETS..]);
        let mut datagram = Datagram::new(&octets);
        for place in 0..12 {
            let Some(Ok(Frame::Telemetry(frame))) = datagram.next(|_| true) else {
                panic!("frame {place} is refused");
            };
            assert_eq!(frame.spacecraft().number(), place % 3 + 1);
            let sequence = Sequence::new(Sequence::MODULUS - 2).plus(u32::from(place / 3));
            assert_eq!(frame.sequence(), sequence);
        }
        assert!(datagram.next(|_| true).is_none());
    }
}
