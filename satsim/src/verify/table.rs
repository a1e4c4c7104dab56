//! The comparison as text: a table of streams, the totals, and a verdict that can be grepped.

use std::fmt::Write as _;

use super::{
    compare::{Comparison, Stream},
    scoreboard,
};

/// The whole page. All streams when `all` or when there are few; otherwise those that disagree.
pub fn page(comparison: &Comparison, all: bool) -> String {
    let mut page = String::new();
    let is_whole = all || comparison.streams.len() <= STREAMS_SHOWN_MAX;
    let has_station = comparison.streams.iter().any(|stream| stream.heard.is_some());
    let mut shown = comparison
        .streams
        .iter()
        .filter(|stream| is_whole || !stream.findings.is_empty())
        .peekable();
    if shown.peek().is_some() {
        page.push_str(&heading(has_station));
    }
    for stream in shown {
        page.push_str(&row(stream, has_station));
    }
    let disagreeing = comparison.disagreeing().count();
    let agreeing = comparison.streams.len() - disagreeing;
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{agreeing} of {} streams agree", comparison.streams.len());
    if let Some(detection) = &comparison.detection {
        page.push_str(&scoreboard::page(detection));
    }
    for term in &comparison.totals {
        let mark = if term.agrees { "" } else { "  DISAGREES" };
        let _ = writeln!(
            page,
            "  {:<24}{:>14}  expected {}{mark}",
            term.name, term.found, term.expected
        );
    }
    for note in &comparison.notes {
        let _ = writeln!(page, "note: {note}");
    }
    let seed = comparison.seed;
    let _ = if comparison.agrees() {
        writeln!(page, "VERIFIED: every term agrees (seed {seed})")
    } else {
        writeln!(page, "FAILED: {disagreeing} streams and {} totals disagree (seed {seed})", {
            comparison.totals.iter().filter(|term| !term.agrees).count()
        })
    };
    page
}

fn heading(has_station: bool) -> String {
    let mut heading = format!(
        "{:<10}{:>5}{:>7}{:>11}{:>9}{:>11}{:>11}",
        "satellite", "apid", "boot", "generated", "taken", "expected", "stored"
    );
    if has_station {
        let _ = write!(heading, "{:>11}{:>9}{:>8}{:>11}", "accepted", "lost", "late", "duplicate");
    }
    heading + "\n"
}

fn row(stream: &Stream, has_station: bool) -> String {
    let key = &stream.truth.key;
    let mut row = format!(
        "{:<10}{:>5}{:>7}{:>11}{:>9}{:>11}{:>11}",
        key.satellite_id,
        key.apid,
        key.boot_count,
        stream.truth.generated,
        stream.truth.faults.gone(),
        stream.expected(),
        stream.rows.rows,
    );
    match stream.heard {
        Some(heard) => {
            let _ = write!(
                row,
                "{:>11}{:>9}{:>8}{:>11}",
                heard.accepted,
                heard.lost(),
                heard.late,
                heard.duplicate
            );
        }
        None if has_station => {
            let _ = write!(row, "{:>11}{:>9}{:>8}{:>11}", "-", "-", "-", "-");
        }
        None => {}
    }
    let verdict =
        if stream.findings.is_empty() { "ok".to_owned() } else { stream.findings.join("; ") };
    row + "  " + &verdict + "\n"
}

/// More than fit a screen are not read.
const STREAMS_SHOWN_MAX: usize = 40;
