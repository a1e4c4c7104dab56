//! Table `detect` of the TOML file: what the detectors may spend, and what each channel is held to.
//!
//! What is not named keeps the shipped value. `[detect.channels.NAME]` is for all satellites;
//! `[detect.satellites.ID.NAME]` comes on top of it for one. An error is one line with the path of
//! the key and what is allowed there; nothing of a file with an error is used.

mod keys;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytesize::ByteSize;
use protocol::{KINDS, SpacecraftId, channel::Channel};
use toml::{Table, Value};

use crate::detect::{Rules, Settings};

pub use keys::{KEYS, Key};

/// The settings that a table `detect` gives.
pub fn settings(table: &Table) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (key, value) in table {
        let path = format!("detect.{key}");
        let wrong = |expected: &str| format!("`{path}`: expected {expected}");
        match key.as_str() {
            "memory" => settings.memory = memory(value).ok_or_else(|| wrong(MEMORY_FORM))?,
            "events" => settings.events_max = events(value).ok_or_else(|| wrong(EVENTS_FORM))?,
            "silence" => {
                let silence = time(value, SILENCE_MIN, SILENCE_MAX);
                settings.silence_us = silence.ok_or_else(|| wrong(SILENCE_FORM))?;
            }
            "orbit" => {
                let orbit = time(value, ORBIT_MIN, ORBIT_MAX);
                settings.orbit_us = Some(orbit.ok_or_else(|| wrong(ORBIT_FORM))?);
            }
            // After all the rest, in their order.
            "channels" | "satellites" => {}
            _ => return Err(format!("unknown key `{path}`; expected one of {KEYS_OF_DETECT}")),
        }
    }
    if let Some(channels) = table.get("channels") {
        override_all("detect.channels", channels, settings.rules.all_mut())?;
    }
    if let Some(satellites) = table.get("satellites") {
        for (name, channels) in as_table("detect.satellites", satellites)? {
            let path = format!("detect.satellites.{name}");
            let spacecraft: SpacecraftId =
                name.parse().map_err(|error| format!("`{path}`: {error}"))?;
            override_all(&path, channels, settings.rules.special_mut(spacecraft))?;
        }
    }
    Ok(settings)
}

/// Kind and place of the channel with this name.
#[must_use]
pub fn channel(name: &str) -> Option<(usize, usize, Channel)> {
    KINDS.iter().enumerate().find_map(|(kind, declared)| {
        let mut channels = declared.channels().enumerate();
        let found = channels.find(|(_, (other, _))| *other == name);
        found.map(|(place, (_, channel))| (kind, place, channel))
    })
}

/// The names of all channels, as an error lists them.
#[must_use]
pub fn channels_known() -> String {
    let names: Vec<_> = KINDS.iter().flat_map(|kind| kind.channels()).map(|(n, _)| n).collect();
    names.join(", ")
}

/// Applies a table of channels to the rules of all, or of a satellite.
fn override_all(path: &str, channels: &Value, rules: &mut [Vec<Rules>]) -> Result<(), String> {
    for (name, overrides) in as_table(path, channels)? {
        let path = format!("{path}.{name}");
        let Some((kind, place, channel)) = channel(name) else {
            return Err(format!("`{path}`: no such channel; expected one of {}", channels_known()));
        };
        let overrides = as_table(&path, overrides)?;
        override_one(&path, overrides, channel, &mut rules[kind][place])?;
    }
    Ok(())
}

fn override_one(
    path: &str,
    overrides: &Table,
    channel: Channel,
    rules: &mut Rules,
) -> Result<(), String> {
    for (name, value) in overrides {
        if name == UNIT {
            check_unit(path, value, channel)?;
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let known: Vec<_> = [UNIT].into_iter().chain(KEYS.iter().map(|key| key.name)).collect();
            let known = known.join(", ");
            return Err(format!("unknown key `{path}.{name}`; expected one of {known}"));
        };
        key.set(rules, value)
            .map_err(|expected| format!("`{path}.{name}` is {value}: {expected}"))?;
    }
    if let (Some(soft), Some(hard)) = (rules.soft, rules.hard)
        && (soft.0 < hard.0 || soft.1 > hard.1)
    {
        return Err(format!(
            "`{path}`: soft [{}, {}] has to lie within hard [{}, {}]; give both, or \"none\"",
            soft.0, soft.1, hard.0, hard.1
        ));
    }
    Ok(())
}

/// Limits are in the channel's declared unit; who says which unit they are in is held to it.
fn check_unit(path: &str, value: &Value, channel: Channel) -> Result<(), String> {
    let declared = channel.unit;
    match value.as_str() {
        Some(unit) if unit == declared => Ok(()),
        _ => Err(format!("`{path}.{UNIT}` is {value}: the channel's unit is \"{declared}\"")),
    }
}

fn as_table<'a>(path: &str, value: &'a Value) -> Result<&'a Table, String> {
    value.as_table().ok_or_else(|| format!("`{path}`: expected a table"))
}

fn memory(value: &Value) -> Option<u64> {
    let size: ByteSize = value.as_str()?.parse().ok()?;
    (size.as_u64() <= MEMORY_MAX).then(|| size.as_u64())
}

fn events(value: &Value) -> Option<usize> {
    value.as_integer()?.try_into().ok().filter(|events| (1..=EVENTS_MAX).contains(events))
}

/// A time in µs.
fn time(value: &Value, least: Duration, most: Duration) -> Option<i64> {
    let time = humantime::parse_duration(value.as_str()?).ok()?;
    (least..=most).contains(&time).then_some(time.as_micros() as i64)
}

const UNIT: &str = "unit";
const KEYS_OF_DETECT: &str = "memory, events, silence, orbit, channels, satellites";
const MEMORY_FORM: &str = "a size up to 1TiB, such as \"64MiB\"";
const MEMORY_MAX: u64 = 1 << 40;
const EVENTS_FORM: &str = "a whole number from 1 to 1000000";
const EVENTS_MAX: usize = 1_000_000;
const SILENCE_FORM: &str = "a time from 30s to 30d, such as \"5m\"";
const SILENCE_MIN: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// From the lowest orbit there is to a geosynchronous one, twice.
const ORBIT_FORM: &str = "the period of an orbit, from 80m to 48h, such as \"95m\"";
const ORBIT_MIN: Duration = Duration::from_secs(80 * 60);
const ORBIT_MAX: Duration = Duration::from_secs(48 * 3_600);
