//! Spacecraft ids that somebody makes up: they take nothing from true satellites, neither from those
//! that are known nor from those that come.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{SpacecraftId, Telemetry, health::Health, health::quantise};

use super::{
    SECOND_US, START_US,
    satellites::{frame, usual},
};
use crate::{
    chunk::{Record, Sample},
    detect::{Detector, Settings, Watch},
    queue::SHARDS,
};

/// The ids of true satellites; all others are forged.
const TRUE: std::ops::RangeInclusive<u16> = 30_001..=30_100;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;

/// As shipped, but warm after 200 samples.
fn settings() -> Settings {
    let mut settings = Settings::default();
    for rules in settings.rules.all_mut().iter_mut().flatten() {
        rules.warm_up_orbits = 0;
    }
    settings
}

/// A station's detectors and its clock.
struct Station {
    watch: Watch,
    now_us: i64,
}

impl Station {
    fn new(settings: Settings) -> Self {
        Self { watch: Watch::new(settings, "GS-01", 1), now_us: START_US }
    }

    /// One with memory for so many satellites.
    fn with_room(satellites: u64) -> Self {
        let octets = super::super::watch::octets_per_satellite() as u64;
        Self::new(Settings { memory: satellites * octets, ..settings() })
    }

    fn hear(&mut self, number: u16, health: Health) {
        let spacecraft = SpacecraftId::new(number).unwrap();
        let octets = frame(spacecraft, 1, self.now_us, health);
        let sample = Sample::Frame(Telemetry::from_checked(&octets).unwrap());
        self.watch.take(&Record { received_us: self.now_us, sample });
    }

    /// A frame a second of each true satellite.
    fn fly(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_us += SECOND_US;
            for number in TRUE {
                let index = self.now_us / SECOND_US + i64::from(number) * 100_000;
                self.hear(number, usual(index as u64));
            }
        }
    }

    /// Every id that is not a true satellite's, so often each.
    fn forge(&mut self, times: usize) {
        for _ in 0..times {
            for number in (1..=u16::MAX).filter(|number| !TRUE.contains(number)) {
                self.now_us += 10;
                self.hear(number, Health::default());
            }
        }
    }

    /// Whether a spike in a channel of each true satellite is found, by what was learned of it.
    fn finds_spikes(&mut self) -> bool {
        self.watch.forget_changes();
        self.now_us += SECOND_US;
        for number in TRUE {
            let spike = Health { battery_temp: quantise::battery_temp(20.0), ..usual(7) };
            self.hear(number, spike);
        }
        self.fly(1);
        TRUE.into_iter().all(|number| {
            self.watch.changes().any(|event| {
                event.spacecraft.number() == number && event.detector == Detector::Delta
            })
        })
    }
}

#[test]
fn satellites_that_are_known_keep_what_was_learned() {
    for times in [1, 5] {
        let mut station = Station::new(settings());
        station.fly(400);
        station.forge(times);
        station.fly(60);
        station.forge(times);
        assert!(TRUE.into_iter().all(|number| station.watch.learns(number)));
        assert!(station.finds_spikes(), "each forged id came {times} times");
    }
}

#[test]
fn satellites_that_come_into_a_full_memory_get_their_room() {
    for times in [1, 5] {
        let mut station = Station::new(settings());
        station.forge(times);
        let forged = station.watch.counts().limits_only;
        assert!(forged > 60_000, "the memory is full: {forged}");
        station.fly(100);
        assert!(!TRUE.into_iter().any(|number| station.watch.learns(number)), "no proof yet");
        // The forger goes on.
        station.forge(times);
        station.fly(400);
        // Each has taken the room of a forged one.
        assert_eq!(station.watch.counts().limits_only, forged + 100);
        assert!(TRUE.into_iter().all(|number| station.watch.learns(number)));
        assert!(station.finds_spikes(), "each forged id came {times} times");
    }
}

#[test]
fn a_restart_restores_satellites_before_forged_ids() {
    let mut station = Station::new(settings());
    station.forge(1);
    station.fly(500);
    // Less memory, or fewer satellites for each of more writers.
    let mut restarted = Station::with_room(110);
    restarted.now_us = station.now_us;
    for shard in 0..SHARDS {
        let Some(octets) = station.watch.snapshot(shard).unwrap() else { continue };
        restarted.watch.restore(&octets, shard, station.now_us).unwrap();
    }
    assert!(TRUE.into_iter().all(|number| restarted.watch.learns(number)));
    restarted.forge(1);
    restarted.fly(30);
    assert!(restarted.finds_spikes());
}

#[test]
fn a_fleet_larger_than_the_memory_does_not_take_turns() {
    let mut station = Station::with_room(40);
    station.fly(1);
    let learn = |station: &Station| -> Vec<u16> {
        TRUE.filter(|&number| station.watch.learns(number)).collect()
    };
    let first = learn(&station);
    assert_eq!(first, (30_001..=30_040).collect::<Vec<_>>());
    station.fly(600);
    assert_eq!(learn(&station), first);
    assert_eq!(station.watch.counts().limits_only, 60);
}

#[test]
fn who_falls_silent_makes_room_after_ten_times_as_long_as_it_was_heard() {
    let mut station = Station::with_room(1);
    let mut minutes = |number: u16, minutes: u64| {
        for index in 0..60 * minutes {
            station.now_us += SECOND_US;
            station.hear(number, usual(index));
        }
        (station.watch.learns(1), station.watch.learns(2))
    };
    // Warm after 200 samples, but these are fewer.
    assert_eq!(minutes(1, 3), (true, false));
    assert_eq!(minutes(2, 25), (true, false));
    assert_eq!(minutes(2, 20), (false, true));
    // And the other way round, until the warm-up of the other is complete: then it takes a week.
    assert_eq!(minutes(1, 60), (false, true));
}

#[test]
fn the_same_samples_give_the_same_events_and_holders() {
    let fly = || {
        let mut station = Station::with_room(60);
        station.fly(20);
        station.forge(2);
        station.fly(300);
        station.finds_spikes();
        let mut events: Vec<_> = station.watch.changes().cloned().collect();
        events.sort_by_key(|event| event.id);
        let learn: Vec<_> = (1..=u16::MAX).filter(|&n| station.watch.learns(n)).collect();
        (events, learn)
    };
    let (events, learn) = fly();
    assert!(events.len() >= 60 && learn.len() == 60, "{} {}", events.len(), learn.len());
    assert_eq!(fly(), (events, learn));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whoever is heard each minute for three minutes has its room for good once it got it, whatever
    /// else is sent, and the memory is never exceeded.
    #[test]
    fn a_proven_holder_that_is_heard_keeps_its_room(
        room in 1_u64..5,
        sent in prop::collection::vec((1_u16..12, 1_u8..40, 0_i64..40), 1..300),
    ) {
        let mut station = Station::with_room(room);
        // By id: samples, and the minutes in which they came.
        let mut heard: BTreeMap<u16, (u32, Vec<i64>)> = BTreeMap::new();
        let mut kept: Vec<u16> = Vec::new();
        for (index, (number, frames, pause_s)) in sent.into_iter().enumerate() {
            station.now_us += pause_s * SECOND_US;
            for _ in 0..frames {
                station.now_us += SECOND_US / 10;
                let minute = station.now_us.div_euclid(MINUTE_US);
                let (samples, minutes) = heard.entry(number).or_default();
                *samples += 1;
                if minutes.last() != Some(&minute) {
                    minutes.push(minute);
                }
                station.hear(number, usual(index as u64));
            }
            let now = station.now_us.div_euclid(MINUTE_US);
            for number in &kept {
                let (_, minutes) = &heard[number];
                let silent = now - minutes.last().unwrap();
                // Shorter than its patience, by whole minutes.
                if silent < 10 * minutes.len() as i64 {
                    prop_assert!(station.watch.learns(*number), "{number}: {minutes:?}");
                }
            }
            let is_proven = |(samples, minutes): &(u32, Vec<i64>)| *samples >= 20 && minutes.len() >= 3;
            let learns = |number: &&u16| station.watch.learns(**number);
            prop_assert!(heard.keys().filter(learns).count() as u64 <= room);
            kept = heard.keys().filter(learns).filter(|n| is_proven(&heard[n])).copied().collect();
        }
        let limits_only = heard.keys().filter(|number| !station.watch.learns(**number)).count();
        prop_assert_eq!(station.watch.counts().limits_only, limits_only as u64);
    }
}

#[test]
fn forged_ids_that_fall_silent_do_not_use_up_the_events() {
    let mut station = Station::new(Settings { events_max: 1_000, ..settings() });
    station.fly(200);
    station.forge(1);
    station.watch.tick(station.now_us + HOUR_US);
    // 99 satellites are silent as well. All of them have an event.
    let silent = |number: u16| {
        station
            .watch
            .changes()
            .any(|event| event.spacecraft.number() == number && event.detector == Detector::Silence)
    };
    assert!(TRUE.into_iter().all(silent));
    assert!(station.watch.counts().refused > 60_000);
}
