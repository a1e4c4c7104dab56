//! Datagrams that carry copies of the journal's own headers, as a stranger would send them who hopes
//! that they are taken for records once the journal is damaged.
//!
//! None of them is a frame: the receiver refuses each as a whole, and keeps its octets in the journal
//! as a refused frame.

use std::path::Path;

use anyhow::Result;
use receiver::rejected::RAW_OCTETS_MAX;

use super::segment::{self, Segment, crc32c};

/// What each planted datagram begins with, so that it is found again in a segment. It is no frame's
/// first octet.
pub(super) const TAG: &[u8; 8] = b"PLANTED!";

/// Datagrams with headers of both formats: of format 1 with numbers near the largest, of format 2
/// copied from the newest segment of a journal.
pub(super) fn datagrams(journal: &Path) -> Result<Vec<Vec<u8>>> {
    let mut datagrams = Vec::new();
    for (below, shards) in [(0, u64::MAX), (1, 1), (2, 0), (1 << 20, u64::MAX)] {
        datagrams.push(datagram(&[format1_header(i64::MAX - below, shards)]));
    }
    if let Some(path) = segment::paths(journal)?.pop() {
        let segment = Segment::read(&path)?;
        let headers: Vec<_> = segment.records().map(|record| segment.header(&record)).collect();
        let first_and_last = headers.iter().take(HEADERS).chain(headers.iter().rev().take(HEADERS));
        for header in first_and_last {
            datagrams.push(datagram(&[header.to_vec()]));
        }
        // A whole beginning of a file: its own header, then its first record's.
        let start =
            [segment.head().to_vec(), headers.first().map_or_else(Vec::new, |h| h.to_vec())];
        datagrams.push(datagram(&start));
    }
    Ok(datagrams)
}

/// The tag and these octets, over and over, in as much as is kept of a refused frame.
fn datagram(parts: &[Vec<u8>]) -> Vec<u8> {
    let octets = parts.concat();
    let times = ((RAW_OCTETS_MAX - TAG.len()) / octets.len().max(1)).max(1);
    [TAG.to_vec(), octets.repeat(times)].concat()
}

/// A record header of format 1, which anybody can compute.
fn format1_header(number: i64, shards: u64) -> Vec<u8> {
    let mut head = b"OREC".to_vec();
    head.extend(0_u32.to_le_bytes());
    head.extend(number.to_le_bytes());
    head.extend(shards.to_le_bytes());
    head.extend([0; 12]);
    head.extend(crc32c(&head).to_le_bytes());
    head
}

/// How many records' headers are copied from the beginning of a segment, and from its end.
const HEADERS: usize = 8;

#[cfg(test)]
mod tests {
    use protocol::Datagram;

    use super::*;

    #[test]
    fn planted_octets_are_refused_as_a_whole() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let planted = datagrams(folder.path())?;
        assert_eq!(planted.len(), 4);
        for octets in planted {
            assert!(octets.len() > 1_900 && octets.len() <= RAW_OCTETS_MAX, "{}", octets.len());
            let mut datagram = Datagram::new(&octets);
            assert!(datagram.next(|_| true).is_some_and(|frame| frame.is_err()));
            assert!(datagram.next(|_| true).is_none());
        }
        Ok(())
    }

    #[test]
    fn a_header_of_format_1_has_a_right_checksum() {
        let header = format1_header(i64::MAX, u64::MAX);
        let (checked, checksum) = header.split_at(36);
        assert_eq!(checksum, crc32c(checked).to_le_bytes());
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
