//! One sensor: right most of the time, and now and then not.

use protocol::SpacecraftId;

use super::{
    Event, GAP_SAMPLES, Kind,
    instrument::{Instrument, Size},
};
use crate::satellite::noise::Noise;

/// A sensor and what ails it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sensor {
    /// The latest reading.
    latest: Option<f64>,
    /// Samples that have to come before the next event may start.
    rest: u32,
    ailment: Option<Ailment>,
    /// The event that has altered the latest sample.
    altered: Option<usize>,
}

/// An event that is on.
#[derive(Clone, Debug)]
struct Ailment {
    kind: Kind,
    /// Samples so far, and in all.
    done: u32,
    samples: u32,
    /// Shift, deviation of the noise, or the value that is repeated.
    size: f64,
    noise: Noise,
    /// Its place in the truth, once a value was other than it would have been.
    event: Option<usize>,
}

/// The frame that is being made.
pub(super) struct Frame<'a> {
    pub(super) spacecraft: SpacecraftId,
    pub(super) offset_us: i64,
    pub(super) events: &'a mut Vec<Event>,
}

impl Sensor {
    /// Starts an event with the sample that reads `reading`, unless it would not show.
    pub(super) fn try_start(
        &mut self,
        kind: Kind,
        instrument: &Instrument,
        reading: f64,
        noise: &mut Noise,
    ) -> bool {
        if self.ailment.is_some() || self.rest > 0 {
            return false;
        }
        let size = match kind {
            Kind::Spike => shift(Some(instrument.spike), instrument, reading, noise),
            Kind::Step => shift(instrument.step, instrument, reading, noise),
            Kind::Drift => shift(instrument.drift, instrument, reading, noise),
            Kind::Stuck => self.latest.filter(|&latest| instrument.can_stick_at(latest)),
            Kind::Noise => Some(noise.uniform(instrument.noise.0, instrument.noise.1)),
        };
        let Some(size) = size else {
            return false;
        };
        let (least, most) = kind.samples();
        let samples = least + noise.below(u64::from(most - least + 1)) as u32;
        let noise = noise.clone();
        self.ailment = Some(Ailment { kind, done: 0, samples, size, noise, event: None });
        true
    }

    /// Alters `reading` when an event is on, and notes it.
    pub(super) fn pass(
        &mut self,
        instrument: &Instrument,
        reading: &mut f64,
        frame: &mut Frame<'_>,
    ) {
        self.altered = None;
        let Some(ailment) = &mut self.ailment else {
            self.latest = Some(*reading);
            self.rest = self.rest.saturating_sub(1);
            return;
        };
        let right = *reading;
        *reading = instrument.held(ailment.alter(right));
        if instrument.raw(*reading) != instrument.raw(right) {
            self.altered = Some(ailment.note(instrument, frame));
        }
        if ailment.done == ailment.samples {
            self.ailment = None;
            self.rest = GAP_SAMPLES;
        }
    }

    /// The event, by its place, that has altered the latest sample.
    pub(super) fn altered(&self) -> Option<usize> {
        self.altered
    }
}

impl Ailment {
    fn alter(&mut self, right: f64) -> f64 {
        self.done += 1;
        match self.kind {
            Kind::Spike | Kind::Step => right + self.size,
            Kind::Drift => right + self.size * self.ramp(),
            Kind::Stuck => self.size,
            Kind::Noise => right + self.noise.normal(self.size),
        }
    }

    /// Share of a drift: it rises for the first quarter, stays, and falls for the last.
    fn ramp(&self) -> f64 {
        let edge = f64::from(self.samples / 4);
        let to_go = self.samples + 1 - self.done;
        (f64::from(self.done) / edge).min(f64::from(to_go) / edge).min(1.0)
    }

    fn note(&mut self, instrument: &Instrument, frame: &mut Frame<'_>) -> usize {
        let place = *self.event.get_or_insert_with(|| {
            frame.events.push(Event {
                spacecraft: frame.spacecraft,
                channel: instrument.channel,
                kind: self.kind,
                start_us: frame.offset_us,
                end_us: frame.offset_us,
                samples: 0,
                sent: 0,
            });
            frame.events.len() - 1
        });
        let event = &mut frame.events[place];
        event.end_us = frame.offset_us;
        event.samples += 1;
        event.sent += 1;
        place
    }
}

/// A shift up or down, whichever is drawn, or the other way when only there is room for it.
fn shift(
    size: Option<Size>,
    instrument: &Instrument,
    reading: f64,
    noise: &mut Noise,
) -> Option<f64> {
    let (least, most) = size?;
    let size = noise.uniform(least, most);
    let size = if noise.below(2) == 0 { size } else { -size };
    [size, -size].into_iter().find(|size| instrument.has_room_for(reading + size))
}
