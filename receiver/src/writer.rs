//! A writer: takes chunks from its feed, gathers them into batches and stores those, in order and
//! for as long as it takes. One thread, one connection.
//!
//! What becomes a row passes the writer's detectors, and what those find is stored with the batch
//! of the rows. So events come in the order of the samples, and exactly once as they do.

mod saving;
mod trouble;
mod unreadable;
mod waiting;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rand::RngExt as _;

use crate::{
    address::Address,
    batch::{Batch, Form, Limits, Put},
    chunk::{Chunk, Entry},
    definitions::Definitions,
    detect::Watch,
    feed::{Feed, Next},
    ledger::{Counters, WriterCounts},
    poison,
    queue::{SHARDS, shards_of},
    readiness::Readiness,
    shutdown::Drain,
    socket::now_us,
    state::StateFolder,
    store::{
        self, Class, Error, Identity, Positions, Store,
        presence::{Check, Scope},
    },
};
use saving::Saving;
use trouble::Trouble;
use unreadable::UnreadableEntries;
use waiting::Waiting;

/// What all writers share.
#[derive(Clone)]
pub struct Setup {
    /// The database.
    pub database: Address,
    /// Whose samples these are, and the numbering of those of this run.
    pub identity: Identity,
    /// When a batch is closed.
    pub limits: Limits,
    /// Rows of one satellite in a batch, on average, from which on they go into the columnstore at
    /// once.
    pub columnstore_from: Option<usize>,
    /// How rows are made.
    pub form: Form,
    /// Which entries of a journal can be decoded.
    pub definitions: Arc<Definitions>,
    /// Where counts are published.
    pub counters: Arc<Counters>,
    /// Whether writers may begin, and what is wrong if they fail.
    pub readiness: Arc<Readiness>,
    /// Until when to go on after a stop.
    pub drain: Drain,
    /// Where the detectors' state is kept, if it is.
    pub state: Option<Arc<StateFolder>>,
    /// Whether samples that the database has already are left out, and whose rows count.
    pub skip_stored: Option<Scope>,
}

/// A writer's detectors, and what they know already.
pub struct Watched {
    /// The detectors.
    pub watch: Watch,
    /// By shard: chunks before this place were seen in an earlier run.
    pub seen: [i64; SHARDS],
}

/// A writer's state.
pub struct Writer {
    setup: Setup,
    feed: Feed,
    writer: usize,
    runtime: tokio::runtime::Runtime,
    store: Option<Store>,
    /// Whose numbers the batch's are.
    identity: Identity,
    /// Up to where earlier runs' records are stored.
    earlier: BTreeMap<i64, Positions>,
    batch: Batch,
    /// What of it is left out if the database has it already.
    check: Option<Check>,
    /// Of each chunk in the batch: when it was received, in µs since 1970, and its samples.
    received: Vec<(i64, u64)>,
    /// Samples of the batch that no journal keeps.
    unkept: u64,
    counts: WriterCounts,
    /// The detectors, unless they are switched off.
    watched: Option<Watched>,
    waiting: Waiting,
    /// Whether the batch has few samples, or if there is none, the last one had.
    is_sparse: bool,
    /// When the last sample was received, in µs since 1970.
    heard_us: i64,
    /// When the watch was told the time last.
    ticked: Instant,
    saving: Saving,
    unreadable: UnreadableEntries,
}

impl Writer {
    /// A writer that has not connected yet.
    pub fn new(setup: Setup, mut feed: Feed, watched: Option<Watched>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let writer = feed.lane().writer();
        let saving = Saving::new(&setup, writer, feed.journal().map(|reader| reader.identity()));
        if let Some(reader) = feed.journal().filter(|_| watched.is_none() || setup.state.is_none())
        {
            // Nothing of what is stored is needed for what detectors know.
            reader.learned(i64::MAX);
        }
        let own = shards_of(writer, setup.counters.writers());
        let check = setup.skip_stored.map(|scope| Check::new(scope, own, setup.form.clone()));
        Ok(Self {
            batch: Batch::with_definitions(own, Arc::clone(&setup.definitions)),
            check,
            identity: setup.identity.clone(),
            earlier: BTreeMap::new(),
            setup,
            feed,
            writer,
            runtime,
            store: None,
            received: Vec::new(),
            unkept: 0,
            counts: WriterCounts::default(),
            watched,
            waiting: Waiting::default(),
            is_sparse: false,
            heard_us: 0,
            ticked: Instant::now(),
            saving,
            unreadable: UnreadableEntries::default(),
        })
    }

    /// Works until the doors are closed and all is stored, or the time to drain is over.
    pub fn run(mut self) {
        let is_done = self.resume() && self.work();
        if !is_done {
            self.give_up();
        }
        self.unreadable.finish();
        self.disconnect();
        if let Some(Watched { watch, .. }) = &self.watched {
            self.saving.save_all(watch, &mut self.feed);
        }
    }

    /// Goes to where the database says that storing has come to; false when it did not answer in the
    /// time there was.
    fn resume(&mut self) -> bool {
        if self.feed.is_new() {
            return true;
        }
        let runs = self.feed.journal().map(|reader| reader.earlier_runs());
        let asked = match &runs {
            Some(runs) => runs.iter().map(|range| range.run).collect(),
            None => vec![self.setup.identity.journal],
        };
        let is_known = asked.into_iter().all(|run| self.ask_positions(run));
        self.identity.journal = self.setup.identity.journal;
        self.batch.resume(&self.positions(self.identity.journal));
        let own = shards_of(self.writer, self.setup.counters.writers());
        let least = |places: &[i64; SHARDS]| {
            let own = (0..SHARDS).filter(|shard| own & (1 << shard) != 0);
            own.map(|shard| places[shard]).min().unwrap_or_default()
        };
        let unstored = runs.iter().flatten().find_map(|range| {
            let stored = least(&self.positions(range.run));
            (stored < range.next).then(|| stored.max(range.first))
        });
        let seen = self.watched.as_ref().map_or(i64::MAX, |watched| least(&watched.seen));
        let earlier = &self.earlier;
        let Some(reader) = self.feed.journal() else { return is_known };
        let unstored = unstored.unwrap_or(reader.first_of_run());
        reader.seek(unstored);
        // All that is there is a backlog, as long as nothing else is known.
        let found = reader.backlog(|run| places(earlier.get(&run), i64::MIN));
        reader.seek(unstored.min(seen));
        self.feed.lane().recovered(found);
        if found > 0 {
            tracing::info!("{found} samples of an earlier run wait in the journal");
        }
        is_known
    }

    /// Asks up to where the records of a run are stored; false when there was no time left.
    fn ask_positions(&mut self, run: i64) -> bool {
        self.identity.journal = run;
        let asked = self.with_retry(async |store, identity, _| store.positions(identity).await);
        let is_known = asked.is_some();
        self.earlier.extend(asked.map(|positions| (run, positions)));
        is_known
    }

    /// Up to where the records of a run are stored, as far as that was asked.
    fn positions(&self, run: i64) -> [i64; SHARDS] {
        places(self.earlier.get(&run), 0)
    }

    /// Goes on with the records of a run: a batch has those of one only. False when there was no time
    /// left to store those of the run before it.
    fn enter(&mut self, run: i64) -> bool {
        if run == self.identity.journal {
            return true;
        }
        if !self.batch.is_empty() && !self.store_batch() {
            return false;
        }
        self.identity.journal = run;
        self.batch.resume(&self.positions(run));
        self.check = self.doubt(run);
        true
    }

    /// What is looked for in the database before records of a run are stored: those of an earlier run
    /// may be there already, if somebody has emptied the commit ledger or set it back.
    fn doubt(&self, run: i64) -> Option<Check> {
        let Setup { identity, skip_stored, form, counters, .. } = &self.setup;
        let scope = match *skip_stored {
            None if run == identity.journal => return None,
            scope => scope.unwrap_or(Scope::ThisStation),
        };
        Some(Check::new(scope, shards_of(self.writer, counters.writers()), form.clone()))
    }

    /// False when there was no time left.
    fn work(&mut self) -> bool {
        if let Some(Watched { watch, .. }) = &mut self.watched {
            watch.excuse_silence(now_us());
        }
        loop {
            if self.feed.is_empty() {
                thread::sleep(self.rest());
            }
            match self.feed.next(self.due_in()) {
                Next::Chunk(chunk) => {
                    if !self.enter(chunk.run().unwrap_or(self.setup.identity.journal)) {
                        self.leave(chunk);
                        return false;
                    }
                    self.take(chunk);
                }
                Next::Nothing => {}
                Next::Closed => break,
            }
            if self.batch.is_empty() || self.waiting.is_full() {
                self.look();
            }
            self.tick();
            if (self.is_due() || (self.batch.is_empty() && self.has_news())) && !self.store_batch()
            {
                return false;
            }
            if self.batch.is_empty() {
                self.feed.stored();
                if let Some(Watched { watch, .. }) = &self.watched {
                    self.saving.save_one(watch, &mut self.feed);
                }
            }
        }
        let is_done = (self.batch.is_empty() && !self.has_news()) || self.store_batch();
        if is_done {
            self.feed.stored();
        }
        is_done
    }

    /// For how long to leave chunks to gather: a few at a time cost less than each by itself.
    fn rest(&self) -> Duration {
        if self.setup.drain.is_stopped() {
            return Duration::ZERO;
        }
        let rest = match (self.batch.is_empty(), self.is_sparse) {
            (false, false) => REST.min(self.due_in()),
            (false, true) => self.due_in(),
            (true, false) => Duration::ZERO,
            // What has come after the last sample is due no earlier than that would be.
            (true, true) => {
                let waited_us = now_us().saturating_sub(self.heard_us);
                let waited = Duration::from_micros(waited_us.try_into().unwrap_or_default());
                self.setup.limits.age_max.saturating_sub(waited)
            }
        };
        rest.min(REST_MAX)
    }

    /// Until when there is nothing to do without another chunk.
    fn due_in(&self) -> Duration {
        self.batch.due_in(&self.setup.limits, Instant::now()).unwrap_or(TICK_PERIOD)
    }

    /// Whether the batch is to be stored: what has come meanwhile goes with it.
    fn is_due(&mut self) -> bool {
        if !self.batch.is_empty() {
            self.is_sparse = self.batch.samples() < SPARSE_SAMPLES;
        }
        // To wake for little costs more than to store a little early.
        let early = if self.is_sparse { self.setup.limits.age_max / 10 } else { Duration::ZERO };
        let is_old = !self.batch.is_empty() && self.due_in() <= early;
        self.batch.is_full(&self.setup.limits) || (is_old && self.feed.is_empty())
    }

    /// When a chunk was received, as far as that matters.
    fn received(&self, chunk: &Chunk) -> Instant {
        let now = Instant::now();
        if !self.feed.is_live() {
            return now;
        }
        let waited_us = chunk.received_us().map_or(0, |then_us| now_us().saturating_sub(then_us));
        let waited = Duration::from_micros(waited_us.try_into().unwrap_or_default());
        now.checked_sub(waited.min(self.setup.limits.age_max)).unwrap_or(now)
    }

    /// Lets the watch find who is silent, as long as the writer has heard all that has come.
    fn tick(&mut self) {
        let since = self.ticked.elapsed();
        if since < TICK_PERIOD || !self.feed.is_live() || !self.feed.is_empty() {
            return;
        }
        self.look();
        let Some(Watched { watch, .. }) = &mut self.watched else { return };
        if since > DEAF_AFTER {
            watch.excuse_silence(now_us());
        }
        watch.tick(now_us());
        self.ticked = Instant::now();
        self.publish();
    }

    /// Lets the watch look at all that waits for it.
    fn look(&mut self) {
        if let Some(Watched { watch, .. }) = &mut self.watched {
            self.waiting.drain(|record| watch.take(record));
        }
    }

    /// Whether there are events to be stored.
    fn has_news(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.watch.has_changes())
    }

    fn take(&mut self, chunk: Chunk) {
        let (place, before) = (chunk.place(), self.batch.samples());
        let mut repeated = 0;
        let received = self.received(&chunk);
        let Self { batch, setup, watched, waiting, heard_us, unreadable, .. } = self;
        batch.push(&chunk, &setup.form, received, |entry, put| {
            if let Entry::Unreadable(entry) = entry
                && matches!(put, Put::Row | Put::Beside)
            {
                unreadable.count(entry);
            }
            let Entry::Sample(record) = entry else { return };
            *heard_us = record.received_us;
            repeated += u64::from(put == Put::Stored);
            let Some(Watched { seen, .. }) = &*watched else { return };
            let is_row = match put {
                Put::Row => true,
                // An earlier run has stored it, but its detectors did not live to remember it.
                Put::Stored => {
                    let window = &setup.form.window;
                    window.refusal(record.generated_us(), record.received_us).is_none()
                }
                Put::Beside | Put::NotOwn => false,
            };
            if is_row && place >= seen[entry.shard()] {
                waiting.push(record);
            }
        });
        unreadable.report(setup.counters.journal());
        self.counts.batched = self.batch.samples();
        if !self.feed.is_live() {
            self.counts.repeated += repeated;
        }
        self.publish();
        let samples = self.batch.samples() - before;
        if let Some(received_us) = chunk.received_us()
            && samples > 0
            && self.feed.is_live()
        {
            self.received.push((received_us, samples));
        }
        if chunk.is_copy() {
            self.feed.lane().dequeued(samples);
        } else {
            self.unkept += samples;
            self.feed.lane().dequeued(chunk.samples());
        }
        self.feed.done(chunk);
    }

    /// Stores the batch, however often that has to be tried; false when there is no time left.
    fn store_batch(&mut self) -> bool {
        self.look();
        let events = self.watched.iter().flat_map(|one| one.watch.changes().cloned());
        let events: Vec<_> = events.collect();
        let events: Vec<_> = events.iter().collect();
        let mut check = self.check.take();
        let counters = Arc::clone(&self.setup.counters);
        let stored = self.with_retry(async |store, identity, batch| {
            let begun = Instant::now();
            let stored = match &check {
                Some(check) => store.commit_new(batch, check, &events, identity).await,
                None => store.commit(batch, &events, identity).await,
            }?;
            counters.timings().transaction.observe(begun.elapsed(), 1);
            Ok(stored)
        });
        if let Some(check) = check.as_mut().filter(|_| stored.is_some()) {
            check.settle(&self.batch);
        }
        self.check = check;
        let Some(unstored) = stored else { return false };
        let committed_us = now_us();
        for (received_us, samples) in self.received.drain(..) {
            let us = committed_us.saturating_sub(received_us).try_into().unwrap_or_default();
            counters.timings().commit_latency.observe(Duration::from_micros(us), samples);
        }
        self.counts.committed += self.batch.rows.stored();
        if self.feed.is_live() {
            self.report_found(self.batch.skipped());
        } else {
            self.counts.repeated += self.batch.skipped();
        }
        self.counts.batches += u64::from(!self.batch.is_empty());
        self.counts.quarantined += self.batch.rows.quarantined();
        self.counts.batched = 0;
        self.counts.detect.unstored += unstored;
        if let Some(Watched { watch, .. }) = &mut self.watched {
            // Nothing was taken between the attempts: whichever has stored them, these they were.
            watch.forget_changes();
        }
        self.unkept = 0;
        self.batch.advance();
        self.feed.stored();
        self.publish();
        true
    }

    /// Runs an operation, retrying until it succeeds; none when there is no time left. Rows that the
    /// database refuses go to quarantine.
    fn with_retry<T>(
        &mut self,
        ask: impl AsyncFn(&mut Store, &Identity, &mut Batch) -> Result<T, Error>,
    ) -> Option<T> {
        let mut trouble = Trouble::default();
        let mut is_searched = false;
        // What was tried once is tried again as rows: whatever stood in the columnstore's way.
        let mut columnstore_from = self.setup.columnstore_from;
        let mut unreached = 0;
        loop {
            let error = match self.attempt(&ask, columnstore_from.take()) {
                Ok(answer) => {
                    trouble.over(&self.setup.readiness, self.writer);
                    return Some(answer);
                }
                Err(error) => error,
            };
            // Once: if it does not help, the error is about something else, and waits for people.
            if error.class() == Class::Row && !is_searched {
                is_searched = true;
                if self.set_aside(&error) {
                    continue;
                }
            }
            if matches!(error, Error::Conflict { .. }) && self.skip_stored() {
                continue;
            }
            self.disconnect();
            if self.setup.drain.is_over() {
                trouble.end(&error, self.batch.samples());
                return None;
            }
            if matches!(error, Error::Unreachable(_)) && self.may_leave() {
                unreached += 1;
                if unreached >= LAST_ATTEMPTS {
                    Trouble::leave(&error);
                    return None;
                }
            }
            let pause = trouble.goes_on(&error, &self.setup.readiness, self.writer);
            // Jitter, so that the writers do not all come back at the same instant.
            let pause = rand::rng().random_range(pause / 2..=pause);
            thread::sleep(pause.min(self.setup.drain.left()));
        }
    }

    /// Leaves out of the batch what another process has stored of it: of an earlier run, whose records
    /// never change, that process had a copy of this journal. False if that is not the case.
    fn skip_stored(&mut self) -> bool {
        if self.identity.journal == self.setup.identity.journal || self.feed.journal().is_none() {
            return false;
        }
        let asked = self.attempt(
            &async |store: &mut Store, identity: &Identity, _: &mut Batch| {
                store.positions(identity).await
            },
            None,
        );
        let Ok(positions) = asked else { return false };
        let is_ahead = self
            .batch
            .ranges()
            .any(|(shard, range)| positions[shard].is_some_and(|stored| stored > range.first));
        if is_ahead {
            let skipped = self.batch.skip_to(&places(Some(&positions), 0), &self.setup.form);
            tracing::warn!(
                "{skipped} samples of an earlier run were stored by another receiver with a copy of \
                 this journal; they are not stored twice"
            );
            self.counts.found += skipped;
            self.counts.batched = self.batch.samples();
            self.earlier.insert(self.identity.journal, positions);
        }
        is_ahead
    }

    /// Counts samples of an earlier run that the tables had already.
    fn report_found(&mut self, samples: u64) {
        if samples > 0 && self.counts.found == 0 {
            tracing::warn!(
                "samples of an earlier run are stored already, though ingest_batch does not say so \
                 (was it emptied or set back?): they are not stored twice"
            );
        }
        self.counts.found += samples;
    }

    /// Whether the station was stopped, and the next one will find in the journal all that this
    /// writer does not store.
    fn may_leave(&mut self) -> bool {
        self.setup.drain.is_stopped() && self.unkept == 0 && self.feed.is_kept()
    }

    fn attempt<T>(
        &mut self,
        ask: &impl AsyncFn(&mut Store, &Identity, &mut Batch) -> Result<T, Error>,
        columnstore_from: Option<usize>,
    ) -> Result<T, Error> {
        let Setup { database, drain, readiness, .. } = &self.setup;
        if !readiness.is_checked() {
            // At the end it matters whether there is anybody to wait for.
            if drain.is_stopped() {
                self.runtime.block_on(in_time(drain, store::reach(database)))?;
            }
            return Err(Error::Unchecked);
        }
        let (store, identity, batch) = (&mut self.store, &self.identity, &mut self.batch);
        let attempt = async {
            let store = match store {
                Some(store) => store,
                None => store.insert(Store::connect(database).await?),
            };
            store.columnstore_from = columnstore_from;
            ask(store, identity, batch).await
        };
        self.runtime.block_on(in_time(drain, attempt))
    }

    /// Ends the connection, and what the server is still doing for it.
    fn disconnect(&mut self) {
        if let Some(store) = self.store.take() {
            self.runtime.block_on(store.close());
        }
    }

    /// Sets the rows aside that the database does not take; false if there are none, or if that
    /// cannot be found out now.
    fn set_aside(&mut self, error: &Error) -> bool {
        // The transaction has ended with the error.
        let Some(store) = &mut self.store else { return false };
        let form = &self.setup.form;
        let search = poison::find(store, &self.batch, form);
        match self.runtime.block_on(in_time(&self.setup.drain, search)) {
            Ok(poison) if !poison.is_empty() => {
                let rows = poison.len();
                tracing::error!("{rows} rows are set aside, the database refuses them: {error}");
                self.batch.set_aside(&poison, form);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// There is no time left for a chunk. The journal has it still, unless it could not be written.
    fn leave(&mut self, chunk: Chunk) {
        if chunk.is_copy() {
            self.feed.done(chunk);
        } else {
            self.feed.lane().shed(chunk);
        }
    }

    /// There is no time left. What the journal has stays in it; what only this process has is lost.
    fn give_up(&mut self) {
        let unkept = match self.feed.journal() {
            // Without a journal it is reported as pending, and the end is an error.
            None => 0,
            Some(_) => std::mem::take(&mut self.unkept),
        };
        self.counts.batched = self.batch.samples() - unkept;
        self.feed.lane().enqueued(unkept);
        self.feed.lane().lost(unkept);
        self.feed.give_up();
        self.publish();
    }

    fn publish(&mut self) {
        let watch = self.watched.as_ref().map(|watched| watched.watch.counts());
        self.counts.detect.watch = watch.unwrap_or_default();
        self.setup.counters.publish_writer(self.writer, self.counts);
    }
}

/// Positions as numbers; `absent` for a shard of which nothing is stored, or nothing is known.
fn places(positions: Option<&Positions>, absent: i64) -> [i64; SHARDS] {
    positions.map_or([absent; SHARDS], |positions| positions.map(|place| place.unwrap_or(0)))
}

/// A server that does not answer must not keep the station from ending.
async fn in_time<T>(
    drain: &Drain,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        outcome = asked => outcome,
        () = drain.over() => Err(Error::OutOfTime),
    }
}

/// A database that is not there when the station was stopped is asked for again, and then left: the
/// journal has everything.
const LAST_ATTEMPTS: u32 = 2;
/// For how long chunks gather while a batch is not due: its rows are stored no later for it.
const REST: Duration = Duration::from_millis(20);
/// The same while batches have fewer samples than [`SPARSE_SAMPLES`].
const REST_MAX: Duration = Duration::from_millis(100);
const SPARSE_SAMPLES: u64 = 100;
/// How often the detectors are told the time, also when nothing comes.
const TICK_PERIOD: Duration = Duration::from_secs(1);
/// A writer that has not come to that for so long was busy with the database, and what was sent
/// meanwhile may have found no room: nobody is to be called silent for it.
const DEAF_AFTER: Duration = Duration::from_secs(5);
