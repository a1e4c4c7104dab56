//! The schema's version: bringing it up to date, and telling whether it is.

use std::time::Duration;

use tokio_postgres::Client;

use super::{Address, Connection, connect, explain};
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
    /// There are no tables.
    #[error(
        "the database has no OrbitStream tables: run `receiver migrate`, or start with --migrate"
    )]
    Missing,
    /// They are of an earlier version.
    #[error(
        "the schema has version {found}, this receiver needs {CURRENT}: run `receiver migrate`, or \
         start with --migrate",
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
    let (mut client, _connection) = connect(&database.database_url).await?;
    // Two at once would make the same objects; the lock goes with the connection.
    client.execute("SELECT pg_advisory_lock(hashtext('orbitstream migrate'))", &[]).await?;
    let found = version(&client).await?;
    if let Some(found) = found.filter(|&found| found > current()) {
        return Err(Error::Newer { found });
    }
    if database.timescaledb && found.is_none() {
        client.batch_execute(CREATE_EXTENSION).await?;
    }
    let report = migrations::runner()
        .run_async(&mut client)
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
    Ok(Migrated {
        applied: report.applied_migrations().len(),
        version: current(),
        has_timescaledb: has_timescaledb(&client).await?,
    })
}

/// A connection over which the schema can be looked at again and again.
pub struct Lookout {
    client: Client,
    _connection: Connection,
}

impl Lookout {
    /// Connects.
    pub async fn connect(config: &Address) -> Result<Self, Error> {
        let (client, connection) = connect(config).await?;
        Ok(Self { client, _connection: connection })
    }

    /// Fails unless the schema is the one that this program writes to.
    pub async fn check(&self) -> Result<(), Error> {
        match version(&self.client).await? {
            None => Err(Error::Missing),
            Some(found) if found < current() => Err(Error::Older { found }),
            Some(found) if found > current() => Err(Error::Newer { found }),
            Some(_) => Ok(()),
        }
    }
}

/// Whether the schema is the one this program writes to; if so, whether it has TimescaleDB.
pub async fn check(config: &Address) -> Result<bool, Error> {
    let lookout = Lookout::connect(config).await?;
    lookout.check().await?;
    Ok(has_timescaledb(&lookout.client).await?)
}

async fn version(client: &tokio_postgres::Client) -> Result<Option<u32>, tokio_postgres::Error> {
    let table =
        client.query_one("SELECT to_regclass('refinery_schema_history')::text", &[]).await?;
    if table.get::<_, Option<String>>(0).is_none() {
        return Ok(None);
    }
    let row = client.query_one("SELECT max(version) FROM refinery_schema_history", &[]).await?;
    Ok(row.get::<_, Option<i32>>(0).map(|version| version.unsigned_abs()))
}

async fn has_timescaledb(client: &tokio_postgres::Client) -> Result<bool, tokio_postgres::Error> {
    let catalogue = "SELECT to_regclass('timescaledb_information.hypertables')::text";
    if client.query_one(catalogue, &[]).await?.get::<_, Option<String>>(0).is_none() {
        return Ok(false);
    }
    let hypertable = "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                                     WHERE hypertable_name = 'telemetry')";
    Ok(client.query_one(hypertable, &[]).await?.get(0))
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
