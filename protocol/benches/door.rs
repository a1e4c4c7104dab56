//! Nanoseconds per octet of datagrams of 64 KiB: good ones, and those made to be expensive.
//!
//! What an attacker gains is the ratio of the worst to `good frames`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, IDLE_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp,
    attitude::Attitude, crc16, emit, emit_idle, health::Health,
};

/// The largest payload of UDP over IPv4.
const DATAGRAM_OCTETS: usize = 65_507;

fn frame(packet: Packet) -> Vec<u8> {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(1).expect("not 0"),
        boot_count: 1,
        sequence: Sequence::new(1),
        time: CdsTime { day: 24_837, ms: 1, us: 2 },
    };
    emit(&stamp, &packet, &mut [0; FRAME_OCTETS_MAX]).to_vec()
}

/// As many whole repetitions as fit.
fn repeated(part: &[u8]) -> Vec<u8> {
    part.repeat(DATAGRAM_OCTETS / part.len())
}

/// Sixteen octets that, repeated, are a plausible header wherever they begin: what follows a
/// header's layout version (spacecraft, boot, extension) is the next one's primary header.
fn plausible() -> [u8; 16] {
    let health = frame(Packet::Health(Health::default()));
    let mut header = [0; 16];
    header.copy_from_slice(&health[..16]);
    header
}

/// The first header claims the whole datagram, which is believed once.
fn falsely_long(mut datagram: Vec<u8>) -> Vec<u8> {
    let length = (datagram.len() - 7) as u16;
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram
}

/// A frame of the least size with a right checkword that is refused: a telecommand.
fn refused() -> Vec<u8> {
    let mut frame = vec![0x10, 0x64, 0xC0, 0x00, 0x00, 0x01];
    let crc = crc16(&frame);
    frame.extend(crc.to_be_bytes());
    frame
}

fn door(criterion: &mut Criterion) {
    let good = frame(Packet::Health(Health::default()));
    let small = frame(Packet::Attitude(Attitude::default()));
    let mut damaged = good.clone();
    damaged[40] ^= 1;
    let idle = emit_idle(0, &[], &mut [0; IDLE_OCTETS_MAX]).to_vec();
    let datagrams = [
        ("good frames", repeated(&good)),
        ("good small frames", repeated(&small)),
        ("zeros", vec![0; DATAGRAM_OCTETS]),
        ("damaged frames", repeated(&damaged)),
        ("damaged and good in turns", repeated(&[&damaged[..], &small].concat())),
        ("one octet of rubbish before each good one", repeated(&[&[0], &small[..]].concat())),
        ("idle frames of 8 octets", repeated(&idle)),
        ("refused frames of 8 octets", repeated(&refused())),
        ("plausible headers", repeated(&plausible())),
        ("a false length and plausible headers", falsely_long(repeated(&plausible()))),
        (
            "plausible headers and good in turns",
            repeated(&[&plausible().repeat(8)[..], &small].concat()),
        ),
    ];
    let mut group = criterion.benchmark_group("datagram of 64 KiB");
    for (name, datagram) in datagrams {
        group.throughput(Throughput::Bytes(datagram.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut frames = Datagram::new(black_box(&datagram));
                let mut items = 0;
                while frames.next(|_| true).is_some() {
                    items += 1;
                }
                items
            });
        });
    }
    group.finish();
}

criterion_group!(benches, door);
criterion_main!(benches);
