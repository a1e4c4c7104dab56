//! The same value again and again: a sensor that has died, or a computer that repeats itself.
//!
//! How often a value repeats itself by nature is learned: a battery that is full reads 4.20 V for an
//! hour. Where that is long, the detector keeps silent.

use serde::{Deserialize, Serialize};

use super::{Finding, Rules, Sample, Violation, larger, tail::Tail};

/// One channel's repetitions.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stuck {
    /// Samples of the same value, so far.
    run: u32,
    since_us: i64,
    is_mature: bool,
    /// Natural runs.
    runs: Tail,
    /// Runs that were found too long; what happens often enough is nature after all.
    long_runs: Tail,
}

impl Stuck {
    /// Reads something of each line of the cache that it lies in.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        self.run ^ self.long_runs.size().to_bits()
    }

    /// Takes a sample that follows one of value `before`.
    #[inline]
    pub(super) fn take(
        &mut self,
        before: f64,
        sample: Sample,
        rules: &Rules,
        is_mature: bool,
    ) -> Finding {
        #[expect(clippy::float_cmp, reason = "the very same raw value")]
        let is_same = sample.value == before;
        if is_mature && !self.is_mature {
            self.is_mature = true;
            // A channel that is at rest now may well be so by nature.
            self.learn(self.run, u32::MAX);
            self.learn(self.run, u32::MAX);
        }
        let limit = self.limit(rules);
        if !is_same {
            if self.run > 1 {
                self.learn(self.run, if is_mature { limit } else { u32::MAX });
            }
            self.run = 1;
            self.since_us = sample.time_us;
            return Finding::Nothing;
        }
        self.run += 1;
        if !is_mature || self.run <= limit || limit > rules.stuck_samples_max {
            return Finding::Nothing;
        }
        Finding::Violates(Violation {
            since_us: self.since_us,
            score: self.run as f32 / limit as f32,
            threshold: limit as f32,
            expected: sample.value,
            observed: sample.value,
        })
    }

    /// Begins a new run at `sample`: what was before it is not known.
    pub(super) fn restart(&mut self, sample: Sample) {
        self.run = 1;
        self.since_us = sample.time_us;
    }

    fn learn(&mut self, run: u32, limit: u32) {
        let runs = if run > limit { &mut self.long_runs } else { &mut self.runs };
        runs.learn(run as f32);
    }

    #[inline]
    fn limit(&self, rules: &Rules) -> u32 {
        let natural = larger(self.runs.largest_within(TOWERS), self.long_runs.size()) as u32;
        rules.stuck_samples.max(natural.saturating_mul(NATURE_FACTOR))
    }
}

/// A longest run beyond so many times the next was no nature.
const TOWERS: f32 = 4.0;
/// How much longer than natural ones a run has to be.
const NATURE_FACTOR: u32 = 3;
