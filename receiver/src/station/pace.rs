//! How busy the sockets of a thread are, and for how long they may be left alone once they were
//! emptied.

use std::time::{Duration, Instant};

/// The pace of a thread's sockets, all together: while it rests, it looks at none of them.
pub(super) struct Pace {
    /// The longest rests while they are busy, and while they are quiet.
    rests_max: [Duration; 2],
    /// From tick to tick, the same.
    periods: [Duration; 2],
    /// The rest while they are busy, as it has turned out, and messages since the last one.
    rest: Duration,
    gathered: usize,
    is_quiet: bool,
    /// When this second began, and datagrams in it.
    second: Instant,
    datagrams: u64,
    is_crowded: bool,
    /// The last tick, and messages since.
    ticked: Instant,
    messages: usize,
}

impl Pace {
    /// Of sockets that each have room for so many datagrams, and rest no longer than `rest_max`. A
    /// million datagrams a second for one of them fill no more than a quarter of its room meanwhile,
    /// and after a quiet second, 300,000 no more than half of it.
    pub(super) fn new(room: usize, rest_max: Duration, now: Instant) -> Self {
        let rest = |room: f64, rate: f64| Duration::from_secs_f64(room / rate).min(rest_max);
        let room = room as f64;
        let rests_max =
            [rest(room / 4.0, 1e6).min(REST_BUSY), rest(room / 2.0, 3e5).min(REST_QUIET)];
        Self {
            rests_max,
            periods: [PERIOD, PERIOD.max(rests_max[1])],
            rest: REST_LEAST.min(rests_max[0]),
            gathered: 0,
            is_quiet: false,
            second: now,
            datagrams: 0,
            is_crowded: false,
            ticked: now,
            messages: 0,
        }
    }

    /// So many datagrams were taken, in so many messages. The sockets are busy as soon as there are too
    /// many in this second.
    pub(super) fn took(&mut self, messages: usize, datagrams: u64) {
        self.messages += messages;
        self.gathered += messages;
        self.datagrams += datagrams;
        self.is_quiet &= self.datagrams <= QUIET_PER_SECOND;
    }

    /// Looks how much has come. The sockets are quiet after a second in which it was little.
    pub(super) fn tick(&mut self, now: Instant) {
        if now - self.second >= SECOND {
            self.is_quiet = self.datagrams <= QUIET_PER_SECOND;
            (self.second, self.datagrams) = (now, 0);
        }
        let elapsed = (now - self.ticked).as_secs_f64();
        self.is_crowded = self.messages as f64 > CROWDED_PER_SECOND * elapsed;
        (self.ticked, self.messages) = (now, 0);
    }

    /// When the next tick is due.
    pub(super) fn due(&self) -> Instant {
        self.ticked + self.periods[usize::from(self.is_quiet)]
    }

    /// Whether little comes.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Whether so much comes that the kernel should do no more for a message than it has to.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Whether to look after each rest is enough, and nobody has to be told of what comes: while they
    /// are busy, unless their buffers are so small that there would be thousands of looks a second.
    pub(super) fn may_poll(&self) -> bool {
        !self.is_quiet && self.rests_max[0] >= POLLED_REST_LEAST
    }

    /// For how long nobody has to look, now that all sockets were emptied. While they are busy, for as
    /// long as makes up for waking, and no longer: what waits leaves the processor's cache.
    pub(super) fn rest(&mut self) -> Duration {
        match std::mem::take(&mut self.gathered) {
            0..GATHERED_LEAST => self.rest *= 2,
            GATHERED_LEAST..=GATHERED_MOST => {}
            _ => self.rest /= 2,
        }
        self.rest = self.rest.max(REST_LEAST).min(self.rests_max[0]);
        if self.is_quiet { self.rests_max[1] } else { self.rest }
    }
}

/// The longest rests. Samples are not visible so much later that it matters.
const REST_BUSY: Duration = Duration::from_millis(5);
const REST_QUIET: Duration = Duration::from_millis(32);
/// The shortest.
const REST_LEAST: Duration = Duration::from_micros(100);
/// Messages that a rest should bring.
const GATHERED_LEAST: usize = 256;
const GATHERED_MOST: usize = 512;
/// With a shorter longest rest than this it is better to be told.
const POLLED_REST_LEAST: Duration = Duration::from_millis(1);
const PERIOD: Duration = Duration::from_millis(10);
/// Up to so many datagrams, waking costs more than what the kernel needs to stamp them.
const QUIET_PER_SECOND: u64 = 5_000;
const SECOND: Duration = Duration::from_secs(1);
/// More messages than that keep a small machine's processor busy for a quarter of the time.
const CROWDED_PER_SECOND: f64 = 200_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_the_buffer_the_shorter_the_rests() {
        for (octets, rest_max_ms, rests_us, may_poll) in [
            (16 << 20, 100, [5_000, 32_000], true),
            (1 << 30, 100, [5_000, 32_000], true),
            (1 << 20, 100, [409, 2_730], false),
            (212_992, 100, [83, 553], false),
            (256, 100, [0, 0], false),
            (16 << 20, 2, [2_000, 2_000], true),
            (16 << 20, 0, [0, 0], false),
        ] {
            let rest_max = Duration::from_millis(rest_max_ms);
            let mut pace = Pace::new(octets * 2 / 1_280, rest_max, Instant::now());
            assert_eq!(pace.may_poll(), may_poll, "{octets} {rest_max_ms}");
            let rests = [false, true].map(|is_quiet| {
                pace.is_quiet = is_quiet;
                // Nothing comes.
                let longest = (0..10).map(|_| pace.rest()).max().unwrap();
                assert_eq!(pace.rest(), longest);
                assert!(pace.due() >= pace.ticked + longest);
                longest.as_micros()
            });
            assert_eq!(rests, rests_us, "{octets} {rest_max_ms}");
            assert!(!pace.may_poll(), "quiet");
        }
    }

    #[test]
    fn busy_at_once_and_quiet_after_a_second() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1 << 20, Duration::MAX, now);
        for round in 0..3 {
            pace.took(1, 5_001);
            assert!(!pace.is_quiet(), "{round}");
            // The second that has begun had too many, the next one has not.
            let quiet = (1..400).find(|_| {
                now = pace.due();
                pace.took(1, 50);
                pace.tick(now);
                pace.is_quiet()
            });
            assert_eq!((quiet, pace.due() - now), (Some(200), REST_QUIET), "{round}");
            pace.took(1, 5_000);
            assert!(pace.is_quiet(), "{round}");
        }
    }

    #[test]
    fn a_rest_is_as_long_as_some_hundred_messages_take() {
        let mut pace = Pace::new(1 << 20, Duration::MAX, Instant::now());
        for (messages_per_s, shortest_us, longest_us) in [
            (1e3, 5_000, 5_000),
            (1e5, 2_560, 5_000),
            (1e6, 256, 512),
            (1e8, 100, 100),
            (3e5, 853, 1_706),
            (0.0, 5_000, 5_000),
        ] {
            let mut rest = pace.rest();
            for _ in 0..20 {
                pace.took((messages_per_s * rest.as_secs_f64()) as usize, 0);
                rest = pace.rest();
            }
            let range = shortest_us..=longest_us;
            assert!(range.contains(&rest.as_micros()), "{messages_per_s}: {rest:?}");
        }
    }

    #[test]
    fn many_messages_make_a_crowd() {
        let mut pace = Pace::new(1 << 20, Duration::MAX, Instant::now());
        for (messages, is_crowded) in [(2_001, true), (1_999, false), (0, false), (3_000, true)] {
            pace.took(messages, 0);
            pace.tick(pace.due());
            assert_eq!(pace.is_crowded(), is_crowded, "{messages}");
        }
    }
}
