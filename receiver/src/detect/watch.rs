//! The satellites of one writer, under watch.

mod room;
mod snapshot;

pub use snapshot::Damage;

use protocol::{Body, KINDS, SpacecraftId, Telemetry};
use serde::{Deserialize, Serialize};

use super::{
    CloseReason, Detector, Event, Rulebook, Rules, Sample, Severity, Subject, Violation, baseline,
    monitor::{LATE_MAX, LEARNED_OCTETS, Monitor},
    orbit::Orbit,
    scene::{Changes, Incident, Scene},
};
use crate::chunk::{self, Record};
use room::{Room, Standing};

/// What is looked for, and how much may be spent on it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What each channel is held to.
    pub rules: Rulebook,
    /// Octets for what is learned, all writers together.
    pub memory: u64,
    /// Events that may be open at a time, all writers together.
    pub events_max: usize,
    /// How long nothing may be heard of a stream, µs.
    pub silence_us: i64,
    /// The orbit's period, µs; none to learn it.
    pub orbit_us: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rulebook::shipped(),
            memory: MEMORY,
            events_max: EVENTS_MAX,
            silence_us: SILENCE_US,
            orbit_us: None,
        }
    }
}

/// What a watch counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Values looked at.
    pub values: u64,
    /// Events opened.
    pub opened: u64,
    /// Events that found no room.
    pub refused: u64,
    /// Satellites for which there was no memory: limits only.
    pub limits_only: u64,
}

/// A writer's satellites.
#[derive(Debug)]
pub struct Watch {
    /// By number.
    satellites: Vec<Option<Box<Satellite>>>,
    /// Who has all detectors.
    room: Room,
    /// Whose samples were looked at last, and of which kinds, one bit each: what is known of them is
    /// most likely in the processor's cache still.
    near: (usize, u8),
    common: Common,
}

/// What all satellites share.
#[derive(Debug)]
struct Common {
    settings: Settings,
    station: String,
    /// What jumps each channel makes by nature in most of the fleet, by kind and channel.
    fleet: Vec<Vec<Fleet>>,
    changes: Changes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Satellite {
    #[serde(with = "super::event::number")]
    spacecraft: SpacecraftId,
    /// By kind.
    streams: Vec<Stream>,
    orbit: Orbit,
    first_us: i64,
    /// Mode and flags of the last health frame, and frames for which jumps are excused.
    switches: Option<(u8, u8)>,
    excused: u8,
    incident: Incident,
    /// What it has earned. A snapshot has it beside the satellite.
    #[serde(skip)]
    standing: Standing,
    /// Whether it has all detectors, as far as its rules want them.
    #[serde(skip)]
    learns: bool,
    /// Whether the warm-up of any of its channels is complete.
    #[serde(skip)]
    is_warm: bool,
}

/// One kind of one satellite.
#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    monitors: Vec<Monitor>,
    boot_count: u16,
    /// Last frame's times by the satellite's and by the station's clock; 0 before the first.
    generated_us: i64,
    received_us: i64,
    /// When the frame was generated that came last, which may be a late one.
    heard_us: i64,
    /// Frames in a row that came later than newer ones.
    late: u32,
    silence: Option<Event>,
}

/// The natural jumps of a channel across the fleet.
#[derive(Clone, Debug, Default)]
struct Fleet {
    tails: Vec<f32>,
    upper_quartile: f32,
}

impl Watch {
    /// A watch that has seen nothing, as one of `writers`.
    #[must_use]
    pub fn new(settings: Settings, station: &str, writers: usize) -> Self {
        let writers = writers.max(1);
        let open_max = settings.events_max.div_ceil(writers);
        let room = settings.memory as usize / writers / octets_per_satellite();
        let fleet = KINDS.iter().map(|kind| vec![Fleet::default(); kind.channels]).collect();
        let changes = Changes { open_max, ..Changes::default() };
        let common = Common { settings, station: station.to_owned(), fleet, changes };
        Self { satellites: Vec::new(), room: Room::new(room), near: (0, 0), common }
    }

    /// Looks at a sample.
    pub fn take(&mut self, record: &Record<'_>) {
        let time_us = record.generated_us();
        let apid = record.apid();
        let Some(kind) = KINDS.iter().position(|kind| kind.apid == apid) else { return };
        let number = usize::from(record.spacecraft().number());
        if self.satellites.len() <= number {
            self.satellites.resize_with(number + 1, || None);
        }
        let Self { satellites, room, common, .. } = self;
        let satellite = satellites[number].get_or_insert_with(|| {
            let learns = room.is_free();
            if learns {
                room.give(number);
            }
            common.changes.counts.limits_only += u64::from(!learns);
            Box::new(Satellite::new(record.spacecraft(), &common.settings, time_us, learns))
        });
        satellite.standing.hear(record.received_us);
        if !satellite.learns && (room.is_free() || satellite.standing.is_proven()) {
            self.admit(number, record.received_us, time_us);
        }
        let Self { satellites, near, common, .. } = self;
        let Some(satellite) = &mut satellites[number] else { return };
        match &record.sample {
            chunk::Sample::Frame(frame) => {
                if near.0 != number {
                    *near = (number, 0);
                }
                if near.1 & (1 << kind) == 0 {
                    near.1 |= 1 << kind;
                    satellite.streams[kind].monitors.iter().for_each(Monitor::fetch);
                }
                satellite.hear(frame, kind, record.received_us, &mut common.changes);
                match frame.body() {
                    Body::Health(body) => {
                        satellite.values(
                            kind,
                            time_us,
                            body.values().into_iter().map(Some),
                            common,
                        );
                        satellite.orbit.latitude(body.latitude() as f32, time_us);
                    }
                    Body::Attitude(body) => {
                        satellite.values(
                            kind,
                            time_us,
                            body.values().into_iter().map(Some),
                            common,
                        );
                    }
                }
            }
            chunk::Sample::Sparse(sample) => {
                satellite.values(kind, time_us, sample.channels(), common);
            }
        }
    }

    /// Gives all detectors to a satellite that has limits only, if there is room or somebody makes
    /// some. What it learns begins with this sample.
    #[cold]
    fn admit(&mut self, number: usize, received_us: i64, time_us: i64) {
        let Self { satellites, room, common, .. } = self;
        if !room.is_free() {
            let Some(other) = room.take_for_proven(satellites, received_us) else { return };
            if let Some(other) = &mut satellites[other] {
                other.fit(false, common);
                common.changes.counts.limits_only += 1;
            }
        }
        room.give(number);
        if let Some(satellite) = &mut satellites[number] {
            satellite.fit(true, common);
            satellite.first_us = time_us;
            let limits_only = &mut common.changes.counts.limits_only;
            *limits_only = limits_only.saturating_sub(1);
        }
    }

    /// Looks for streams that are not heard any more, now (µs since 1970). To be called about once a
    /// second.
    pub fn tick(&mut self, now_us: i64) {
        self.near = (0, 0);
        for satellite in self.satellites.iter_mut().flatten() {
            satellite.tick(now_us, &mut self.common);
        }
    }

    /// The station itself has heard nothing until now (µs since 1970): no satellite was silent.
    pub fn excuse_silence(&mut self, now_us: i64) {
        for satellite in self.satellites.iter_mut().flatten() {
            satellite.excuse_silence(now_us);
        }
    }

    /// Events that have changed since [`Self::forget_changes`], each as it is now.
    pub fn changes(&self) -> impl Iterator<Item = &Event> {
        self.common.changes.events.values()
    }

    /// Whether there are such events.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.common.changes.events.is_empty()
    }

    /// The changes are stored.
    pub fn forget_changes(&mut self) {
        self.common.changes.events.clear();
    }

    /// Whether a satellite has all detectors.
    #[cfg(test)]
    pub(super) fn learns(&self, number: u16) -> bool {
        let satellite = self.satellites.get(usize::from(number)).and_then(Option::as_ref);
        satellite.is_some_and(|satellite| satellite.learns)
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> WatchCounts {
        self.common.changes.counts
    }
}

impl Satellite {
    fn new(spacecraft: SpacecraftId, settings: &Settings, time_us: i64, learns: bool) -> Self {
        let rules = settings.rules.of(spacecraft);
        let stream = |rules: &Vec<Rules>| Stream {
            monitors: rules.iter().map(|rules| Monitor::new(rules, learns)).collect(),
            boot_count: 0,
            generated_us: 0,
            received_us: 0,
            heard_us: 0,
            late: 0,
            silence: None,
        };
        Self {
            spacecraft,
            streams: rules.iter().map(stream).collect(),
            orbit: settings.orbit_us.map_or_else(Orbit::default, Orbit::of_period),
            first_us: time_us,
            switches: None,
            excused: 0,
            incident: Incident::default(),
            standing: Standing::default(),
            learns,
            is_warm: false,
        }
    }

    /// Gives it all detectors, or takes them: then what was learned is forgotten, and the events that
    /// are about it are closed.
    fn fit(&mut self, learns: bool, common: &mut Common) {
        let Common { settings, changes, .. } = common;
        let rules = settings.rules.of(self.spacecraft);
        for (stream, rules) in self.streams.iter_mut().zip(rules) {
            for (monitor, rules) in stream.monitors.iter_mut().zip(rules) {
                for event in monitor.fit(rules, learns) {
                    let last_us = event.last_us;
                    changes.close(event, last_us, CloseReason::Restart);
                }
            }
        }
        self.learns = learns;
        self.is_warm = self.is_mature();
    }

    fn monitors(&self) -> impl Iterator<Item = &Monitor> {
        self.streams.iter().flat_map(|stream| &stream.monitors)
    }

    fn is_mature(&self) -> bool {
        self.monitors().any(Monitor::is_mature)
    }

    fn has_learned(&self) -> bool {
        self.monitors().any(|monitor| monitor.learned_samples() > 0)
    }

    fn excuse_silence(&mut self, now_us: i64) {
        self.standing.excuse_silence(now_us);
        for stream in self.streams.iter_mut().filter(|stream| stream.received_us != 0) {
            stream.received_us = now_us;
        }
    }

    /// A frame has come: what that says apart from its values.
    fn hear(
        &mut self,
        frame: &Telemetry<'_>,
        kind: usize,
        received_us: i64,
        changes: &mut Changes,
    ) {
        let time_us = frame.time().unix_us();
        let stream = &mut self.streams[kind];
        let is_first = stream.generated_us == 0;
        stream.received_us = received_us;
        stream.heard_us = time_us;
        if let Some(event) = stream.silence.take() {
            changes.close(event, time_us, CloseReason::Heard);
        }
        if time_us < stream.generated_us {
            stream.late += 1;
            if stream.late < LATE_MAX {
                return;
            }
        }
        stream.late = 0;
        if frame.boot_count() != stream.boot_count {
            stream.boot_count = frame.boot_count();
            if !is_first {
                stream.monitors.iter_mut().for_each(Monitor::restart);
            }
        }
        stream.generated_us = time_us;
        if let Body::Health(body) = frame.body() {
            let switches = (body.mode(), body.flags());
            let before = self.switches.replace(switches);
            if before.is_some_and(|before| before != switches) {
                self.excused = EXCUSED_FRAMES;
            } else {
                self.excused = self.excused.saturating_sub(1);
            }
        }
    }

    fn values(
        &mut self,
        kind: usize,
        time_us: i64,
        values: impl IntoIterator<Item = Option<f64>>,
        common: &mut Common,
    ) {
        let Common { settings, station, fleet, changes } = common;
        let mut scene = Scene {
            station,
            spacecraft: self.spacecraft,
            subject: Subject { kind: kind as u8, channel: None },
            phase: self.orbit.phase(time_us),
            orbits: self.orbit.flown(time_us - self.first_us),
            is_proven: self.standing.is_proven(),
            is_switched: self.excused > 0,
            is_tumbling: self.switches.is_some_and(|(mode, _)| mode == DETUMBLE),
            fleet_tail: 0.0,
            incident: &mut self.incident,
            changes,
        };
        let mut looked_at = 0;
        let rules = &settings.rules.of(self.spacecraft)[kind];
        let monitors = self.streams[kind].monitors.iter_mut().zip(rules).zip(&mut fleet[kind]);
        for (channel, (((monitor, rules), fleet), value)) in monitors.zip(values).enumerate() {
            let Some(value) = value else { continue };
            looked_at += 1;
            scene.subject.channel = Some(channel as u8);
            scene.fleet_tail = fleet.upper_quartile;
            if monitor.take(Sample { time_us, value }, rules, &mut scene) {
                self.is_warm = true;
                // Once: a satellite that got its room back is no second one.
                if monitor.told.is_none() {
                    let natural = monitor.natural_jump();
                    monitor.told = Some(natural);
                    fleet.learn(natural);
                }
            }
        }
        changes.counts.values += looked_at;
    }

    fn tick(&mut self, now_us: i64, common: &mut Common) {
        let Common { settings, station, changes, .. } = common;
        for (kind, stream) in self.streams.iter_mut().enumerate() {
            let quiet_us = now_us - stream.received_us;
            if stream.received_us == 0 || quiet_us < CLOSE_AFTER_US {
                continue;
            }
            let mut scene = Scene {
                station,
                spacecraft: self.spacecraft,
                subject: Subject { kind: kind as u8, channel: None },
                phase: None,
                orbits: 0,
                is_proven: self.standing.is_proven(),
                is_switched: false,
                is_tumbling: false,
                fleet_tail: 0.0,
                incident: &mut self.incident,
                changes,
            };
            for monitor in &mut stream.monitors {
                monitor.close_all(stream.generated_us, CloseReason::Gap, &mut scene);
            }
            if quiet_us < settings.silence_us || stream.silence.is_some() {
                continue;
            }
            let violation = Violation {
                since_us: stream.heard_us,
                score: 1.0,
                threshold: settings.silence_us as f32 / 1e6,
                expected: 0.0,
                observed: quiet_us as f64 / 1e6,
            };
            let time_us = stream.heard_us + quiet_us;
            stream.silence = scene.open(Detector::Silence, violation, Severity::Warning, time_us);
        }
    }
}

impl Fleet {
    fn learn(&mut self, tail: f32) {
        if self.tails.len() >= FLEET_MAX {
            return;
        }
        let place = self.tails.partition_point(|&other| other < tail);
        self.tails.insert(place, tail);
        self.upper_quartile = self.tails[self.tails.len() * 3 / 4];
    }
}

/// What a satellite that is only held to limits costs.
#[must_use]
pub fn octets_with_limits_only() -> usize {
    let channels: usize = KINDS.iter().map(|kind| kind.channels).sum();
    size_of::<Satellite>() + KINDS.len() * size_of::<Stream>() + channels * size_of::<Monitor>()
}

/// What a satellite with all detectors costs, at most.
pub(super) fn octets_per_satellite() -> usize {
    let channels: usize = KINDS.iter().map(|kind| kind.channels).sum();
    octets_with_limits_only() + channels * LEARNED_OCTETS
}

const _: () = assert!(size_of::<Monitor>() + LEARNED_OCTETS <= 2_048);
const _: () = assert!(baseline::BINS <= 256);
const _: () = assert!(KINDS.len() <= u8::BITS as usize);
/// As `health` numbers its modes.
const DETUMBLE: u8 = 3;
/// Frames from which jumps mean nothing after mode or flags have changed: what was switched may
/// show a frame later.
const EXCUSED_FRAMES: u8 = 2;
/// Events of a stream that is not heard are closed after this.
const CLOSE_AFTER_US: i64 = 30_000_000;
/// Satellites that the fleet's natural jumps are learned from.
const FLEET_MAX: usize = 256;
const MEMORY: u64 = 64 << 20;
const EVENTS_MAX: usize = 10_000;
const SILENCE_US: i64 = 300_000_000;
