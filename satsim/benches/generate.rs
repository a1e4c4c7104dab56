//! What one frame costs to make, up to the datagram; nothing is sent.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use satsim::{
    constellation::{Constellation, Origin},
    orbit::walker,
    schedule::Schedule,
};
use std::hint::black_box;

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    group.throughput(Throughput::Elements(1));
    // From one satellite in the cache to far more than fit.
    for (satellites, rate, speed) in
        [(1, 10_000.0, 1.0), (100, 1_000.0, 1.0), (10_000, 10.0, 1.0), (100, 10.0, 600.0)]
    {
        let origin = Origin { start_unix_us: 1_767_225_600_000_000, seed: 1, boot_count: 0 };
        let orbits = (0..satellites)
            .map(|index| walker::orbit(index, satellites, origin.start_unix_us).unwrap())
            .collect();
        let mut constellation = Constellation::new(origin, orbits).unwrap();
        let schedule = Schedule::new(satellites, rate, speed);
        let mut number = 0;
        group.bench_function(format!("{satellites}_satellites_at_speed_{speed}"), |bencher| {
            bencher.iter(|| {
                let offset_us = schedule.simulated_us(number);
                let frame = constellation.frame(number as usize % satellites, offset_us);
                number += 1;
                black_box(frame);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, generate);
criterion_main!(benches);
