//! What a frame says according to `protocol`, with every field under its name: what other decoders
//! are compared with.

use std::collections::BTreeMap;

use protocol::channel::{ColumnSink, Meaning};
use protocol::{Body, Datagram, Frame, Telemetry};
use serde::Serialize;

/// A telemetry frame, field by field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The kind's name.
    pub kind: &'static str,
    /// The kind's number.
    pub apid: u16,
    /// Low 14 bits of the counter.
    pub sequence_count: u16,
    /// The length field: octets after the primary header, less one.
    pub data_length: usize,
    /// Days since 1958.
    pub day: u16,
    /// Milliseconds of the day.
    pub ms: u32,
    /// Microseconds of the millisecond.
    pub us: u16,
    /// The spacecraft's number.
    pub spacecraft: u16,
    /// The spacecraft's name.
    pub satellite_id: String,
    /// How often it had started.
    pub boot_count: u16,
    /// High 16 bits of the counter.
    pub sequence_extension: u16,
    /// The full counter.
    pub sequence: u32,
    /// The checkword.
    pub crc: u16,
    /// Every channel in engineering units.
    pub values: BTreeMap<&'static str, f64>,
    /// Every flag.
    pub flags: BTreeMap<&'static str, bool>,
}

impl Reading {
    /// What a checked frame says.
    #[must_use]
    pub fn of(frame: &Telemetry<'_>) -> Self {
        let kind = frame.body().kind();
        let octets = frame.octets();
        let (sequence, time) = (frame.sequence(), frame.time());
        let values = match frame.body() {
            Body::Health(view) => view.values().to_vec(),
            Body::Attitude(view) => view.values().to_vec(),
        };
        let channels = kind
            .fields
            .iter()
            .filter(|field| matches!(field.meaning, Meaning::Channel(_)))
            .map(|field| field.name);
        let mut flags = Flags::default();
        frame.body().columns(&mut flags);
        let names = kind.fields.iter().flat_map(|field| match field.meaning {
            Meaning::Flags(flags) => flags,
            _ => &[],
        });
        Self {
            kind: kind.name,
            apid: frame.apid().number(),
            sequence_count: sequence.count(),
            data_length: octets.len() - LENGTH_BIAS,
            day: time.day,
            ms: time.ms,
            us: time.us,
            spacecraft: frame.spacecraft().number(),
            satellite_id: frame.spacecraft().to_string(),
            boot_count: frame.boot_count(),
            sequence_extension: sequence.extension(),
            sequence: sequence.value(),
            crc: octets.last_chunk().copied().map_or(0, u16::from_be_bytes),
            values: channels.zip(values).collect(),
            flags: names.map(|flag| flag.name).zip(flags.0).collect(),
        }
    }

    /// What the single frame in `octets` says.
    ///
    /// # Panics
    /// If that is no good telemetry frame.
    #[must_use]
    pub fn read(octets: &[u8]) -> Self {
        match Datagram::new(octets).next(|_| true) {
            Some(Ok(Frame::Telemetry(frame))) if frame.octets().len() == octets.len() => {
                Self::of(&frame)
            }
            other => panic!("no telemetry frame: {other:?}"),
        }
    }
}

/// The boolean columns, in order.
#[derive(Default)]
struct Flags(Vec<bool>);

impl ColumnSink for Flags {
    fn small_int(&mut self, _: i16) {}
    fn real(&mut self, _: f32) {}
    fn double(&mut self, _: f64) {}
    fn boolean(&mut self, value: bool) {
        self.0.push(value);
    }
}

/// The length field counts the octets after the primary header, less one.
const LENGTH_BIAS: usize = protocol::header::PRIMARY_OCTETS + 1;
