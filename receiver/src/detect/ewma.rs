//! A sustained shift or drift where there is no orbit to go by: away from the channel's own moving
//! average, by more than is usual for it.
//!
//! Samples that are far off do not move the average, so that an anomaly does not become the rule
//! while it lasts; but not for ever, or a new level would never be learned.

use serde::{Deserialize, Serialize};

use super::{
    DEVIATION_OF_MEDIAN, Finding, Rules, Sample, Violation, larger, scale::Scale, tail::Tail,
};

/// One channel's average.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ewma {
    mean: f64,
    /// How far samples usually are from the average.
    scale: Scale,
    /// How far by nature, now and then.
    tail: Tail,
    samples: u32,
    high: f32,
    /// Samples in a row that were far off, and when the channel left.
    off: u32,
    since_us: i64,
}

impl Ewma {
    pub(super) const fn new() -> Self {
        Self {
            mean: 0.0,
            scale: Scale::new(),
            tail: Tail::NONE,
            samples: 0,
            high: 0.0,
            off: 0,
            since_us: 0,
        }
    }

    /// Takes a sample; `step` is its usual step, `grid` the smallest that it makes.
    #[inline]
    pub(super) fn take(
        &mut self,
        sample: Sample,
        rules: &Rules,
        step: f32,
        grid: f32,
        may_speak: bool,
    ) -> Finding {
        let away = sample.value - self.mean;
        let size = away.abs() as f32;
        self.samples = self.samples.saturating_add(1);
        let median = self.scale.median();
        let usual = rules.ewma_factor * DEVIATION_OF_MEDIAN * median.unwrap_or(0.0);
        let nature = NATURE_FACTOR * self.tail.largest_within(TOWERS);
        let limit = larger(larger(usual, rules.ewma_steps * grid), nature);
        // Of a channel that is on its way somewhere the average says nothing.
        let is_level = median.is_some_and(|median| median <= larger(LEVEL * step, 2.0 * grid));
        let is_off = may_speak && size > limit && (is_level || self.off > 0);
        if !is_off || self.off >= SETTLED_SAMPLES {
            let weight = (1.0 / f64::from(self.samples)).max(WEIGHT);
            self.mean += away * weight;
        }
        if size < ONSET * limit {
            self.since_us = 0;
        } else if self.since_us == 0 {
            self.since_us = sample.time_us;
        }
        if !is_off {
            self.learn(size);
            self.off = 0;
            return Finding::Nothing;
        }
        // So that what has come to stay becomes the rule.
        self.scale.push(limit);
        self.off += 1;
        if self.off >= SETTLED_SAMPLES {
            self.tail.learn(size);
            return Finding::Settled;
        }
        if self.off < VIOLATIONS {
            return Finding::Nothing;
        }
        Finding::Violates(Violation {
            since_us: self.since_us,
            score: size / limit,
            threshold: limit,
            expected: self.mean,
            observed: sample.value,
        })
    }

    /// Starts anew at a value after a gap.
    pub(super) fn restart(&mut self, value: f64) {
        self.mean = value;
        self.off = 0;
        self.since_us = 0;
        self.high = 0.0;
    }

    #[inline]
    fn learn(&mut self, size: f32) {
        if self.samples <= SAMPLES_MIN {
            return;
        }
        self.scale.push(size);
        self.high = larger(self.high, size);
        if self.samples.is_multiple_of(TAIL_EVERY) {
            self.tail.learn(self.high);
            self.high = 0.0;
        }
    }
}

/// Samples before the average means anything.
const SAMPLES_MIN: u32 = 32;
/// Weight of one sample.
const WEIGHT: f64 = 1.0 / 32.0;
/// Usual steps that noise alone keeps samples from the average, and some more.
const LEVEL: f32 = 1.5;
/// Where, in limits, an event is taken to begin.
const ONSET: f32 = 0.4;
/// Samples in a row that make an event.
const VIOLATIONS: u32 = 3;
/// After so many the new level is the rule.
const SETTLED_SAMPLES: u32 = 600;
/// Samples that give one high to the natural ones.
const TAIL_EVERY: u32 = 64;
/// How far beyond natural highs a sample has to be.
const NATURE_FACTOR: f32 = 1.5;
/// A highest beyond so many times the next was no nature.
const TOWERS: f32 = 2.0;
