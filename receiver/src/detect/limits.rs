//! Limits that somebody has set: soft ones, beyond which a value wants a look, and hard ones, beyond
//! which it wants somebody. They need nothing learned, so they hold from the first sample on, for
//! every satellite, and for samples that come late.

use serde::{Deserialize, Serialize};

use super::{Finding, Rules, Sample, Severity, Violation};

/// One channel's samples beyond its limits.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Violations in a row, and when they began.
    beyond: u8,
    since_us: i64,
}

impl Limits {
    /// Takes a sample; says also how bad it is.
    #[inline]
    pub(super) fn take(&mut self, sample: Sample, rules: &Rules) -> (Finding, Severity) {
        let Some((limit, severity)) = rules.broken(sample.value) else {
            self.beyond = 0;
            return (Finding::Nothing, Severity::Watch);
        };
        (self.violate(limit, sample, rules), severity)
    }

    #[cold]
    fn violate(&mut self, limit: f64, sample: Sample, rules: &Rules) -> Finding {
        if self.beyond == 0 {
            self.since_us = sample.time_us;
        }
        self.beyond = self.beyond.saturating_add(1);
        if self.beyond < VIOLATIONS {
            return Finding::Nothing;
        }
        Finding::Violates(Violation {
            since_us: self.since_us,
            score: (1.0 + (sample.value - limit).abs() / rules.width()) as f32,
            threshold: limit as f32,
            expected: limit,
            observed: sample.value,
        })
    }
}

/// Violations in a row that make an event: a single one may be a flipped bit on board.
const VIOLATIONS: u8 = 2;
