//! One satellite: its orbit, and the body that lives from the sun along it.
//!
//! Everything slow is integrated from knot to knot, [`KNOT_US`] apart and counted from the start
//! of the simulation; readings between two knots are interpolated. The step thus never depends on
//! how often, or how fast against the wall clock, readings are taken, and neither do the readings:
//! they are a function of the seed, the satellite and the simulated time. Only after a silence of
//! more than a simulated day the slow state is made up anew.

pub mod activity;
pub mod attitude;
mod knot;
pub mod noise;
pub mod power;
pub mod radio;
pub mod readings;
pub mod thermal;

use crate::orbit::{Motion, NotAnOrbit, Orbit, Vector, dot, earth, sun, walker};
use activity::Habits;
use knot::Knot;
use noise::Noise;
use power::Battery;
use readings::{AttitudeReadings, HealthReadings};
use thermal::Temperatures;

/// A satellite in flight.
#[derive(Clone, Debug)]
pub struct Satellite {
    orbit: Orbit,
    start_unix_us: i64,
    habits: Habits,
    from: Knot,
    to: Knot,
    /// Number of the knot `to`.
    to_number: i64,
}

impl Satellite {
    /// A satellite on `orbit` at the moment `start_unix_us`, as it is after one orbit of the same
    /// life. `number` and `seed` make it differ a little from its sisters.
    pub fn new(
        orbit: Orbit,
        number: u16,
        seed: u64,
        start_unix_us: i64,
    ) -> Result<Self, NotAnOrbit> {
        let habits = Habits::of(seed, number);
        let motion = orbit.at(start_unix_us)?;
        let lived_s = lived_s(start_unix_us);
        let knot = Knot::warmed_up(&orbit, motion, start_unix_us, lived_s, &habits);
        let mut satellite =
            Self { orbit, start_unix_us, habits, from: knot, to: knot, to_number: 0 };
        satellite.step();
        Ok(satellite)
    }

    /// House-keeping at `offset_us` from the start. Time never goes back by more than a knot.
    pub fn health(&mut self, offset_us: i64, noise: &mut Noise) -> HealthReadings {
        let fraction = self.seek(offset_us);
        let (from, to) = (&self.from, &self.to);
        let mix = |a: f64, b: f64| a + (b - a) * fraction;
        let motion = Motion::between(&from.motion, &to.motion, KNOT_S, fraction);
        let turned = earth::EARTH_ROTATION_RAD_S * KNOT_S * fraction;
        let place = earth::place(motion.position, from.sidereal_angle + turned);
        let light = sun::illumination(motion.position, from.sun);
        let battery = Battery { charge: mix(from.battery.charge, to.battery.charge) };
        let temperatures = Temperatures::between(&from.temperatures, &to.temperatures, fraction);
        let activity = from.activity;
        let solar_a = self.habits.panel
            * power::solar_current(light, &motion, from.sun, temperatures.panel_c);
        let battery_a = battery.current(solar_a, activity.load_w());
        HealthReadings {
            mode: activity.mode,
            in_eclipse: light < ECLIPSE_LIGHT,
            charging: battery_a > power::CHARGING_A_MIN,
            heater_on: activity.heater_on,
            cpu_temp_c: temperatures.cpu_c + noise.normal(0.12),
            battery_temp_c: temperatures.battery_c + noise.normal(0.05),
            panel_temp_c: temperatures.panel_c + noise.normal(0.25),
            payload_temp_c: temperatures.payload_c + noise.normal(0.10),
            battery_voltage_v: battery.voltage(battery_a) + noise.normal(0.003),
            bus_voltage_v: power::bus_voltage(activity.load_w()) + noise.normal(0.002),
            battery_current_a: battery_a + noise.normal(0.008),
            solar_current_a: (solar_a + noise.normal(0.006)).max(0.0),
            battery_charge_percent: 100.0 * battery.charge + noise.normal(0.02),
            signal_strength_dbm: mix(from.signal_dbm, to.signal_dbm) + noise.normal(0.4),
            cpu_load_percent: activity.cpu_load_percent() + noise.normal(1.8),
            storage_used_mib: mix(from.storage_mib, to.storage_mib),
            latitude_deg: place.latitude_deg,
            longitude_deg: place.longitude_deg,
            altitude_km: place.altitude_km,
            speed_km_s: Motion::speed_between(&from.motion, &to.motion, fraction),
        }
    }

    /// Attitude at `offset_us` from the start. Time never goes back by more than a knot.
    pub fn attitude(&mut self, offset_us: i64, noise: &mut Noise) -> AttitudeReadings {
        let fraction = self.seek(offset_us);
        let motion = Motion::between(&self.from.motion, &self.to.motion, KNOT_S, fraction);
        let lived_s = lived_s(self.start_unix_us + offset_us);
        let jitter = noise.normals(attitude::rate_noise_deg_s(self.from.activity.mode));
        let rates = attitude::rates_deg_s(&motion, lived_s, &self.habits);
        let wheels = attitude::wheels_rpm(lived_s, &self.habits);
        AttitudeReadings {
            quaternion: attitude::between(self.from.attitude, self.to.attitude, fraction),
            rates_deg_s: core::array::from_fn(|axis| rates[axis] + jitter[axis]),
            wheels_rpm: wheels.map(|rpm| rpm + noise.normal(attitude::WHEEL_NOISE_RPM)),
        }
    }

    /// Steps on until `offset_us` is between the knots, and says how far between them it is.
    fn seek(&mut self, offset_us: i64) -> f64 {
        if offset_us / KNOT_US - self.to_number > SKIP_KNOTS {
            self.skip_to(offset_us / KNOT_US);
        }
        while offset_us > self.to_number * KNOT_US {
            self.step();
        }
        let past_from_us = offset_us - (self.to_number - 1) * KNOT_US;
        (past_from_us as f64 / KNOT_US as f64).clamp(0.0, 1.0)
    }

    /// Makes the knot `number` the latest, as after a start of its own.
    fn skip_to(&mut self, number: i64) {
        self.to_number = number;
        let offset_us = number * KNOT_US;
        let unix_us = self.start_unix_us + offset_us;
        let motion = self.orbit.at(unix_us).unwrap_or(self.to.motion);
        self.to = Knot::warmed_up(&self.orbit, motion, unix_us, lived_s(unix_us), &self.habits);
        // A reading at this very knot takes nothing from before it.
        self.from = self.to;
    }

    fn step(&mut self) {
        self.to_number += 1;
        let offset_us = self.to_number * KNOT_US;
        let unix_us = self.start_unix_us + offset_us;
        let motion = self.orbit.at(unix_us).unwrap_or(self.to.motion);
        self.from = self.to;
        self.to = self.from.next(motion, unix_us, lived_s(unix_us), KNOT_US, &self.habits);
    }
}

/// Seconds since the epoch of all constellations: what a satellite does by the clock, such as its
/// payload's turns, goes on from one flight to the next as its orbit does.
fn lived_s(unix_us: i64) -> f64 {
    (unix_us - walker::EPOCH_UNIX_US) as f64 / 1e6
}

/// Simulated time between two knots, µs: short against everything that changes, long enough that
/// SGP4 costs nothing per frame.
pub const KNOT_US: i64 = 10_000_000;
const KNOT_S: f64 = KNOT_US as f64 / 1e6;
/// A longer silence, a day, is skipped instead of lived through: no frame costs more than that.
const SKIP_KNOTS: i64 = 8_640;
/// Less light than this is called eclipse: the middle of the penumbra.
const ECLIPSE_LIGHT: f64 = 0.5;

/// Angle between a direction and the orbit's plane, as its sine.
pub(crate) fn out_of_plane(motion: &Motion, direction: Vector) -> f64 {
    dot(motion.normal(), direction)
}

#[cfg(test)]
mod tests {
    use super::{Satellite, activity::Mode, noise::Noise, readings::HealthReadings};
    use crate::orbit::walker;
    use protocol::Apid;

    const START: i64 = 1_767_225_600_000_000;
    const DAY_S: i64 = 86_400;

    fn satellite(number: u16) -> Satellite {
        let orbit = walker::orbit(usize::from(number), 10, START).unwrap();
        Satellite::new(orbit, number, 1, START).unwrap()
    }

    fn day(number: u16) -> Vec<HealthReadings> {
        let mut satellite = satellite(number);
        (0..DAY_S / 5)
            .map(|i| {
                let mut noise = Noise::of(1, number, Apid::new(100), i as u32);
                satellite.health(i * 5_000_000, &mut noise)
            })
            .collect()
    }

    #[test]
    fn a_day_stays_within_what_a_satellite_stands() {
        for number in 1..10 {
            let day = day(number);
            for r in &day {
                assert!((-100.0..95.0).contains(&r.panel_temp_c), "{r:?}");
                assert!((-10.0..35.0).contains(&r.battery_temp_c), "{r:?}");
                assert!((-10.0..60.0).contains(&r.cpu_temp_c), "{r:?}");
                assert!((-20.0..60.0).contains(&r.payload_temp_c), "{r:?}");
                assert!((6.6..8.6).contains(&r.battery_voltage_v), "{r:?}");
                assert!((4.95..5.05).contains(&r.bus_voltage_v), "{r:?}");
                assert!((45.0..100.2).contains(&r.battery_charge_percent), "{r:?}");
                assert!((-5.0..5.0).contains(&r.battery_current_a), "{r:?}");
                assert!((0.0..7.0).contains(&r.solar_current_a), "{r:?}");
                assert!((-125.0..-70.0).contains(&r.signal_strength_dbm), "{r:?}");
                assert!((-53.3..53.3).contains(&r.latitude_deg), "{r:?}");
                assert!((7.4..7.7).contains(&r.speed_km_s), "{r:?}");
                assert!((0.0..40_000.0).contains(&r.storage_used_mib), "{r:?}");
            }
            let share = |what: fn(&HealthReadings) -> bool| {
                day.iter().filter(|r| what(r)).count() as f64 / day.len() as f64
            };
            assert!((0.25..0.41).contains(&share(|r| r.in_eclipse)), "eclipse");
            assert!((0.05..0.20).contains(&share(|r| r.mode == Mode::Payload)));
            assert!((0.3..0.75).contains(&share(|r| r.charging)), "charging");
        }
    }

    #[test]
    fn the_battery_breathes_with_the_orbit() {
        let day = day(3);
        // In each two hours there is a whole orbit: a low and a high.
        for hours in day.chunks_exact(2 * 720) {
            let charge = hours.iter().map(|r| r.battery_charge_percent);
            let low = charge.clone().fold(f64::INFINITY, f64::min);
            let high = charge.fold(f64::NEG_INFINITY, f64::max);
            assert!(high - low > 5.0 && high > 97.0, "{low} to {high}");
        }
        let dark = day.iter().filter(|r| r.in_eclipse);
        assert!(dark.clone().all(|r| r.solar_current_a < 2.9));
        assert!(dark.filter(|r| r.charging).count() < 40, "penumbra only");
    }

    #[test]
    fn readings_do_not_depend_on_what_was_read_before() {
        let (mut often, mut seldom) = (satellite(2), satellite(2));
        for second in 0..5_000 {
            let noise = || Noise::of(9, 2, Apid::new(100), second as u32);
            let readings = often.health(second * 1_000_000, &mut noise());
            if second % 977 == 0 {
                assert_eq!(seldom.health(second * 1_000_000, &mut noise()), readings);
            }
        }
    }

    #[test]
    fn a_long_silence_costs_little_and_ends_in_a_plausible_state() {
        let mut satellite = satellite(4);
        for year in [1, 10, 79] {
            let mut noise = Noise::of(1, 4, Apid::new(100), year as u32);
            let r = satellite.health(year * 365 * DAY_S * 1_000_000, &mut noise);
            assert!((70.0..100.2).contains(&r.battery_charge_percent), "{r:?}");
            assert!((500.0..600.0).contains(&r.altitude_km), "{r:?}");
        }
    }

    #[test]
    fn attitude_turns_slowly_and_stays_a_rotation() {
        let mut satellite = satellite(5);
        let mut before: Option<[f64; 4]> = None;
        for second in 0..12_000 {
            let mut noise = Noise::of(1, 5, Apid::new(101), second as u32);
            let r = satellite.attitude(second * 1_000_000, &mut noise);
            let norm: f64 = r.quaternion.iter().map(|q| q * q).sum();
            assert!((norm - 1.0).abs() < 1e-9);
            if let Some(before) = before {
                let dot: f64 = before.iter().zip(r.quaternion).map(|(a, b)| a * b).sum();
                assert!(dot > 0.999_999, "no jump of sign or place: {dot}");
            }
            before = Some(r.quaternion);
            assert!(r.rates_deg_s.iter().all(|rate| rate.abs() < 0.3));
            assert!(r.wheels_rpm.iter().all(|rpm| (500.0..4_000.0).contains(&rpm.abs())));
        }
    }
}
