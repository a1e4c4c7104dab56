use receiver::detect::{Detector, Profile, Rules, Sample, Series};

use super::*;

/// A second a row, labelled where said.
fn recording(rows: usize, labelled: &[(usize, usize)], warmup_rows: usize) -> Recording {
    let row = |place: usize| Row {
        time_us: time_us(place),
        value: Some(0.0),
        is_anomaly: labelled.iter().any(|&(first, last)| (first..=last).contains(&place)),
    };
    Recording {
        group: String::new(),
        name: String::new(),
        kind: Profile::Other,
        warmup_rows,
        rows: (0..rows).map(row).collect(),
    }
}

fn time_us(row: usize) -> i64 {
    1_800_000_000_000_000 + row as i64 * 1_000_000
}

/// An event that the detectors made, moved to these rows.
fn event(opened: usize, decided: usize) -> Event {
    let limits = Rules { soft: Some((0.0, 1.0)), ..Rules::of(Profile::Other).limits_only() };
    let mut series = Series::new(limits, None);
    for row in 0..2 {
        series.take(Sample { time_us: time_us(row), value: 5.0 });
    }
    let event = series.events().remove(0);
    assert_eq!(event.detector, Detector::Limits);
    Event { opened_us: time_us(opened), detected_us: time_us(decided), ..event }
}

fn rights(labelled: &[(usize, usize)], events: &[(usize, usize)]) -> (Score, Vec<bool>) {
    let events: Vec<_> = events.iter().map(|&(opened, decided)| event(opened, decided)).collect();
    let (score, judgement) = score(&recording(1_000, labelled, 200), &events);
    (score, judgement.events.iter().map(|event| event.is_right).collect())
}

#[test]
fn an_onset_lies_within_twenty_rows() {
    for (opened, is_right) in [(479, false), (480, true), (500, true), (520, true), (521, false)] {
        let (score, judged) = rights(&[(500, 540)], &[(opened, 530)]);
        assert_eq!(judged, [is_right], "{opened}");
        assert_eq!((score.found, score.false_alarms), (is_right.into(), (!is_right).into()));
    }
}

#[test]
fn a_decision_comes_within_sixty() {
    for (decided, is_right) in [(490, true), (500, true), (560, true), (561, false)] {
        let (score, judged) = rights(&[(500, 700)], &[(490, decided)]);
        assert_eq!(judged, [is_right], "{decided}");
        let delay = is_right.then_some(decided.saturating_sub(500) as u64);
        assert_eq!(score.median_delay(), delay);
    }
}

#[test]
fn several_events_about_one_stretch_find_it_once() {
    let (score, judged) = rights(&[(500, 540)], &[(505, 510), (500, 503), (519, 540)]);
    assert_eq!(judged, [true; 3]);
    assert_eq!((score.found, score.false_alarms, score.events), (1, 0, 3));
    assert_eq!(score.median_delay(), Some(3));
    assert_eq!((score.precision(), score.recall(), score.f1()), (Some(1.0), Some(1.0), Some(1.0)));
}

#[test]
fn an_event_is_about_the_nearest_stretch() {
    let (score, judged) = rights(&[(500, 500), (515, 515)], &[(500, 500), (515, 515)]);
    assert_eq!(judged, [true; 2]);
    assert_eq!(score.found, 2);
}

#[test]
fn warm_up_need_not_be_found_but_alarms_in_it_count() {
    let (score, judged) = rights(&[(100, 110), (500, 510)], &[(50, 51), (100, 100), (500, 500)]);
    assert_eq!(judged, [false, true, true]);
    assert_eq!((score.labelled, score.found, score.false_alarms), (1, 1, 1));
    assert_eq!(score.nominal_rows, 789);
    assert_eq!(score.precision(), Some(0.5));
    assert!((score.false_per_10k().unwrap() - 10_000.0 / 789.0).abs() < 1e-9);
}

#[test]
fn nothing_to_find_is_no_figure() {
    let (score, _) = rights(&[], &[]);
    assert_eq!((score.precision(), score.recall(), score.f1()), (None, None, None));
    assert_eq!(score.false_per_10k(), Some(0.0));
}

#[test]
fn rows_in_any_order_and_at_one_time() {
    let mut recording = recording(10, &[], 0);
    for (place, row) in [3, 1, 2, 2, 2, 9, 0].into_iter().enumerate() {
        recording.rows[place].time_us = time_us(row);
    }
    recording.rows.truncate(7);
    let rows = RowsByTime::new(&recording.rows);
    assert_eq!((rows.first_at(time_us(2)), rows.last_at(time_us(2))), (2, 4));
    assert_eq!((rows.first_at(time_us(0)), rows.last_at(time_us(9))), (6, 5));
    assert_eq!(rows.last_at(time_us(5)), 0);
}
