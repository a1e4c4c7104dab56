//! What can go wrong with which channel, and by how much.
//!
//! Sizes are in the channel's unit. They are chosen against what the channel does by itself while
//! samples are up to ten seconds apart: a spike or a step is several times as large as nearly all
//! changes from one sample to the next, a drift goes far beyond the differences between one orbit
//! and the next, and a burst of noise has ten times the deviation of the sensor or more. Further
//! apart the satellite itself changes as much. None is larger than a broken sensor might show.
//!
//! Left out: mode, flags, position and speed, which are computed on board; storage and quaternion,
//! which have no noise. Signal strength and processor load jump by themselves as a station comes
//! into view or the payload goes on: no steps or drifts, which nobody could tell from those. No
//! drifts either of battery current and wheels, which are on their way somewhere all the time. Rates
//! are within a few raw values of 0: they do not stick.

use protocol::{Kind, attitude, channel::Meaning, health};

/// Smallest and largest.
pub type Size = (f64, f64);

/// A channel that can go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// The channel.
    pub channel: &'static str,
    /// Shift of a spike, up or down.
    pub spike: Size,
    /// Shift of a step, up or down; none when it has no steps.
    pub step: Option<Size>,
    /// Shift at the far end of a drift, up or down; none when it does not drift.
    pub drift: Option<Size>,
    /// Deviation of a burst of noise.
    pub noise: Size,
    /// Whether it sticks.
    pub sticks: bool,
    pub(super) scale: f64,
    range: (f64, f64),
}

impl Instrument {
    /// `value` within what the channel can say.
    pub fn held(&self, value: f64) -> f64 {
        value.clamp(self.range.0, self.range.1)
    }

    /// The raw value that is sent for `value`, as the declaration's own rounding.
    pub fn raw(&self, value: f64) -> i64 {
        (self.held(value) / self.scale).round() as i64
    }

    /// Whether the channel can say `value`.
    pub fn has_room_for(&self, value: f64) -> bool {
        (self.range.0..=self.range.1).contains(&value)
    }

    /// Whether it can be seen to repeat `value`: at an end of its range, where a battery is full or
    /// a panel dark, it may do so by itself.
    pub fn can_stick_at(&self, value: f64) -> bool {
        let raw = self.raw(value);
        self.sticks && raw != self.raw(self.range.0) && raw != self.raw(self.range.1)
    }

    const fn of(kind: &Kind, channel: &'static str, spike: Size, noise: Size) -> Self {
        let mut place = 0;
        loop {
            // Past the end: no such channel, which the compiler says.
            let field = &kind.fields[place];
            if let Meaning::Channel(declared) = field.meaning
                && equal(field.name, channel)
            {
                let (scale, range) = (declared.scale, declared.range);
                return Self {
                    channel,
                    spike,
                    step: None,
                    drift: None,
                    noise,
                    sticks: true,
                    scale,
                    range,
                };
            }
            place += 1;
        }
    }

    const fn and_moves(self, step: Size, drift: Size) -> Self {
        Self { step: Some(step), drift: Some(drift), ..self }
    }

    const fn and_steps(self, step: Size) -> Self {
        Self { step: Some(step), ..self }
    }

    const fn and_never_sticks(self) -> Self {
        Self { sticks: false, ..self }
    }
}

const fn on_board(channel: &'static str, spike: Size, noise: Size) -> Instrument {
    Instrument::of(&health::KIND, channel, spike, noise)
}

const fn rate(channel: &'static str) -> Instrument {
    Instrument::of(&attitude::KIND, channel, (0.3, 0.8), (0.15, 0.3))
        .and_moves((0.25, 0.6), (0.4, 0.8))
        .and_never_sticks()
}

const fn wheel(channel: &'static str) -> Instrument {
    Instrument::of(&attitude::KIND, channel, (300.0, 800.0), (80.0, 150.0))
        .and_steps((250.0, 600.0))
}

/// The channels of house-keeping, in the order of
/// [`HealthReadings::sensors`](crate::satellite::readings::HealthReadings::sensors).
pub const HEALTH: [Instrument; 11] = [
    on_board("cpu_temp", (4.0, 12.0), (1.2, 2.5)).and_moves((5.0, 12.0), (15.0, 30.0)),
    on_board("battery_temp", (2.0, 8.0), (0.5, 1.2)).and_moves((3.0, 8.0), (8.0, 16.0)),
    on_board("panel_temp", (12.0, 25.0), (3.0, 6.0)).and_moves((12.0, 25.0), (60.0, 90.0)),
    on_board("payload_temp", (4.0, 12.0), (1.0, 2.5)).and_moves((5.0, 12.0), (12.0, 25.0)),
    on_board("battery_voltage", (0.4, 1.2), (0.05, 0.12)).and_moves((0.4, 0.8), (0.6, 1.2)),
    on_board("bus_voltage", (0.06, 0.25), (0.02, 0.05)).and_moves((0.06, 0.15), (0.1, 0.25)),
    on_board("battery_current", (3.5, 6.0), (0.15, 0.4)).and_steps((3.5, 5.5)),
    on_board("solar_current", (6.5, 9.0), (0.1, 0.3)).and_moves((6.5, 9.0), (3.0, 6.0)),
    on_board("battery_charge", (3.0, 10.0), (0.4, 0.9)).and_moves((4.0, 10.0), (8.0, 20.0)),
    on_board("signal_strength", (10.0, 25.0), (4.0, 8.0)),
    on_board("cpu_load", (40.0, 70.0), (18.0, 25.0)),
];

/// The channels of attitude, in the order of
/// [`AttitudeReadings::sensors`](crate::satellite::readings::AttitudeReadings::sensors).
pub const ATTITUDE: [Instrument; 7] = [
    rate("rate_x"),
    rate("rate_y"),
    rate("rate_z"),
    wheel("wheel_1"),
    wheel("wheel_2"),
    wheel("wheel_3"),
    wheel("wheel_4"),
];

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut place = 0;
    while place < a.len() {
        if a[place] != b[place] {
            return false;
        }
        place += 1;
    }
    true
}
