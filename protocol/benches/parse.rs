//! Nanoseconds to check one frame and read all its channels, beside the CRC alone.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    Body, CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, crc16,
    emit, health::Health,
};

fn parse(criterion: &mut Criterion) {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(1).expect("not 0"),
        boot_count: 1,
        sequence: Sequence::new(1),
        time: CdsTime { day: 24_837, ms: 1, us: 2 },
    };
    let mut out = [0; FRAME_OCTETS_MAX];
    let frame = emit(&stamp, &Packet::Health(Health::default()), &mut out).to_vec();

    let mut group = criterion.benchmark_group("health frame");
    group.throughput(Throughput::Elements(1));
    group.bench_function("check and read all channels", |bencher| {
        bencher.iter(|| {
            let mut datagram = Datagram::new(black_box(&frame));
            match datagram.next(|_| true) {
                Some(Ok(Frame::Telemetry(frame))) => match frame.body() {
                    Body::Health(health) => Some(health.values()),
                    Body::Attitude(_) => None,
                },
                _ => None,
            }
        });
    });
    group.bench_function("crc alone", |bencher| {
        bencher.iter(|| crc16(black_box(&frame[..frame.len() - 2])));
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
