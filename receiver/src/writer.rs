//! A writer: takes chunks from its queue, gathers them into batches and stores those, in order and
//! for as long as it takes. One thread, one connection.
//!
//! What becomes a row passes the writer's detectors, and what those find is stored with the batch
//! of the rows. So events come in the order of the samples, and exactly once as they do.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;
use rand::RngExt as _;
use tokio_postgres::Config;

use crate::{
    batch::{Batch, Limits, TimeWindow},
    chunk::{Chunk, Entry},
    detect::Watch,
    ledger::{Counters, WriterCounts},
    queue::{Inlet, SHARDS},
    shutdown::Drain,
    socket::now_us,
    spacecraft::SpacecraftSet,
    state::{SAVE_PERIOD, StateFolder},
    store::{Error, Identity, Store},
};

/// What all writers share.
#[derive(Clone)]
pub struct Setup {
    /// The database.
    pub database: Config,
    /// Whose samples these are.
    pub identity: Identity,
    /// When a batch is closed.
    pub limits: Limits,
    /// Which samples are quarantined.
    pub window: TimeWindow,
    /// Where counts are published.
    pub counters: Arc<Counters>,
    /// Until when to go on after a stop.
    pub drain: Drain,
    /// Where the detectors' state is kept, if it is.
    pub state: Option<Arc<StateFolder>>,
}

/// A writer's state.
pub struct Writer {
    setup: Setup,
    inlet: Inlet,
    runtime: tokio::runtime::Runtime,
    store: Option<Store>,
    batch: Batch,
    counts: WriterCounts,
    /// Spacecraft whose names are stored.
    named: SpacecraftSet,
    /// The detectors, unless they are switched off.
    watch: Option<Watch>,
    /// When the watch was told the time last.
    ticked: Instant,
    saving: Saving,
}

impl Writer {
    /// A writer that has not connected yet.
    pub fn new(setup: Setup, inlet: Inlet, watch: Option<Watch>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let saving = Saving::new(&setup, inlet.writer);
        Ok(Self {
            setup,
            inlet,
            runtime,
            store: None,
            batch: Batch::new(),
            counts: WriterCounts::default(),
            named: SpacecraftSet::none(),
            watch,
            ticked: Instant::now(),
            saving,
        })
    }

    /// Works until the doors are closed and all is stored, or the time to drain is over.
    pub fn run(mut self) {
        self.work();
        if let Some(watch) = &self.watch {
            self.saving.save_all(watch);
        }
    }

    fn work(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.excuse_silence(now_us());
        }
        loop {
            let now = Instant::now();
            let wait = self.batch.due_in(&self.setup.limits, now).unwrap_or(TICK_PERIOD);
            match self.inlet.chunks.recv_timeout(wait) {
                Ok(chunk) => self.take(chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tick();
            let is_due = self.batch.is_due(&self.setup.limits, Instant::now());
            if (is_due || (self.batch.is_empty() && self.has_news())) && !self.store_batch() {
                return;
            }
            if let Some(watch) = self.watch.as_ref().filter(|_| self.batch.is_empty()) {
                self.saving.save_one(watch);
            }
        }
        if !self.batch.is_empty() || self.has_news() {
            self.store_batch();
        }
    }

    /// Lets the watch find who is silent, as long as the writer has heard all that has come.
    fn tick(&mut self) {
        let since = self.ticked.elapsed();
        let Some(watch) = &mut self.watch else { return };
        if since < TICK_PERIOD || !self.inlet.chunks.is_empty() {
            return;
        }
        if since > DEAF_AFTER {
            watch.excuse_silence(now_us());
        }
        watch.tick(now_us());
        self.ticked = Instant::now();
        self.publish();
    }

    /// Whether there are events to be stored.
    fn has_news(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::has_changes)
    }

    fn take(&mut self, chunk: Chunk) {
        let now = Instant::now();
        for entry in chunk.entries() {
            if let Entry::Sample(record) = &entry
                && self.named.insert(record.spacecraft())
            {
                self.batch.newcomers.push(record.spacecraft());
            }
            let is_row =
                self.batch.push(&entry, &self.setup.identity.station, &self.setup.window, now);
            if let (true, Entry::Sample(record), Some(watch)) = (is_row, &entry, &mut self.watch) {
                watch.take(record);
            }
        }
        // What the batch holds, not what the chunk says: an entry that could not be read shows as a
        // residual of the ledger.
        self.counts.batched = self.batch.samples();
        self.publish();
        self.setup.counters.dequeued(self.inlet.writer, chunk.samples());
        self.inlet.pool.give_back(chunk);
    }

    /// Stores the batch, however often that has to be tried; false when there is no time left.
    fn store_batch(&mut self) -> bool {
        let mut backoff = BACKOFF_MIN;
        let mut trouble: Option<Trouble> = None;
        let unstored = loop {
            let error = match self.try_store() {
                Ok(unstored) => break unstored,
                Err(error) => error,
            };
            self.store = None;
            let trouble = trouble.get_or_insert_with(Trouble::default);
            if self.setup.drain.is_over() {
                let (samples, cause) = (self.batch.samples(), trouble.cause(&error));
                tracing::error!("gave up, {samples} samples are not stored: {cause}");
                return false;
            }
            trouble.tell(&error);
            // Jitter, so that the writers do not all come back at the same instant.
            let pause = rand::rng().random_range(backoff / 2..=backoff);
            thread::sleep(pause.min(self.setup.drain.left()));
            backoff = (backoff * 2).min(BACKOFF_MAX);
        };
        if let Some(trouble) = trouble {
            tracing::info!("storing again after {:.1?}", trouble.since.elapsed());
        }
        self.counts.committed += self.batch.stored();
        self.counts.batches += u64::from(!self.batch.is_empty());
        self.counts.quarantined += self.batch.quarantined();
        self.counts.batched = 0;
        self.counts.detect.unstored += unstored;
        if let Some(watch) = &mut self.watch {
            // Nothing was taken between the attempts: whichever has stored them, these they were.
            watch.forget_changes();
        }
        self.batch.advance();
        self.publish();
        true
    }

    fn try_store(&mut self) -> Result<u64, Error> {
        let Setup { database, identity, drain, .. } = &self.setup;
        let (store, batch) = (&mut self.store, &self.batch);
        let events: Vec<_> = self.watch.iter().flat_map(Watch::changes).collect();
        let attempt = async {
            let store = match store {
                Some(store) => store,
                None => store.insert(Store::connect(database).await?),
            };
            store.commit(batch, &events, identity).await
        };
        self.runtime.block_on(async {
            // A server that does not answer must not keep the station from ending.
            tokio::select! {
                outcome = attempt => outcome,
                () = drain.over() => Err(Error::OutOfTime),
            }
        })
    }

    fn publish(&mut self) {
        self.counts.detect.watch = self.watch.as_ref().map(Watch::counts).unwrap_or_default();
        self.setup.counters.publish_writer(self.inlet.writer, self.counts);
    }
}

/// Keeps what the detectors have learned: one shard after the other, so that none of the pauses is
/// long.
struct Saving {
    folder: Option<Arc<StateFolder>>,
    /// The writer's shards, and which is next.
    shards: Vec<usize>,
    next: usize,
    due: Instant,
    /// Whether the last file could not be written, which is said once.
    is_failing: bool,
}

impl Saving {
    fn new(setup: &Setup, writer: usize) -> Self {
        let writers = setup.counters.writers();
        let shards: Vec<_> = (writer..SHARDS).step_by(writers).collect();
        let folder = setup.state.clone();
        Self { folder, shards, next: 0, due: Instant::now() + SAVE_PERIOD, is_failing: false }
    }

    /// Saves the next shard if it is time for it.
    fn save_one(&mut self, watch: &Watch) {
        if self.due > Instant::now() {
            return;
        }
        self.due = Instant::now() + SAVE_PERIOD / self.shards.len().max(1) as u32;
        self.next = (self.next + 1) % self.shards.len().max(1);
        self.save(watch, self.shards[self.next]);
    }

    fn save_all(&mut self, watch: &Watch) {
        for place in 0..self.shards.len() {
            self.save(watch, self.shards[place]);
        }
    }

    fn save(&mut self, watch: &Watch, shard: usize) {
        let Some(folder) = &self.folder else { return };
        let saved = match watch.snapshot(shard) {
            Ok(None) => Ok(()),
            Ok(Some(octets)) => folder.save(shard, &octets).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &saved
            && !self.is_failing
        {
            tracing::warn!("what the detectors have learned cannot be kept: {error}");
        }
        self.is_failing = saved.is_err();
    }
}

/// Why storing fails, told when it begins, when it changes and now and then.
struct Trouble {
    since: Instant,
    told: Instant,
    cause: String,
}

impl Default for Trouble {
    fn default() -> Self {
        let now = Instant::now();
        Self { since: now, told: now, cause: String::new() }
    }
}

impl Trouble {
    fn tell(&mut self, error: &Error) {
        let cause = error.to_string();
        if cause != self.cause || self.told.elapsed() >= TELL_PERIOD {
            tracing::error!("cannot store, will try again: {cause}");
            self.told = Instant::now();
            self.cause = cause;
        }
    }

    /// The last error that says more than that time is over.
    fn cause(&self, error: &Error) -> String {
        match error {
            Error::OutOfTime if !self.cause.is_empty() => self.cause.clone(),
            error => error.to_string(),
        }
    }
}

/// How often a lasting error is repeated in the log.
const TELL_PERIOD: Duration = Duration::from_secs(30);
/// How often the detectors are told the time, also when nothing comes.
const TICK_PERIOD: Duration = Duration::from_secs(1);
/// A writer that has not come to that for so long was busy with the database, and what was sent
/// meanwhile may have found no room: nobody is to be called silent for it.
const DEAF_AFTER: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
