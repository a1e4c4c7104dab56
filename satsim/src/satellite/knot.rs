//! The state of a satellite at one moment, and the step to the next.

use super::{
    activity::{Activity, Habits, Mode},
    attitude::{self, Quaternion},
    power::{self, Battery},
    radio,
    thermal::{Temperatures, Warmth},
};
use crate::orbit::{Motion, Orbit, Vector, earth, sun};

/// The state at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knot {
    pub(super) motion: Motion,
    pub(super) sun: Vector,
    pub(super) sidereal_angle: f64,
    /// What it does from here to the next knot.
    pub(super) activity: Activity,
    pub(super) battery: Battery,
    pub(super) temperatures: Temperatures,
    pub(super) storage_mib: f64,
    pub(super) signal_dbm: f64,
    pub(super) attitude: Quaternion,
}

impl Knot {
    /// The state at `unix_us`, `lived_s` after the epoch of all flights: from a plausible guess one orbit before,
    /// in coarse steps. An orbit that cannot be traced back stays at the guess.
    pub(super) fn warmed_up(
        orbit: &Orbit,
        motion: Motion,
        unix_us: i64,
        lived_s: f64,
        habits: &Habits,
    ) -> Self {
        let mut knot = Self::guess(motion, unix_us, habits);
        for step in (0..=WARM_UP_STEPS).rev() {
            let before_us = step * WARM_UP_STEP_US;
            if let Ok(motion) = orbit.at(unix_us - before_us) {
                let at_s = lived_s - before_us as f64 / 1e6;
                knot = knot.next(motion, unix_us - before_us, at_s, WARM_UP_STEP_US, habits);
            }
        }
        knot
    }

    fn guess(motion: Motion, unix_us: i64, habits: &Habits) -> Self {
        Self {
            motion,
            sun: sun::direction(unix_us),
            sidereal_angle: earth::sidereal_angle(unix_us),
            activity: Activity::QUIET,
            battery: Battery::FRESH,
            temperatures: Temperatures::MILD,
            storage_mib: habits.storage_mib,
            signal_dbm: radio::FLOOR_DBM,
            attitude: attitude::pointing(&motion),
        }
    }

    /// The state `step_us` later, when the satellite has arrived at `motion`.
    pub(super) fn next(
        &self,
        motion: Motion,
        unix_us: i64,
        lived_s: f64,
        step_us: i64,
        habits: &Habits,
    ) -> Self {
        let seconds = step_us as f64 / 1e6;
        let sun = sun::direction(unix_us);
        let sidereal_angle = earth::sidereal_angle(unix_us);
        let light = 0.5
            * (sun::illumination(self.motion.position, sun)
                + sun::illumination(motion.position, sun));
        let load_w = self.activity.load_w();
        let solar_a =
            habits.panel * power::solar_current(light, &motion, sun, self.temperatures.panel_c);
        let battery_a = self.battery.current(solar_a, load_w);
        let battery = self.battery.after(battery_a, seconds);
        let warmth = Warmth {
            light,
            incidence: power::incidence(&motion, sun),
            load_w,
            cpu_load_percent: self.activity.cpu_load_percent(),
            payload_on: self.activity.mode == Mode::Payload,
            heater_on: self.activity.heater_on,
            battery_a,
            bias_c: habits.warmth_c,
        };
        let temperatures = self.temperatures.after(&warmth, seconds);
        let link = radio::link(earth::earth_fixed(motion.position, sidereal_angle));
        let activity = self.activity.next(
            lived_s,
            battery.charge,
            temperatures.battery_c,
            link.in_contact,
            habits,
        );
        let attitude = attitude::pointing(&motion);
        Self {
            motion,
            sun,
            sidereal_angle,
            activity,
            battery,
            temperatures,
            storage_mib: self.activity.storage_after(self.storage_mib, seconds),
            signal_dbm: link.signal_dbm,
            attitude: attitude::nearer(attitude, self.attitude),
        }
    }
}

/// One low orbit in steps that the fastest time constant stands.
const WARM_UP_STEP_US: i64 = 100_000_000;
const WARM_UP_STEPS: i64 = 57;
