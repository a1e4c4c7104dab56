//! What each channel is held to: limits, which detectors look at it, and how far it may go.

use protocol::{KINDS, SpacecraftId, channel::Channel};
use std::collections::HashMap;

use super::Severity;

/// What one channel is held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The smallest step that the channel can make, in its unit; 0 when that is not known.
    pub step: f32,
    /// Lowest and highest value that is well.
    pub soft: Option<(f64, f64)>,
    /// Lowest and highest value that is not dangerous.
    pub hard: Option<(f64, f64)>,
    /// Whether jumps are looked for.
    pub delta: bool,
    /// How many times the usual step a jump is.
    pub delta_factor: f32,
    /// How many of the smallest steps a jump is at least.
    pub delta_steps: f32,
    /// The smallest jump that matters, in the channel's unit.
    pub delta_least: f32,
    /// Whether repetitions are looked for.
    pub stuck: bool,
    /// Repetitions that are well at least.
    pub stuck_samples: u32,
    /// A channel that repeats itself so often by nature is not looked at.
    pub stuck_samples_max: u32,
    /// Whether the orbit's course is learned.
    pub baseline: bool,
    /// How many deviations from it are well at least.
    pub baseline_deviations: f32,
    /// The smallest distance from it that matters, in the channel's unit.
    pub baseline_least: f32,
    /// Whether the average is learned where there is no orbit.
    pub ewma: bool,
    /// How many times the usual distance from it is far,
    pub ewma_factor: f32,
    /// and how many of the smallest steps at least.
    pub ewma_steps: f32,
    /// Samples of warm-up.
    pub warm_up_samples: u32,
    /// Orbits of warm-up, for what is learned along them.
    pub warm_up_orbits: u32,
    /// Whether more than limits is looked at while the satellite tumbles.
    pub while_tumbling: bool,
}

/// What a channel measures, which decides what suits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it")]
pub enum Profile {
    Temperature,
    Voltage,
    Current,
    Power,
    Other,
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "temperature" => Ok(Self::Temperature),
            "voltage" => Ok(Self::Voltage),
            "current" => Ok(Self::Current),
            "power" => Ok(Self::Power),
            "other" => Ok(Self::Other),
            _ => Err(format!(
                "unknown kind {name}: expected temperature, voltage, current, power or other"
            )),
        }
    }
}

impl Rules {
    /// What suits a channel that measures such a thing, without limits.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let rules = Self {
            step: 0.0,
            soft: None,
            hard: None,
            delta: true,
            delta_factor: 8.0,
            delta_steps: 5.0,
            delta_least: 0.0,
            stuck: true,
            stuck_samples: 20,
            stuck_samples_max: 60,
            baseline: true,
            baseline_deviations: 3.5,
            baseline_least: 0.0,
            ewma: true,
            ewma_factor: 3.0,
            ewma_steps: 8.0,
            warm_up_samples: 200,
            warm_up_orbits: 3,
            while_tumbling: true,
        };
        match profile {
            // What has mass does not warm up in a moment.
            Profile::Temperature => Self { ewma_steps: 3.0, ..rules },
            Profile::Voltage | Profile::Power => rules,
            // They are switched, and a tumbling satellite's panels see the sun now and then.
            Profile::Current => Self { delta: false, stuck: false, ewma: false, ..rules },
            Profile::Other => Self { baseline: false, ..rules },
        }
    }

    /// No detector but limits.
    #[must_use]
    pub fn limits_only(self) -> Self {
        Self { delta: false, stuck: false, baseline: false, ewma: false, ..self }
    }

    /// Whether anything is learned.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.delta || self.stuck || self.baseline || self.ewma
    }

    /// The limit that a value breaks, and how bad that is.
    #[inline]
    pub(super) fn broken(&self, value: f64) -> Option<(f64, Severity)> {
        let beyond = |limits: Option<(f64, f64)>| {
            let (low, high) = limits?;
            if value < low {
                Some(low)
            } else if value > high {
                Some(high)
            } else {
                None
            }
        };
        let hard = beyond(self.hard).map(|limit| (limit, Severity::Critical));
        hard.or_else(|| beyond(self.soft).map(|limit| (limit, Severity::Warning)))
    }

    /// The width of what is well.
    pub(super) fn width(&self) -> f64 {
        let (low, high) = self.soft.or(self.hard).unwrap_or((0.0, 1.0));
        (high - low).max(f64::MIN_POSITIVE)
    }
}

/// The rules of every channel of every satellite.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// By kind, then channel.
    all: Vec<Vec<Rules>>,
    /// Those of satellites that differ.
    special: HashMap<SpacecraftId, Vec<Vec<Rules>>>,
}

impl Rulebook {
    /// The rules that the program ships with.
    #[must_use]
    pub fn shipped() -> Self {
        let of_kind = |kind: &&protocol::Kind| {
            kind.channels().map(|(name, channel)| shipped(name, channel)).collect()
        };
        Self { all: KINDS.iter().map(of_kind).collect(), special: HashMap::new() }
    }

    /// The rules for one satellite, by kind, then channel.
    #[must_use]
    pub fn of(&self, spacecraft: SpacecraftId) -> &[Vec<Rules>] {
        self.special.get(&spacecraft).unwrap_or(&self.all)
    }

    /// The rules of a channel, for all satellites that have none of their own.
    pub fn all_mut(&mut self) -> &mut [Vec<Rules>] {
        &mut self.all
    }

    /// The rules of one satellite, from now on its own.
    pub fn special_mut(&mut self, spacecraft: SpacecraftId) -> &mut [Vec<Rules>] {
        self.special.entry(spacecraft).or_insert_with(|| self.all.clone())
    }
}

/// What suits a channel of a small satellite with two lithium cells.
fn shipped(name: &str, channel: Channel) -> Rules {
    let (profile, soft, hard) = match name {
        "cpu_temp" => (Profile::Temperature, Some((-20.0, 70.0)), Some((-35.0, 85.0))),
        "battery_temp" => (Profile::Temperature, Some((-10.0, 45.0)), Some((-20.0, 60.0))),
        "panel_temp" => (Profile::Temperature, Some((-110.0, 105.0)), Some((-130.0, 125.0))),
        "payload_temp" => (Profile::Temperature, Some((-30.0, 65.0)), Some((-40.0, 80.0))),
        "battery_voltage" => (Profile::Voltage, Some((6.4, 8.6)), Some((6.0, 8.8))),
        "bus_voltage" => (Profile::Voltage, Some((4.85, 5.15)), Some((4.75, 5.25))),
        "battery_current" => (Profile::Current, Some((-5.5, 5.5)), Some((-7.0, 7.0))),
        "solar_current" => (Profile::Current, Some((0.0, 7.5)), Some((0.0, 9.0))),
        "battery_charge" => (Profile::Power, Some((20.0, 101.0)), Some((10.0, 102.0))),
        "signal_strength" => (Profile::Other, None, None),
        "cpu_load" => (Profile::Other, Some((0.0, 95.0)), None),
        "rate_x" | "rate_y" | "rate_z" => (Profile::Other, Some((-2.0, 2.0)), Some((-10.0, 10.0))),
        "wheel_1" | "wheel_2" | "wheel_3" | "wheel_4" => {
            (Profile::Other, Some((-5_500.0, 5_500.0)), Some((-6_500.0, 6_500.0)))
        }
        _ => (Profile::Other, None, None),
    };
    // What a switched transmitter, payload or heater does to a channel is well below these.
    let (delta_least, baseline_least) = match name {
        "cpu_temp" => (2.0, 7.0),
        "payload_temp" => (2.0, 4.0),
        "battery_temp" => (1.0, 4.0),
        "panel_temp" => (9.5, 32.0),
        "battery_voltage" => (0.2, 0.26),
        "bus_voltage" => (0.03, 0.025),
        "battery_current" => (1.2, 3.3),
        "solar_current" => (2.5, 2.2),
        "battery_charge" => (1.5, 5.5),
        "signal_strength" => (8.0, 0.0),
        "cpu_load" => (25.0, 0.0),
        "rate_x" | "rate_y" | "rate_z" => (0.12, 0.15),
        "wheel_1" | "wheel_2" | "wheel_3" | "wheel_4" => (150.0, 250.0),
        _ => (0.0, 0.0),
    };
    let rules = Rules {
        step: channel.scale as f32,
        soft,
        hard,
        delta_least,
        baseline_least,
        ..Rules::of(profile)
    };
    match name {
        // They follow what the satellite does, not what it is.
        "mode" | "storage_used" | "latitude" | "longitude" | "altitude" | "speed" => {
            rules.limits_only()
        }
        // Panels of a satellite that tumbles see the sun now and then, and the battery feels it.
        "battery_current" | "solar_current" => {
            Rules { delta: true, stuck: true, while_tumbling: false, ..rules }
        }
        _ if name.starts_with("rate") || name.starts_with("wheel") => {
            Rules { baseline: true, ..rules }
        }
        _ if name.starts_with('q') => rules.limits_only(),
        _ => rules,
    }
}
