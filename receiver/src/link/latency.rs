//! The median of one interval's latencies, from a histogram.

/// Counts by size. Buckets grow by a fourth of an octave, so the median is right to about a tenth.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u16; BUCKETS],
}

impl Histogram {
    /// Without a latency.
    pub(super) const EMPTY: Self = Self { counts: [0; BUCKETS] };

    /// Counts one.
    #[inline]
    pub(super) fn add(&mut self, us: u64) {
        let count = &mut self.counts[bucket(us)];
        *count = count.saturating_add(1);
    }

    /// The middle one: the middle of its bucket; none without any.
    pub(super) fn median_us(&self) -> Option<u64> {
        let total: u32 = self.counts.iter().map(|&count| u32::from(count)).sum();
        let mut left = total.div_ceil(2);
        for (bucket, &count) in self.counts.iter().enumerate() {
            let count = u32::from(count);
            if count > 0 && count >= left {
                return Some(middle_us(bucket));
            }
            left -= count;
        }
        None
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

fn middle_us(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else {
        return SMALLEST_US / 2;
    };
    let octave = SMALLEST_US << (above / PARTS);
    octave + octave * (above % PARTS) as u64 / PARTS as u64 + octave / PARTS as u64 / 2
}

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
        for us in [1_u64, 63, 64, 100, 5_000, 123_456, 10_000_000, 1_500_000_000] {
            let mut histogram = Histogram::EMPTY;
            for step in 1..=7 {
                histogram.add(us * step / 4);
            }
            let median = histogram.median_us().unwrap();
            let tolerance = (us as f64 * 0.125).max(32.0);
            assert!(median.abs_diff(us) as f64 <= tolerance, "{median} is not near {us}");
        }
    }

    #[test]
    fn nothing_and_the_extremes() {
        let mut histogram = Histogram::EMPTY;
        assert_eq!(histogram.median_us(), None);
        histogram.add(0);
        assert!(histogram.median_us() < Some(SMALLEST_US));
        histogram.add(u64::MAX);
        histogram.add(u64::MAX);
        assert!(histogram.median_us() > Some(1_000_000_000));
    }
}
