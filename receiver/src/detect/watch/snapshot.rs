//! What a watch has learned, as octets that outlive it: one snapshot for each shard, so that it does
//! not matter how many writers there are next time.
//!
//! Guarantee: a snapshot that is damaged, cut off, of another version, station or set of channels is
//! refused as a whole, and changes nothing. One that is taken back goes on as if nothing had been
//! between: what was learned, and the events that are open. No satellite was silent meanwhile, since
//! it was the station that did not listen.
//!
//! Satellites that were restored first do not keep others out: when the memory is full, those with the
//! least standing get limits only (see [`room`](super::room)). Snapshots of version 1, which had no
//! standings, are read: the standing of their satellites follows from what was learned.
//!
//! Layout, little-endian: [`MAGIC`], version (u32), CRC-32C of the channels' names (u32), octets that
//! follow (u64), their CRC-32C (u32), then the [`Image`] in postcard's format.
//!
//! Limits: satellites that nothing was learned of and that have no event open are left out. What an
//! earlier run found with detectors that are switched off now, or has no memory for, is closed.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{Deserialize, Event, KINDS, Monitor, Satellite, Serialize, Settings, Standing, Watch};
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
    /// What each of the satellites has earned.
    standings: Vec<Standing>,
}

#[derive(Deserialize)]
struct OwnedImage {
    station: String,
    satellites: Vec<Satellite>,
    changes: Vec<Event>,
    standings: Vec<Standing>,
}

/// An [`OwnedImage`] as version 1 wrote it.
#[derive(Deserialize)]
struct ImageOfVersion1 {
    station: String,
    satellites: Vec<Satellite>,
    changes: Vec<Event>,
}

impl From<ImageOfVersion1> for OwnedImage {
    fn from(image: ImageOfVersion1) -> Self {
        let ImageOfVersion1 { station, satellites, changes } = image;
        let standings = satellites.iter().map(Satellite::standing_of_version_1).collect();
        Self { station, satellites, changes, standings }
    }
}

impl OwnedImage {
    /// From the octets of a whole snapshot.
    fn read(octets: &[u8]) -> Result<Self, Damage> {
        let image = match body(octets)? {
            (1, body) => postcard::from_bytes::<ImageOfVersion1>(body).map(Self::from),
            (_, body) => postcard::from_bytes(body),
        };
        let image: Self = image.map_err(|_| Damage::Content)?;
        if image.standings.len() == image.satellites.len() {
            Ok(image)
        } else {
            Err(Damage::Content)
        }
    }
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
        let standings = satellites.iter().map(|satellite| satellite.standing).collect();
        let image = Image { station: &self.common.station, satellites, changes, standings };
        let mut octets = postcard::to_extend(&image, vec![0; HEAD_OCTETS])?;
        let (head, body) = octets.split_at_mut(HEAD_OCTETS);
        head.copy_from_slice(&header(VERSION, body));
        Ok(Some(octets))
    }

    /// Takes back what [`Self::snapshot`] gave for a shard, now (µs since 1970). To be done before
    /// anything is heard of its satellites.
    pub fn restore(&mut self, octets: &[u8], shard: usize, now_us: i64) -> Result<(), Damage> {
        let image = OwnedImage::read(octets)?;
        if image.station != self.common.station {
            return Err(Damage::Station);
        }
        let is_here = |satellite: &Satellite| shard_of(satellite.spacecraft) == shard;
        if !image.satellites.iter().all(|satellite| is_here(satellite) && satellite.is_sound()) {
            return Err(Damage::Content);
        }
        let changes = image.changes.into_iter().map(|event| (event.id, event));
        self.common.changes.events.extend(changes);
        for (mut satellite, standing) in image.satellites.into_iter().zip(image.standings) {
            satellite.standing = standing;
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

    fn is_sound(&self) -> bool {
        self.streams.len() == KINDS.len()
            && self.streams.iter().zip(KINDS).all(|(stream, kind)| {
                stream.monitors.len() == kind.channels
                    && stream.monitors.iter().all(Monitor::is_sound)
            })
    }
}

fn header(version: u32, body: &[u8]) -> [u8; HEAD_OCTETS] {
    let mut head = [0; HEAD_OCTETS];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head[12..16].copy_from_slice(&channels().to_le_bytes());
    head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head[24..].copy_from_slice(&CRC.checksum(body).to_le_bytes());
    head
}

/// The version and the part behind the header, if that is right.
fn body(octets: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let (head, body) = octets.split_at_checked(HEAD_OCTETS).ok_or(Damage::Foreign)?;
    if !head.starts_with(MAGIC) {
        return Err(Damage::Foreign);
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if !(1..=VERSION).contains(&version) {
        return Err(Damage::Version { found: version });
    }
    let right = header(version, body);
    let is_right = |range: std::ops::Range<usize>| head[range.clone()] == right[range];
    for (range, damage) in
        [(12..16, Damage::Channels), (16..24, Damage::Length), (24..28, Damage::Checksum)]
    {
        if !is_right(range) {
            return Err(damage);
        }
    }
    Ok((version, body))
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
const VERSION: u32 = 2;
const HEAD_OCTETS: usize = 8 + 4 + 4 + 8 + 4;
const EVENT_OCTETS_MAX: u64 = 256;
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

#[cfg(test)]
mod tests {
    use protocol::SpacecraftId;

    use super::*;
    use crate::{
        chunk::{Record, Sample},
        sparse::Sparse,
    };

    fn octets_of(value: &impl Serialize) -> Vec<u8> {
        postcard::to_extend(value, Vec::new()).unwrap()
    }

    /// What version 1 wrote of this watch.
    fn of_version_1(watch: &Watch, shard: usize) -> Vec<u8> {
        let satellites: Vec<_> = watch.of_shard(shard).collect();
        let changes: Vec<&Event> = watch.changes().collect();
        let body = octets_of(&(&*watch.common.station, satellites, changes));
        [&header(1, &body)[..], &body].concat()
    }

    #[test]
    fn version_1_is_read_and_standings_follow_from_what_was_learned() {
        let mut watch = Watch::new(Settings::default(), "GS-01", 1);
        for second in 0..600 {
            let time_us = 1_000_000_000_000_000 + second * 1_000_000;
            let mut sample = Sparse::new(KINDS[0], SpacecraftId::FIRST, time_us);
            sample.set(2, 20.0 + (second % 7) as f64);
            let sample = Sample::Sparse(Box::new(sample));
            watch.take(&Record { received_us: time_us, sample });
        }
        let octets = of_version_1(&watch, 1);
        let now_us = 1_000_000_600_000_000;
        let mut restored = Watch::new(Settings::default(), "GS-01", 1);
        restored.restore(&octets, 1, now_us).unwrap();
        let satellites = [&watch, &restored].map(|watch| watch.satellites[1].as_ref().unwrap());
        let octets = satellites.map(octets_of);
        assert_eq!(octets[0], octets[1]);
        assert!(satellites[1].learns);
        let mut cut = of_version_1(&watch, 1);
        cut.pop();
        assert_eq!(restored.restore(&cut, 1, now_us), Err(Damage::Length));
    }

    #[test]
    fn standings_that_are_missing_are_damage() {
        let mut watch = Watch::new(Settings::default(), "GS-01", 1);
        let sample = Sample::Sparse(Box::new(Sparse::new(KINDS[0], SpacecraftId::FIRST, 1)));
        watch.take(&Record { received_us: 1, sample });
        let satellites: Vec<_> = watch.of_shard(1).collect();
        let image =
            Image { station: "GS-01", satellites, changes: Vec::new(), standings: Vec::new() };
        let body = octets_of(&image);
        let octets = [&header(VERSION, &body)[..], &body].concat();
        let mut restored = Watch::new(Settings::default(), "GS-01", 1);
        assert_eq!(restored.restore(&octets, 1, 1), Err(Damage::Content));
    }
}
