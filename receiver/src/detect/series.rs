//! One channel by itself: a recording, looked at as the station would have.

use protocol::SpacecraftId;

use super::{
    Event, Rules, Sample, Subject,
    monitor::Monitor,
    orbit::Orbit,
    scene::{Changes, Incident, Scene},
};

/// A recording under watch.
#[derive(Debug)]
pub struct Series {
    rules: Rules,
    monitor: Monitor,
    orbit: Orbit,
    first_us: Option<i64>,
    incident: Incident,
    changes: Changes,
}

impl Series {
    /// Nothing seen yet; with the period of the orbit, µs, if there is one.
    #[must_use]
    pub fn new(rules: Rules, orbit_us: Option<i64>) -> Self {
        Self {
            monitor: Monitor::new(&rules, true),
            rules,
            orbit: orbit_us.map_or_else(Orbit::default, Orbit::of_period),
            first_us: None,
            incident: Incident::default(),
            changes: Changes { open_max: usize::MAX, ..Changes::default() },
        }
    }

    /// Takes the next sample.
    pub fn take(&mut self, sample: Sample) {
        let first_us = *self.first_us.get_or_insert(sample.time_us);
        let mut scene = Scene {
            station: "",
            spacecraft: SpacecraftId::FIRST,
            subject: Subject { kind: 0, channel: Some(0) },
            phase: self.orbit.phase(sample.time_us),
            orbits: self.orbit.flown(sample.time_us - first_us),
            is_proven: true,
            is_switched: false,
            is_tumbling: false,
            fleet_tail: 0.0,
            incident: &mut self.incident,
            changes: &mut self.changes,
        };
        self.monitor.take(sample, &self.rules, &mut scene);
    }

    /// Every event so far, in the order in which they opened.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<_> = self.changes.events.values().cloned().collect();
        events.sort_by_key(|event| (event.opened_us, event.detected_us));
        events
    }
}
