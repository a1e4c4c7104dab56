//! Damage to the octets of frames, so that a receiver notices.
//!
//! Guarantee: of a datagram with damaged frames a receiver gets exactly the others, whole and in
//! order, and all it refuses is refused as damage. By chance damage may look sound: once in 65,536
//! times its checkword is right, and a cut octet may be the very one with which the next frame
//! begins. So the datagram is looked at as a receiver does, and what it would take wrongly is
//! drawn again.

use protocol::{Datagram, Frame};

use crate::satellite::noise::Noise;

/// What will be done to one frame.
#[derive(Clone, Debug)]
pub struct Damage {
    kind: Kind,
    /// What is drawn next.
    noise: Noise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Corruption,
    Truncation,
}

/// Most bits that are flipped in one frame.
pub const FLIPS_MAX: usize = 8;

impl Damage {
    /// 1 to [`FLIPS_MAX`] bits flipped, anywhere.
    pub fn corruption(noise: Noise) -> Self {
        Self { kind: Kind::Corruption, noise }
    }

    /// The tail cut off: at least one octet goes, and at least one stays.
    pub fn truncation(noise: Noise) -> Self {
        Self { kind: Kind::Truncation, noise }
    }

    /// Adds `frame` with some such damage to `out`, another each time.
    fn inflict(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        match self.kind {
            Kind::Corruption => {
                out.extend_from_slice(frame);
                self.flip(&mut out[start..]);
            }
            Kind::Truncation => {
                let kept = 1 + self.noise.below(frame.len() as u64 - 1) as usize;
                out.extend_from_slice(&frame[..kept]);
            }
        }
    }

    fn flip(&mut self, frame: &mut [u8]) {
        let bits = frame.len() as u64 * 8;
        let flips = 1 + self.noise.below(FLIPS_MAX as u64) as usize;
        let mut flipped = [u64::MAX; FLIPS_MAX];
        let mut done = 0;
        while done < flips {
            let bit = self.noise.below(bits);
            if flipped.contains(&bit) {
                continue;
            }
            flipped[done] = bit;
            frame[(bit / 8) as usize] ^= 1 << (bit % 8);
            done += 1;
        }
    }
}

/// Writes the datagram `clean`, all of good frames, over `out`, with each damage done to the frame
/// that starts where it says. They are in order.
pub(crate) fn inflict(clean: &[u8], damages: &mut [(usize, Damage)], out: &mut Vec<u8>) {
    // It ends: a draw that has to be repeated is rare, and the next one does not depend on it.
    while !try_inflict(clean, damages, out) {}
}

/// False when a receiver would not see what is meant.
fn try_inflict(clean: &[u8], damages: &mut [(usize, Damage)], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut good = Vec::new();
    let mut damages = damages.iter_mut().peekable();
    let mut start = 0;
    for frame in good_frames(clean) {
        if let Some((_, damage)) = damages.next_if(|(damaged, _)| *damaged == start) {
            damage.inflict(frame, out);
        } else {
            good.push((out.len(), frame.len()));
            out.extend_from_slice(frame);
        }
        start += frame.len();
    }
    debug_assert!(damages.next().is_none() && start == clean.len());
    is_seen_as(out, &good)
}

/// Whether a receiver gets the frames at these places of these lengths and nothing else.
fn is_seen_as(octets: &[u8], good: &[(usize, usize)]) -> bool {
    let mut good = good.iter().copied();
    let mut start = 0;
    let mut datagram = Datagram::new(octets);
    while let Some(item) = datagram.next(|_| true) {
        match item {
            Ok(frame) => {
                let octets = octets_of(&frame).len();
                if good.next() != Some((start, octets)) {
                    return false;
                }
                start += octets;
            }
            Err(rejected) => {
                if !rejected.reason.is_damage() {
                    return false;
                }
                start += rejected.octets.len();
            }
        }
    }
    good.next().is_none()
}

fn good_frames(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut datagram = Datagram::new(octets);
    core::iter::from_fn(move || match datagram.next(|_| true)? {
        Ok(frame) => Some(octets_of(&frame)),
        Err(_) => None,
    })
}

fn octets_of<'a>(frame: &Frame<'a>) -> &'a [u8] {
    match frame {
        Frame::Telemetry(telemetry) => telemetry.octets(),
        Frame::Idle(octets) => octets,
    }
}

#[cfg(test)]
mod tests {
    use super::{Damage, FLIPS_MAX, inflict};
    use crate::{
        constellation::{Constellation, Origin},
        orbit::walker,
        satellite::noise::Noise,
    };
    use protocol::{Apid, Datagram};

    fn frames(count: i64) -> Vec<Vec<u8>> {
        let origin = Origin { start_unix_us: 1_767_225_600_000_000, seed: 1, boot_count: 0 };
        let orbits = vec![walker::orbit(0, 1, origin.start_unix_us).unwrap()];
        let mut constellation = Constellation::new(origin, orbits).unwrap();
        (0..count).map(|k| constellation.frame(0, k * 100_000).octets().to_vec()).collect()
    }

    fn noise(number: usize) -> Noise {
        Noise::of(1, 1, Apid::new(100), number as u32)
    }

    #[test]
    fn one_to_eight_bits_are_flipped_anywhere() {
        let frame = frames(1).remove(0);
        let (mut counts, mut places) = ([0_u32; FLIPS_MAX + 1], vec![0_u32; frame.len() * 8]);
        for number in 0..20_000 {
            let mut out = Vec::new();
            Damage::corruption(noise(number)).inflict(&frame, &mut out);
            assert_eq!(out.len(), frame.len());
            let mut flips = 0;
            for (place, (a, b)) in frame.iter().zip(&out).enumerate() {
                for bit in 0..8 {
                    if (a ^ b) >> bit & 1 == 1 {
                        flips += 1;
                        places[place * 8 + bit] += 1;
                    }
                }
            }
            counts[flips] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|&count| (2_200..2_800).contains(&count)), "{counts:?}");
        assert!(places.iter().all(|&count| (100..250).contains(&count)), "{places:?}");
    }

    #[test]
    fn every_cut_leaves_something_and_takes_something() {
        let frame = frames(1).remove(0);
        let mut cuts = vec![0_u32; frame.len() + 1];
        for number in 0..20_000 {
            let mut out = Vec::new();
            Damage::truncation(noise(number)).inflict(&frame, &mut out);
            assert!(frame.starts_with(&out));
            cuts[out.len()] += 1;
        }
        assert_eq!((cuts[0], cuts[frame.len()]), (0, 0));
        assert!(cuts[1..frame.len()].iter().all(|&count| count > 200), "{cuts:?}");
    }

    #[test]
    fn damage_that_looks_sound_is_drawn_again() {
        // Telemetry starts with the octet 08. Without its last octet, a frame that ends in 08 would
        // be made whole by the next one, which would be lost instead.
        let frames = frames(3_000);
        let pairs = frames.windows(2).filter(|pair| pair[0].last() == Some(&0x08));
        let mut drawn_again = 0;
        for pair in pairs {
            for number in 0..500 {
                let mut first = Vec::new();
                Damage::truncation(noise(number)).inflict(&pair[0], &mut first);
                drawn_again += u32::from(first.len() + 1 == pair[0].len());
                let (clean, mut out) = (pair.concat(), Vec::new());
                inflict(&clean, &mut [(0, Damage::truncation(noise(number)))], &mut out);
                assert!(out.len() + 1 < clean.len());
                let mut datagram = Datagram::new(&out);
                assert!(datagram.next(|_| true).unwrap().unwrap_err().reason.is_damage());
                assert!(datagram.next(|_| true).unwrap().is_ok());
                assert!(datagram.next(|_| true).is_none());
            }
        }
        assert!(drawn_again > 20, "{drawn_again}");
    }
}
