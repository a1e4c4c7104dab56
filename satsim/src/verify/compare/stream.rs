//! One stream: what was sent of it beside what was stored and counted.

use std::collections::HashMap;

use super::{
    Link,
    values::{self, Compared},
};
use crate::{
    digest::Slices,
    verify::{station::Heard, stored::Rows, truth::TrueStream},
};

/// One stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What was sent.
    pub truth: TrueStream,
    /// What is stored.
    pub rows: Rows,
    /// What the station counted, if its report was given and knows the stream.
    pub heard: Option<Heard>,
    /// How many times and values were compared, if the report has digests.
    pub compared: Option<Compared>,
    /// What disagrees; nothing when all is well.
    pub findings: Vec<String>,
}

/// What the station says of a stream.
#[derive(Clone, Copy)]
pub(super) enum Hearing {
    /// Its report was not given.
    NotAsked,
    /// Nothing.
    Silence,
    Heard(Heard),
}

impl Stream {
    pub(super) fn new(
        truth: &TrueStream,
        rows: Rows,
        slices: Option<&Slices>,
        hearing: Hearing,
        link: Link,
    ) -> Self {
        let mut stream =
            Self { truth: truth.clone(), rows, heard: None, compared: None, findings: Vec::new() };
        let findings = &mut stream.findings;
        let Some(all) = truth.rows() else {
            findings.push("the report says that more was dropped than made".into());
            return stream;
        };
        let mut expected = all;
        match hearing {
            Hearing::NotAsked => {}
            Hearing::Silence => findings.push("the station never heard it".into()),
            Hearing::Heard(heard) => {
                stream.heard = Some(heard);
                match link {
                    Link::Faultless => exact(truth, all, &heard, findings),
                    Link::Lossy => {
                        expected = heard.accepted;
                        accounted(truth, &heard, findings);
                    }
                }
            }
        }
        kept(truth, expected, &rows, findings);
        stream.compared =
            slices.map(|stored| values::compare(&truth.slices, stored, link, findings));
        stream
    }

    /// Rows that should be there, when nothing but the flight took any away.
    pub fn expected(&self) -> u64 {
        self.truth.rows().unwrap_or_default()
    }
}

/// The database's side.
fn kept(truth: &TrueStream, expected: u64, rows: &Rows, findings: &mut Vec<String>) {
    let twice = rows.rows - rows.sequences;
    if twice > 0 {
        findings.push(format!("{twice} stored twice"));
    }
    match expected.cast_signed() - rows.sequences.cast_signed() {
        0 => {}
        missing @ 1.. => findings.push(format!("{missing} missing")),
        surplus => findings.push(format!("{} too many", -surplus)),
    }
    if rows.rows > 0 && (rows.first, rows.last) != (truth.first, truth.last) {
        findings.push(format!(
            "sequences {} to {} instead of {} to {}",
            rows.first, rows.last, truth.first, truth.last
        ));
    }
}

/// The station's side, when only the flight's own faults can have happened.
fn exact(truth: &TrueStream, expected: u64, heard: &Heard, findings: &mut Vec<String>) {
    let faults = &truth.faults;
    let mut equal = |name: &str, expected: i64, found: i64| {
        if expected != found {
            findings.push(format!("{name} {found} instead of {expected}"));
        }
    };
    equal("accepted", expected.cast_signed(), heard.accepted.cast_signed());
    equal("lost", faults.gone().cast_signed(), heard.lost());
    equal("duplicate", faults.duplicated.cast_signed(), heard.duplicate.cast_signed());
    equal("stale", 0, heard.stale.cast_signed());
    if heard.late > faults.reordered {
        findings.push(format!("late {}, but only {} reordered", heard.late, faults.reordered));
    }
}

/// The station's side, when frames were lost on their way as well.
fn accounted(truth: &TrueStream, heard: &Heard, findings: &mut Vec<String>) {
    let lost = heard.lost();
    if heard.accepted.cast_signed() + lost != truth.generated.cast_signed() {
        findings.push(format!(
            "accepted {} and lost {lost} do not make the {} that were generated",
            heard.accepted, truth.generated
        ));
    }
    if lost < truth.faults.gone().cast_signed() {
        findings.push(format!("lost {lost}, but satsim took away {}", truth.faults.gone()));
    }
}

/// A stream's boots but one each followed another; the first may have followed an earlier flight's. A
/// station believes in a reboot when it has heard three frames.
pub(super) fn check_reboots(streams: &mut [Stream]) {
    let mut firsts: HashMap<(String, u16), u32> = HashMap::new();
    for stream in streams {
        let Some(heard) = stream.heard else {
            continue;
        };
        let key = (stream.truth.key.satellite_id.clone(), stream.truth.key.apid);
        let firsts = firsts.entry(key).or_default();
        *firsts += u32::from(heard.resets == 0 && heard.accepted >= REBOOT_FRAMES);
        if heard.resets > 1 || *firsts > 1 {
            stream.findings.push(format!("resets {}", heard.resets));
        }
    }
}

/// Frames of another boot count that make a reboot.
const REBOOT_FRAMES: u64 = 3;
