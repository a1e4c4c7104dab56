//! The Earth under the satellite: sidereal angle, geodetic position, the other way round for
//! places on the ground.

use core::f64::consts::{PI, TAU};

use super::Vector;

/// A place above the WGS 84 ellipsoid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Geodetic, degrees, north positive.
    pub latitude_deg: f64,
    /// Degrees, east positive, −180 to 180.
    pub longitude_deg: f64,
    /// Above the ellipsoid, km.
    pub altitude_km: f64,
}

/// Julian years since J2000 (2000-01-01T12:00), taking UTC for UT1: at most 0.9 s apart.
pub fn years_since_j2000(unix_us: i64) -> f64 {
    days_since_j2000(unix_us) / JULIAN_YEAR_DAYS
}

/// Days since J2000.
pub(crate) fn days_since_j2000(unix_us: i64) -> f64 {
    (unix_us - J2000_UNIX_US) as f64 / US_OF_DAY
}

/// Greenwich mean sidereal time, radians (IAU 1982; Vallado, *Fundamentals of Astrodynamics*,
/// eq. 3-47).
pub fn sidereal_angle(unix_us: i64) -> f64 {
    sgp4::iau_epoch_to_sidereal_time(years_since_j2000(unix_us))
}

/// The place under and the height of an inertial position in km (Bowring 1976; below a millimetre
/// of error for satellites in one step). A position at the Earth's centre is put on its axis.
pub fn place(position: Vector, sidereal_angle: f64) -> Place {
    let [x, y, z] = position;
    let axis_distance = length(x, y);
    // Parametric latitude first: tan β = (z / p) · (a / b).
    let (sin_b, cos_b) = direction(z * EQUATOR_RADIUS_KM, axis_distance * POLE_RADIUS_KM);
    let up = z + SECOND_ECCENTRICITY_SQUARED * POLE_RADIUS_KM * sin_b.powi(3);
    let out = axis_distance - ECCENTRICITY_SQUARED * EQUATOR_RADIUS_KM * cos_b.powi(3);
    let (sin, cos) = direction(up, out);
    let longitude = y.atan2(x) - sidereal_angle;
    Place {
        latitude_deg: up.atan2(out).to_degrees(),
        longitude_deg: wrap(longitude).to_degrees(),
        altitude_km: axis_distance * cos + z * sin
            - EQUATOR_RADIUS_KM * (1.0 - ECCENTRICITY_SQUARED * sin * sin).sqrt(),
    }
}

/// The Earth-fixed position of a place on the ellipsoid, km.
pub fn ground(latitude_deg: f64, longitude_deg: f64) -> Vector {
    let (sin, cos) = latitude_deg.to_radians().sin_cos();
    let (sin_l, cos_l) = longitude_deg.to_radians().sin_cos();
    let normal = EQUATOR_RADIUS_KM / (1.0 - ECCENTRICITY_SQUARED * sin * sin).sqrt();
    [normal * cos * cos_l, normal * cos * sin_l, normal * (1.0 - ECCENTRICITY_SQUARED) * sin]
}

/// An inertial position in the frame that turns with the Earth.
pub fn earth_fixed(position: Vector, sidereal_angle: f64) -> Vector {
    let (sin, cos) = sidereal_angle.sin_cos();
    let [x, y, z] = position;
    [cos * x + sin * y, cos * y - sin * x, z]
}

/// Sine and cosine of the angle whose tangent is `up / out`.
fn direction(up: f64, out: f64) -> (f64, f64) {
    let length = length(up, out);
    if length > 0.0 { (up / length, out / length) } else { (0.0, 1.0) }
}

/// The length of a way in km, whose square is never too large for a number, as `f64::hypot` has to mind.
fn length(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

fn wrap(angle: f64) -> f64 {
    angle - TAU * ((angle + PI) / TAU).floor()
}

/// How fast the Earth turns, rad/s (IERS; against the mean equinox).
pub const EARTH_ROTATION_RAD_S: f64 = 7.292_115_855e-5;
/// WGS 84.
pub const EQUATOR_RADIUS_KM: f64 = 6_378.137;
const FLATTENING: f64 = 1.0 / 298.257_223_563;
const POLE_RADIUS_KM: f64 = EQUATOR_RADIUS_KM * (1.0 - FLATTENING);
const ECCENTRICITY_SQUARED: f64 = FLATTENING * (2.0 - FLATTENING);
const SECOND_ECCENTRICITY_SQUARED: f64 = ECCENTRICITY_SQUARED / (1.0 - ECCENTRICITY_SQUARED);
/// 2000-01-01T12:00:00Z.
const J2000_UNIX_US: i64 = 946_728_000_000_000;
const US_OF_DAY: f64 = 86_400e6;
const JULIAN_YEAR_DAYS: f64 = 365.25;

#[cfg(test)]
mod tests {
    use super::{ground, place, sidereal_angle};

    /// Vallado, example 3-5: 1992-08-20T12:14 UT1 is 152.578788° of sidereal time.
    #[test]
    fn sidereal_time_of_the_book() {
        let angle = sidereal_angle(714_312_840_000_000).to_degrees();
        assert!((angle - 152.578_788).abs() < 1e-5, "{angle}");
    }

    /// Vallado, example 3-3: this vector is at 34.352496° N, 46.4464° E, 5,085.22 km.
    #[test]
    fn place_of_the_book() {
        let place = place([6_524.834, 6_862.875, 6_448.296], 0.0);
        assert!((place.latitude_deg - 34.352_496).abs() < 1e-5);
        assert!((place.longitude_deg - 46.446_4).abs() < 1e-4);
        assert!((place.altitude_km - 5_085.22).abs() < 0.01);
    }

    #[test]
    fn ground_is_the_place_s_inverse() {
        for latitude in [-89.0, -35.0, 0.0, 12.5, 78.0] {
            for longitude in [-179.0, -1.0, 0.0, 90.0] {
                let back = place(ground(latitude, longitude), 0.0);
                assert!((back.latitude_deg - latitude).abs() < 1e-9);
                assert!((back.longitude_deg - longitude).abs() < 1e-9);
                assert!(back.altitude_km.abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_centre_is_no_special_case() {
        assert!(place([0.0; 3], 1.0).altitude_km.is_finite());
    }
}
