//! How busy the sockets of a thread are, and for how long they may be left alone once they were
//! emptied.

use std::time::{Duration, Instant};

/// The pace of a thread's sockets, all together: while it rests, it looks at none of them.
pub(super) struct Pace {
    /// How many they are.
    sockets: u32,
    /// Rests of all of them together while they are busy, and while they are quiet.
    rests: [Duration; 2],
    /// From tick to tick, the same.
    periods: [Duration; 2],
    is_quiet: bool,
    /// When this second began, and datagrams in it.
    second: Instant,
    datagrams: u64,
}

impl Pace {
    /// Of so many sockets with room for so many datagrams each, that rest no longer than `rest_max`. A
    /// million datagrams a second for one of them fill no more than a quarter of its room meanwhile,
    /// and after a quiet second, 300,000 no more than half of it.
    pub(super) fn new(sockets: usize, room: usize, rest_max: Duration, now: Instant) -> Self {
        let rest = |room: f64, rate: f64| Duration::from_secs_f64(room / rate).min(rest_max);
        let room = room as f64;
        let rests = [rest(room / 4.0, 1e6).min(REST_BUSY), rest(room / 2.0, 3e5).min(REST_QUIET)];
        let periods = [PERIOD, PERIOD.max(rests[1])];
        let sockets = sockets.try_into().unwrap_or(u32::MAX).max(1);
        Self { sockets, rests, periods, is_quiet: false, second: now, datagrams: 0 }
    }

    /// So many datagrams were taken. They are busy as soon as there are too many in this second.
    pub(super) fn took(&mut self, datagrams: u64) {
        self.datagrams += datagrams;
        self.is_quiet &= self.datagrams <= QUIET_PER_SECOND;
    }

    /// Looks whether a second is over. They are quiet after one in which little came.
    pub(super) fn tick(&mut self, now: Instant) {
        if now - self.second >= SECOND {
            self.is_quiet = self.datagrams <= QUIET_PER_SECOND;
            (self.second, self.datagrams) = (now, 0);
        }
    }

    /// Whether little comes.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The time from tick to tick, and so the longest that a sample waits in a chunk that does not
    /// fill.
    pub(super) fn period(&self) -> Duration {
        self.periods[usize::from(self.is_quiet)]
    }

    /// For how long nobody has to look after one of the sockets was emptied.
    pub(super) fn rest(&self) -> Duration {
        self.rests[usize::from(self.is_quiet)] / self.sockets
    }
}

/// The longest rests. Samples are not visible so much later that it matters.
const REST_BUSY: Duration = Duration::from_millis(5);
const REST_QUIET: Duration = Duration::from_millis(32);
const PERIOD: Duration = Duration::from_millis(10);
/// Up to so many, waking costs more than what the kernel needs to stamp them.
const QUIET_PER_SECOND: u64 = 5_000;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_the_buffer_the_shorter_the_rests() {
        let rests = |octets: usize, sockets, rest_max| {
            let rest_max = Duration::from_millis(rest_max);
            let mut pace = Pace::new(sockets, octets * 2 / 1_280, rest_max, Instant::now());
            [false, true].map(|is_quiet| {
                pace.is_quiet = is_quiet;
                assert!(pace.rest() * sockets as u32 <= pace.period().max(rest_max));
                pace.rest().as_micros()
            })
        };
        assert_eq!(rests(16 << 20, 1, 100), [5_000, 32_000]);
        assert_eq!(rests(16 << 20, 2, 100), [2_500, 16_000]);
        assert_eq!(rests(1 << 30, 8, 100), [625, 4_000]);
        assert_eq!(rests(1 << 20, 1, 100), [409, 2_730]);
        assert_eq!(rests(212_992, 1, 100), [83, 553]);
        assert_eq!(rests(256, 1, 100), [0, 0]);
        assert_eq!(rests(16 << 20, 1, 2), [2_000, 2_000]);
    }

    #[test]
    fn busy_at_once_and_quiet_after_a_second() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1, 1 << 20, Duration::MAX, now);
        for round in 0..3 {
            pace.took(5_001);
            assert!(!pace.is_quiet(), "{round}");
            // The second that has begun had too many, the next one has not.
            let quiet = (1..400).find(|_| {
                now += pace.period();
                pace.took(50);
                pace.tick(now);
                pace.is_quiet()
            });
            assert_eq!((quiet, pace.period()), (Some(200), REST_QUIET), "{round}");
            pace.took(5_000);
            assert!(pace.is_quiet(), "{round}");
        }
    }
}
