//! Whatever comes, in whatever order: what is promised of events holds.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use protocol::{KINDS, SpacecraftId, Telemetry, health::Health};

use super::{SECOND_US, START_US, satellites};
use crate::{
    chunk::{self, Record},
    detect::{Detector, Event, Settings, Severity, Subject, Watch},
    sparse::Sparse,
};

#[derive(Clone, Debug)]
enum Step {
    /// A few frames of a satellite, with values about a level, so long after the last ones.
    Frames {
        satellite: u16,
        boot_count: u16,
        after_us: i64,
        level: i16,
        noise: u8,
        frames: u8,
    },
    /// One channel by JSON.
    Sparse {
        satellite: u16,
        after_us: i64,
        channel: usize,
        value: f64,
    },
    Tick {
        after_us: i64,
    },
    /// The changes are stored.
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    let after_us = prop_oneof![
        8 => Just(SECOND_US),
        2 => -100 * SECOND_US..100 * SECOND_US,
        1 => -90_000 * SECOND_US..90_000 * SECOND_US,
    ];
    let level = prop_oneof![3 => Just(2_000_i16), 1 => any::<i16>()];
    let frames = (1..4_u16, 0..3_u16, after_us.clone(), level, 0..50_u8, 1..100_u8).prop_map(
        |(satellite, boot_count, after_us, level, noise, frames)| Step::Frames {
            satellite,
            boot_count,
            after_us,
            level,
            noise,
            frames,
        },
    );
    let sparse = (1..4_u16, after_us.clone(), 0..20_usize, -1e9..1e9).prop_map(
        |(satellite, after_us, channel, value)| Step::Sparse {
            satellite,
            after_us,
            channel,
            value,
        },
    );
    prop_oneof![
        12 => frames,
        3 => sparse,
        2 => after_us.prop_map(|after_us| Step::Tick { after_us }),
        1 => Just(Step::Store),
    ]
}

/// What is known of the events so far.
#[derive(Default)]
struct Known {
    open: HashMap<(SpacecraftId, Subject, Detector), i64>,
    severity: HashMap<i64, Severity>,
    closed: HashSet<i64>,
}

impl Known {
    fn check(&mut self, watch: &Watch) {
        let (open, closed): (Vec<&Event>, Vec<_>) =
            watch.changes().partition(|event| event.closed.is_none());
        for event in closed {
            let key = (event.spacecraft, event.subject, event.detector);
            assert!(event.closed.unwrap().0 >= event.opened_us, "{event:?}");
            self.open.retain(|other, id| *other != key || *id != event.id);
            self.closed.insert(event.id);
        }
        for event in open {
            let key = (event.spacecraft, event.subject, event.detector);
            let id = *self.open.entry(key).or_insert(event.id);
            assert_eq!(id, event.id, "two at a time: {event:?}");
            assert!(!self.closed.contains(&event.id), "opened again: {event:?}");
        }
        for event in watch.changes() {
            assert!(event.detected_us >= event.opened_us, "{event:?}");
            assert!(event.last_us >= event.opened_us, "{event:?}");
            assert!(event.samples > 0 && event.incident != 0, "{event:?}");
            assert!(event.score.is_finite() && event.threshold.is_finite(), "{event:?}");
            let before = self.severity.insert(event.id, event.severity);
            assert!(before.is_none_or(|before| before <= event.severity), "{event:?}");
        }
        let counts = watch.counts();
        assert_eq!(counts.opened as usize, self.open.len() + self.closed.len(), "{counts:?}");
        assert!(self.open.len() <= EVENTS_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_keep_their_promises(
        steps in prop::collection::vec(step(), 1..60),
        orbit in prop::option::of(Just(5_700 * SECOND_US)),
    ) {
        let mut settings =
            Settings { events_max: EVENTS_MAX, orbit_us: orbit, ..Settings::default() };
        for rules in settings.rules.all_mut().iter_mut().flatten() {
            rules.warm_up_orbits = 0;
            rules.warm_up_samples = 70;
        }
        let mut watch = Watch::new(settings, "GS-01", 1);
        let mut known = Known::default();
        let (mut time_us, mut index) = (START_US, 0);
        for step in steps {
            match step {
                Step::Frames { satellite, boot_count, after_us, level, noise, frames } => {
                    time_us += after_us - SECOND_US;
                    for _ in 0..frames {
                        // No moment comes twice, since that is what gives an event its identity.
                        time_us += SECOND_US + 1;
                        index += 1;
                        let off = super::noise(index) * f64::from(noise);
                        let battery_temp = level.saturating_add(off as i16);
                        let health = Health { battery_temp, ..satellites::usual(index) };
                        let spacecraft = SpacecraftId::new(satellite).unwrap();
                        let octets = satellites::frame(spacecraft, boot_count, time_us, health);
                        let frame = Telemetry::from_checked(&octets).unwrap();
                        let sample = chunk::Sample::Frame(frame);
                        watch.take(&Record { received_us: time_us, sample });
                        known.check(&watch);
                    }
                }
                Step::Sparse { satellite, after_us, channel, value } => {
                    time_us += after_us + 1;
                    let spacecraft = SpacecraftId::new(satellite).unwrap();
                    let mut sparse = Sparse::new(KINDS[0], spacecraft, time_us);
                    sparse.set(channel, value);
                    let sample = chunk::Sample::Sparse(Box::new(sparse));
                    watch.take(&Record { received_us: time_us, sample });
                }
                Step::Tick { after_us } => watch.tick(time_us + after_us),
                Step::Store => watch.forget_changes(),
            }
            known.check(&watch);
        }
    }
}

const EVENTS_MAX: usize = 4;
