use super::{ATTITUDE, GAP_SAMPLES, HEALTH, Instrument, Kind, Sensors};
use crate::{
    constellation::{Constellation, Origin},
    orbit::walker,
    satellite::{Satellite, noise::Noise},
};
use proptest::prelude::*;
use protocol::{
    Apid, Body, Datagram, Frame, SpacecraftId,
    channel::{Field, Meaning},
};
use std::collections::{BTreeMap, BTreeSet};

const START: i64 = 1_767_225_600_000_000;

/// Raw values of one satellite's channel, sample by sample, with their times from the start.
type Channels = BTreeMap<(u16, &'static str), Vec<(i64, i64)>>;

fn constellation(satellites: usize, seed: u64, chance: f64) -> Constellation {
    let origin = Origin { start_unix_us: START, seed, boot_count: 7 };
    let orbits = (0..satellites).map(|i| walker::orbit(i, satellites, START).unwrap()).collect();
    let mut constellation = Constellation::new(origin, orbits).unwrap();
    constellation.set_anomalies(chance);
    constellation
}

/// What a station decodes that gets every frame. The first satellite reboots now and then.
fn fly(constellation: &mut Constellation, frames: i64, step_us: i64) -> Channels {
    let mut channels = Channels::new();
    let satellites = constellation.satellites();
    for number in 0..frames {
        if number % 2_000 == 1_999 {
            constellation.reboot(0);
        }
        for index in 0..satellites {
            let frame = constellation.frame(index, number * step_us);
            let mut datagram = Datagram::new(frame.octets());
            let Some(Ok(Frame::Telemetry(seen))) = datagram.next(|_| true) else {
                panic!("refused: {frame:?}");
            };
            let time_us = seen.time().unix_us() - START;
            let (kind, values) = match seen.body() {
                Body::Health(health) => (seen.body().kind(), health.values().to_vec()),
                Body::Attitude(attitude) => (seen.body().kind(), attitude.values().to_vec()),
            };
            let fields = kind.fields.iter().filter_map(|field| match field.meaning {
                Meaning::Channel(channel) => Some((field.name, channel.scale)),
                _ => None,
            });
            for ((name, scale), value) in fields.zip(values) {
                let series = channels.entry((seen.spacecraft().number(), name)).or_default();
                series.push((time_us, (value / scale).round() as i64));
            }
        }
    }
    channels
}

fn instrument(channel: &str) -> &'static Instrument {
    static ALL: [&[Instrument]; 2] = [&HEALTH, &ATTITUDE];
    ALL.into_iter().flatten().find(|instrument| instrument.channel == channel).unwrap()
}

/// The truth says what was altered, to the sample, and nothing else was.
fn check(satellites: usize, seed: u64, chance: f64, frames: i64, step_us: i64) -> usize {
    let clean = fly(&mut constellation(satellites, seed, 0.0), frames, step_us);
    let mut altered = constellation(satellites, seed, chance);
    let sent = fly(&mut altered, frames, step_us);
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in altered.anomalies() {
        events.entry((event.spacecraft.number(), event.channel)).or_default().push(*event);
    }
    let known: BTreeSet<_> = events.keys().copied().collect();
    assert!(known.iter().all(|name| clean.contains_key(name)));
    for (name, clean) in &clean {
        let sent = &sent[name];
        assert_eq!(clean.len(), sent.len());
        let differ = |place: &usize| sent[*place].1 != clean[*place].1;
        let places: Vec<usize> = (0..clean.len()).filter(differ).collect();
        let events = events.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut accounted = 0;
        let mut after_before = None;
        for event in events {
            let at = |time_us| sent.binary_search_by_key(&time_us, |sample| sample.0).unwrap();
            let (first, last) = (at(event.start_us), at(event.end_us));
            assert!(differ(&first) && differ(&last), "{event:?}");
            let inside = places.iter().filter(|place| (first..=last).contains(place)).count();
            assert_eq!((inside as u32, event.sent), (event.samples, event.samples), "{event:?}");
            accounted += inside;
            assert!(last - first < event.kind.samples().1 as usize, "{event:?}");
            if let Some(before) = after_before.replace(last) {
                assert!(first - before > GAP_SAMPLES as usize, "{event:?}");
            }
            let size = |place: usize| sent[place].1 - clean[place].1;
            let (instrument, scale) = (instrument(name.1), instrument(name.1).scale);
            let steps = |size: f64| size / scale;
            match event.kind {
                Kind::Spike => {
                    assert_eq!(first, last);
                    let size = size(first).abs() as f64;
                    assert!(size >= steps(instrument.spike.0) - 1.0, "{event:?}");
                    assert!(size <= steps(instrument.spike.1) + 1.0, "{event:?}");
                }
                Kind::Step => {
                    let size = size(first).abs() as f64;
                    assert!(size >= steps(instrument.step.unwrap().0) - 1.0, "{event:?}");
                }
                Kind::Stuck => {
                    let held = sent[first - 1].1;
                    assert!(instrument.sticks);
                    assert!((first..=last).all(|place| sent[place].1 == held), "{event:?}");
                }
                Kind::Drift => {
                    let far = (first..=last).map(|place| size(place).abs()).max().unwrap() as f64;
                    assert!(far <= steps(instrument.drift.unwrap().1) + 1.0, "{event:?}");
                }
                Kind::Noise => assert!(last - first < 100),
            }
        }
        assert_eq!(accounted, places.len(), "{name:?}: altered outside of events");
    }
    events.values().map(Vec::len).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_truth_is_what_was_altered(
        seed in any::<u64>(), chance in 0.0..1.0_f64, step_s in 0.05..60.0_f64,
    ) {
        check(2, seed, chance, 5_000, (step_s * 1e6) as i64);
    }
}

#[test]
fn every_kind_happens_to_every_channel_that_it_can_happen_to() {
    let mut constellation = constellation(20, 1, 0.05);
    fly(&mut constellation, 10_000, 1_000_000);
    let mut seen: BTreeMap<(&str, Kind), u32> = BTreeMap::new();
    for event in constellation.anomalies() {
        *seen.entry((event.channel, event.kind)).or_default() += 1;
    }
    for instrument in HEALTH.iter().chain(&ATTITUDE) {
        for kind in Kind::ALL {
            let can = match kind {
                Kind::Spike | Kind::Noise => true,
                Kind::Step => instrument.step.is_some(),
                Kind::Drift => instrument.drift.is_some(),
                Kind::Stuck => instrument.sticks,
            };
            let count = seen.get(&(instrument.channel, kind)).copied().unwrap_or_default();
            assert_eq!(count > 0, can, "{} {kind}: {count}", instrument.channel);
        }
    }
}

#[test]
fn a_chance_is_one_per_simulated_second_at_any_rate() {
    for (step_us, frames) in [(1_000_000, 20_000), (10_000_000, 10_000), (60_000_000, 5_000)] {
        let mut constellation = constellation(20, 3, 0.0);
        // Seldom enough that channels are free.
        let chance = 20.0 / (frames as f64 * step_us as f64 / 1e6);
        constellation.set_anomalies(chance);
        for number in 0..frames {
            for index in 0..20 {
                constellation.frame(index, number * step_us);
            }
        }
        let events = constellation.anomalies().count();
        // 400 expected, five deviations either way.
        assert!((300..=500).contains(&events), "{events} at {step_us} µs");
    }
}

#[test]
fn without_a_chance_nothing_starts_and_what_has_started_ends() {
    let mut constellation = constellation(3, 1, 1.0);
    fly(&mut constellation, 300, 1_000_000);
    let before = constellation.anomalies().count();
    assert!(before > 30, "{before}");
    constellation.set_anomalies(0.0);
    for number in 300..8_000 {
        for index in 0..3 {
            constellation.frame(index, number * 1_000_000);
        }
    }
    // Each of those that were on when the chance ended may have become visible only then.
    assert!(constellation.anomalies().count() <= before + 3 * 18);
    let end_us = constellation.anomalies().map(|event| event.end_us).max().unwrap();
    assert!(end_us < 7_000 * 1_000_000, "{end_us}");
}

#[test]
fn nobody_elses_events_matter() {
    let events = |satellites| {
        let mut constellation = constellation(satellites, 5, 0.1);
        for number in 0..3_000 {
            for index in 0..satellites {
                constellation.frame(index, number * 1_000_000);
            }
        }
        let events = constellation.anomalies().filter(|event| event.spacecraft.number() == 1);
        events.map(|event| (event.channel, event.kind, event.start_us)).collect::<Vec<_>>()
    };
    // Their orbits differ with the number of satellites, and with them whether there is room.
    let (alone, among) = (events(1), events(4));
    let common = alone.iter().filter(|event| among.contains(event)).count();
    assert!(common * 10 > alone.len() * 8, "{common} of {}", alone.len());
}

#[test]
fn what_is_lost_is_not_sent() {
    let mut constellation = constellation(1, 1, 1.0);
    for number in 0..4_000 {
        let frame = constellation.frame(0, number * 1_000_000);
        if number % 2 == 0 {
            constellation.lost(0, frame.apid);
        }
    }
    let sum = |what: fn(&super::Event) -> u32| constellation.anomalies().map(what).sum::<u32>();
    let (samples, sent) = (sum(|event| event.samples), sum(|event| event.sent));
    // Every tenth frame is attitude and lost is none of them, but half of health.
    assert!((0.4..0.6).contains(&(f64::from(sent) / f64::from(samples))), "{sent} of {samples}");
    let spikes = || constellation.anomalies().filter(|event| event.kind == Kind::Spike);
    assert!(spikes().any(|event| event.sent == 0), "a spike that nobody sees");
    assert!(spikes().any(|event| event.sent == 1));
}

#[test]
fn sensors_are_named_as_they_are_ordered() {
    let orbit = walker::orbit(0, 1, START).unwrap();
    let mut satellite = Satellite::new(orbit, 1, 1, START).unwrap();
    let raw = |values: &[f64]| values.to_vec();
    let names = |kind: &protocol::Kind| -> Vec<&'static str> {
        let channels = |field: &&Field| matches!(field.meaning, Meaning::Channel(_));
        kind.fields.iter().filter(channels).map(|field| field.name).collect()
    };
    for (place, instrument) in HEALTH.iter().enumerate() {
        let mut noise = Noise::of(1, 1, Apid::new(100), 0);
        let mut readings = satellite.health(0, &mut noise);
        let values = |readings: &_| {
            let host = protocol::health::Health::from(readings);
            raw(&protocol::health::HealthWire::from(&host).values())
        };
        let before = values(&readings);
        *readings.sensors()[place] -= instrument.spike.0;
        let after = values(&readings);
        let changed: Vec<_> = (0..before.len())
            .filter(|&channel| (before[channel] - after[channel]).abs() > 1e-9)
            .map(|channel| names(&protocol::health::KIND)[channel])
            .collect();
        // No light, no current to take away.
        assert!(changed == [instrument.channel] || changed.is_empty(), "{changed:?}");
    }
    for (place, instrument) in ATTITUDE.iter().enumerate() {
        let mut noise = Noise::of(1, 1, Apid::new(101), 0);
        let mut readings = satellite.attitude(0, &mut noise);
        let values = |readings: &_| {
            let host = protocol::attitude::Attitude::from(readings);
            raw(&protocol::attitude::AttitudeWire::from(&host).values())
        };
        let before = values(&readings);
        *readings.sensors()[place] += instrument.spike.0;
        let after = values(&readings);
        let changed: Vec<_> = (0..before.len())
            .filter(|&channel| (before[channel] - after[channel]).abs() > 1e-9)
            .map(|channel| names(&protocol::attitude::KIND)[channel])
            .collect();
        assert_eq!(changed, [instrument.channel]);
    }
}

/// Sizes stand out from what satellites do by themselves, ten seconds apart.
#[test]
fn sizes_can_be_seen() {
    let mut changes: [Vec<f64>; 11] = Default::default();
    for number in 1..6 {
        let orbit = walker::orbit(usize::from(number), 10, START).unwrap();
        let mut satellite = Satellite::new(orbit, number, 1, START).unwrap();
        let mut before: Option<[f64; 11]> = None;
        for sample in 0..8_640 {
            let mut noise = Noise::of(1, number, Apid::new(100), sample);
            let mut readings = satellite.health(i64::from(sample) * 10_000_000, &mut noise);
            let values = readings.sensors().map(|value| *value);
            if let Some(before) = before.replace(values) {
                for (place, changes) in changes.iter_mut().enumerate() {
                    changes.push((values[place] - before[place]).abs());
                }
            }
        }
    }
    for (instrument, changes) in HEALTH.iter().zip(&mut changes) {
        changes.sort_by(f64::total_cmp);
        let (usual, most) = (changes[changes.len() / 2], changes[changes.len() * 99 / 100]);
        let least =
            instrument.step.map_or(instrument.spike.0, |step| step.0.min(instrument.spike.0));
        let name = instrument.channel;
        assert!(least > 3.0 * most && least > 15.0 * usual, "{name}: {least} {most} {usual}");
        // The median change is 0.95 of the deviation; the bound of the noise is 3.47 of it.
        assert!(instrument.noise.0 > 8.0 * usual, "{name}: {usual}");
    }
}

#[test]
fn a_sensor_costs_what_is_said() {
    assert!(size_of::<Sensors>() < 2_048, "{}", size_of::<Sensors>());
    let sensors = Sensors::new(1, SpacecraftId::new(1).unwrap());
    assert!(sensors.events().is_empty());
}
