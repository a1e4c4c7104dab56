//! Format 2. All integers are little-endian.
//!
//! Segment header, 160 octets: magic `ORBITSJ` and NUL, version (u16), length of the station's name
//! (u8), five zero octets, journal (i64), number of the first record (i64), made at (i64, µs since
//! 1970), run (i64), marker (16 octets), the station's name (64 octets, padded with NUL), CRC32C of
//! all before (u32), zero octets.
//!
//! Record header, 80 octets and 8 for each of its shards: marker (16 octets), where it stands in the
//! file (u64), run (i64), number (i64), the shards that have entries here, one bit each (u64), fingerprint of the definitions that
//! the entries follow (u64), octets of the entries (u32), samples (u32), CRC32C of the station's
//! name (u32), CRC32C of the entries (u32), version of the entries (u16), zero octets (u16), CRC32C
//! of the header but this field (u32); then for each shard, in order, the number of the record
//! before this one that has entries of it in this run (i64, -1 if there is none).
//!
//! The marker never leaves the file, and a header is one only where it says that it stands. So octets
//! from outside that look like a header, even a whole copy of one, are none. Run and station stand in every record so that the first two
//! of them replace a segment header that is lost.

use crc::{CRC_32_ISCSI, Crc, Table};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I64, U16, U32, U64},
};

use super::{
    Layout, MARKER_OCTETS, Marker, Record, SEGMENT_MAGIC, STATION_OCTETS_MAX, SegmentHead,
};
use crate::{
    chunk::{EntryFormat, RECORD_ENTRIES_OCTETS_MAX},
    journal::{files::Octets, window::Window},
    queue::SHARDS,
};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SegmentHeadOctets {
    magic: [u8; 8],
    version: U16,
    station_octets: u8,
    zero: [u8; 5],
    journal: I64,
    first: I64,
    made_us: I64,
    run: I64,
    marker: [u8; MARKER_OCTETS],
    station: [u8; STATION_OCTETS_MAX],
    crc: U32,
    more_zero: [u8; 28],
}

impl SegmentHeadOctets {
    /// As it stands in a file; none for a segment of another format.
    pub(super) fn new(head: &SegmentHead) -> Option<Self> {
        let Layout::Two(Marker(marker)) = head.layout else { return None };
        let mut station = [0; STATION_OCTETS_MAX];
        let name = head.station.as_bytes();
        let station_octets = name.len().min(STATION_OCTETS_MAX);
        station[..station_octets].copy_from_slice(&name[..station_octets]);
        let mut octets = Self {
            magic: *SEGMENT_MAGIC,
            version: VERSION.into(),
            station_octets: station_octets as u8,
            zero: [0; 5],
            journal: head.journal.into(),
            first: head.first.into(),
            made_us: head.made_us.into(),
            run: head.run.into(),
            marker,
            station,
            crc: U32::ZERO,
            more_zero: [0; 28],
        };
        octets.crc = octets.checksum().into();
        Some(octets)
    }

    pub(super) fn read(octets: &[u8]) -> Option<SegmentHead> {
        let (head, _) = Self::read_from_prefix(octets).ok()?;
        let is_whole = &head.magic == SEGMENT_MAGIC
            && head.version.get() == VERSION
            && head.crc.get() == head.checksum();
        is_whole.then(|| SegmentHead {
            journal: head.journal.get(),
            run: head.run.get(),
            first: head.first.get(),
            made_us: head.made_us.get(),
            station: station_name(&head.station, head.station_octets),
            layout: Layout::Two(Marker(head.marker)),
        })
    }

    fn checksum(&self) -> u32 {
        crc32c(&self.as_bytes()[..SEGMENT_CHECKED_OCTETS])
    }
}

/// The part of a record's header that has the same length in each.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FixedOctets {
    marker: [u8; MARKER_OCTETS],
    offset: U64,
    run: I64,
    number: I64,
    shards: U64,
    fingerprint: U64,
    octets: U32,
    samples: U32,
    station_crc: U32,
    entries_crc: U32,
    entry_version: U16,
    zero: U16,
    crc: U32,
}

impl FixedOctets {
    /// Of all but the checksum itself, so that it covers what comes behind it too.
    fn checksum(&self, previous: &[u8]) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&self.as_bytes()[..RECORD_HEAD_OCTETS_MIN - size_of::<U32>()]);
        digest.update(previous);
        digest.finalize()
    }
}

/// A record's header that is to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct RecordHead<'a> {
    pub(in crate::journal) marker: Marker,
    /// Where it is going to stand in the file.
    pub(in crate::journal) offset: u64,
    pub(in crate::journal) run: i64,
    pub(in crate::journal) station: &'a str,
    pub(in crate::journal) number: i64,
    pub(in crate::journal) shards: u64,
    pub(in crate::journal) samples: u32,
    pub(in crate::journal) format: EntryFormat,
    /// By shard: the number of the last record of this run that has entries of it, or -1.
    pub(in crate::journal) previous: &'a [i64; SHARDS],
}

impl RecordHead<'_> {
    /// Appends the header of these entries.
    pub(in crate::journal) fn append_to(&self, octets: &mut Vec<u8>, entries: &[u8]) {
        let mut fixed = FixedOctets {
            marker: self.marker.0,
            offset: self.offset.into(),
            run: self.run.into(),
            number: self.number.into(),
            shards: self.shards.into(),
            fingerprint: self.format.fingerprint.into(),
            octets: (entries.len() as u32).into(),
            samples: self.samples.into(),
            station_crc: crc32c(self.station.as_bytes()).into(),
            entries_crc: crc32c(entries).into(),
            entry_version: self.format.version.into(),
            zero: U16::ZERO,
            crc: U32::ZERO,
        };
        let start = octets.len();
        octets.extend_from_slice(fixed.as_bytes());
        let of_shards = self.previous.iter().enumerate();
        for (_, previous) in of_shards.filter(|(shard, _)| self.shards >> shard & 1 == 1) {
            octets.extend_from_slice(&previous.to_le_bytes());
        }
        fixed.crc = fixed.checksum(&octets[start + RECORD_HEAD_OCTETS_MIN..]).into();
        octets[start..start + RECORD_HEAD_OCTETS_MIN].copy_from_slice(fixed.as_bytes());
    }
}

/// The header at an offset, if it is one of the segment with this marker, and whole.
pub(super) fn record_at(
    window: &mut Window,
    file: &dyn Octets,
    offset: u64,
    end: u64,
    marker: Marker,
) -> Option<Record> {
    let fixed = read_fixed(window, file, offset, end).filter(|fixed| fixed.marker == marker.0)?;
    Some(Record {
        head_octets: head_octets(fixed.shards.get()),
        entries_octets: fixed.octets.get() as usize,
        number: fixed.number.get(),
        shards: fixed.shards.get(),
        samples: fixed.samples.get().into(),
        format: EntryFormat {
            version: fixed.entry_version.get(),
            fingerprint: fixed.fingerprint.get(),
        },
        entries_crc: fixed.entries_crc.get(),
    })
}

/// What a record says of its segment.
pub(super) struct OfSegment {
    pub(super) marker: Marker,
    pub(super) run: i64,
    pub(super) number: i64,
    /// Octets of the record.
    pub(super) octets: usize,
}

/// What a whole record of this station says of the segment that it is in.
pub(super) fn recover_head(
    window: &mut Window,
    file: &dyn Octets,
    offset: u64,
    end: u64,
    station: &str,
) -> Option<OfSegment> {
    let fixed = read_fixed(window, file, offset, end)?;
    let head = head_octets(fixed.shards.get());
    let octets = head + fixed.octets.get() as usize;
    let record = window.view(file, offset, octets, end)?;
    let is_whole = fixed.station_crc.get() == crc32c(station.as_bytes())
        && fixed.entries_crc.get() == crc32c(record.get(head..)?);
    is_whole.then(|| OfSegment {
        marker: Marker(fixed.marker),
        run: fixed.run.get(),
        number: fixed.number.get(),
        octets,
    })
}

fn read_fixed(
    window: &mut Window,
    file: &dyn Octets,
    offset: u64,
    end: u64,
) -> Option<FixedOctets> {
    let octets = window.view(file, offset, RECORD_HEAD_OCTETS_MIN, end)?;
    let (fixed, _) = FixedOctets::read_from_prefix(octets).ok()?;
    if fixed.offset.get() != offset || fixed.octets.get() as usize > RECORD_ENTRIES_OCTETS_MAX {
        return None;
    }
    let octets = window.view(file, offset, head_octets(fixed.shards.get()), end)?;
    let previous = octets.get(RECORD_HEAD_OCTETS_MIN..)?;
    (fixed.crc.get() == fixed.checksum(previous)).then_some(fixed)
}

fn head_octets(shards: u64) -> usize {
    RECORD_HEAD_OCTETS_MIN + shards.count_ones() as usize * size_of::<I64>()
}

/// The name of a station as headers have it.
pub(super) fn station_name(octets: &[u8; STATION_OCTETS_MAX], length: u8) -> String {
    let length = usize::from(length).min(STATION_OCTETS_MAX);
    String::from_utf8_lossy(&octets[..length]).into_owned()
}

/// CRC32C of what lies in the journal's folder, or names it.
pub(crate) fn crc32c(octets: &[u8]) -> u32 {
    CRC.checksum(octets)
}

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
pub(super) const VERSION: u16 = 2;
/// The shortest header of a record.
pub(in crate::journal) const RECORD_HEAD_OCTETS_MIN: usize = size_of::<FixedOctets>();
/// The longest.
pub(in crate::journal) const RECORD_HEAD_OCTETS_MAX: usize =
    RECORD_HEAD_OCTETS_MIN + SHARDS * size_of::<I64>();
/// The longest record.
pub(in crate::journal) const RECORD_OCTETS_MAX: usize =
    RECORD_HEAD_OCTETS_MAX + RECORD_ENTRIES_OCTETS_MAX;
/// What stands before the records of a segment.
pub(in crate::journal) const SEGMENT_HEAD_OCTETS: usize = size_of::<SegmentHeadOctets>();
/// What of it the checksum covers.
pub(super) const SEGMENT_CHECKED_OCTETS: usize = std::mem::offset_of!(SegmentHeadOctets, crc);
const _: () = assert!(RECORD_HEAD_OCTETS_MIN == 80 && SEGMENT_HEAD_OCTETS == 160);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
