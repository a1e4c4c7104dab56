//! Panels, battery and bus: two lithium cells in series, charged directly by wings that turn about
//! one axis.

use super::out_of_plane;
use crate::orbit::{Motion, Vector, dot, unit};

/// The battery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Battery {
    /// State of charge, 0 to 1.
    pub charge: f64,
}

impl Battery {
    /// A battery that has seen some light.
    pub const FRESH: Self = Self { charge: 0.85 };

    /// The current into it, A, with `solar_a` from the panels and `load_w` drawn; negative when it
    /// gives. Charging tapers off towards full, the rest of the light stays unused.
    pub fn current(self, solar_a: f64, load_w: f64) -> f64 {
        let load_a = load_w / self.open_circuit_voltage();
        let taper = ((1.0 - self.charge) / TAPER_CHARGE).clamp(0.0, 1.0);
        (solar_a - load_a).min(CHARGE_A_MAX * taper)
    }

    /// The battery after `seconds` at `current_a`.
    #[must_use]
    pub fn after(self, current_a: f64, seconds: f64) -> Self {
        let charge = self.charge + current_a * seconds / (CAPACITY_AH * 3_600.0);
        Self { charge: charge.clamp(0.0, 1.0) }
    }

    /// Voltage at its terminals, V.
    pub fn voltage(self, current_a: f64) -> f64 {
        self.open_circuit_voltage() + current_a * RESISTANCE_OHM
    }

    /// 3.3 V a cell when empty, flat in the middle, 4.18 V when full.
    fn open_circuit_voltage(self) -> f64 {
        let c = self.charge;
        CELLS * (3.30 + c * (1.05 + c * (-0.55 + c * 0.38)))
    }
}

/// Current from the panels at the battery's voltage, A: with the light, the angle to the sun, a
/// little more over the bright day side of the Earth, and less when hot.
pub fn solar_current(light: f64, motion: &Motion, sun: Vector, panel_c: f64) -> f64 {
    let day_side = dot(unit(motion.position), sun).max(0.0);
    let heat = 1.0 - CELL_LOSS_PER_C * (panel_c - CELL_RATED_C);
    light * SOLAR_A_MAX * incidence(motion, sun) * (0.93 + ALBEDO * day_side) * heat
}

/// Cosine of the angle between the panels' normal and the sun. The wings turn about the axis across
/// the orbit's plane, so the sun's angle out of the plane is lost; cells on the body make up for
/// the worst.
pub fn incidence(motion: &Motion, sun: Vector) -> f64 {
    let out = out_of_plane(motion, sun);
    (1.0 - out * out).max(0.0).sqrt().max(BODY_CELLS)
}

/// Voltage of the regulated bus under `load_w`, V.
pub fn bus_voltage(load_w: f64) -> f64 {
    BUS_V - BUS_SAG_V_W * load_w
}

/// A current into the battery that is called charging, A: more than the noise of its sensor.
pub const CHARGING_A_MIN: f64 = 0.05;
const CELLS: f64 = 2.0;
const CAPACITY_AH: f64 = 7.0;
const RESISTANCE_OHM: f64 = 0.06;
/// Half the capacity an hour.
const CHARGE_A_MAX: f64 = 3.5;
/// Below full by this, the charge current begins to fall.
const TAPER_CHARGE: f64 = 0.1;
const SOLAR_A_MAX: f64 = 5.0;
const ALBEDO: f64 = 0.07;
const BODY_CELLS: f64 = 0.4;
const CELL_LOSS_PER_C: f64 = 0.002;
const CELL_RATED_C: f64 = 28.0;
const BUS_V: f64 = 5.015;
const BUS_SAG_V_W: f64 = 0.000_8;

#[cfg(test)]
mod tests {
    use super::Battery;

    #[test]
    fn voltage_rises_with_charge_and_current() {
        for percent in 0..100 {
            let (low, high) = (f64::from(percent) / 100.0, f64::from(percent + 1) / 100.0);
            assert!(Battery { charge: low }.voltage(0.0) < Battery { charge: high }.voltage(0.0));
        }
        let half = Battery { charge: 0.5 };
        assert!(half.voltage(-1.0) < half.voltage(0.0) && half.voltage(0.0) < half.voltage(1.0));
    }

    #[test]
    fn charge_is_bounded_and_tapers() {
        let mut battery = Battery { charge: 0.0 };
        for _ in 0..10_000 {
            battery = battery.after(battery.current(9.0, 5.0), 10.0);
        }
        assert!((0.99..=1.0).contains(&battery.charge));
        assert!(battery.current(9.0, 5.0) < 0.05);
        assert!(battery.after(-100.0, 1e6).charge.abs() < f64::EPSILON);
    }
}
