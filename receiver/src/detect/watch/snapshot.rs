//! What a watch has learned, as octets that outlive it: one snapshot for each shard, so that it does
//! not matter how many writers there are next time.
//!
//! Guarantee: a snapshot that is damaged, cut off, of a later version or of another station is refused
//! as a whole, and changes nothing. One that is restored goes on as if nothing had been between: what
//! was learned, and the events that are open. No satellite was silent meanwhile, since it was the
//! station that did not listen. A snapshot of a program with other channels is restored as far as both
//! have them, and a satellite or event that cannot be read is skipped and counted; it takes no other
//! with it.
//!
//! Satellites that were restored first do not keep others out: when the memory is full, those with the
//! least standing get limits only (see [`room`](super::room)). Snapshots of version 1, which had no
//! standings, are read: the standing of their satellites follows from what was learned.
//!
//! Layout, little-endian: [`MAGIC`], version (u32), CRC-32C of the header with zeros here (u32), octets
//! that follow (u64), their CRC-32C (u32), then the [`Image`] in postcard's format. Version 1 had
//! satellites and events in one piece, and instead of the channels' names their CRC-32C where the
//! header's is: it is read if its channels are this program's.
//!
//! Limits: satellites that nothing was learned of and that have no event open are left out. What an
//! earlier run found with detectors that are switched off now, or has no memory for, is closed.

mod channels;

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{Deserialize, Event, KINDS, Monitor, Satellite, Serialize, Settings, Standing, Watch};
use crate::queue::{SHARDS, shard_of};
use channels::Channels;

/// Why a snapshot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It begins otherwise, or ends before it has begun.
    #[error("it is no snapshot of detectors")]
    Foreign,
    /// Of an earlier or a later program.
    #[error("it has version {found}, this receiver knows {VERSION}")]
    Version {
        /// The version that it has.
        found: u32,
    },
    /// Of version 1, of a program with other channels.
    #[error("it is about other channels")]
    Channels,
    /// It is longer or shorter than it says.
    #[error("it is cut off, or has something behind its end")]
    Length,
    /// Its octets are not those that were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// It makes no sense.
    #[error("its content makes no sense")]
    Content,
    /// Of another station.
    #[error("it is of another station")]
    Station,
}

/// What is written, and in the same order read.
#[derive(Serialize)]
struct Image<'a> {
    station: &'a str,
    channels: Channels,
    /// Each satellite by itself with its standing, in postcard's format.
    satellites: Vec<Vec<u8>>,
    /// Events that have changed and are not stored yet, likewise.
    changes: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct OwnedImage {
    station: String,
    channels: Channels,
    satellites: Vec<Vec<u8>>,
    changes: Vec<Vec<u8>>,
}

/// What version 1 had instead.
#[derive(Deserialize)]
struct ImageOfVersion1 {
    station: String,
    satellites: Vec<Satellite>,
    changes: Vec<Event>,
}

/// What a snapshot of any version holds.
struct Saved {
    station: String,
    channels: Channels,
    satellites: Vec<(Satellite, Standing)>,
    changes: Vec<Event>,
    /// Satellites and events that cannot be read.
    skipped: usize,
}

impl Saved {
    fn read(octets: &[u8]) -> Result<Self, Damage> {
        let (version, body) = body(octets)?;
        if version == VERSION_1 {
            let image: ImageOfVersion1 = content(body)?;
            let ImageOfVersion1 { station, satellites, changes } = image;
            let with_standing = |satellite: Satellite| {
                let standing = satellite.standing_of_version_1();
                (satellite, standing)
            };
            let satellites = satellites.into_iter().map(with_standing).collect();
            return Ok(Self {
                station,
                channels: Channels::own(),
                satellites,
                changes,
                skipped: 0,
            });
        }
        let image: OwnedImage = content(body)?;
        let satellites: Vec<_> = image.satellites.iter().flat_map(|one| satellite(one)).collect();
        let changes: Vec<_> = image.changes.iter().flat_map(|one| content(one)).collect();
        let (all, read) =
            (image.satellites.len() + image.changes.len(), satellites.len() + changes.len());
        let (station, channels) = (image.station, image.channels);
        Ok(Self { station, channels, satellites, changes, skipped: all - read })
    }
}

/// A satellite and its standing; what was saved without one gets what it has earned by learning.
fn satellite(octets: &[u8]) -> Result<(Satellite, Standing), Damage> {
    let (satellite, rest) =
        postcard::take_from_bytes::<Satellite>(octets).map_err(|_| Damage::Content)?;
    let standing = if rest.is_empty() { satellite.standing_of_version_1() } else { content(rest)? };
    Ok((satellite, standing))
}

fn content<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, Damage> {
    postcard::from_bytes(octets).map_err(|_| Damage::Content)
}

impl Settings {
    /// No snapshot is longer: numbers take little more room there than in memory.
    #[must_use]
    pub fn snapshot_octets_max(&self) -> u64 {
        2 * self.memory + self.events_max as u64 * EVENT_OCTETS_MAX
    }
}

impl Watch {
    /// What is known of a shard's satellites; nothing when that is nothing.
    pub fn snapshot(&self, shard: usize) -> Result<Option<Vec<u8>>, postcard::Error> {
        let satellites: Vec<_> =
            self.of_shard(shard).filter(|one| one.is_worth_keeping()).collect();
        let is_here = |event: &&Event| shard_of(event.spacecraft) == shard;
        let mut changes: Vec<_> = self.changes().filter(is_here).collect();
        changes.sort_by_key(|event| event.id);
        if satellites.is_empty() && changes.is_empty() {
            return Ok(None);
        }
        let image = Image {
            station: &self.common.station,
            channels: Channels::own(),
            satellites: satellites
                .into_iter()
                .map(|satellite| postcard::to_allocvec(&(satellite, satellite.standing)))
                .collect::<Result<_, _>>()?,
            changes: changes.into_iter().map(postcard::to_allocvec).collect::<Result<_, _>>()?,
        };
        let mut octets = postcard::to_extend(&image, vec![0; HEAD_OCTETS])?;
        let (head, body) = octets.split_at_mut(HEAD_OCTETS);
        head.copy_from_slice(&header(body));
        Ok(Some(octets))
    }

    /// Restores what [`Self::snapshot`] gave for a shard, now (µs since 1970). To be done before
    /// anything is heard of its satellites. Returns how many satellites and events were skipped, since
    /// they cannot be read or are about nothing that this program knows.
    pub fn restore(&mut self, octets: &[u8], shard: usize, now_us: i64) -> Result<usize, Damage> {
        let saved = Saved::read(octets)?;
        if saved.station != self.common.station {
            return Err(Damage::Station);
        }
        let places = saved.channels.places();
        let before = saved.satellites.len() + saved.changes.len();
        let satellites = saved.satellites.into_iter();
        let satellites: Vec<_> = satellites
            .filter(|(satellite, _)| shard_of(satellite.spacecraft) == shard)
            .filter_map(|(satellite, standing)| {
                let satellite = places.satellite(satellite, &self.common.settings)?;
                Some(Satellite { standing, ..satellite })
            })
            .collect();
        let changes = saved.changes.into_iter();
        let changes: Vec<_> = changes
            .filter(|event| shard_of(event.spacecraft) == shard)
            .filter_map(|event| places.event(event))
            .collect();
        let restored = satellites.len() + changes.len();
        if restored == 0 && before > 0 {
            return Err(Damage::Content);
        }
        self.common.changes.events.extend(changes.into_iter().map(|event| (event.id, event)));
        for satellite in satellites {
            self.take_back(satellite, now_us);
        }
        Ok(before - restored + saved.skipped)
    }

    /// The identities of all events that are open, and of those that are not stored yet.
    pub fn known_events(&self) -> impl Iterator<Item = i64> {
        let satellites = self.satellites.iter().flatten();
        let open = satellites.flat_map(|satellite| satellite.open_events());
        open.chain(self.changes()).map(|event| event.id)
    }

    fn of_shard(&self, shard: usize) -> impl Iterator<Item = &Satellite> {
        self.satellites.iter().skip(shard).step_by(SHARDS).flatten().map(|satellite| &**satellite)
    }

    fn take_back(&mut self, mut satellite: Satellite, now_us: i64) {
        let Self { satellites, room, common, .. } = self;
        let number = usize::from(satellite.spacecraft.number());
        if satellites.len() <= number {
            satellites.resize_with(number + 1, || None);
        }
        satellite.is_warm = satellite.is_mature();
        if !room.is_free()
            && satellite.has_learned()
            && let Some(other) = room.take_below(satellites, satellite.rank())
            && let Some(other) = &mut satellites[other]
        {
            other.fit(false, common);
            common.changes.counts.limits_only += 1;
        }
        let learns = room.is_free();
        if learns {
            room.give(number);
        }
        common.changes.counts.limits_only += u64::from(!learns);
        common.changes.open += satellite.open_events().count();
        satellite.fit(learns, common);
        for (stream, fleet) in satellite.streams.iter().zip(&mut common.fleet) {
            for (monitor, fleet) in stream.monitors.iter().zip(fleet) {
                if let Some(natural) = monitor.told {
                    fleet.learn(natural);
                }
            }
        }
        satellite.excuse_silence(now_us);
        satellites[number] = Some(Box::new(satellite));
    }
}

impl Satellite {
    fn is_worth_keeping(&self) -> bool {
        self.monitors().any(Monitor::learns) || self.open_events().next().is_some()
    }

    fn standing_of_version_1(&self) -> Standing {
        let samples = self.monitors().map(Monitor::learned_samples).max().unwrap_or_default();
        let newest = |of: fn(&super::Stream) -> i64| self.streams.iter().map(of).max();
        let generated_us = newest(|stream| stream.generated_us).unwrap_or_default();
        let received_us = newest(|stream| stream.received_us).unwrap_or_default();
        let span_us = generated_us.saturating_sub(self.first_us);
        Standing::of_earlier_version(samples, span_us, received_us)
    }

    fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.streams.iter().flat_map(|stream| {
            stream.monitors.iter().flat_map(Monitor::open_events).chain(&stream.silence)
        })
    }
}

fn header(body: &[u8]) -> [u8; HEAD_OCTETS] {
    let mut head = [0; HEAD_OCTETS];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head[24..].copy_from_slice(&CRC.checksum(body).to_le_bytes());
    let crc = CRC.checksum(&head);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The same in version 1.
fn header_of_version_1(body: &[u8]) -> [u8; HEAD_OCTETS] {
    let mut head = header(body);
    head[8..12].copy_from_slice(&VERSION_1.to_le_bytes());
    head[12..16].copy_from_slice(&channels().to_le_bytes());
    head
}

/// The version, and the part behind the header, if that is right.
fn body(octets: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let (head, body) = octets.split_at_checked(HEAD_OCTETS).ok_or(Damage::Foreign)?;
    if &head[..8] != MAGIC {
        return Err(Damage::Foreign);
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let (right, damage) = match version {
        VERSION => (header(body), Damage::Checksum),
        VERSION_1 => (header_of_version_1(body), Damage::Channels),
        found => return Err(Damage::Version { found }),
    };
    // The checksum of the header last: it depends on the others.
    for (range, damage) in [(16..24, Damage::Length), (24..28, Damage::Checksum), (12..16, damage)]
    {
        if head[range.clone()] != right[range] {
            return Err(damage);
        }
    }
    Ok((version, body))
}

/// What told a program's channels from another's in version 1.
fn channels() -> u32 {
    let mut digest = CRC.digest();
    for kind in KINDS {
        digest.update(kind.name.as_bytes());
        for (name, _) in kind.channels() {
            digest.update(&[0]);
            digest.update(name.as_bytes());
        }
    }
    digest.finalize()
}

const MAGIC: &[u8; 8] = b"ORBSTDET";
/// To be counted up with every change of what is written: a test tells.
const VERSION: u32 = 2;
const VERSION_1: u32 = 1;
const HEAD_OCTETS: usize = 8 + 4 + 4 + 8 + 4;
const EVENT_OCTETS_MAX: u64 = 256;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
