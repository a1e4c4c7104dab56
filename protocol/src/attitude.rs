//! APID 101: attitude and the wheels that hold it.

use crate::packet::packet;

packet! {
    #[doc = "Attitude quaternion, body rates and reaction wheels."]
    Attitude / AttitudeWire = "attitude", apid 101, table "attitude";

    q0: i16 * 0.000_030_517_578_125 => Real "" in -1.0..=1.0, "Quaternion, scalar part.";
    q1: i16 * 0.000_030_517_578_125 => Real "" in -1.0..=1.0, "Quaternion, x.";
    q2: i16 * 0.000_030_517_578_125 => Real "" in -1.0..=1.0, "Quaternion, y.";
    q3: i16 * 0.000_030_517_578_125 => Real "" in -1.0..=1.0, "Quaternion, z.";
    rate_x: i16 * 0.01 => Real "°/s", "Body rate about x.";
    rate_y: i16 * 0.01 => Real "°/s", "Body rate about y.";
    rate_z: i16 * 0.01 => Real "°/s", "Body rate about z.";
    wheel_1: i16 * 1.0 => Real "rpm", "Speed of reaction wheel 1.";
    wheel_2: i16 * 1.0 => Real "rpm", "Speed of reaction wheel 2.";
    wheel_3: i16 * 1.0 => Real "rpm", "Speed of reaction wheel 3.";
    wheel_4: i16 * 1.0 => Real "rpm", "Speed of reaction wheel 4.";
}

const _: () = assert!(size_of::<AttitudeWire>() == 22 && CHANNELS == 11);
