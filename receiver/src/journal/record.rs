//! What a journal's files look like: the layout of a segment and of its records, in the two formats
//! that are read, of which [`format2`] is written.
//!
//! Guarantee: no octet of an entry is ever taken for a header. A reader finds a record only where
//! the one before it ends or, in format 2, at the segment's marker: 128 random bits in every header
//! that nobody outside this file can know, beside the place that the header stands at. In format 1
//! there is no such marker, so a segment is read up to its first damage.

mod format1;
mod format2;
mod numbers;

use zerocopy::IntoBytes as _;

pub(crate) use format2::crc32c;
pub(super) use format2::{
    RECORD_HEAD_OCTETS_MIN, RECORD_OCTETS_MAX, RecordHead, SEGMENT_HEAD_OCTETS,
};
pub(crate) use numbers::JOURNAL_LOW_BITS;
pub(super) use numbers::{
    FIRST_MAX, NUMBER_MAX, first_of_run, is_same_run, next_run, run_identity,
};

use super::{files::Octets, window::Window};
use crate::chunk::EntryFormat;

#[cfg(test)]
pub(super) use format1::tests::{
    RECORD_HEAD_OCTETS as FORMAT1_RECORD_HEAD_OCTETS, record_head as format1_record_head,
    segment as format1_segment,
};

/// What the segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// Identity of the journal's folder.
    pub(super) journal: i64,
    /// Identity of the run that wrote it, which the commit ledger knows its numbers by.
    pub(super) run: i64,
    /// Number of its first record.
    pub(super) first: i64,
    /// When it was begun, µs since 1970.
    pub(super) made_us: i64,
    /// Whose samples.
    pub(super) station: String,
    /// How its records are found.
    pub(super) layout: Layout,
}

/// How the records of a segment are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Format 1: read up to the first damage.
    One,
    /// Format 2: every header carries the segment's marker.
    Two(Marker),
}

/// What every header of one segment carries, drawn at random when it is begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker(pub(super) [u8; MARKER_OCTETS]);

impl std::fmt::Debug for Marker {
    /// It is not shown: whoever knows it could write octets that pass for a header.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marker(..)")
    }
}

impl Marker {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }
}

/// What a record's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Octets of the header.
    pub(super) head_octets: usize,
    /// Octets of the entries that follow it.
    pub(super) entries_octets: usize,
    pub(super) number: i64,
    /// The shards that have entries here, one bit each.
    pub(super) shards: u64,
    pub(super) samples: u64,
    /// How the entries are to be read.
    pub(super) format: EntryFormat,
    entries_crc: u32,
}

impl Record {
    /// Header and entries.
    pub(super) fn octets(&self) -> usize {
        self.head_octets + self.entries_octets
    }

    /// Whether these are its entries.
    pub(super) fn is_of(&self, entries: &[u8]) -> bool {
        self.entries_crc == crc32c(entries)
    }
}

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is too short, no segment, or its checksum is wrong.
    #[error("its header is damaged")]
    Damaged,
    /// It was written by another version.
    #[error("it has format {0}, this receiver reads up to {VERSION}", VERSION = format2::VERSION)]
    Version(u16),
}

impl SegmentHead {
    /// A segment that this program begins.
    pub(super) fn new(journal: i64, run: i64, first: i64, made_us: i64, station: &str) -> Self {
        let layout = Layout::Two(Marker::random());
        Self { journal, run, first, made_us, station: station.to_owned(), layout }
    }

    /// The header at the beginning of a file.
    pub(super) fn read(octets: &[u8]) -> Result<Self, Unusable> {
        let (magic, rest) = octets.split_first_chunk::<8>().ok_or(Unusable::Damaged)?;
        let version = rest.first_chunk().ok_or(Unusable::Damaged)?;
        if magic != SEGMENT_MAGIC {
            return Err(Unusable::Damaged);
        }
        // A checksum first: a version that is damaged is damage.
        let one = format1::read_segment_head(octets);
        let two = format2::SegmentHeadOctets::read(octets);
        match (one, two, u16::from_le_bytes(*version)) {
            (Some(head), ..) | (None, Some(head), _) => Ok(head),
            (None, None, format1::VERSION | format2::VERSION) => Err(Unusable::Damaged),
            (None, None, other) => Err(Unusable::Version(other)),
        }
    }

    /// The octets of a segment in format 2.
    pub(super) fn to_octets(&self) -> Option<Vec<u8>> {
        format2::SegmentHeadOctets::new(self).map(|octets| octets.as_bytes().to_vec())
    }

    /// Octets before the first record.
    pub(super) fn octets(&self) -> usize {
        self.layout.segment_head_octets()
    }

    /// What the first two records of a segment in format 2 say where the header itself is damaged;
    /// none unless they agree, and are where records must be. One is enough if it is all there is.
    pub(super) fn recover(file: &dyn Octets, end: u64, first: i64, station: &str) -> Option<Self> {
        let mut window = Window::default();
        let mut head = None;
        let mut offset = SEGMENT_HEAD_OCTETS as u64;
        for number in [first, first + 1] {
            if number > first && offset == end {
                break;
            }
            let found = format2::recover_head(&mut window, file, offset, end, station)?;
            if found.number != number {
                return None;
            }
            let (marker, run) = *head.get_or_insert((found.marker, found.run));
            if (marker, run) != (found.marker, found.run) {
                return None;
            }
            offset += found.octets as u64;
        }
        let (marker, run) = head?;
        let layout = Layout::Two(marker);
        Some(Self { journal: 0, run, first, made_us: 0, station: station.to_owned(), layout })
    }
}

impl Layout {
    /// Octets before the first record.
    pub(super) fn segment_head_octets(&self) -> usize {
        match self {
            Self::One => format1::SEGMENT_HEAD_OCTETS,
            Self::Two(_) => SEGMENT_HEAD_OCTETS,
        }
    }

    /// The header of the record at an offset, if one is there and whole.
    pub(super) fn record_at(
        &self,
        window: &mut Window,
        file: &dyn Octets,
        offset: u64,
        end: u64,
    ) -> Option<Record> {
        match self {
            Self::One => format1::record_at(window, file, offset, end),
            Self::Two(marker) => format2::record_at(window, file, offset, end, *marker),
        }
    }

    /// Where the next record with a whole header begins at or after an offset, after damage; none if
    /// there is none, or if that cannot be told from what strangers have written.
    pub(super) fn resume(
        &self,
        window: &mut Window,
        file: &dyn Octets,
        mut offset: u64,
        end: u64,
    ) -> Option<u64> {
        let Self::Two(marker) = self else { return None };
        loop {
            offset = window.find(file, &marker.0, offset, end)?;
            if self.record_at(window, file, offset, end).is_some() {
                return Some(offset);
            }
            offset += 1;
        }
    }

    /// The highest number that a record in so many octets can have.
    pub(super) fn number_max(&self, first: i64, end: u64) -> i64 {
        let least = match self {
            Self::One => format1::RECORD_HEAD_OCTETS,
            Self::Two(_) => RECORD_HEAD_OCTETS_MIN,
        };
        let records = end / least as u64;
        first.saturating_add(i64::try_from(records).unwrap_or(i64::MAX)).min(NUMBER_MAX)
    }
}

const SEGMENT_MAGIC: &[u8; 8] = b"ORBITSJ\0";
const MARKER_OCTETS: usize = 16;
/// As long as the option `--station` permits.
const STATION_OCTETS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_head_reads_back_and_no_flipped_bit_does() {
        let head = SegmentHead::new(-4, 5, 9, 11, "GS-01");
        let octets = head.to_octets().unwrap();
        assert_eq!(octets.len(), SEGMENT_HEAD_OCTETS);
        assert_eq!(SegmentHead::read(&octets).unwrap(), head);
        for bit in 0..format2::SEGMENT_CHECKED_OCTETS * 8 {
            let mut octets = octets.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHead::read(&octets).is_err(), "bit {bit}");
        }
        assert!(!format!("{head:?}").contains(&format!("{:?}", &octets[120..130])));
    }

    #[test]
    fn other_versions_are_named() {
        let mut octets = SegmentHead::new(1, 2, 3, 4, "GS-01").to_octets().unwrap();
        octets[8] = 3;
        assert_eq!(SegmentHead::read(&octets), Err(Unusable::Version(3)));
        octets[8] = 1;
        assert_eq!(SegmentHead::read(&octets), Err(Unusable::Damaged));
        assert_eq!(SegmentHead::read(&octets[..9]), Err(Unusable::Damaged));
    }
}
