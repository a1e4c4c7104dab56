//! What was run and how it went, for people.

use std::fmt::Write as _;
use std::time::Duration;

use super::range::Outcome;

/// Outcomes so far.
#[derive(Debug, Default)]
pub struct Scoreboard {
    outcomes: Vec<Outcome>,
}

impl Scoreboard {
    /// Adds an outcome and gives back one line about it.
    pub fn add(&mut self, outcome: Outcome) -> String {
        let line = format!(
            "{:<7}{:>5.1} s  {}, seed {}",
            verdict(&outcome),
            outcome.duration.as_secs_f64(),
            outcome.case,
            outcome.seed
        );
        self.outcomes.push(outcome);
        line
    }

    /// Whether there was something, and all of it went well.
    pub fn is_clean(&self) -> bool {
        !self.outcomes.is_empty() && self.failed().next().is_none()
    }

    /// The table, and below it what was wrong.
    pub fn page(&self) -> String {
        let mut page = format!(
            "{:<23}{:>6}{:>5}  {:<38}{:>5}{:>10}{:>10}{:>8}{:>8}{:>10}{:>8}  {}\n",
            "satsim's fault",
            "sats",
            "f/d",
            "way",
            "seed",
            "generated",
            "stored",
            "lost",
            "late",
            "duplicate",
            "damaged",
            "verify"
        );
        for outcome in &self.outcomes {
            page.push_str(&row(outcome));
        }
        let took: Duration = self.outcomes.iter().map(|outcome| outcome.duration).sum();
        let failed = self.failed().count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "{} cases in {} s, {failed} failed",
            self.outcomes.len(),
            took.as_secs()
        );
        for outcome in self.failed() {
            let why = outcome.failure.as_deref().unwrap_or_default();
            let _ = writeln!(page, "\nFAILED {}, seed {}:\n{why}", outcome.case, outcome.seed);
        }
        page
    }

    fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.failure.is_some())
    }
}

fn row(outcome: &Outcome) -> String {
    let case = &outcome.case;
    let mut row = format!(
        "{:<23}{:>6}{:>5}  {:<38}{:>5}",
        case.fault.to_string(),
        case.satellites,
        case.frames_per_datagram,
        case.way.to_string(),
        outcome.seed,
    );
    let counters = outcome.counters.as_ref();
    let figures = [
        (10, outcome.truth.as_ref().map(|truth| truth.generated)),
        (10, counters.map(|counters| counters.committed)),
        (8, counters.map(|counters| counters.lost)),
        (8, counters.map(|counters| counters.late)),
        (10, counters.map(|counters| counters.duplicate)),
        (8, counters.map(super::super::Counters::corrupt)),
    ];
    for (width, figure) in figures {
        let text = figure.map_or_else(|| "-".into(), |figure| figure.to_string());
        let _ = write!(row, "{text:>width$}");
    }
    row + "  " + verdict(outcome) + "\n"
}

fn verdict(outcome: &Outcome) -> &'static str {
    if outcome.failure.is_none() { "ok" } else { "FAILED" }
}
