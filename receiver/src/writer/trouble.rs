//! What a writer says, and how long it waits, while storing fails.

use std::time::{Duration, Instant};

use crate::{
    readiness::{Failure, Readiness},
    store::{Class, Error},
};

/// One stretch of attempts. Told when it begins, when its cause changes and now and then.
#[derive(Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    told: Option<Instant>,
    cause: String,
    backoff: Duration,
}

impl Trouble {
    /// It has failed once more; how long to wait before the next attempt.
    pub(super) fn goes_on(
        &mut self,
        error: &Error,
        readiness: &Readiness,
        writer: usize,
    ) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        let is_refused = error.class() != Class::Passing;
        if !matches!(error, Error::Unchecked) {
            let reason = if matches!(error, Error::Conflict { .. }) {
                MOVED.to_owned()
            } else {
                error.to_string()
            };
            readiness.set_failure(writer, Some(Failure { reason, is_brief: error.is_brief() }));
        }
        self.tell(error, is_refused);
        let (least, most) = if is_refused { REFUSED_BACKOFF } else { BACKOFF };
        self.backoff = (self.backoff * 2).clamp(least, most);
        self.backoff
    }

    /// It has succeeded.
    pub(super) fn over(&self, readiness: &Readiness, writer: usize) {
        readiness.set_failure(writer, None);
        if let Some(since) = self.since.filter(|_| self.told.is_some()) {
            tracing::info!("storing again after {:.1?}", since.elapsed());
        }
    }

    /// There will be no further attempt.
    pub(super) fn end(&self, error: &Error, samples: u64) {
        // The last error says little more than that time is over.
        let last = error.to_string();
        let is_over = matches!(error, Error::OutOfTime | Error::Unchecked);
        let cause = if is_over && !self.cause.is_empty() { &self.cause } else { &last };
        if samples == 0 {
            tracing::warn!("the last rows of link health are not stored: {cause}");
        } else {
            tracing::error!("gave up, {samples} samples of the last batch are not stored: {cause}");
        }
    }

    /// There will be no further attempt, and need not be: the journal has everything.
    pub(super) fn leave(error: &Error) {
        tracing::warn!(
            "the database cannot be reached: what is not stored waits in the journal for the next \
             start: {error}"
        );
    }

    fn tell(&mut self, error: &Error, is_refused: bool) {
        if matches!(error, Error::Unchecked) {
            // Who checks says why it fails.
            return;
        }
        let cause = error.to_string();
        if cause != self.cause || self.told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
            if matches!(error, Error::Conflict { .. }) {
                tracing::error!("nothing is stored: {cause}");
            } else if is_refused {
                tracing::error!("the database refuses to store until that is mended: {cause}");
            } else {
                tracing::error!("cannot store, will try again: {cause}");
            }
            self.told = Some(Instant::now());
            self.cause = cause;
        }
    }
}

/// What `/readyz` says.
const MOVED: &str = "the database was restored, or another station writes as this one: restart \
                     the station";
/// How often a lasting error is repeated in the log.
const TELL_PERIOD: Duration = Duration::from_secs(30);
/// Shortest and longest pause between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The same for what people have to mend.
const REFUSED_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_readiness_knows() {
        let readiness = Readiness::default();
        readiness.set_checked();
        let mut trouble = Trouble::default();
        let pauses: Vec<_> =
            (0..8).map(|_| trouble.goes_on(&Error::Silent, &readiness, 0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(readiness.wrong(), None);
        trouble.over(&readiness, 0);
    }
}
