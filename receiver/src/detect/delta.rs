//! Jumps from one sample to the next: spikes and steps.
//!
//! A jump is a step larger than [`Rules::delta_factor`] times what
//! steps usually are, than a few of the smallest steps that the channel can make, and than the jumps
//! that it makes by nature. While a channel is young, its natural jumps are not known: then only a
//! jump that is taken back within [`SPIKE_SAMPLES`] counts, as nature seldom does that, and jumps
//! that stay are learned.

use serde::{Deserialize, Serialize};

use super::{
    DEVIATION_OF_MEDIAN, Finding, Rules, Sample, Violation, larger, scale::Scale, smaller,
    tail::Tail,
};

/// One channel's jumps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Delta {
    scale: Scale,
    /// The same over a long time, so that a quiet minute does not make noise a jump.
    slow: f32,
    pub(super) tail: Tail,
    /// The smallest step but 0, while young.
    finest: f32,
    /// The last steps that were no jumps, averaged.
    slope: f64,
    /// The step before.
    step: f64,
    /// Smoothed way to and fro, in usual steps, and when that was ordinary last.
    rough: f32,
    rough_us: i64,
    /// Its peak since then, and the peaks that nature brings.
    rough_peak: f32,
    pub(super) rough_tail: Tail,
    /// Value and slope before the first jump of this absence.
    origin: f64,
    origin_slope: f64,
    /// How far the channel is from where it would be without the jumps since it was there.
    offset: f64,
    /// When it left, and how many samples ago; 0 while it is where it belongs.
    since_us: i64,
    away: u32,
    /// All its jumps together.
    way: f32,
    /// Jumps of this absence, and samples since the last.
    jumps: u32,
    calm: u32,
    /// The largest jump of this absence.
    jump: f32,
}

/// What is known about a sample besides its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Something was switched: a jump is natural.
    pub(super) is_switched: bool,
    /// Another detector has something against the channel: a jump means nothing.
    pub(super) is_taken: bool,
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
            step: 0.0,
            rough: 0.0,
            rough_us: 0,
            rough_peak: 0.0,
            rough_tail: Tail::NONE,
            origin: 0.0,
            origin_slope: 0.0,
            offset: 0.0,
            since_us: 0,
            away: 0,
            way: 0.0,
            jumps: 0,
            calm: 0,
            jump: 0.0,
        }
    }

    /// Reads something of each line of the cache that it lies in.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        let sizes = [self.slow, self.rough, self.tail.size(), self.rough_tail.size()];
        let steps = [self.origin, self.slope];
        let sizes = sizes.iter().fold(self.calm, |sum, size| sum ^ size.to_bits());
        steps.iter().fold(self.scale.touch() ^ sizes, |sum, step| sum ^ step.to_bits() as u32)
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
        let size = smaller(step.abs() as f32, new.abs() as f32);
        let Some(median) = self.scale.median() else {
            self.learn(step, true);
            return Finding::Nothing;
        };
        let noise = DEVIATION_OF_MEDIAN * larger(median, self.slow);
        let grid = self.grid(rules);
        let least = larger(rules.delta_steps * grid, rules.delta_least);
        let mut threshold = larger(rules.delta_factor * noise, least);
        if about.is_mature {
            let nature = larger(self.tail.size(), about.fleet_tail);
            threshold = larger(threshold, NATURE_FACTOR * nature);
        }
        let usual = larger(noise, grid);
        let rough = self.roughen(step, usual, sample.time_us, about);
        if size <= threshold || !self.has_moved() {
            // A value that is stuck says nothing about what steps usually are.
            if about.is_taken && step == 0.0 {
                self.slope -= self.slope * SLOPE_WEIGHT;
            } else {
                self.learn(step, !about.is_mature);
            }
            let finding = self.stay(new, sample, threshold, about);
            let is_rough = about.is_mature && rough > 1.0 && self.has_moved();
            if !is_rough || about.is_taken {
                // One event until it is over, and not two that began at one moment.
                let is_over = self.rough < ROUGH * ROUGH_ONSET;
                let holds = !is_over && matches!(finding, Finding::Nothing);
                return if holds { Finding::Holds } else { finding };
            }
            return Finding::Violates(Violation {
                since_us: if self.away > 0 { self.since_us } else { self.rough_us },
                score: rough,
                threshold: ROUGH * usual,
                expected: from,
                observed: sample.value,
            });
        }
        // So that noise that has come to stay becomes the rule.
        self.scale.push(threshold);
        if about.is_switched {
            self.tail.learn(size);
        }
        if about.is_switched || about.is_taken {
            return self.stay(0.0, sample, threshold, about);
        }
        self.jump(from, new, sample, threshold, about)
    }

    /// Smooths how far the channel goes to and fro, against its usual steps: noise does, nature goes
    /// one way.
    #[inline]
    fn roughen(&mut self, step: f64, usual: f32, time_us: i64, about: Circumstances) -> f32 {
        let before = std::mem::replace(&mut self.step, step);
        // Which way noise goes is a coin's toss, which no branch is to depend on.
        let turns = f32::from(u8::from((step > 0.0) != (before > 0.0)));
        let turn = smaller(step.abs() as f32, before.abs() as f32);
        let size = turns * smaller(turn / larger(usual, f32::MIN_POSITIVE), ROUGH_MAX);
        if about.is_switched {
            return 0.0;
        }
        self.rough += (size - self.rough) * ROUGH_WEIGHT;
        let peak = larger(self.rough_peak, self.rough);
        if self.rough < ROUGH * ROUGH_ONSET {
            self.rough_us = time_us;
            if peak > ROUGH * ROUGH_ONSET && !about.is_mature {
                self.rough_tail.learn(peak);
            }
            self.rough_peak = 0.0;
        } else {
            self.rough_peak = peak;
        }
        self.rough / larger(ROUGH_NATURE * self.rough_tail.size(), ROUGH)
    }

    /// The smallest step that the channel makes, as far as is known.
    #[inline]
    pub(super) fn grid(&self, rules: &Rules) -> f32 {
        larger(rules.step, if self.has_moved() { self.finest } else { 0.0 })
    }

    /// The step that is usual.
    pub(super) fn usual_step(&self) -> f32 {
        self.scale.median().unwrap_or(0.0)
    }

    /// Begins anew: the channel has not been heard for a while.
    pub(super) fn begin(&mut self) {
        self.restart();
        self.step = 0.0;
        self.rough = 0.0;
        self.rough_peak = 0.0;
    }

    /// Forgets where the channel was.
    fn restart(&mut self) {
        self.slope = 0.0;
        self.offset = 0.0;
        self.away = 0;
        self.way = 0.0;
        self.jumps = 0;
        self.calm = 0;
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
        if size > 0.0 && (is_young || !self.has_moved()) {
            self.finest = smaller(self.finest, size);
        }
    }

    /// Whether it ever made a step.
    #[inline]
    fn has_moved(&self) -> bool {
        self.finest < f32::INFINITY
    }

    /// No jump: the channel is where it belongs, or away since an earlier one.
    #[inline]
    fn stay(&mut self, step: f64, sample: Sample, threshold: f32, about: Circumstances) -> Finding {
        if self.away == 0 {
            Finding::Nothing
        } else {
            self.stay_away(step, sample, threshold, about)
        }
    }

    #[cold]
    fn stay_away(
        &mut self,
        step: f64,
        sample: Sample,
        threshold: f32,
        about: Circumstances,
    ) -> Finding {
        self.away += 1;
        self.calm += 1;
        if step.abs() as f32 > PART_OF_JUMP * threshold {
            self.offset += step;
            self.way += step.abs() as f32;
        }
        if self.is_back(sample, threshold) {
            return self.come_back(about);
        }
        if self.jumps >= NOISE_JUMPS && self.calm >= CALM_SAMPLES {
            // It was noise, and is over: there is no way back to be waited for.
            return self.come_back(about);
        }
        if self.away < SETTLED_SAMPLES && (about.is_mature || self.away <= SPIKE_SAMPLES) {
            return if about.is_mature { Finding::Holds } else { Finding::Nothing };
        }
        // It stays: then that is where it belongs.
        if self.offset.abs() as f32 > STRAIGHT * self.way {
            self.tail.learn(self.jump);
        }
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
    fn come_back(&mut self, about: Circumstances) -> Finding {
        if self.away > SPIKE_SAMPLES && !about.is_mature {
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
        self.jumps += 1;
        self.calm = 0;
        self.offset += step;
        self.way += step.abs() as f32;
        self.jump = self.jump.max(step.abs() as f32);
        let violation = Violation {
            since_us: self.since_us,
            score: step.abs() as f32 / threshold,
            threshold,
            expected: sample.value - self.offset,
            observed: sample.value,
        };
        if self.away > 1 && self.is_back(sample, threshold) {
            let is_young_spike = !about.is_mature && self.away <= SPIKE_SAMPLES;
            let finding = self.come_back(about);
            // This sample is as it should be again: the one before was not.
            let spike = Violation { observed: from, ..violation };
            return if is_young_spike { Finding::Violates(spike) } else { finding };
        }
        if about.is_mature { Finding::Violates(violation) } else { Finding::Nothing }
    }
}

/// How much larger than natural ones a jump has to be.
const NATURE_FACTOR: f32 = 1.25;
/// Weight of one step in the slope.
const SLOPE_WEIGHT: f64 = 0.5;
/// Weight of one sample in the long-term median.
const SLOWNESS: f32 = 1.0 / 1_024.0;
/// A way to and fro of so many usual steps is an anomaly; noise of the usual size makes 0.4.
const ROUGH: f32 = 2.6;
/// How much more than what nature brings.
const ROUGH_NATURE: f32 = 1.4;
/// Where, in that, it is taken to begin.
const ROUGH_ONSET: f32 = 0.5;
/// One step counts as no more than this many.
const ROUGH_MAX: f32 = 10.0;
/// Weight of one step.
const ROUGH_WEIGHT: f32 = 1.0 / 8.0;
/// A step this large, in jumps, is part of the way while the channel is away.
const PART_OF_JUMP: f32 = 0.5;
/// So soon after a jump the value itself tells whether the channel is back.
const NEAR_SAMPLES: u32 = 6;
/// A jump that is taken back within so many samples is a spike.
const SPIKE_SAMPLES: u32 = 5;
/// A channel that has been elsewhere for so long belongs there.
const SETTLED_SAMPLES: u32 = 320;
/// A way that leads so far of itself is one way: nature's, not noise.
const STRAIGHT: f32 = 0.7;
/// Jumps that are noise rather than a step,
const NOISE_JUMPS: u32 = 4;
/// and samples without a further one that end it.
const CALM_SAMPLES: u32 = 20;
