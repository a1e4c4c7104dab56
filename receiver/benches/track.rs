//! Nanoseconds to track one frame, round robin over 10 to 10,000 spacecraft, in order and with
//! every other frame missing.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, Telemetry, emit,
    health::Health,
};
use receiver::track::Tracker;

fn frames(satellites: u16, rounds: u32, step: u32) -> Vec<[u8; FRAME_OCTETS_MAX]> {
    let mut frames = Vec::new();
    for round in 0..rounds {
        for number in 1..=satellites {
            let stamp = Stamp {
                spacecraft: SpacecraftId::new(number).expect("not 0"),
                boot_count: 0,
                sequence: Sequence::new(round * step),
                time: CdsTime { day: 24_837, ms: 0, us: 0 },
            };
            let mut out = [0; FRAME_OCTETS_MAX];
            emit(&stamp, &Packet::Health(Health::default()), &mut out);
            frames.push(out);
        }
    }
    frames
}

fn track(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("track");
    for satellites in [10, 1_000, 10_000] {
        for (name, step) in [("in order", 1), ("every other missing", 2)] {
            let frames = frames(satellites, 20_000 / u32::from(satellites).min(2_000), step);
            let views: Vec<_> =
                frames.iter().filter_map(|octets| Telemetry::from_checked(octets)).collect();
            group.throughput(Throughput::Elements(views.len() as u64));
            group.bench_function(BenchmarkId::new(name, satellites), |bencher| {
                bencher.iter_batched_ref(
                    || {
                        // Streams exist before the clock starts, as they do in a running station.
                        let mut tracker = Tracker::new(10_000);
                        for view in &views[..usize::from(satellites)] {
                            let _first = tracker.track(view);
                        }
                        tracker
                    },
                    |tracker| {
                        for view in &views[usize::from(satellites)..] {
                            black_box(tracker.track(view));
                        }
                    },
                    criterion::BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, track);
criterion_main!(benches);
