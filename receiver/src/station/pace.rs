//! How busy a socket is, and for how long it may be left alone once it was emptied.

use std::time::{Duration, Instant};

/// One socket's pace.
pub(super) struct Pace {
    /// Rests while it is busy, and while it is quiet.
    rests: [Duration; 2],
    /// Datagrams since the last tick.
    datagrams: u64,
    ticked: Instant,
    /// When it was busy last.
    busy: Instant,
    is_quiet: bool,
}

impl Pace {
    /// Of a socket that has room for so many datagrams, shares its thread with others, and rests no
    /// longer than `rest_max`. A million datagrams a second fill no more than a quarter of the room
    /// meanwhile, and where it was quiet before, 300,000 no more than half of it.
    pub(super) fn new(room: usize, sharing: usize, rest_max: Duration, now: Instant) -> Self {
        let room = (room / sharing.max(1)) as f64;
        let rest = |room: f64, rate: f64| Duration::from_secs_f64(room / rate).min(rest_max);
        let rests = [rest(room / 4.0, 1e6).min(REST_BUSY), rest(room / 2.0, 3e5).min(REST_QUIET)];
        Self { rests, datagrams: 0, ticked: now, busy: now, is_quiet: false }
    }

    /// So many datagrams were taken.
    pub(super) fn took(&mut self, datagrams: u64) {
        self.datagrams += datagrams;
    }

    /// To be called every [`Self::period`]; whether the socket is quiet. It is busy as soon as it is,
    /// and quiet when it was for a while.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let elapsed = now - self.ticked;
        if self.datagrams as f64 > QUIET_PER_SECOND * elapsed.as_secs_f64() {
            self.busy = now;
        }
        self.is_quiet = now - self.busy >= QUIET_AFTER;
        (self.datagrams, self.ticked) = (0, now);
        self.is_quiet
    }

    /// Whether it is time for a tick.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now - self.ticked >= self.period()
    }

    /// The time from tick to tick.
    pub(super) fn period(&self) -> Duration {
        if self.is_quiet { PERIOD_QUIET } else { PERIOD_BUSY }
    }

    /// For how long nobody has to look at a socket that was emptied.
    pub(super) fn rest(&self) -> Duration {
        self.rests[usize::from(self.is_quiet)]
    }
}

/// The longest rests. Samples are not visible so much later that it matters.
const REST_BUSY: Duration = Duration::from_millis(5);
const REST_QUIET: Duration = Duration::from_millis(32);
/// The longest that a sample waits in a chunk that does not fill.
const PERIOD_BUSY: Duration = Duration::from_millis(10);
const PERIOD_QUIET: Duration = Duration::from_millis(32);
/// Up to so many datagrams a second, waking costs more than what the kernel needs to stamp them.
const QUIET_PER_SECOND: f64 = 5_000.0;
const QUIET_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_the_buffer_the_shorter_the_rests() {
        let rests = |octets: usize, sharing, rest_max| {
            let rest_max = Duration::from_millis(rest_max);
            let pace = Pace::new(octets * 2 / 1_280, sharing, rest_max, Instant::now());
            pace.rests.map(|rest| rest.as_micros())
        };
        assert_eq!(rests(16 << 20, 1, 100), [5_000, 32_000]);
        assert_eq!(rests(16 << 20, 2, 100), [3_276, 21_845]);
        assert_eq!(rests(1 << 20, 1, 100), [409, 2_730]);
        assert_eq!(rests(212_992, 1, 100), [83, 553]);
        assert_eq!(rests(256, 0, 100), [0, 0]);
        assert_eq!(rests(16 << 20, 1, 2), [2_000, 2_000]);
    }

    #[test]
    fn busy_at_once_and_quiet_after_a_while() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1 << 20, 1, Duration::MAX, now);
        let mut tick = |datagrams| {
            now += pace.period();
            assert!(pace.is_due(now));
            pace.took(datagrams);
            let is_quiet = pace.tick(now);
            assert_eq!(pace.rest(), if is_quiet { REST_QUIET } else { REST_BUSY });
            is_quiet
        };
        for round in 0..3 {
            let quiet = (0..150).position(|_| tick(50));
            assert_eq!(quiet, Some(99), "{round}");
            assert!(tick(160));
            assert!(!tick(161));
        }
    }
}
