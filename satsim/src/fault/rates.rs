//! How often what happens.

use crate::satellite::noise::Noise;

/// The chance of each fault, per frame. They add up to at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Not sent.
    pub drop: f64,
    /// Sent with flipped bits.
    pub corrupt: f64,
    /// Sent without its tail.
    pub truncate: f64,
    /// Sent twice.
    pub duplicate: f64,
    /// Sent late.
    pub reorder: f64,
    /// A late frame is sent after at most so many frames of its stream that were made after it.
    pub reorder_depth: u16,
    /// Loss in bursts. Frames that escape it are subject to the chances above.
    pub burst: Option<Burst>,
}

/// Loss in bursts: E. N. Gilbert, *Capacity of a burst-noise channel*, Bell System Technical
/// Journal 39 (1960); in E. O. Elliott's terms, nothing is lost in the good state and everything
/// in the bad one.
///
/// Each satellite's link, with all its streams, has a state of its own, which starts good and makes
/// one step before each frame. In the long run `enter / (enter + leave)` of the frames are lost, in
/// bursts of `1 / leave` frames on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Chance that a good link goes bad.
    pub enter: f64,
    /// Chance that a bad link recovers.
    pub leave: f64,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Drop,
    Corrupt,
    Truncate,
    Duplicate,
    Reorder,
}

impl Fault {
    /// Whether the frame cannot be read on the ground.
    pub(super) fn is_loss(self) -> bool {
        matches!(self, Self::Drop | Self::Corrupt | Self::Truncate)
    }
}

/// How far a frame may be delayed at most: well within the 4,096 counts that a station remembers.
pub const REORDER_DEPTH_MAX: u16 = 1_024;
/// How far it may be when nothing else is said.
pub const REORDER_DEPTH_DEFAULT: u16 = 8;

impl Default for Rates {
    fn default() -> Self {
        Self {
            drop: 0.0,
            corrupt: 0.0,
            truncate: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_depth: REORDER_DEPTH_DEFAULT,
            burst: None,
        }
    }
}

impl Rates {
    /// Whether nothing can happen.
    pub fn is_clean(&self) -> bool {
        self.burst.is_none() && self.sum() <= 0.0
    }

    /// The chance that a frame outside a burst has a fault.
    pub fn sum(&self) -> f64 {
        self.chances().iter().map(|&(chance, _)| chance).sum()
    }

    /// The state of a link after one more step.
    pub(super) fn is_bad_next(&self, is_bad: bool, noise: &mut Noise) -> bool {
        // Drawn in any case, so that the other faults are the same with and without bursts.
        let draw = noise.uniform(0.0, 1.0);
        self.burst.is_some_and(
            |burst| {
                if is_bad { draw >= burst.leave } else { draw < burst.enter }
            },
        )
    }

    /// The fault of a frame, if any, on a link in this state.
    pub(super) fn draw(&self, is_bad: bool, noise: &mut Noise) -> Option<Fault> {
        if is_bad {
            return Some(Fault::Drop);
        }
        let mut left = noise.uniform(0.0, 1.0);
        for (chance, fault) in self.chances() {
            if left < chance {
                return Some(fault);
            }
            left -= chance;
        }
        None
    }

    fn chances(&self) -> [(f64, Fault); 5] {
        [
            (self.drop, Fault::Drop),
            (self.corrupt, Fault::Corrupt),
            (self.truncate, Fault::Truncate),
            (self.duplicate, Fault::Duplicate),
            (self.reorder, Fault::Reorder),
        ]
    }
}
