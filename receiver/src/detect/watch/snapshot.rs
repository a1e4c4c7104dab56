//! What a watch has learned, as octets that outlive it: one snapshot for each shard, so that it does
//! not matter how many writers there are next time.
//!
//! Guarantee: a snapshot that is damaged, cut off, of another version, station or set of channels is
//! refused as a whole, and changes nothing. One that is taken back goes on as if nothing had been
//! between: what was learned, and the events that are open. No satellite was silent meanwhile, since
//! it was the station that did not listen.
//!
//! Layout, little-endian: [`MAGIC`], version (u32), CRC-32C of the channels' names (u32), octets that
//! follow (u64), their CRC-32C (u32), then the [`Image`] in postcard's format.
//!
//! Limits: satellites that nothing was learned of and that have no event open are left out. What an
//! earlier run found with detectors that are switched off now, or has no memory for, is closed.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{
    CloseReason, Deserialize, Event, KINDS, Monitor, Satellite, Serialize, Settings, Watch,
};
use crate::queue::{SHARDS, shard_of};

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
    /// Of a program with other channels.
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
    satellites: Vec<&'a Satellite>,
    /// Events that have changed and are not stored yet.
    changes: Vec<&'a Event>,
}

#[derive(Deserialize)]
struct OwnedImage {
    station: String,
    satellites: Vec<Satellite>,
    changes: Vec<Event>,
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
        let image = Image { station: &self.common.station, satellites, changes };
        let mut octets = postcard::to_extend(&image, vec![0; HEAD_OCTETS])?;
        let (head, body) = octets.split_at_mut(HEAD_OCTETS);
        head.copy_from_slice(&header(body));
        Ok(Some(octets))
    }

    /// Takes back what [`Self::snapshot`] gave for a shard, now (µs since 1970). To be done before
    /// anything is heard of its satellites.
    pub fn restore(&mut self, octets: &[u8], shard: usize, now_us: i64) -> Result<(), Damage> {
        let image: OwnedImage = postcard::from_bytes(body(octets)?).map_err(|_| Damage::Content)?;
        if image.station != self.common.station {
            return Err(Damage::Station);
        }
        let is_here = |satellite: &Satellite| shard_of(satellite.spacecraft) == shard;
        if !image.satellites.iter().all(|satellite| is_here(satellite) && satellite.is_sound()) {
            return Err(Damage::Content);
        }
        let changes = image.changes.into_iter().map(|event| (event.id, event));
        self.common.changes.events.extend(changes);
        for satellite in image.satellites {
            self.take_back(satellite, now_us);
        }
        Ok(())
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
        let learns = *room > 0;
        *room = room.saturating_sub(1);
        let changes = &mut common.changes;
        changes.counts.limits_only += u64::from(!learns);
        changes.open += satellite.open_events().count();
        let rules = common.settings.rules.of(satellite.spacecraft);
        let kinds = satellite.streams.iter_mut().zip(rules).zip(&mut common.fleet);
        for ((stream, rules), fleet) in kinds {
            for ((monitor, rules), fleet) in stream.monitors.iter_mut().zip(rules).zip(fleet) {
                for event in monitor.fit(rules, learns) {
                    let last_us = event.last_us;
                    changes.close(event, last_us, CloseReason::Restart);
                }
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
        let mut monitors = self.streams.iter().flat_map(|stream| &stream.monitors);
        monitors.any(Monitor::learns) || self.open_events().next().is_some()
    }

    fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.streams.iter().flat_map(|stream| {
            stream.monitors.iter().flat_map(Monitor::open_events).chain(&stream.silence)
        })
    }

    fn is_sound(&self) -> bool {
        self.streams.len() == KINDS.len()
            && self.streams.iter().zip(KINDS).all(|(stream, kind)| {
                stream.monitors.len() == kind.channels
                    && stream.monitors.iter().all(Monitor::is_sound)
            })
    }
}

fn header(body: &[u8]) -> [u8; HEAD_OCTETS] {
    let mut head = [0; HEAD_OCTETS];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&channels().to_le_bytes());
    head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head[24..].copy_from_slice(&CRC.checksum(body).to_le_bytes());
    head
}

/// The part behind the header, if that is right.
fn body(octets: &[u8]) -> Result<&[u8], Damage> {
    let (head, body) = octets.split_at_checked(HEAD_OCTETS).ok_or(Damage::Foreign)?;
    let right = header(body);
    let is_right = |range: std::ops::Range<usize>| head[range.clone()] == right[range];
    if !is_right(0..8) {
        return Err(Damage::Foreign);
    }
    if !is_right(8..12) {
        let found = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        return Err(Damage::Version { found });
    }
    for (range, damage) in
        [(12..16, Damage::Channels), (16..24, Damage::Length), (24..28, Damage::Checksum)]
    {
        if !is_right(range) {
            return Err(damage);
        }
    }
    Ok(body)
}

/// What tells this program's channels from another's.
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
const VERSION: u32 = 1;
const HEAD_OCTETS: usize = 8 + 4 + 4 + 8 + 4;
const EVENT_OCTETS_MAX: u64 = 256;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
