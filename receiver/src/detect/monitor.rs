//! One channel under watch: its detectors, and the events that they have open.

use serde::{Deserialize, Serialize};

use super::{
    CloseReason, Detector, Event, Finding, Rules, Sample,
    baseline::{self, Baseline},
    delta::{Circumstances, Delta},
    ewma::Ewma,
    larger,
    limits::Limits,
    open::OpenEvents,
    scene::Scene,
    stuck::Stuck,
};

/// A channel's state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Monitor {
    limits: Limits,
    learned: Option<Box<Learned>>,
    open: OpenEvents,
    /// What the fleet has been told of its natural jumps.
    pub(super) told: Option<f32>,
}

/// What is known of a channel beyond its limits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Learned {
    last: Option<Sample>,
    /// Usual time between samples.
    interval_us: f32,
    samples: u32,
    /// Samples in a row that came later than newer ones.
    late: u32,
    is_mature: bool,
    pub(super) delta: Delta,
    pub(super) stuck: Stuck,
    pub(super) baseline: Option<Baseline>,
    pub(super) ewma: Option<Box<Ewma>>,
}

impl Monitor {
    /// A channel that has not been heard; with `learns`, not only its limits are looked at.
    pub(super) fn new(rules: &Rules, learns: bool) -> Self {
        let learned = (learns && rules.learns()).then(|| Box::new(Learned::new(rules)));
        let limits = Limits::default();
        Self { limits, learned, open: OpenEvents::default(), told: None }
    }

    /// Takes a sample. True when the channel's natural jumps are known from now on.
    #[inline]
    pub(super) fn take(&mut self, sample: Sample, rules: &Rules, scene: &mut Scene<'_>) -> bool {
        let Self { limits, learned, open, .. } = self;
        open.end_chatter(sample.time_us, scene);
        let (finding, severity) = limits.take(sample, rules);
        open.report(Detector::Limits, finding, severity, sample, scene);
        let Some(learned) = learned else { return false };
        if scene.is_tumbling && !rules.while_tumbling {
            // Nothing is learned from that, and nothing said about it.
            learned.forget_last();
            open.close_learned(sample.time_us, CloseReason::Tumbling, scene);
            return false;
        }
        let was_mature = learned.is_mature;
        learned.take(sample, rules, open, scene);
        learned.is_mature && !was_mature
    }

    /// Brings most of what [`Self::take`] needs into the processor's cache: with many satellites it has
    /// left that since the last sample, and the processor waits for the lines of all channels at once
    /// for little longer than for one of them.
    #[inline]
    pub(super) fn fetch(&self) {
        let Some(learned) = &self.learned else { return };
        let baseline = learned.baseline.as_ref().map_or(0, Baseline::touch);
        std::hint::black_box(
            learned.samples ^ learned.delta.touch() ^ learned.stuck.touch() ^ baseline,
        );
    }

    /// The jumps that the channel makes by nature.
    pub(super) fn natural_jump(&self) -> f32 {
        self.learned.as_ref().map_or(0.0, |learned| learned.delta.tail.size())
    }

    /// Whether anything but limits is looked at.
    pub(super) fn learns(&self) -> bool {
        self.learned.is_some()
    }

    /// Whether its warm-up is complete.
    pub(super) fn is_mature(&self) -> bool {
        self.learned.as_ref().is_some_and(|learned| learned.is_mature)
    }

    /// Samples that were learned from.
    pub(super) fn learned_samples(&self) -> u32 {
        self.learned.as_ref().map_or(0, |learned| learned.samples)
    }

    /// Whether a state from a file has the shape that the detectors rely on.
    pub(super) fn is_sound(&self) -> bool {
        let baseline = self.learned.as_ref().and_then(|learned| learned.baseline.as_ref());
        baseline.is_none_or(Baseline::is_sound)
    }

    /// Brings a state of an earlier run under the rules of this one. Gives back the events of
    /// detectors that look no more.
    pub(super) fn fit(&mut self, rules: &Rules, learns: bool) -> Vec<Event> {
        let learns = learns && rules.learns();
        if learns {
            let learned = self.learned.get_or_insert_with(|| Box::new(Learned::new(rules)));
            let (baseline, ewma) = (learned.baseline.take(), learned.ewma.take());
            learned.baseline = rules.baseline.then(|| baseline.unwrap_or_else(Baseline::new));
            learned.ewma = rules.ewma.then(|| ewma.unwrap_or_else(|| Box::new(Ewma::new())));
        } else {
            self.learned = None;
        }
        self.open.give_up(|detector| match detector {
            Detector::Limits => false,
            Detector::Delta => !(learns && rules.delta),
            Detector::Stuck => !(learns && rules.stuck),
            Detector::Baseline => !(learns && rules.baseline),
            Detector::Ewma => !(learns && rules.ewma),
            Detector::Silence | Detector::Chatter => !learns,
            // No event of a channel.
            Detector::LinkJump => false,
        })
    }

    /// The events that are open.
    pub(super) fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.open.events()
    }

    /// The same, to be changed.
    pub(super) fn open_events_mut(&mut self) -> impl Iterator<Item = &mut Event> {
        self.open.events_mut()
    }

    /// The satellite has started anew: what comes next says nothing about what was.
    pub(super) fn restart(&mut self) {
        if let Some(learned) = &mut self.learned {
            learned.forget_last();
        }
    }

    /// Closes everything, since nothing has come for a while. If anything was open, what comes then
    /// begins anew, so that no event is opened a second time.
    pub(super) fn close_all(&mut self, at_us: i64, reason: CloseReason, scene: &mut Scene<'_>) {
        if self.open.is_empty() {
            return;
        }
        self.limits = Limits::default();
        self.restart();
        self.open.close_all(at_us, reason, scene);
    }
}

impl Learned {
    fn new(rules: &Rules) -> Self {
        Self {
            last: None,
            interval_us: 0.0,
            samples: 0,
            late: 0,
            is_mature: false,
            delta: Delta::new(),
            stuck: Stuck::default(),
            baseline: rules.baseline.then(Baseline::new),
            ewma: rules.ewma.then(|| Box::new(Ewma::new())),
        }
    }

    /// Takes a sample, and reports what is found to `open`. No part of [`Monitor::take`], so that this
    /// costs channels little that have limits alone.
    #[inline(never)]
    fn take(
        &mut self,
        sample: Sample,
        rules: &Rules,
        open: &mut OpenEvents,
        scene: &mut Scene<'_>,
    ) {
        let Some(before) = self.before(sample) else { return };
        self.samples = self.samples.saturating_add(1);
        let step_us = before.map_or(0, |before| sample.time_us - before.time_us) as f32;
        let is_gap = step_us > larger(GAP_INTERVALS * self.interval_us, GAP_US);
        let is_hole = before.is_none() || step_us > HOLE_INTERVALS * self.interval_us;
        if is_gap {
            open.close_learned(sample.time_us, CloseReason::Gap, scene);
        }
        if before.is_none() || is_gap {
            self.restart(sample);
        }
        if self.interval_us == 0.0 {
            self.interval_us = step_us;
        } else if !is_gap {
            let weight = if self.samples < 16 { 0.5 } else { 1.0 / 16.0 };
            self.interval_us += (step_us - self.interval_us) * weight;
        }
        self.is_mature |=
            self.samples > rules.warm_up_samples && scene.orbits >= rules.warm_up_orbits;
        let is_mature = self.is_mature;
        if let Some(before) = before {
            if rules.delta && !is_hole {
                let about = Circumstances {
                    is_switched: scene.is_switched,
                    is_taken: open.speaks_other_than(Detector::Delta),
                    is_mature,
                    fleet_tail: scene.fleet_tail,
                };
                let may_speak = self.samples > rules.warm_up_samples;
                let finding = self.delta.take(before.value, sample, rules, about);
                let finding = if may_speak { finding } else { Finding::Nothing };
                open.report_learned(Detector::Delta, finding, sample, scene);
            }
            if rules.stuck && !is_gap {
                let finding = self.stuck.take(before.value, sample, rules, is_mature);
                open.report_learned(Detector::Stuck, finding, sample, scene);
            }
        }
        if let Some(phase) = scene.phase
            && let Some(baseline) = &mut self.baseline
        {
            let is_tainted = open.speaks_other_than(Detector::Baseline);
            let finding = baseline.take(sample, phase, rules, is_tainted);
            open.report_learned(Detector::Baseline, finding, sample, scene);
        } else if let Some(ewma) = &mut self.ewma {
            let grid = self.delta.grid(rules);
            let may_speak = is_mature && !open.speaks_other_than(Detector::Ewma);
            let finding = ewma.take(sample, rules, self.delta.usual_step(), grid, may_speak);
            open.report_learned(Detector::Ewma, finding, sample, scene);
        }
    }

    /// What comes next begins anew, as after a gap.
    fn forget_last(&mut self) {
        self.last = None;
    }

    /// The sample before this one, which is then the last; nothing at all when it is a late one.
    /// Only when many in a row are late has the clock been set back.
    #[inline]
    #[expect(clippy::option_option, reason = "not to be looked at, or the first one")]
    fn before(&mut self, sample: Sample) -> Option<Option<Sample>> {
        let Some(last) = self.last else {
            self.last = Some(sample);
            return Some(None);
        };
        if sample.time_us < last.time_us {
            self.late += 1;
            if self.late < LATE_MAX {
                return None;
            }
            self.last = None;
        }
        self.late = 0;
        Some(self.last.replace(sample))
    }

    #[cold]
    fn restart(&mut self, sample: Sample) {
        self.delta.begin();
        self.stuck.restart(sample);
        if let Some(baseline) = &mut self.baseline {
            baseline.restart();
        }
        if let Some(ewma) = &mut self.ewma {
            ewma.restart(sample.value);
        }
    }
}

/// What the detectors that learn keep of a channel, at most.
pub(super) const LEARNED_OCTETS: usize =
    size_of::<Learned>() + size_of::<Ewma>() + baseline::OCTETS;
/// Usual times between samples that make a hole, over which no step is measured,
const HOLE_INTERVALS: f32 = 4.0;
/// or a gap, after which all is new, if it also lasts
const GAP_INTERVALS: f32 = 10.0;
/// this long.
const GAP_US: f32 = 30e6;
/// So many late samples in a row are no late samples.
pub(super) const LATE_MAX: u32 = 64;
