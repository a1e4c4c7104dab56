//! Latencies of one interval: the largest exactly, the median from a histogram.

/// Counts by size. Buckets grow by a fourth of an octave, so the median is right to about a tenth.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Latencies {
    /// [`NONE`] before the first.
    max_us: i64,
    counts: [u16; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], max_us: NONE }
    }
}

impl Latencies {
    /// Counts one. A clock that is ahead makes a negative latency, which counts as none.
    #[inline]
    pub(super) fn add(&mut self, us: i64) {
        let us = us.max(0);
        let count = &mut self.counts[bucket(us.unsigned_abs())];
        *count = count.saturating_add(1);
        self.max_us = self.max_us.max(us);
    }

    /// The largest.
    pub(super) fn max_us(&self) -> Option<i64> {
        (self.max_us != NONE).then_some(self.max_us)
    }

    /// The middle one: the bound of its bucket, and never more than the largest.
    pub(super) fn median_us(&self) -> Option<i64> {
        let max_us = self.max_us()?;
        let total: u32 = self.counts.iter().map(|&count| u32::from(count)).sum();
        let mut left = total.div_ceil(2);
        for (bucket, &count) in self.counts.iter().enumerate() {
            let count = u32::from(count);
            if count >= left {
                return Some(middle_us(bucket).min(max_us));
            }
            left -= count;
        }
        Some(max_us)
    }
}

#[inline]
fn bucket(us: u64) -> usize {
    let us = us.min(LARGEST_US);
    if us < SMALLEST_US {
        return 0;
    }
    let octave = (us / SMALLEST_US).ilog2();
    let part = ((us * PARTS as u64 / SMALLEST_US) >> octave) - PARTS as u64;
    (1 + octave as usize * PARTS + part as usize).min(BUCKETS - 1)
}

fn middle_us(bucket: usize) -> i64 {
    let Some(above) = bucket.checked_sub(1) else {
        return (SMALLEST_US / 2).cast_signed();
    };
    let octave = SMALLEST_US << (above / PARTS);
    let from = octave + octave * (above % PARTS) as u64 / PARTS as u64;
    (from + octave / PARTS as u64 / 2).cast_signed()
}

/// No latency is negative.
const NONE: i64 = -1;
/// What changes with each latency stands first, but for one of the counts.
pub(super) const FIRST_OCTETS: usize = size_of::<i64>();
/// Smaller ones are all alike: a sixteenth of a millisecond is below what scheduling lets us see.
const SMALLEST_US: u64 = 64;
/// Beyond the last bucket's beginning all are alike, too.
const LARGEST_US: u64 = SMALLEST_US << 26;
/// Buckets in an octave.
const PARTS: usize = 4;
/// The last one begins at 25 octaves: more than half an hour.
const BUCKETS: usize = 1 + 25 * PARTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_right_to_a_tenth() {
        for us in [1_i64, 63, 64, 100, 5_000, 123_456, 10_000_000, 1_500_000_000] {
            let mut latencies = Latencies::default();
            for step in -3..=3_i64 {
                latencies.add(us + step * us / 4);
            }
            let median = latencies.median_us().unwrap();
            let tolerance = (us as f64 * 0.125).max(32.0);
            assert!((median - us).abs() as f64 <= tolerance, "{median} is not near {us}");
            assert_eq!(latencies.max_us(), Some(us + 3 * us / 4));
        }
    }

    #[test]
    fn nothing_and_the_extremes() {
        assert_eq!(Latencies::default().median_us(), None);
        let mut latencies = Latencies::default();
        latencies.add(i64::MIN);
        assert_eq!((latencies.median_us(), latencies.max_us()), (Some(0), Some(0)));
        latencies.add(i64::MAX);
        latencies.add(i64::MAX);
        assert_eq!(latencies.max_us(), Some(i64::MAX));
        assert!(latencies.median_us() > Some(1_000_000_000));
    }
}
