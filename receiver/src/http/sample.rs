//! A JSON body made into samples, all of it or nothing, with errors that name the field.

use protocol::{
    KINDS, Kind, SpacecraftId,
    channel::{Channel, Meaning},
    rfc3339::{self, NotATime},
};
use serde_json::{Map, Value};

use super::json;
use crate::{batch::TimeWindow, spacecraft::SpacecraftSet, sparse::Sparse};

/// What is accepted besides the form.
pub struct Rules<'a> {
    /// These spacecraft.
    pub spacecraft: &'a SpacecraftSet,
    /// Times within this window.
    pub window: &'a TimeWindow,
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON, or no object and no array.
    #[error("bad JSON: {0}")]
    NotJson(String),
    /// Something in it is wrong.
    #[error("{}{field}: {problem}", position(*index))]
    Field {
        /// Which element of an array.
        index: Option<usize>,
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a body that arrived at `now_us` (µs since 1970): one object, or an array of them.
pub fn read(body: &[u8], now_us: i64, rules: &Rules<'_>) -> Result<Vec<Sparse>, Fault> {
    let body = json::read(body).map_err(Fault::NotJson)?;
    let elements = match body {
        Value::Object(object) => return Ok(vec![sample(None, &object, now_us, rules)?]),
        Value::Array(elements) => elements,
        _ => {
            return Err(Fault::NotJson("expected an object or an array of objects".into()));
        }
    };
    let read = |(index, element): (usize, &Value)| match element {
        Value::Object(object) => sample(Some(index), object, now_us, rules),
        _ => Err(fault(Some(index), "element", "expected an object")),
    };
    elements.iter().enumerate().map(read).collect()
}

fn sample(
    index: Option<usize>,
    object: &Map<String, Value>,
    now_us: i64,
    rules: &Rules<'_>,
) -> Result<Sparse, Fault> {
    let spacecraft = spacecraft(object.get(SATELLITE_ID), rules.spacecraft)
        .map_err(|problem| fault(index, SATELLITE_ID, &problem))?;
    let time_us = match object.get(TIME) {
        None => now_us,
        Some(time) => {
            time_us(time, now_us, rules.window).map_err(|problem| fault(index, TIME, &problem))?
        }
    };
    if object.contains_key(TEMP) && object.contains_key(CPU_TEMP) {
        return Err(fault(index, TEMP, "it is short for cpu_temp: give one of the two"));
    }
    let mut sample: Option<Sparse> = None;
    for (field, value) in object {
        if field == SATELLITE_ID || field == TIME {
            continue;
        }
        let column = if field == TEMP { CPU_TEMP } else { field };
        let Some((kind, place, quantity)) = find(column) else {
            return Err(fault(index, field, "unknown; see docs/protocol.md for the channels"));
        };
        let sample = sample.get_or_insert_with(|| Sparse::new(kind, spacecraft, time_us));
        if sample.kind().apid != kind.apid {
            let problem = format!(
                "it belongs to table {}, and another field to {}: send them as two objects",
                kind.table,
                sample.kind().table
            );
            return Err(fault(index, field, &problem));
        }
        let value = quantity.read(value).map_err(|problem| fault(index, field, &problem))?;
        sample.set(place, value);
    }
    sample.ok_or_else(|| fault(index, "channels", "there is none; give at least one, such as temp"))
}

fn spacecraft(id: Option<&Value>, accepted: &SpacecraftSet) -> Result<SpacecraftId, String> {
    let Some(id) = id else {
        return Err("it is missing; give one such as \"SAT-01\"".into());
    };
    let id: SpacecraftId = id
        .as_str()
        .ok_or_else(|| "expected a string such as \"SAT-01\"".to_owned())?
        .parse()
        .map_err(|error: protocol::NotASpacecraft| error.to_string())?;
    if accepted.contains(id) {
        Ok(id)
    } else {
        Err("this station does not accept it (--spacecraft)".into())
    }
}

fn time_us(time: &Value, now_us: i64, window: &TimeWindow) -> Result<i64, String> {
    let time_us =
        time.as_str().ok_or(NotATime).and_then(rfc3339::unix_us).map_err(|e| e.to_string())?;
    match window.refusal(time_us, now_us) {
        None => Ok(time_us),
        Some(_) => Err(format!(
            "out of range: more than {} old or {} ahead",
            humantime::format_duration(window.past),
            humantime::format_duration(window.future)
        )),
    }
}

/// What a column takes.
enum Quantity {
    Channel(Channel),
    Flag,
}

impl Quantity {
    fn read(&self, value: &Value) -> Result<f64, String> {
        let channel = match self {
            Self::Flag => {
                let value = value.as_bool().ok_or("expected true or false")?;
                return Ok(f64::from(u8::from(value)));
            }
            Self::Channel(channel) => channel,
        };
        let value = value.as_f64().ok_or("expected a number")?;
        let (low, high) = channel.range;
        if !(low..=high).contains(&value) {
            let unit = channel.unit;
            return Err(format!("out of range: expected {low} to {high} {unit}").trim_end().into());
        }
        if !channel.labels.is_empty() && value.fract() != 0.0 {
            return Err("expected a whole number".into());
        }
        Ok(value)
    }
}

/// The kind that has this column, its place there, and what it takes.
fn find(column: &str) -> Option<(&'static Kind, usize, Quantity)> {
    KINDS.iter().find_map(|kind| {
        let place = kind.columns().position(|(name, _)| name == column)?;
        let field = kind.fields.iter().find(|field| field.name == column);
        let quantity = match field.map(|field| field.meaning) {
            Some(Meaning::Channel(channel)) => Quantity::Channel(channel),
            _ => Quantity::Flag,
        };
        Some((*kind, place, quantity))
    })
}

fn fault(index: Option<usize>, field: &str, problem: &str) -> Fault {
    // A key may be as long as the body.
    let mut shown: String = field.chars().take(FIELD_SHOWN_MAX).collect();
    if shown.len() < field.len() {
        shown.push('…');
    }
    Fault::Field { index, field: shown, problem: problem.into() }
}

fn position(index: Option<usize>) -> String {
    index.map(|index| format!("element {index}: ")).unwrap_or_default()
}

const FIELD_SHOWN_MAX: usize = 60;
const SATELLITE_ID: &str = "satellite_id";
const TIME: &str = "time";
/// Short for [`CPU_TEMP`].
const TEMP: &str = "temp";
const CPU_TEMP: &str = "cpu_temp";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW_US: i64 = 1_767_225_600_000_000;

    fn read(body: &str) -> Result<Vec<Sparse>, Fault> {
        let window =
            TimeWindow { past: Duration::from_secs(3_600), future: Duration::from_secs(300) };
        let spacecraft = "1-100".parse().unwrap();
        super::read(body.as_bytes(), NOW_US, &Rules { spacecraft: &spacecraft, window: &window })
    }

    #[test]
    fn one_or_many() {
        let one = read(r#"{"satellite_id": "SAT-01", "temp": 50}"#).unwrap();
        assert_eq!((one.len(), one[0].time_us, one[0].kind().table), (1, NOW_US, "telemetry"));
        let values: Vec<_> = one[0].columns().filter_map(|(_, value)| value).collect();
        assert_eq!(values, [50.0]);
        let many = read(
            r#"[{"satellite_id": "SAT-02", "time": "2026-01-01T00:00:00.5Z", "q0": 1, "q1": -0.5},
                {"satellite_id": "SAT-100", "mode": 2, "charging": true}]"#,
        )
        .unwrap();
        assert_eq!((many[0].time_us, many[0].kind().table), (NOW_US + 500_000, "attitude"));
        assert_eq!(many[1].spacecraft.number(), 100);
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, message) in [
            ("", "bad JSON: the body is empty"),
            ("{", "bad JSON: the body ends at line 1, column 2, within the object"),
            (r#"{"satellite_id": "SAT-01", "temp": 1, "temp": 2}"#, "bad JSON: the key \"temp\""),
            ("7", "bad JSON: expected an object"),
            (r#"{"temp": 50}"#, "satellite_id: it is missing"),
            (r#"{"satellite_id": 1, "temp": 50}"#, "satellite_id: expected a string"),
            (r#"{"satellite_id": "sat-1", "temp": 50}"#, "satellite_id: expected SAT-"),
            (r#"{"satellite_id": "SAT-101", "temp": 50}"#, "satellite_id: this station"),
            (r#"{"satellite_id": "SAT-01"}"#, "channels: there is none"),
            (r#"{"satellite_id": "SAT-01", "tmp": 50}"#, "tmp: unknown"),
            (r#"{"satellite_id": "SAT-01", "flags": 1}"#, "flags: unknown"),
            (&*format!(r#"{{"satellite_id": "SAT-01", "{}": 1}}"#, "é".repeat(70)), "é…: unknown"),
            (r#"{"satellite_id": "SAT-01", "temp": 1e9}"#, "temp: out of range: expected -327.68"),
            (r#"{"satellite_id": "SAT-01", "temp": "hot"}"#, "temp: expected a number"),
            (r#"{"satellite_id": "SAT-01", "temp": null}"#, "temp: expected a number"),
            (r#"{"satellite_id": "SAT-01", "mode": 1.5}"#, "mode: expected a whole number"),
            (r#"{"satellite_id": "SAT-01", "mode": 4}"#, "mode: out of range: expected 0 to 3"),
            (r#"{"satellite_id": "SAT-01", "charging": 1}"#, "charging: expected true or false"),
            (r#"{"satellite_id": "SAT-01", "temp": 1, "cpu_temp": 1}"#, "temp: it is short for"),
            (r#"{"satellite_id": "SAT-01", "temp": 1, "q0": 1}"#, "belongs to table"),
            (r#"{"satellite_id": "SAT-01", "temp": 1, "time": 5}"#, "time: expected an RFC 3339"),
            (
                r#"{"satellite_id": "SAT-01", "temp": 1, "time": "2026-01-01 00:00:00Z"}"#,
                "time: expected an RFC 3339",
            ),
            (
                r#"{"satellite_id": "SAT-01", "temp": 1, "time": "9999-12-31T23:59:59Z"}"#,
                "time: out of range",
            ),
            (
                r#"{"satellite_id": "SAT-01", "temp": 1, "time": "2025-12-31T22:59:59Z"}"#,
                "time: out of range: more than 1h old or 5m ahead",
            ),
            (
                r#"[{"satellite_id": "SAT-01", "temp": 1}, {"satellite_id": "SAT-01", "x": 1}]"#,
                "element 1: x: unknown",
            ),
            ("[7]", "element 0: element: expected an object"),
        ] {
            let fault = read(body).unwrap_err().to_string();
            assert!(fault.contains(message), "{body}: {fault}");
        }
    }
}
