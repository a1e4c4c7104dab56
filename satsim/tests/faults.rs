//! Faults on purpose, seen by a receiver that remembers everything: the truth is exact.
#![allow(missing_docs, reason = "tests")]

#[path = "support/oracle.rs"]
mod oracle;

use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use oracle::Oracle;
use proptest::prelude::*;
use satsim::{
    constellation::{Constellation, Origin},
    datagram::Packer,
    digest::{Digests, RowFields, Slices, row_hash},
    fault::{Burst, COPY_DELAY_MAX, Injector, REORDER_DEPTH_MAX, Rates},
    flight::{Clock, Flight, NoWaiting},
    itinerary::{Itinerary, Pace, Phase},
    orbit::walker,
    report::Report,
    schedule::Schedule,
    sink::{Datagram, Sink, SinkError},
};

const START: i64 = 1_767_225_600_000_000;
const BOOT: u16 = 7;

/// Keeps what leaves.
#[derive(Default)]
struct Memory {
    datagrams: Vec<Vec<u8>>,
    frames: u64,
    latest_us: i64,
}

impl Sink for Memory {
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        assert!(datagram.offset_us >= self.latest_us, "dated in order");
        self.latest_us = datagram.offset_us;
        self.datagrams.push(datagram.octets.to_vec());
        self.frames += datagram.frames as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn frames_sent(&self) -> u64 {
        self.frames
    }
}

/// Flies until `stop_at` frames are made, or to the end.
fn fly(
    itinerary: &Itinerary,
    satellites: usize,
    seed: u64,
    frames_per_datagram: usize,
    clock: impl Clock,
    stop_at: u64,
) -> (Vec<Vec<u8>>, Report) {
    let origin = Origin { start_unix_us: START, seed, boot_count: BOOT };
    let orbits = (0..satellites).map(|i| walker::orbit(i, satellites, START).unwrap()).collect();
    let mut constellation = Constellation::new(origin, orbits).unwrap();
    let mut injector = itinerary.has_faults().then(|| Injector::new(seed, satellites));
    let (mut memory, mut digests) = (Memory::default(), Digests::default());
    let stop = AtomicBool::new(false);
    Flight {
        constellation: &mut constellation,
        faults: injector.as_mut(),
        digests: Some(&mut digests),
        packer: Packer::new(frames_per_datagram),
        sink: &mut memory,
        clock,
        stop: &stop,
        watch: &mut |made| stop.store(made >= stop_at, Ordering::Relaxed),
    }
    .fly(itinerary)
    .unwrap();
    let report = Report::new(
        &origin,
        &constellation,
        injector.as_ref(),
        &digests,
        memory.frames,
        frames_per_datagram as u16,
    );
    (memory.datagrams, report)
}

fn scheduled(satellites: usize, frames: u64) -> Pace {
    Pace::Scheduled { schedule: Schedule::new(satellites, 10.0, 1.0), frames }
}

/// One phase by schedule, to its end.
fn fly_one(
    rates: Rates,
    satellites: usize,
    frames: u64,
    per_datagram: usize,
) -> (Vec<Vec<u8>>, Report) {
    let itinerary = Itinerary::of_one(satellites, scheduled(satellites, frames), rates);
    fly(&itinerary, satellites, 1, per_datagram, NoWaiting, u64::MAX)
}

/// The truth and what was heard agree, stream by stream and in all.
fn agree(datagrams: &[Vec<u8>], report: &Report, frames_per_datagram: usize) -> Oracle {
    let oracle = Oracle::of(datagrams);
    assert_eq!(oracle.streams.len(), report.streams.len());
    for stream in &report.streams {
        let number = stream.satellite_id.trim_start_matches("SAT-").parse().unwrap();
        let heard = &oracle.streams[&(number, stream.apid, stream.boot_count)];
        let faults = &stream.faults;
        assert_eq!(
            heard.lost(),
            faults.dropped + faults.corrupted + faults.truncated,
            "{stream:?}"
        );
        assert_eq!(heard.duplicate, faults.duplicated, "{stream:?}");
        assert_eq!(heard.late, faults.reordered, "{stream:?}");
        assert_eq!(heard.seen.len() as u64 + heard.lost(), stream.generated, "{stream:?}");
        assert_eq!((heard.first_come, heard.last_come), (stream.first, stream.last));
        assert_eq!(u64::from(heard.newest) + 1, stream.generated, "{stream:?}");
        let name = (number, stream.apid, stream.boot_count);
        let (mut slices, mut fields) = (Slices::default(), RowFields::default());
        for ((_, sequence), octets) in oracle.octets.iter().filter(|((n, _), _)| *n == name) {
            let frame = protocol::Telemetry::from_checked(octets).unwrap();
            fields.clear();
            fields.timestamp(frame.time().unix_us());
            fields.integer(*sequence as i32);
            frame.body().columns(&mut fields);
            slices.add(*sequence, row_hash(&fields));
        }
        assert_eq!(slices, stream.slices, "digests of what came whole, each frame once");
    }
    let faults = report.faults;
    let sum = |what: fn(&satsim::report::StreamReport) -> u64| {
        report.streams.iter().map(what).sum::<u64>()
    };
    assert_eq!(report.generated, sum(|stream| stream.generated));
    assert_eq!(faults.dropped, sum(|stream| stream.faults.dropped));
    assert_eq!(faults.corrupted, sum(|stream| stream.faults.corrupted));
    assert_eq!(faults.truncated, sum(|stream| stream.faults.truncated));
    assert_eq!(faults.duplicated, sum(|stream| stream.faults.duplicated));
    assert_eq!(faults.reordered, sum(|stream| stream.faults.reordered));
    assert_eq!(report.sent, report.generated - faults.dropped + faults.duplicated);
    let damaged = faults.corrupted + faults.truncated;
    assert!(oracle.rejected <= damaged);
    assert!(frames_per_datagram > 1 || oracle.rejected == damaged);
    assert!(u64::from(oracle.copy_late_by_max) <= COPY_DELAY_MAX);
    oracle
}

fn rates() -> impl Strategy<Value = Rates> {
    let weight = || prop_oneof![2 => Just(0.0), 3 => 0.0..1.0_f64];
    let weights = (weight(), weight(), weight(), weight(), weight(), 0.0..3.0_f64);
    let depth = prop_oneof![4 => 1..20_u16, 1 => Just(REORDER_DEPTH_MAX)];
    let chance = || prop_oneof![4 => 0.0..0.5_f64, 1 => Just(1.0)];
    let burst = prop::option::weighted(0.3, (chance(), chance()));
    (weights, depth, burst).prop_map(|(w, reorder_depth, burst)| {
        let sum = (w.0 + w.1 + w.2 + w.3 + w.4 + w.5).max(1e-9);
        Rates {
            drop: w.0 / sum,
            corrupt: w.1 / sum,
            truncate: w.2 / sum,
            duplicate: w.3 / sum,
            reorder: w.4 / sum,
            reorder_depth,
            burst: burst.map(|(enter, leave)| Burst { enter, leave }),
        }
    })
}

fn per_datagram() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(7), Just(20)]
}

/// Frames, chances, and which satellites start again or are silent, as bits.
fn phases() -> impl Strategy<Value = Vec<(u64, Rates, u8, u8)>> {
    prop::collection::vec((0..1_500_u64, rates(), any::<u8>(), any::<u8>()), 1..5)
}

/// A scenario; with `is_unlimited` nobody knows how many frames it will be.
fn itinerary(satellites: usize, phases: &[(u64, Rates, u8, u8)], is_unlimited: bool) -> Itinerary {
    let chosen = |bits: u8| (0..satellites).filter(|i| bits >> i & 1 == 1).collect::<Vec<_>>();
    let mut start = Duration::ZERO;
    let phases = phases.iter().map(|&(frames, rates, reboot, silent)| {
        let silent = chosen(silent & !reboot);
        let active = satellites - silent.len();
        let duration = Duration::from_millis(frames);
        let pace = if is_unlimited {
            Pace::Unlimited { speed: 1.0, frames: u64::MAX, duration }
        } else {
            scheduled(active, if active == 0 { 0 } else { frames })
        };
        let phase = Phase {
            start,
            start_us: start.as_micros() as i64,
            pace,
            rates,
            anomalies: 0.0,
            reboot: chosen(reboot),
            silent,
        };
        // Long enough for any schedule of these.
        start += if is_unlimited { duration } else { Duration::from_secs(1_000) };
        phase
    });
    Itinerary::new(satellites, phases.collect())
}

/// Advances at every look.
struct Hasty(Cell<Duration>);

impl Clock for Hasty {
    fn elapsed(&self) -> Duration {
        let now = self.0.get();
        self.0.set(now + Duration::from_millis(100));
        now
    }

    fn sleep(&mut self, duration: Duration) {
        self.0.set(self.0.get() + duration);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_truth_is_exact(
        satellites in 1..7_usize, phases in phases(), seed in any::<u64>(), per in per_datagram(),
    ) {
        let itinerary = itinerary(satellites, &phases, false);
        let (datagrams, report) = fly(&itinerary, satellites, seed, per, NoWaiting, u64::MAX);
        let oracle = agree(&datagrams, &report, per);
        prop_assert_eq!(report.generated, itinerary.frames());
        let depth = phases.iter().map(|phase| u32::from(phase.1.reorder_depth)).max();
        prop_assert!(Some(oracle.late_by_max) <= depth);

        // Nothing is accepted that was not made.
        let calm: Vec<_> = phases.iter().map(|p| (p.0, Rates::default(), p.2, p.3)).collect();
        let calm = self::itinerary(satellites, &calm, false);
        let (clean, _) = fly(&calm, satellites, seed, per, NoWaiting, u64::MAX);
        let clean = Oracle::of(&clean).octets;
        for (name, octets) in &oracle.octets {
            prop_assert_eq!(clean.get(name), Some(octets));
        }
        let again = fly(&itinerary, satellites, seed, per, NoWaiting, u64::MAX);
        prop_assert!(again == (datagrams, report));
    }

    #[test]
    fn also_when_nobody_knew_the_end(
        satellites in 1..7_usize, phases in phases(), per in per_datagram(),
        stop_at in 0..6_000_u64, is_unlimited in any::<bool>(),
    ) {
        let itinerary = itinerary(satellites, &phases, is_unlimited);
        let clock = Hasty(Cell::new(Duration::ZERO));
        let (datagrams, report) = fly(&itinerary, satellites, 1, per, clock, stop_at);
        agree(&datagrams, &report, per);
    }
}

fn alone(change: impl FnOnce(&mut Rates)) -> Rates {
    let mut rates = Rates::default();
    change(&mut rates);
    rates
}

/// Five standard deviations of a binomial distribution.
fn is_near(count: u64, frames: u64, chance: f64) -> bool {
    let (mean, frames) = (frames as f64 * chance, frames as f64);
    (count as f64 - mean).abs() <= 5.0 * (frames * chance * (1.0 - chance)).sqrt() + 1.0
}

#[test]
fn each_fault_is_as_frequent_as_asked_for() {
    const FRAMES: u64 = 100_000;
    for (index, chance) in [(0, 0.05), (1, 0.05), (2, 0.05), (3, 0.05), (4, 0.02), (0, 0.001)] {
        let rates = alone(|rates| match index {
            0 => rates.drop = chance,
            1 => rates.corrupt = chance,
            2 => rates.truncate = chance,
            3 => rates.duplicate = chance,
            _ => rates.reorder = chance,
        });
        let (datagrams, report) = fly_one(rates, 10, FRAMES, 7);
        agree(&datagrams, &report, 7);
        let faults = report.faults;
        let counts = [
            faults.dropped,
            faults.corrupted,
            faults.truncated,
            faults.duplicated,
            faults.reordered,
        ];
        assert!(is_near(counts[index], FRAMES, chance), "{counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), counts[index], "nothing else happens");
    }
}

#[test]
fn faults_together_do_not_disturb_each_other() {
    const FRAMES: u64 = 100_000;
    let rates = Rates {
        drop: 0.1,
        corrupt: 0.1,
        truncate: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        reorder_depth: 32,
        burst: None,
    };
    for per_datagram in [1, 7, 20] {
        let (datagrams, report) = fly_one(rates, 10, FRAMES, per_datagram);
        agree(&datagrams, &report, per_datagram);
        let faults = report.faults;
        for count in [faults.dropped, faults.corrupted, faults.truncated, faults.duplicated] {
            assert!(is_near(count, FRAMES, 0.1), "{faults:?}");
        }
        // A frame next to the last, or whose followers are lost, is in order after all.
        assert!((9_400..10_200).contains(&faults.reordered), "{faults:?}");
    }
}

#[test]
fn bursts_are_as_long_and_as_frequent_as_asked_for() {
    const FRAMES: u64 = 100_000;
    let rates = alone(|rates| rates.burst = Some(Burst { enter: 0.01, leave: 0.2 }));
    let (datagrams, report) = fly_one(rates, 1, FRAMES, 1);
    let oracle = agree(&datagrams, &report, 1);
    // In the order in which the satellite made them: nine of health and one of attitude.
    let mut came = vec![false; FRAMES as usize];
    for &((_, apid, _), number) in oracle.octets.keys() {
        let number = number as usize;
        came[if apid == 101 { number * 10 + 9 } else { number / 9 * 10 + number % 9 }] = true;
    }
    let bursts = came.windows(2).filter(|pair| pair[0] && !pair[1]).count() as f64;
    let lost = came.iter().filter(|&&came| !came).count() as f64;
    assert!((850.0..1_050.0).contains(&bursts), "{bursts}");
    assert!((4.3..5.7).contains(&(lost / bursts)), "{}", lost / bursts);
    assert_eq!(lost as u64, report.faults.dropped);
}

#[test]
fn all_at_once_and_nothing_but() {
    for per_datagram in [1, 7, 20] {
        for index in 0..6 {
            let rates = alone(|rates| match index {
                0 => rates.drop = 1.0,
                1 => rates.corrupt = 1.0,
                2 => rates.truncate = 1.0,
                3 => rates.duplicate = 1.0,
                4 => rates.reorder = 1.0,
                _ => rates.burst = Some(Burst { enter: 1.0, leave: 0.0 }),
            });
            for frames in [1, 2, 3, 19, 20, 21, 2_000] {
                let (datagrams, report) = fly_one(rates, 1, frames, per_datagram);
                agree(&datagrams, &report, per_datagram);
                assert_eq!(report.generated, frames, "no frame more than was asked for");
            }
        }
    }
}

#[test]
fn faults_of_a_satellite_depend_on_nobody_else() {
    let rates = Rates { drop: 0.2, reorder: 0.1, duplicate: 0.1, ..Rates::default() };
    let truth = |satellites: usize, per_datagram| {
        let (_, report) = fly_one(rates, satellites, satellites as u64 * 500, per_datagram);
        report.streams[..2].to_vec()
    };
    assert_eq!(truth(1, 1), truth(5, 20));
}
