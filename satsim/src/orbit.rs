//! Where a satellite is: SGP4 from mean elements, to position and velocity.
//!
//! Limits: SGP4 is good to about a kilometre near its epoch. An orbit that decays while it is
//! flown ends where it was last known; one that cannot be flown at the start is refused.

pub mod earth;
pub mod sun;
pub mod tle;
pub mod walker;

use sgp4::{Constants, Elements, MinutesSinceEpoch};

/// A vector in the true-equator, mean-equinox frame of SGP4, unless said otherwise.
pub type Vector = [f64; 3];

/// Position in km and velocity in km/s, inertial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// From the Earth's centre, km.
    pub position: Vector,
    /// Inertial, km/s.
    pub velocity: Vector,
}

/// One satellite's orbit.
#[derive(Clone, Debug)]
pub struct Orbit {
    constants: Constants,
    /// Unix time of the elements, µs.
    epoch_unix_us: i64,
}

/// Elements that describe no orbit SGP4 can fly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnOrbit(String);

impl Orbit {
    /// The orbit of published mean elements.
    pub fn from_elements(elements: &Elements) -> Result<Self, NotAnOrbit> {
        Ok(Self {
            constants: Constants::from_elements(elements).map_err(NotAnOrbit::new)?,
            epoch_unix_us: elements.datetime.and_utc().timestamp_micros(),
        })
    }

    /// The orbit of initialised constants whose epoch is `epoch_unix_us`.
    pub(crate) fn new(constants: Constants, epoch_unix_us: i64) -> Self {
        Self { constants, epoch_unix_us }
    }

    /// Position and velocity at a moment, Unix µs.
    pub fn at(&self, unix_us: i64) -> Result<Motion, NotAnOrbit> {
        let minutes = (unix_us - self.epoch_unix_us) as f64 / US_OF_MINUTE;
        let prediction =
            self.constants.propagate(MinutesSinceEpoch(minutes)).map_err(NotAnOrbit::new)?;
        let motion = Motion { position: prediction.position, velocity: prediction.velocity };
        if motion.is_finite() {
            Ok(motion)
        } else {
            Err(NotAnOrbit("the orbit has no finite position".into()))
        }
    }
}

impl NotAnOrbit {
    fn new(error: impl core::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl Motion {
    /// The motion `fraction` (0 to 1) of the way from `from` to `to`, `seconds` apart: the cubic
    /// through both positions with both velocities. Over ten seconds of a low orbit it is within a
    /// millimetre of the propagated one (h⁴ r ω⁴ / 384). Its velocity is the cubic's slope, which
    /// differs from SGP4's by up to 2 cm/s, because SGP4's is not quite its position's.
    pub fn between(from: &Self, to: &Self, seconds: f64, fraction: f64) -> Self {
        let (f, g) = (fraction, 1.0 - fraction);
        let mut motion = Self::default();
        for axis in 0..3 {
            let (p0, p1) = (from.position[axis], to.position[axis]);
            let (v0, v1) = (from.velocity[axis] * seconds, to.velocity[axis] * seconds);
            motion.position[axis] =
                p0 * (1.0 + 2.0 * f) * g * g + v0 * f * g * g + p1 * f * f * (3.0 - 2.0 * f)
                    - v1 * f * f * g;
            motion.velocity[axis] =
                (6.0 * f * g * (p1 - p0) + v0 * g * (1.0 - 3.0 * f) + v1 * f * (3.0 * f - 2.0))
                    / seconds;
        }
        motion
    }

    /// The speed `fraction` of the way, km/s: it changes so slowly that a straight line is within
    /// a millimetre per second.
    pub fn speed_between(from: &Self, to: &Self, fraction: f64) -> f64 {
        from.speed() + (to.speed() - from.speed()) * fraction
    }

    /// The velocity's magnitude, km/s.
    pub fn speed(&self) -> f64 {
        norm(self.velocity)
    }

    /// The unit vector along the orbital angular momentum.
    pub fn normal(&self) -> Vector {
        unit(cross(self.position, self.velocity))
    }

    fn is_finite(&self) -> bool {
        self.position.iter().chain(&self.velocity).all(|x| x.is_finite())
    }
}

pub(crate) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn norm(a: Vector) -> f64 {
    dot(a, a).sqrt()
}

/// `a` at length 1; `a` itself when it has no direction.
pub(crate) fn unit(a: Vector) -> Vector {
    let length = norm(a);
    if length > 0.0 { a.map(|x| x / length) } else { a }
}

const US_OF_MINUTE: f64 = 60e6;

#[cfg(test)]
mod tests {
    use super::{Motion, norm, walker};

    const START: i64 = 1_767_225_600_000_000;

    #[test]
    fn between_two_knots_the_cubic_is_the_orbit() {
        let orbit = walker::orbit(7, 24, START).unwrap();
        let (from, to) = (orbit.at(START).unwrap(), orbit.at(START + 10_000_000).unwrap());
        for tenth in 0..=10 {
            let exact = orbit.at(START + tenth * 1_000_000).unwrap();
            let cubic = Motion::between(&from, &to, 10.0, tenth as f64 / 10.0);
            let off = |a: [f64; 3], b: [f64; 3]| norm([a[0] - b[0], a[1] - b[1], a[2] - b[2]]);
            assert!(off(exact.position, cubic.position) < 1e-5, "10 mm");
            assert!(off(exact.velocity, cubic.velocity) < 2e-5, "20 mm/s");
            let speed = Motion::speed_between(&from, &to, tenth as f64 / 10.0);
            assert!((exact.speed() - speed).abs() < 1e-6, "1 mm/s");
        }
    }
}
