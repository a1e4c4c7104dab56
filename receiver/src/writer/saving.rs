//! When a writer keeps what its detectors have learned: one shard after the other, so that none of
//! the pauses is long.

use std::{sync::Arc, time::Instant};

use super::Setup;
use crate::{
    detect::Watch,
    feed::Feed,
    queue::SHARDS,
    state::{SAVE_PERIOD, Since, StateFolder},
};

pub(super) struct Saving {
    folder: Option<Arc<StateFolder>>,
    journal: i64,
    /// The writer's shards with the place of their files, and which is next.
    shards: Vec<(usize, i64)>,
    next: usize,
    due: Instant,
    /// Whether the last file could not be written, which is said once.
    is_failing: bool,
}

impl Saving {
    pub(super) fn new(setup: &Setup, writer: usize, journal: Option<i64>) -> Self {
        let writers = setup.counters.writers();
        let shards: Vec<_> =
            (writer..SHARDS).step_by(writers).map(|shard| (shard, i64::MIN)).collect();
        Self {
            folder: setup.state.clone(),
            journal: journal.unwrap_or(setup.identity.journal),
            shards,
            next: 0,
            due: Instant::now() + SAVE_PERIOD,
            is_failing: false,
        }
    }

    /// Saves the next shard if it is time for it.
    pub(super) fn save_one(&mut self, watch: &Watch, feed: &mut Feed) {
        if self.due > Instant::now() {
            return;
        }
        self.due = Instant::now() + SAVE_PERIOD / self.shards.len().max(1) as u32;
        self.next = (self.next + 1) % self.shards.len().max(1);
        self.save(self.next, watch, feed);
    }

    pub(super) fn save_all(&mut self, watch: &Watch, feed: &mut Feed) {
        for place in 0..self.shards.len() {
            self.save(place, watch, feed);
        }
    }

    fn save(&mut self, place: usize, watch: &Watch, feed: &mut Feed) {
        let (shard, number) = (self.shards[place].0, feed.position());
        if let Some(folder) = &self.folder {
            let since = Since { journal: self.journal, number };
            let saved = match watch.snapshot(shard) {
                Ok(None) => Ok(()),
                Ok(Some(octets)) => {
                    folder.save(shard, since, &octets).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = &saved
                && !self.is_failing
            {
                tracing::warn!("what the detectors have learned cannot be kept: {error}");
            }
            self.is_failing = saved.is_err();
        }
        // Also after an error: the journal does not grow for the sake of what cannot be kept.
        self.shards[place].1 = number;
        let oldest = self.shards.iter().map(|&(_, number)| number).min().unwrap_or(number);
        if let Some(reader) = feed.journal() {
            reader.learned(oldest);
        }
    }
}
