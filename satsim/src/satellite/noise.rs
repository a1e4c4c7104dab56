//! Sensor noise from the seed.
//!
//! Each frame's noise is a stream of its own, named by seed, satellite, APID and the frame's place
//! in its stream, so it does not matter in which order frames are made. The stream is `SplitMix64`
//! (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, OOPSLA 2014).

use core::f64::consts::TAU;

use protocol::Apid;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// The noise of one frame.
    pub fn of(seed: u64, spacecraft: u16, apid: Apid, sequence: u32) -> Self {
        let name =
            u64::from(apid.number()) << 48 | u64::from(spacecraft) << 32 | u64::from(sequence);
        Self(mix(seed) ^ mix(name ^ GOLDEN))
    }

    /// What makes one satellite differ from its sisters, for its whole life.
    pub fn of_satellite(seed: u64, spacecraft: u16) -> Self {
        Self::of(seed, spacecraft, Apid::IDLE, 0)
    }

    /// About normal with this standard deviation, and never more than 3.47 of them out: the sum of
    /// four uniform numbers (Irwin–Hall).
    pub fn normal(&mut self, deviation: f64) -> f64 {
        let bits = self.next();
        let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        (sum as f64 - IRWIN_HALL_MEAN) * IRWIN_HALL_SCALE * deviation
    }

    /// Three of them.
    pub fn normals(&mut self, deviation: f64) -> [f64; 3] {
        core::array::from_fn(|_| self.normal(deviation))
    }

    /// Evenly between `low` and `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of the numbers below `end`, evenly; 0 when there is none. `end` is far below 2^32, so
    /// the remainder does not show.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// An angle, radians.
    pub fn angle(&mut self) -> f64 {
        self.uniform(0.0, TAU)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
}

/// The finaliser of `SplitMix64`.
fn mix(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ state >> 31
}

/// 2^64 over the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Four times the mean of 16 uniform bits.
const IRWIN_HALL_MEAN: f64 = 2.0 * 65_535.0;
/// Four uniform numbers of width 1 have variance 1/3: √3 over the width.
const IRWIN_HALL_SCALE: f64 = 1.732_050_807_568_877_2 / 65_536.0;

#[cfg(test)]
mod tests {
    use super::Noise;
    use protocol::Apid;

    #[test]
    fn mean_deviation_and_bound() {
        let mut noise = Noise::of(1, 2, Apid::new(100), 3);
        let values: Vec<f64> = (0..100_000).map(|_| noise.normal(2.0)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 4.0).abs() < 0.1, "{variance}");
        assert!(values.iter().all(|v| v.abs() < 2.0 * 3.47));
    }

    #[test]
    fn every_part_of_the_name_counts() {
        let first = |seed, spacecraft, apid, sequence| {
            Noise::of(seed, spacecraft, Apid::new(apid), sequence).uniform(0.0, 1.0)
        };
        let mut all = vec![
            first(1, 1, 100, 0),
            first(2, 1, 100, 0),
            first(1, 2, 100, 0),
            first(1, 1, 101, 0),
            first(1, 1, 100, 1),
        ];
        all.sort_by(f64::total_cmp);
        all.dedup();
        assert_eq!(all.len(), 5);
        assert!((first(1, 1, 100, 0) - first(1, 1, 100, 0)).abs() < f64::EPSILON);
    }
}
