//! One channel under watch: its detectors, and the events that they have open.
//!
//! At most one event a detector is open, and of the detectors that learn only one speaks at a time:
//! what one of them has found, the others see too. A channel that opens more than
//! [`OPENINGS_PER_HOUR`] gets one event that says so instead.

use serde::{Deserialize, Serialize};

use super::{
    CloseReason, Detector, Event, Finding, Rules, Sample, Severity, Violation,
    baseline::{self, Baseline},
    delta::{Circumstances, Delta},
    ewma::Ewma,
    limits::Limits,
    scene::Scene,
    stuck::Stuck,
};

/// A channel's state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Monitor {
    limits: Limits,
    learned: Option<Box<Learned>>,
    pub(super) open: Vec<Open>,
    /// Openings in this hour of the channel's time.
    hour: i64,
    openings: u32,
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

/// An open event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) event: Event,
    /// Good samples in a row.
    clean: u32,
}

impl Monitor {
    /// A channel that has not been heard; with `learns`, not only its limits are looked at.
    pub(super) fn new(rules: &Rules, learns: bool) -> Self {
        let learned = (learns && rules.learns()).then(|| Box::new(Learned::new(rules)));
        let limits = Limits::default();
        Self { limits, learned, open: Vec::new(), hour: 0, openings: 0, told: None }
    }

    /// Takes a sample.
    #[inline]
    pub(super) fn take(&mut self, sample: Sample, rules: &Rules, scene: &mut Scene<'_>) {
        if !self.open.is_empty() {
            self.end_chatter(sample.time_us, scene);
        }
        let (finding, severity) = self.limits.take(sample, rules);
        self.report(Detector::Limits, finding, severity, sample, scene);
        let Some(mut learned) = self.learned.take() else { return };
        if scene.is_tumbling && !rules.while_tumbling {
            self.rest(&mut learned, sample, scene);
        } else {
            self.learn(&mut learned, sample, rules, scene);
        }
        self.learned = Some(learned);
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

    /// Whether natural jumps are known.
    #[inline]
    pub(super) fn is_mature(&self) -> bool {
        self.learned.as_ref().is_some_and(|learned| learned.is_mature)
    }

    /// The jumps that the channel makes by nature.
    pub(super) fn natural_jump(&self) -> f32 {
        self.learned.as_ref().map_or(0.0, |learned| learned.delta.tail.size())
    }

    /// Whether anything but limits is looked at.
    pub(super) fn learns(&self) -> bool {
        self.learned.is_some()
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
        let is_over = |open: &mut Open| match open.event.detector {
            Detector::Limits => false,
            Detector::Delta => !(learns && rules.delta),
            Detector::Stuck => !(learns && rules.stuck),
            Detector::Baseline => !(learns && rules.baseline),
            Detector::Ewma => !(learns && rules.ewma),
            Detector::Silence | Detector::Chatter => !learns,
        };
        self.open.extract_if(.., is_over).map(|open| open.event).collect()
    }

    /// The events that are open.
    pub(super) fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.open.iter().map(|open| &open.event)
    }

    /// The satellite has started anew: what comes next says nothing about what was.
    pub(super) fn restart(&mut self) {
        if let Some(learned) = &mut self.learned {
            learned.last = None;
        }
    }

    /// Closes everything, since nothing has come for a while. What comes then begins anew, so that
    /// no event is opened a second time.
    pub(super) fn close_all(&mut self, at_us: i64, reason: CloseReason, scene: &mut Scene<'_>) {
        self.limits = Limits::default();
        self.restart();
        while let Some(open) = self.open.pop() {
            scene.close(open.event, at_us, reason);
        }
    }

    #[inline]
    fn learn(
        &mut self,
        learned: &mut Learned,
        sample: Sample,
        rules: &Rules,
        scene: &mut Scene<'_>,
    ) {
        let Some(before) = learned.before(sample) else { return };
        learned.samples = learned.samples.saturating_add(1);
        let step_us = before.map_or(0, |before| sample.time_us - before.time_us) as f32;
        let is_gap = step_us > (GAP_INTERVALS * learned.interval_us).max(GAP_US);
        let is_hole = before.is_none() || step_us > HOLE_INTERVALS * learned.interval_us;
        if is_gap {
            self.close_learned(sample.time_us, CloseReason::Gap, scene);
        }
        if before.is_none() || is_gap {
            learned.restart(sample);
        }
        if learned.interval_us == 0.0 {
            learned.interval_us = step_us;
        } else if !is_gap {
            let weight = if learned.samples < 16 { 0.5 } else { 1.0 / 16.0 };
            learned.interval_us += (step_us - learned.interval_us) * weight;
        }
        learned.is_mature |=
            learned.samples > rules.warm_up_samples && scene.orbits >= rules.warm_up_orbits;
        let is_mature = learned.is_mature;
        if let Some(before) = before {
            if rules.delta && !is_hole {
                let about = Circumstances {
                    is_switched: scene.is_switched,
                    is_taken: self.speaks_other_than(Detector::Delta),
                    is_mature,
                    fleet_tail: scene.fleet_tail,
                };
                let may_speak = learned.samples > rules.warm_up_samples;
                let finding = learned.delta.take(before.value, sample, rules, about);
                let finding = if may_speak { finding } else { Finding::Nothing };
                self.report_learned(Detector::Delta, finding, sample, scene);
            }
            if rules.stuck && !is_gap {
                let finding = learned.stuck.take(before.value, sample, rules, is_mature);
                self.report_learned(Detector::Stuck, finding, sample, scene);
            }
        }
        if let (Some(baseline), Some(phase)) = (&mut learned.baseline, scene.phase) {
            let is_tainted = self.speaks_other_than(Detector::Baseline);
            let finding = baseline.take(sample, phase, rules, is_tainted);
            self.report_learned(Detector::Baseline, finding, sample, scene);
        } else if let Some(ewma) = &mut learned.ewma {
            let grid = learned.delta.grid(rules);
            let may_speak = is_mature && !self.speaks_other_than(Detector::Ewma);
            let finding = ewma.take(sample, rules, learned.delta.usual_step(), grid, may_speak);
            self.report_learned(Detector::Ewma, finding, sample, scene);
        }
    }

    /// Nothing is learned from what the channel does now, and nothing said about it. What comes
    /// afterwards begins anew, as after a gap.
    fn rest(&mut self, learned: &mut Learned, sample: Sample, scene: &mut Scene<'_>) {
        learned.last = None;
        self.close_learned(sample.time_us, CloseReason::Tumbling, scene);
    }

    #[inline]
    fn report_learned(
        &mut self,
        detector: Detector,
        finding: Finding,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        let severity = match finding {
            Finding::Nothing if self.open.is_empty() => return,
            Finding::Violates(violation) if violation.score >= WARNING_SCORE => Severity::Warning,
            _ => Severity::Watch,
        };
        if matches!(finding, Finding::Violates(_)) && self.speaks_other_than(detector) {
            return;
        }
        self.report(detector, finding, severity, sample, scene);
    }

    #[inline]
    fn report(
        &mut self,
        detector: Detector,
        finding: Finding,
        severity: Severity,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        if matches!(finding, Finding::Nothing) && self.open.is_empty() {
            return;
        }
        let place = self.open.iter().position(|open| open.event.detector == detector);
        let Some(place) = place else {
            if let Finding::Violates(violation) = finding {
                self.open(detector, violation, severity, sample, scene);
            }
            return;
        };
        let open = &mut self.open[place];
        let reason = match finding {
            Finding::Violates(violation) => {
                open.clean = 0;
                open.event.go_on(violation, severity, sample);
                scene.change(&open.event);
                return;
            }
            Finding::Holds => {
                open.clean = 0;
                return;
            }
            Finding::Nothing => {
                open.clean += 1;
                if open.clean < CLEAN_SAMPLES {
                    return;
                }
                CloseReason::Clean
            }
            Finding::Settled => CloseReason::Settled,
        };
        let open = self.open.swap_remove(place);
        scene.close(open.event, sample.time_us, reason);
    }

    #[cold]
    fn open(
        &mut self,
        detector: Detector,
        violation: Violation,
        severity: Severity,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        let hour = sample.time_us.div_euclid(HOUR_US);
        if hour != self.hour {
            self.hour = hour;
            self.openings = 0;
        }
        self.openings += 1;
        let (detector, violation) = if self.openings > OPENINGS_PER_HOUR {
            // It begins where the budget ends, whatever is the matter.
            (Detector::Chatter, Violation { since_us: sample.time_us, ..violation })
        } else {
            (detector, violation)
        };
        let known = self.open.iter_mut().find(|open| open.event.detector == detector);
        if let Some(open) = known {
            open.event.go_on(violation, severity, sample);
            open.clean = 0;
            scene.change(&open.event);
        } else if let Some(event) = scene.open(detector, violation, severity, sample) {
            self.open.push(Open { event, clean: 0 });
        }
    }

    /// Chatter is over when an hour has kept to its budget.
    fn end_chatter(&mut self, now_us: i64, scene: &mut Scene<'_>) {
        let is_over = |open: &mut Open| {
            open.event.detector == Detector::Chatter && now_us - open.event.last_us >= HOUR_US
        };
        for open in self.open.extract_if(.., is_over) {
            scene.close(open.event, now_us, CloseReason::Clean);
        }
    }

    fn close_learned(&mut self, at_us: i64, reason: CloseReason, scene: &mut Scene<'_>) {
        let is_learned = |open: &mut Open| open.event.detector != Detector::Limits;
        for open in self.open.extract_if(.., is_learned) {
            scene.close(open.event, at_us, reason);
        }
    }

    /// Whether another detector that learns has an event open.
    #[inline]
    fn speaks_other_than(&self, detector: Detector) -> bool {
        self.open.iter().any(|open| {
            let other = open.event.detector;
            other != detector && !matches!(other, Detector::Limits | Detector::Chatter)
        })
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
/// Good samples in a row that close an event.
const CLEAN_SAMPLES: u32 = 20;
/// Events a channel may open in an hour of its time.
const OPENINGS_PER_HOUR: u32 = 12;
const HOUR_US: i64 = 3_600_000_000;
/// So many thresholds far it is a warning.
const WARNING_SCORE: f32 = 2.0;
/// Usual times between samples that make a hole, over which no step is measured,
const HOLE_INTERVALS: f32 = 4.0;
/// or a gap, after which all is new, if it also lasts
const GAP_INTERVALS: f32 = 10.0;
/// this long.
const GAP_US: f32 = 30e6;
/// So many late samples in a row are no late samples.
pub(super) const LATE_MAX: u32 = 64;
