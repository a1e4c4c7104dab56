//! What holds for every frame and for any octets at all.

use proptest::prelude::*;
use protocol::channel::engineering;
use protocol::{
    CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Refusal, Sequence, SpacecraftId, Stamp,
    attitude::Attitude, emit, health::Health,
};

fn stamp() -> impl Strategy<Value = Stamp> {
    let time = (any::<u16>(), 0..86_401_000_u32, 0..1_000_u16).prop_map(|(day, ms, us)| CdsTime {
        day,
        ms,
        us,
    });
    (1..=u16::MAX, any::<u16>(), 0..Sequence::MODULUS, time).prop_map(
        |(spacecraft, boot_count, sequence, time)| Stamp {
            spacecraft: SpacecraftId::new(spacecraft).unwrap(),
            boot_count,
            sequence: Sequence::new(sequence),
            time,
        },
    )
}

fn health() -> impl Strategy<Value = Packet> {
    (any::<([u8; 4], [i16; 6], [u16; 4], [u32; 3], [i32; 2])>()).prop_map(|(a, b, c, d, e)| {
        Packet::Health(Health {
            mode: a[0],
            flags: a[1],
            cpu_temp: b[0],
            battery_temp: b[1],
            panel_temp: b[2],
            payload_temp: b[3],
            battery_voltage: c[0],
            bus_voltage: c[1],
            battery_current: b[4],
            solar_current: c[2],
            battery_charge: c[3],
            signal_strength: b[5],
            cpu_load: a[2],
            reserved: a[3],
            storage_used: d[0],
            latitude: e[0],
            longitude: e[1],
            altitude: d[1],
            speed: d[2],
        })
    })
}

fn attitude() -> impl Strategy<Value = Packet> {
    any::<[i16; 11]>().prop_map(|v| {
        Packet::Attitude(Attitude {
            q0: v[0],
            q1: v[1],
            q2: v[2],
            q3: v[3],
            rate_x: v[4],
            rate_y: v[5],
            rate_z: v[6],
            wheel_1: v[7],
            wheel_2: v[8],
            wheel_3: v[9],
            wheel_4: v[10],
        })
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![health(), attitude()]
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    (stamp(), packet())
        .prop_map(|(stamp, packet)| emit(&stamp, &packet, &mut [0xA5; FRAME_OCTETS_MAX]).to_vec())
}

/// Reads everything, and checks that the items cover the datagram in order.
fn read(datagram: &[u8]) -> Vec<Result<(Stamp, Packet), Refusal>> {
    let mut frames = Datagram::new(datagram);
    let mut position = 0;
    let mut items = Vec::new();
    while let Some(item) = frames.next(|_| true) {
        let octets = match item {
            Ok(Frame::Telemetry(frame)) => {
                let stamp = Stamp {
                    spacecraft: frame.spacecraft(),
                    boot_count: frame.boot_count(),
                    sequence: frame.sequence(),
                    time: frame.time(),
                };
                items.push(Ok((stamp, Packet::from(frame.body()))));
                frame.octets()
            }
            Ok(Frame::Idle(octets)) => octets,
            Err(rejected) => {
                items.push(Err(rejected.reason));
                rejected.octets
            }
        };
        assert_eq!(octets, &datagram[position..position + octets.len()]);
        position += octets.len();
    }
    assert_eq!(position, datagram.len());
    items
}

proptest! {
    #[test]
    fn parse_after_emit_is_the_identity(stamp in stamp(), packet in packet()) {
        let mut out = [0xA5; FRAME_OCTETS_MAX];
        let frame = emit(&stamp, &packet, &mut out);
        prop_assert_eq!(read(frame), [Ok((stamp, packet))]);
    }

    #[test]
    fn any_single_flipped_bit_is_refused(frame in frame(), bit in any::<proptest::sample::Index>()) {
        let mut frame = frame;
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(matches!(read(&frame)[..], [Err(reason)] if reason.is_damage()));
    }

    #[test]
    fn any_truncation_is_refused(frame in frame(), at in any::<proptest::sample::Index>()) {
        let kept = at.index(frame.len());
        prop_assert!(matches!(read(&frame[..kept])[..], [Err(reason)] if reason.is_damage()));
    }

    #[test]
    fn random_octets_are_read_to_the_end(octets in prop::collection::vec(any::<u8>(), 0..2_000)) {
        read(&octets);
    }

    /// Good frames survive any junk between them that is not itself mistaken for a length that
    /// swallows them.
    #[test]
    fn neighbours_of_junk_are_read(
        frames in prop::collection::vec(frame(), 1..6),
        junk in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
    ) {
        let at = at.index(frames.len() + 1);
        let datagram = [frames[..at].concat(), junk, frames[at..].concat()].concat();
        let items = read(&datagram);
        // Once in 65,536 the junk's CRC is right, and its length then rightly followed.
        prop_assume!(items.iter().all(|item| item.as_ref().err().is_none_or(|r| r.is_damage())));
        let accepted = items.iter().filter(|item| item.is_ok()).count();
        prop_assert_eq!(accepted, frames.len());
    }
}

/// A decimal with `places` places, written with integers alone.
fn decimal(raw: i64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let (whole, part) = (raw.unsigned_abs() / unit, raw.unsigned_abs() % unit);
    let text = format!(
        "{}{whole}.{part:0width$}",
        if raw < 0 { "-" } else { "" },
        width = places as usize
    );
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a column that is `double precision` prints: the shortest text that reads back, as Rust does.
fn assert_prints_as_decimal(raw: i64, places: u32, scale: f64) {
    let value = engineering(raw as f64, scale);
    let (printed, wanted) = (format!("{value}"), decimal(raw, places));
    assert!(printed == wanted || (raw == 0 && printed == "0"), "{raw}: {printed}, not {wanted}");
    // And it is the float that the decimal means.
    assert_eq!(wanted.parse::<f64>().unwrap().to_bits(), value.to_bits());
    assert_eq!((value / scale).round() as i64, raw);
}

#[test]
fn every_value_of_a_sixteen_bit_channel_is_the_nearest_to_its_decimal() {
    for raw in i64::from(i16::MIN)..=i64::from(u16::MAX) {
        assert_prints_as_decimal(raw, 2, 0.01);
        assert_prints_as_decimal(raw, 3, 0.001);
    }
}

proptest! {
    #[test]
    fn values_of_wide_channels_are_the_nearest_to_their_decimals(
        raw in prop_oneof![
            any::<i32>().prop_map(i64::from),
            any::<u32>().prop_map(i64::from),
            -1_800_000_000..=1_800_000_000_i64,
        ],
        places in 1_u32..=7,
    ) {
        let scale = [1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7][places as usize];
        assert_prints_as_decimal(raw, places, scale);
    }
}
