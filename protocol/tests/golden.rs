//! Golden bytes: written by hand from docs/protocol.md, never by this crate.

use protocol::{
    Body, CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp,
    attitude::{self, Attitude},
    crc16, emit,
    health::{self, Health},
};

/// SAT-205, boot 3, sequence 5 × 16,384 + 2, 2026-01-01T00:00:01.002003Z.
const HEALTH: &str = "
    0864 C002 003D
    41 6105 000003EA 0003 01 00CD 0003 0005
    02 05
    0866 0190 FE0C 0BB8
    1F40 1388 FE0C 03E8 1F3F D8F0
    64 00 00000C00
    E8E05280 3B9ACA00 00086470 00733F78
    57CF";

/// SAT-01, boot 65,535, the last count of all, at the epoch.
const ATTITUDE: &str = "
    0865 FFFF 0027
    41 0000 00000000 0000 01 0001 FFFF FFFF
    7FFF 8000 4000 0000
    0001 FFFF 8000
    1388 EC78 0000 7FFF
    8498";

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn health() -> (Stamp, Packet) {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(205).unwrap(),
        boot_count: 3,
        sequence: Sequence::new(5 * 16_384 + 2),
        time: CdsTime::from_unix_us(1_767_225_601_002_003).unwrap(),
    };
    let health = Health {
        mode: 2,
        flags: 0b101,
        cpu_temp: 2_150,
        battery_temp: 400,
        panel_temp: -500,
        payload_temp: 3_000,
        battery_voltage: 8_000,
        bus_voltage: 5_000,
        battery_current: -500,
        solar_current: 1_000,
        battery_charge: 7_999,
        signal_strength: -10_000,
        cpu_load: 100,
        reserved: 0,
        storage_used: 3_072,
        latitude: -387_952_000,
        longitude: 1_000_000_000,
        altitude: 550_000,
        speed: 7_552_888,
    };
    (stamp, Packet::Health(health))
}

fn attitude() -> (Stamp, Packet) {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(1).unwrap(),
        boot_count: 65_535,
        sequence: Sequence::new(Sequence::MODULUS - 1),
        time: CdsTime { day: 0, ms: 0, us: 0 },
    };
    let attitude = Attitude {
        q0: 32_767,
        q1: -32_768,
        q2: 16_384,
        q3: 0,
        rate_x: 1,
        rate_y: -1,
        rate_z: -32_768,
        wheel_1: 5_000,
        wheel_2: -5_000,
        wheel_3: 0,
        wheel_4: 32_767,
    };
    (stamp, Packet::Attitude(attitude))
}

#[test]
fn emit_writes_the_golden_bytes() {
    for ((stamp, packet), golden) in [(health(), HEALTH), (attitude(), ATTITUDE)] {
        let mut out = [0xA5; FRAME_OCTETS_MAX];
        let frame = emit(&stamp, &packet, &mut out);
        assert_eq!(frame, octets(golden), "{frame:02X?}");
        let end = frame.len() - 2;
        assert_eq!(crc16(&frame[..end]).to_be_bytes(), frame[end..]);
    }
}

#[test]
fn the_golden_bytes_read_back_in_place() {
    for ((stamp, packet), golden) in [(health(), HEALTH), (attitude(), ATTITUDE)] {
        let golden = octets(golden);
        let mut frames = Datagram::new(&golden);
        let Some(Ok(Frame::Telemetry(frame))) = frames.next(|_| true) else {
            panic!("refused");
        };
        assert_eq!(frame.octets().as_ptr(), golden.as_ptr(), "a view, not a copy");
        assert_eq!(frame.spacecraft(), stamp.spacecraft);
        assert_eq!(frame.boot_count(), stamp.boot_count);
        assert_eq!(frame.sequence(), stamp.sequence);
        assert_eq!(frame.time(), stamp.time);
        assert_eq!(Packet::from(frame.body()), packet);
        assert!(frames.next(|_| true).is_none());
    }
}

#[test]
fn engineering_values() {
    let golden = octets(HEALTH);
    let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(&golden).next(|_| true) else {
        panic!("refused");
    };
    let Body::Health(view) = frame.body() else { panic!("another kind") };
    let expected = [
        2.0, 21.5, 4.0, -5.0, 30.0, 8.0, 5.0, -0.5, 1.0, 79.99, -100.0, 50.0, 3.0, -38.795_2,
        100.0, 550.0, 7.552_888,
    ];
    for (value, expected) in view.values().iter().zip(expected) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }
    assert_eq!(health::quantise::cpu_temp(21.5), 2_150);
    assert_eq!(health::quantise::cpu_temp(1e9), i16::MAX);
    assert_eq!(health::quantise::battery_voltage(-1.0), 0);
    assert_eq!(health::quantise::cpu_temp(f64::NAN), 0);
    assert_eq!(attitude::quantise::q0(0.5), 16_384);
}
