//! Whether samples can be stored at the moment, and if not, why: told by those who try, asked by
//! `/readyz`.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// What is wrong, if anything.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Whether the schema has been found to be what this program writes to.
    is_checked: AtomicBool,
    database: Mutex<Option<String>>,
    /// Writers that the database refuses to store for, and what that is in public.
    refused: Mutex<Vec<(usize, &'static str)>>,
}

impl Readiness {
    /// Says that the database is as it should be, or what is wrong with it.
    pub fn set(&self, wrong: Option<String>) {
        *hold(&self.database) = wrong;
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

    /// Says whether the database refuses what a writer stores, and how to put that to anybody.
    pub fn set_refused(&self, writer: usize, why: Option<&'static str>) {
        let mut refused = hold(&self.refused);
        refused.retain(|&(other, _)| other != writer);
        refused.extend(why.map(|why| (writer, why)));
    }

    /// What is wrong, in words for anybody who asks.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        let wrong = hold(&self.database).clone();
        let unchecked = || (!self.is_checked()).then(|| "waiting for the database".to_owned());
        let refused = || hold(&self.refused).first().map(|&(_, why)| why.to_owned());
        wrong.or_else(unchecked).or_else(refused)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_nothing_is_wrong() {
        let readiness = Readiness::default();
        assert!(readiness.wrong().is_some() && !readiness.is_checked());
        readiness.set_checked();
        assert_eq!(readiness.wrong(), None);
        readiness.set_refused(1, Some("refused"));
        readiness.set_refused(1, Some("otherwise"));
        assert_eq!(readiness.wrong().as_deref(), Some("otherwise"));
        readiness.set_refused(1, None);
        assert_eq!(readiness.wrong(), None);
        readiness.set(Some("database unreachable".into()));
        assert_eq!(readiness.wrong().as_deref(), Some("database unreachable"));
    }
}
