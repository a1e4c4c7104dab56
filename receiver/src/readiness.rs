//! Whether samples can be stored at the moment, and if not, why: reported by those who try, asked for
//! by `/readyz`.
//!
//! The reason is in the server's own words where there are any, in one line of bounded length without
//! control characters. Warnings are further lines that make nothing unready.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// What is wrong, if anything.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Whether the schema has been found to be what this program writes to.
    is_checked: AtomicBool,
    database: Mutex<Option<String>>,
    /// Why a writer's last attempt to store has failed.
    failures: Mutex<BTreeMap<usize, Failure>>,
    /// Samples that wait although nothing is stored.
    stalled: Mutex<Option<String>>,
    warnings: Mutex<BTreeMap<&'static str, String>>,
}

/// Why an attempt to store has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In the server's words, if it has said anything.
    pub reason: String,
    /// Whether the next attempt may well succeed: then it counts only once samples have waited for
    /// too long.
    pub is_brief: bool,
}

impl Readiness {
    /// Says that the database is as it should be, or what is wrong with it.
    pub fn set(&self, wrong: Option<String>) {
        *hold(&self.database) = wrong.as_deref().map(line);
    }

    /// Says that the schema is what this program writes to: writers may begin.
    pub fn set_checked(&self) {
        self.is_checked.store(true, Ordering::Release);
        self.set(None);
    }

    /// Whether writers may begin.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Acquire)
    }

    /// Says why a writer cannot store, or that it can.
    pub fn set_failure(&self, writer: usize, failure: Option<Failure>) {
        let mut failures = hold(&self.failures);
        match failure {
            Some(Failure { reason, is_brief }) => {
                failures.insert(writer, Failure { reason: line(&reason), is_brief });
            }
            None => {
                failures.remove(&writer);
            }
        }
    }

    /// Says for how long samples have waited while nothing was stored, and how many they are, if they
    /// have waited for too long.
    pub fn set_stalled(&self, stalled: Option<Stalled>) {
        *hold(&self.stalled) = stalled.map(|Stalled { waited, samples }| {
            format!("nothing was stored for {} s, and {samples} samples wait", waited.as_secs())
        });
    }

    /// Sets, or takes back, the warning of this key: a line that `/readyz` shows, with 200 as with
    /// 503. A key has one warning at a time.
    pub fn set_warning(&self, key: &'static str, warning: Option<String>) {
        let mut warnings = hold(&self.warnings);
        match warning {
            Some(warning) => warnings.insert(key, line(&warning)),
            None => warnings.remove(key),
        };
    }

    /// The warnings, in the order of their keys.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        hold(&self.warnings).values().cloned().collect()
    }

    /// Whether the database was reached and found as it should be when that was tried last.
    #[must_use]
    pub fn is_database_up(&self) -> bool {
        self.is_checked() && hold(&self.database).is_none()
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        if let Some(wrong) = &*hold(&self.database) {
            return Some(wrong.clone());
        }
        if !self.is_checked() {
            return Some("waiting for the database".to_owned());
        }
        let failures = hold(&self.failures);
        if let Some(lasting) = failures.values().find(|failure| !failure.is_brief) {
            return Some(lasting.reason.clone());
        }
        let stalled = hold(&self.stalled).clone()?;
        Some(match failures.values().next() {
            Some(failure) => format!("{stalled}: {}", failure.reason),
            None => stalled,
        })
    }
}

/// Samples that wait while nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// For how long nothing was stored.
    pub waited: Duration,
    /// How many there are.
    pub samples: u64,
}

/// Finds out whether storing makes progress, from counts that are looked at again and again.
#[derive(Clone, Debug)]
pub struct Progress {
    patience: Duration,
    stored: u64,
    /// Since when samples wait and none was stored.
    since: Option<Instant>,
}

impl Progress {
    /// For something that stores a sample within `batch_age` of its arrival.
    #[must_use]
    pub fn new(batch_age: Duration) -> Self {
        Self { patience: STALLED_AFTER.saturating_add(batch_age), stored: 0, since: None }
    }

    /// Takes note that so many samples are stored `now` in all, and so many wait; says so if that has
    /// been so for too long.
    pub fn observe(&mut self, now: Instant, stored: u64, waiting: u64) -> Option<Stalled> {
        if waiting == 0 || stored != self.stored {
            self.stored = stored;
            self.since = (waiting > 0).then_some(now);
            return None;
        }
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        (waited >= self.patience).then_some(Stalled { waited, samples: waiting })
    }
}

/// One line of bounded length, whatever the server has put into its words.
fn line(text: &str) -> String {
    let text = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(LINE_CHARS_MAX).collect()
}

fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For how long nothing may be stored while samples wait, besides the age of a batch.
const STALLED_AFTER: Duration = Duration::from_secs(10);
const LINE_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str, is_brief: bool) -> Option<Failure> {
        Some(Failure { reason: reason.into(), is_brief })
    }

    #[test]
    fn ready_when_nothing_is_wrong() {
        let readiness = Readiness::default();
        assert!(readiness.wrong().is_some() && !readiness.is_checked());
        assert!(!readiness.is_database_up());
        readiness.set_checked();
        assert_eq!(readiness.wrong(), None);
        readiness.set_failure(1, failure("refused", false));
        readiness.set_failure(1, failure("otherwise", false));
        assert_eq!(readiness.wrong().as_deref(), Some("otherwise"));
        readiness.set_failure(1, None);
        assert_eq!(readiness.wrong(), None);
        assert!(readiness.is_database_up());
        readiness.set(Some("database unreachable".into()));
        assert_eq!(readiness.wrong().as_deref(), Some("database unreachable"));
        assert!(!readiness.is_database_up());
    }

    #[test]
    fn a_brief_failure_counts_once_samples_have_waited_for_too_long() {
        let readiness = Readiness::default();
        readiness.set_checked();
        readiness.set_failure(3, failure("deadlock detected (SQLSTATE 40P01)", true));
        assert_eq!(readiness.wrong(), None);
        let stalled = Stalled { waited: Duration::from_millis(12_900), samples: 7 };
        readiness.set_stalled(Some(stalled));
        let wrong = readiness.wrong().expect("it is stalled");
        assert!(wrong.starts_with("nothing was stored for 12 s, and 7 samples wait"), "{wrong}");
        assert!(wrong.ends_with(": deadlock detected (SQLSTATE 40P01)"), "{wrong}");
        readiness.set_failure(0, failure("disk full", false));
        assert_eq!(readiness.wrong().as_deref(), Some("disk full"));
        readiness.set_failure(0, None);
        readiness.set_stalled(None);
        assert_eq!(readiness.wrong(), None);
    }

    #[test]
    fn warnings_are_lines_of_their_own() {
        let readiness = Readiness::default();
        readiness.set_checked();
        readiness.set_warning("b", Some("second".into()));
        readiness.set_warning("a", Some("of old".into()));
        readiness.set_warning("a", Some("first\nline".into()));
        assert_eq!(readiness.warnings(), ["first line", "second"]);
        assert_eq!(readiness.wrong(), None);
        readiness.set_warning("a", None);
        assert_eq!(readiness.warnings(), ["second"]);
    }

    #[test]
    fn what_the_server_says_stays_one_short_line() {
        let readiness = Readiness::default();
        readiness.set(Some(format!("no\r\n\u{1b}[2Jgood\0{}", "x".repeat(10_000))));
        let wrong = readiness.wrong().expect("it is wrong");
        assert!(wrong.starts_with("no   [2Jgood xx") && !wrong.chars().any(char::is_control));
        assert_eq!(wrong.chars().count(), LINE_CHARS_MAX);
    }

    #[test]
    fn progress_is_missed_after_ten_seconds_and_the_age_of_a_batch() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let stalled =
            |waited, samples| Some(Stalled { waited: Duration::from_secs(waited), samples });
        let mut progress = Progress::new(Duration::from_secs(2));
        for (second, stored, waiting, expected) in [
            // Nothing waits, for however long.
            (0, 5, 0, None),
            (100, 5, 0, None),
            // Something waits, and is stored late, but in time.
            (101, 5, 9, None),
            (112, 5, 9, None),
            (113, 6, 8, None),
            // Nothing more is stored.
            (124, 6, 8, None),
            (125, 6, 800, stalled(12, 800)),
            (130, 6, 900, stalled(17, 900)),
            // One is, and so on.
            (131, 7, 899, None),
            (142, 7, 899, None),
            (143, 7, 899, stalled(12, 899)),
            // All that waited is gone, as when it was shed.
            (144, 7, 0, None),
            (200, 7, 1, None),
            (211, 7, 1, None),
            (212, 7, 1, stalled(12, 1)),
            // A clock that goes back is no wait.
            (100, 8, 1, None),
            (99, 8, 1, None),
        ] {
            assert_eq!(progress.observe(at(second), stored, waiting), expected, "{second}");
        }
    }
}
