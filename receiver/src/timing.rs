//! How long things take, as histograms that are written by the threads that do them and read by
//! `/metrics`.
//!
//! An observation is a few relaxed additions, made once a batch, a chunk or a synchronisation and
//! never once a frame; no thread waits for another. A reader may see an observation in the sum and not
//! yet in its bucket: the count is always the buckets' own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The station's histograms that belong to storing.
#[derive(Debug, Default)]
pub struct Timings {
    /// From the reception of a sample to the commit of its batch.
    pub commit_latency: Histogram,
    /// One transaction that has stored a batch, its COPY included.
    pub transaction: Histogram,
}

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds `times` observations of one duration.
    pub fn observe(&self, duration: Duration, times: u64) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MS.partition_point(|&bound| bound * US_PER_MS < us);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_us.fetch_add(us.saturating_mul(times), Ordering::Relaxed);
    }

    /// Upper bounds in seconds, the last one infinite, each with the observations above the bound
    /// before it.
    #[must_use]
    pub fn buckets(&self) -> [(f64, u64); BOUNDS_MS.len() + 1] {
        let mut buckets = [(f64::INFINITY, 0); BOUNDS_MS.len() + 1];
        for (bucket, count) in buckets.iter_mut().zip(&self.counts) {
            bucket.1 = count.load(Ordering::Relaxed);
        }
        for (bucket, bound) in buckets.iter_mut().zip(BOUNDS_MS) {
            bucket.0 = bound as f64 / 1_000.0;
        }
        buckets
    }

    /// All durations together, in seconds.
    #[must_use]
    pub fn sum_s(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// Upper bounds of the buckets: from what a commit takes to an outage of an hour.
const BOUNDS_MS: [u64; 17] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000, 600_000,
    3_600_000,
];
const US_PER_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_smallest_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for (us, times) in [(0, 1), (1_000, 2), (1_001, 4), (3_600_000_000, 8), (3_600_000_001, 16)]
        {
            histogram.observe(Duration::from_micros(us), times);
        }
        let buckets = histogram.buckets();
        let filled: Vec<_> = buckets.into_iter().filter(|&(_, count)| count > 0).collect();
        assert_eq!(filled, [(0.001, 3), (0.002, 4), (3_600.0, 8), (f64::INFINITY, 16)]);
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
        assert!((histogram.sum_s() - 86_400.006_020).abs() < 1e-6, "{}", histogram.sum_s());
    }

    #[test]
    fn nothing_is_too_long_to_be_counted() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX, 2);
        assert_eq!(histogram.buckets().last(), Some(&(f64::INFINITY, 2)));
    }
}
