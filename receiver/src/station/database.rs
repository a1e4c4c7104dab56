//! The database as the station meets it: waited for, checked once before anything is written, and
//! watched from then on.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::tell_extension;
use crate::{
    address::Address,
    config::RunOptions,
    readiness::Readiness,
    store::{
        anomalies,
        schema::{self, Lookout},
    },
};

/// Waits until the schema is as it should be, migrating it if that is wanted, and lets the writers
/// begin; then asks now and then whether the database is usable, for `/readyz`. Events that an
/// earlier run has left open, and that are not in `known`, are closed first.
pub(super) async fn attend(options: RunOptions, known: Vec<i64>, readiness: Arc<Readiness>) {
    let mut backoff = BACKOFF_MIN;
    let mut told = String::new();
    loop {
        match prepare(&options, &known).await {
            Ok(has_timescaledb) => {
                tell_extension(has_timescaledb);
                readiness.set_checked();
                break;
            }
            Err(error) => {
                let cause = error.to_string();
                if cause != told {
                    tracing::error!("nothing can be stored yet: {cause}");
                    told = cause;
                }
                readiness.set(Some(in_public(&error)));
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    let mut lookout = None;
    loop {
        tokio::time::sleep(WATCH_PERIOD).await;
        let looked = look(&options.database.database_url, &mut lookout);
        let looked = timeout(TIMEOUT, looked).await.unwrap_or(Err(schema::Error::Silent));
        readiness.set(looked.err().as_ref().map(in_public));
    }
}

/// Looks at the schema, over the connection of the last time if it is there still: to connect takes
/// client and server many times as much.
async fn look(config: &Address, kept: &mut Option<Lookout>) -> Result<(), schema::Error> {
    if let Some(lookout) = kept.take() {
        match timeout(KEPT_TIMEOUT, lookout.check()).await {
            Err(_) | Ok(Err(schema::Error::Database(_))) => {}
            Ok(checked) => {
                *kept = Some(lookout);
                return checked;
            }
        }
    }
    let lookout = kept.insert(Lookout::connect(config).await?);
    lookout.check().await
}

/// A schema that is newer than this program is an error at the start, if the database is there to say
/// so: nothing that comes would ever be stored by it.
pub(super) async fn refuse_newer(config: &Address) -> Result<(), schema::Error> {
    match timeout(FIRST_TIMEOUT, schema::check(config)).await {
        Ok(Err(error @ schema::Error::Newer { .. })) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether the tables, which can be written to now, are hypertables.
async fn prepare(options: &RunOptions, known: &[i64]) -> Result<bool, schema::Error> {
    let config = &options.database.database_url;
    if options.migrate {
        schema::migrate(&options.database, &options.periods).await?;
    }
    let checked = timeout(TIMEOUT, schema::check(config)).await;
    let has_timescaledb = checked.map_err(|_| schema::Error::Silent)??;
    let closed =
        timeout(TIMEOUT, anomalies::close_unknown(config, &options.reception.station.name, known))
            .await;
    let closed = closed.map_err(|_| schema::Error::Silent)??;
    if closed > 0 {
        tracing::info!("{closed} anomalies of an earlier run are closed");
    }
    Ok(has_timescaledb)
}

/// What the server said stays in the log: this goes to anybody who asks.
fn in_public(error: &schema::Error) -> String {
    match error {
        schema::Error::Database(_) | schema::Error::Silent => "database unreachable".into(),
        schema::Error::Migration(_) => "the schema cannot be migrated; see the log".into(),
        error => error.to_string(),
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const WATCH_PERIOD: Duration = Duration::from_secs(2);
/// How long the start waits for that.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that was kept may be silent before another one is tried.
const KEPT_TIMEOUT: Duration = Duration::from_secs(2);
