//! How many frames a second are quarantined for their date: a bound for each source, and one for all
//! of them together.
//!
//! A frame whose generation time lies outside the station's [`TimeWindow`] is stored in table
//! `quarantine` instead of its own. Anybody can send such frames, as fast as the network carries
//! them. So only [`QuarantineRate::admits`] of them go on; the rest are counted as
//! `quarantine_dropped`.
//!
//! Guarantees: a frame inside the window is always admitted. Of those outside, in any second a source
//! gets at most its rate and the burst of one second (see [`SourceRate`]), and all sources together at
//! most [`ALTOGETHER`] times the rate, so that forged source addresses do not multiply it. The
//! decision about the date is the one that batches make later, of the same two times: what is
//! admitted is exactly what they store, as a row or in the quarantine.
//!
//! Limits: frames whose source is unknown share one bucket. A flood from many sources uses up what all
//! have together, so that a true frame with a wrong date may be dropped, and counted.

use std::net::IpAddr;

use crate::{
    rejected::Rationing,
    source_rate::SourceRate,
    time_window::{TimeBounds, TimeWindow},
};

/// The bound on frames that are quarantined for their date.
pub struct QuarantineRate {
    bounds: TimeBounds,
    by_source: SourceRate,
    altogether: Rationing,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// Its time is inside the window.
    Inside,
    /// It goes to the quarantine.
    Quarantined,
    /// It is beyond the bound, and is only counted.
    Dropped,
}

/// All sources together get this many times the rate of one.
pub const ALTOGETHER: u32 = 10;
/// The rate of a source, unless it is configured.
pub const PER_SECOND: u32 = 100;

impl QuarantineRate {
    /// At most `per_second` frames outside `window` from each source; none when it is 0.
    #[must_use]
    pub fn new(window: &TimeWindow, per_second: u32) -> Self {
        Self {
            bounds: window.bounds(),
            by_source: SourceRate::new(per_second),
            altogether: Rationing::new(per_second.saturating_mul(ALTOGETHER)),
        }
    }

    /// What becomes of a frame generated and received at these times (µs since 1970).
    #[inline]
    pub fn admits(&mut self, generated_us: i64, received_us: i64, source: Option<IpAddr>) -> Dated {
        match self.bounds.refusal(generated_us, received_us) {
            None => Dated::Inside,
            Some(_) => self.admits_outside(received_us, source),
        }
    }

    #[cold]
    fn admits_outside(&mut self, received_us: i64, source: Option<IpAddr>) -> Dated {
        // The source first: one that is over its rate takes nothing from the others.
        if self.by_source.permits(source, received_us) && self.altogether.permits(received_us) {
            Dated::Quarantined
        } else {
            Dated::Dropped
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WINDOW: TimeWindow =
        TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(5) };
    const NOW_US: i64 = 1_800_000_000_000_000;
    const OLD_US: i64 = NOW_US - 61_000_000;

    fn source(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4((0x0A00_0000 + number).into()))
    }

    #[test]
    fn frames_inside_the_window_are_not_bounded() {
        let mut rate = QuarantineRate::new(&WINDOW, 0);
        for time_us in [NOW_US - 60_000_000, NOW_US, NOW_US + 5_000_000] {
            assert_eq!(rate.admits(time_us, NOW_US, None), Dated::Inside);
        }
        for time_us in [NOW_US - 60_000_001, NOW_US + 5_000_001, i64::MIN, i64::MAX] {
            assert_eq!(rate.admits(time_us, NOW_US, None), Dated::Dropped);
            let mut rate = QuarantineRate::new(&WINDOW, 1);
            assert_eq!(rate.admits(time_us, NOW_US, None), Dated::Quarantined);
        }
    }

    #[test]
    fn each_source_has_its_rate_and_all_together_have_ten_times_that() {
        let mut rate = QuarantineRate::new(&WINDOW, 5);
        let mut quarantined = |sources: std::ops::Range<u32>, frames: u32, now_us: i64| {
            let all = sources.flat_map(|number| (0..frames).map(move |_| number));
            all.filter(|&n| rate.admits(OLD_US, now_us, source(n)) == Dated::Quarantined).count()
        };
        assert_eq!(quarantined(0..1, 1_000, NOW_US), 5, "one source");
        assert_eq!(quarantined(1..1_000, 100, NOW_US), 45, "what was left for all others");
        assert_eq!(quarantined(0..1_000, 1, NOW_US), 0);
        let later_us = NOW_US + 2_000_000;
        assert_eq!(quarantined(0..100_000, 1, later_us), 50);
        // Sources that are not known are one.
        let later_us = later_us + 2_000_000;
        let unknown = (0..100).filter(|_| rate.admits(OLD_US, later_us, None) != Dated::Dropped);
        assert_eq!(unknown.count(), 5);
    }
}
