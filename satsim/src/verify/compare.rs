//! What was sent beside what was stored and counted: pure, each disagreement in words.
//!
//! The station's totals are compared only when it heard nothing but this flight; the identities of
//! its ledger always.

mod stream;
mod values;

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{
    detection::Detection,
    station::{Heard, StationReport},
    stored::Stored,
    truth::{StreamKey, TrueStream, Truth},
    values::Values,
};
pub use stream::Stream;
use stream::{Hearing, check_reboots};
pub use values::Compared;

/// What may have happened between the satellites and the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing that the flight did not do itself.
    Faultless,
    /// Loss, repeats, disorder and damage, after each stream's first frame and before its last.
    Lossy,
}

/// All terms of a verification.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the flight was drawn from.
    pub seed: u64,
    /// Every stream of the flight, in the report's order.
    pub streams: Vec<Stream>,
    /// Terms about all of them.
    pub totals: Vec<Term>,
    /// What is worth knowing and disagrees with nothing.
    pub notes: Vec<String>,
    /// How well anomalies were found, when that was asked.
    pub detection: Option<Detection>,
}

/// One figure about all streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    /// What it counts.
    pub name: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether that is well.
    pub agrees: bool,
}

impl Comparison {
    /// Compares; times and values as far as the report has digests of them.
    pub fn new(
        truth: &Truth,
        stored: &Stored,
        values: Option<&Values>,
        station: Option<&StationReport>,
        link: Link,
    ) -> Self {
        let heard = station.map(heard_streams);
        let mut streams: Vec<Stream> = truth
            .streams
            .iter()
            .map(|stream| {
                let rows = stored.get(&stream.key).copied().unwrap_or_default();
                let hearing = match &heard {
                    None => Hearing::NotAsked,
                    Some(heard) => heard
                        .get(&stream.key)
                        .map_or(Hearing::Silence, |&heard| Hearing::Heard(heard)),
                };
                let slices = values.and_then(|values| values.get(&stream.key));
                Stream::new(stream, rows, slices, hearing, link)
            })
            .collect();
        if heard.is_some() {
            check_reboots(&mut streams);
        }
        let mut comparison = Self {
            seed: truth.seed,
            streams,
            totals: sums(truth),
            notes: Vec::new(),
            detection: None,
        };
        let known: HashSet<&StreamKey> = truth.streams.iter().map(|stream| &stream.key).collect();
        let others = stored.iter().filter(|(key, _)| !known.contains(key));
        let (others, rows) = others.fold((0, 0), |(n, sum), (_, r)| (n + 1, sum + r.rows));
        if others > 0 {
            comparison.notes.push(format!(
                "{rows} rows of {others} streams that are not this flight's were left out"
            ));
        }
        comparison.say_what_was_compared(truth);
        if let Some(station) = station {
            comparison.ledger(truth, station, &known, link);
        }
        comparison
    }

    /// Whether every term agrees.
    pub fn agrees(&self) -> bool {
        self.totals.iter().all(|term| term.agrees) && self.disagreeing().next().is_none()
    }

    /// Streams of which something disagrees.
    pub fn disagreeing(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| !stream.findings.is_empty())
    }

    /// Says of how many rows times and values were compared, and names the streams that have others.
    fn say_what_was_compared(&mut self, truth: &Truth) {
        if !truth.has_digests() {
            let note = "times and values are not compared: the report has no digests of this form";
            self.notes.push(note.into());
            return;
        }
        let compared: Vec<_> =
            self.streams.iter().filter_map(|stream| Some((stream, stream.compared?))).collect();
        let rows: u64 = compared.iter().map(|(_, compared)| compared.rows).sum();
        let mut notes = vec![format!("times and values of {rows} rows were compared")];
        let left_out: Vec<_> =
            compared.iter().filter(|(_, compared)| compared.slices_left_out > 0).collect();
        for (stream, compared) in left_out.iter().take(LEFT_OUT_SHOWN_MAX) {
            let StreamKey { satellite_id, apid, boot_count } = &stream.truth.key;
            let slices = stream.truth.slices.0.len();
            notes.push(format!(
                "{satellite_id} apid {apid} boot {boot_count}: times and values of {} rows, in {} of \
                 {slices} slices, cannot be compared, since other rows of these were lost",
                compared.rows_left_out, compared.slices_left_out
            ));
        }
        if left_out.len() > LEFT_OUT_SHOWN_MAX {
            let others = &left_out[LEFT_OUT_SHOWN_MAX..];
            let rows: u64 = others.iter().map(|(_, compared)| compared.rows_left_out).sum();
            let streams = others.len();
            notes.push(format!("and {rows} rows of {streams} streams more for the same reason"));
        }
        self.notes.extend(notes);
    }

    fn ledger(
        &mut self,
        truth: &Truth,
        station: &StationReport,
        known: &HashSet<&StreamKey>,
        link: Link,
    ) {
        self.totals.extend([
            equal("frames without a place", 0, station.frames_residual()),
            equal("samples without a place", 0, station.samples_residual()),
        ]);
        let is_alone = station.json == 0
            && station.recovered == 0
            && station.streams.iter().all(|stream| known.contains(&stream.key));
        if !is_alone {
            let note = "the station heard more than this flight: its totals are not compared";
            self.notes.push(note.into());
            return;
        }
        let rows: u64 = self.streams.iter().map(|stream| stream.rows.rows).sum();
        let lost: i64 = self.streams.iter().filter_map(|s| s.heard).map(|heard| heard.lost()).sum();
        let repeats: u64 = self.streams.iter().filter_map(|s| s.heard).map(|h| h.duplicate).sum();
        self.totals.extend([
            equal("committed", rows, station.committed),
            equal("lost", lost, station.lost),
            equal("duplicate", repeats, station.duplicate),
            equal("queue_dropped", 0, station.queue_dropped),
            equal("quarantined", 0, station.quarantined),
            equal("quarantine_dropped", 0, station.quarantine_dropped),
            equal("pending", 0, station.pending),
        ]);
        match link {
            Link::Faultless => {
                self.totals.push(equal("kernel_dropped", 0, station.kernel_dropped));
                self.totals.push(damage(truth, station.damaged()));
            }
            Link::Lossy => self.notes.push(format!(
                "{lost} frames were lost, of which satsim dropped or damaged {}; the kernel dropped \
                 {} datagrams",
                truth.faults.gone(),
                station.kernel_dropped
            )),
        }
        let otherwise = station.rejected_total() - station.damaged();
        if otherwise > 0 {
            self.notes.push(format!("{otherwise} frames were refused that were not damaged"));
        }
    }
}

fn heard_streams(station: &StationReport) -> HashMap<StreamKey, Heard> {
    let mut streams: HashMap<StreamKey, Heard> = HashMap::new();
    for stream in &station.streams {
        streams.entry(stream.key.clone()).or_default().add(&stream.heard);
    }
    streams
}

/// Whether the flight's report agrees with itself.
fn sums(truth: &Truth) -> Vec<Term> {
    let sum = |count: fn(&TrueStream) -> u64| -> u64 { truth.streams.iter().map(count).sum() };
    let faults = &truth.faults;
    let sent =
        i128::from(truth.generated) - i128::from(faults.dropped) + i128::from(faults.duplicated);
    vec![
        equal("generated", sum(|stream| stream.generated), truth.generated),
        equal("sent", sent, truth.sent),
        equal("dropped or damaged", sum(|stream| stream.faults.gone()), faults.gone()),
    ]
}

/// Damaged neighbours merge into one stretch, so there may be fewer; alone in its datagram none has
/// a neighbour.
fn damage(truth: &Truth, found: u64) -> Term {
    let damaged = truth.faults.damaged();
    if truth.frames_per_datagram == Some(1) {
        return equal("refused as damaged", damaged, found);
    }
    Term {
        name: "refused as damaged".into(),
        expected: format!("at most {damaged}"),
        found: found.to_string(),
        agrees: found <= damaged && (found > 0 || damaged == 0),
    }
}

fn equal(name: &str, expected: impl Into<i128>, found: impl Into<i128>) -> Term {
    let (expected, found) = (expected.into(), found.into());
    Term {
        name: name.into(),
        expected: expected.to_string(),
        found: found.to_string(),
        agrees: expected == found,
    }
}

/// More streams than a screen has lines for are only counted.
const LEFT_OUT_SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::stored::Rows;

    const TRUTH: &str = r#"{
        "seed": 7, "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z",
        "generated": 110, "sent": 106, "frames_per_datagram": 1, "anomalies": [],
        "faults": {"dropped": 6, "corrupted": 3, "truncated": 1, "duplicated": 2, "reordered": 4},
        "streams": [
            {"satellite_id": "SAT-01", "apid": 100, "boot_count": 5, "first": 0, "last": 99,
             "generated": 100, "dropped": 6, "corrupted": 3, "truncated": 1, "duplicated": 2,
             "reordered": 4},
            {"satellite_id": "SAT-01", "apid": 101, "boot_count": 5, "first": 0, "last": 9,
             "generated": 10, "dropped": 0, "corrupted": 0, "truncated": 0, "duplicated": 0,
             "reordered": 0}]}"#;

    const STATION: &str = r#"{
        "frames": 106, "idle": 0, "rejected": {"too_short": 1, "crc_mismatch": 3},
        "accepted": 100, "json": 0, "recovered": 0, "duplicate": 2, "stale": 0, "missed": 13,
        "late": 3, "lost": 10, "resets": 0, "kernel_dropped": 0, "queue_dropped": 0,
        "quarantined": 0, "quarantine_dropped": 0, "committed": 100, "pending": 0, "streams": [
            {"satellite_id": "SAT-01", "apid": 100, "boot_count": 5, "accepted": 90, "missed": 13,
             "late": 3, "duplicate": 2, "stale": 0, "resets": 0},
            {"satellite_id": "SAT-01", "apid": 101, "boot_count": 5, "accepted": 10, "missed": 0,
             "late": 0, "duplicate": 0, "stale": 0, "resets": 0}]}"#;

    fn stored(truth: &Truth) -> Stored {
        let rows = |stream: &TrueStream| Rows {
            rows: stream.rows().unwrap(),
            sequences: stream.rows().unwrap(),
            first: stream.first,
            last: stream.last,
        };
        truth.streams.iter().map(|stream| (stream.key.clone(), rows(stream))).collect()
    }

    /// All that disagrees after a change to one of the three sides.
    fn wrong(
        change: impl FnOnce(&mut Truth, &mut Stored, &mut StationReport),
        link: Link,
    ) -> Vec<String> {
        let mut truth: Truth = serde_json::from_str(TRUTH).unwrap();
        let mut station: StationReport = serde_json::from_str(STATION).unwrap();
        let mut rows = stored(&truth);
        change(&mut truth, &mut rows, &mut station);
        let comparison = Comparison::new(&truth, &rows, None, Some(&station), link);
        let streams = comparison.disagreeing().flat_map(|stream| {
            let apid = stream.truth.key.apid;
            stream.findings.iter().map(move |finding| format!("{apid}: {finding}"))
        });
        let totals = comparison.totals.iter().filter(|term| !term.agrees);
        let wrong = streams.chain(totals.map(|term| term.name.clone())).collect();
        assert_eq!(comparison.agrees(), Vec::is_empty(&wrong));
        wrong
    }

    fn rows_of(stored: &mut Stored, apid: u16) -> &mut Rows {
        stored.iter_mut().find(|(key, _)| key.apid == apid).unwrap().1
    }

    #[test]
    fn agreement_has_no_findings() {
        assert_eq!(wrong(|_, _, _| {}, Link::Faultless), [""; 0]);
        assert_eq!(wrong(|_, _, _| {}, Link::Lossy), [""; 0]);
    }

    #[test]
    fn every_row_counts_once() {
        let missing = |_: &mut Truth, stored: &mut Stored, _: &mut StationReport| {
            let rows = rows_of(stored, 100);
            (rows.rows, rows.sequences) = (89, 89);
        };
        assert_eq!(wrong(missing, Link::Faultless), ["100: 1 missing", "committed"]);
        assert_eq!(wrong(missing, Link::Lossy), ["100: 1 missing", "committed"]);
        let both = |_: &mut Truth, stored: &mut Stored, _: &mut StationReport| {
            rows_of(stored, 100).sequences = 89;
        };
        let twice = "100: 1 stored twice";
        assert_eq!(wrong(both, Link::Faultless), [twice, "100: 1 missing"]);
        let ends = |_: &mut Truth, stored: &mut Stored, _: &mut StationReport| {
            rows_of(stored, 101).last = 8;
        };
        assert_eq!(wrong(ends, Link::Faultless), ["101: sequences 0 to 8 instead of 0 to 9"]);
    }

    #[test]
    fn every_count_of_a_stream_is_looked_at() {
        type Change = fn(&mut Heard);
        let cases: [(Change, &str); 6] = [
            (|heard| heard.accepted += 1, "100: accepted 91 instead of 90"),
            (|heard| heard.missed += 1, "100: lost 11 instead of 10"),
            (|heard| heard.duplicate += 1, "100: duplicate 3 instead of 2"),
            (|heard| heard.stale += 1, "100: stale 1 instead of 0"),
            (|heard| heard.resets += 2, "100: resets 2"),
            (
                |heard| {
                    heard.late += 2;
                    heard.missed += 2;
                },
                "100: late 5, but only 4 reordered",
            ),
        ];
        for (change, expected) in cases {
            let found =
                wrong(|_, _, station| change(&mut station.streams[0].heard), Link::Faultless);
            assert_eq!(found.first().map(String::as_str), Some(expected), "{found:?}");
        }
        let unheard = wrong(|_, _, station| drop(station.streams.pop()), Link::Faultless);
        assert_eq!(unheard, ["101: the station never heard it"]);
    }

    #[test]
    fn every_total_is_looked_at() {
        type Change = fn(&mut Truth, &mut StationReport);
        let cases: [(Change, &[&str]); 9] = [
            (|_, station| station.frames += 1, &["frames without a place"]),
            (|_, station| station.pending += 1, &["samples without a place", "pending"]),
            (|_, station| station.kernel_dropped += 1, &["kernel_dropped"]),
            (|_, station| station.lost += 1, &["lost"]),
            (
                |_, station| {
                    station.frames -= 1;
                    *station.rejected.get_mut("crc_mismatch").unwrap() -= 1;
                },
                &["refused as damaged"],
            ),
            (
                |truth, station| {
                    station.frames -= 1;
                    *station.rejected.get_mut("crc_mismatch").unwrap() -= 1;
                    truth.frames_per_datagram = Some(7);
                },
                &[],
            ),
            (|truth, _| truth.generated += 1, &["generated", "sent"]),
            (|truth, _| truth.sent += 1, &["sent"]),
            (
                // What else it heard may have caused this.
                |_, station| {
                    station.json += 1;
                    station.quarantined += 1;
                },
                &[],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(wrong(|truth, _, s| change(truth, s), Link::Faultless), expected);
        }
    }

    #[test]
    fn a_lossy_link_must_be_accounted_for_to_the_frame() {
        let lose = |rows: u64| {
            move |_: &mut Truth, stored: &mut Stored, station: &mut StationReport| {
                station.streams[0].heard.accepted -= 5;
                station.streams[0].heard.missed += rows;
                (station.lost, station.accepted) = (10 + rows, 95);
                (station.frames, station.committed) = (101, 95);
                let stored = rows_of(stored, 100);
                (stored.rows, stored.sequences) = (85, 85);
            }
        };
        assert_eq!(wrong(lose(5), Link::Lossy), [""; 0]);
        assert!(!wrong(lose(5), Link::Faultless).is_empty());
        let unnoticed = "100: accepted 85 and lost 14 do not make the 100 that were generated";
        assert_eq!(wrong(lose(4), Link::Lossy), [unnoticed]);
    }

    #[test]
    fn another_boot_of_a_stream_followed_a_reboot() {
        let rebooted = |resets: u64| {
            wrong(
                |truth, stored, station| {
                    let mut stream = truth.streams[1].clone();
                    stream.key.boot_count = 6;
                    stored.insert(stream.key.clone(), stored[&truth.streams[1].key]);
                    let mut heard = station.streams[1].clone();
                    heard.key.boot_count = 6;
                    heard.heard.resets = resets;
                    (truth.generated, truth.sent) = (120, 116);
                    truth.streams.push(stream);
                    station.streams.push(heard);
                    (station.frames, station.accepted, station.committed) = (116, 110, 110);
                },
                Link::Faultless,
            )
        };
        assert_eq!(rebooted(1), [""; 0]);
        assert_eq!(rebooted(0), ["101: resets 0"]);
    }
}
