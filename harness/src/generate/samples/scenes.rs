//! What happens in each capture.

use protocol::{
    CdsTime, IDLE_OCTETS_MAX, Packet, Refusal, Sequence, SpacecraftId, Stamp,
    attitude::{self, Attitude},
    health::{self, Health},
};

use super::{Payload, Place, Sample};

pub(super) fn all() -> Vec<Sample> {
    vec![clean(), several(), corrupt(), truncated(), refused(), idle(), sequence()]
}

fn clean() -> Sample {
    let new = Payload::default;
    sample(
        "clean",
        "One good frame in each datagram; the last one is the example of docs/protocol.md",
        vec![
            new().frame(&stamp(1, 1_234), health(1)),
            new().frame(&stamp(1, 87), attitude(1)),
            new().frame(&stamp(2, 1_230), health(2)),
            new().frame(&stamp(100, 0), health(100)),
            new().frame(&stamp(1, 1_235), health(5)),
            new().frame(&example_stamp(), example()),
        ],
    )
}

fn several() -> Sample {
    let twenty = |first: u32| {
        (0..20_u16).fold(Payload::default(), |payload, index| {
            let spacecraft = 1 + index / 2;
            let packet = if index % 2 == 0 { health(spacecraft) } else { attitude(spacecraft) };
            payload.frame(&stamp(spacecraft, first), packet)
        })
    };
    let three = Payload::default()
        .frame(&stamp(65_535, 7), health(3))
        .frame(&stamp(65_535, 8), health(3))
        .frame(&stamp(65_535, 7), attitude(3));
    sample(
        "several",
        "Twenty frames of ten satellites in a datagram, twice; then three of one",
        vec![twenty(500), twenty(501), three],
    )
}

fn corrupt() -> Sample {
    let new = Payload::default;
    let flip = |place: usize, bits: u8| move |frame: &mut Vec<u8>| frame[place] ^= bits;
    sample(
        "corrupt",
        "Flipped bits: alone, between good frames, in a length, in a checkword, and pure noise",
        vec![
            new().frame(&stamp(1, 10), health(1)),
            new().damaged(Refusal::CrcMismatch, &stamp(1, 11), health(1), flip(40, 0x10)),
            new()
                .frame_at(Place::Gap(1), &stamp(1, 12), health(1))
                .damaged(Refusal::CrcMismatch, &stamp(2, 20), health(2), flip(24, 0x81))
                .frame(&stamp(3, 30), attitude(3)),
            new()
                .damaged(Refusal::LengthMismatch, &stamp(2, 21), health(2), flip(4, 0x7F))
                .frame(&stamp(3, 31), attitude(3)),
            new().damaged(Refusal::CrcMismatch, &stamp(3, 32), attitude(3), flip(45, 0x01)),
            new().junk(Refusal::LengthMismatch, b"this is not telemetry at all"),
        ],
    )
}

fn truncated() -> Sample {
    let new = Payload::default;
    let cut = |octets: usize| move |frame: &mut Vec<u8>| frame.truncate(octets);
    sample(
        "truncated",
        "Frames without their end: at the end of a datagram, before another frame, and a stub",
        vec![
            new().frame(&stamp(1, 10), health(1)).damaged(
                Refusal::LengthMismatch,
                &stamp(2, 20),
                health(2),
                cut(50),
            ),
            new()
                .damaged(Refusal::CrcMismatch, &stamp(2, 21), health(2), cut(31))
                .frame(&stamp(1, 11), health(1))
                .frame(&stamp(1, 5), attitude(1)),
            new().junk(Refusal::TooShort, &[0x08, 0x64, 0xC0, 0x02, 0x00]),
        ],
    )
}

/// What a wrong sender does to a frame.
type Change = fn(&mut Vec<u8>);

fn refused() -> Sample {
    let cases: [(Refusal, Change); 9] = [
        (Refusal::BadVersion, |frame| frame[0] |= 0x20),
        (Refusal::BadVersion, |frame| frame[0] |= 0x10),
        (Refusal::BadVersion, |frame| frame[2] &= 0x3F),
        (Refusal::BadLayout, |frame| frame[15] = 2),
        (Refusal::BadLayout, |frame| frame.extend([0; 4])),
        (Refusal::UnknownApid, |frame| frame[1] = 102),
        (Refusal::UnknownSpacecraft, |frame| frame[16..18].fill(0)),
        (Refusal::BadTime, |frame| frame[6] = 0x42),
        (Refusal::BadTime, |frame| frame[9..13].fill(0xFF)),
    ];
    let datagrams = cases.into_iter().zip(0..).map(|((refusal, change), count)| {
        Payload::default()
            .wrong(refusal, &stamp(7, count), health(7), change)
            .frame(&stamp(8, count), health(8))
    });
    sample(
        "refused",
        "Whole frames, with a right CRC, of a sender that is wrong; a good one after each",
        datagrams.collect(),
    )
}

fn idle() -> Sample {
    let new = Payload::default;
    sample(
        "idle",
        "Idle frames: alone, shortest, longest, and between telemetry",
        vec![
            new().idle(0, &[0x55; 100]),
            new().idle(1, &[]),
            new().idle(2, &[0; IDLE_OCTETS_MAX]),
            new()
                .frame(&stamp(1, 10), health(1))
                .idle(3, b"nothing to say")
                .frame(&stamp(1, 11), health(1)),
        ],
    )
}

fn sequence() -> Sample {
    let one =
        |place: Place, count: u32| Payload::default().frame_at(place, &stamp(1, count), health(1));
    let rebooted = |place: Place, boot_count: u16, count: u32| {
        let stamp = Stamp { boot_count, ..stamp(1, count) };
        Payload::default().frame_at(place, &stamp, health(1))
    };
    sample(
        "sequence",
        "Gaps, late and repeated frames, the wrap of the 14-bit count, and a reboot",
        vec![
            one(Place::Next, 16_380),
            one(Place::Next, 16_381),
            one(Place::Gap(3), 16_385),
            one(Place::Late, 16_383),
            one(Place::Duplicate, 16_383),
            one(Place::Duplicate, 16_385),
            one(Place::Next, 16_379),
            one(Place::Next, 16_386),
            one(Place::Gap(20_000), 36_387),
            one(Place::Late, 16_384),
            one(Place::Stale, 16_385),
            rebooted(Place::Next, 8, 0),
            rebooted(Place::Next, 8, 1),
            rebooted(Place::Next, 7, 36_388),
            rebooted(Place::Reboot, 8, 2),
            rebooted(Place::Gap(1), 8, 4),
        ],
    )
}

fn sample(name: &'static str, about: &'static str, datagrams: Vec<Payload>) -> Sample {
    Sample { name, about, datagrams }
}

/// Boot 7; the time goes with the count.
fn stamp(spacecraft: u16, count: u32) -> Stamp {
    Stamp {
        spacecraft: SpacecraftId::new(spacecraft).expect("samples number satellites from 1"),
        boot_count: 7,
        sequence: Sequence::new(count),
        time: CdsTime { day: 24_837, ms: count * 100, us: spacecraft % 1_000 },
    }
}

/// Values that tell one satellite from another and one field from another.
fn health(number: u16) -> Packet {
    let step = f64::from(number);
    Packet::Health(Health {
        mode: (number % 4) as u8,
        flags: (number % 8) as u8,
        cpu_temp: health::quantise::cpu_temp(21.5 + step / 100.0),
        battery_temp: health::quantise::battery_temp(4.0 - step / 100.0),
        panel_temp: health::quantise::panel_temp(-65.25),
        payload_temp: health::quantise::payload_temp(30.0),
        battery_voltage: health::quantise::battery_voltage(8.123),
        bus_voltage: health::quantise::bus_voltage(5.001),
        battery_current: health::quantise::battery_current(-0.456),
        solar_current: health::quantise::solar_current(1.234),
        battery_charge: health::quantise::battery_charge(79.99),
        signal_strength: health::quantise::signal_strength(-101.5),
        cpu_load: health::quantise::cpu_load(42.5),
        reserved: 0,
        storage_used: health::quantise::storage_used(1_536.25 + step),
        latitude: health::quantise::latitude(-6.208_8),
        longitude: health::quantise::longitude(106.845_6),
        altitude: health::quantise::altitude(550.123 + step),
        speed: health::quantise::speed(7.589_123),
    })
}

fn attitude(number: u16) -> Packet {
    Packet::Attitude(Attitude {
        q0: attitude::quantise::q0(0.5),
        q1: attitude::quantise::q1(-0.5),
        q2: attitude::quantise::q2(0.25),
        q3: attitude::quantise::q3(-1.0),
        rate_x: attitude::quantise::rate_x(0.01),
        rate_y: attitude::quantise::rate_y(-1.25),
        rate_z: attitude::quantise::rate_z(12.34),
        wheel_1: attitude::quantise::wheel_1(3_000.0 + f64::from(number)),
        wheel_2: attitude::quantise::wheel_2(-3_000.0),
        wheel_3: attitude::quantise::wheel_3(1_500.0),
        wheel_4: attitude::quantise::wheel_4(-32_768.0),
    })
}

/// The example of docs/protocol.md, which `protocol` has as golden octets.
fn example_stamp() -> Stamp {
    Stamp {
        spacecraft: SpacecraftId::new(205).expect("not 0"),
        boot_count: 3,
        sequence: Sequence::new(5 * 16_384 + 2),
        time: CdsTime { day: 24_837, ms: 1_002, us: 3 },
    }
}

fn example() -> Packet {
    Packet::Health(Health {
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
    })
}
