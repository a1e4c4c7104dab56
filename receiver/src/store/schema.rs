//! The schema's version: telling whether it is up to date, and usable.

use tokio::sync::OnceCell;
use tokio_postgres::{Client, GenericClient};

use super::{
    Address, anomalies,
    connection::{Connection, connect},
    explain,
    lock_wait::{self, LockWait},
    run_lock::{self, Occupied},
    tables::{Obstacle, Tables, read_only},
    timescaledb::Extension,
};
use crate::address::ConnectError;

pub use super::migrate::migrate;

refinery::embed_migrations!("../schema/migrations");

/// What `migrate` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations that were applied now.
    pub applied: usize,
    /// The schema's version.
    pub version: u32,
    /// Whether the tables are hypertables.
    pub has_timescaledb: bool,
}

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server did not answer, or answered with an error.
    #[error("{}", explain(.0))]
    Database(tokio_postgres::Error),
    /// There is no connection to it.
    #[error(transparent)]
    Connect(ConnectError),
    /// The server accepted the connection and then said nothing.
    #[error("the database does not answer")]
    Silent,
    /// A migration failed.
    #[error("a migration failed, and nothing was changed: {0}")]
    Migration(String),
    /// Hypertables under a licence that has not what they need.
    #[error(
        "the tables are hypertables, and timescaledb.license is 'apache', which has no columnstore, \
         continuous aggregates and policies: set it to 'timescale' and restart the server, or migrate \
         an empty schema with --timescaledb false"
    )]
    Licence,
    /// Rows cannot be stored, or would not be found.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// There are no tables.
    #[error("the database has no OrbitStream tables: run `receiver migrate`")]
    Missing,
    /// They are of an earlier version.
    #[error(
        "the schema has version {found}, this receiver needs {CURRENT}: run `receiver migrate`",
        CURRENT = current()
    )]
    Older {
        /// The version that was found.
        found: u32,
    },
    /// They are of a later version.
    #[error(
        "the schema has version {found}, this receiver knows up to {CURRENT}: install a newer \
         receiver",
        CURRENT = current()
    )]
    Newer {
        /// The version that was found.
        found: u32,
    },
}

// By hand: with `#[from]` the message would be told twice, once more as its own cause.
impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<super::Error> for Error {
    fn from(error: super::Error) -> Self {
        match error {
            super::Error::Database(error) => Self::Database(error),
            super::Error::Unreachable(error) | super::Error::NotConnected(error) => {
                Self::Connect(error)
            }
            super::Error::Obstacle(obstacle) => Self::Obstacle(obstacle),
            _ => Self::Silent,
        }
    }
}

/// The version that this program's migrations end in.
#[must_use]
pub fn current() -> u32 {
    let runner = migrations::runner();
    let versions = runner.get_migrations().iter().map(refinery::Migration::version);
    versions.max().unwrap_or_default() as u32
}

/// Connects for [`migrate`].
pub(super) async fn connect_to_migrate(address: &Address) -> Result<(Client, Connection), Error> {
    Ok(connect(address).await?)
}

/// A connection over which the schema can be probed again and again.
pub struct Lookout {
    client: Client,
    connection: Connection,
    /// Asked once a session, since it takes a restart of the server to change.
    worker_shortage: OnceCell<Option<String>>,
}

impl Lookout {
    /// Connects.
    pub async fn connect(config: &Address) -> Result<Self, Error> {
        let (client, connection) = connect(config).await?;
        client.batch_execute(PROBE_WAIT).await?;
        Ok(Self { client, connection, worker_shortage: OnceCell::new() })
    }

    /// What is wrong with the server's number of processes for background jobs, if there are any.
    pub async fn worker_shortage(&self) -> Result<Option<String>, Error> {
        let asked = self.worker_shortage.get_or_try_init(|| async {
            let tables = Tables::find(&self.client).await?.transpose()?.ok_or(Error::Missing)?;
            if !has_timescaledb(&self.client, &tables).await? {
                return Ok(None);
            }
            Ok::<_, Error>(worker_shortage(&self.client).await?)
        });
        Ok(asked.await?.clone())
    }

    /// What sessions of this program and user wait for, the longest wait first.
    pub async fn lock_waits(&self) -> Result<Vec<LockWait>, Error> {
        Ok(lock_wait::of_stations(&self.client).await?)
    }

    /// Fails unless the schema is the one that this program writes to, and rows can be stored in it
    /// and found.
    pub async fn check(&self) -> Result<(), Error> {
        self.tables().await.map(drop)
    }

    /// Takes the lock of a station's name for as long as this connection lives, or says who has it.
    pub async fn take_name(&self, station: &str) -> Result<Result<(), Occupied>, Error> {
        let tables = Tables::find(&self.client).await?.transpose()?.ok_or(Error::Missing)?;
        Ok(run_lock::take_name(&self.client, &tables.schema, station).await?)
    }

    /// The session's process at the server.
    pub async fn session(&self) -> Result<i32, Error> {
        Ok(self.client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0))
    }

    /// Closes what an earlier run of a station has left open, but for the events in `known`; returns
    /// how many those were. To be done before this run has stored any.
    pub async fn close_unknown(&self, station: &str, known: &[i64]) -> Result<u64, Error> {
        Ok(anomalies::close_unknown(&self.client, station, known).await?)
    }

    /// Ends the connection.
    async fn close(self) {
        drop(self.client);
        self.connection.close().await;
    }

    async fn tables(&self) -> Result<Tables, Error> {
        let tables = Tables::find(&self.client).await?.transpose()?.ok_or(Error::Missing)?;
        match version(&self.client, &tables).await? {
            None => return Err(Error::Missing),
            Some(found) if found < current() => return Err(Error::Older { found }),
            Some(found) if found > current() => return Err(Error::Newer { found }),
            Some(_) => {}
        }
        tables.check(&self.client).await??;
        if has_timescaledb(&self.client, &tables).await? {
            Extension::find(&self.client).await?.check_for_hypertables()?;
        }
        match read_only(&self.client).await? {
            Some(obstacle) => Err(obstacle.into()),
            None => Ok(tables),
        }
    }
}

/// Whether the schema is the one this program writes to, and rows can be stored in it and found; if
/// so, whether it has TimescaleDB.
pub async fn check(config: &Address) -> Result<bool, Error> {
    let lookout = Lookout::connect(config).await?;
    let checked = match lookout.tables().await {
        Ok(tables) => has_timescaledb(&lookout.client, &tables).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    lookout.close().await;
    checked
}

pub(super) async fn version(
    client: &impl GenericClient,
    tables: &Tables,
) -> Result<Option<u32>, tokio_postgres::Error> {
    let newest = tables.qualify("SELECT max(version) FROM {schema}.refinery_schema_history");
    let row = client.query_one(&newest, &[]).await?;
    Ok(row.get::<_, Option<i32>>(0).map(|version| version.unsigned_abs()))
}

/// Whether the tables are hypertables.
pub(super) async fn has_timescaledb(
    client: &impl GenericClient,
    tables: &Tables,
) -> Result<bool, tokio_postgres::Error> {
    let catalogue = "SELECT to_regclass('timescaledb_information.hypertables')::text";
    if client.query_one(catalogue, &[]).await?.get::<_, Option<String>>(0).is_none() {
        return Ok(false);
    }
    let hypertable = "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                                     WHERE hypertable_name = 'telemetry'
                                       AND hypertable_schema = $1)";
    Ok(client.query_one(hypertable, &[&tables.schema]).await?.get(0))
}

/// What is wrong with the server's number of processes for work in the background, if it is too
/// small for TimescaleDB's jobs.
pub(super) async fn worker_shortage(
    client: &impl GenericClient,
) -> Result<Option<String>, tokio_postgres::Error> {
    let row = client.query_one(WORKERS, &[]).await?;
    let (has, jobs, parallel): (i32, Option<i32>, i32) = (row.get(0), row.get(1), row.get(2));
    let Some(jobs) = jobs else { return Ok(None) };
    let needed = jobs + parallel + OTHER_WORKERS;
    Ok((has < needed).then(|| {
        format!(
            "max_worker_processes is {has}, too few for the background jobs of TimescaleDB (refresh, \
             columnstore, retention): set it to {needed} (timescaledb.max_background_workers {jobs} + \
             max_parallel_workers {parallel} + {OTHER_WORKERS}) and restart the server"
        )
    }))
}

/// A probe waits for a lock for less time than whoever asks waits for it.
const PROBE_WAIT: &str = "SET lock_timeout = '1s'";
/// The number of jobs is known where the server has loaded TimescaleDB.
const WORKERS: &str = "
    SELECT current_setting('max_worker_processes')::int,
           nullif(current_setting('timescaledb.max_background_workers', true), '')::int,
           current_setting('max_parallel_workers')::int";
/// The launcher of the jobs, a scheduler, and PostgreSQL's own launcher of logical replication.
const OTHER_WORKERS: i32 = 3;
