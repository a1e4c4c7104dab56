//! One channel, a sample a second unless said otherwise.

use super::{HOUR_US, SECOND_US, START_US, noise};
use crate::detect::{CloseReason, Detector, Event, Profile, Rules, Sample, Series, Severity};

/// A temperature's, as shipped but for the orbits of warm-up.
fn rules() -> Rules {
    Rules {
        step: 0.01,
        soft: Some((-10.0, 45.0)),
        hard: Some((-20.0, 60.0)),
        warm_up_orbits: 0,
        ..Rules::of(Profile::Temperature)
    }
}

struct Channel {
    series: Series,
    time_us: i64,
    samples: u64,
}

impl Channel {
    fn new(rules: Rules) -> Self {
        Self { series: Series::new(rules, None), time_us: START_US, samples: 0 }
    }

    /// One that has seen more than its warm-up.
    fn warm(rules: Rules) -> Self {
        let mut channel = Self::new(rules);
        channel.usual(400);
        assert_eq!(channel.events(), []);
        channel
    }

    /// The next sample.
    fn take(&mut self, value: f64) -> i64 {
        self.time_us += SECOND_US;
        self.series.take(Sample { time_us: self.time_us, value });
        self.time_us
    }

    /// Samples about a level, with noise of 0.05.
    fn about(&mut self, level: f64, samples: u64) {
        for _ in 0..samples {
            self.samples += 1;
            let value = level + 0.05 * noise(self.samples);
            self.take((value * 100.0).round() / 100.0);
        }
    }

    fn usual(&mut self, samples: u64) {
        self.about(USUAL, samples);
    }

    fn events(&self) -> Vec<Event> {
        self.series.events()
    }

    fn only(&self) -> Event {
        match &self.events()[..] {
            [event] => event.clone(),
            events => panic!("{events:#?}"),
        }
    }

    /// Whether a spike is still found.
    fn sees(&mut self) -> bool {
        let before = self.events().len();
        let time_us = self.take(USUAL + 5.0);
        self.usual(30);
        let events = self.events();
        events.len() == before + 1 && events.last().is_some_and(|e| e.opened_us == time_us)
    }
}

#[test]
fn limits_need_two_and_severity_only_rises() {
    let mut channel = Channel::new(rules().limits_only());
    channel.take(20.0);
    channel.take(50.0);
    channel.take(20.0);
    assert_eq!(channel.events(), []);
    let opened_us = channel.take(50.0);
    let detected_us = channel.take(51.0);
    let event = channel.only();
    assert_eq!((event.opened_us, event.detected_us), (opened_us, detected_us));
    assert_eq!((event.detector, event.severity), (Detector::Limits, Severity::Warning));
    assert!((event.threshold - 45.0).abs() < f32::EPSILON);

    channel.take(65.0);
    channel.take(50.0);
    for _ in 0..19 {
        channel.take(20.0);
    }
    assert_eq!(channel.only().closed, None);
    let closed_us = channel.take(20.0);
    let event = channel.only();
    assert_eq!((event.severity, event.samples), (Severity::Critical, 3));
    assert!((event.peak - 65.0).abs() < f32::EPSILON);
    assert_eq!(event.closed, Some((closed_us, CloseReason::Clean)));
}

#[test]
fn a_spike_is_seen_at_once() {
    let mut channel = Channel::warm(rules());
    let time_us = channel.take(USUAL + 5.0);
    let event = channel.only();
    assert_eq!((event.opened_us, event.detected_us), (time_us, time_us));
    assert_eq!(event.detector, Detector::Delta);
    assert!((event.expected - USUAL as f32).abs() < 0.3, "{event:?}");
    channel.usual(40);
    assert!(matches!(channel.only().closed, Some((_, CloseReason::Clean))));
}

#[test]
fn a_young_channel_waits_until_a_spike_is_over() {
    let mut channel = Channel::warm(Rules { warm_up_orbits: 3, ..rules() });
    let time_us = channel.take(USUAL + 5.0);
    channel.usual(40);
    let event = channel.only();
    assert_eq!(event.opened_us, time_us);
    assert!((1..=5).contains(&((event.detected_us - time_us) / SECOND_US)), "{event:?}");
    // It is about the spike, not about the sample that gave it away.
    assert_eq!((event.observed, event.peak), (USUAL as f32 + 5.0, USUAL as f32 + 5.0));
    // A step that stays may be nature.
    channel.about(USUAL + 5.0, 200);
    channel.usual(100);
    assert_eq!(channel.events().len(), 1);
}

#[test]
fn warm_up_is_silent() {
    let mut channel = Channel::new(rules());
    channel.usual(100);
    channel.take(USUAL + 5.0);
    channel.usual(90);
    assert_eq!(channel.events(), []);
}

#[test]
fn a_step_is_one_event_until_it_returns() {
    let mut channel = Channel::warm(rules());
    let opened_us = channel.time_us + SECOND_US;
    channel.about(USUAL + 5.0, 100);
    let event = channel.only();
    assert_eq!((event.opened_us, event.closed, event.detector), (opened_us, None, Detector::Delta));
    channel.usual(40);
    let (closed_us, reason) = channel.only().closed.unwrap();
    assert_eq!(reason, CloseReason::Clean);
    assert!((100..=125).contains(&((closed_us - opened_us) / SECOND_US)), "{closed_us}");
}

#[test]
fn a_step_that_stays_becomes_the_rule() {
    let mut channel = Channel::warm(rules());
    channel.about(USUAL + 5.0, 700);
    assert!(matches!(channel.only().closed, Some((_, CloseReason::Settled))));
}

#[test]
fn a_stuck_value() {
    let mut channel = Channel::warm(rules());
    let opened_us = channel.take(USUAL);
    for _ in 0..80 {
        channel.take(USUAL);
    }
    let event = channel.only();
    assert_eq!((event.detector, event.opened_us), (Detector::Stuck, opened_us));
    assert!(event.detected_us - opened_us <= 60 * SECOND_US, "{event:?}");
    // Nor is what comes then measured by its steps of 0.
    channel.usual(200);
    assert!(channel.only().closed.is_some());

    // One that repeats itself by nature is left alone.
    let mut channel = Channel::new(rules());
    for round in 0..20 {
        for _ in 0..40 {
            channel.take(USUAL + f64::from(round % 2) * 0.01);
        }
    }
    for _ in 0..500 {
        channel.take(USUAL);
    }
    assert_eq!(channel.events(), []);
}

#[test]
fn a_drift_away_from_the_orbits_course() {
    let period_s = 5_700;
    let rules = Rules { warm_up_orbits: 3, ..rules() };
    let mut series = Series::new(rules, Some(period_s * SECOND_US));
    let sample = |second: i64, off: f64| {
        let angle = std::f64::consts::TAU * second as f64 / period_s as f64;
        let value = USUAL + 10.0 * angle.sin() + 0.1 * noise(second as u64) + off;
        let time_us = START_US + second * SECOND_US;
        Sample { time_us, value: (value * 100.0).round() / 100.0 }
    };
    let start = 8 * period_s;
    for second in (0..start).step_by(10) {
        series.take(sample(second, 0.0));
    }
    assert_eq!(series.events(), []);
    for second in (start..start + 3_000).step_by(10) {
        let off = 8.0 * ((second - start) as f64 / 1_000.0).min(1.0);
        series.take(sample(second, off));
    }
    let events = series.events();
    let event = &events[0];
    assert_eq!(event.detector, Detector::Baseline, "{events:?}");
    let delay_s = (event.opened_us - START_US) / SECOND_US - start;
    assert!((0..=600).contains(&delay_s), "{delay_s} {event:?}");
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn orbits_in_which_nothing_moved_say_nothing_of_the_usual() {
    let period_s = 5_700;
    let rules = Rules { step: 0.0, delta: false, stuck: false, warm_up_orbits: 3, ..rules() };
    let mut series = Series::new(rules, Some(period_s * SECOND_US));
    let mut orbit = |orbit: i64, value: &dyn Fn(i64) -> f64| {
        for second in (orbit * period_s..(orbit + 1) * period_s).step_by(10) {
            series.take(Sample { time_us: START_US + second * SECOND_US, value: value(second) });
        }
        series.events()
    };
    for number in 0..5 {
        assert_eq!(orbit(number, &|_| USUAL), []);
    }
    // The first orbit with noise, and at once one that is elsewhere for a while: what an ordinary orbit
    // comes to is not known yet.
    let noisy = |second: i64| USUAL + 0.5 * noise(second as u64);
    assert_eq!(orbit(5, &noisy), []);
    let away = |second: i64| noisy(second) + if second % period_s > 3_000 { 6.0 } else { 0.0 };
    assert_eq!(orbit(6, &away), []);
}

#[test]
fn a_shift_of_the_average() {
    let mut channel =
        Channel::warm(Rules { delta: false, stuck: false, baseline: false, ..rules() });
    let opened_us = channel.time_us + SECOND_US;
    channel.about(USUAL + 2.0, 100);
    let event = channel.only();
    assert_eq!((event.detector, event.opened_us), (Detector::Ewma, opened_us));
    assert!(event.detected_us - opened_us <= 5 * SECOND_US, "{event:?}");
    // It did not become the rule while it lasted.
    assert!((event.expected - USUAL as f32).abs() < 0.1, "{event:?}");
    channel.usual(100);
    assert!(channel.only().closed.is_some());
}

#[test]
fn late_samples_move_nothing() {
    let mut channel = Channel::warm(rules());
    for late in 1..60 {
        let time_us = channel.time_us - late * SECOND_US;
        channel.series.take(Sample { time_us, value: USUAL + 10.0 * noise(late as u64) });
        channel.usual(3);
    }
    assert_eq!(channel.events(), []);
    assert!(channel.sees());
    // But for the limits.
    for late in [9, 8] {
        let time_us = channel.time_us - late * SECOND_US;
        channel.series.take(Sample { time_us, value: 50.0 });
    }
    assert_eq!(channel.events().iter().filter(|e| e.detector == Detector::Limits).count(), 1);
}

#[test]
fn the_same_moment_twice() {
    let mut channel = Channel::warm(rules());
    for _ in 0..50 {
        channel.usual(1);
        let value = USUAL + 0.05 * noise(channel.samples + 1_000);
        channel.series.take(Sample { time_us: channel.time_us, value });
    }
    assert_eq!(channel.events(), []);
    assert!(channel.sees());
}

#[test]
fn a_gap_closes_and_measures_no_step() {
    let mut channel = Channel::warm(rules());
    channel.about(USUAL + 5.0, 10);
    channel.time_us += HOUR_US;
    channel.about(USUAL - 5.0, 300);
    assert!(matches!(channel.only().closed, Some((_, CloseReason::Gap))));
}

#[test]
fn a_clock_set_back_is_followed() {
    let mut channel = Channel::warm(rules());
    channel.time_us -= HOUR_US;
    channel.take(USUAL + 5.0);
    channel.usual(62);
    assert_eq!(channel.events(), []);
    channel.usual(100);
    assert_eq!(channel.events(), []);
    assert!(channel.sees());
}

#[test]
fn a_clock_set_forward_is_a_gap() {
    let mut channel = Channel::warm(rules());
    channel.time_us += 24 * HOUR_US;
    channel.about(USUAL + 5.0, 100);
    assert_eq!(channel.events(), []);
    channel.usual(700);
    assert!(channel.sees());
}

#[test]
fn nothing_is_closed_before_it_opened() {
    let mut channel = Channel::new(rules().limits_only());
    channel.take(50.0);
    channel.take(50.0);
    for _ in 0..30 {
        let time_us = channel.time_us - 600 * SECOND_US;
        channel.series.take(Sample { time_us, value: 20.0 });
    }
    let event = channel.only();
    assert!(event.closed.unwrap().0 >= event.last_us, "{event:?}");
    assert!(event.detected_us >= event.opened_us, "{event:?}");
}

#[test]
fn chatter_is_one_event_and_ends() {
    let mut channel = Channel::warm(rules());
    for _ in 0..20 {
        channel.take(USUAL + 5.0);
        channel.usual(40);
    }
    let of = |channel: &Channel, detector| {
        channel.events().into_iter().filter(|event| event.detector == detector).collect::<Vec<_>>()
    };
    assert_eq!(of(&channel, Detector::Delta).len(), 12);
    let chatter = of(&channel, Detector::Chatter);
    assert_eq!(chatter.len(), 1, "{chatter:?}");
    assert_eq!((chatter[0].samples, chatter[0].closed), (8, None));
    // A good hour later it is over, and the channel has its budget back.
    channel.usual(3_600);
    assert!(of(&channel, Detector::Chatter)[0].closed.is_some());
    assert!(channel.sees());
    assert_eq!(of(&channel, Detector::Delta).len(), 13);
}

const USUAL: f64 = 20.0;
