//! Temperatures: each part drifts towards an equilibrium with its own time constant. The step is
//! the exact solution for a constant surrounding, so no step is too long to be stable.

/// Temperatures of the parts, °C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperatures {
    /// The structure everything is bolted to; not telemetered.
    pub body_c: f64,
    /// The solar panel.
    pub panel_c: f64,
    /// The battery.
    pub battery_c: f64,
    /// The processor.
    pub cpu_c: f64,
    /// The payload.
    pub payload_c: f64,
}

/// What warms them.
#[derive(Clone, Copy, Debug)]
pub struct Warmth {
    /// Sunlight, 0 to 1.
    pub light: f64,
    /// Cosine of the sun's angle on the panels.
    pub incidence: f64,
    /// Power turned into heat, W.
    pub load_w: f64,
    /// Load of the processor, %.
    pub cpu_load_percent: f64,
    /// The payload works.
    pub payload_on: bool,
    /// The battery is heated.
    pub heater_on: bool,
    /// Current through the battery, A.
    pub battery_a: f64,
    /// Warmer than designed, °C.
    pub bias_c: f64,
}

impl Temperatures {
    /// Somewhere in the middle of an orbit.
    pub const MILD: Self =
        Self { body_c: 8.0, panel_c: 20.0, battery_c: 6.0, cpu_c: 20.0, payload_c: 10.0 };

    /// The temperatures after `seconds` of `warmth`.
    #[must_use]
    pub fn after(&self, warmth: &Warmth, seconds: f64) -> Self {
        let drift =
            |from: f64, to: f64, constant_s: f64| to + (from - to) * (-seconds / constant_s).exp();
        let switched = |on: bool, rise_c: f64| if on { rise_c } else { 0.0 };
        let body = -12.0
            + warmth.bias_c
            + 24.0 * warmth.light * (0.6 + 0.4 * warmth.incidence)
            + 0.35 * warmth.load_w;
        let panel = -85.0 + 150.0 * warmth.light * warmth.incidence;
        let battery = self.body_c - 3.0
            + switched(warmth.heater_on, 12.0)
            + 0.4 * warmth.battery_a * warmth.battery_a;
        let cpu = self.body_c + 8.0 + 0.22 * warmth.cpu_load_percent;
        let payload = self.body_c + 2.0 + switched(warmth.payload_on, 20.0);
        Self {
            body_c: drift(self.body_c, body, BODY_S),
            panel_c: drift(self.panel_c, panel, PANEL_S),
            battery_c: drift(self.battery_c, battery, BATTERY_S),
            cpu_c: drift(self.cpu_c, cpu, CPU_S),
            payload_c: drift(self.payload_c, payload, PAYLOAD_S),
        }
    }

    /// The temperatures `fraction` of the way from `from` to `to`.
    pub fn between(from: &Self, to: &Self, fraction: f64) -> Self {
        let mix = |a: f64, b: f64| a + (b - a) * fraction;
        Self {
            body_c: mix(from.body_c, to.body_c),
            panel_c: mix(from.panel_c, to.panel_c),
            battery_c: mix(from.battery_c, to.battery_c),
            cpu_c: mix(from.cpu_c, to.cpu_c),
            payload_c: mix(from.payload_c, to.payload_c),
        }
    }
}

// Time constants, seconds: a thin panel follows the light within minutes, a wrapped battery takes
// half an orbit.
const BODY_S: f64 = 3_600.0;
const PANEL_S: f64 = 420.0;
const BATTERY_S: f64 = 1_800.0;
const CPU_S: f64 = 150.0;
const PAYLOAD_S: f64 = 700.0;

#[cfg(test)]
mod tests {
    use super::{Temperatures, Warmth};

    #[test]
    fn no_step_is_too_long() {
        let warmth = Warmth {
            light: 1.0,
            incidence: 1.0,
            load_w: 30.0,
            cpu_load_percent: 60.0,
            payload_on: true,
            heater_on: true,
            battery_a: 3.0,
            bias_c: 3.0,
        };
        let mut once = Temperatures::MILD;
        for _ in 0..10 {
            once = once.after(&warmth, 1e6);
        }
        let mut often = Temperatures::MILD;
        for _ in 0..100_000 {
            often = often.after(&warmth, 1.0);
        }
        for (a, b) in [
            (once.panel_c, often.panel_c),
            (once.battery_c, often.battery_c),
            (once.cpu_c, often.cpu_c),
        ] {
            assert!((a - b).abs() < 1e-6 && a < 90.0, "{a} {b}");
        }
    }
}
