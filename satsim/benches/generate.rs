//! What one frame costs to make, up to the datagram; nothing is sent.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use satsim::{
    constellation::{Constellation, Origin},
    datagram::Packer,
    digest::Digests,
    fault::{Injector, Rates},
    flight::{Flight, NoWaiting},
    itinerary::{Itinerary, Pace},
    orbit::walker,
    schedule::Schedule,
    sink::{Datagram, Sink, SinkError},
};
use std::{hint::black_box, sync::atomic::AtomicBool};

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

/// Takes datagrams and forgets them.
struct Nowhere;

impl Sink for Nowhere {
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        black_box(datagram.octets);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn frames_sent(&self) -> u64 {
        0
    }
}

/// The whole way from constellation to datagram, without faults and with.
fn fly(criterion: &mut Criterion) {
    const SATELLITES: usize = 100;
    const FRAMES: u64 = 100_000;
    let mut group = criterion.benchmark_group("fly");
    group.throughput(Throughput::Elements(FRAMES));
    let few = Rates { drop: 0.001, ..Rates::default() };
    let damage = Rates { corrupt: 0.05, ..Rates::default() };
    let all = Rates { drop: 0.05, truncate: 0.05, duplicate: 0.05, reorder: 0.05, ..damage };
    for (name, rates, per_datagram) in [
        ("clean", Rates::default(), 1),
        ("clean_20_a_datagram", Rates::default(), 20),
        ("one_in_1000_dropped", few, 1),
        ("one_in_20_corrupted", damage, 1),
        ("one_in_20_corrupted_20_a_datagram", damage, 20),
        ("one_in_20_of_each", all, 1),
        ("with_digests", Rates::default(), 1),
    ] {
        let origin = Origin { start_unix_us: 1_767_225_600_000_000, seed: 1, boot_count: 0 };
        let orbits = (0..SATELLITES)
            .map(|index| walker::orbit(index, SATELLITES, origin.start_unix_us).unwrap())
            .collect();
        let constellation = Constellation::new(origin, orbits).unwrap();
        let schedule = Schedule::new(SATELLITES, 1_000.0, 1.0);
        let pace = Pace::Scheduled { schedule, frames: FRAMES };
        let itinerary = Itinerary::of_one(SATELLITES, pace, rates);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut digests = (name == "with_digests").then(Digests::default);
                let mut injector = itinerary.has_faults().then(|| Injector::new(1, SATELLITES));
                Flight {
                    constellation: &mut constellation.clone(),
                    faults: injector.as_mut(),
                    digests: digests.as_mut(),
                    packer: Packer::new(per_datagram),
                    sink: &mut Nowhere,
                    clock: NoWaiting,
                    stop: &AtomicBool::new(false),
                    watch: &mut |_| {},
                }
                .fly(&itinerary)
                .unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, generate, fly);
criterion_main!(benches);
