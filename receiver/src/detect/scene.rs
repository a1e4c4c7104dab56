//! Where a sample stands, and where events are opened, changed and closed.

use std::collections::HashMap;

use protocol::SpacecraftId;
use serde::{Deserialize, Serialize};

use super::{
    CloseReason, Detector, Event, Severity, Subject, Violation, WatchCounts, orbit::Phase,
};

/// What is known around a sample, for the monitor that looks at it.
pub(super) struct Scene<'a> {
    pub(super) station: &'a str,
    pub(super) spacecraft: SpacecraftId,
    pub(super) subject: Subject,
    pub(super) phase: Option<Phase>,
    /// Whole orbits since the satellite was first heard.
    pub(super) orbits: u32,
    /// The satellite has proven itself.
    pub(super) is_proven: bool,
    /// Something was switched: jumps mean nothing.
    pub(super) is_switched: bool,
    /// The satellite's mode is detumble.
    pub(super) is_tumbling: bool,
    /// What the channel does by nature in most of the fleet.
    pub(super) fleet_tail: f32,
    pub(super) incident: &'a mut Incident,
    pub(super) changes: &'a mut Changes,
}

/// Events that begin together share the identity of the first one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Incident {
    id: i64,
    at_us: i64,
}

/// What happened to events since it was last stored.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The newest state of each event that has changed.
    pub(super) events: HashMap<i64, Event>,
    /// Events that are open, and how many may be.
    pub(super) open: usize,
    pub(super) open_max: usize,
    pub(super) counts: WatchCounts,
}

impl Scene<'_> {
    /// Opens an event, if there is room for one more. Half of the room is for satellites that have
    /// proven themselves, so that forged ids cannot use up all of it.
    pub(super) fn open(
        &mut self,
        detector: Detector,
        violation: Violation,
        severity: Severity,
        time_us: i64,
    ) -> Option<Event> {
        let open_max = self.changes.open_max;
        let open_max = if self.is_proven { open_max } else { open_max.div_ceil(2) };
        if self.changes.open >= open_max {
            self.changes.counts.refused += 1;
            return None;
        }
        let Self { station, spacecraft, subject, .. } = *self;
        let id = Event::identity(station, spacecraft, subject, detector, violation.since_us);
        let is_same_incident =
            self.incident.id != 0 && (time_us - self.incident.at_us).abs() <= INCIDENT_US;
        if !is_same_incident {
            *self.incident = Incident { id, at_us: time_us };
        }
        let event = Event {
            id,
            spacecraft,
            subject,
            detector,
            severity,
            opened_us: violation.since_us,
            // What decides may be a late sample.
            detected_us: time_us.max(violation.since_us),
            last_us: time_us.max(violation.since_us),
            closed: None,
            score: violation.score,
            threshold: violation.threshold,
            expected: violation.expected as f32,
            observed: violation.observed as f32,
            peak: violation.observed as f32,
            samples: 1,
            incident: self.incident.id,
        };
        self.changes.open += 1;
        self.changes.counts.opened += 1;
        self.change(&event);
        Some(event)
    }

    /// An open event has gone on.
    pub(super) fn change(&mut self, event: &Event) {
        self.changes.events.insert(event.id, event.clone());
    }

    /// Closes an event.
    pub(super) fn close(&mut self, event: Event, at_us: i64, reason: CloseReason) {
        self.changes.close(event, at_us, reason);
    }
}

impl Changes {
    pub(super) fn close(&mut self, mut event: Event, at_us: i64, reason: CloseReason) {
        // A late sample may be what closes it.
        event.closed = Some((at_us.max(event.last_us), reason));
        self.open = self.open.saturating_sub(1);
        self.events.insert(event.id, event);
    }
}

impl Event {
    /// One more sample that violates.
    pub(super) fn go_on(&mut self, violation: Violation, severity: Severity, time_us: i64) {
        self.last_us = self.last_us.max(time_us);
        self.samples = self.samples.saturating_add(1);
        self.severity = self.severity.max(severity);
        self.score = self.score.max(violation.score);
        let off = |value: f32| (value - self.expected).abs();
        let observed = violation.observed as f32;
        if off(observed) > off(self.peak) {
            self.peak = observed;
        }
    }
}

/// Events of one satellite that open within this time belong together.
const INCIDENT_US: i64 = 1_000_000;
