//! The detectors on series made by hand: one channel, whole satellites, and anything at all.

mod anything;
mod channel;
mod forged;
mod satellites;

/// A number between -1 and 1 that looks drawn, the same for the same `index` (SplitMix64).
fn noise(index: u64) -> f64 {
    let mut bits = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ (bits >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
}

/// A whole hour.
const START_US: i64 = 1_800_000_000_000_000;
const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
