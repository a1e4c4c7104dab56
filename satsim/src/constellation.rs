//! The constellation: simulated time to frames.
//!
//! Pure: no clock, no I/O. A frame is a function of seed, boot, start, satellite, its place in its
//! stream and its simulated time; with anomalies also of the satellite's frames before.

use protocol::{
    Apid, CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, attitude, emit, health,
};

use crate::{
    anomaly::{Event, Sensors},
    orbit::Orbit,
    satellite::{Satellite, noise::Noise},
};

/// Satellites in flight, with the counters of their streams.
#[derive(Clone, Debug)]
pub struct Constellation {
    start_unix_us: i64,
    seed: u64,
    members: Vec<Member>,
    /// Streams of boots that are over.
    ended: Vec<Stream>,
    last_us: i64,
}

/// What is the same for all satellites.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Simulated time at the start, Unix µs.
    pub start_unix_us: i64,
    /// What noise and differences are drawn from.
    pub seed: u64,
    /// How often each satellite has started.
    pub boot_count: u16,
}

/// One frame, as its satellite sends it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who sends it.
    pub spacecraft: SpacecraftId,
    /// Its kind.
    pub apid: Apid,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// When it is sent, in simulated time, µs from the start.
    pub offset_us: i64,
    octets: [u8; FRAME_OCTETS_MAX],
    length: usize,
}

/// What one stream has sent: one kind of one satellite in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The satellite.
    pub spacecraft: SpacecraftId,
    /// The kind.
    pub apid: Apid,
    /// The boot.
    pub boot_count: u16,
    /// Frames so far; the first has sequence 0.
    pub generated: u64,
}

#[derive(Clone, Debug)]
struct Member {
    spacecraft: SpacecraftId,
    boot_count: u16,
    satellite: Satellite,
    /// Once there is a chance that they go wrong.
    sensors: Option<Box<Sensors>>,
    health: u64,
    attitude: u64,
}

/// A constellation that cannot be flown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotFly {
    /// More satellites than there are identifiers.
    #[error("there are more than {SATELLITES_MAX} satellites; give --satellites {SATELLITES_MAX}")]
    TooMany,
    /// An orbit that SGP4 cannot compute at the start.
    #[error("{0} has no position at the start ({1}); give a --start nearer to its elements' epoch")]
    NoPosition(SpacecraftId, String),
}

impl Constellation {
    /// One satellite on each orbit, numbered from 1.
    pub fn new(origin: Origin, orbits: Vec<Orbit>) -> Result<Self, CannotFly> {
        let members = orbits
            .into_iter()
            .enumerate()
            .map(|(index, orbit)| {
                let number = u16::try_from(index + 1).map_err(|_| CannotFly::TooMany)?;
                let spacecraft = SpacecraftId::new(number).ok_or(CannotFly::TooMany)?;
                let satellite = Satellite::new(orbit, number, origin.seed, origin.start_unix_us)
                    .map_err(|error| CannotFly::NoPosition(spacecraft, error.to_string()))?;
                Ok(Member {
                    spacecraft,
                    boot_count: origin.boot_count,
                    satellite,
                    sensors: None,
                    health: 0,
                    attitude: 0,
                })
            })
            .collect::<Result<_, CannotFly>>()?;
        Ok(Self {
            start_unix_us: origin.start_unix_us,
            seed: origin.seed,
            members,
            ended: Vec::new(),
            last_us: 0,
        })
    }

    /// How many satellites there are.
    pub fn satellites(&self) -> usize {
        self.members.len()
    }

    /// From here on an event starts in each satellite's readings with this chance in a simulated
    /// second.
    pub fn set_anomalies(&mut self, chance: f64) {
        for member in &mut self.members {
            if chance > 0.0 && member.sensors.is_none() {
                member.sensors = Some(Box::new(Sensors::new(self.seed, member.spacecraft)));
            }
            if let Some(sensors) = &mut member.sensors {
                sensors.set_chance(chance);
            }
        }
    }

    /// The latest frame of satellite `index`, which is of this kind, will not come to the ground
    /// whole.
    ///
    /// # Panics
    /// When there is no such satellite.
    pub fn lost(&mut self, index: usize, apid: Apid) {
        if let Some(sensors) = &mut self.members[index].sensors {
            sensors.lost(apid);
        }
    }

    /// What went wrong in readings so far, satellite by satellite.
    pub fn anomalies(&self) -> impl Iterator<Item = &Event> {
        let sensors = self.members.iter().filter_map(|member| member.sensors.as_deref());
        sensors.flat_map(Sensors::events)
    }

    /// The next frame of satellite `index`, at `offset_us` from the start, which never goes back.
    /// Every [`ATTITUDE_EVERY`]th frame of a boot is attitude, the others are health.
    ///
    /// # Panics
    /// When there is no such satellite.
    #[inline]
    pub fn frame(&mut self, index: usize, offset_us: i64) -> Frame {
        let member = &self.members[index];
        let number = member.health + member.attitude;
        self.frame_of(index, is_attitude(number), offset_us)
    }

    /// A frame of kind `apid`, health unless it is attitude, although its turn may be later: to end
    /// a stream before the satellite reboots or the flight is over.
    ///
    /// # Panics
    /// When there is no such satellite.
    pub fn extra_frame(&mut self, index: usize, apid: Apid) -> Frame {
        self.frame_of(index, apid == attitude::KIND.apid, self.last_us)
    }

    /// Satellite `index` starts again: the boot count rises and both counters start at 0. The
    /// streams that have ended with that are returned.
    ///
    /// # Panics
    /// When there is no such satellite.
    pub fn reboot(&mut self, index: usize) -> Vec<Stream> {
        let member = &mut self.members[index];
        let ended: Vec<_> = member.streams().collect();
        member.boot_count = member.boot_count.wrapping_add(1);
        (member.health, member.attitude) = (0, 0);
        self.ended.extend(&ended);
        ended
    }

    fn frame_of(&mut self, index: usize, is_attitude: bool, offset_us: i64) -> Frame {
        let member = &mut self.members[index];
        let number = member.spacecraft.number();
        let (apid, count) = if is_attitude {
            (attitude::KIND.apid, &mut member.attitude)
        } else {
            (health::KIND.apid, &mut member.health)
        };
        let sequence = Sequence::new((*count % u64::from(Sequence::MODULUS)) as u32);
        *count += 1;
        let mut noise = Noise::of(self.seed, number, apid, sequence.value());
        let packet = if is_attitude {
            let mut readings = member.satellite.attitude(offset_us, &mut noise);
            if let Some(sensors) = &mut member.sensors {
                sensors.attitude(offset_us, &mut readings);
            }
            Packet::Attitude((&readings).into())
        } else {
            let mut readings = member.satellite.health(offset_us, &mut noise);
            if let Some(sensors) = &mut member.sensors {
                sensors.health(offset_us, &mut readings);
            }
            Packet::Health((&readings).into())
        };
        let stamp = Stamp {
            spacecraft: member.spacecraft,
            boot_count: member.boot_count,
            sequence,
            time: CdsTime::from_unix_us(self.start_unix_us.saturating_add(offset_us))
                .unwrap_or(LAST_MOMENT),
        };
        self.last_us = offset_us;
        let mut octets = [0; FRAME_OCTETS_MAX];
        let length = emit(&stamp, &packet, &mut octets).len();
        Frame { spacecraft: member.spacecraft, apid, sequence, offset_us, octets, length }
    }

    /// Simulated time of the latest frame, µs from the start.
    pub fn last_us(&self) -> i64 {
        self.last_us
    }

    /// What each stream has sent that has begun: those that are over first, then by satellite and
    /// APID.
    pub fn streams(&self) -> impl Iterator<Item = Stream> {
        self.ended.iter().copied().chain(self.members.iter().flat_map(Member::streams))
    }

    /// Frames of all streams so far.
    pub fn generated(&self) -> u64 {
        self.streams().map(|stream| stream.generated).sum()
    }
}

impl Member {
    /// Its streams of this boot that have begun.
    fn streams(&self) -> impl Iterator<Item = Stream> {
        [(health::KIND.apid, self.health), (attitude::KIND.apid, self.attitude)]
            .into_iter()
            .filter(|&(_, generated)| generated > 0)
            .map(|(apid, generated)| Stream {
                spacecraft: self.spacecraft,
                apid,
                boot_count: self.boot_count,
                generated,
            })
    }
}

/// Of `frames` that a satellite makes in one boot, how many come after the one with this number
/// and are of its kind.
pub fn frames_after(number: u64, frames: u64) -> u64 {
    let passed = number + 1;
    let attitude = (frames / ATTITUDE_EVERY).saturating_sub(passed / ATTITUDE_EVERY);
    if is_attitude(number) {
        attitude
    } else {
        frames.saturating_sub(passed).saturating_sub(attitude)
    }
}

fn is_attitude(number: u64) -> bool {
    number % ATTITUDE_EVERY == ATTITUDE_EVERY - 1
}

impl Frame {
    /// The frame as it travels.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// One frame in ten says how the satellite is turned.
pub const ATTITUDE_EVERY: u64 = 10;
/// As many as there are identifiers.
pub const SATELLITES_MAX: u16 = u16::MAX;
/// The end of the calendar of a 16-bit day; a plan ends before it.
const LAST_MOMENT: CdsTime = CdsTime { day: u16::MAX, ms: 86_399_999, us: 999 };

#[cfg(test)]
mod tests {
    use super::{Constellation, Origin, frames_after, is_attitude};
    use crate::orbit::walker;
    use protocol::{Datagram, Frame};

    const ORIGIN: Origin = Origin { start_unix_us: 1_767_225_600_000_000, seed: 1, boot_count: 7 };

    fn constellation(satellites: usize, origin: Origin) -> Constellation {
        let orbits = (0..satellites)
            .map(|i| walker::orbit(i, satellites, origin.start_unix_us).unwrap())
            .collect();
        Constellation::new(origin, orbits).unwrap()
    }

    #[test]
    fn every_frame_is_accepted_and_says_what_it_is() {
        let mut constellation = constellation(3, ORIGIN);
        let mut next = std::collections::HashMap::new();
        for k in 0..3_000_i64 {
            let frame = constellation.frame(k as usize % 3, k * 333_333);
            let mut datagram = Datagram::new(frame.octets());
            let Some(Ok(Frame::Telemetry(seen))) = datagram.next(|_| true) else {
                panic!("refused: {frame:?}");
            };
            assert!(datagram.next(|_| true).is_none());
            let expected = next.entry((seen.spacecraft(), seen.apid().number())).or_insert(0);
            assert_eq!(seen.sequence().value(), *expected);
            *expected += 1;
            assert_eq!(seen.boot_count(), 7);
            assert_eq!(seen.time().unix_us(), ORIGIN.start_unix_us + k * 333_333);
            assert_eq!((frame.spacecraft, frame.apid), (seen.spacecraft(), seen.apid()));
        }
        let streams: Vec<_> = constellation.streams().collect();
        assert_eq!(streams.len(), 6);
        for stream in streams {
            let share = if stream.apid.number() == 101 { 100 } else { 900 };
            assert_eq!(stream.generated, share);
        }
        assert_eq!(constellation.generated(), 3_000);
    }

    #[test]
    fn the_seed_matters_and_nothing_else_does() {
        let frames = |seed| {
            let mut constellation = constellation(2, Origin { seed, ..ORIGIN });
            (0..200_i64)
                .map(|k| constellation.frame(k as usize % 2, k * 50_000).octets().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(frames(1), frames(1));
        assert_ne!(frames(1), frames(2));
    }

    #[test]
    fn what_comes_after_is_known() {
        for frames in 0..45 {
            for number in 0..frames {
                let kind = is_attitude(number);
                let after = (number + 1..frames).filter(|&other| is_attitude(other) == kind);
                assert_eq!(frames_after(number, frames), after.count() as u64);
            }
        }
        assert!(frames_after(1_000, u64::MAX) > u64::MAX / 2);
        assert_eq!(frames_after(10, 5), 0);
    }

    #[test]
    fn a_reboot_starts_new_streams() {
        let mut constellation = constellation(2, ORIGIN);
        for k in 0..30 {
            constellation.frame(k % 2, k as i64);
        }
        let ended = constellation.reboot(1);
        let name = |stream: &super::Stream| (stream.spacecraft.number(), stream.apid.number());
        assert_eq!(ended.iter().map(name).collect::<Vec<_>>(), [(2, 100), (2, 101)]);
        let frame = constellation.frame(1, 30);
        assert_eq!((frame.apid.number(), frame.sequence.value()), (100, 0));
        let streams: Vec<_> =
            constellation.streams().map(|s| (name(&s), s.boot_count, s.generated)).collect();
        let current = [((1, 100), 7, 14), ((1, 101), 7, 1), ((2, 100), 8, 1)];
        assert_eq!(streams[..2], [((2, 100), 7, 14), ((2, 101), 7, 1)]);
        assert_eq!(streams[2..], current);
    }
}
