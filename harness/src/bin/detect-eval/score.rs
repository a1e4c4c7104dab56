//! How well events match labels, by their onsets.
//!
//! An event is right if it opened within [`ONSET_ROWS`] of the first row of a labelled stretch and
//! was decided within [`DECIDED_ROWS`] after it; of several stretches it is about the nearest. A
//! stretch that several events match is found once, and none of them is wrong. Every other event is a
//! false alarm, wherever it lies. Stretches that begin in the warm-up need not be found.

use receiver::detect::Event;
use serde::Serialize;

use crate::recording::{Recording, Row};

#[cfg(test)]
mod tests;

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
    /// Rows with a value, and time spent in the detectors on them.
    #[serde(skip)]
    pub(crate) values: u64,
    #[serde(skip)]
    pub(crate) spent_ns: u128,
}

/// Events and labelled stretches, each as it was judged.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) events: Vec<Judged>,
    pub(crate) stretches: Vec<Stretch>,
}

/// Where one event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The row that it opened with.
    pub(crate) row: usize,
    pub(crate) is_right: bool,
}

/// Rows in a row that are labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Rows from the first to the earliest decision; none while it was not found.
    pub(crate) delay: Option<usize>,
}

/// Scores the events of a recording.
pub(crate) fn score(recording: &Recording, events: &[Event]) -> (Score, Judgement) {
    let rows = RowsByTime::new(&recording.rows);
    let mut stretches = stretches(&recording.rows);
    let mut judged = Vec::new();
    for event in events {
        let (opened, decided) = (rows.first_at(event.opened_us), rows.last_at(event.detected_us));
        let right = stretches
            .iter_mut()
            .filter(|stretch| {
                opened.abs_diff(stretch.first) <= ONSET_ROWS
                    && decided <= stretch.first + DECIDED_ROWS
            })
            .min_by_key(|stretch| opened.abs_diff(stretch.first));
        judged.push(Judged { row: opened, is_right: right.is_some() });
        if let Some(stretch) = right {
            let delay = decided.saturating_sub(stretch.first);
            stretch.delay = Some(stretch.delay.map_or(delay, |other| other.min(delay)));
        }
    }
    let nominal = recording.rows.iter().skip(recording.warmup_rows).filter(|row| !row.is_anomaly);
    let counted = || stretches.iter().filter(|stretch| stretch.first >= recording.warmup_rows);
    let score = Score {
        series: 1,
        rows: recording.rows.len() as u64,
        nominal_rows: nominal.count() as u64,
        labelled: counted().count() as u64,
        found: counted().filter(|stretch| stretch.delay.is_some()).count() as u64,
        events: judged.len() as u64,
        false_alarms: judged.iter().filter(|event| !event.is_right).count() as u64,
        delays: counted().filter_map(|stretch| stretch.delay).map(|delay| delay as u64).collect(),
        values: recording.rows.iter().filter(|row| row.value.is_some()).count() as u64,
        spent_ns: 0,
    };
    (score, Judgement { events: judged, stretches })
}

fn stretches(rows: &[Row]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (row, _) in rows.iter().enumerate().filter(|(_, row)| row.is_anomaly) {
        match stretches.last_mut() {
            Some(stretch) if stretch.last + 1 == row => stretch.last = row,
            _ => stretches.push(Stretch { first: row, last: row, delay: None }),
        }
    }
    stretches
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
        self.values += other.values;
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
        (self.values > 0).then(|| self.spent_ns as f64 / self.values as f64)
    }
}

/// Rows by their times, which need not be in order nor differ.
struct RowsByTime(Vec<(i64, usize)>);

impl RowsByTime {
    fn new(rows: &[Row]) -> Self {
        let mut places: Vec<_> =
            rows.iter().enumerate().map(|(place, row)| (row.time_us, place)).collect();
        places.sort_unstable();
        Self(places)
    }

    /// The first row of this time.
    fn first_at(&self, time_us: i64) -> usize {
        let place = self.0.partition_point(|&(time, _)| time < time_us);
        self.0.get(place).or(self.0.last()).map_or(0, |&(_, row)| row)
    }

    /// The last row of this time.
    fn last_at(&self, time_us: i64) -> usize {
        let place = self.0.partition_point(|&(time, _)| time <= time_us);
        self.0.get(place.saturating_sub(1)).map_or(0, |&(_, row)| row)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// An onset may be seen so many rows early or late.
pub(crate) const ONSET_ROWS: usize = 20;
/// A decision may take so many rows.
pub(crate) const DECIDED_ROWS: usize = 60;
