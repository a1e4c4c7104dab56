//! A writer: takes chunks from its queue, gathers them into batches and stores those, in order and
//! for as long as it takes. One thread, one connection.

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
    ledger::{Counters, WriterCounts},
    queue::Inlet,
    shutdown::Drain,
    spacecraft::SpacecraftSet,
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
}

impl Writer {
    /// A writer that has not connected yet.
    pub fn new(setup: Setup, inlet: Inlet) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            setup,
            inlet,
            runtime,
            store: None,
            batch: Batch::new(),
            counts: WriterCounts::default(),
            named: SpacecraftSet::none(),
        })
    }

    /// Works until the doors are closed and all is stored, or the time to drain is over.
    pub fn run(mut self) {
        loop {
            let now = Instant::now();
            let wait = self.batch.due_in(&self.setup.limits, now).unwrap_or(IDLE_WAIT);
            match self.inlet.chunks.recv_timeout(wait) {
                Ok(chunk) => self.take(chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.batch.is_due(&self.setup.limits, Instant::now()) && !self.store_batch() {
                return;
            }
        }
        if !self.batch.is_empty() {
            self.store_batch();
        }
    }

    fn take(&mut self, chunk: Chunk) {
        let now = Instant::now();
        for entry in chunk.entries() {
            if let Entry::Sample(record) = &entry
                && self.named.insert(record.spacecraft())
            {
                self.batch.newcomers.push(record.spacecraft());
            }
            self.batch.push(&entry, &self.setup.identity.station, &self.setup.window, now);
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
        while let Err(error) = self.try_store() {
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
        }
        if let Some(trouble) = trouble {
            tracing::info!("storing again after {:.1?}", trouble.since.elapsed());
        }
        self.counts.committed += self.batch.stored();
        self.counts.quarantined += self.batch.quarantined();
        self.counts.batched = 0;
        self.batch.advance();
        self.publish();
        true
    }

    fn try_store(&mut self) -> Result<(), Error> {
        let Setup { database, identity, drain, .. } = &self.setup;
        let (store, batch) = (&mut self.store, &self.batch);
        let attempt = async {
            let store = match store {
                Some(store) => store,
                None => store.insert(Store::connect(database).await?),
            };
            store.commit(batch, identity).await
        };
        self.runtime.block_on(async {
            // A server that does not answer must not keep the station from ending.
            tokio::select! {
                outcome = attempt => outcome,
                () = drain.over() => Err(Error::OutOfTime),
            }
        })
    }

    fn publish(&self) {
        self.setup.counters.publish_writer(self.inlet.writer, self.counts);
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
/// How long an empty writer sleeps before it looks again.
const IDLE_WAIT: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
