//! A segment file of the journal, format 2, read here a second time and on its own, so that the
//! receiver's reader is not its own judge.
//!
//! Limits: it reads whole records from the first on, and stops at what is none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use protocol::{Datagram, Frame};

use crate::tap::Stream;

/// A segment, as it lies on disk.
pub(super) struct Segment {
    octets: Vec<u8>,
}

/// Where a record stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) start: usize,
    /// Where its entries begin,
    pub(super) entries: usize,
    /// and end.
    pub(super) end: usize,
    /// How many of them are samples.
    samples: usize,
}

/// The segments of a journal, in order.
pub(super) fn paths(journal: &Path) -> Result<Vec<PathBuf>> {
    let (mut paths, mut folders) = (Vec::new(), vec![journal.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "segment") {
                paths.push(path);
            }
        }
    }
    // Names sort as they were made.
    paths.sort();
    Ok(paths)
}

impl Segment {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let octets = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let version = octets.get(8..10);
        ensure!(
            octets.len() >= HEAD_OCTETS
                && octets.starts_with(MAGIC)
                && version == Some(&VERSION.to_le_bytes()),
            "{} is no segment of format {VERSION}",
            path.display()
        );
        Ok(Self { octets })
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The header of the file.
    pub(super) fn head(&self) -> &[u8] {
        &self.octets[..HEAD_OCTETS]
    }

    /// Whole records, from the first on.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let mut start = HEAD_OCTETS;
        std::iter::from_fn(move || {
            let record = self.record_at(start)?;
            start = record.end;
            Some(record)
        })
    }

    pub(super) fn header(&self, record: &Record) -> &[u8] {
        &self.octets[record.start..record.entries]
    }

    fn entries(&self, record: &Record) -> &[u8] {
        &self.octets[record.entries..record.end]
    }

    /// Where some octets stand among the entries of a record.
    pub(super) fn find(&self, record: &Record, wanted: &[u8]) -> Option<usize> {
        let at = self.entries(record).windows(wanted.len()).position(|part| part == wanted)?;
        Some(record.entries + at)
    }

    /// The frames that a record holds.
    pub(super) fn frames(&self, record: &Record) -> Result<Vec<(Stream, u32)>> {
        let mut frames = Vec::with_capacity(record.samples);
        let mut datagram = Datagram::new(self.entries(record));
        while let Some(frame) = datagram.next(|_| true) {
            if let Ok(Frame::Telemetry(frame)) = frame {
                let stream = Stream {
                    spacecraft: frame.spacecraft().number(),
                    apid: frame.apid().number(),
                    boot_count: frame.boot_count(),
                };
                frames.push((stream, frame.sequence().value()));
            }
        }
        let (found, samples) = (frames.len(), record.samples);
        ensure!(found == samples, "{found} frames in a record of {samples} samples");
        Ok(frames)
    }

    fn record_at(&self, start: usize) -> Option<Record> {
        let header = self.octets.get(start..start + RECORD_HEAD_OCTETS)?;
        let long = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let (marker, offset) = (header.get(..16)?, long(16)?);
        if marker != &self.octets[MARKER] || offset != start as u64 {
            return None;
        }
        let shards = long(40)?.count_ones() as usize;
        let entries = start + RECORD_HEAD_OCTETS + 8 * shards;
        let end = entries + short(56)? as usize;
        let checksum = crc32c(self.octets.get(entries..end)?);
        let samples = short(60)? as usize;
        (short(68)? == checksum).then_some(Record { start, entries, end, samples })
    }
}

/// The checksum of the journal's files (Castagnoli).
pub(super) fn crc32c(octets: &[u8]) -> u32 {
    !octets.iter().fold(!0, |crc, &octet| {
        (0..8).fold(crc ^ u32::from(octet), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

const MAGIC: &[u8] = b"ORBITSJ\0";
const VERSION: u16 = 2;
const HEAD_OCTETS: usize = 160;
/// Where the segment's marker stands in its header.
const MARKER: std::ops::Range<usize> = 48..64;
/// Without the number that follows for each shard.
const RECORD_HEAD_OCTETS: usize = 80;
