//! Nanoseconds to check one `health` frame and read its 17 channels, beside the crates
//! `spacepackets` and `ccsds` on the same octets, the CRC alone, and a copy of the frame as the
//! floor.
//!
//! What each does, so that the work is the same:
//!
//! * `OrbitStream`: the door, as the receiver uses it. Length, CRC, version, layout, APID,
//!   spacecraft and time are checked, then all channels are read in engineering units.
//! * the peers: the packet is opened the fastest way their documentation has for octets in memory,
//!   the CRC is verified, and the channels are read by hand ([`values`]) from the user data behind
//!   the secondary header. Nothing in the secondary header is checked; they do not know it.
//!
//! `spacepackets` verifies the CRC itself, with the default table of the crate `crc`
//! (`CcsdsPacketReader::new_with_checksum`); it offers a larger table as a constant, which is the
//! same as ours, for those who verify it themselves. `ccsds` has no CRC of packets: it gets the one
//! that its own CRC-32 is made with, the same default table. So both are measured as their users
//! get them, and with our CRC. `ccsds::Packet::decode` copies the packet to the heap;
//! `PrimaryHeader::decode` alone does not, and is measured too.

use std::hint::black_box;

use ccsds::spacepacket::{Packet as CcsdsPacket, PrimaryHeader};
use crc::{CRC_16_IBM_3740, Crc, Table};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    Body, CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, crc16,
    emit, header::HEADER_OCTETS, health::Health,
};
use spacepackets::{CcsdsPacketReader, ChecksumType};

fn parse(criterion: &mut Criterion) {
    let frame = frame();
    let expected = ours(&frame);
    assert!(expected.is_some());
    let mut group = criterion.benchmark_group("health frame");
    group.throughput(Throughput::Elements(1));
    let parsers: [(&str, Parser); 7] = [
        ("OrbitStream", ours),
        ("spacepackets", spacepackets),
        ("spacepackets, our CRC", spacepackets_our_crc),
        ("ccsds", |octets| ccsds(octets, |covered| DEFAULT_TABLE.checksum(covered))),
        ("ccsds, our CRC", |octets| ccsds(octets, crc16)),
        ("ccsds, header only", |octets| ccsds_header(octets, |o| DEFAULT_TABLE.checksum(o))),
        ("ccsds, header only, our CRC", |octets| ccsds_header(octets, crc16)),
    ];
    for (name, parse) in parsers {
        assert_eq!(parse(&frame), expected, "{name} reads what we read");
        let mut damaged = frame.clone();
        damaged[40] ^= 1;
        assert_eq!(parse(&damaged), None, "{name} verifies the CRC");
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(&frame))));
    }
    let covered = &frame[..frame.len() - CRC_OCTETS];
    let sums: [(&str, Sum); 2] =
        [("crc alone", crc16), ("crc alone, sixteen tables", |o| SIXTEEN_TABLES.checksum(o))];
    for (name, sum) in sums {
        group.bench_function(name, |bencher| bencher.iter(|| sum(black_box(covered))));
    }
    let mut copy = [0; FRAME_OCTETS_MAX];
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            copy[..frame.len()].copy_from_slice(black_box(&frame));
            black_box(&copy);
        });
    });
    group.finish();
}

type Values = [f64; protocol::health::CHANNELS];
type Sum = fn(&[u8]) -> u16;
type Parser = fn(&[u8]) -> Option<Values>;

fn ours(octets: &[u8]) -> Option<Values> {
    match Datagram::new(octets).next(|_| true) {
        Some(Ok(Frame::Telemetry(frame))) => match frame.body() {
            Body::Health(health) => Some(health.values()),
            Body::Attitude(_) => None,
        },
        _ => None,
    }
}

fn spacepackets(octets: &[u8]) -> Option<Values> {
    let packet = CcsdsPacketReader::new_with_checksum(octets).ok()?;
    values(packet.user_data())
}

fn spacepackets_our_crc(octets: &[u8]) -> Option<Values> {
    let ignored = Some(ChecksumType::WithCrc16ButIgnored);
    let packet = CcsdsPacketReader::new(octets, ignored).ok()?;
    let (covered, checkword) = packet.raw_data().split_last_chunk()?;
    (crc16(covered) == u16::from_be_bytes(*checkword)).then(|| values(packet.user_data()))?
}

#[inline]
fn ccsds(octets: &[u8], crc: impl Fn(&[u8]) -> u16) -> Option<Values> {
    let packet = CcsdsPacket::decode(octets).ok()?;
    let (covered, checkword) = packet.data.split_last_chunk()?;
    let data = covered.get(PrimaryHeader::LEN..)?;
    (crc(covered) == u16::from_be_bytes(*checkword)).then(|| values(data))?
}

#[inline]
fn ccsds_header(octets: &[u8], crc: impl Fn(&[u8]) -> u16) -> Option<Values> {
    let header = PrimaryHeader::decode(octets).ok()?;
    let packet = octets.get(..PrimaryHeader::LEN + usize::from(header.len_minus1) + 1)?;
    let (covered, checkword) = packet.split_last_chunk()?;
    let data = covered.get(PrimaryHeader::LEN..)?;
    (crc(covered) == u16::from_be_bytes(*checkword)).then(|| values(data))?
}

/// The channels, read by hand from what follows the primary header, up to the checkword.
#[inline]
fn values(data: &[u8]) -> Option<Values> {
    const SECONDARY_OCTETS: usize = HEADER_OCTETS - PrimaryHeader::LEN;
    let data: &[u8; DATA_OCTETS] = data.get(SECONDARY_OCTETS..)?.try_into().ok()?;
    let u8 = |at: usize| f64::from(data[at]);
    let two = |at: usize| [data[at], data[at + 1]];
    let four = |at: usize| [data[at], data[at + 1], data[at + 2], data[at + 3]];
    let u16 = |at| f64::from(u16::from_be_bytes(two(at)));
    let i16 = |at| f64::from(i16::from_be_bytes(two(at)));
    let u32 = |at| f64::from(u32::from_be_bytes(four(at)));
    let i32 = |at| f64::from(i32::from_be_bytes(four(at)));
    Some([
        u8(0),
        i16(2) / 100.0,
        i16(4) / 100.0,
        i16(6) / 100.0,
        i16(8) / 100.0,
        u16(10) / 1_000.0,
        u16(12) / 1_000.0,
        i16(14) / 1_000.0,
        u16(16) / 1_000.0,
        u16(18) / 100.0,
        i16(20) / 100.0,
        u8(22) * 0.5,
        u32(24) * 0.000_976_562_5,
        i32(28) / 1e7,
        i32(32) / 1e7,
        u32(36) / 1_000.0,
        u32(40) / 1e6,
    ])
}

/// A frame whose channels all have a value of their own.
fn frame() -> Vec<u8> {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(1).expect("not 0"),
        boot_count: 1,
        sequence: Sequence::new(1),
        time: CdsTime { day: 24_837, ms: 1, us: 2 },
    };
    let health = Health {
        mode: 1,
        flags: 0b010,
        cpu_temp: 4_150,
        battery_temp: -1_230,
        panel_temp: 6_012,
        payload_temp: 2_098,
        battery_voltage: 8_211,
        bus_voltage: 5_004,
        battery_current: -1_375,
        solar_current: 2_460,
        battery_charge: 8_733,
        signal_strength: -9_417,
        cpu_load: 57,
        reserved: 0,
        storage_used: 1_234_567,
        latitude: -67_891_234,
        longitude: 1_067_650_000,
        altitude: 551_023,
        speed: 7_589_123,
    };
    let mut out = [0; FRAME_OCTETS_MAX];
    emit(&stamp, &Packet::Health(health), &mut out).to_vec()
}

/// As `ccsds` makes its CRC-32 and `spacepackets` its CRC-16.
static DEFAULT_TABLE: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
/// What the crate `crc` does best.
static SIXTEEN_TABLES: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_IBM_3740);
const CRC_OCTETS: usize = 2;
const DATA_OCTETS: usize = protocol::health::KIND.data_octets;

criterion_group!(benches, parse);
criterion_main!(benches);
