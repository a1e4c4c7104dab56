//! Whether what is stored is what was sent: pure, frame by frame.
//!
//! A frame that went to a station must be stored once. It may be missing only
//!
//! * if the station was killed after it came, no longer than [`Rules::loss_window`] after: the
//!   journal had not acknowledged it yet;
//! * if it lay in the end of a segment that was cut off, as many as can have lain there;
//! * if it lay in a record that was damaged, frame by frame;
//! * if the kernel dropped it while the station stood still, as many as the station has counted.
//!
//! What is missing because of a kill must be the end of what its stream had sent, without a frame
//! behind it that is stored: the journal is a row, not a sieve. And each stream's rows must have been
//! stored in the order of its counter.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::tap::{Passage, Stream};

/// A row, in the order in which rows were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub stream: Stream,
    /// Its full counter.
    pub sequence: u32,
}

/// A station that was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// When; just before.
    pub at: Instant,
    /// From when on nothing was sent to it.
    pub shut: Instant,
    /// What was cut off its journal then.
    pub torn_octets: u64,
    /// The frames of the records that were damaged then, one by one.
    pub damaged: HashSet<(Stream, u32)>,
}

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long before a kill a frame may have been sent and yet be lost.
    pub loss_window: Duration,
    /// Octets that one record of the journal has at most: with its last octet all of it is lost.
    pub record_octets_max: u64,
    /// Datagrams that the kernel dropped, as the station has counted.
    pub kernel_dropped: u64,
    /// Frames in each of them.
    pub frames_per_datagram: u16,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Frames that went to a station that was there.
    pub sent: u64,
    /// Frames that were held back, since it was not.
    pub held_back: u64,
    /// Rows.
    pub rows: u64,
    /// Rows that were there already.
    pub doubled: u64,
    /// Rows that nobody has sent.
    pub unknown: u64,
    /// Rows that were stored after a later one of their stream.
    pub out_of_order: u64,
    /// Frames that are missing because the station was killed before they were safe.
    pub unacknowledged: u64,
    /// How long before a kill the first of those was sent.
    pub loss_window: Duration,
    /// Frames that are missing with the end of a segment.
    pub torn: u64,
    /// Frames that are missing with a record that was damaged.
    pub damaged: u64,
    /// Frames that somebody forged, which are no part of all others.
    pub forged_sent: u64,
    /// Rows of these.
    pub forged_rows: u64,
    /// Frames that the kernel dropped.
    pub kernel_dropped: u64,
    /// Frames that are missing for no good reason.
    pub lost: u64,
    /// Streams that miss a frame because of a kill, and have one behind it.
    pub holes: u64,
    /// What was wrong, in words, for the first few.
    pub wrong: Vec<String>,
}

/// Compares.
pub fn judge(passages: &[Passage], rows: &[Row], downs: &[Down], rules: &Rules) -> Findings {
    let mut findings = Findings { rows: rows.len() as u64, ..Findings::default() };
    // By frame, when it was sent last, and whether only once.
    let mut sent: HashMap<(Stream, u32), (Instant, bool)> = HashMap::new();
    let mut held_back = 0;
    for passage in passages {
        match passage.sent {
            None => held_back += 1,
            Some(at) => {
                let entry = sent.entry((passage.stream, passage.sequence));
                entry.and_modify(|known| *known = (at, false)).or_insert((at, true));
            }
        }
    }
    (findings.sent, findings.held_back) = (sent.len() as u64, held_back);
    let stored = findings.look_at_rows(rows, &sent);
    findings.look_for_missing(&sent, &stored, downs, rules);
    findings
}

impl Findings {
    /// What is wrong, a line each; nothing when all is well.
    pub fn violations(&self) -> Vec<String> {
        let counts = [
            (self.doubled, "rows are doubled"),
            (self.unknown, "rows were never sent"),
            (self.out_of_order, "rows are out of order within their satellite"),
            (self.lost, "frames are lost that should have been kept"),
            (self.holes, "streams have lost a frame and kept a later one"),
        ];
        let wrong = counts.into_iter().filter(|(count, _)| *count > 0);
        let mut lines: Vec<_> = wrong.map(|(count, what)| format!("{count} {what}")).collect();
        lines.extend(self.wrong.iter().cloned());
        lines
    }

    fn look_at_rows(
        &mut self,
        rows: &[Row],
        sent: &HashMap<(Stream, u32), (Instant, bool)>,
    ) -> HashSet<(Stream, u32)> {
        let mut stored = HashSet::with_capacity(rows.len());
        let mut last: HashMap<Stream, u32> = HashMap::new();
        for &Row { stream, sequence } in rows {
            if !sent.contains_key(&(stream, sequence)) {
                self.unknown += 1;
                self.tell(format!("{} was never sent", name(stream, sequence)));
            }
            if !stored.insert((stream, sequence)) {
                self.doubled += 1;
                self.tell(format!("{} is stored twice", name(stream, sequence)));
                continue;
            }
            let newest = last.entry(stream).or_insert(sequence);
            if sequence < *newest {
                self.out_of_order += 1;
                let newest = *newest;
                self.tell(format!("{} was stored after {newest}", name(stream, sequence)));
            }
            *newest = sequence.max(*newest);
        }
        stored
    }

    fn look_for_missing(
        &mut self,
        sent: &HashMap<(Stream, u32), (Instant, bool)>,
        stored: &HashSet<(Stream, u32)>,
        downs: &[Down],
        rules: &Rules,
    ) {
        // In which life of the station a frame came: how many kills there were before.
        let life = |at: Instant| downs.iter().take_while(|down| down.shut < at).count();
        let mut missing: Vec<_> = sent
            .iter()
            .filter(|(frame, _)| !stored.contains(frame))
            .map(|(&(stream, sequence), &(at, _))| (at, stream, sequence))
            .collect();
        missing.sort();
        let mut kernel_left = rules.kernel_dropped * u64::from(rules.frames_per_datagram);
        let mut torn_left: Vec<u64> = downs
            .iter()
            .map(|down| match down.torn_octets {
                0 => 0,
                octets => (octets + rules.record_octets_max) / FRAME_OCTETS_MIN,
            })
            .collect();
        let mut first_missing: HashMap<(usize, Stream), u32> = HashMap::new();
        // The latest first: those nearest to the kill are what the torn end held.
        for &(at, stream, sequence) in missing.iter().rev() {
            if downs.iter().any(|down| down.damaged.contains(&(stream, sequence))) {
                self.damaged += 1;
                continue;
            }
            let number = life(at);
            let Some(down) = downs.get(number) else {
                if kernel_left > 0 {
                    kernel_left -= 1;
                    self.kernel_dropped += 1;
                } else {
                    self.lose(stream, sequence, "the station was not killed after it");
                }
                continue;
            };
            let before = down.at.saturating_duration_since(at);
            let first = first_missing.entry((number, stream)).or_insert(sequence);
            *first = sequence.min(*first);
            if before <= rules.loss_window {
                self.unacknowledged += 1;
                // With a torn end it would not be the kill alone that is measured.
                if down.torn_octets == 0 {
                    self.loss_window = self.loss_window.max(before);
                }
            } else if torn_left[number] > 0 {
                torn_left[number] -= 1;
                self.torn += 1;
            } else {
                self.loss_window = self.loss_window.max(before);
                let why = format!("it was sent {} ms before the kill", before.as_millis());
                self.lose(stream, sequence, &why);
            }
        }
        if rules.kernel_dropped > 0 {
            return;
        }
        let mut holed = HashSet::new();
        for (&(stream, sequence), &(at, is_once)) in sent {
            let number = life(at);
            let is_behind = first_missing.get(&(number, stream)).is_some_and(|&f| f < sequence);
            // Of what was sent again it is not known when it came.
            if is_behind && is_once && stored.contains(&(stream, sequence)) {
                holed.insert((number, stream));
            }
        }
        self.holes = holed.len() as u64;
    }

    fn lose(&mut self, stream: Stream, sequence: u32, why: &str) {
        self.lost += 1;
        self.tell(format!("{} is missing: {why}", name(stream, sequence)));
    }

    fn tell(&mut self, what: String) {
        if self.wrong.len() < WRONG_TOLD {
            self.wrong.push(what);
        }
    }
}

fn name(stream: Stream, sequence: u32) -> String {
    let Stream { spacecraft, apid, boot_count } = stream;
    format!("SAT-{spacecraft:02} {apid} boot {boot_count} sequence {sequence}")
}

/// The shortest frame; a record of the journal holds it and more.
const FRAME_OCTETS_MIN: u64 = 46;
/// How many are told in words.
const WRONG_TOLD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { spacecraft: 1, apid: 100, boot_count: 7 };
    const RULES: Rules = Rules {
        loss_window: Duration::from_millis(100),
        record_octets_max: 100,
        kernel_dropped: 0,
        frames_per_datagram: 1,
    };

    /// One frame each 10 ms; those from 50 to 59 were held back.
    fn passages(start: Instant) -> Vec<Passage> {
        (0..100)
            .map(|sequence| Passage {
                stream: STREAM,
                sequence,
                sent: (!(50..60).contains(&sequence)).then_some(start + ms(10 * sequence)),
            })
            .collect()
    }

    fn ms(milliseconds: u32) -> Duration {
        Duration::from_millis(milliseconds.into())
    }

    /// Killed at 495 ms, and nothing was sent from 499 ms on.
    fn down(start: Instant) -> Down {
        Down { at: start + ms(495), shut: start + ms(499), torn_octets: 0, damaged: HashSet::new() }
    }

    fn rows(sequences: impl IntoIterator<Item = u32>) -> Vec<Row> {
        sequences.into_iter().map(|sequence| Row { stream: STREAM, sequence }).collect()
    }

    #[test]
    fn all_that_was_sent_is_stored() {
        let start = Instant::now();
        let stored = rows((0..50).chain(60..100));
        let findings = judge(&passages(start), &stored, &[], &RULES);
        assert_eq!(findings.violations(), [""; 0]);
        assert_eq!((findings.sent, findings.held_back, findings.rows), (90, 10, 90));
    }

    #[test]
    fn doubled_strange_and_disordered_rows() {
        let start = Instant::now();
        let sequences = (0..50).chain(60..100).chain([7, 55]);
        let findings = judge(&passages(start), &rows(sequences), &[], &RULES);
        assert_eq!((findings.doubled, findings.unknown, findings.out_of_order), (1, 1, 1));
        let mut sequences: Vec<_> = (0..50).chain(60..100).collect();
        sequences.swap(20, 21);
        let findings = judge(&passages(start), &rows(sequences), &[], &RULES);
        assert_eq!((findings.out_of_order, findings.violations().len()), (1, 2));
    }

    #[test]
    fn a_kill_excuses_only_what_came_just_before_it() {
        let (start, downs) = (Instant::now(), [down(Instant::now())]);
        let stored = rows((0..45).chain(60..100));
        let findings = judge(&passages(start), &stored, &[down(start)], &RULES);
        assert_eq!(findings.violations(), [""; 0]);
        assert_eq!((findings.unacknowledged, findings.loss_window), (5, ms(45)));
        // Without a kill, and too long before one.
        assert_eq!(judge(&passages(start), &stored, &[], &RULES).lost, 5);
        let stored = rows((0..30).chain(60..100));
        let findings = judge(&passages(start), &stored, &[down(start)], &RULES);
        assert_eq!((findings.lost, findings.unacknowledged), (10, 10));
        assert_eq!(findings.loss_window, ms(195));
        // After it.
        let stored = rows((0..50).chain(61..100));
        assert_eq!(judge(&passages(start), &stored, &downs, &RULES).lost, 1);
    }

    #[test]
    fn what_is_lost_by_a_kill_is_the_end() {
        let start = Instant::now();
        let stored = rows((0..45).chain(46..50).chain(60..100));
        let findings = judge(&passages(start), &stored, &[down(start)], &RULES);
        assert_eq!((findings.holes, findings.lost, findings.unacknowledged), (1, 0, 1));
    }

    #[test]
    fn a_torn_end_excuses_what_it_held() {
        let start = Instant::now();
        // Ten frames: (360 + 100) / 46, besides those that were not acknowledged.
        let torn = Down { torn_octets: 360, ..down(start) };
        let stored = rows((0..30).chain(60..100));
        let findings = judge(&passages(start), &stored, std::slice::from_ref(&torn), &RULES);
        assert_eq!((findings.lost, findings.torn, findings.unacknowledged), (0, 10, 10));
        assert_eq!((findings.holes, findings.loss_window), (0, Duration::ZERO));
        let stored = rows((0..29).chain(60..100));
        assert_eq!(judge(&passages(start), &stored, &[torn], &RULES).lost, 1);
    }

    #[test]
    fn a_damaged_record_excuses_its_own_frames_and_no_neighbour() {
        let start = Instant::now();
        let damaged: HashSet<_> = (10..20).map(|sequence| (STREAM, sequence)).collect();
        let damaged = Down { damaged, ..down(start) };
        // What is behind it is there, and that is no hole.
        let stored = rows((0..10).chain(20..50).chain(60..100));
        let findings = judge(&passages(start), &stored, std::slice::from_ref(&damaged), &RULES);
        assert_eq!(findings.violations(), [""; 0]);
        assert_eq!((findings.damaged, findings.unacknowledged), (10, 0));
        let stored = rows((0..9).chain(21..50).chain(60..100));
        let findings = judge(&passages(start), &stored, &[damaged], &RULES);
        assert_eq!((findings.damaged, findings.lost), (10, 2));
    }

    #[test]
    fn what_the_kernel_dropped_is_counted() {
        let start = Instant::now();
        let stored = rows((0..20).chain(25..50).chain(60..100));
        let rules = Rules { kernel_dropped: 4, ..RULES };
        let findings = judge(&passages(start), &stored, &[], &rules);
        assert_eq!((findings.kernel_dropped, findings.lost), (4, 1));
    }

    #[test]
    fn what_was_repeated_after_a_kill_must_be_there() {
        let start = Instant::now();
        let mut passages = passages(start);
        passages.push(Passage { stream: STREAM, sequence: 48, sent: Some(start + ms(590)) });
        let stored = rows((0..48).chain(60..100));
        let findings = judge(&passages, &stored, &[down(start)], &RULES);
        assert_eq!((findings.lost, findings.unacknowledged), (1, 1));
        let stored = rows((0..47).chain([48]).chain(60..100));
        let findings = judge(&passages, &stored, &[down(start)], &RULES);
        assert_eq!((findings.lost, findings.unacknowledged, findings.holes), (0, 2, 0));
    }
}
