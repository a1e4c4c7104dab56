//! How a satellite is turned: it looks down, so it turns once an orbit against the stars, and four
//! wheels hold it there.

use core::f64::consts::{FRAC_PI_2, TAU};

use super::activity::{Habits, Mode, PAYLOAD_PERIOD_S};
use crate::orbit::{Motion, cross, norm, unit};

/// A rotation, scalar part first.
pub type Quaternion = [f64; 4];

/// From the inertial frame to the one that looks down: z to the Earth's centre, y against the
/// orbit's normal, x along the flight (Vallado, §3.4.3, LVLH). By Shepperd's method, which divides
/// by nothing small.
pub fn pointing(motion: &Motion) -> Quaternion {
    let down = unit(motion.position).map(|x| -x);
    let across = motion.normal().map(|x| -x);
    let m = [cross(across, down), across, down];
    let trace = m[0][0] + m[1][1] + m[2][2];
    let (wx, wy, wz) = (m[1][2] - m[2][1], m[2][0] - m[0][2], m[0][1] - m[1][0]);
    let (xy, xz, yz) = (m[0][1] + m[1][0], m[2][0] + m[0][2], m[1][2] + m[2][1]);
    let largest = trace.max(m[0][0]).max(m[1][1]).max(m[2][2]);
    let q = if trace >= largest {
        [1.0 + trace, wx, wy, wz]
    } else if m[0][0] >= largest {
        [wx, 1.0 + 2.0 * m[0][0] - trace, xy, xz]
    } else if m[1][1] >= largest {
        [wy, xy, 1.0 + 2.0 * m[1][1] - trace, yz]
    } else {
        [wz, xz, yz, 1.0 + 2.0 * m[2][2] - trace]
    };
    normalised(q)
}

/// Of the two quaternions of a rotation, the one nearer to `before`, so that telemetry shows no
/// jump.
pub fn nearer(rotation: Quaternion, before: Quaternion) -> Quaternion {
    let dot: f64 = rotation.iter().zip(before).map(|(a, b)| a * b).sum();
    if dot < 0.0 { rotation.map(|q| -q) } else { rotation }
}

/// The rotation `fraction` of the way between two that are close to each other.
pub fn between(from: Quaternion, to: Quaternion, fraction: f64) -> Quaternion {
    normalised(core::array::from_fn(|k| from[k] + (to[k] - from[k]) * fraction))
}

/// Body rates, °/s: once an orbit about y, and a small wobble.
pub fn rates_deg_s(motion: &Motion, lived_s: f64, habits: &Habits) -> [f64; 3] {
    let radius = norm(motion.position);
    let momentum = norm(cross(motion.position, motion.velocity));
    let (sin, cos) = (TAU * lived_s / WOBBLE_S + habits.wobble_rad).sin_cos();
    [WOBBLE_DEG_S * sin, -(momentum / (radius * radius)).to_degrees(), WOBBLE_DEG_S * cos]
}

/// Wheel speeds, rpm: a bias that keeps them from standing still, two each way, and the momentum
/// they take up and give back along the orbit.
pub fn wheels_rpm(lived_s: f64, habits: &Habits) -> [f64; 4] {
    let angle = TAU * lived_s / PAYLOAD_PERIOD_S + habits.wobble_rad;
    core::array::from_fn(|wheel| {
        let bias = if wheel % 2 == 0 { WHEEL_RPM } else { -WHEEL_RPM };
        bias + WHEEL_SWING_RPM * (angle + FRAC_PI_2 * wheel as f64).sin()
    })
}

/// Noise of the rates, °/s: the payload's mechanisms shake it.
pub fn rate_noise_deg_s(mode: Mode) -> f64 {
    match mode {
        Mode::Payload => 0.02,
        Mode::Safe | Mode::Nominal => 0.008,
    }
}

fn normalised(q: Quaternion) -> Quaternion {
    let length = q.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 { q.map(|x| x / length) } else { [1.0, 0.0, 0.0, 0.0] }
}

/// Noise of a wheel's tachometer, rpm.
pub const WHEEL_NOISE_RPM: f64 = 1.5;
const WOBBLE_DEG_S: f64 = 0.015;
const WOBBLE_S: f64 = 97.0;
const WHEEL_RPM: f64 = 1_800.0;
const WHEEL_SWING_RPM: f64 = 450.0;

#[cfg(test)]
mod tests {
    use super::pointing;
    use crate::orbit::{Motion, cross, walker};

    /// Rotates a vector's coordinates from the inertial frame into the body's: q* v q.
    fn into_body(rotation: [f64; 4], vector: [f64; 3]) -> [f64; 3] {
        let [scalar, axis @ ..] = rotation;
        let turned = cross(axis, vector);
        let again = cross(axis, turned);
        core::array::from_fn(|k| vector[k] - 2.0 * scalar * turned[k] + 2.0 * again[k])
    }

    #[test]
    fn it_looks_down_everywhere() {
        let orbit = walker::orbit(0, 1, 0).unwrap();
        for minute in 0..200 {
            let motion: Motion = orbit.at(minute * 60_000_000).unwrap();
            let down = into_body(pointing(&motion), motion.position);
            assert!(down[2] < -6_800.0 && down[0].abs() < 1e-6 && down[1].abs() < 1e-6);
            assert!(into_body(pointing(&motion), motion.velocity)[0] > 7.0);
        }
    }
}
