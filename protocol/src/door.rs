//! The one door for untrusted bytes.
//!
//! Guarantee: whatever the octets, nothing here panics or allocates, every octet of a datagram ends
//! in exactly one item, and a frame that comes out can be read without any further failure.
//!
//! A datagram holds whole frames back to back, each delimited by its own length field. Checks come
//! in a fixed order, and the first that fails names the refusal: length (is there a frame at all,
//! is as much there as it declares), CRC, and only then what the sender meant: version, APID, layout,
//! spacecraft, time. A refusal after the CRC is a sender that is wrong: its length is true
//! and the next frame follows. A refusal before it is damage: the length is not followed, and the
//! octets after it are searched for the next frame that passes every check; all between is one
//! rejected stretch.
//!
//! Cost: the CRC dominates, so it is counted in octets summed per octet of datagram. Good frames:
//! 1. Lengths that are followed in vain: at most 1 more, since beyond that sum only exact sizes of
//!    declared kinds are followed (those: at most one failed 68-octet frame for each good one of at
//!    least 46, 1.5). The search: a candidate must show a whole plausible header before its CRC is
//!    looked at, and two plausible headers cannot start within [`CANDIDATE_STRIDE_MIN`] octets of
//!    each other, hence at most 68 / 16 = 4.25. Each found frame is checked once more: 1. The
//!    worst datagram therefore sums less than nine octets of CRC per octet; in time, which the bench
//!    `door` measures, it costs up to ten times what good health frames do.

use zerocopy::FromBytes as _;

use crate::{
    crc::{CRC_OCTETS, has_valid_crc},
    frame::{Frame, IDLE_OCTETS_MAX, Telemetry},
    header::{FRAME_OCTETS_MIN, HEADER_OCTETS, Header, LAYOUT_VERSION, Primary},
    packet::{Apid, Body, kind_of},
    spacecraft::SpacecraftId,
};

/// The frames of one datagram, one after another.
#[derive(Clone, Debug)]
pub struct Datagram<'a> {
    rest: &'a [u8],
    started: bool,
    /// Octets whose CRC may still be computed because of a length that turns out false.
    credit: usize,
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// Fewer octets than any frame has, there or declared.
    #[error("too_short")]
    TooShort,
    /// More octets declared than there are, or than can be believed.
    #[error("length_mismatch")]
    LengthMismatch,
    /// The checkword is wrong.
    #[error("crc_mismatch")]
    CrcMismatch,
    /// Packet version, type, secondary header flag or sequence flags.
    #[error("bad_version")]
    BadVersion,
    /// No declared kind.
    #[error("unknown_apid")]
    UnknownApid,
    /// Layout version, or a declared kind with another size.
    #[error("bad_layout")]
    BadLayout,
    /// Spacecraft 0, or one that the caller does not know.
    #[error("unknown_spacecraft")]
    UnknownSpacecraft,
    /// P-field, milliseconds or microseconds of the time code.
    #[error("bad_time")]
    BadTime,
}

impl Refusal {
    /// All of them, in the order of the checks.
    pub const ALL: [Self; 8] = [
        Self::TooShort,
        Self::LengthMismatch,
        Self::CrcMismatch,
        Self::BadVersion,
        Self::UnknownApid,
        Self::BadLayout,
        Self::UnknownSpacecraft,
        Self::BadTime,
    ];

    /// Whether the octets were damaged, so that nothing in them can be trusted.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::TooShort | Self::LengthMismatch | Self::CrcMismatch)
    }
}

/// A refused frame, or a stretch of octets in which no good frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// Why.
    pub reason: Refusal,
    /// What was there.
    pub octets: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Opens a datagram. An empty one is a single frame that is too short.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, started: false, credit: octets.len() }
    }

    /// The next frame or rejected stretch; none at the end. `known` says which spacecraft are
    /// accepted; it is asked only about frames whose CRC is right, and about plausible ones in a
    /// search.
    #[inline]
    pub fn next(
        &mut self,
        known: impl Fn(SpacecraftId) -> bool,
    ) -> Option<Result<Frame<'a>, Rejected<'a>>> {
        if self.rest.is_empty() && self.started {
            return None;
        }
        self.started = true;
        let (reason, octets) = match self.delimit() {
            Ok(octets) => match check(octets, &known) {
                Ok(frame) => {
                    self.rest = &self.rest[octets.len()..];
                    return Some(Ok(frame));
                }
                Err(reason) => (reason, octets.len()),
            },
            Err(reason) => (reason, 0),
        };
        Some(Err(self.reject(reason, octets, known)))
    }

    /// Takes the next frame by its own length, its CRC verified.
    #[inline]
    fn delimit(&mut self) -> Result<&'a [u8], Refusal> {
        let Ok((primary, _)) = Primary::ref_from_prefix(self.rest) else {
            return Err(Refusal::TooShort);
        };
        let octets = primary.frame_octets();
        if octets < FRAME_OCTETS_MIN || self.rest.len() < FRAME_OCTETS_MIN {
            return Err(Refusal::TooShort);
        }
        let Some(frame) = self.rest.get(..octets) else {
            return Err(Refusal::LengthMismatch);
        };
        let is_exact = kind_of(primary.apid()).is_some_and(|kind| kind.frame_octets() == octets);
        if !is_exact && octets > self.credit {
            return Err(Refusal::LengthMismatch);
        }
        if !has_valid_crc(frame) {
            self.credit = self.credit.saturating_sub(octets);
            return Err(Refusal::CrcMismatch);
        }
        Ok(frame)
    }

    #[cold]
    fn reject(
        &mut self,
        reason: Refusal,
        octets: usize,
        known: impl Fn(SpacecraftId) -> bool,
    ) -> Rejected<'a> {
        let octets = if reason.is_damage() { self.distance_to_next(known) } else { octets };
        let (rejected, rest) = self.rest.split_at(octets);
        self.rest = rest;
        Rejected { reason, octets: rejected }
    }

    /// Octets until the next telemetry frame that passes every check, or to the end. Never 0
    /// unless nothing is left.
    fn distance_to_next(&self, known: impl Fn(SpacecraftId) -> bool) -> usize {
        (1..self.rest.len())
            .find(|&start| is_frame_here(&self.rest[start..], &known))
            .unwrap_or(self.rest.len())
    }
}

/// Whether a whole frame of a declared kind starts here. The cheap checks come first, since random
/// octets fail them at once; together they keep candidates [`CANDIDATE_STRIDE_MIN`] octets apart.
fn is_frame_here(octets: &[u8], known: impl Fn(SpacecraftId) -> bool) -> bool {
    let Ok((primary, _)) = Primary::ref_from_prefix(octets) else {
        return false;
    };
    let Some(kind) = kind_of(primary.apid()) else {
        return false;
    };
    if primary.frame_octets() != kind.frame_octets() {
        return false;
    }
    octets
        .get(..kind.frame_octets())
        .is_some_and(|frame| check(frame, known).is_ok() && has_valid_crc(frame))
}

/// All checks behind the CRC, in order.
#[inline]
fn check(octets: &[u8], known: impl Fn(SpacecraftId) -> bool) -> Result<Frame<'_>, Refusal> {
    let (primary, _) = Primary::ref_from_prefix(octets).map_err(|_| Refusal::TooShort)?;
    if !primary.is_ours() {
        return Err(Refusal::BadVersion);
    }
    let apid = primary.apid();
    if apid == Apid::IDLE {
        return if octets.len() <= IDLE_OCTETS_MAX {
            Ok(Frame::Idle(octets))
        } else {
            Err(Refusal::BadLayout)
        };
    }
    let data_end = octets.len() - CRC_OCTETS;
    let Ok((header, _)) = Header::ref_from_prefix(&octets[..data_end]) else {
        return Err(unknown_apid_or_bad_layout(apid));
    };
    if header.layout() != LAYOUT_VERSION {
        return Err(unknown_apid_or_bad_layout(apid));
    }
    let Some(body) = Body::view(apid, &octets[HEADER_OCTETS..data_end]) else {
        return Err(unknown_apid_or_bad_layout(apid));
    };
    let spacecraft = SpacecraftId::new(header.spacecraft())
        .filter(|&id| known(id))
        .ok_or(Refusal::UnknownSpacecraft)?;
    if !header.has_valid_time() {
        return Err(Refusal::BadTime);
    }
    Ok(Frame::Telemetry(Telemetry::new(octets, header, spacecraft, body)))
}

/// Which of two refusals a frame gets that has no known layout: whether the APID is declared comes
/// first, and a good frame need not be asked for that.
#[cold]
fn unknown_apid_or_bad_layout(apid: Apid) -> Refusal {
    if kind_of(apid).is_some() { Refusal::BadLayout } else { Refusal::UnknownApid }
}

/// Two headers that pass [`check`] cannot start closer to each other: at every smaller shift a
/// fixed octet of one (APID, length, P-field, layout) meets a fixed or bounded octet of the other
/// (milliseconds below 2^27, microseconds below 2^10) that excludes it. Shown by a test.
#[cfg(test)]
const CANDIDATE_STRIDE_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CdsTime, FRAME_OCTETS_MAX, KINDS, Sequence, Stamp, attitude::Attitude, crc16, emit,
        emit_idle, health::Health, packet::Packet,
    };

    fn frame(number: u16, packet: Packet) -> Vec<u8> {
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(number).unwrap(),
            boot_count: 7,
            sequence: Sequence::new(1_000_000),
            time: CdsTime { day: 24_837, ms: 1, us: 2 },
        };
        emit(&stamp, &packet, &mut [0xA5; FRAME_OCTETS_MAX]).to_vec()
    }

    fn health(number: u16) -> Vec<u8> {
        frame(number, Packet::Health(Health { cpu_temp: 2_150, ..Health::default() }))
    }

    fn attitude(number: u16) -> Vec<u8> {
        frame(number, Packet::Attitude(Attitude { q0: 32_767, ..Attitude::default() }))
    }

    /// Mends the CRC after a change, as a sender that is wrong would.
    fn resealed(mut frame: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        frame.truncate(frame.len() - CRC_OCTETS);
        change(&mut frame);
        let octets = frame.len() + CRC_OCTETS;
        frame[4..6].copy_from_slice(&(octets as u16 - 7).to_be_bytes());
        let crc = crc16(&frame);
        frame.extend(crc.to_be_bytes());
        frame
    }

    /// What comes out, in short: `SAT-01`, `idle`, or the refusal and its length.
    fn items(datagram: &[u8]) -> Vec<String> {
        let mut frames = Datagram::new(datagram);
        let mut items = Vec::new();
        let mut octets = 0;
        while let Some(item) = frames.next(|id| id.number() < 1_000) {
            let (name, length) = match item {
                Ok(Frame::Telemetry(t)) => (t.spacecraft().to_string(), t.octets().len()),
                Ok(Frame::Idle(octets)) => ("idle".into(), octets.len()),
                Err(Rejected { reason, octets }) => {
                    (format!("{reason} {}", octets.len()), octets.len())
                }
            };
            items.push(name);
            octets += length;
        }
        assert_eq!(octets, datagram.len(), "every octet ends in one item");
        items
    }

    #[test]
    fn several_frames_in_a_datagram() {
        let idle = emit_idle(3, &[0; 100], &mut [0; IDLE_OCTETS_MAX]).to_vec();
        let datagram = [health(1), attitude(2), idle, health(3)].concat();
        assert_eq!(items(&datagram), ["SAT-01", "SAT-02", "idle", "SAT-03"]);
    }

    #[test]
    fn each_refusal_has_its_name() {
        let cases: [(&str, Vec<u8>); 17] = [
            ("too_short 0", vec![]),
            ("too_short 7", health(1)[..7].to_vec()),
            ("too_short 68", {
                let mut f = health(1);
                f[4..6].copy_from_slice(&[0, 0]);
                f
            }),
            ("length_mismatch 67", health(1)[..67].to_vec()),
            ("crc_mismatch 68", {
                let mut f = health(1);
                f[40] ^= 1;
                f
            }),
            ("bad_version 68", resealed(health(1), |f| f[0] |= 0x20)),
            ("bad_version 68", resealed(health(1), |f| f[0] |= 0x10)),
            ("bad_version 68", resealed(health(1), |f| f[0] &= !0x08)),
            ("bad_version 68", resealed(health(1), |f| f[2] &= 0x3F)),
            ("bad_layout 68", resealed(health(1), |f| f[15] = 2)),
            ("bad_layout 69", resealed(health(1), |f| f.push(0))),
            ("bad_layout 20", resealed(health(1), |f| f.truncate(18))),
            ("unknown_apid 68", resealed(health(1), |f| f[1] = 0x66)),
            ("unknown_spacecraft 68", resealed(health(1), |f| f[16..18].copy_from_slice(&[0, 0]))),
            ("unknown_spacecraft 68", health(1_000)),
            ("bad_time 68", resealed(health(1), |f| f[6] = 0x42)),
            ("bad_time 68", {
                resealed(health(1), |f| {
                    f[9..13].copy_from_slice(&86_401_000_u32.to_be_bytes());
                })
            }),
        ];
        for (expected, frame) in cases {
            assert_eq!(items(&frame), [expected]);
        }
        let late = resealed(health(1), |f| {
            f[13..15].copy_from_slice(&1_000_u16.to_be_bytes());
        });
        assert_eq!(items(&late), ["bad_time 68"]);
        let leap = resealed(health(1), |f| {
            f[9..13].copy_from_slice(&86_400_999_u32.to_be_bytes());
        });
        assert_eq!(items(&leap), ["SAT-01"]);
    }

    type Fault = fn(&mut Vec<u8>);

    /// What a frame can have wrong, in the order in which it is done to it: octets first, then the
    /// size, then the checkword is computed, and what is damage comes last.
    fn faults() -> Vec<(Refusal, Fault)> {
        vec![
            (Refusal::BadVersion, |f| f[0] |= 0x20),
            (Refusal::BadVersion, |f| f[0] |= 0x10),
            (Refusal::BadVersion, |f| f[0] &= !0x08),
            (Refusal::BadVersion, |f| f[2] &= 0x3F),
            (Refusal::UnknownApid, |f| f[1] = 0x66),
            (Refusal::BadTime, |f| f[6] = 0x42),
            (Refusal::BadTime, |f| f[9..13].copy_from_slice(&86_401_000_u32.to_be_bytes())),
            (Refusal::BadTime, |f| f[13..15].copy_from_slice(&1_000_u16.to_be_bytes())),
            (Refusal::UnknownSpacecraft, |f| f[16..18].fill(0)),
            (Refusal::UnknownSpacecraft, |f| f[16..18].copy_from_slice(&1_000_u16.to_be_bytes())),
            (Refusal::BadLayout, |f| f[15] = 2),
            (Refusal::BadLayout, |f| f.push(0)),
            (Refusal::BadLayout, |f| f.truncate(18)),
            (Refusal::CrcMismatch, |f| *f.last_mut().unwrap() ^= 1),
            (Refusal::LengthMismatch, |f| f[4] = 0x7F),
            (Refusal::LengthMismatch, |f| f.truncate(19)),
            (Refusal::TooShort, |f| f[4..6].fill(0)),
            (Refusal::TooShort, |f| f.truncate(7)),
        ]
    }

    #[test]
    fn of_two_faults_at_once_the_first_in_the_order_of_the_checks_names_the_refusal() {
        let mut pairs = 0;
        for (first, (name, fault)) in faults().into_iter().enumerate() {
            for (other_name, other) in faults().into_iter().skip(first) {
                let (is_damage, is_other) = (name.is_damage(), other_name.is_damage());
                let mut frame = resealed(health(1), |f| {
                    if !is_damage {
                        fault(f);
                    }
                    if !is_other {
                        other(f);
                    }
                });
                if is_damage {
                    fault(&mut frame);
                }
                if is_other {
                    other(&mut frame);
                }
                let place = |refusal| Refusal::ALL.iter().position(|&one| one == refusal);
                let expected = if place(name) <= place(other_name) { name } else { other_name };
                let mut frames = Datagram::new(&frame);
                let found = frames.next(|id| id.number() < 1_000);
                // The same octet twice may be no fault at all.
                let is_same = name == other_name;
                match found {
                    Some(Err(rejected)) => {
                        assert_eq!(rejected.reason, expected, "{name} and {other_name}");
                    }
                    other => assert!(is_same, "{name} and {other_name}: {other:?}"),
                }
                pairs += 1;
            }
        }
        assert_eq!(pairs, 18 * 19 / 2);
    }

    #[test]
    fn an_idle_frame_has_bounds() {
        let mut longest = [0; IDLE_OCTETS_MAX];
        assert_eq!(emit_idle(0, &[7; 5_000], &mut longest).len(), IDLE_OCTETS_MAX);
        assert_eq!(items(&longest), ["idle"]);
        assert_eq!(items(&resealed(longest.to_vec(), |f| f.push(0))), ["bad_layout 1025"]);
        assert_eq!(items(emit_idle(0, &[], &mut [0; IDLE_OCTETS_MAX])), ["idle"]);
    }

    #[test]
    fn a_bad_frame_takes_no_neighbour_with_it() {
        let mut corrupt = health(2);
        corrupt[30] ^= 0x10;
        let mut long = health(2);
        long[4] = 0x7F;
        let truncated = &health(2)[..31];
        let odd = resealed(health(5), |f| f.push(0));
        for (bad, reason, octets) in [
            (&corrupt[..], "crc_mismatch", 68),
            (&long, "length_mismatch", 68),
            (truncated, "crc_mismatch", 31),
            (&odd, "bad_layout", 69),
            (&[0; 5], "crc_mismatch", 5),
        ] {
            let datagram = [&health(1)[..], bad, &attitude(3), &health(4)].concat();
            let rejected = format!("{reason} {octets}");
            assert_eq!(items(&datagram), ["SAT-01", &rejected, "SAT-03", "SAT-04"]);
        }
        let two = [&health(1)[..], &corrupt, truncated, &health(4)].concat();
        assert_eq!(items(&two), ["SAT-01", "crc_mismatch 99", "SAT-04"]);
    }

    #[test]
    fn no_length_can_make_it_expensive() {
        // Each bad header claims all the rest; only the first is believed.
        let mut datagram = Vec::new();
        while datagram.len() < 65_000 {
            let mut bad = health(1)[..HEADER_OCTETS].to_vec();
            let left = 65_000 - datagram.len();
            bad[4..6].copy_from_slice(&(left.saturating_sub(7) as u16).to_be_bytes());
            datagram.extend(bad);
            datagram.extend(attitude(2));
        }
        let items = items(&datagram);
        assert_eq!(items.iter().filter(|i| *i == "SAT-02").count(), items.len() / 2);
        assert_eq!(items.iter().filter(|i| i.starts_with("crc_mismatch")).count(), 1);
    }

    /// The octets of a header that are fixed or bounded, as (lowest, highest) per place.
    fn bounds(index: usize) -> Vec<(u8, u8)> {
        let kind = KINDS[index];
        let mut bounds = vec![(0, 255); HEADER_OCTETS];
        let length = (kind.frame_octets() as u16 - 7).to_be_bytes();
        let fixed = [
            (0, 0x08),
            (1, kind.apid.number() as u8),
            (4, length[0]),
            (5, length[1]),
            (6, 0x41),
            (15, LAYOUT_VERSION),
        ];
        for (place, octet) in fixed {
            bounds[place] = (octet, octet);
        }
        bounds[2] = (0xC0, 0xFF);
        bounds[9] = (0, 0x05);
        bounds[13] = (0, 0x03);
        bounds
    }

    #[test]
    fn plausible_headers_keep_their_distance() {
        for first in 0..KINDS.len() {
            for second in 0..KINDS.len() {
                for shift in 1..CANDIDATE_STRIDE_MIN {
                    let (a, b) = (bounds(first), bounds(second));
                    let excluded = a[shift..].iter().zip(&b).any(|(a, b)| a.1 < b.0 || b.1 < a.0);
                    assert!(excluded, "kinds {first} and {second}, shift {shift}");
                }
            }
        }
    }
}
