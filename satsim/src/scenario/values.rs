//! Values of a scenario: each checked as the option of the same name is.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    datagram::FRAMES_PER_DATAGRAM_MAX,
    options::{self, Start},
};
use protocol::{NotASpacecraft, SpacecraftId};

/// A number above 0.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Positive(pub f64);

/// A time such as `"10s"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub Duration);

/// RFC 3339, with or without quotes, or `"now"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) struct Moment(pub Start);

/// How many fly.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Satellites(pub u16);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct FramesPerDatagram(pub u16);

/// A satellite, as `"SAT-01"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(pub SpacecraftId);

impl TryFrom<f64> for Positive {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        options::above_zero(value).map(Self)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        options::span(&text).map(Self)
    }
}

impl TryFrom<toml::Value> for Moment {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        match value {
            toml::Value::String(text) => options::moment(&text).map(Self),
            toml::Value::Datetime(date) => options::moment(&date.to_string()).map(Self),
            _ => options::moment("").map(Self),
        }
    }
}

impl TryFrom<i64> for Satellites {
    type Error = &'static str;

    fn try_from(count: i64) -> Result<Self, Self::Error> {
        u16::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .map(Self)
            .ok_or("expected 1 to 65535 satellites")
    }
}

impl TryFrom<i64> for FramesPerDatagram {
    type Error = String;

    fn try_from(frames: i64) -> Result<Self, Self::Error> {
        u16::try_from(frames)
            .ok()
            .filter(|&frames| (1..=FRAMES_PER_DATAGRAM_MAX).contains(&frames.into()))
            .map(Self)
            .ok_or(format!("expected 1 to {FRAMES_PER_DATAGRAM_MAX} frames"))
    }
}

impl TryFrom<String> for Name {
    type Error = NotASpacecraft;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

/// A boolean, as its own or as a word.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) struct Switch(pub bool);

impl TryFrom<toml::Value> for Switch {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let word = match value {
            toml::Value::Boolean(is_on) => return Ok(Self(is_on)),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::String(word) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "true" | "yes" | "on" | "1" => Ok(Self(true)),
            "false" | "no" | "off" | "0" => Ok(Self(false)),
            _ => Err("expected true or false"),
        }
    }
}
