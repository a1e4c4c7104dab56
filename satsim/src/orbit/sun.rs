//! The sun: where it stands, and how much of it the Earth hides.

use super::{
    Vector, dot,
    earth::{EQUATOR_RADIUS_KM, days_since_j2000},
};

/// The unit vector to the sun, good to 0.01° from 1950 to 2050 (low-precision formulae of the
/// *Astronomical Almanac*, section C; also Vallado, algorithm 29).
pub fn direction(unix_us: i64) -> Vector {
    let days = days_since_j2000(unix_us);
    let mean_longitude = 280.460 + 0.985_647_4 * days;
    let mean_anomaly = (357.528 + 0.985_600_3 * days).to_radians();
    let longitude =
        (mean_longitude + 1.915 * mean_anomaly.sin() + 0.020 * (2.0 * mean_anomaly).sin())
            .to_radians();
    let obliquity = (23.439 - 0.000_000_4 * days).to_radians();
    let (sin, cos) = longitude.sin_cos();
    [cos, obliquity.cos() * sin, obliquity.sin() * sin]
}

/// How much of the sun's disc a satellite sees: 1 in full light, 0 in the umbra. The shadow is the
/// double cone of umbra and penumbra (Montenbruck and Gill, *Satellite Orbits*, §3.4.2), the light
/// falling linearly across the penumbra.
pub fn illumination(position: Vector, sun: Vector) -> f64 {
    let along = dot(position, sun);
    if along >= 0.0 {
        return 1.0;
    }
    let from_axis = (dot(position, position) - along * along).max(0.0).sqrt();
    let penumbra_half_km = -along * SUN_ANGULAR_RADIUS_RAD;
    ((from_axis - EQUATOR_RADIUS_KM + penumbra_half_km) / (2.0 * penumbra_half_km)).clamp(0.0, 1.0)
}

/// Half the angle the sun's disc subtends at one astronomical unit.
const SUN_ANGULAR_RADIUS_RAD: f64 = 0.004_65;

#[cfg(test)]
mod tests {
    use super::{direction, illumination};
    use crate::orbit::norm;

    /// Vallado, example 5-1: 2006-04-02T00:00 has the sun at (0.9771945, 0.1924424, 0.0834308) au.
    #[test]
    fn direction_of_the_book() {
        let sun = direction(1_143_936_000_000_000);
        let book = [0.977_194_5, 0.192_442_4, 0.083_430_8_f64];
        let length = norm(book);
        for (ours, theirs) in sun.iter().zip(book) {
            assert!((ours - theirs / length).abs() < 2e-4, "{sun:?}");
        }
    }

    #[test]
    fn light_penumbra_and_umbra() {
        let sun = [1.0, 0.0, 0.0];
        assert!((illumination([7_000.0, 0.0, 0.0], sun) - 1.0).abs() < f64::EPSILON);
        assert!((illumination([-2_000.0, 7_000.0, 0.0], sun) - 1.0).abs() < f64::EPSILON);
        assert!(illumination([-7_000.0, 100.0, 0.0], sun).abs() < f64::EPSILON);
        assert!((illumination([-2_000.0, 6_378.137, 0.0], sun) - 0.5).abs() < 1e-9);
    }
}
