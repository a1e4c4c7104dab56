//! The comparison as JSON, for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    compare::{Comparison, Term},
    detection::Detection,
};

/// The whole file.
#[derive(Serialize)]
struct Page<'a> {
    seed: u64,
    agrees: bool,
    streams: usize,
    findings: Vec<Finding<'a>>,
    totals: &'a [Term],
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<Score<'a>>,
}

/// What disagrees about one stream.
#[derive(Serialize)]
struct Finding<'a> {
    satellite_id: &'a str,
    apid: u16,
    boot_count: u16,
    findings: &'a [String],
}

#[derive(Serialize)]
struct Score<'a> {
    false_per_million_values: Option<f64>,
    #[serde(flatten)]
    detection: &'a Detection,
}

/// Writes it.
pub(super) fn write(comparison: &Comparison, mut to: impl Write) -> io::Result<()> {
    let findings = comparison.disagreeing().map(|stream| Finding {
        satellite_id: &stream.truth.key.satellite_id,
        apid: stream.truth.key.apid,
        boot_count: stream.truth.key.boot_count,
        findings: &stream.findings,
    });
    let page = Page {
        seed: comparison.seed,
        agrees: comparison.agrees(),
        streams: comparison.streams.len(),
        findings: findings.collect(),
        totals: &comparison.totals,
        notes: &comparison.notes,
        detection: comparison.detection.as_ref().map(|detection| Score {
            false_per_million_values: detection.false_per_million(),
            detection,
        }),
    };
    serde_json::to_writer_pretty(&mut to, &page)?;
    to.flush()
}
