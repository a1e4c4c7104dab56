//! How well a station found what was wrong: its alarms against the true events of the same
//! satellite and channel, by onset. Pure.
//!
//! Distances are counted in samples of the channel, as they are stored.
//!
//! * An alarm is *right* when it opened within [`ONSET_SAMPLES`] of an event's start, before or
//!   after, and was decided within [`DECISION_SAMPLES`] after the start. An event with a right alarm
//!   is *found*, once, by however many detectors.
//! * An alarm *counts neither way* when it opened from [`ONSET_SAMPLES`] before an event's start to
//!   [`AFTER_SAMPLES`] after its end, was decided when the event had begun, and is not right: it is
//!   about the event, too late to help, or about its end.
//! * Any other alarm is *false*, each by itself.
//! * An event is *left out* when none of its samples is stored, or when fewer than
//!   [`DECISION_SAMPLES`] samples came after its start, so that there was no time to decide. An alarm
//!   about it counts neither way.
//!
//! Precision is `found / (found + false)`, recall `found / events`, F1 their harmonic mean.

pub mod tally;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{alarms::Alarm, truth::TrueAnomaly};
use crate::anomaly::Kind;
use tally::{Delay, Tally};

/// How near to an event's start an alarm opens that is right.
pub const ONSET_SAMPLES: usize = 20;
/// How soon after an event's start an alarm is decided that is right.
pub const DECISION_SAMPLES: usize = 60;
/// For how long after an event's end alarms are about it: the channel comes back, which is a change
/// too, and what was learned from the event is unlearned.
pub const AFTER_SAMPLES: usize = 60;

/// The score of a flight.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Detection {
    /// Over all channels.
    pub all: Tally,
    /// By what went wrong; false alarms are of no kind.
    pub kinds: BTreeMap<Kind, Tally>,
    /// By channel.
    pub channels: BTreeMap<String, Tally>,
    /// Alarms that count neither way.
    pub neutral: u64,
    /// Events left out since nothing of them is stored.
    pub not_received: u64,
    /// Events left out since the flight ended too soon after their start.
    pub cut_off: u64,
    /// Values that are stored of this flight.
    pub values: u64,
}

/// What an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Of the event with this place.
    Right(usize),
    Neutral,
    False,
}

/// An event with its places among the stored samples.
struct Placed<'a> {
    event: &'a TrueAnomaly,
    start: usize,
    end: usize,
    is_judged: bool,
    first: Option<Delay>,
}

impl Detection {
    /// Adds one channel of one satellite: its events, the alarms about it, and when the samples were
    /// taken that are stored of it, in ascending order.
    pub fn add(
        &mut self,
        channel: &str,
        events: &[&TrueAnomaly],
        alarms: &[Alarm],
        sample_times_us: &[i64],
    ) {
        let mut events: Vec<Placed<'_>> =
            events.iter().map(|event| self.place(event, sample_times_us)).collect();
        let of_channel = self.channels.entry(channel.to_owned()).or_default();
        for alarm in alarms {
            match judge(alarm, &events, sample_times_us) {
                Verdict::Right(place) if events[place].is_judged => {
                    let event = &mut events[place];
                    let delay = Delay {
                        samples: before(sample_times_us, alarm.detected_us) - event.start,
                        us: alarm.detected_us - event.event.start.0,
                    };
                    event.first = Some(event.first.map_or(delay, |first| first.min(delay)));
                }
                Verdict::Right(_) | Verdict::Neutral => self.neutral += 1,
                Verdict::False => {
                    of_channel.false_alarms += 1;
                    self.all.false_alarms += 1;
                }
            }
        }
        for event in events.iter().filter(|event| event.is_judged) {
            let of_kind = self.kinds.entry(event.event.kind).or_default();
            for tally in [&mut self.all, of_kind, of_channel] {
                tally.add(event.first);
            }
        }
    }

    /// False alarms per million values.
    pub fn false_per_million(&self) -> Option<f64> {
        (self.values > 0).then(|| self.all.false_alarms as f64 * 1e6 / self.values as f64)
    }

    fn place<'a>(&mut self, event: &'a TrueAnomaly, times: &[i64]) -> Placed<'a> {
        let (start, end) = (before(times, event.start.0), before(times, event.end.0));
        let is_stored = event.sent > 0 && times.get(start).is_some_and(|&time| time <= event.end.0);
        let has_time = times.len() > start + DECISION_SAMPLES;
        self.not_received += u64::from(!is_stored);
        self.cut_off += u64::from(is_stored && !has_time);
        Placed { event, start, end, is_judged: is_stored && has_time, first: None }
    }
}

fn judge(alarm: &Alarm, events: &[Placed<'_>], times: &[i64]) -> Verdict {
    let opened = before(times, alarm.opened_us);
    let decided = before(times, alarm.detected_us);
    // Nobody decides about what has not begun.
    let begun = |event: &Placed<'_>| alarm.detected_us >= event.event.start.0;
    let nearest = events
        .iter()
        .enumerate()
        .filter(|(_, event)| begun(event))
        .min_by_key(|(_, event)| event.start.abs_diff(opened));
    if let Some((place, event)) = nearest
        && event.start.abs_diff(opened) <= ONSET_SAMPLES
        && decided <= event.start + DECISION_SAMPLES
    {
        return Verdict::Right(place);
    }
    let is_about = |event: &Placed<'_>| {
        opened + ONSET_SAMPLES >= event.start && opened <= event.end + AFTER_SAMPLES && begun(event)
    };
    if events.iter().any(is_about) { Verdict::Neutral } else { Verdict::False }
}

/// How many samples were taken before a time: the place of the sample that was taken at it.
fn before(times: &[i64], at_us: i64) -> usize {
    times.partition_point(|&time| time < at_us)
}

#[cfg(test)]
mod tests;
