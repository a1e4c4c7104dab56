//! What the sensors say, in engineering units, and how it becomes a packet.

use protocol::{
    attitude::{self, Attitude},
    health::{self, Health},
};

use super::{activity::Mode, attitude::Quaternion};

/// One set of `health`, before it is quantised; units last in the names.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the channels are described where they are declared")]
pub struct HealthReadings {
    pub mode: Mode,
    pub in_eclipse: bool,
    pub charging: bool,
    pub heater_on: bool,
    pub cpu_temp_c: f64,
    pub battery_temp_c: f64,
    pub panel_temp_c: f64,
    pub payload_temp_c: f64,
    pub battery_voltage_v: f64,
    pub bus_voltage_v: f64,
    pub battery_current_a: f64,
    pub solar_current_a: f64,
    pub battery_charge_percent: f64,
    pub signal_strength_dbm: f64,
    pub cpu_load_percent: f64,
    pub storage_used_mib: f64,
    pub latitude_deg: f64,
    pub longitude_deg: f64,
    pub altitude_km: f64,
    pub speed_km_s: f64,
}

/// One set of `attitude`, before it is quantised; units last in the names.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the channels are described where they are declared")]
pub struct AttitudeReadings {
    pub quaternion: Quaternion,
    pub rates_deg_s: [f64; 3],
    pub wheels_rpm: [f64; 4],
}

impl HealthReadings {
    /// What can go wrong, in the order of [`HEALTH`](crate::anomaly::instrument::HEALTH).
    pub fn sensors(&mut self) -> [&mut f64; 11] {
        [
            &mut self.cpu_temp_c,
            &mut self.battery_temp_c,
            &mut self.panel_temp_c,
            &mut self.payload_temp_c,
            &mut self.battery_voltage_v,
            &mut self.bus_voltage_v,
            &mut self.battery_current_a,
            &mut self.solar_current_a,
            &mut self.battery_charge_percent,
            &mut self.signal_strength_dbm,
            &mut self.cpu_load_percent,
        ]
    }
}

impl AttitudeReadings {
    /// What can go wrong, in the order of [`ATTITUDE`](crate::anomaly::instrument::ATTITUDE).
    pub fn sensors(&mut self) -> [&mut f64; 7] {
        let [x, y, z] = &mut self.rates_deg_s;
        let [w1, w2, w3, w4] = &mut self.wheels_rpm;
        [x, y, z, w1, w2, w3, w4]
    }
}

impl From<&HealthReadings> for Health {
    fn from(r: &HealthReadings) -> Self {
        use health::quantise as q;
        Self {
            mode: r.mode as u8,
            flags: u8::from(r.in_eclipse) | u8::from(r.charging) << 1 | u8::from(r.heater_on) << 2,
            cpu_temp: q::cpu_temp(r.cpu_temp_c),
            battery_temp: q::battery_temp(r.battery_temp_c),
            panel_temp: q::panel_temp(r.panel_temp_c),
            payload_temp: q::payload_temp(r.payload_temp_c),
            battery_voltage: q::battery_voltage(r.battery_voltage_v),
            bus_voltage: q::bus_voltage(r.bus_voltage_v),
            battery_current: q::battery_current(r.battery_current_a),
            solar_current: q::solar_current(r.solar_current_a),
            battery_charge: q::battery_charge(r.battery_charge_percent.clamp(0.0, 100.0)),
            signal_strength: q::signal_strength(r.signal_strength_dbm),
            cpu_load: q::cpu_load(r.cpu_load_percent.clamp(0.0, 100.0)),
            reserved: 0,
            storage_used: q::storage_used(r.storage_used_mib),
            latitude: q::latitude(r.latitude_deg),
            longitude: q::longitude(r.longitude_deg),
            altitude: q::altitude(r.altitude_km),
            speed: q::speed(r.speed_km_s),
        }
    }
}

impl From<&AttitudeReadings> for Attitude {
    fn from(r: &AttitudeReadings) -> Self {
        use attitude::quantise as q;
        let [q0, q1, q2, q3] = r.quaternion;
        let [x, y, z] = r.rates_deg_s;
        let [w1, w2, w3, w4] = r.wheels_rpm;
        Self {
            q0: q::q0(q0),
            q1: q::q1(q1),
            q2: q::q2(q2),
            q3: q::q3(q3),
            rate_x: q::rate_x(x),
            rate_y: q::rate_y(y),
            rate_z: q::rate_z(z),
            wheel_1: q::wheel_1(w1),
            wheel_2: q::wheel_2(w2),
            wheel_3: q::wheel_3(w3),
            wheel_4: q::wheel_4(w4),
        }
    }
}
