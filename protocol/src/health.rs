//! APID 100: house-keeping, nine frames in ten by default.

use crate::packet::packet;

packet! {
    #[doc = "House-keeping of power, thermal, radio, computer, and where the satellite is."]
    Health / HealthWire = "health", apid 100, table "telemetry";

    mode: u8 * 1.0 => SmallInt "" in 0.0..=3.0
        labels [0 "safe", 1 "nominal", 2 "payload", 3 "detumble"], "Operating mode.";
    flags: u8 flags [
        0 in_eclipse "The satellite is in the Earth's shadow.",
        1 charging "The battery is being charged.",
        2 heater_on "The battery heater is on."
    ], "Single bits of state.";
    cpu_temp: i16 * 0.01 => Real "°C", "Temperature of the processor.";
    battery_temp: i16 * 0.01 => Real "°C", "Temperature of the battery.";
    panel_temp: i16 * 0.01 => Real "°C", "Temperature of the solar panel.";
    payload_temp: i16 * 0.01 => Real "°C", "Temperature of the payload.";
    battery_voltage: u16 * 0.001 => Real "V", "Voltage of the battery.";
    bus_voltage: u16 * 0.001 => Real "V", "Voltage of the regulated bus.";
    battery_current: i16 * 0.001 => Real "A", "Current into the battery; negative when it gives.";
    solar_current: u16 * 0.001 => Real "A", "Current from the solar panels.";
    battery_charge: u16 * 0.01 => Real "%" in 0.0..=100.0, "State of charge of the battery.";
    signal_strength: i16 * 0.01 => Real "dBm", "Received signal strength.";
    cpu_load: u8 * 0.5 => Real "%" in 0.0..=100.0, "Load of the processor.";
    reserved: u8, "Reserved, 0.";
    storage_used: u32 * 0.000_976_562_5 => Double "MiB", "Storage in use.";
    latitude: i32 * 1e-7 => Double "°" in -90.0..=90.0, "Geodetic latitude, north positive.";
    longitude: i32 * 1e-7 => Double "°" in -180.0..=180.0, "Longitude, east positive.";
    altitude: u32 * 0.001 => Double "km", "Height above the ellipsoid.";
    speed: u32 * 1e-6 => Real "km/s", "Speed relative to the Earth's centre.";
}

const _: () = assert!(size_of::<HealthWire>() == 44 && CHANNELS == 17);
const _: () = assert!(core::mem::offset_of!(HealthWire, speed) == 40);
