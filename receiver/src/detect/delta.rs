//! Jumps from one sample to the next: spikes and steps.
//!
//! A jump is a step larger than [`Rules::delta_factor`] times what
//! steps usually are, than a few of the smallest steps that the channel can make, and than the jumps
//! that it makes by nature. While a channel is young, its natural jumps are not known: then only a
//! jump that is taken back within [`SPIKE_SAMPLES`] counts, as nature seldom does that, and jumps
//! that stay are learned.

use super::{DEVIATION_OF_MEDIAN, Finding, Rules, Sample, Violation, scale::Scale, tail::Tail};

/// One channel's jumps.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    scale: Scale,
    /// The same over a long time, so that a quiet minute does not make noise a jump.
    slow: f32,
    pub(super) tail: Tail,
    /// The smallest step but 0, while young.
    finest: f32,
    /// The last steps that were no jumps, averaged.
    slope: f64,
    /// Value and slope before the first jump of this absence.
    origin: f64,
    origin_slope: f64,
    /// How far the channel is from where it would be without the jumps since it was there.
    offset: f64,
    /// When it left, and how many samples ago; 0 while it is where it belongs.
    since_us: i64,
    away: u32,
    /// The largest jump of this absence.
    jump: f32,
}

/// What is known about a sample besides its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Something was switched, or the channel is known to be wrong: a jump means nothing.
    pub(super) is_excused: bool,
    /// Natural jumps are known.
    pub(super) is_mature: bool,
    /// What such channels do by nature elsewhere in the fleet.
    pub(super) fleet_tail: f32,
}

impl Delta {
    pub(super) const fn new() -> Self {
        Self {
            scale: Scale::new(),
            slow: 0.0,
            tail: Tail::NONE,
            finest: f32::INFINITY,
            slope: 0.0,
            origin: 0.0,
            origin_slope: 0.0,
            offset: 0.0,
            since_us: 0,
            away: 0,
            jump: 0.0,
        }
    }

    /// Takes the step from the sample before, `from`, to this one.
    #[inline]
    pub(super) fn take(
        &mut self,
        from: f64,
        sample: Sample,
        rules: &Rules,
        about: Circumstances,
    ) -> Finding {
        let step = sample.value - from;
        // What goes on as it began is no jump, however steep.
        let new = step - self.slope;
        let size = step.abs().min(new.abs()) as f32;
        let Some(median) = self.scale.median() else {
            self.learn(step, true);
            return Finding::Nothing;
        };
        let noise = DEVIATION_OF_MEDIAN * median.max(self.slow);
        let grid = self.grid(rules);
        let mut threshold =
            (rules.delta_factor * noise).max(rules.delta_steps * grid).max(rules.delta_least);
        if about.is_mature {
            let nature = self.tail.size().max(about.fleet_tail);
            threshold = threshold.max(NATURE_FACTOR * nature);
        }
        if size <= threshold || self.finest.is_infinite() {
            self.learn(step, !about.is_mature);
            return self.stay(new, sample, threshold, about);
        }
        // So that noise that has come to stay becomes the rule.
        self.scale.push(threshold);
        if about.is_excused {
            return self.stay(0.0, sample, threshold, about);
        }
        self.jump(from, new, sample, threshold, about)
    }

    /// The smallest step that the channel makes, as far as is known.
    #[inline]
    pub(super) fn grid(&self, rules: &Rules) -> f32 {
        rules.step.max(if self.finest.is_finite() { self.finest } else { 0.0 })
    }

    /// The step that is usual.
    pub(super) fn step(&self) -> f32 {
        self.scale.median().unwrap_or(0.0)
    }

    /// Forgets where the channel was: it has not been heard for a while.
    pub(super) fn restart(&mut self) {
        self.slope = 0.0;
        self.offset = 0.0;
        self.away = 0;
        self.jump = 0.0;
    }

    #[inline]
    fn learn(&mut self, step: f64, is_young: bool) {
        let size = step.abs() as f32;
        self.slope += (step - self.slope) * SLOPE_WEIGHT;
        self.scale.push(size);
        if let Some(median) = self.scale.median() {
            self.slow += (median - self.slow) * SLOWNESS;
        }
        if size > 0.0 && (is_young || self.finest.is_infinite()) {
            self.finest = self.finest.min(size);
        }
    }

    /// No jump: the channel is where it belongs, or away since an earlier one.
    #[inline]
    fn stay(&mut self, step: f64, sample: Sample, threshold: f32, about: Circumstances) -> Finding {
        if self.away == 0 {
            return Finding::Nothing;
        }
        self.away += 1;
        if step.abs() as f32 > PART_OF_JUMP * threshold {
            self.offset += step;
        }
        if self.is_back(sample, threshold) {
            return self.come_back();
        }
        if self.away < SETTLED_SAMPLES && (about.is_mature || self.away <= SPIKE_SAMPLES) {
            return if about.is_mature { Finding::Holds } else { Finding::Nothing };
        }
        // It stays: then that is where it belongs.
        self.tail.learn(self.jump);
        self.restart();
        Finding::Settled
    }

    /// Whether the jumps have been taken back. Soon after the first, the value itself tells.
    fn is_back(&self, sample: Sample, threshold: f32) -> bool {
        let here = self.origin + self.origin_slope * f64::from(self.away);
        let off = (sample.value - here).abs() as f32;
        let near = threshold.min(self.jump / 2.0);
        self.offset.abs() as f32 <= near || (self.away <= NEAR_SAMPLES && off <= near / 2.0)
    }

    /// Where it belongs again.
    fn come_back(&mut self) -> Finding {
        if self.away > SPIKE_SAMPLES {
            // Away for a while and back again: nature switches like that.
            self.tail.learn(self.jump);
        }
        self.restart();
        Finding::Nothing
    }

    #[cold]
    fn jump(
        &mut self,
        from: f64,
        step: f64,
        sample: Sample,
        threshold: f32,
        about: Circumstances,
    ) -> Finding {
        if self.away == 0 {
            self.since_us = sample.time_us;
            self.origin = from;
            self.origin_slope = self.slope;
        }
        self.away += 1;
        self.offset += step;
        self.jump = self.jump.max(step.abs() as f32);
        let violation = Finding::Violates(Violation {
            since_us: self.since_us,
            score: step.abs() as f32 / threshold,
            threshold,
            expected: sample.value - self.offset,
        });
        if self.away > 1 && self.is_back(sample, threshold) {
            let is_young_spike = !about.is_mature && self.away <= SPIKE_SAMPLES;
            let finding = self.come_back();
            return if is_young_spike { violation } else { finding };
        }
        if about.is_mature { violation } else { Finding::Nothing }
    }
}

/// How much larger than natural ones a jump has to be.
const NATURE_FACTOR: f32 = 1.25;
/// Weight of one step in the slope.
const SLOPE_WEIGHT: f64 = 0.5;
/// Weight of one sample in the long-term median.
const SLOWNESS: f32 = 1.0 / 1_024.0;
/// A step this large, in jumps, is part of the way while the channel is away.
const PART_OF_JUMP: f32 = 0.5;
/// So soon after a jump the value itself tells whether the channel is back.
const NEAR_SAMPLES: u32 = 6;
/// A jump that is taken back within so many samples is a spike.
const SPIKE_SAMPLES: u32 = 5;
/// A channel that has been elsewhere for so long belongs there.
const SETTLED_SAMPLES: u32 = 600;
