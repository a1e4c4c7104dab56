//! The way out: values to bytes.

use zerocopy::IntoBytes as _;

use crate::{
    crc::{CRC_OCTETS, crc16},
    frame::IDLE_OCTETS_MAX,
    header::{HEADER_OCTETS, Header, PRIMARY_OCTETS, Primary},
    packet::{Apid, KINDS, Packet},
    sequence::Sequence,
    spacecraft::SpacecraftId,
    time::CdsTime,
};

/// Who, when, and which frame of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The spacecraft.
    pub spacecraft: SpacecraftId,
    /// How often it has started.
    pub boot_count: u16,
    /// The frame's place in its stream.
    pub sequence: Sequence,
    /// Generation time.
    pub time: CdsTime,
}

/// The longest telemetry frame of any declared kind.
pub const FRAME_OCTETS_MAX: usize = {
    let mut longest = 0;
    let mut index = 0;
    while index < KINDS.len() {
        if KINDS[index].frame_octets() > longest {
            longest = KINDS[index].frame_octets();
        }
        index += 1;
    }
    longest
};

/// Writes one telemetry frame over the first octets of `out` and returns them.
pub fn emit<'a>(stamp: &Stamp, packet: &Packet, out: &'a mut [u8; FRAME_OCTETS_MAX]) -> &'a [u8] {
    let kind = packet.kind();
    let octets = kind.frame_octets();
    let header = Header::new(
        kind.apid,
        octets,
        stamp.time,
        stamp.spacecraft.number(),
        stamp.boot_count,
        stamp.sequence,
    );
    out[..HEADER_OCTETS].copy_from_slice(header.as_bytes());
    let fits = packet.put(&mut out[HEADER_OCTETS..octets - CRC_OCTETS]);
    debug_assert!(fits, "a kind's data_octets is the size of its view");
    close(&mut out[..octets])
}

/// Writes one idle frame with `filling` over the first octets of `out` and returns them. Filling
/// that would make it longer than [`IDLE_OCTETS_MAX`] is left out.
pub fn emit_idle<'a>(count: u16, filling: &[u8], out: &'a mut [u8; IDLE_OCTETS_MAX]) -> &'a [u8] {
    let filling = &filling[..filling.len().min(IDLE_OCTETS_MAX - PRIMARY_OCTETS - CRC_OCTETS)];
    let octets = PRIMARY_OCTETS + filling.len() + CRC_OCTETS;
    let primary = Primary::new(Apid::IDLE, false, count, octets);
    out[..PRIMARY_OCTETS].copy_from_slice(primary.as_bytes());
    out[PRIMARY_OCTETS..octets - CRC_OCTETS].copy_from_slice(filling);
    close(&mut out[..octets])
}

fn close(frame: &mut [u8]) -> &[u8] {
    let end = frame.len() - CRC_OCTETS;
    let crc = crc16(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_be_bytes());
    frame
}
