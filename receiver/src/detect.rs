//! Anomalies, found in the samples as they pass.
//!
//! A [`Watch`] belongs to one writer and sees all samples of its satellites. It is pure: no clock, no
//! I/O, no lock. What it finds are [`Event`]s: one each, from the first sample that violates to the
//! last, changed as it goes on, never one a sample.
//!
//! | detector | sees |
//! |---|---|
//! | `limits` | values beyond limits that somebody has set |
//! | `delta` | spikes and steps, against the steps that are usual |
//! | `stuck` | the same value for too long |
//! | `baseline` | drifts and shifts, against what the orbit brings at this place |
//! | `ewma` | shifts, where there is no orbit to go by |
//! | silence | a satellite that is not heard any more |
//! | `link_jump` | a counter that has leapt; found by the tracker |
//!
//! Bounded: [`Settings::memory`] octets for what is learned; satellites beyond that get limits only,
//! and are counted, until they have proven themselves and another one makes room. At most
//! [`Settings::events_max`] events are open, half of them of satellites that have not proven
//! themselves; more are refused, and counted.
//!
//! Samples are looked at in the order of their generation. A late one is held to the limits and moves
//! nothing else. After a gap, a reboot or a jump of the clock no step is measured. Nothing is said
//! before a channel's warm-up is over, but for its limits.

mod baseline;
mod delta;
mod event;
mod ewma;
mod jump;
mod limits;
mod monitor;
mod open;
mod orbit;
mod rules;
mod scale;
mod scene;
mod series;
mod stuck;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

pub use event::{CloseReason, Detector, Event, Severity, Subject};
pub use rules::{Profile, Rulebook, Rules};
pub use series::Series;
pub use watch::{Damage, Settings, Watch, WatchCounts, octets_with_limits_only};

/// A value and when it was generated.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// µs since 1970.
    pub time_us: i64,
    /// In the channel's unit.
    pub value: f64,
}

/// What a detector has to say about a sample.
#[derive(Clone, Copy, Debug)]
enum Finding {
    /// It is well.
    Nothing,
    /// It is not what it should be.
    Violates(Violation),
    /// It is no further violation, but the last one is not over.
    Holds,
    /// What was a violation is the rule now.
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Violation {
    /// First of the samples that this is about.
    since_us: i64,
    /// How many thresholds far it is.
    score: f32,
    threshold: f32,
    expected: f64,
    /// The value that violates; of a spike that its end gives away, the one before.
    observed: f64,
}

/// The larger of two numbers; the second, when one of them is none. [`f32::max`] never takes the one that is
/// none, which takes more instructions.
#[inline]
fn larger(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}

/// The smaller of two numbers; the second, when one of them is none.
#[inline]
fn smaller(one: f32, other: f32) -> f32 {
    if one < other { one } else { other }
}

/// Standard deviations in the median of absolute values, if they are normal.
const DEVIATION_OF_MEDIAN: f32 = 1.482_6;
