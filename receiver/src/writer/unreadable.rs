//! Entries of the journal that this build cannot decode: counted, and reported once a minute.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    chunk::{Unreadable, Why},
    journal::Gauges,
};

/// What was met and is not reported yet.
#[derive(Default)]
pub(super) struct UnreadableEntries {
    entries: u64,
    /// Samples that they stand for.
    samples: u64,
    /// Entries that the gauge has.
    published: u64,
    why: Option<Why>,
    reported: Option<Instant>,
}

impl UnreadableEntries {
    /// Counts one.
    #[cold]
    pub(super) fn count(&mut self, entry: &Unreadable<'_>) {
        self.entries += 1;
        self.samples += entry.samples;
        self.why = Some(entry.why);
    }

    /// Publishes the count, and logs it unless that was done within the last minute.
    #[inline]
    pub(super) fn report(&mut self, gauges: &Gauges) {
        let Some(why) = self.why else { return };
        let new = self.entries - self.published;
        gauges.unreadable.fetch_add(new, Ordering::Relaxed);
        self.published = self.entries;
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT_PERIOD) {
            return;
        }
        self.log(why);
        *self = Self { reported: Some(Instant::now()), ..Self::default() };
    }

    /// Logs what is left to report.
    pub(super) fn finish(&self) {
        if let Some(why) = self.why {
            self.log(why);
        }
    }

    fn log(&self, why: Why) {
        let (entries, samples) = (self.entries, self.samples);
        tracing::warn!(
            "{entries} entries of the journal cannot be decoded by this build (the last one: {why}): \
             {samples} of them are samples and go to table quarantine with their octets, the others \
             are skipped"
        );
    }
}

const REPORT_PERIOD: Duration = Duration::from_secs(60);
