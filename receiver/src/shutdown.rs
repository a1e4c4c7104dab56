//! The end: told once, seen by all.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Tells everybody that the station is to stop.
pub struct Stopper(watch::Sender<Option<Instant>>);

/// Knows when the station was stopped, and until when it may go on storing.
#[derive(Clone)]
pub struct Drain {
    stopped: watch::Receiver<Option<Instant>>,
    timeout: Duration,
}

/// A station that runs, with `timeout` to drain once it is stopped.
#[must_use]
pub fn running(timeout: Duration) -> (Stopper, Drain) {
    let (send, receive) = watch::channel(None);
    (Stopper(send), Drain { stopped: receive, timeout })
}

impl Stopper {
    /// Stops the station, now.
    pub fn stop(&self) {
        self.0.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert_with(Instant::now);
            is_first
        });
    }
}

impl Drain {
    /// Waits until the station is stopped.
    pub async fn stopped(&self) {
        // The sender lives as long as the station; without it this is the end, too.
        let mut stopped = self.stopped.clone();
        let _stopped = stopped.wait_for(Option::is_some).await;
    }

    /// Waits until there is no time left to drain.
    pub async fn over(&self) {
        self.stopped().await;
        match self.deadline() {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => pending().await,
        }
    }

    /// Whether the station is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Whether no time is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The time left; without end while the station runs.
    #[must_use]
    pub fn left(&self) -> Duration {
        let now = Instant::now();
        self.deadline().map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(now))
    }

    fn deadline(&self) -> Option<Instant> {
        // A timeout beyond all time is none.
        self.stopped.borrow().and_then(|stopped| stopped.checked_add(self.timeout))
    }
}
