//! Frames for decoders to agree on: every kind, random values from a seed, and every field once at
//! each end of its type.

use protocol::channel::{Field, Meaning};
use protocol::header::HEADER_OCTETS;
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, KINDS, Kind, Packet, Sequence, SpacecraftId, Stamp,
    attitude::Attitude, crc16, emit, health::Health,
};

/// At least `count` frames of all kinds in turn; the same for the same seed.
#[must_use]
pub fn frames(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut frames = extremes(&mut random);
    for kind in KINDS.iter().cycle().take(count.saturating_sub(frames.len())) {
        frames.push(random_frame(&mut random, kind, |_, _| {}));
    }
    frames
}

/// Otherwise random frames, in which one field after the other is at an end of its type, at 0 and
/// next to it.
fn extremes(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for kind in KINDS {
        for field in kind.fields {
            let (low, high) = field.raw.limits();
            for raw in [low, high, -1, 0, 1] {
                if (low..=high).contains(&raw) && is_allowed(field, raw) {
                    frames.push(random_frame(random, kind, |name, value| {
                        if name == field.name {
                            *value = raw;
                        }
                    }));
                }
            }
        }
    }
    frames
}

/// A frame with random header and values, each of which `change` may replace.
fn random_frame(random: &mut Random, kind: &Kind, change: impl Fn(&str, &mut i64)) -> Vec<u8> {
    let mut out = [0xA5; FRAME_OCTETS_MAX];
    let mut frame = emit(&random_stamp(random), &blank(kind), &mut out).to_vec();
    let end = frame.len() - 2;
    for field in kind.fields {
        let mut raw = random_raw(random, field);
        change(field.name, &mut raw);
        let octets = field.raw.octets();
        let place = HEADER_OCTETS + field.offset;
        frame[place..place + octets].copy_from_slice(&raw.to_be_bytes()[8 - octets..]);
    }
    let crc = crc16(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_be_bytes());
    check_emitted(&frame);
    frame
}

/// The octets above were put in place by offset; the crate's own way in and out must agree.
fn check_emitted(frame: &[u8]) {
    let Some(Ok(Frame::Telemetry(view))) = Datagram::new(frame).next(|_| true) else {
        panic!("a frame of the corpus is refused: {frame:02X?}");
    };
    let stamp = Stamp {
        spacecraft: view.spacecraft(),
        boot_count: view.boot_count(),
        sequence: view.sequence(),
        time: view.time(),
    };
    let mut out = [0xA5; FRAME_OCTETS_MAX];
    assert_eq!(emit(&stamp, &Packet::from(view.body()), &mut out), frame);
}

fn random_stamp(random: &mut Random) -> Stamp {
    Stamp {
        spacecraft: SpacecraftId::new(random.next() as u16).unwrap_or(SPACECRAFT_LAST),
        boot_count: random.next() as u16,
        sequence: Sequence::new(random.next() as u32),
        time: CdsTime {
            day: random.next() as u16,
            ms: (random.next() % MS_OF_DAY_LIMIT) as u32,
            us: (random.next() % US_OF_MS_LIMIT) as u16,
        },
    }
}

fn random_raw(random: &mut Random, field: &Field) -> i64 {
    let (low, high) = field.raw.limits();
    if let Meaning::Channel(channel) = field.meaning
        && !channel.labels.is_empty()
    {
        let choice = random.next() as usize % channel.labels.len();
        return i64::from(channel.labels[choice].0);
    }
    low + (random.next() % (high - low + 1) as u64) as i64
}

/// An enumeration has no name for most numbers, and XTCE decoders then refuse the packet.
fn is_allowed(field: &Field, raw: i64) -> bool {
    match field.meaning {
        Meaning::Channel(channel) if !channel.labels.is_empty() => {
            channel.labels.iter().any(|label| i64::from(label.0) == raw)
        }
        _ => true,
    }
}

fn blank(kind: &Kind) -> Packet {
    let all = [Packet::Health(Health::default()), Packet::Attitude(Attitude::default())];
    all.into_iter()
        .find(|packet| packet.kind().apid == kind.apid)
        .expect("every kind has a blank packet here")
}

/// Sebastiano Vigna's `SplitMix64`: ten lines that give the same numbers for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

const SPACECRAFT_LAST: SpacecraftId = SpacecraftId::new(u16::MAX).unwrap();
/// A day and a leap second.
const MS_OF_DAY_LIMIT: u64 = 86_401_000;
const US_OF_MS_LIMIT: u64 = 1_000;

#[cfg(test)]
mod tests {
    use protocol::channel::engineering;

    use super::*;
    use crate::generate::reading::Reading;

    #[test]
    fn the_corpus_has_all_kinds_and_both_ends_of_every_field() {
        let frames = frames(1, 500);
        assert!(frames.len() >= 500);
        assert_eq!(frames, super::frames(1, 500), "the same seed, the same frames");
        assert_ne!(frames, super::frames(2, 500));
        let readings: Vec<_> = frames.iter().map(|frame| Reading::read(frame)).collect();
        for kind in KINDS {
            for field in kind.fields {
                let Meaning::Channel(channel) = field.meaning else {
                    continue;
                };
                let (low, high) = field.raw.limits();
                for raw in [low, high].into_iter().filter(|raw| is_allowed(field, *raw)) {
                    let value = engineering(raw as f64, channel.scale);
                    let has_it = |reading: &Reading| {
                        let there = reading.values.get(field.name);
                        there.is_some_and(|there| there.to_bits() == value.to_bits())
                    };
                    assert!(readings.iter().any(has_it), "{} = {value}", field.name);
                }
            }
        }
    }
}
