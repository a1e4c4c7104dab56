//! What detectors have learned survives a restart: a watch that is saved and taken back in the middle
//! finds the same events as one that is not, whoever takes it back; and a file that is not as it was
//! written is refused.

use std::f64::consts::TAU;

use proptest::prelude::*;
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, emit,
    health::Health,
};
use rand::{SeedableRng as _, rngs::StdRng};
use receiver::{
    chunk::{Record, Sample},
    detect::{CloseReason, Damage, Detector, Event, Settings, Watch},
    queue::SHARDS,
};

const SATELLITES: u16 = 3;
const ROUND_US: i64 = 10_000_000;
/// Five orbits: the last one is judged.
const ROUNDS: u32 = 2_900;
const DAY: u16 = 24_837;
/// Nothing is heard of the last satellite then.
const SILENT: std::ops::Range<u32> = 1_000..1_100;

/// Flies a watch through some rounds of a flight that its seed determines.
fn fly(watch: &mut Watch, seed: u64, rounds: std::ops::Range<u32>) {
    for round in rounds {
        for number in 1..=SATELLITES {
            if number < SATELLITES || !SILENT.contains(&round) {
                take(watch, number, round, health(seed, number, round));
            }
        }
        watch.tick(received_us(round));
    }
}

fn take(watch: &mut Watch, number: u16, round: u32, health: Health) {
    let us = i64::from(round) * ROUND_US;
    let ms_of_day = us / 1_000;
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(number).expect("not 0"),
        boot_count: 1 + u16::from(round > 2_000),
        sequence: Sequence::new(round),
        time: CdsTime { day: DAY, ms: ms_of_day as u32, us: 0 },
    };
    let mut out = [0; FRAME_OCTETS_MAX];
    let octets = emit(&stamp, &Packet::Health(health), &mut out);
    let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
        panic!("refused");
    };
    watch.take(&Record { received_us: received_us(round), sample: Sample::Frame(frame) });
}

fn received_us(round: u32) -> i64 {
    1_000_000_000_000_000 + i64::from(round) * ROUND_US
}

/// Curves that follow the orbit, with noise, spikes, steps and repetitions.
fn health(seed: u64, number: u16, round: u32) -> Health {
    let mut random = StdRng::seed_from_u64(seed ^ u64::from(number) << 40 ^ u64::from(round));
    let angle = TAU * (f64::from(round) / 570.0 + f64::from(number) / 7.0);
    let mut noise = |size: f64| (random.random::<f64>() - 0.5) * size;
    let wave = |mean: f64, size: f64| mean + size * angle.sin();
    let mut health = Health {
        mode: 1,
        latitude: (wave(0.0, 51.6) * 1e7) as i32,
        cpu_temp: (wave(2_500.0, 900.0) + noise(60.0)) as i16,
        battery_temp: (wave(1_500.0, 300.0) + noise(20.0)) as i16,
        battery_voltage: (wave(7_600.0, 400.0) + noise(20.0)) as u16,
        bus_voltage: (5_000.0 + noise(10.0)) as u16,
        battery_charge: (wave(7_500.0, 1_500.0) + noise(4.0)) as u16,
        signal_strength: (-9_000.0 + noise(300.0)) as i16,
        ..Health::default()
    };
    // What goes wrong comes in stretches of 40 rounds.
    let mut fate = StdRng::seed_from_u64(seed ^ u64::from(number) << 20 ^ u64::from(round / 40));
    match fate.random_range(0..40) {
        0 if round % 40 == 7 => health.cpu_temp += 2_500,
        1 if round % 40 > 20 => health.battery_voltage -= 900,
        2 => health.bus_voltage = 5_001,
        3 if round % 40 > 10 => health.cpu_temp = 9_000,
        4 => health.battery_temp += (round % 40) as i16 * 40,
        _ => {}
    }
    health
}

fn watch(writers: usize) -> Watch {
    Watch::new(Settings::default(), "GS-01", writers)
}

fn save(watch: &Watch) -> Vec<(usize, Vec<u8>)> {
    let shard = |shard| Some((shard, watch.snapshot(shard).expect("it can be written")?));
    (0..SHARDS).filter_map(shard).collect()
}

fn events(watch: &Watch) -> Vec<Event> {
    let mut events: Vec<_> = watch.changes().cloned().collect();
    events.sort_by_key(|event| event.id);
    events
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn a_restart_changes_nothing(seed: u64, cut in (1..1_000_u32).prop_union(1_150..ROUNDS)) {
        let mut whole = watch(1);
        fly(&mut whole, seed, 0..cut);
        let saved = save(&whole);
        fly(&mut whole, seed, cut..ROUNDS);

        let mut parted = watch(1);
        for (shard, octets) in &saved {
            parted.restore(octets, *shard, received_us(cut - 1)).expect("as it was written");
        }
        prop_assert_eq!(&save(&parted), &saved);
        fly(&mut parted, seed, cut..ROUNDS);
        prop_assert!(events(&whole).len() > 5, "{}", events(&whole).len());
        prop_assert_eq!(events(&parted), events(&whole));
        prop_assert_eq!(save(&parted), save(&whole));
    }
}

#[test]
fn every_detector_has_something_to_say_here() {
    let mut watch = watch(1);
    for seed in 0..4 {
        fly(&mut watch, seed, 0..ROUNDS);
        let found = events(&watch);
        for detector in [Detector::Limits, Detector::Delta, Detector::Silence] {
            assert!(found.iter().any(|event| event.detector == detector), "{detector}: {found:?}");
        }
        watch = self::watch(1);
    }
}

#[test]
fn other_writers_take_it_over() {
    let mut first = watch(1);
    fly(&mut first, 5, 0..900);
    let saved = save(&first);
    assert_eq!(saved.len(), usize::from(SATELLITES));
    let mut known: Vec<_> = first.known_events().collect();
    known.sort_unstable();
    for writers in [2, 3] {
        let mut watches: Vec<_> = (0..writers).map(|_| watch(writers)).collect();
        for (shard, octets) in &saved {
            watches[shard % writers].restore(octets, *shard, received_us(899)).expect("whole");
        }
        let mut again: Vec<_> = watches.iter().flat_map(save).collect();
        again.sort();
        assert_eq!(again, saved);
        let mut found: Vec<_> = watches.iter().flat_map(Watch::known_events).collect();
        found.sort_unstable();
        assert_eq!(found, known);
    }
}

#[test]
fn what_is_not_as_it_was_written_is_refused_and_changes_nothing() {
    let mut first = watch(1);
    for round in 0..40 {
        take(&mut first, 1, round, Health { cpu_temp: 9_900, ..Health::default() });
    }
    assert!(first.has_changes());
    let (shard, octets) = save(&first).remove(0);
    let mut fresh = watch(1);
    let mut refuse = |octets: &[u8], shard| {
        let damage = fresh.restore(octets, shard, 1).expect_err("damaged");
        assert!(!fresh.has_changes() && save(&fresh).is_empty());
        damage
    };
    for place in 0..octets.len() {
        let mut damaged = octets.clone();
        damaged[place] ^= 1 << (place % 8);
        let damage = refuse(&damaged, shard);
        let expected = match place {
            0..8 => Damage::Foreign,
            8..12 => Damage::Version {
                found: u32::from_le_bytes([damaged[8], damaged[9], damaged[10], damaged[11]]),
            },
            16..24 => Damage::Length,
            _ => Damage::Checksum,
        };
        assert_eq!(damage, expected, "octet {place}");
    }
    for length in 0..octets.len() {
        refuse(&octets[..length], shard);
    }
    refuse(&[&octets[..], &[0]].concat(), shard);
    assert_eq!(refuse(&octets, shard + 1), Damage::Content, "another shard's");
    let mut other = Watch::new(Settings::default(), "GS-02", 1);
    assert_eq!(other.restore(&octets, shard, 1), Err(Damage::Station));
    assert_eq!(fresh.restore(&octets, shard, 1), Ok(0));
    assert!(octets.len() as u64 <= Settings::default().snapshot_octets_max());
}

#[test]
fn nobody_was_silent_while_the_station_was_off() {
    let mut first = watch(1);
    fly(&mut first, 1, 0..100);
    let mut second = watch(1);
    let hour_later_us = received_us(99) + 3_600_000_000;
    for (shard, octets) in save(&first) {
        second.restore(&octets, shard, hour_later_us).expect("whole");
    }
    second.forget_changes();
    second.tick(hour_later_us + 1_000_000);
    assert!(!second.has_changes());
    second.tick(hour_later_us + 301_000_000);
    let silent = second.changes().filter(|event| event.detector == Detector::Silence).count();
    assert_eq!(silent, usize::from(SATELLITES));
}

#[test]
fn what_is_looked_for_no_more_is_closed() {
    let mut first = watch(1);
    fly(&mut first, 1, 0..1_050);
    assert!(first.changes().any(|event| event.closed.is_none()));
    let (rules_off, memory_off) =
        (Settings::default(), Settings { memory: 0, ..Settings::default() });
    let mut rules_off = rules_off;
    for rules in rules_off.rules.all_mut().iter_mut().flatten() {
        *rules = rules.clone().limits_only();
    }
    for settings in [rules_off, memory_off] {
        let mut second = Watch::new(settings, "GS-01", 1);
        for (shard, octets) in save(&first) {
            second.restore(&octets, shard, received_us(1_049)).expect("whole");
        }
        for event in events(&second) {
            let was_open = first.changes().any(|e| e.id == event.id && e.closed.is_none());
            let learned = !matches!(event.detector, Detector::Limits | Detector::Silence);
            let is_closed_so = matches!(event.closed, Some((_, CloseReason::Restart)));
            assert_eq!(is_closed_so, was_open && learned, "{event:?}");
        }
        // Only what limits have found is worth keeping.
        assert!(save(&second).iter().all(|(_, octets)| octets.len() < 20_000));
    }
}

/// If this fails, the layout has changed: count up `VERSION` in `detect/watch/snapshot.rs`, then
/// change the lengths here.
#[test]
fn the_layout_is_that_of_version_2() {
    let mut watch = watch(1);
    take(&mut watch, 1, 0, Health::default());
    let (_, octets) = save(&watch).remove(0);
    assert_eq!((octets[8], octets.len()), (2, 25_947));
}
