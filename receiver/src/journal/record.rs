//! The journal's bytes: a file is a segment header and records one after the other, each a record
//! header and a chunk's entries. All integers are little-endian.
//!
//! Segment header, 128 octets: magic `ORBITSJ` and NUL, version (u16), length of the station's name
//! (u8), five zero octets, journal (i64), number of the first record (i64), made at (i64, µs since
//! 1970), the station's name (64 octets, padded with NUL), CRC32C of all before (u32), zero octets.
//!
//! Record header, 40 octets: magic `OREC`, octets of the entries (u32), number (i64), the shards
//! that have entries here, one bit each (u64), samples (u32), CRC32C of the entries (u32), zero
//! octets (u32), CRC32C of the header before it (u32). Each half has a checksum of its own, so that
//! after damage in one the other is still to be trusted.

use crc::{CRC_32_ISCSI, Crc, Table};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I64, U16, U32, U64},
};

use crate::chunk::{CHUNK_OCTETS, EntryFormat};

/// What stands before the entries of a record.
pub(super) const RECORD_HEAD_OCTETS: usize = size_of::<RecordHead>();
/// What stands before the records of a segment.
pub(super) const SEGMENT_HEAD_OCTETS: usize = size_of::<SegmentHead>();
/// The longest record.
pub(super) const RECORD_OCTETS_MAX: usize = RECORD_HEAD_OCTETS + CHUNK_OCTETS;

/// A record's number holds the run that wrote it in its upper bits: what a run numbers is above all
/// that any earlier one did, whatever became of the end of the earlier one's file. A run that gives
/// more numbers goes on in the next one's.
const RUN_BITS: u32 = 26;

/// Runs are 64ths of a second since this moment, 2020-01-01, in µs since 1970.
const RUNS_BEGAN_US: i64 = 1_577_836_800_000_000;
const RUN_US: i64 = 15_625;
/// The clock's last, in 2079: a million are left above it.
const RUNS_MAX: i64 = (NUMBER_MAX >> RUN_BITS) - 1_000_000;
/// Higher numbers are nobody's.
pub(super) const NUMBER_MAX: i64 = i64::MAX - (1 << 60);

/// The first number of a run that begins now (µs since 1970), after others of which the files have
/// numbers up to `highest`.
///
/// It follows the clock, since files do not tell all: while the disk refused them an earlier run has
/// given numbers that only the database knows. A run that fails begins anew once a second at most,
/// which the clock outruns. With a clock that was set back it is at least above what the files have.
pub(super) fn first_of_run(highest: i64, now_us: i64) -> i64 {
    let runs = ((now_us - RUNS_BEGAN_US) / RUN_US).clamp(0, RUNS_MAX);
    next_run(highest).max(runs << RUN_BITS)
}

/// The first number of the run after the one of `number`.
pub(super) fn next_run(number: i64) -> i64 {
    ((number >> RUN_BITS) + 1) << RUN_BITS
}

/// Whether two numbers were given by one run.
pub(super) fn is_same_run(one: i64, other: i64) -> bool {
    one >> RUN_BITS == other >> RUN_BITS
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RecordHead {
    magic: [u8; 4],
    pub(super) octets: U32,
    pub(super) number: I64,
    pub(super) shards: U64,
    pub(super) samples: U32,
    entries_crc: U32,
    /// Layout of the entries; 0 in records of builds that knew only one.
    version: U32,
    crc: U32,
}

impl RecordHead {
    pub(super) fn new(number: i64, shards: u64, samples: u32, entries: &[u8]) -> Self {
        let mut head = Self {
            magic: *RECORD_MAGIC,
            octets: (entries.len() as u32).into(),
            number: number.into(),
            shards: shards.into(),
            samples: samples.into(),
            entries_crc: CRC.checksum(entries).into(),
            version: u32::from(EntryFormat::current().version).into(),
            crc: U32::ZERO,
        };
        head.crc = head.checksum().into();
        head
    }

    /// What its entries follow.
    pub(super) fn format(&self) -> EntryFormat {
        match self.version.get() {
            0 => EntryFormat::LEGACY,
            _ => EntryFormat::current(),
        }
    }

    /// The header at the beginning of `octets`, if one is there and whole.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let (head, _) = Self::read_from_prefix(octets).ok()?;
        let is_whole = &head.magic == RECORD_MAGIC
            && head.octets.get() as usize <= CHUNK_OCTETS
            && head.crc.get() == head.checksum();
        is_whole.then_some(head)
    }

    /// Header and entries.
    pub(super) fn length(&self) -> u64 {
        RECORD_HEAD_OCTETS as u64 + u64::from(self.octets.get())
    }

    pub(super) fn is_of(&self, entries: &[u8]) -> bool {
        self.entries_crc.get() == CRC.checksum(entries)
    }

    fn checksum(&self) -> u32 {
        CRC.checksum(&self.as_bytes()[..RECORD_HEAD_OCTETS - size_of::<U32>()])
    }
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SegmentHead {
    magic: [u8; 8],
    version: U16,
    station_octets: u8,
    zero: [u8; 5],
    pub(super) journal: I64,
    pub(super) first: I64,
    pub(super) made_us: I64,
    station: [u8; STATION_OCTETS_MAX],
    crc: U32,
    more_zero: [u8; 20],
}

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is too short, no segment, or its checksum is wrong.
    #[error("its header is damaged")]
    Damaged,
    /// It was written by another version.
    #[error("it has version {0}, this receiver reads {VERSION}")]
    Version(u16),
}

impl SegmentHead {
    pub(super) fn new(journal: i64, first: i64, made_us: i64, station: &str) -> Self {
        let mut name = [0; STATION_OCTETS_MAX];
        let octets = station.len().min(STATION_OCTETS_MAX);
        name[..octets].copy_from_slice(&station.as_bytes()[..octets]);
        let mut head = Self {
            magic: *SEGMENT_MAGIC,
            version: VERSION.into(),
            station_octets: octets as u8,
            zero: [0; 5],
            journal: journal.into(),
            first: first.into(),
            made_us: made_us.into(),
            station: name,
            crc: U32::ZERO,
            more_zero: [0; 20],
        };
        head.crc = head.checksum().into();
        head
    }

    pub(super) fn read(octets: &[u8]) -> Result<Self, Unusable> {
        let (head, _) = Self::read_from_prefix(octets).map_err(|_| Unusable::Damaged)?;
        if &head.magic != SEGMENT_MAGIC || head.crc.get() != head.checksum() {
            return Err(Unusable::Damaged);
        }
        match head.version.get() {
            VERSION => Ok(head),
            other => Err(Unusable::Version(other)),
        }
    }

    pub(super) fn station(&self) -> &str {
        let octets = usize::from(self.station_octets).min(STATION_OCTETS_MAX);
        std::str::from_utf8(&self.station[..octets]).unwrap_or_default()
    }

    fn checksum(&self) -> u32 {
        let before = std::mem::offset_of!(Self, crc);
        CRC.checksum(&self.as_bytes()[..before])
    }
}

/// CRC32C of what lies in the journal's folder, or names it.
pub(crate) fn crc32c(octets: &[u8]) -> u32 {
    CRC.checksum(octets)
}

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const RECORD_MAGIC: &[u8; 4] = b"OREC";
const SEGMENT_MAGIC: &[u8; 8] = b"ORBITSJ\0";
const VERSION: u16 = 1;
/// As long as the option `--station` permits.
const STATION_OCTETS_MAX: usize = 64;
const _: () = assert!(RECORD_HEAD_OCTETS == 40 && SEGMENT_HEAD_OCTETS == 128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_run_is_above_the_files_and_above_what_the_clock_knows_of() {
        let now = |s: i64| RUNS_BEGAN_US + s * 1_000_000;
        let first = first_of_run(-1, now(100));
        assert!(!is_same_run(first, first_of_run(-1, now(101))));
        // It has failed each second, and nothing of that is in a file.
        let failed = (0..50).fold(first, |number, _| next_run(number));
        assert!(failed < first_of_run(-1, now(150)));
        // The clock was set back, or is nonsense.
        assert_eq!(first_of_run(first, now(-5)), next_run(first));
        let last = first_of_run(-1, i64::MAX);
        assert!((first..NUMBER_MAX - (500_000 << RUN_BITS)).contains(&last));
    }

    #[test]
    fn heads_read_back_and_no_flipped_bit_does() {
        let record = RecordHead::new(7 << RUN_BITS, 5, 3, b"entries");
        assert!(record.is_of(b"entries") && !record.is_of(b"entrieS"));
        let segment = SegmentHead::new(-4, 9, 11, "GS-01");
        assert_eq!(SegmentHead::read(segment.as_bytes()).unwrap().station(), "GS-01");
        for bit in 0..RECORD_HEAD_OCTETS * 8 {
            let mut octets = record.as_bytes().to_vec();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHead::read(&octets).is_none(), "bit {bit}");
        }
        for bit in 0..std::mem::offset_of!(SegmentHead, more_zero) * 8 {
            let mut octets = segment.as_bytes().to_vec();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHead::read(&octets).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_run_numbers_above_all_before() {
        assert_eq!(next_run(-1), 0);
        let first = next_run((3 << RUN_BITS) + 17);
        assert_eq!(first, 4 << RUN_BITS);
        assert!(is_same_run(first, first + 99) && !is_same_run(first, first - 1));
    }
}
