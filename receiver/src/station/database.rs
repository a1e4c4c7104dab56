//! The database as the station meets it: waited for, checked once before anything is written, and
//! probed from then on, over one connection besides those of the writers.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use super::{name::NameLock, tell_extension};
use crate::{
    address::Address,
    config::RunOptions,
    ledger::Counters,
    readiness::{Progress, Readiness},
    store::{
        self, LockWait,
        schema::{self, Lookout},
    },
};

/// What a station's database is judged by, and who is to know.
pub(super) struct Seen {
    /// Events that this run goes on with.
    pub(super) known_events: Vec<i64>,
    /// Whether storing makes progress.
    pub(super) counters: Arc<Counters>,
    /// Where it is said.
    pub(super) readiness: Arc<Readiness>,
}

/// Waits until the schema is as it should be, migrating it if that is wanted, and lets the writers
/// begin; then asks now and then whether the database is usable, for `/readyz`. Events that an
/// earlier run has left open, and that are not known, are closed first.
pub(super) async fn attend(options: RunOptions, seen: Seen) {
    let Seen { known_events, counters, readiness } = seen;
    let mut name = NameLock::new(&options.reception.station.name, &readiness);
    let lookout = prepare_at_last(&options, &known_events, &readiness, &mut name).await;
    let probed = probe_for_ever(&options.database.database_url, &readiness, lookout, name);
    let watched = watch_progress(options.batch_age, &counters, &readiness);
    tokio::join!(probed, watched);
}

async fn prepare_at_last(
    options: &RunOptions,
    known: &[i64],
    readiness: &Readiness,
    name: &mut NameLock<'_>,
) -> Lookout {
    let mut backoff = BACKOFF_MIN;
    let mut told = String::new();
    loop {
        match prepare(options, known, name).await {
            Ok((has_timescaledb, lookout)) => {
                tell_extension(has_timescaledb);
                readiness.set_checked();
                return lookout;
            }
            Err(error) => {
                let cause = error.to_string();
                if cause != told {
                    tracing::error!("nothing can be stored yet: {cause}");
                    told = cause;
                }
                readiness.set(Some(reason(&error)));
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn probe_for_ever(
    config: &Address,
    readiness: &Readiness,
    lookout: Lookout,
    mut name: NameLock<'_>,
) {
    let mut lookout = Some(lookout);
    loop {
        tokio::time::sleep(WATCH_PERIOD).await;
        let looked = look(config, &mut lookout, &mut name);
        let looked = timeout(TIMEOUT, looked).await.unwrap_or(Err(schema::Error::Silent));
        readiness.set(looked.err().as_ref().map(reason));
        if let Some(lookout) = &lookout {
            let noticed = timeout(KEPT_TIMEOUT, notice(lookout, readiness)).await;
            // If it cannot be asked, the next probe says why.
            let _said_by_the_probe = noticed.unwrap_or(Err(schema::Error::Silent));
        }
    }
}

/// Warns of what keeps nothing from being stored by itself: too few processes for background jobs,
/// and locks that are waited for.
async fn notice(lookout: &Lookout, readiness: &Readiness) -> Result<(), schema::Error> {
    log_lock_waits(&lookout.lock_waits().await?);
    readiness.set_warning(WORKERS, lookout.worker_shortage().await?);
    Ok(())
}

/// Logs every few seconds who holds the locks that writers wait for, until it is dropped; for writers
/// that no probe accompanies.
pub(super) fn watch_locks(address: &Address) -> JoinSet<()> {
    let address = address.clone();
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        let mut kept = None;
        loop {
            tokio::time::sleep(WATCH_PERIOD).await;
            let waits = timeout(TIMEOUT, lock_waits(&address, &mut kept)).await;
            match waits.unwrap_or(Err(schema::Error::Silent)) {
                Ok(waits) => log_lock_waits(&waits),
                // What is wrong with the database, the writers say.
                Err(_) => kept = None,
            }
        }
    });
    watching
}

async fn lock_waits(
    address: &Address,
    kept: &mut Option<Lookout>,
) -> Result<Vec<LockWait>, schema::Error> {
    let lookout = match kept.take() {
        Some(lookout) => lookout,
        None => Lookout::connect(address).await?,
    };
    kept.insert(lookout).lock_waits().await
}

fn log_lock_waits(waits: &[LockWait]) {
    let Some(longest) = waits.first() else { return };
    let waiting: BTreeSet<i32> = waits.iter().map(|wait| wait.pid).collect();
    let others = waiting.len().saturating_sub(1);
    tracing::warn!(
        "session {} of the station {longest}; {others} other sessions wait as well",
        longest.pid
    );
}

/// Looks at the schema, over the connection of the last time if it is there still: to connect takes
/// client and server many times as much. It also has the lock of the station's name.
async fn look(
    config: &Address,
    kept: &mut Option<Lookout>,
    name: &mut NameLock<'_>,
) -> Result<(), schema::Error> {
    let (lookout, checked) = match kept.take() {
        Some(lookout) => {
            let checked = timeout(KEPT_TIMEOUT, lookout.check()).await;
            (Some(lookout), checked.unwrap_or(Err(schema::Error::Silent)))
        }
        None => (None, Err(schema::Error::Silent)),
    };
    let (lookout, checked) = match (lookout, checked) {
        (Some(lookout), checked) if !matches!(&checked, Err(error) if is_of_session(error)) => {
            (lookout, checked)
        }
        (lookout, _) => {
            drop(lookout);
            name.connected_again();
            let lookout = Lookout::connect(config).await?;
            let checked = lookout.check().await;
            (lookout, checked)
        }
    };
    if checked.is_ok() {
        name.keep(&lookout).await?;
    }
    *kept = Some(lookout);
    checked
}

/// Whether a new session may find it otherwise: the connection is lost, or has a setting from the
/// time when it was made.
fn is_of_session(error: &schema::Error) -> bool {
    use schema::Error::{Database, Obstacle, Silent};
    matches!(error, Database(_) | Silent | Obstacle(_))
}

/// Says when a writer stores nothing although samples wait for it.
async fn watch_progress(batch_age: Duration, counters: &Counters, readiness: &Readiness) {
    let mut writers = vec![Progress::new(batch_age); counters.writers()];
    loop {
        let now = Instant::now();
        let stalled = writers.iter_mut().zip(counters.progress());
        let stalled = stalled
            .filter_map(|(progress, (stored, waiting))| progress.observe(now, stored, waiting));
        readiness.set_stalled(stalled.max_by_key(|stalled| stalled.waited));
        tokio::time::sleep(PROGRESS_PERIOD).await;
    }
}

/// A schema that is newer than this program is an error at the start, if the database is there to say
/// so: nothing that comes would ever be stored by it.
pub(super) async fn refuse_newer(config: &Address) -> Result<(), schema::Error> {
    match timeout(FIRST_TIMEOUT, schema::check(config)).await {
        Ok(Err(error @ schema::Error::Newer { .. })) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether the tables, which can be written to now, are hypertables; and the connection that has the
/// lock of the station's name. Events that an earlier run has left open are closed, unless another
/// station has that name: then they may be its own.
async fn prepare(
    options: &RunOptions,
    known: &[i64],
    name: &mut NameLock<'_>,
) -> Result<(bool, Lookout), schema::Error> {
    let config = &options.database.database_url;
    let station = &options.reception.station.name;
    if options.migrate {
        schema::migrate(&options.database, &options.periods).await?;
    }
    let has_timescaledb = in_time(schema::check(config)).await?;
    let forgotten = timeout(TIMEOUT, store::forget_batches(config, station)).await;
    match forgotten.map_err(|_| store::Error::Silent).flatten() {
        Ok(0) => {}
        Ok(rows) => tracing::debug!("{rows} rows of ingest_batch of runs long ago are removed"),
        // Nothing depends on it.
        Err(error) => tracing::warn!("ingest_batch keeps rows of runs long ago: {error}"),
    }
    name.connected_again();
    let lookout = in_time(Lookout::connect(config)).await?;
    if in_time(name.take_patiently(&lookout)).await? {
        let closed = in_time(lookout.close_unknown(station, known)).await?;
        if closed > 0 {
            tracing::info!("{closed} anomalies of an earlier run are closed");
        }
    }
    Ok((has_timescaledb, lookout))
}

async fn in_time<T>(
    step: impl Future<Output = Result<T, schema::Error>>,
) -> Result<T, schema::Error> {
    timeout(TIMEOUT, step).await.map_err(|_| schema::Error::Silent)?
}

/// What `/readyz` says: the server's own words, if it has said anything.
fn reason(error: &schema::Error) -> String {
    match error {
        schema::Error::Database(cause) if cause.as_db_error().is_none() => {
            format!("database unreachable: {error}")
        }
        schema::Error::Connect(cause) if cause.as_db_error().is_none() => {
            format!("database unreachable: {error}")
        }
        schema::Error::Silent => format!("database unreachable: {error}"),
        error => error.to_string(),
    }
}

/// Key of the warning of too few processes for background jobs.
const WORKERS: &str = "max_worker_processes";
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const WATCH_PERIOD: Duration = Duration::from_secs(2);
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How long the start waits for that.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than a statement waits for a lock, so that the server says it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that was kept may be silent before another one is tried.
const KEPT_TIMEOUT: Duration = Duration::from_secs(2);
