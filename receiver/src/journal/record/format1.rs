//! Format 1, which is read and no more written.
//!
//! Segment header, 128 octets, little-endian: magic `ORBITSJ` and NUL, version (u16), length of the
//! station's name (u8), five zero octets, journal (i64), number of the first record (i64), made at
//! (i64, µs since 1970), the station's name (64 octets, padded with NUL), CRC32C of all before (u32),
//! zero octets.
//!
//! Record header, 40 octets: magic `OREC`, octets of the entries (u32), number (i64), the shards
//! that have entries here, one bit each (u64), samples (u32), CRC32C of the entries (u32), zero
//! octets (u32), CRC32C of the header before it (u32).
//!
//! Anybody can compute such a header, so a record counts only where the one before it ends, and
//! nothing behind the first damage is read.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I64, U16, U32, U64},
};

use super::{
    Layout, Record, SEGMENT_MAGIC, STATION_OCTETS_MAX, SegmentHead,
    format2::{crc32c, station_name},
};
use crate::{
    chunk::{CHUNK_OCTETS, EntryFormat},
    journal::{files::Octets, window::Window},
};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SegmentHeadOctets {
    magic: [u8; 8],
    version: U16,
    station_octets: u8,
    zero: [u8; 5],
    journal: I64,
    first: I64,
    made_us: I64,
    station: [u8; STATION_OCTETS_MAX],
    crc: U32,
    more_zero: [u8; 20],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordHead {
    magic: [u8; 4],
    octets: U32,
    number: I64,
    shards: U64,
    samples: U32,
    entries_crc: U32,
    zero: U32,
    crc: U32,
}

/// The header of a segment of this format.
pub(super) fn read_segment_head(octets: &[u8]) -> Option<SegmentHead> {
    let (head, _) = SegmentHeadOctets::read_from_prefix(octets).ok()?;
    let checked = &head.as_bytes()[..std::mem::offset_of!(SegmentHeadOctets, crc)];
    let is_whole = &head.magic == SEGMENT_MAGIC
        && head.version.get() == VERSION
        && head.crc.get() == crc32c(checked);
    is_whole.then(|| SegmentHead {
        journal: head.journal.get(),
        // The whole journal was one for the commit ledger.
        run: head.journal.get(),
        first: head.first.get(),
        made_us: head.made_us.get(),
        station: station_name(&head.station, head.station_octets),
        layout: Layout::One,
    })
}

/// The header at an offset, if one is there and whole.
pub(super) fn record_at(
    window: &mut Window,
    file: &dyn Octets,
    offset: u64,
    end: u64,
) -> Option<Record> {
    let octets = window.view(file, offset, RECORD_HEAD_OCTETS, end)?;
    let (head, _) = RecordHead::read_from_prefix(octets).ok()?;
    let checked = &head.as_bytes()[..RECORD_HEAD_OCTETS - size_of::<U32>()];
    let is_whole = &head.magic == RECORD_MAGIC
        && head.octets.get() as usize <= CHUNK_OCTETS
        && head.crc.get() == crc32c(checked);
    is_whole.then(|| Record {
        head_octets: RECORD_HEAD_OCTETS,
        entries_octets: head.octets.get() as usize,
        number: head.number.get(),
        shards: head.shards.get(),
        samples: head.samples.get().into(),
        format: EntryFormat::LEGACY,
        entries_crc: head.entries_crc.get(),
    })
}

const RECORD_MAGIC: &[u8; 4] = b"OREC";
pub(super) const VERSION: u16 = 1;
pub(super) const RECORD_HEAD_OCTETS: usize = size_of::<RecordHead>();
pub(super) const SEGMENT_HEAD_OCTETS: usize = size_of::<SegmentHeadOctets>();
const _: () = assert!(RECORD_HEAD_OCTETS == 40 && SEGMENT_HEAD_OCTETS == 128);

/// Segments as earlier versions wrote them.
#[cfg(test)]
pub(in crate::journal) mod tests {
    use super::*;

    pub(in crate::journal) const RECORD_HEAD_OCTETS: usize = super::RECORD_HEAD_OCTETS;

    /// A segment with records: shards, samples and entries each.
    pub(in crate::journal) fn segment(
        journal: i64,
        first: i64,
        station: &str,
        records: &[(u64, u32, Vec<u8>)],
    ) -> Vec<u8> {
        let mut name = [0; STATION_OCTETS_MAX];
        name[..station.len()].copy_from_slice(station.as_bytes());
        let mut head = SegmentHeadOctets {
            magic: *SEGMENT_MAGIC,
            version: VERSION.into(),
            station_octets: station.len() as u8,
            zero: [0; 5],
            journal: journal.into(),
            first: first.into(),
            made_us: 7.into(),
            station: name,
            crc: U32::ZERO,
            more_zero: [0; 20],
        };
        head.crc = crc32c(&head.as_bytes()[..std::mem::offset_of!(SegmentHeadOctets, crc)]).into();
        let mut octets = head.as_bytes().to_vec();
        for (number, (shards, samples, entries)) in (first..).zip(records) {
            octets.extend(record_head(number, *shards, *samples, entries));
            octets.extend_from_slice(entries);
        }
        octets
    }

    /// A record's header, as anybody can make it.
    pub(in crate::journal) fn record_head(
        number: i64,
        shards: u64,
        samples: u32,
        entries: &[u8],
    ) -> Vec<u8> {
        let mut head = RecordHead {
            magic: *RECORD_MAGIC,
            octets: (entries.len() as u32).into(),
            number: number.into(),
            shards: shards.into(),
            samples: samples.into(),
            entries_crc: crc32c(entries).into(),
            zero: U32::ZERO,
            crc: U32::ZERO,
        };
        head.crc = crc32c(&head.as_bytes()[..RECORD_HEAD_OCTETS - size_of::<U32>()]).into();
        head.as_bytes().to_vec()
    }
}
