//! A constellation in the pattern of Walker: circular orbits of one height and inclination, planes
//! spread evenly around the equator, satellites evenly within a plane, neighbouring planes shifted
//! against each other (J. G. Walker, *Satellite constellations*, JBIS 37, 1984).

use core::f64::consts::TAU;

use sgp4::{Constants, WGS84, iau_epoch_to_sidereal_time};

use super::{NotAnOrbit, Orbit, earth::years_since_j2000};

/// The orbit of satellite `index` of `count`, its elements valid at `epoch_unix_us`.
pub fn orbit(index: usize, count: usize, epoch_unix_us: i64) -> Result<Orbit, NotAnOrbit> {
    let planes = planes(count);
    let (plane, slot) = (index % planes, index / planes);
    // A count that the planes do not divide leaves the last places of some planes out.
    let slots = (count - plane).div_ceil(planes);
    let mean_anomaly =
        TAU * (slot as f64 / slots as f64 + PHASING * plane as f64 / count as f64).fract();
    let elements = sgp4::Orbit::from_kozai_elements(
        &WGS84,
        INCLINATION_DEG.to_radians(),
        TAU * plane as f64 / planes as f64,
        ECCENTRICITY,
        0.0,
        mean_anomaly,
        mean_motion_rad_min(),
    )
    .map_err(NotAnOrbit::new)?;
    let constants = Constants::new(
        WGS84,
        iau_epoch_to_sidereal_time,
        years_since_j2000(epoch_unix_us),
        DRAG_TERM,
        elements,
    )
    .map_err(NotAnOrbit::new)?;
    Ok(Orbit::new(constants, epoch_unix_us))
}

/// How many planes `count` satellites are spread over: as many as there are in a plane.
fn planes(count: usize) -> usize {
    ((count as f64).sqrt().round() as usize).max(1)
}

/// Kepler's third law.
fn mean_motion_rad_min() -> f64 {
    let semi_major_axis: f64 = EQUATOR_RADIUS_KM + HEIGHT_KM;
    (EARTH_MU_KM3_S2 / semi_major_axis.powi(3)).sqrt() * 60.0
}

/// When the satellites of a constellation are at the places of the pattern, 2026-01-01T00:00:00Z: one
/// moment for all flights, so that each goes on where the fleet is by then.
pub const EPOCH_UNIX_US: i64 = 1_767_225_600_000_000;
/// Height above the equator, km: where small satellites fly, with years before they come down.
pub const HEIGHT_KM: f64 = 550.0;
/// Inclination, degrees: covers all but the polar regions.
pub const INCLINATION_DEG: f64 = 53.0;
/// Relative spacing between satellites in adjacent planes (Walker's F).
const PHASING: f64 = 1.0;
/// As good as circular; exactly 0 leaves the perigee undefined.
const ECCENTRICITY: f64 = 1e-4;
/// Station-keeping makes up for the drag.
const DRAG_TERM: f64 = 0.0;
/// WGS 84.
const EQUATOR_RADIUS_KM: f64 = 6_378.137;
/// WGS 84.
const EARTH_MU_KM3_S2: f64 = 398_600.441_8;

#[cfg(test)]
mod tests {
    use super::{HEIGHT_KM, INCLINATION_DEG, orbit};
    use crate::orbit::{dot, earth, unit};

    const START: i64 = 1_767_225_600_000_000;

    #[test]
    fn height_and_latitude_are_the_pattern_s() {
        let orbit = orbit(3, 10, START).unwrap();
        let mut latitude_max: f64 = 0.0;
        for minute in 0..24 * 60 {
            let at = START + minute * 60_000_000;
            let place = earth::place(orbit.at(at).unwrap().position, earth::sidereal_angle(at));
            assert!((place.altitude_km - HEIGHT_KM).abs() < 25.0, "{place:?}");
            latitude_max = latitude_max.max(place.latitude_deg.abs());
        }
        // Geodetic latitude is up to 0.19° more than geocentric.
        assert!((INCLINATION_DEG - 0.5..INCLINATION_DEG + 0.3).contains(&latitude_max));
    }

    #[test]
    fn no_two_satellites_share_a_place() {
        for count in [1, 2, 3, 7, 10, 24, 100, 131] {
            let places: Vec<_> = (0..count)
                .map(|i| unit(orbit(i, count, START).unwrap().at(START).unwrap().position))
                .collect();
            for (i, a) in places.iter().enumerate() {
                assert!(places[..i].iter().all(|b| dot(*a, *b) < 0.999_999), "{count}");
            }
        }
    }
}
