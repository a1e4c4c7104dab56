use super::{Detection, tally::Tally};
use crate::{
    anomaly::Kind,
    verify::{
        alarms::Alarm,
        truth::{Moment, TrueAnomaly},
    },
};
use proptest::prelude::*;

/// Samples a second apart.
const SECOND: i64 = 1_000_000;

fn event(kind: Kind, start: i64, end: i64) -> TrueAnomaly {
    TrueAnomaly {
        satellite_id: "SAT-01".into(),
        channel: "cpu_temp".into(),
        kind,
        start: Moment(start * SECOND),
        end: Moment(end * SECOND),
        sent: 1,
    }
}

/// Opened and decided.
fn alarm(opened: i64, detected: i64) -> Alarm {
    Alarm { opened_us: opened * SECOND, detected_us: detected * SECOND }
}

fn times(samples: i64) -> Vec<i64> {
    (0..samples).map(|sample| sample * SECOND).collect()
}

fn score(events: &[TrueAnomaly], alarms: &[Alarm], times: &[i64]) -> Detection {
    let mut detection = Detection::default();
    detection.add("cpu_temp", &events.iter().collect::<Vec<_>>(), alarms, times);
    detection
}

/// Found, false, neither.
fn counts(detection: &Detection) -> (u64, u64, u64) {
    (detection.all.found(), detection.all.false_alarms, detection.neutral)
}

#[test]
fn an_alarm_is_right_at_the_onset_and_in_time() {
    let events = [event(Kind::Step, 1_000, 1_200)];
    for (opened, detected, expected) in [
        (1_000, 1_000, (1, 0, 0)),
        (1_020, 1_020, (1, 0, 0)),
        (1_021, 1_021, (0, 0, 1)),
        (980, 1_000, (1, 0, 0)),
        (979, 1_000, (0, 1, 0)),
        (1_000, 1_060, (1, 0, 0)),
        (1_000, 1_061, (0, 0, 1)),
        (980, 1_060, (1, 0, 0)),
        // Before the event has begun nobody knows of it.
        (990, 999, (0, 1, 0)),
        (1_150, 1_150, (0, 0, 1)),
        (1_260, 1_260, (0, 0, 1)),
        (1_261, 1_261, (0, 1, 0)),
        (5, 5, (0, 1, 0)),
    ] {
        let detection = score(&events, &[alarm(opened, detected)], &times(2_000));
        assert_eq!(counts(&detection), expected, "{opened} {detected}");
        assert_eq!(detection.all.events, 1);
        assert_eq!(detection.channels["cpu_temp"].false_alarms, expected.1);
    }
}

#[test]
fn distances_are_samples_whatever_the_time_between_them() {
    // Ten seconds apart, and a hundred of them missing just after the event's start.
    let times: Vec<i64> = (0..2_000)
        .filter(|sample| !(1_001..1_101).contains(sample))
        .map(|sample| sample * 10 * SECOND)
        .collect();
    let events = [event(Kind::Step, 10_000, 12_000)];
    let detection = score(&events, &[alarm(11_190, 11_590)], &times);
    assert_eq!(counts(&detection), (1, 0, 0));
    let delay = detection.all.delay(50).unwrap();
    assert_eq!((delay.samples, delay.us), (59, 1_590 * SECOND));
    assert_eq!(counts(&score(&events, &[alarm(11_200, 11_590)], &times)), (1, 0, 0));
    assert_eq!(counts(&score(&events, &[alarm(11_210, 11_590)], &times)), (0, 0, 1));
    assert_eq!(counts(&score(&events, &[alarm(11_000, 11_610)], &times)), (0, 0, 1));
}

#[test]
fn several_detectors_find_an_event_once() {
    let events = [event(Kind::Stuck, 1_000, 1_150), event(Kind::Spike, 1_400, 1_400)];
    let alarms =
        [alarm(1_000, 1_050), alarm(1_001, 1_030), alarm(1_100, 1_110), alarm(1_401, 1_401)];
    let detection = score(&events, &alarms, &times(3_000));
    assert_eq!(counts(&detection), (2, 0, 1));
    assert_eq!(detection.kinds[&Kind::Stuck].delay(50).unwrap().samples, 30, "the first");
    assert_eq!(detection.kinds[&Kind::Spike].delay(50).unwrap().samples, 1);
    assert_eq!(detection.all.f1(), Some(1.0));
}

#[test]
fn shares_are_those_of_the_textbook() {
    let events = [100, 400, 700, 1_000].map(|start| event(Kind::Spike, start, start));
    // Two of four found, and each of two detectors wrong about the same sample.
    let alarms = [alarm(100, 100), alarm(400, 410), alarm(200, 200), alarm(200, 201)];
    let all = score(&events, &alarms, &times(2_000)).all;
    assert_eq!((all.recall(), all.precision(), all.f1()), (Some(0.5), Some(0.5), Some(0.5)));
    assert_eq!((all.delay(50).unwrap().samples, all.delay(95).unwrap().samples), (0, 10));
    let nothing = Tally::default();
    assert_eq!((nothing.recall(), nothing.precision(), nothing.f1()), (None, None, None));
    assert_eq!(nothing.delay(50), None);
    let unheard = score(&events, &[], &times(2_000)).all;
    assert_eq!((unheard.recall(), unheard.precision(), unheard.f1()), (Some(0.0), None, Some(0.0)));
    let calm = score(&[], &[alarm(1, 1)], &times(2_000)).all;
    assert_eq!((calm.recall(), calm.precision(), calm.f1()), (None, Some(0.0), Some(0.0)));
}

#[test]
fn events_that_could_not_be_found_are_left_out() {
    let late = [event(Kind::Drift, 1_000, 1_300)];
    for (samples, is_judged) in [(1_061, true), (1_060, false)] {
        let detection = score(&late, &[alarm(1_000, 1_010)], &times(samples));
        assert_eq!(detection.all.events, u64::from(is_judged));
        assert_eq!(detection.cut_off, u64::from(!is_judged));
        assert_eq!(detection.neutral, u64::from(!is_judged));
    }
    let unsent = [TrueAnomaly { sent: 0, ..event(Kind::Spike, 1_000, 1_000) }];
    let detection = score(&unsent, &[], &times(2_000));
    assert_eq!((detection.all.events, detection.not_received), (0, 1));
    let mut without = times(2_000);
    without.remove(1_000);
    let detection = score(&[event(Kind::Spike, 1_000, 1_000)], &[], &without);
    assert_eq!((detection.all.events, detection.not_received), (0, 1));
    let detection = score(&[event(Kind::Spike, 1_000, 1_000)], &[alarm(5, 5)], &[]);
    assert_eq!((detection.all.events, detection.not_received), (0, 1));
    assert_eq!(detection.all.false_alarms, 1);
}

#[test]
fn false_alarms_are_told_per_million_values() {
    let mut detection = score(&[], &[alarm(1, 1), alarm(2, 2)], &times(10));
    assert_eq!(detection.false_per_million(), None);
    detection.values = 4_000_000;
    assert_eq!(detection.false_per_million(), Some(0.5));
}

proptest! {
    /// Every alarm has one verdict, and nobody finds more than there is.
    #[test]
    fn nothing_is_counted_twice(
        starts in prop::collection::btree_set(0..1_500_i64, 0..8),
        length in 0..200_i64,
        alarms in prop::collection::vec((0..2_000_i64, 0..100_i64), 0..30),
    ) {
        let events: Vec<_> =
            starts.iter().map(|&start| event(Kind::Noise, start, start + length)).collect();
        let alarms: Vec<_> = alarms.iter().map(|&(at, after)| alarm(at, at + after)).collect();
        let detection = score(&events, &alarms, &times(2_000));
        let (found, wrong, neutral) = counts(&detection);
        prop_assert!(found <= detection.all.events);
        prop_assert!(found + wrong + neutral <= alarms.len() as u64);
        prop_assert_eq!(detection.all.events, events.len() as u64);
        let again = score(&events, &alarms.iter().rev().copied().collect::<Vec<_>>(), &times(2_000));
        prop_assert_eq!(again.all.delay(50), detection.all.delay(50));
        prop_assert_eq!(counts(&again), (found, wrong, neutral));
    }
}
