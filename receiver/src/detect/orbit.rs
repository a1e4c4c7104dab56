//! Where in its orbit a satellite is: from its ascending nodes, which its latitude tells, or from a
//! period that is configured.

use serde::{Deserialize, Serialize};

/// A place in the orbit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phase {
    /// How many orbits have been flown.
    pub(super) orbit: u32,
    /// From 0 at the ascending node to 1.
    pub(super) turn: f32,
}

/// One satellite's orbit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Orbit {
    /// The last ascending node; 0 before the first.
    node_us: i64,
    period_us: i64,
    orbits: u32,
    latitude: f32,
    latitude_us: i64,
}

impl Orbit {
    /// An orbit of a period that is known.
    pub(super) fn of_period(period_us: i64) -> Self {
        Self { period_us, ..Self::default() }
    }

    /// Takes the latitude at a moment; moments only go forward.
    pub(super) fn latitude(&mut self, latitude: f32, time_us: i64) {
        let step_us = time_us - self.latitude_us;
        if self.latitude < 0.0 && latitude >= 0.0 && step_us < STEP_MAX_US && step_us > 0 {
            let share = f64::from(self.latitude / (self.latitude - latitude));
            self.node(self.latitude_us + (step_us as f64 * share) as i64);
        }
        self.latitude = latitude;
        self.latitude_us = time_us;
    }

    /// The place at a moment, once a whole orbit has been seen.
    #[inline]
    pub(super) fn phase(&self, time_us: i64) -> Option<Phase> {
        if self.period_us == 0 {
            return None;
        }
        let since_us = time_us - self.node_us;
        if since_us < 0 {
            return None;
        }
        // Beyond a period the next node was missed, or is about to come.
        let turns = since_us as f64 / self.period_us as f64;
        let whole = turns as u32;
        Some(Phase { orbit: self.orbits + whole, turn: (turns - f64::from(whole)) as f32 })
    }

    /// Whole orbits in a time; of the usual length where the period is not known.
    #[inline]
    pub(super) fn flown(&self, time_us: i64) -> u32 {
        let period_us = if self.period_us == 0 { PERIOD_USUAL_US } else { self.period_us };
        u32::try_from(time_us / period_us).unwrap_or_default()
    }

    fn node(&mut self, at_us: i64) {
        let since_us = at_us - self.node_us;
        if self.node_us != 0 && since_us > 0 {
            if self.period_us == 0 {
                if !(PERIOD_MIN_US..=PERIOD_MAX_US).contains(&since_us) {
                    self.node_us = at_us;
                    return;
                }
                self.period_us = since_us;
                self.orbits += 1;
            } else {
                let turns = (since_us as f64 / self.period_us as f64).round().max(1.0);
                let seen_us = (since_us as f64 / turns) as i64;
                if (seen_us - self.period_us).abs() < self.period_us / 20 {
                    self.period_us += (seen_us - self.period_us) / 8;
                }
                self.orbits = self.orbits.saturating_add(turns as u32);
            }
        }
        self.node_us = at_us;
    }
}

/// Nodes further apart than this from sample to sample are not seen.
const STEP_MAX_US: i64 = 600_000_000;
/// Nothing flies around the Earth in less.
const PERIOD_MIN_US: i64 = 80 * 60_000_000;
/// An orbit some 500 km high.
const PERIOD_USUAL_US: i64 = 95 * 60_000_000;
/// Two days.
const PERIOD_MAX_US: i64 = 48 * 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_and_phase_from_latitude() {
        let mut orbit = Orbit::default();
        let period_s = 5_700.0_f64;
        for second in (0..60_000_i64).step_by(7) {
            let angle = std::f64::consts::TAU * (second as f64 / period_s + 0.3);
            orbit.latitude((51.6 * angle.sin()) as f32, second * 1_000_000);
            if second > 12_000 {
                let phase = orbit.phase(second * 1_000_000).unwrap();
                let turn = (second as f64 / period_s + 0.3).fract();
                let off = (f64::from(phase.turn) - turn).abs();
                assert!(off.min(1.0 - off) < 0.003, "{second}: {phase:?} {turn}");
            }
        }
        assert_eq!(orbit.orbits, 9);
        assert!((orbit.period_us - 5_700_000_000).abs() < 1_000_000);
    }
}
