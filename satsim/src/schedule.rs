//! When which frame is due: pure arithmetic on frame numbers.
//!
//! The frames of all satellites are numbered in one row, spread evenly: with n satellites at rate r
//! frame g belongs to satellite g mod n and is due g / (n·r) seconds after the start. Instants are
//! computed from the number and never added up, so they do not drift.

use core::time::Duration;

/// An even schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    frames_per_s: f64,
    speed: f64,
}

impl Schedule {
    /// `rate` frames per wall-clock second of each of `satellites`; `speed` simulated seconds pass
    /// in one.
    pub fn new(satellites: usize, rate: f64, speed: f64) -> Self {
        Self { frames_per_s: satellites as f64 * rate, speed }
    }

    /// Frames per second of all satellites together.
    pub fn frames_per_s(&self) -> f64 {
        self.frames_per_s
    }

    /// When frame `number` is due, from the start; the longest duration there is when that is
    /// beyond it.
    pub fn instant(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.frames_per_s).unwrap_or(Duration::MAX)
    }

    /// How many frames are due once `elapsed` has passed.
    pub fn due(&self, elapsed: Duration) -> u64 {
        // A frame is due at its own instant, which is rounded to nanoseconds.
        let passed = (elapsed.as_secs_f64() + 1e-9) * self.frames_per_s + ROUNDING_FRAMES;
        (passed as u64).saturating_add(1)
    }

    /// How many frames are due before `span` ends: the first at its start, none at its end.
    pub fn count_within(&self, span: Duration) -> u64 {
        (span.as_secs_f64() * self.frames_per_s - ROUNDING_FRAMES).ceil() as u64
    }

    /// The simulated time of frame `number`, µs from the start.
    pub fn simulated_us(&self, number: u64) -> i64 {
        (number as f64 / self.frames_per_s * self.speed * 1e6) as i64
    }
}

/// More than the error of the sums above, and far less than a frame.
const ROUNDING_FRAMES: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::Schedule;
    use core::time::Duration;
    use proptest::prelude::*;

    #[test]
    fn counts_are_exact() {
        let count = |satellites, rate, seconds| {
            Schedule::new(satellites, rate, 1.0).count_within(Duration::from_secs_f64(seconds))
        };
        assert_eq!(count(50, 200.0, 20.0), 200_000);
        assert_eq!(count(3, 0.1, 10.0), 3);
        assert_eq!(count(3, 0.1, 100.0), 30);
        assert_eq!(count(7, 0.3, 1_000.0), 2_100);
        assert_eq!(count(1, 0.1, 1.0), 1, "the first is due at once");
        assert_eq!(count(1, 3.0, 0.5), 2);
    }

    #[test]
    fn nothing_is_too_slow_or_too_late() {
        let slow = Schedule::new(1, 1e-300, 1.0);
        assert_eq!(slow.instant(1), Duration::MAX);
        assert_eq!(slow.due(Duration::from_secs(1_000)), 1);
        let fast = Schedule::new(65_535, 1e6, 1e9);
        assert_eq!(fast.due(Duration::MAX), u64::MAX);
        assert_eq!(fast.simulated_us(u64::MAX), i64::MAX);
    }

    proptest! {
        #[test]
        fn due_and_instant_agree(
            number in 0..10_u64.pow(11), satellites in 1..5_000_usize, rate in 0.01..1_000.0_f64,
        ) {
            let schedule = Schedule::new(satellites, rate, 1.0);
            let instant = schedule.instant(number);
            prop_assert!(schedule.due(instant) > number);
            if number > 0 {
                let before = (instant + schedule.instant(number - 1)) / 2;
                prop_assert!(schedule.due(before) <= number);
            }
        }

        #[test]
        fn simulated_time_never_goes_back(number in 0..10_u64.pow(12), rate in 0.01..1e5_f64) {
            let schedule = Schedule::new(3, rate, 600.0);
            prop_assert!(schedule.simulated_us(number) <= schedule.simulated_us(number + 1));
        }
    }
}
