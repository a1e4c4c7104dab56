//! Which generation times are stored as rows: the one decision that intake, HTTP and batches share.

use std::time::Duration;

/// Which samples are stored as rows and which are quarantined.
#[derive(Clone, Copy, Debug)]
pub struct TimeWindow {
    /// The oldest that a sample may be on arrival.
    pub past: Duration,
    /// The furthest that it may lie in the future.
    pub future: Duration,
}

/// A [`TimeWindow`] as distances in µs, for where one is asked for every frame.
#[derive(Clone, Copy, Debug)]
pub struct TimeBounds {
    past_us: i64,
    future_us: i64,
}

impl TimeWindow {
    /// Every time that a `timestamptz` can hold.
    pub const EVERYTHING: Self = Self { past: Duration::MAX, future: Duration::MAX };

    /// The same window in µs.
    #[must_use]
    pub fn bounds(&self) -> TimeBounds {
        TimeBounds { past_us: us(self.past), future_us: us(self.future) }
    }

    /// Why a sample generated and received at these times (µs since 1970) is quarantined, if it is.
    #[must_use]
    pub fn refusal(&self, generated_us: i64, received_us: i64) -> Option<&'static str> {
        self.bounds().refusal(generated_us, received_us)
    }
}

impl TimeBounds {
    /// As [`TimeWindow::refusal`].
    #[inline]
    #[must_use]
    pub fn refusal(&self, generated_us: i64, received_us: i64) -> Option<&'static str> {
        let past_us = received_us.saturating_sub(self.past_us).max(TIMESTAMPTZ_MIN_US);
        if generated_us < past_us {
            Some("time_past")
        } else if generated_us > received_us.saturating_add(self.future_us) {
            Some("time_future")
        } else {
            None
        }
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The first moment of a `timestamptz`, 4714-11-24 BC; its last lies beyond any time code.
const TIMESTAMPTZ_MIN_US: i64 = -210_866_803_200_000_000;
