//! What a satellite does with its day: nominal most of the time, its payload on for a stretch of
//! each orbit, data sent down whenever a ground station is in view, a heater that keeps the
//! battery from freezing, safe mode when the battery runs low.

use super::noise::Noise;

/// Operating mode, numbered as in `health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only what keeps it alive.
    Safe = 0,
    /// House-keeping.
    Nominal = 1,
    /// The payload observes.
    Payload = 2,
}

/// What makes one satellite differ from its sisters.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Where in its orbit the payload goes on, 0 to 1.
    pub payload_phase: f64,
    /// Warmer than designed, °C.
    pub warmth_c: f64,
    /// Output of its panels against the design.
    pub panel: f64,
    /// Phase of its wobble and its wheels, radians.
    pub wobble_rad: f64,
    /// What its storage holds at the start, MiB.
    pub storage_mib: f64,
}

/// What is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Operating mode.
    pub mode: Mode,
    /// The battery is heated.
    pub heater_on: bool,
    /// A ground station is in view and data goes down.
    pub in_contact: bool,
}

impl Habits {
    /// The habits of one satellite.
    pub fn of(seed: u64, number: u16) -> Self {
        let mut noise = Noise::of_satellite(seed, number);
        Self {
            payload_phase: noise.uniform(0.0, 1.0),
            warmth_c: noise.normal(1.5),
            panel: 1.0 + noise.normal(0.015),
            wobble_rad: noise.angle(),
            storage_mib: noise.uniform(500.0, 6_000.0),
        }
    }
}

impl Activity {
    /// Nominal, nothing else on.
    pub const QUIET: Self = Self { mode: Mode::Nominal, heater_on: false, in_contact: false };

    /// What it does next. Safe mode and heater have hysteresis, so that neither chatters.
    #[must_use]
    pub fn next(
        &self,
        lived_s: f64,
        charge: f64,
        battery_c: f64,
        in_contact: bool,
        habits: &Habits,
    ) -> Self {
        let phase = (lived_s / PAYLOAD_PERIOD_S + habits.payload_phase).rem_euclid(1.0);
        let charge_min = match self.mode {
            Mode::Safe => CHARGE_TO_LEAVE_SAFE,
            Mode::Nominal | Mode::Payload => CHARGE_TO_ENTER_SAFE,
        };
        let mode = if charge < charge_min {
            Mode::Safe
        } else if phase < PAYLOAD_SHARE && charge > CHARGE_FOR_PAYLOAD {
            Mode::Payload
        } else {
            Mode::Nominal
        };
        let heat_below_c = if self.heater_on { HEATER_OFF_C } else { HEATER_ON_C };
        Self { mode, heater_on: battery_c < heat_below_c, in_contact }
    }

    /// Power drawn, W.
    pub fn load_w(&self) -> f64 {
        let mode = match self.mode {
            Mode::Safe => 6.0,
            Mode::Nominal => 9.0,
            Mode::Payload => 9.0 + 16.0,
        };
        let heater = if self.heater_on { 5.0 } else { 0.0 };
        let transmitter = if self.in_contact { 7.0 } else { 0.0 };
        mode + heater + transmitter
    }

    /// Load of the processor, %.
    pub fn cpu_load_percent(&self) -> f64 {
        let mode = match self.mode {
            Mode::Safe => 8.0,
            Mode::Nominal => 18.0,
            Mode::Payload => 52.0,
        };
        mode + if self.in_contact { 14.0 } else { 0.0 }
    }

    /// What the storage holds after `seconds` of this, MiB.
    pub fn storage_after(&self, used_mib: f64, seconds: f64) -> f64 {
        let payload = if self.mode == Mode::Payload { 4.0 } else { 0.0 };
        let downlink = if self.in_contact { 8.0 } else { 0.0 };
        let change_mib_s = HOUSEKEEPING_MIB_S + payload - downlink;
        (used_mib + change_mib_s * seconds).clamp(STORAGE_MIN_MIB, STORAGE_MAX_MIB)
    }
}

/// About one low orbit.
pub(super) const PAYLOAD_PERIOD_S: f64 = 5_700.0;
/// Nine and a half minutes of each.
const PAYLOAD_SHARE: f64 = 0.1;
const CHARGE_FOR_PAYLOAD: f64 = 0.5;
const CHARGE_TO_ENTER_SAFE: f64 = 0.25;
const CHARGE_TO_LEAVE_SAFE: f64 = 0.4;
/// Lithium cells must not be charged when frozen.
const HEATER_ON_C: f64 = 2.0;
const HEATER_OFF_C: f64 = 6.0;
const HOUSEKEEPING_MIB_S: f64 = 0.05;
/// Programs and tables stay.
const STORAGE_MIN_MIB: f64 = 64.0;
const STORAGE_MAX_MIB: f64 = 32_768.0;

#[cfg(test)]
mod tests {
    use super::{Activity, Habits, Mode};

    #[test]
    fn safe_mode_and_heater_do_not_chatter() {
        let habits = Habits::of(1, 1);
        let next =
            |from: Activity, charge, battery_c| from.next(0.0, charge, battery_c, false, &habits);
        let safe = next(Activity::QUIET, 0.2, 1.0);
        assert_eq!((safe.mode, safe.heater_on), (Mode::Safe, true));
        let still = next(safe, 0.3, 4.0);
        assert_eq!((still.mode, still.heater_on), (Mode::Safe, true));
        let well = next(still, 0.45, 7.0);
        assert_eq!((well.mode, well.heater_on), (Mode::Nominal, false));
        assert!(!next(well, 0.3, 4.0).heater_on);
    }

    #[test]
    fn storage_has_a_floor_and_a_top() {
        let down = Activity { in_contact: true, ..Activity::QUIET };
        assert!(down.storage_after(100.0, 1e9) > 0.0);
        assert!(Activity::QUIET.storage_after(100.0, 1e9) < 40_000.0);
    }
}
