//! The events that a channel has open.
//!
//! At most one event a detector is open, and of the detectors that learn only one speaks at a time:
//! what one of them has found, the others see too. A channel that opens more than
//! [`OPENINGS_PER_HOUR`] gets one event that says so instead.
//!
//! Nearly always nothing is found and nothing is open: whatever is asked then is answered in place.

use serde::{Deserialize, Serialize};

use super::{CloseReason, Detector, Event, Finding, Sample, Severity, Violation, scene::Scene};

/// A channel's open events.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct OpenEvents {
    all: Vec<Open>,
    /// Openings in this hour of the channel's time.
    hour: i64,
    openings: u32,
}

/// An open event.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    event: Event,
    /// Good samples in a row.
    clean: u32,
}

impl OpenEvents {
    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.all.iter().map(|open| &open.event)
    }

    /// All of them, to be changed.
    pub(super) fn events_mut(&mut self) -> impl Iterator<Item = &mut Event> {
        self.all.iter_mut().map(|open| &mut open.event)
    }

    /// Whether another detector that learns has an event open.
    #[inline]
    pub(super) fn speaks_other_than(&self, detector: Detector) -> bool {
        self.events().any(|event| {
            let other = event.detector;
            other != detector && !matches!(other, Detector::Limits | Detector::Chatter)
        })
    }

    /// What one of the detectors that learn has to say about a sample.
    #[inline]
    pub(super) fn report_learned(
        &mut self,
        detector: Detector,
        finding: Finding,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        let severity = match finding {
            Finding::Nothing if self.is_empty() => return,
            Finding::Violates(violation) if violation.score >= WARNING_SCORE => Severity::Warning,
            _ => Severity::Watch,
        };
        if matches!(finding, Finding::Violates(_)) && self.speaks_other_than(detector) {
            return;
        }
        self.settle(detector, finding, severity, sample, scene);
    }

    /// What a detector has to say about a sample.
    #[inline]
    pub(super) fn report(
        &mut self,
        detector: Detector,
        finding: Finding,
        severity: Severity,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        if !matches!(finding, Finding::Nothing) || !self.is_empty() {
            self.settle(detector, finding, severity, sample, scene);
        }
    }

    /// Chatter is over when an hour has kept to its budget.
    #[inline]
    pub(super) fn end_chatter(&mut self, now_us: i64, scene: &mut Scene<'_>) {
        let is_over = |event: &Event| {
            event.detector == Detector::Chatter && now_us - event.last_us >= HOUR_US
        };
        if !self.is_empty() {
            self.close_those(is_over, now_us, CloseReason::Clean, scene);
        }
    }

    /// Closes what the detectors that learn have open.
    pub(super) fn close_learned(&mut self, at_us: i64, reason: CloseReason, scene: &mut Scene<'_>) {
        self.close_those(|event| event.detector != Detector::Limits, at_us, reason, scene);
    }

    /// Closes everything.
    pub(super) fn close_all(&mut self, at_us: i64, reason: CloseReason, scene: &mut Scene<'_>) {
        self.close_those(|_| true, at_us, reason, scene);
    }

    /// Gives away the events of those detectors.
    pub(super) fn give_up(&mut self, are_given: impl Fn(Detector) -> bool) -> Vec<Event> {
        let given = self.all.extract_if(.., |open| are_given(open.event.detector));
        given.map(|open| open.event).collect()
    }

    #[cold]
    fn settle(
        &mut self,
        detector: Detector,
        finding: Finding,
        severity: Severity,
        sample: Sample,
        scene: &mut Scene<'_>,
    ) {
        let place = self.all.iter().position(|open| open.event.detector == detector);
        let Some(place) = place else {
            if let Finding::Violates(violation) = finding {
                self.open(detector, violation, severity, sample, scene);
            }
            return;
        };
        let open = &mut self.all[place];
        let reason = match finding {
            Finding::Violates(violation) => {
                open.clean = 0;
                open.event.go_on(violation, severity, sample.time_us);
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
        let open = self.all.swap_remove(place);
        scene.close(open.event, sample.time_us, reason);
    }

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
        let known = self.all.iter_mut().find(|open| open.event.detector == detector);
        if let Some(open) = known {
            open.event.go_on(violation, severity, sample.time_us);
            open.clean = 0;
            scene.change(&open.event);
        } else if let Some(event) = scene.open(detector, violation, severity, sample.time_us) {
            self.all.push(Open { event, clean: 0 });
        }
    }

    #[cold]
    fn close_those(
        &mut self,
        are_over: impl Fn(&Event) -> bool,
        at_us: i64,
        reason: CloseReason,
        scene: &mut Scene<'_>,
    ) {
        for open in self.all.extract_if(.., |open| are_over(&open.event)) {
            scene.close(open.event, at_us, reason);
        }
    }
}

/// Good samples in a row that close an event.
const CLEAN_SAMPLES: u32 = 20;
/// Events a channel may open in an hour of its time.
const OPENINGS_PER_HOUR: u32 = 12;
const HOUR_US: i64 = 3_600_000_000;
/// So many thresholds far it is a warning.
const WARNING_SCORE: f32 = 2.0;
