//! Nanoseconds to look at one value with all detectors as shipped: health frames of 1, 100 and 1,000
//! satellites, in turns and, as a writer gives them, in runs of one satellite; after warm-up, when
//! natural jumps, orbits and courses along them are known.

use std::{f64::consts::TAU, hint::black_box};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, KINDS, Packet, Sequence, SpacecraftId, Stamp, Telemetry, emit,
    health::{Health, quantise},
};
use receiver::{
    chunk::{Record, Sample},
    detect::{Settings, Watch},
};

/// Noise of a sensor: between -1 and 1, the same for the same index (SplitMix64).
fn noise(index: u64) -> f64 {
    let mut bits = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ (bits >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
}

/// A satellite's readings: most follow the orbit, all have noise.
fn health(number: u16, time_s: f64) -> Health {
    let turn = time_s / PERIOD_S + f64::from(number) / 1_000.0;
    let (swing, later) = ((TAU * turn).sin(), (TAU * turn - 1.0).sin());
    let seed = (time_s as u64).wrapping_mul(0x1_0001).wrapping_add(u64::from(number));
    let mut draws = (0_u64..).map(|channel| noise(seed.wrapping_mul(16) + channel));
    let mut noise = |width: f64| width * draws.next().unwrap_or_default();
    Health {
        mode: 1,
        cpu_temp: quantise::cpu_temp(30.0 + 4.0 * later + noise(0.2)),
        battery_temp: quantise::battery_temp(15.0 + 3.0 * later + noise(0.1)),
        panel_temp: quantise::panel_temp(10.0 + 60.0 * swing + noise(0.4)),
        payload_temp: quantise::payload_temp(20.0 + 6.0 * later + noise(0.2)),
        battery_voltage: quantise::battery_voltage(7.6 + 0.4 * later + noise(0.006)),
        bus_voltage: quantise::bus_voltage(5.0 + noise(0.004)),
        battery_current: quantise::battery_current(1.5 * swing + noise(0.015)),
        solar_current: quantise::solar_current(2.5 + 2.0 * swing + noise(0.01)),
        battery_charge: quantise::battery_charge(75.0 + 15.0 * later + noise(0.04)),
        signal_strength: quantise::signal_strength(-95.0 + noise(0.8)),
        cpu_load: quantise::cpu_load(20.0 + noise(3.0)),
        storage_used: quantise::storage_used(1_000.0 + time_s / 100.0),
        latitude: quantise::latitude(51.6 * swing),
        longitude: quantise::longitude((time_s / 50.0).rem_euclid(360.0) - 180.0),
        altitude: quantise::altitude(500.0 + 2.0 * swing),
        speed: quantise::speed(7.6 + 0.01 * swing),
        ..Health::default()
    }
}

fn frame(number: u16, time_s: f64) -> [u8; FRAME_OCTETS_MAX] {
    let time_us = START_US + (time_s * 1e6) as i64;
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(number).expect("not 0"),
        boot_count: 0,
        sequence: Sequence::new(0),
        time: CdsTime::from_unix_us(time_us).expect("a day that can be written"),
    };
    let mut octets = [0; FRAME_OCTETS_MAX];
    emit(&stamp, &Packet::Health(health(number, time_s)), &mut octets);
    octets
}

fn record(octets: &[u8]) -> Record<'_> {
    let frame = Telemetry::from_checked(octets).expect("as it was made");
    Record { received_us: frame.time().unix_us(), sample: Sample::Frame(frame) }
}

fn detect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detect");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for satellites in [1, 100, 1_000] {
        let mut watch = Watch::new(Settings::default(), "GS-01", 1);
        let mut time_s = 0.0;
        while time_s < WARM_UP_ORBITS * PERIOD_S {
            for number in 1..=satellites {
                watch.take(&record(&frame(number, time_s)));
            }
            time_s += INTERVAL_S;
        }
        let counts = watch.counts();
        assert_eq!((counts.limits_only, counts.opened), (0, 0), "not what is to be measured");

        for (name, run) in [("in turns", 1), ("in runs", RUN)] {
            // Each measurement goes on where the last one ended.
            let runs = (FRAMES / usize::from(satellites)).min(2_000).div_ceil(run);
            let frames = runs * run * usize::from(satellites);
            group.throughput(Throughput::Elements((frames * KINDS[0].channels) as u64));
            group.bench_function(BenchmarkId::new(name, satellites), |bencher| {
                bencher.iter_batched_ref(
                    || {
                        let mut octets = Vec::with_capacity(frames);
                        for _ in 0..runs {
                            for number in 1..=satellites {
                                let times = (0..run).map(|step| time_s + step as f64 * INTERVAL_S);
                                octets.extend(times.map(|time_s| frame(number, time_s)));
                            }
                            time_s += run as f64 * INTERVAL_S;
                        }
                        octets
                    },
                    |frames| {
                        for octets in &*frames {
                            watch.take(black_box(&record(octets)));
                        }
                    },
                    criterion::BatchSize::PerIteration,
                );
            });
        }
        let counts = watch.counts();
        println!("{satellites} satellites: {} values, {} events", counts.values, counts.opened);
    }
    group.finish();
}

const START_US: i64 = 1_800_000_000_000_000;
const PERIOD_S: f64 = 5_700.0;
const INTERVAL_S: f64 = 10.0;
/// Twice what the shipped rules wait for, so that every place of the orbit has been learned.
const WARM_UP_ORBITS: f64 = 7.0;
/// In one measurement, of all satellites together.
const FRAMES: usize = 20_000;
/// Frames of one satellite after each other: what some 100 have waiting of a writer's 8,192.
const RUN: usize = 80;

criterion_group!(benches, detect);
criterion_main!(benches);
