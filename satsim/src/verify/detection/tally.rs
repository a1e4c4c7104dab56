//! Events found, events missed and false alarms, and what follows from them.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// The score of some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All events.
    pub events: u64,
    /// Alarms about nothing.
    pub false_alarms: u64,
    /// Of each event that was found, how soon.
    delays: Vec<Delay>,
}

/// From an event's start to the sample that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delay {
    /// In samples of the channel.
    pub samples: usize,
    /// In simulated time, µs.
    pub us: i64,
}

impl Tally {
    /// Adds an event, found after this delay or not at all.
    pub fn add(&mut self, found: Option<Delay>) {
        self.events += 1;
        self.delays.extend(found);
    }

    /// Events that were found.
    pub fn found(&self) -> u64 {
        self.delays.len() as u64
    }

    /// Share of the events that were found; none without events.
    pub fn recall(&self) -> Option<f64> {
        share(self.found(), self.events)
    }

    /// Share of what was said that is true; none when nothing was said.
    pub fn precision(&self) -> Option<f64> {
        share(self.found(), self.found() + self.false_alarms)
    }

    /// Harmonic mean of the two; none without events and false alarms.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.found(), self.found() + self.events + self.false_alarms)
    }

    /// The delay that so many in a hundred events do not exceed.
    pub fn delay(&self, percent: usize) -> Option<Delay> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let rank = (delays.len() * percent).div_ceil(100).max(1);
        delays.get(rank - 1).copied()
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let samples = |percent| self.delay(percent).map(|delay| delay.samples);
        let seconds = |percent| self.delay(percent).map(|delay| delay.us as f64 / 1e6);
        let mut object = serializer.serialize_struct("Tally", 10)?;
        object.serialize_field("events", &self.events)?;
        object.serialize_field("found", &self.found())?;
        object.serialize_field("false", &self.false_alarms)?;
        object.serialize_field("precision", &self.precision())?;
        object.serialize_field("recall", &self.recall())?;
        object.serialize_field("f1", &self.f1())?;
        object.serialize_field("delay_samples_median", &samples(50))?;
        object.serialize_field("delay_samples_p95", &samples(95))?;
        object.serialize_field("delay_s_median", &seconds(50))?;
        object.serialize_field("delay_s_p95", &seconds(95))?;
        object.end()
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
