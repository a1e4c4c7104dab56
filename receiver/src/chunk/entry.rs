//! Entries: how they lie in a chunk, and how they are read again.
//!
//! Layout of an entry of version 2, little-endian: received_at in µs since 1970 (i64), octets that
//! follow (u32), spacecraft (u16, 0 without one), kind (u8), version of that kind (u8), then the
//! octets. Kinds: 0 a frame as received, 1 a JSON sample, 0x80 a row of `link_health`, 0x81 one of
//! `station_health`, 0x82 a refused frame, 0x83 a counter that jumped. Those without [`NOT_A_SAMPLE`] are samples, also those that
//! a later build adds. Version 1 of the layout has octets that follow as u16 behind the time, then the
//! kind (u8: 0 to 4 in the order above), and nothing else.
//!
//! Guarantees: an entry that cannot be decoded takes no neighbour with it. It comes out as
//! [`Entry::Unreadable`] with its octets, in the order and of the shard that it had when it was
//! appended, and whether it is a sample is known. Only a length that runs past the end ends the
//! reading, and then what is left comes out once, for as many samples as are missing. A sample is
//! decoded only with the definitions that it was received with.

use std::sync::OnceLock;

use protocol::{Apid, SpacecraftId, Telemetry};
use zerocopy::FromBytes as _;

use crate::{
    definitions::{self, Decodable, LEGACY_FINGERPRINT},
    ledger::StationRow,
    link,
    queue::{STATION_SHARD, shard_of},
    rejected::RejectedFrame,
    sparse::Sparse,
};

/// What the entries of a chunk, or of a journal's record, follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFormat {
    /// The layout of entries.
    pub version: u16,
    /// The definitions that samples were received with.
    pub fingerprint: u64,
}

impl EntryFormat {
    /// Entries of builds whose records named no format.
    pub const LEGACY: Self = Self { version: VERSION_1, fingerprint: LEGACY_FINGERPRINT };

    /// Entries that this build appends.
    #[must_use]
    pub fn current() -> Self {
        static CURRENT: OnceLock<EntryFormat> = OnceLock::new();
        *CURRENT.get_or_init(|| Self { version: VERSION, fingerprint: definitions::fingerprint() })
    }

    /// Whether this build can tell entries of this layout apart. What it cannot is better left where
    /// it lies, for a build that can.
    #[must_use]
    pub fn is_readable(self) -> bool {
        (VERSION_1..=VERSION).contains(&self.version)
    }
}

/// What a writer stores.
pub enum Entry<'a> {
    /// A sample; only these are in the ledger, and unreadable ones.
    Sample(Record<'a>),
    /// How a link did.
    Link(link::Row),
    /// How the station did.
    Station(Box<StationRow>),
    /// What was refused, and when.
    Rejected(i64, RejectedFrame<'a>),
    /// A counter that jumped.
    Jump(link::Jump),
    /// What this build cannot decode.
    Unreadable(Unreadable<'a>),
}

/// One sample and when it arrived.
pub struct Record<'a> {
    /// Arrival in µs since 1970.
    pub received_us: i64,
    /// What arrived.
    pub sample: Sample<'a>,
}

/// An accepted sample.
pub enum Sample<'a> {
    /// A frame, all of it.
    Frame(Telemetry<'a>),
    /// Some channels, by HTTP.
    Sparse(Box<Sparse>),
}

/// An entry that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable<'a> {
    /// Arrival in µs since 1970.
    pub received_us: i64,
    /// The spacecraft that it is about.
    pub spacecraft: Option<SpacecraftId>,
    /// Its octets.
    pub octets: &'a [u8],
    /// What keeps it from being decoded.
    pub why: Why,
    /// Samples that it stands for: 0 or 1, and as many as are missing where the reading ended.
    pub samples: u64,
}

/// Why an entry cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its packet kind was defined otherwise, or its definitions are not known.
    #[error("other packet definitions")]
    Definitions,
    /// Its kind, or that kind's version, is of a later build.
    #[error("an entry of a later version")]
    Version,
    /// Its octets are not laid out as its kind says.
    #[error("octets that do not fit")]
    Layout,
    /// Its length runs past the end.
    #[error("an entry that is cut off")]
    Cut,
}

/// The entries of some octets, in the order in which they were appended.
pub struct Entries<'a> {
    raw: RawEntries<'a>,
    decodable: Decodable,
}

impl<'a> Entries<'a> {
    /// Entries of a format that stand for so many samples, decoded as far as `decodable` permits.
    #[must_use]
    pub fn new(octets: &'a [u8], format: EntryFormat, samples: u64, decodable: Decodable) -> Self {
        Self { raw: RawEntries::new(octets, format, samples), decodable }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let raw = self.raw.next()?;
        Some(
            raw.decode(self.decodable).unwrap_or_else(|why| Entry::Unreadable(raw.unreadable(why))),
        )
    }
}

/// The first entry of some that this build has appended.
pub(crate) fn first(octets: &[u8]) -> Option<Entry<'_>> {
    Entries::new(octets, EntryFormat::current(), 1, Decodable::ALL).next()
}

/// Entries that are not decoded.
pub(super) struct RawEntries<'a> {
    rest: &'a [u8],
    version: u16,
    /// Samples that have not come out yet.
    samples: u64,
    /// Time and spacecraft of the last one.
    last: (i64, u16),
}

/// An entry as its head describes it.
#[derive(Clone, Copy)]
pub(super) struct RawEntry<'a> {
    received_us: i64,
    spacecraft: u16,
    kind: u8,
    version: u8,
    octets: &'a [u8],
    pub(super) samples: u64,
    is_cut: bool,
}

impl<'a> RawEntries<'a> {
    pub(super) fn new(octets: &'a [u8], format: EntryFormat, samples: u64) -> Self {
        Self { rest: octets, version: format.version, samples, last: (0, 0) }
    }

    /// What is left where the reading has to end.
    #[cold]
    fn cut(&mut self) -> RawEntry<'a> {
        let (received_us, spacecraft) = self.last;
        let octets = std::mem::take(&mut self.rest);
        let samples = std::mem::take(&mut self.samples);
        RawEntry { received_us, spacecraft, kind: 0, version: 0, octets, samples, is_cut: true }
    }
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = RawEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawEntry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let split = match self.version {
            VERSION => RawEntry::split(self.rest),
            VERSION_1 => RawEntry::split_version_1(self.rest),
            _ => None,
        };
        let Some((entry, rest)) = split else { return Some(self.cut()) };
        self.rest = rest;
        self.samples = self.samples.saturating_sub(entry.samples);
        self.last = (entry.received_us, entry.spacecraft);
        Some(entry)
    }
}

impl<'a> RawEntry<'a> {
    #[inline]
    fn split(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = octets.split_first_chunk::<HEAD_OCTETS>()?;
        let received_us = i64::from_le_bytes(*head.first_chunk()?);
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let (octets, rest) = rest.split_at_checked(length as usize)?;
        let spacecraft = u16::from_le_bytes([head[12], head[13]]);
        let (kind, version) = (head[14], head[15]);
        let samples = u64::from(kind & NOT_A_SAMPLE == 0);
        let entry = Self { received_us, spacecraft, kind, version, octets, samples, is_cut: false };
        Some((entry, rest))
    }

    fn split_version_1(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = octets.split_first_chunk::<HEAD_OCTETS_1>()?;
        let received_us = i64::from_le_bytes(*head.first_chunk()?);
        let length = u16::from_le_bytes([head[8], head[9]]);
        let (octets, rest) = rest.split_at_checked(usize::from(length))?;
        // Where each kind had its spacecraft then.
        let pair = |at: usize| octets.get(at..).and_then(|octets| octets.first_chunk()).copied();
        let (kind, spacecraft) = match head[10] {
            0 => (FRAME, pair(16).map(u16::from_be_bytes)),
            1 => (SPARSE, pair(2).map(u16::from_le_bytes)),
            2 => (LINK, pair(12).map(u16::from_le_bytes)),
            3 => (STATION, None),
            4 => (REJECTED, None),
            _ => (UNKNOWN, None),
        };
        let samples = u64::from(kind & NOT_A_SAMPLE == 0);
        let (spacecraft, version) = (spacecraft.unwrap_or_default(), 1);
        let entry = Self { received_us, spacecraft, kind, version, octets, samples, is_cut: false };
        Some((entry, rest))
    }

    /// The shard in whose order it is stored.
    pub(super) fn shard(&self) -> usize {
        shard_of_number(self.spacecraft)
    }

    #[inline]
    fn decode(&self, decodable: Decodable) -> Result<Entry<'a>, Why> {
        let Self { received_us, octets, .. } = *self;
        let entry = match (self.kind, self.version) {
            _ if self.is_cut => return Err(Why::Cut),
            (FRAME, 1) => {
                let frame = match Telemetry::from_checked(octets) {
                    Some(frame) if decodable.includes(frame.apid()) => frame,
                    // Of another size than now, as it can be only by other definitions.
                    _ if decodable != Decodable::ALL => return Err(Why::Definitions),
                    _ => return Err(Why::Layout),
                };
                Entry::Sample(Record { received_us, sample: Sample::Frame(frame) })
            }
            (SPARSE, 1) => {
                let apid = Sparse::apid_of(octets).ok_or(Why::Layout)?;
                if !decodable.includes(apid) {
                    return Err(Why::Definitions);
                }
                let sparse = Sparse::from_octets(octets).ok_or(Why::Layout)?;
                Entry::Sample(Record { received_us, sample: Sample::Sparse(Box::new(sparse)) })
            }
            // A row may have more at its end than this build knows of.
            (LINK, 1) => {
                Entry::Link(link::Row::read_from_prefix(octets).map_err(|_| Why::Layout)?.0)
            }
            (STATION, 1) => {
                Entry::Station(Box::new(StationRow::from_octets(octets).ok_or(Why::Layout)?))
            }
            (REJECTED, 1) => {
                let frame = RejectedFrame::from_octets(octets).ok_or(Why::Layout)?;
                Entry::Rejected(received_us, frame)
            }
            (JUMP, 1) => {
                Entry::Jump(link::Jump::read_from_prefix(octets).map_err(|_| Why::Layout)?.0)
            }
            _ => return Err(Why::Version),
        };
        // Its order is that of the shard that the head names.
        if entry.spacecraft() == self.spacecraft { Ok(entry) } else { Err(Why::Layout) }
    }

    #[cold]
    fn unreadable(&self, why: Why) -> Unreadable<'a> {
        let Self { received_us, octets, samples, .. } = *self;
        let spacecraft = SpacecraftId::new(self.spacecraft);
        Unreadable { received_us, spacecraft, octets, why, samples }
    }
}

impl Entry<'_> {
    /// The shard in whose order it is stored.
    #[inline]
    #[must_use]
    pub fn shard(&self) -> usize {
        shard_of_number(self.spacecraft())
    }

    /// Samples that it stands for in the ledger.
    #[inline]
    #[must_use]
    pub fn samples(&self) -> u64 {
        match self {
            Self::Sample(_) => 1,
            Self::Unreadable(entry) => entry.samples,
            Self::Link(_) | Self::Station(_) | Self::Rejected(..) | Self::Jump(_) => 0,
        }
    }

    /// The spacecraft's number, 0 without one.
    #[inline]
    fn spacecraft(&self) -> u16 {
        match self {
            Self::Sample(record) => record.spacecraft().number(),
            Self::Link(row) => row.spacecraft.get(),
            Self::Jump(jump) => jump.spacecraft.get(),
            Self::Unreadable(entry) => entry.spacecraft.map_or(0, SpacecraftId::number),
            Self::Station(_) | Self::Rejected(..) => 0,
        }
    }
}

impl Record<'_> {
    /// Appends it to some entries of this build.
    #[inline]
    pub fn append_to(&self, entries: &mut Vec<u8>) {
        let (received_us, spacecraft) = (self.received_us, self.spacecraft().number());
        match &self.sample {
            Sample::Frame(frame) => {
                append(entries, received_us, spacecraft, FRAME, frame.octets());
            }
            Sample::Sparse(sample) => {
                append(entries, received_us, spacecraft, SPARSE, &sample.to_octets());
            }
        }
    }

    /// Who sent it.
    #[must_use]
    pub fn spacecraft(&self) -> SpacecraftId {
        match &self.sample {
            Sample::Frame(frame) => frame.spacecraft(),
            Sample::Sparse(sample) => sample.spacecraft,
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn apid(&self) -> Apid {
        match &self.sample {
            Sample::Frame(frame) => frame.apid(),
            Sample::Sparse(sample) => sample.kind().apid,
        }
    }

    /// When it was generated, in µs since 1970.
    #[must_use]
    pub fn generated_us(&self) -> i64 {
        match &self.sample {
            Sample::Frame(frame) => frame.time().unix_us(),
            Sample::Sparse(sample) => sample.time_us,
        }
    }
}

/// Appends an entry of this build.
#[inline]
pub(super) fn append(to: &mut Vec<u8>, received_us: i64, spacecraft: u16, kind: u8, octets: &[u8]) {
    let mut head = [0; HEAD_OCTETS];
    head[..8].copy_from_slice(&received_us.to_le_bytes());
    head[8..12].copy_from_slice(&(octets.len() as u32).to_le_bytes());
    head[12..14].copy_from_slice(&spacecraft.to_le_bytes());
    (head[14], head[15]) = (kind, KIND_VERSION);
    to.extend_from_slice(&head);
    to.extend_from_slice(octets);
}

/// The shard of a spacecraft's number, 0 for what is about none.
#[inline]
pub(super) fn shard_of_number(spacecraft: u16) -> usize {
    SpacecraftId::new(spacecraft).map_or(STATION_SHARD, shard_of)
}

const VERSION: u16 = 2;
const VERSION_1: u16 = 1;
/// Octets of the head of an entry.
pub(super) const HEAD_OCTETS: usize = 8 + 4 + 2 + 1 + 1;
const HEAD_OCTETS_1: usize = 8 + 2 + 1;
/// The version that every kind has now. It counts layouts that earlier builds cannot read; what is
/// only appended to a row counts none.
const KIND_VERSION: u8 = 1;
/// The bit of kinds that are in no ledger.
const NOT_A_SAMPLE: u8 = 0x80;
pub(super) const FRAME: u8 = 0;
pub(super) const SPARSE: u8 = 1;
pub(super) const LINK: u8 = NOT_A_SAMPLE;
pub(super) const STATION: u8 = NOT_A_SAMPLE | 1;
pub(super) const REJECTED: u8 = NOT_A_SAMPLE | 2;
pub(super) const JUMP: u8 = NOT_A_SAMPLE | 3;
const UNKNOWN: u8 = u8::MAX;

#[cfg(test)]
mod tests;
