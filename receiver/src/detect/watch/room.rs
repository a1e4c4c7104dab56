//! Which satellites the detectors' memory is for.
//!
//! There is room for a fixed number of satellites with all detectors, the *holders*; all others are
//! held to limits only. Anybody can send frames with any spacecraft id, so room must not go to whoever
//! came first for ever. The rule:
//!
//! 1. As long as there is room, a satellite gets it with its first sample.
//! 2. When there is none, a satellite has to prove itself: [`PROVEN_SAMPLES`] samples, heard in
//!    [`PROVEN_MINUTES`] different minutes of the station's clock. It then takes the room of a holder
//!    that has not proven itself, or that has not been heard for [`PATIENCE`] times as long as it was
//!    heard before (at least [`WARM_PATIENCE_US`], once its warm-up is complete).
//! 3. Of several such holders the one with the least to lose goes: without a completed warm-up, heard
//!    in the fewest minutes, longest ago.
//!
//! Guarantees: a holder that has proven itself and is still heard keeps what was learned of it,
//! whatever arrives; and ids that are forged for less than the time of a proof keep nobody out. The
//! decisions follow from the samples and the times at which they were received alone.
//!
//! Limits: whoever forges frames of one id over minutes cannot be told from a satellite. Such ids may
//! use up the room that is free; they lose it as any other does when they fall silent. A search that
//! finds nobody is not repeated for [`SEARCH_PAUSE_US`], so that a fleet larger than the memory costs
//! next to nothing.

use serde::{Deserialize, Serialize};

use super::Satellite;

/// How long and how often a satellite was heard: what it has earned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    samples: u32,
    /// Different minutes of the station's clock in which it was heard.
    minutes: u32,
    /// When it was heard last, by the station's clock.
    heard_us: i64,
}

/// The order in which holders make room, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_warm: bool,
    minutes: u32,
    heard_us: i64,
}

/// The room of one writer's detectors.
#[derive(Debug)]
pub(super) struct Room {
    /// Satellites that there is memory for.
    max: usize,
    /// Those that have it, by number.
    holders: Vec<usize>,
    /// When a search last found nobody who makes room.
    searched_us: i64,
}

impl Standing {
    /// What a snapshot of a version without standings says: as many samples as were learned from, in
    /// the time from the first to the last of them.
    pub(super) fn of_earlier_version(samples: u32, span_us: i64, heard_us: i64) -> Self {
        let minutes = u32::try_from(span_us.max(0) / MINUTE_US).unwrap_or(u32::MAX);
        Self { samples, minutes: minutes.saturating_add(1).min(samples), heard_us }
    }

    /// A sample was received at this time.
    #[inline]
    pub(super) fn hear(&mut self, received_us: i64) {
        let is_new_minute = self.samples == 0
            || received_us.div_euclid(MINUTE_US) != self.heard_us.div_euclid(MINUTE_US);
        self.minutes = self.minutes.saturating_add(u32::from(is_new_minute));
        self.samples = self.samples.saturating_add(1);
        self.heard_us = received_us;
    }

    /// The station itself has not listened until now.
    pub(super) fn excuse_silence(&mut self, now_us: i64) {
        self.heard_us = now_us;
    }

    /// Whether it was heard often enough, and for long enough.
    #[inline]
    pub(super) fn is_proven(&self) -> bool {
        self.samples >= PROVEN_SAMPLES && self.minutes >= PROVEN_MINUTES
    }

    /// Whether a holder makes room for a satellite that has proven itself.
    fn makes_room(&self, is_warm: bool, now_us: i64) -> bool {
        let least_us = if is_warm { WARM_PATIENCE_US } else { 0 };
        let patience_us = i64::from(self.minutes).saturating_mul(PATIENCE * MINUTE_US);
        !self.is_proven() || now_us.saturating_sub(self.heard_us) > patience_us.max(least_us)
    }
}

impl Satellite {
    pub(super) fn rank(&self) -> Rank {
        let Standing { minutes, heard_us, .. } = self.standing;
        Rank { is_warm: self.is_warm, minutes, heard_us }
    }
}

impl Room {
    /// For so many satellites.
    pub(super) fn new(max: usize) -> Self {
        Self { max, holders: Vec::new(), searched_us: i64::MIN }
    }

    /// Whether a satellite can have some without another losing it.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.holders.len() < self.max
    }

    /// A satellite has it from now on; there has to be some.
    pub(super) fn give(&mut self, number: usize) {
        debug_assert!(self.is_free(), "no room");
        self.holders.push(number);
    }

    /// Takes the room of the holder that makes room for a proven satellite, if there is one: its
    /// number.
    pub(super) fn take_for_proven(
        &mut self,
        satellites: &[Option<Box<Satellite>>],
        now_us: i64,
    ) -> Option<usize> {
        if (0..SEARCH_PAUSE_US).contains(&now_us.saturating_sub(self.searched_us)) {
            return None;
        }
        let taken = self
            .take_least(satellites, |holder| holder.standing.makes_room(holder.is_warm, now_us));
        if taken.is_none() {
            self.searched_us = now_us;
        }
        taken
    }

    /// Takes the room of the least holder that has learned nothing or is below a rank, if there is one:
    /// its number.
    pub(super) fn take_below(
        &mut self,
        satellites: &[Option<Box<Satellite>>],
        rank: Rank,
    ) -> Option<usize> {
        self.take_least(satellites, |holder| holder.rank() < rank || !holder.has_learned())
    }

    fn take_least(
        &mut self,
        satellites: &[Option<Box<Satellite>>],
        may_go: impl Fn(&Satellite) -> bool,
    ) -> Option<usize> {
        let holder = |number: usize| satellites.get(number).and_then(Option::as_deref);
        let those = self.holders.iter().enumerate().filter_map(|(place, &number)| {
            let holder = holder(number)?;
            // Among equals the number decides, so that the order of their coming does not.
            may_go(holder).then(|| (holder.rank(), number, place))
        });
        let (_, _, place) = those.min()?;
        Some(self.holders.swap_remove(place))
    }
}

/// Samples that prove a satellite,
pub(super) const PROVEN_SAMPLES: u32 = 20;
/// if they were heard in so many different minutes: so over more than one, however fast they come.
pub(super) const PROVEN_MINUTES: u32 = 3;
/// A satellite that was heard in so many minutes keeps its room for this many times as many without
/// being heard.
const PATIENCE: i64 = 10;
/// With a completed warm-up at least for a week.
const WARM_PATIENCE_US: i64 = 7 * 24 * 60 * MINUTE_US;
const MINUTE_US: i64 = 60_000_000;
/// No other search for this long after one that found nobody.
const SEARCH_PAUSE_US: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(times_us: impl IntoIterator<Item = i64>) -> Standing {
        let mut standing = Standing::default();
        times_us.into_iter().for_each(|at_us| standing.hear(at_us));
        standing
    }

    #[test]
    fn samples_and_minutes_prove_a_satellite() {
        for (period_us, samples, is_proven) in [
            (1, 1_000_000, false),
            (1_000_000, 120, false),
            (1_000_000, 121, true),
            (MINUTE_US, 19, false),
            (MINUTE_US, 20, true),
            (0, 1_000_000, false),
        ] {
            let standing = heard((0..samples).map(|n| n * period_us));
            assert_eq!(standing.is_proven(), is_proven, "{samples} each {period_us} µs");
        }
    }

    #[test]
    fn a_holder_is_kept_as_long_as_it_has_earned() {
        let hour = heard((0..3_600).map(|second| second * 1_000_000));
        let last_us = 3_599_000_000;
        let patience_us = 600 * MINUTE_US;
        assert!(!hour.makes_room(false, last_us + patience_us));
        assert!(hour.makes_room(false, last_us + patience_us + 1));
        assert!(!hour.makes_room(true, last_us + WARM_PATIENCE_US));
        assert!(hour.makes_room(true, last_us + WARM_PATIENCE_US + 1));
        assert!(!hour.makes_room(false, i64::MIN), "the clock was set back");
        assert!(heard([0]).makes_room(false, 0), "it has not proven itself");
    }
}
