//! The schema's version: bringing it up to date, and telling whether it is, and usable.

use std::time::Duration;

use tokio_postgres::Client;

use super::{
    Address, anomalies,
    connection::{Connection, NO_LIMITS, connect},
    explain,
    run_lock::{self, Occupied},
    tables::{Obstacle, Tables, read_only},
};
use crate::config::{DatabaseOptions, PeriodOptions};

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
    /// The server accepted the connection and then said nothing.
    #[error("the database does not answer")]
    Silent,
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(String),
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
            super::Error::Database(error) | super::Error::Unreachable(error) => {
                Self::Database(error)
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

/// Applies what is missing, then the periods. In an empty database the extension is created first,
/// if wanted and where the server has it and has loaded it.
pub async fn migrate(
    database: &DatabaseOptions,
    periods: &PeriodOptions,
) -> Result<Migrated, Error> {
    let (mut client, connection) = connect(&database.database_url).await?;
    let migrated = apply(&mut client, database, periods).await;
    drop(client);
    connection.close().await;
    migrated
}

async fn apply(
    client: &mut Client,
    database: &DatabaseOptions,
    periods: &PeriodOptions,
) -> Result<Migrated, Error> {
    client.batch_execute(NO_LIMITS).await?;
    // Two at once would make the same objects; the lock goes with the connection.
    client.execute("SELECT pg_advisory_lock(hashtext('orbitstream migrate'))", &[]).await?;
    let tables = match Tables::find(client).await?.transpose() {
        // It makes its own, as if there were no others.
        Err(Obstacle::Elsewhere(_)) => None,
        found => found?,
    };
    let found = match &tables {
        Some(tables) => {
            tables.check_restoring(client).await??;
            // What the migrations say without a schema is meant to be in this one.
            client.query_one(PUT_FIRST, &[&tables.schema]).await?;
            version(client, tables).await?
        }
        None => None,
    };
    if let Some(found) = found.filter(|&found| found > current()) {
        return Err(Error::Newer { found });
    }
    if database.timescaledb && found.is_none() {
        client.batch_execute(CREATE_EXTENSION).await?;
    }
    let report = migrations::runner()
        .run_async(client)
        .await
        .map_err(|error| Error::Migration(innermost(&error)))?;
    client.batch_execute(GRANT_SIGHT).await?;
    for (name, period) in [
        ("retention", periods.retention),
        ("retention_minutes", periods.retention_minutes),
        ("retention_hours", periods.retention_hours),
        ("columnstore_after", periods.columnstore_after),
    ] {
        let set = "SELECT set_config('orbitstream.' || $1, $2, false)";
        client.query_one(set, &[&name, &interval(period)]).await?;
    }
    client.batch_execute(include_str!("../../../schema/policies.sql")).await?;
    let tables = Tables::find(client).await?.transpose()?.ok_or(Error::Missing)?;
    Ok(Migrated {
        applied: report.applied_migrations().len(),
        version: current(),
        has_timescaledb: has_timescaledb(client, &tables).await?,
    })
}

/// A connection over which the schema can be probed again and again.
pub struct Lookout {
    client: Client,
    connection: Connection,
}

impl Lookout {
    /// Connects.
    pub async fn connect(config: &Address) -> Result<Self, Error> {
        let (client, connection) = connect(config).await?;
        client.batch_execute(PROBE_WAIT).await?;
        Ok(Self { client, connection })
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

async fn version(client: &Client, tables: &Tables) -> Result<Option<u32>, tokio_postgres::Error> {
    let newest = tables.qualify("SELECT max(version) FROM {schema}.refinery_schema_history");
    let row = client.query_one(&newest, &[]).await?;
    Ok(row.get::<_, Option<i32>>(0).map(|version| version.unsigned_abs()))
}

async fn has_timescaledb(client: &Client, tables: &Tables) -> Result<bool, tokio_postgres::Error> {
    let catalogue = "SELECT to_regclass('timescaledb_information.hypertables')::text";
    if client.query_one(catalogue, &[]).await?.get::<_, Option<String>>(0).is_none() {
        return Ok(false);
    }
    let hypertable = "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                                     WHERE hypertable_name = 'telemetry'
                                       AND hypertable_schema = $1)";
    Ok(client.query_one(hypertable, &[&tables.schema]).await?.get(0))
}

/// The message of the deepest cause, which is the server's.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string().replace('\n', "; ")
}

fn interval(period: Duration) -> String {
    format!("{} seconds", period.as_secs())
}

/// A probe waits for a lock for less time than whoever asks waits for it.
const PROBE_WAIT: &str = "SET lock_timeout = '1s'";
/// The rest of the path stays: it is where the functions of extensions are found.
const PUT_FIRST: &str = "
    SELECT set_config('search_path',
                      quote_ident($1) || ', ' || current_setting('search_path'), false)";

/// Only where the library is loaded: creating it elsewhere would end the connection. Its settings
/// tell, since `shared_preload_libraries` itself is shown to few.
const CREATE_EXTENSION: &str = "
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
            AND EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers')
        THEN
            CREATE EXTENSION IF NOT EXISTS timescaledb;
        END IF;
    END
    $$";

/// The migrations' own table is made by the runner, so its rights are given here. So is the reader's
/// sight of all else: what V2 set as default holds only for tables of the user that ran it.
const GRANT_SIGHT: &str = "
    DO $$
    DECLARE
        reader name;
        relation regclass;
    BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orbitstream_writer') THEN
            GRANT SELECT ON refinery_schema_history TO orbitstream_writer;
        END IF;
        SELECT rolname INTO reader FROM pg_roles WHERE rolname = 'orbitstream_reader';
        IF reader IS NULL THEN
            RETURN;
        END IF;
        FOR relation IN
            SELECT oid FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
                AND NOT has_table_privilege(reader, oid, 'SELECT')
                AND pg_has_role(relowner, 'USAGE')
        LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', relation, reader);
        END LOOP;
    END
    $$";
