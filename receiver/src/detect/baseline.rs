//! What a channel is at each place of the orbit, learned over orbits: the one detector that sees a
//! drift, since everything on a satellite warms, cools, charges and discharges with its orbit.
//!
//! The orbit is cut into [`BINS`]; each has a mean, and a usual distance from what is read between
//! the means of it and its neighbour. Distances and their limits are both smoothed over a few samples.
//! A limit is [`Rules::baseline_deviations`] times what is usual in the bin, at least
//! [`Rules::baseline_least`], and [`NATURE_FACTOR`] times what an ordinary orbit comes to at its worst.
//! What is off course is learned too, but slowly: it may be the season.

use serde::{Deserialize, Serialize};

use super::{Finding, Rules, Sample, Violation, larger, orbit::Phase, smaller};

/// One channel along the orbit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Baseline {
    bins: Box<[Bin]>,
    /// Passes of each bin so far.
    visits: Box<[u8]>,
    /// The bin that is being passed, and its samples so far.
    place: u8,
    pass: Pass,
    orbit: u32,
    /// The smoothed distance, and the smoothed limit.
    smooth: f32,
    limit: f32,
    /// The worst of this orbit, as a share of the limit without it, and of the ones before.
    high: f32,
    is_tainted: bool,
    highs: [f32; HIGHS],
    ordinary_high: f32,
    orbits: u32,
    /// When the samples left the usual, and to which side.
    since_us: i64,
    is_above: bool,
    beyond: u32,
    is_out: bool,
}

/// What is usual at one place.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Bin {
    mean: f32,
    deviation: f32,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Pass {
    samples: u32,
    /// Sums of the deviations from the prediction, and of their sizes.
    sum: f64,
    sizes: f64,
    /// Whether something was wrong meanwhile: then nothing is learned.
    is_tainted: bool,
    /// Whether the course itself was left: that is learned, but slowly, since an eclipse season may
    /// have begun.
    is_out: bool,
}

impl Baseline {
    pub(super) fn new() -> Self {
        Self {
            bins: vec![Bin::default(); BINS].into(),
            visits: vec![0; BINS].into(),
            place: 0,
            pass: Pass::default(),
            orbit: 0,
            smooth: 0.0,
            limit: 0.0,
            high: 0.0,
            is_tainted: false,
            highs: [0.0; HIGHS],
            ordinary_high: 0.0,
            orbits: 0,
            since_us: 0,
            is_above: false,
            beyond: 0,
            is_out: false,
        }
    }

    /// Whether it has the shape that [`Self::take`] relies on; one from a file may not.
    pub(super) fn is_sound(&self) -> bool {
        let lengths = [self.bins.len(), self.visits.len()];
        lengths == [BINS; 2] && usize::from(self.place) < BINS
    }

    /// Reads something of each line of the cache that the next sample needs.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        let place = usize::from(self.place);
        let highs = self.ordinary_high.to_bits() ^ self.highs[0].to_bits() ^ self.pass.samples;
        self.bins[place].mean.to_bits() ^ u32::from(self.visits[place]) ^ highs
    }

    /// Takes a sample at its place in the orbit. `is_tainted`: another detector has something
    /// against the channel, so nothing is to be learned from it.
    #[inline]
    pub(super) fn take(
        &mut self,
        sample: Sample,
        phase: Phase,
        rules: &Rules,
        is_tainted: bool,
    ) -> Finding {
        let position = phase.turn * BINS as f32;
        let place = (position as usize).min(BINS - 1);
        if place != usize::from(self.place) || phase.orbit != self.orbit {
            self.leave_bin();
            self.place = place as u8;
            if phase.orbit != self.orbit {
                self.leave_orbit();
                self.orbit = phase.orbit;
            }
        }
        self.pass.is_tainted |= is_tainted;
        self.pass.is_out |= self.is_out;
        let Some((mean, deviation)) = self.expected(position, place) else {
            // The first time here: the mean itself is summed up.
            self.pass.samples += 1;
            self.pass.sum += sample.value - f64::from(self.bins[place].mean);
            return Finding::Nothing;
        };
        let off = sample.value - f64::from(mean);
        self.pass.samples += 1;
        self.pass.sum += off;
        self.pass.sizes += off.abs();
        if self.visits[place] < VISITS_MIN {
            return Finding::Nothing;
        }
        let usual = larger(deviation, rules.step) * DEVIATION_OF_MEAN_SIZE;
        let least = larger(rules.baseline_deviations * usual, rules.baseline_least);
        let off = larger(smaller(off as f32, FAR * least), -FAR * least);
        self.smooth += (off - self.smooth) * SMOOTHING;
        self.limit += (least - self.limit) * SMOOTHING;
        self.begin(off, usual, sample.time_us);
        let share = self.smooth.abs() / self.limit;
        let limit = larger(NATURE_FACTOR * self.ordinary_high, 1.0);
        self.is_tainted |= is_tainted;
        // While nothing is usual the share is no number, and the orbit has no high.
        self.high = larger(share, self.high);
        self.judge(share, limit, sample, f64::from(mean))
    }

    /// Starts anew after a gap.
    pub(super) fn restart(&mut self) {
        self.pass = Pass::default();
        self.smooth = 0.0;
        self.since_us = 0;
        self.beyond = 0;
        self.is_out = false;
    }

    /// Notes when samples began to be on one side, further off than usual.
    #[inline]
    fn begin(&mut self, off: f32, usual: f32, time_us: i64) {
        let is_usual = off.abs() < ONSET * usual;
        if self.since_us != 0 && !self.is_out && (is_usual || (off > 0.0) != self.is_above) {
            self.since_us = 0;
        }
        if self.since_us == 0 && !is_usual {
            self.since_us = time_us;
            self.is_above = off > 0.0;
        }
    }

    #[inline]
    fn judge(&mut self, share: f32, limit: f32, sample: Sample, expected: f64) -> Finding {
        if share < BACK * limit {
            self.beyond = 0;
            self.is_out = false;
            return Finding::Nothing;
        }
        self.beyond += u32::from(share > limit);
        if self.orbits < ORBITS_MIN || self.beyond < VIOLATIONS {
            return Finding::Nothing;
        }
        if self.since_us == 0 {
            self.since_us = sample.time_us;
        }
        self.is_out = true;
        Finding::Violates(Violation {
            since_us: self.since_us,
            score: share / limit,
            threshold: limit * self.limit,
            expected,
            observed: sample.value,
        })
    }

    /// Mean and deviation to be expected here, if they are known.
    #[inline]
    fn expected(&self, position: f32, place: usize) -> Option<(f32, f32)> {
        if self.visits[place] == 0 {
            return None;
        }
        let Bin { mean, deviation } = self.bins[place];
        let from_middle = position - place as f32 - 0.5;
        let towards = if from_middle < 0.0 { place + BINS - 1 } else { place + 1 } % BINS;
        if self.visits[towards] == 0 {
            return Some((mean, deviation));
        }
        let there = self.bins[towards];
        let slope = there.mean - mean;
        Some((mean + slope * from_middle.abs(), larger(deviation, there.deviation)))
    }

    fn leave_bin(&mut self) {
        let pass = std::mem::take(&mut self.pass);
        let place = usize::from(self.place);
        let visits = self.visits[place];
        if pass.samples == 0 || (pass.is_tainted && visits >= VISITS_MIN) {
            return;
        }
        let samples = f64::from(pass.samples);
        self.visits[place] = visits.saturating_add(1);
        let trust = if pass.is_out { OUT_TRUST } else { 1.0 };
        let weight = |passes: u8| (1.0 / f32::from(passes)).max(WEIGHT_MIN) * trust;
        self.bins[place].mean += (pass.sum / samples) as f32 * weight(visits.saturating_add(1));
        if visits > 0 {
            let size = (pass.sizes / samples) as f32;
            self.bins[place].deviation += (size - self.bins[place].deviation) * weight(visits);
        }
    }

    fn leave_orbit(&mut self) {
        let is_tainted = std::mem::take(&mut self.is_tainted);
        let mut high = std::mem::take(&mut self.high);
        if high == 0.0 || is_tainted {
            return;
        }
        if self.orbits as usize >= HIGHS {
            // One wild orbit, or some, are not to blind the detector.
            high = high.min(HIGH_GROWTH * self.ordinary_high.max(1.0 / NATURE_FACTOR));
        }
        self.highs[self.orbits as usize % HIGHS] = high;
        self.orbits = self.orbits.saturating_add(1);
        let known = (self.orbits as usize).min(HIGHS);
        let mut highs = self.highs;
        highs[..known].sort_unstable_by(f32::total_cmp);
        self.ordinary_high = highs[(known - 1) / 2];
    }
}

/// Parts of the orbit: some 45 s of a low one.
pub(super) const BINS: usize = 128;
/// What the bins take.
pub(super) const OCTETS: usize = BINS * (4 + 4 + 1);
/// Passes before a bin is good for a judgement.
const VISITS_MIN: u8 = 2;
/// Orbits' highs that are remembered.
const HIGHS: usize = 8;
/// Orbits with a high before anything is judged.
const ORBITS_MIN: u32 = 2;
/// A bin forgets at this rate.
const WEIGHT_MIN: f32 = 1.0 / 8.0;
/// How much of that a pass counts in which the course was left.
const OUT_TRUST: f32 = 0.5;
/// Weight of a sample in the smoothed deviation.
const SMOOTHING: f32 = 1.0 / 6.0;
/// Standard deviations in the mean size of a normal deviate.
const DEVIATION_OF_MEAN_SIZE: f32 = 1.253;
/// One wild sample counts as no more than so many limits.
const FAR: f32 = 4.0;
/// How far beyond the worst of an ordinary orbit is not ordinary.
const NATURE_FACTOR: f32 = 1.7;
/// How much an orbit may add to what is ordinary.
const HIGH_GROWTH: f32 = 1.25;
/// A sample so many times further off than usual may be the first of an event.
const ONSET: f32 = 2.0;
/// Where, in limits, an event is over.
const BACK: f32 = 0.4;
/// Samples beyond the limit that make an event.
const VIOLATIONS: u32 = 2;
