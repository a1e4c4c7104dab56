//! Bringing the schema up to date, whole or not at all: the extension, all migrations, rights and
//! policies are one transaction. After a failure the database is as it was, and a retry with other
//! options begins where this one did.
//!
//! Whether tables are hypertables is decided once, before anything is made: an installation stays
//! what it is, whatever the options say and whatever was installed since. A wait for a lock is logged
//! every few seconds, with who holds it.

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio_postgres::{Client, Transaction};

use super::{
    lock_wait::watched,
    pooler::process,
    schema::{
        Error, Migrated, connect_to_migrate, current, has_timescaledb, migrations, version,
        worker_shortage,
    },
    tables::{Obstacle, Tables},
    timescaledb::{Extension, Kind},
};
use crate::config::{DatabaseOptions, PeriodOptions};

/// Applies what is missing, then the periods. In an empty database the extension is created first,
/// if wanted and where the server has it and has loaded it.
pub async fn migrate(
    database: &DatabaseOptions,
    periods: &PeriodOptions,
) -> Result<Migrated, Error> {
    let address = &database.database_url;
    let (mut client, connection) = connect_to_migrate(address).await?;
    let migrated = match process(&client).await {
        Ok(pid) => watched(address, pid, "migrate", apply(&mut client, database, periods)).await,
        Err(error) => Err(error.into()),
    };
    drop(client);
    connection.close().await;
    migrated
}

async fn apply(
    client: &mut Client,
    database: &DatabaseOptions,
    periods: &PeriodOptions,
) -> Result<Migrated, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(NO_LIMITS).await?;
    // Two at once would make the same objects; the locks go with the transaction.
    let mut tables = find(&transaction).await?;
    if tables.is_none() {
        transaction.execute(LOCK_TO_BEGIN, &[]).await?;
        tables = find(&transaction).await?;
    }
    if let Some(tables) = &tables {
        tables.check_restoring(&transaction).await??;
        transaction.batch_execute(&tables.qualify(LOCK)).await?;
        if let Some(found) = version(&transaction, tables).await?.filter(|&found| found > current())
        {
            return Err(Error::Newer { found });
        }
    }
    let schema = match &tables {
        Some(tables) => tables.schema.clone(),
        None => current_schema(&transaction).await?,
    };
    let mut extension = Extension::find(&transaction).await?;
    let kind = match &tables {
        Some(tables) if has_timescaledb(&transaction, tables).await? => {
            extension.check_for_hypertables()?;
            Kind::Hypertables
        }
        Some(_) => Kind::Plain,
        None => extension.kind_of_new_tables(database.timescaledb),
    };
    let is_new = tables.is_none();
    let failed = |step: &str, error: tokio_postgres::Error| {
        let hint = if is_new && kind == Kind::Hypertables { PLAIN_HINT } else { "" };
        match error.as_db_error() {
            Some(_) => {
                let said = super::explain(&error).replace('\n', "; ");
                Error::Migration(format!("{step}: {said}{hint}"))
            }
            None => Error::Database(error),
        }
    };
    if kind == Kind::Hypertables && is_new {
        let created = extension.create(&transaction, &schema).await;
        created.map_err(|error| failed("CREATE EXTENSION timescaledb", error))?;
    }
    // What the migrations say without a schema is meant to be in this one, and the extension's
    // functions are found wherever it is.
    transaction.query_one(PUT_FIRST, &[&schema, &extension.schema()]).await?;
    let applied = apply_migrations(&transaction, kind, failed).await?;
    transaction.batch_execute(GRANTS).await.map_err(|error| failed("rights", error))?;
    for (name, period) in [
        ("retention", periods.retention),
        ("retention_minutes", periods.retention_minutes),
        ("retention_hours", periods.retention_hours),
        ("columnstore_after", periods.columnstore_after),
    ] {
        let set = "SELECT set_config('orbitstream.' || $1, $2, true)";
        transaction.query_one(set, &[&name, &interval(period)]).await?;
    }
    transaction.batch_execute(POLICIES).await.map_err(|error| failed("policies", error))?;
    transaction.commit().await.map_err(|error| failed("COMMIT", error))?;
    let has_timescaledb = kind == Kind::Hypertables;
    if has_timescaledb && let Some(shortage) = worker_shortage(client).await? {
        tracing::warn!("{shortage}");
    }
    Ok(Migrated { applied, version: current(), has_timescaledb })
}

/// Where the tables are that are to be brought up to date; none if they are to be made.
async fn find(transaction: &Transaction<'_>) -> Result<Option<Tables>, Error> {
    match Tables::find(transaction).await?.transpose() {
        // It makes its own, as if there were no others.
        Err(Obstacle::Elsewhere(_)) => Ok(None),
        found => Ok(found?),
    }
}

/// Applies the migrations that the record does not have; returns how many those were.
async fn apply_migrations(
    transaction: &Transaction<'_>,
    kind: Kind,
    failed: impl Fn(&str, tokio_postgres::Error) -> Error,
) -> Result<usize, Error> {
    let record = transaction.batch_execute(HISTORY).await;
    record.map_err(|error| failed("refinery_schema_history", error))?;
    let rows = transaction.query(APPLIED, &[]).await?;
    let applied: Vec<(i32, String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let mut pending = Vec::new();
    for migration in in_order(migrations::runner()) {
        let Some((_, name, checksum)) = applied
            .iter()
            .find(|(version, ..)| i64::from(*version) == i64::from(migration.version()))
        else {
            pending.push(migration);
            continue;
        };
        if *name != migration.name() || *checksum != migration.checksum().to_string() {
            return Err(Error::Migration(format!(
                "{migration} was applied with another text, as V{}__{name}: the tables are of another \
                 program, or of a build that was never released",
                migration.version()
            )));
        }
    }
    for migration in &pending {
        let sql = kind.adapt(migration.sql().unwrap_or_default());
        let name = migration.to_string();
        transaction.batch_execute(&sql).await.map_err(|error| failed(&name, error))?;
        let version = migration.version();
        let row = transaction
            .execute(RECORD, &[&version, &migration.name(), &migration.checksum().to_string()])
            .await;
        row.map_err(|error| failed(&name, error))?;
    }
    Ok(pending.len())
}

fn in_order(runner: Runner) -> Vec<Migration> {
    let mut migrations = runner.get_migrations().clone();
    migrations.sort();
    migrations
}

/// Where a new installation is made: the first schema of the path that exists.
async fn current_schema(transaction: &Transaction<'_>) -> Result<String, Error> {
    let question = "SELECT current_schema()::text, current_setting('search_path')";
    let row = transaction.query_one(question, &[]).await?;
    let schema: Option<String> = row.get(0);
    Ok(schema.ok_or_else(|| Obstacle::NoSchema(row.get(1)))?)
}

fn interval(period: Duration) -> String {
    format!("{} seconds", period.as_secs())
}

/// Migrations take as long as they take.
const NO_LIMITS: &str = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
/// Only who may write the tables can have this lock, so that no other role can hold up a station
/// that migrates when it starts.
const LOCK: &str = "LOCK TABLE {schema}.refinery_schema_history IN SHARE ROW EXCLUSIVE MODE";
/// Where there is no table yet. Whoever can connect can have it, too; a wait for it is logged.
const LOCK_TO_BEGIN: &str = "SELECT pg_advisory_xact_lock(hashtext('orbitstream migrate'))";
const PUT_FIRST: &str = "
    SELECT set_config('search_path',
                      concat_ws(', ', quote_ident($1::text), quote_ident($2::text),
                                nullif(current_setting('search_path'), '')), true)";
const APPLIED: &str =
    "SELECT version, name, checksum FROM refinery_schema_history ORDER BY version";
const RECORD: &str = "
    INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
    VALUES ($1, $2, to_char(clock_timestamp() AT TIME ZONE 'UTC',
                            'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), $3)";
const HISTORY: &str = include_str!("../../../schema/history.sql");
const GRANTS: &str = include_str!("../../../schema/grants.sql");
const POLICIES: &str = include_str!("../../../schema/policies.sql");
const PLAIN_HINT: &str = "; with --timescaledb false the tables are plain ones";
