//! Anomalies on purpose: readings that go wrong on board, and the truth about them.
//!
//! It is the sensor that lies, not the satellite: an event alters one channel after its reading was
//! taken and before it is encoded. Orbit, power, temperatures, mode and flags go on as they would,
//! so every other channel is sent as it would have been, and the truth is exact: an event lasts
//! from the first to the last sample whose raw value is other than it would have been.
//!
//! Guarantees:
//! * Events are a function of the seed, the satellite and the times of its frames. The clock and the
//!   other satellites do not matter. Without a chance nothing is altered.
//! * Chances are per simulated second. How long an event lasts is counted in samples of its channel
//!   ([`Kind::samples`]), since that is what detectors count, whatever the rate and the speed.
//! * A channel has one event at a time, and at least [`GAP_SAMPLES`] samples between two.
//! * A value stays within the range of its declaration ([`instrument`] has the sizes). An event that
//!   would not show, for want of room or because the channel is at rest, does not start: another
//!   channel is taken, or it is left out.
//! * An event does not care about reboots.
//!
//! Bound: at most one event starts with a frame. The truth keeps [`Event`]s until the flight is
//! over, less than 64 octets each; a channel has at most one in [`GAP_SAMPLES`] samples.

pub mod instrument;
mod sensor;

use core::fmt;

use protocol::{Apid, SpacecraftId, health};
use serde::{Deserialize, Serialize};

use crate::satellite::{
    noise::Noise,
    readings::{AttitudeReadings, HealthReadings},
};
use instrument::{ATTITUDE, HEALTH, Instrument};
use sensor::{Frame, Sensor};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One sample is off.
    Spike,
    /// The level shifts, and comes back.
    Step,
    /// The level moves away, stays there, and recovers.
    Drift,
    /// The last value is repeated.
    Stuck,
    /// Much more noise than there should be.
    Noise,
}

/// What was done to one channel of one satellite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The satellite.
    pub spacecraft: SpacecraftId,
    /// The channel.
    pub channel: &'static str,
    /// What went wrong.
    pub kind: Kind,
    /// Simulated time of the first sample that was altered, µs from the start.
    pub start_us: i64,
    /// Simulated time of the last sample that was altered, µs from the start.
    pub end_us: i64,
    /// Samples whose raw value was altered.
    pub samples: u32,
    /// Those of them that leave whole.
    pub sent: u32,
}

/// The sensors of one satellite.
#[derive(Clone, Debug)]
pub struct Sensors {
    seed: u64,
    spacecraft: SpacecraftId,
    /// Events to be expected in a second.
    events_per_s: f64,
    /// Events to be expected until the next one is due.
    until_next: f64,
    /// When the latest frame was made, µs from the start.
    latest_us: Option<i64>,
    /// Events that were due so far.
    due: u32,
    health: [Sensor; HEALTH.len()],
    attitude: [Sensor; ATTITUDE.len()],
    events: Vec<Event>,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Spike, Self::Step, Self::Drift, Self::Stuck, Self::Noise];

    /// How many samples it lasts at least, and at most.
    pub const fn samples(self) -> (u32, u32) {
        match self {
            Self::Spike => (1, 1),
            Self::Step => (60, 300),
            Self::Drift => (200, 600),
            Self::Stuck => (80, 200),
            Self::Noise => (30, 100),
        }
    }

    /// As it is written everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Step => "step",
            Self::Drift => "drift",
            Self::Stuck => "stuck",
            Self::Noise => "noise",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Sensors {
    /// Sensors that are right, until [`Self::set_chance`].
    pub fn new(seed: u64, spacecraft: SpacecraftId) -> Self {
        let mut sensors = Self {
            seed,
            spacecraft,
            events_per_s: 0.0,
            until_next: 0.0,
            latest_us: None,
            due: 0,
            health: Default::default(),
            attitude: Default::default(),
            events: Vec::new(),
        };
        sensors.until_next = waiting(&mut sensors.draw());
        sensors
    }

    /// From here on an event starts in a second with this chance. Those that have started go on.
    pub fn set_chance(&mut self, chance: f64) {
        self.events_per_s = -(-chance).ln_1p();
    }

    /// Alters house-keeping that is sent at `offset_us`.
    pub fn health(&mut self, offset_us: i64, readings: &mut HealthReadings) {
        let due = self.next_due(offset_us);
        let (spacecraft, events) = (self.spacecraft, &mut self.events);
        let frame = Frame { spacecraft, offset_us, events };
        pass(frame, &HEALTH, &mut self.health, readings.sensors(), due);
    }

    /// Alters attitude that is sent at `offset_us`.
    pub fn attitude(&mut self, offset_us: i64, readings: &mut AttitudeReadings) {
        let due = self.next_due(offset_us);
        let (spacecraft, events) = (self.spacecraft, &mut self.events);
        let frame = Frame { spacecraft, offset_us, events };
        pass(frame, &ATTITUDE, &mut self.attitude, readings.sensors(), due);
    }

    /// The latest frame of this kind will not come to the ground whole.
    pub fn lost(&mut self, apid: Apid) {
        let sensors: &[Sensor] =
            if apid == health::KIND.apid { &self.health } else { &self.attitude };
        for event in sensors.iter().filter_map(Sensor::altered) {
            self.events[event].sent -= 1;
        }
    }

    /// What was done so far, in the order in which it began.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Draws an event when one is due by now.
    fn next_due(&mut self, offset_us: i64) -> Option<Noise> {
        let passed_us = offset_us - self.latest_us.replace(offset_us).unwrap_or(offset_us);
        // Nothing is due in no time, however great the chance.
        if passed_us <= 0 || self.events_per_s <= 0.0 {
            return None;
        }
        self.until_next -= self.events_per_s * passed_us as f64 / 1e6;
        if self.until_next > 0.0 {
            return None;
        }
        self.due += 1;
        let mut noise = self.draw();
        self.until_next = waiting(&mut noise);
        Some(noise)
    }

    /// What decides about the next event.
    fn draw(&self) -> Noise {
        let seed = self.seed.wrapping_add(ANOMALIES_SEED);
        Noise::of(seed, self.spacecraft.number(), Apid::IDLE, self.due)
    }
}

/// Takes one frame's readings past the sensors; an event that is `due` starts with it.
fn pass<const N: usize>(
    mut frame: Frame<'_>,
    instruments: &[Instrument; N],
    sensors: &mut [Sensor; N],
    mut readings: [&mut f64; N],
    due: Option<Noise>,
) {
    if let Some(mut noise) = due {
        let kind = Kind::ALL[noise.below(Kind::ALL.len() as u64) as usize];
        let first = noise.below(N as u64) as usize;
        for place in (first..N).chain(0..first) {
            let reading = *readings[place];
            if sensors[place].try_start(kind, &instruments[place], reading, &mut noise) {
                break;
            }
        }
    }
    for ((instrument, sensor), reading) in instruments.iter().zip(sensors).zip(&mut readings) {
        sensor.pass(instrument, reading, &mut frame);
    }
}

/// Events to be expected until the next one starts: exponentially distributed.
fn waiting(noise: &mut Noise) -> f64 {
    // Below 1, so that the logarithm is finite.
    -(-noise.uniform(0.0, 1.0)).ln_1p()
}

/// Samples of a channel between two events at least: an event must be told apart from the one before.
pub const GAP_SAMPLES: u32 = 100;
/// Keeps events apart from the readings' noise and from faults; any odd number would do.
const ANOMALIES_SEED: u64 = 0xA24B_AED4_963E_E407;

const _: () = assert!(size_of::<Event>() <= 64);

#[cfg(test)]
mod tests;
