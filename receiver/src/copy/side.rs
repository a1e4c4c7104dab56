//! Rows of the tables beside the samples' own.

use std::net::IpAddr;

use protocol::{SpacecraftId, channel::ColumnSink as _};

use super::CopyBuffer;
use crate::{
    chunk::{Record, Sample},
    ledger::{Ledger, Rejections, StationRow},
    link,
    rejected::RejectedFrame,
};

/// The tables, in the order of [`copies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Samples that are set aside.
    Quarantine,
    /// How each link did.
    LinkHealth,
    /// How the station did.
    StationHealth,
    /// What was refused.
    RejectedFrame,
}

/// How many there are.
pub const SIDES: usize = 4;

/// Their names, in the order of [`Side`].
pub const TABLES: [&str; SIDES] = ["quarantine", "link_health", "station_health", "rejected_frame"];

/// The COPY statements of these tables in a schema, whose name is quoted where it needs to be.
#[must_use]
pub fn copies(schema: &str) -> [String; SIDES] {
    let station: Vec<_> = Ledger::default().by_name().iter().map(|(name, _)| *name).collect();
    let mut columns = [
        QUARANTINE_COLUMNS.join(", "),
        LINK_COLUMNS.join(", "),
        format!("time, station, {}", station.join(", ")),
        REJECTED_COLUMNS.join(", "),
    ]
    .into_iter();
    TABLES.map(|table| {
        let columns = columns.next().unwrap_or_default();
        format!("COPY {schema}.{table} ({columns}) FROM STDIN BINARY")
    })
}

impl CopyBuffer {
    /// Appends a row of `quarantine`.
    pub fn push_quarantine(
        &mut self,
        record: &Record<'_>,
        station: &str,
        reason: &str,
        sqlstate: Option<&str>,
    ) {
        let (received_us, why) = (record.received_us, (reason, sqlstate));
        match &record.sample {
            Sample::Frame(frame) => {
                self.push_quarantined_octets(received_us, station, why, frame.octets());
            }
            Sample::Sparse(sample) => {
                let json = sample.to_json().to_string();
                self.push_quarantined_octets(received_us, station, why, json.as_bytes());
            }
        }
    }

    /// Appends a row of `quarantine` with octets that need not be a sample; `why` is the reason and,
    /// if the database refused it, its code.
    pub fn push_quarantined_octets(
        &mut self,
        received_us: i64,
        station: &str,
        (reason, sqlstate): (&str, Option<&str>),
        octets: &[u8],
    ) {
        self.start_row(QUARANTINE_COLUMNS.len());
        self.timestamp(received_us);
        self.text(station);
        self.text(reason);
        match sqlstate {
            Some(sqlstate) => self.text(sqlstate),
            None => self.null(),
        }
        self.bytes(octets);
    }

    /// Appends a row of `link_health`.
    pub fn push_link(&mut self, row: &link::Row, station: &str) {
        let Some(spacecraft) = SpacecraftId::new(row.spacecraft.get()) else {
            return;
        };
        self.start_row(LINK_COLUMNS.len());
        self.timestamp(row.time_us.get());
        self.real(row.seconds.get());
        self.text(station);
        self.text(&spacecraft.name());
        self.int(row.apid.get().into());
        for count in [row.received, row.missed, row.late, row.duplicate, row.bytes] {
            self.big_int(count.get().cast_signed());
        }
        for latency in [row.latency_ms_p50.get(), row.latency_ms_max.get()] {
            if latency.is_nan() {
                self.null();
            } else {
                self.real(latency);
            }
        }
    }

    /// Appends a row of `station_health`.
    pub fn push_station(&mut self, row: &StationRow, station: &str) {
        self.start_row(2 + row.differences.len());
        self.timestamp(row.time_us.get());
        self.text(station);
        for difference in row.differences {
            self.big_int(difference.get());
        }
    }

    /// Appends a row of `rejected_frame`.
    pub fn push_rejected(&mut self, received_us: i64, frame: &RejectedFrame<'_>, station: &str) {
        let reasons = Rejections::default().by_reason();
        self.start_row(REJECTED_COLUMNS.len());
        self.timestamp(received_us);
        self.text(station);
        match frame.source {
            None => self.null(),
            Some(IpAddr::V4(source)) => self.inet(INET_V4, &source.octets()),
            Some(IpAddr::V6(source)) => self.inet(INET_V6, &source.octets()),
        }
        self.text(reasons.get(usize::from(frame.reason)).map_or("unknown", |(name, _)| name));
        self.bytes(frame.octets);
    }

    /// An `inet` of a single host (network.c, `network_send`): family, bits of the mask, whether it
    /// is a network, octets, address.
    fn inet(&mut self, family: u8, address: &[u8]) {
        let octets = address.len() as u8;
        self.bytes(&[&[family, octets * 8, 0, octets], address].concat());
    }
}

const QUARANTINE_COLUMNS: [&str; 5] = ["time", "station", "reason", "sqlstate", "raw"];
const REJECTED_COLUMNS: [&str; 5] = ["time", "station", "source", "reason", "raw"];
const LINK_COLUMNS: [&str; 12] = [
    "time",
    "seconds",
    "station",
    "satellite_id",
    "apid",
    "received",
    "missed",
    "late",
    "duplicate",
    "bytes",
    "latency_ms_p50",
    "latency_ms_max",
];
/// PostgreSQL's own numbers for the address families (inet.h).
const INET_V4: u8 = 2;
const INET_V6: u8 = 3;
