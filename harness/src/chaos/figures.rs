//! How rounds went: a line for each, and all of them as figures.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Findings, Plan};
use crate::Counters;
use crate::proxy::Counts;

/// How a round went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was to happen.
    pub plan: Plan,
    /// How long it took.
    pub duration: Duration,
    /// Frames that the satellites sent.
    pub generated: u64,
    /// How long after the last of them the station had stored all.
    pub quiet: Duration,
    /// The last word of the station.
    pub counters: Option<Counters>,
    /// What the comparison came to.
    pub findings: Option<Findings>,
    /// What the proxy did.
    pub cuts: Counts,
    /// The most memory that a station has had resident, in MiB.
    pub memory_mib: f64,
    /// What was wrong; nothing when all was well.
    pub wrong: Vec<String>,
}

impl Outcome {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            duration: Duration::ZERO,
            generated: 0,
            quiet: Duration::ZERO,
            counters: None,
            findings: None,
            cuts: Counts::default(),
            memory_mib: 0.0,
            wrong: Vec::new(),
        }
    }

    /// Whether all was well.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let verdict = if self.is_clean() { "ok" } else { "FAILED" };
        let mut line = format!(
            "{verdict:<7}{:>5.1} s  seed {}  {}",
            self.duration.as_secs_f64(),
            self.plan.seed,
            self.plan
        );
        if let Some(found) = &self.findings {
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                ": {} sent, {} stored, {} doubled, {} lost",
                found.sent, found.rows, found.doubled, found.lost
            );
            if found.unacknowledged > 0 {
                let ms = found.loss_window.as_secs_f64() * 1e3;
                let _ = write!(line, ", {} not safe yet in {ms:.1} ms", found.unacknowledged);
            }
            if found.torn > 0 {
                let _ = write!(line, ", {} torn off", found.torn);
            }
            if found.damaged > 0 {
                let _ = write!(line, ", {} in damaged records", found.damaged);
            }
            if found.forged_sent > 0 {
                let (sent, rows) = (found.forged_sent, found.forged_rows);
                let _ = write!(line, ", {rows} of {sent} forged stored");
            }
            if found.kernel_dropped > 0 {
                let _ = write!(line, ", {} dropped by the kernel", found.kernel_dropped);
            }
        }
        let quiet = self.quiet.as_secs_f64();
        let _ = write!(line, "; quiet after {quiet:.1} s, {:.0} MiB", self.memory_mib);
        line
    }

    fn figures(&self) -> Value {
        let found = self.findings.clone().unwrap_or_default();
        let counter = |count: fn(&Counters) -> u64| self.counters.as_ref().map(count);
        json!({
            "seed": self.plan.seed,
            "kinds": self.plan.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "plan": self.plan.to_string(),
            "seconds": self.duration.as_secs_f64(),
            "generated": self.generated,
            "sent_to_a_station": found.sent,
            "rows": found.rows,
            "doubled": found.doubled,
            "out_of_order": found.out_of_order,
            "lost": found.lost,
            "unacknowledged": found.unacknowledged,
            "loss_window_ms": found.loss_window.as_secs_f64() * 1e3,
            "torn_off": found.torn,
            "damaged": found.damaged,
            "forged_sent": found.forged_sent,
            "forged_rows": found.forged_rows,
            "kernel_dropped": found.kernel_dropped,
            "recovered": counter(|counters| counters.recovered),
            "duplicate": counter(|counters| counters.duplicate),
            "seconds_until_quiet": self.quiet.as_secs_f64(),
            "memory_mib": self.memory_mib,
            "commits": self.cuts.commits,
            "commits_unsent": self.cuts.unsent,
            "commits_racing": self.cuts.racing,
            "commits_unanswered": self.cuts.unanswered,
            "connections": self.cuts.connections,
            "wrong": self.wrong,
        })
    }
}

/// Rounds so far.
#[derive(Debug, Default)]
pub struct Figures {
    outcomes: Vec<Outcome>,
}

impl Figures {
    /// Adds one.
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Whether there was something, and all of it went well.
    pub fn are_clean(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(Outcome::is_clean)
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let found = || self.outcomes.iter().filter_map(|outcome| outcome.findings.as_ref());
        let sum = |count: fn(&Findings) -> u64| found().map(count).sum::<u64>();
        let window = found().map(|found| found.loss_window).max().unwrap_or_default();
        let memory = self.outcomes.iter().map(|outcome| outcome.memory_mib).fold(0.0, f64::max);
        let quiet = self.outcomes.iter().map(|outcome| outcome.quiet).max().unwrap_or_default();
        json!({
            "rounds": self.outcomes.len(),
            "failed": self.outcomes.iter().filter(|outcome| !outcome.is_clean()).count(),
            "sent_to_a_station": sum(|found| found.sent),
            "rows": sum(|found| found.rows),
            "doubled": sum(|found| found.doubled),
            "out_of_order": sum(|found| found.out_of_order),
            "lost": sum(|found| found.lost),
            "unacknowledged": sum(|found| found.unacknowledged),
            "loss_window_ms_max": window.as_secs_f64() * 1e3,
            "torn_off": sum(|found| found.torn),
            "damaged": sum(|found| found.damaged),
            "forged_sent": sum(|found| found.forged_sent),
            "forged_rows": sum(|found| found.forged_rows),
            "kernel_dropped": sum(|found| found.kernel_dropped),
            "seconds_until_quiet_max": quiet.as_secs_f64(),
            "memory_mib_max": memory,
            "each": self.outcomes.iter().map(Outcome::figures).collect::<Vec<_>>(),
        })
    }
}
