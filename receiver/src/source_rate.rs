//! How many datagrams a second each source may send: a token bucket a source, in a table of fixed size.
//!
//! A bucket holds the datagrams of one second ([`BURST`]), is full at first, and fills at the rate.
//! A source is an address without its port; IPv6 addresses count by their /64, since that is what
//! one sender is given to choose from (so all link-local neighbours are one source). Datagrams whose
//! source the kernel did not tell are one source too.
//!
//! Guarantees, whatever arrives: the table never grows beyond [`SOURCES_MAX`] entries of
//! [`OCTETS_PER_SOURCE`], a look-up reads the `WAYS` entries of one set, and a source is refused
//! only for datagrams that carry its own address. A full set forgets the source whose bucket has
//! most in it: a full bucket is the same as none, so for all but the busiest sources nothing is
//! lost. Whoever is forgotten begins with a full bucket.
//!
//! Limits: UDP addresses can be forged. Whoever sends from many gets the rate for each of them; and
//! whoever sends from somebody else's uses up that one's bucket.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

/// The buckets of all sources.
pub struct SourceRate {
    sets: Box<[[Bucket; WAYS]]>,
    /// Drawn at random, so that nobody can choose addresses that share a set.
    hasher: RandomState,
    /// Time that a datagram takes up, ns.
    interval_ns: i64,
}

/// One source's bucket: instead of the tokens in it, the time at which it is full again (GCRA).
#[derive(Clone, Copy)]
struct Bucket {
    key: u64,
    full_ns: i64,
}

/// Sources that are remembered.
pub const SOURCES_MAX: usize = SETS * WAYS;
/// What each of them costs.
pub const OCTETS_PER_SOURCE: usize = size_of::<Bucket>();
/// Rates that can be kept: up to one datagram a microsecond.
pub const RATE_MAX: u32 = 1_000_000;

impl SourceRate {
    /// At most so many a second from each source, 1 to [`RATE_MAX`].
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self::with_sets(per_second, SETS)
    }

    fn with_sets(per_second: u32, sets: usize) -> Self {
        let empty = Bucket { key: 0, full_ns: i64::MIN };
        Self {
            sets: vec![[empty; WAYS]; sets].into(),
            hasher: RandomState::new(),
            interval_ns: BURST_NS / i64::from(per_second.clamp(1, RATE_MAX)),
        }
    }

    /// Whether one more datagram of this source may pass at this time (µs since 1970). One that may
    /// not takes nothing from the bucket.
    pub fn permits(&mut self, source: Option<IpAddr>, now_us: i64) -> bool {
        let now_ns = now_us.saturating_mul(1_000);
        let key = key(source);
        let place = self.hasher.hash_one(key) % self.sets.len() as u64;
        let set = &mut self.sets[place as usize];
        let known = set.iter().position(|bucket| bucket.key == key);
        let bucket = if let Some(known) = known {
            &mut set[known]
        } else {
            let fullest = (0..WAYS).min_by_key(|&way| set[way].full_ns).unwrap_or_default();
            set[fullest] = Bucket { key, full_ns: i64::MIN };
            &mut set[fullest]
        };
        // Nobody is further from a full bucket than an empty one is, unless the clock was set back: by
        // more than the time for which datagrams rest, each socket's for itself.
        let is_full = bucket.full_ns <= now_ns
            || bucket.full_ns.saturating_sub(now_ns) > BURST_NS + RESTED_NS;
        let from_ns = if is_full { now_ns } else { bucket.full_ns };
        let full_ns = from_ns.saturating_add(self.interval_ns);
        let is_permitted = full_ns.saturating_sub(now_ns) <= BURST_NS;
        if is_permitted {
            bucket.full_ns = full_ns;
        }
        is_permitted
    }
}

/// Two sources have the same key only if they share a bucket.
fn key(source: Option<IpAddr>) -> u64 {
    match source.map(|source| source.to_canonical()) {
        None => UNKNOWN,
        Some(IpAddr::V4(source)) => IPV4 | u64::from(source.to_bits()),
        Some(IpAddr::V6(source)) => (source.to_bits() >> 64) as u64,
    }
}

/// What a bucket holds at most: the datagrams of one second.
pub const BURST: std::time::Duration = std::time::Duration::from_nanos(BURST_NS as u64);
const BURST_NS: i64 = 1_000_000_000;
const RESTED_NS: i64 = 100_000_000;
/// Entries that are compared: two cache lines of them.
const WAYS: usize = 8;
const SETS: usize = 4_096;
/// Above every IPv6 address that can send: ff00::/8 is multicast.
const IPV4: u64 = 0xFFFF_FFFF << 32;
const UNKNOWN: u64 = 0xFFFF_FFFE << 32;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    fn source(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn passed(rate: &mut SourceRate, source: Option<IpAddr>, count: usize, now_us: i64) -> usize {
        (0..count).filter(|_| rate.permits(source, now_us)).count()
    }

    #[test]
    fn a_second_at_once_then_the_rate() {
        let mut rate = SourceRate::new(10);
        let one = source("192.0.2.1");
        let start = 1_800_000_000_000_000;
        assert_eq!(passed(&mut rate, one, 25, start), 10);
        assert_eq!(passed(&mut rate, one, 5, start + 99_999), 0);
        assert_eq!(passed(&mut rate, one, 5, start + 100_000), 1);
        assert_eq!(passed(&mut rate, one, 25, start + 60_000_000), 10);
        assert_eq!(passed(&mut rate, one, 25, start + 59_960_000), 0, "it came earlier, elsewhere");
        assert_eq!(passed(&mut rate, one, 25, start - 60_000_000), 10, "the clock was set back");
        for per_second in [1, 3, 999, RATE_MAX] {
            let mut rate = SourceRate::new(per_second);
            let sent = per_second as usize + 10;
            assert_eq!(passed(&mut rate, one, sent, start), per_second as usize);
        }
        for now_us in [i64::MIN, 0, i64::MAX] {
            assert!(SourceRate::new(1).permits(one, now_us), "no overflow");
        }
    }

    #[test]
    fn who_is_one_source() {
        let mut rate = SourceRate::new(1);
        for (address, is_new) in [
            (source("192.0.2.1"), true),
            (source("::ffff:192.0.2.1"), false),
            (source("192.0.2.2"), true),
            (source("2001:db8::1"), true),
            (source("2001:db8::ffff:ffff:ffff:ffff"), false),
            (source("2001:db8:0:1::1"), true),
            (source("::1"), true),
            (None, true),
            (None, false),
        ] {
            assert_eq!(rate.permits(address, 0), is_new, "{address:?}");
        }
    }

    #[test]
    fn a_flood_of_addresses_neither_starves_nor_frees_anybody() {
        let mut rate = SourceRate::with_sets(100, 1);
        let (good, greedy) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut greedy_passed = 0;
        for step in 0_u32..100_000 {
            let now_us = i64::from(step) * 100;
            // Each is seen once: a million addresses in a table with room for eight.
            assert!(rate.permits(Some(IpAddr::V4((0x0A00_0000 + step).into())), now_us));
            greedy_passed += u64::from(rate.permits(greedy, now_us));
            if step % 100 == 0 {
                assert!(rate.permits(good, now_us), "half of its rate arrives in full");
            }
        }
        // Ten seconds, and one at once: the flood did not get its bucket forgotten.
        assert!((1_099..=1_101).contains(&greedy_passed), "{greedy_passed}");
    }

    #[test]
    fn the_table_is_as_large_as_stated() {
        assert_eq!((SOURCES_MAX, OCTETS_PER_SOURCE), (32_768, 16));
        assert_eq!(SourceRate::new(1).sets.len() * WAYS, SOURCES_MAX);
    }

    proptest! {
        /// While all sources have room, each gets what a bucket of its own gives it.
        #[test]
        fn as_a_bucket_for_each(
            per_second in 1_u32..50,
            arrivals in prop::collection::vec((0_u8..5, 0_i64..200_000), 1..400),
        ) {
            let mut rate = SourceRate::with_sets(per_second, 1);
            let mut tokens = HashMap::new();
            let mut now_us = 0;
            for (sender, pause_us) in arrivals {
                now_us += pause_us;
                let interval_ns = BURST_NS / i64::from(per_second);
                // In ns that have passed, of which each datagram takes an interval.
                let (credit_ns, at_us) = tokens.entry(sender).or_insert((BURST_NS, now_us));
                *credit_ns = (*credit_ns + (now_us - *at_us) * 1_000).min(BURST_NS);
                *at_us = now_us;
                let is_expected = *credit_ns >= interval_ns;
                *credit_ns -= i64::from(is_expected) * interval_ns;
                let found = rate.permits(Some(IpAddr::from([192, 0, 2, sender])), now_us);
                prop_assert_eq!(found, is_expected);
            }
        }

        /// Nobody who keeps to the rate is refused, whatever everybody else sends.
        #[test]
        fn who_keeps_to_the_rate_passes(
            others in prop::collection::vec((0_u32..64, 1_usize..20), 1..300),
        ) {
            let mut rate = SourceRate::with_sets(10, 1);
            for (turn, (other, count)) in (0_i64..).zip(others) {
                let now_us = turn * 100_000;
                passed(&mut rate, Some(IpAddr::V4(other.into())), count, now_us);
                prop_assert!(rate.permits(source("192.0.2.1"), now_us));
            }
        }
    }
}
