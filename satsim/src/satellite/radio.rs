//! The link to the ground: how strong the best of a few ground stations is received.

use crate::orbit::{Vector, dot, earth, norm, unit};

/// The link at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Received signal strength, dBm.
    pub signal_dbm: f64,
    /// High enough above a station's horizon for data to go down.
    pub in_contact: bool,
}

/// The link of a satellite at an Earth-fixed position, km.
pub fn link(position: Vector) -> Link {
    let mut best_sine = f64::NEG_INFINITY;
    let mut best_km = f64::INFINITY;
    for station in &*STATIONS {
        let away: Vector = core::array::from_fn(|axis| position[axis] - station[axis]);
        let distance_km = norm(away);
        let sine = dot(away, unit(*station)) / distance_km.max(f64::MIN_POSITIVE);
        if sine > best_sine {
            (best_sine, best_km) = (sine, distance_km);
        }
    }
    let elevation_deg = best_sine.clamp(-1.0, 1.0).asin().to_degrees();
    // Free-space loss (ITU-R P.525, distance in km, frequency in MHz).
    let loss_db = 32.45 + 20.0 * FREQUENCY_MHZ.log10() + 20.0 * best_km.log10();
    let masked_db = (CONTACT_ELEVATION_DEG - elevation_deg).max(0.0) * MASK_DB_DEG;
    let direct_mw = 10_f64.powf((RADIATED_DBM - loss_db - masked_db) / 10.0);
    let floor_mw = 10_f64.powf(FLOOR_DBM / 10.0);
    Link {
        signal_dbm: 10.0 * (direct_mw + floor_mw).log10(),
        in_contact: elevation_deg > CONTACT_ELEVATION_DEG,
    }
}

/// Received when no station is in view: noise, dBm.
pub const FLOOR_DBM: f64 = -118.0;
/// S band.
const FREQUENCY_MHZ: f64 = 2_200.0;
/// Radiated power with both antennas' gain, dBm.
const RADIATED_DBM: f64 = 62.0;
/// Hills and houses stand below.
const CONTACT_ELEVATION_DEG: f64 = 5.0;
/// How fast the signal is lost below the mask, dB per degree.
const MASK_DB_DEG: f64 = 3.0;

/// Earth-fixed positions, km.
static STATIONS: std::sync::LazyLock<[Vector; 8]> = std::sync::LazyLock::new(|| {
    [
        (78.23, 15.41),   // Svalbard
        (67.86, 20.96),   // Kiruna
        (47.88, 11.08),   // Weilheim
        (37.94, -75.46),  // Wallops
        (-6.17, 106.83),  // Jakarta
        (-25.89, 27.69),  // Hartebeesthoek
        (-29.05, 115.35), // Dongara
        (-33.15, -70.67), // Santiago
    ]
    .map(|(latitude, longitude)| earth::ground(latitude, longitude))
});

#[cfg(test)]
mod tests {
    use super::{FLOOR_DBM, link};
    use crate::orbit::earth;

    #[test]
    fn overhead_is_strong_and_far_away_is_noise() {
        let overhead = link(earth::ground(-6.17, 106.83).map(|x| x * 1.086));
        assert!(overhead.in_contact);
        assert!((-95.0..-85.0).contains(&overhead.signal_dbm), "{overhead:?}");
        let pacific = link(earth::ground(0.0, -150.0).map(|x| x * 1.086));
        assert!(!pacific.in_contact);
        assert!((pacific.signal_dbm - FLOOR_DBM).abs() < 0.5, "{pacific:?}");
    }
}
