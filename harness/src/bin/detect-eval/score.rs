//! How well events match labels, by their onsets.
//!
//! An event is right if it opened within [`ONSET_ROWS`] of the first row of a labelled stretch and
//! was decided within [`DECIDED_ROWS`] of it. A stretch that several events match is found once, and
//! none of them is wrong. Every other event is a false alarm, wherever it lies.

use receiver::detect::{Event, Sample};
use serde::Serialize;

use crate::recording::Recording;

/// The count of one or many series.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Score {
    pub(crate) series: u64,
    pub(crate) rows: u64,
    /// Rows that are labelled well, after the warm-up.
    pub(crate) nominal_rows: u64,
    /// Labelled stretches after the warm-up, and those that were found.
    pub(crate) labelled: u64,
    pub(crate) found: u64,
    /// Events, and those that match nothing.
    pub(crate) events: u64,
    pub(crate) false_alarms: u64,
    /// Rows from a stretch's first to the decision, of those found.
    #[serde(skip)]
    pub(crate) delays: Vec<u64>,
    /// Time spent in the detectors.
    #[serde(skip)]
    pub(crate) spent_ns: u128,
}

/// Where one event lies, for people.
pub(crate) struct Judged {
    pub(crate) row: usize,
    pub(crate) is_right: bool,
}

/// Labelled stretches: first and last row.
pub(crate) fn stretches(is_anomaly: &[bool]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for (row, _) in is_anomaly.iter().enumerate().filter(|(_, is)| **is) {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => stretches.push((row, row)),
        }
    }
    stretches
}

/// Scores the events of a recording.
pub(crate) fn score(recording: &Recording, events: &[Event]) -> (Score, Vec<Judged>) {
    let row_of = |time_us: i64| row_of(&recording.samples, time_us);
    let stretches = stretches(&recording.is_anomaly);
    let mut found: Vec<Option<usize>> = vec![None; stretches.len()];
    let mut judged = Vec::new();
    for event in events {
        let (opened, decided) = (row_of(event.opened_us), row_of(event.detected_us));
        let right = stretches.iter().position(|&(first, _)| {
            opened.abs_diff(first) <= ONSET_ROWS && decided <= first + DECIDED_ROWS
        });
        if let Some(place) = right {
            let delay = decided.saturating_sub(stretches[place].0);
            found[place] = Some(found[place].map_or(delay, |other| other.min(delay)));
        }
        judged.push(Judged { row: opened, is_right: right.is_some() });
    }
    let counted = |place: &usize| stretches[*place].0 >= recording.warmup_rows;
    let nominal = recording.is_anomaly.iter().skip(recording.warmup_rows).filter(|is| !**is);
    let places = || (0..stretches.len()).filter(counted);
    let score = Score {
        series: 1,
        rows: recording.samples.len() as u64,
        nominal_rows: nominal.count() as u64,
        labelled: places().count() as u64,
        found: places().filter(|place| found[*place].is_some()).count() as u64,
        events: judged.len() as u64,
        false_alarms: judged.iter().filter(|event| !event.is_right).count() as u64,
        delays: places().filter_map(|place| found[place]).map(|delay| delay as u64).collect(),
        spent_ns: 0,
    };
    (score, judged)
}

impl Score {
    /// Adds another.
    pub(crate) fn add(&mut self, other: Self) {
        self.series += other.series;
        self.rows += other.rows;
        self.nominal_rows += other.nominal_rows;
        self.labelled += other.labelled;
        self.found += other.found;
        self.events += other.events;
        self.false_alarms += other.false_alarms;
        self.delays.extend(other.delays);
        self.spent_ns += other.spent_ns;
    }

    /// Found stretches among those and the false alarms; none without any.
    pub(crate) fn precision(&self) -> Option<f64> {
        ratio(self.found, self.found + self.false_alarms)
    }

    pub(crate) fn recall(&self) -> Option<f64> {
        ratio(self.found, self.labelled)
    }

    pub(crate) fn f1(&self) -> Option<f64> {
        ratio(2 * self.found, self.labelled + self.found + self.false_alarms)
    }

    /// False alarms per 10,000 nominal rows.
    pub(crate) fn false_per_10k(&self) -> Option<f64> {
        ratio(self.false_alarms * 10_000, self.nominal_rows)
    }

    pub(crate) fn median_delay(&self) -> Option<u64> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays.get(delays.len() / 2).copied()
    }

    pub(crate) fn ns_per_value(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.spent_ns as f64 / self.rows as f64)
    }
}

/// The last row that is not after `time_us`.
fn row_of(samples: &[Sample], time_us: i64) -> usize {
    // Not sorted for certain: a recording may hold late rows.
    let exact = samples.iter().position(|sample| sample.time_us == time_us);
    exact.unwrap_or_else(|| samples.partition_point(|s| s.time_us <= time_us).saturating_sub(1))
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// An onset may be seen so many rows early or late.
pub(crate) const ONSET_ROWS: usize = 20;
/// A decision may take so many rows.
pub(crate) const DECIDED_ROWS: usize = 60;
