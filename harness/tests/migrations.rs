//! Migrations run forward from every earlier version with rows in every table, change none of them,
//! change nothing the second time, and leave a schema alone that is newer than the program.

mod support;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::{Station, program::sibling};
use support::{Tables, cluster, database, empty_database, stop_jobs, tables};

mod embedded {
    refinery::embed_migrations!("../schema/migrations");
}

/// Rows in each table, spread over so many hours.
const ROWS: u32 = 120;

#[test]
fn every_earlier_version_with_data_comes_forward() -> Result<()> {
    let newest = receiver::store::schema::current().cast_signed();
    assert!(newest > 1);
    for tables in tables() {
        let mut schemas = Vec::new();
        for version in 1..=newest {
            let name = empty_database(tables)?;
            if tables != Tables::Plain {
                stop_jobs(&name)?;
            }
            migrate_to(&cluster().url(&name), version)?;
            let filled = fill(&name)?;
            let before = contents(&name, &filled)?;
            migrate(&name, tables)?;
            let reached = "SELECT max(version) FROM refinery_schema_history";
            assert_eq!(cluster().sql(&name, reached)?, newest.to_string());
            assert_eq!(contents(&name, &filled)?, before, "{tables:?}, from version {version}");
            for level in ["1m", "1h", "1d"] {
                let samples = format!("SELECT sum(samples) FROM telemetry_{level}");
                assert_eq!(cluster().sql(&name, &samples)?, ROWS.to_string(), "{level}");
            }

            if tables != Tables::Plain {
                let rows = "SELECT (SELECT count(*) FROM ONLY quarantine), count(*) > 1
                            FROM timescaledb_information.chunks
                            WHERE hypertable_name = 'quarantine'";
                assert_eq!(cluster().sql(&name, rows)?, "0|t", "rows stand in chunks of a day");
            }
            if tables != Tables::Server {
                // The server may be newer than this machine's pg_dump.
                let schema = schema(&name)?;
                migrate(&name, tables)?;
                assert_eq!(self::schema(&name)?, schema, "{tables:?}: the second time");
                schemas.push(schema);
            }
            let jobs = jobs(&name, tables)?;
            migrate(&name, tables)?;
            assert_eq!(self::jobs(&name, tables)?, jobs, "{tables:?}: the second time");
            assert_eq!(contents(&name, &filled)?, before, "{tables:?}: the second time");
        }
        if tables == Tables::Plain {
            // Chunks would have other numbers.
            assert!(
                schemas.windows(2).all(|pair| pair[0] == pair[1]),
                "another way, another schema"
            );
        }
    }
    Ok(())
}

#[test]
fn a_newer_schema_is_left_alone() -> Result<()> {
    let name = database(Tables::Plain)?;
    cluster().sql(
        &name,
        "INSERT INTO refinery_schema_history VALUES (9999, 'later', now(), '1');
         DROP VIEW telemetry_1d",
    )?;
    let schema = schema(&name)?;
    let run = ["run", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--journal", "off"];
    let migrating = [&run[..], &["--migrate"]].concat();
    for arguments in [&["migrate"][..], &migrating, &run] {
        let output = Command::new(sibling("receiver")?)
            .args(arguments)
            .env("DATABASE_URL", cluster().url(&name))
            .output()?;
        let error = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
        let newest = receiver::store::schema::current();
        let clear = format!("version 9999, this receiver knows up to {newest}: install a newer");
        assert!(error.contains(&clear), "{arguments:?}: {error}");
        assert_eq!(self::schema(&name)?, schema, "{arguments:?}");
    }
    Ok(())
}

fn migrate(database: &str, tables: Tables) -> Result<()> {
    let wanted = (tables != Tables::Plain).to_string();
    Station::migrate(&cluster().url(database), &["--timescaledb", &wanted])
}

/// Applies the migrations up to this version, as an earlier receiver did.
fn migrate_to(url: &str, version: i32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let runner = embedded::migrations::runner().set_target(refinery::Target::Version(version));
        runner.run_async(&mut client).await.context("a migration failed")?;
        Ok(())
    })
}

/// Puts rows into every table that is there, and gives back for each how to tell its contents, by
/// the columns that it has now.
fn fill(database: &str) -> Result<Vec<String>> {
    let columns = cluster().sql(
        database,
        "SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position),
                string_agg(CASE
                    WHEN column_name = 'severity' THEN '''watch'''
                    WHEN column_name = 'satellite_id' THEN '''SAT-0'' || n % 5 + 1'
                    WHEN data_type = 'timestamp with time zone'
                        THEN 'now() - n * interval ''1 hour'''
                    WHEN data_type = 'text' THEN quote_literal(column_name || ' ') || ' || n'
                    WHEN data_type = 'boolean' THEN 'n % 2 = 0'
                    WHEN data_type = 'inet' THEN '''127.0.0.1''::inet + n'
                    WHEN data_type = 'bytea' THEN 'int4send(n)'
                    WHEN data_type = 'smallint' THEN '(n % 64)::smallint'
                    ELSE 'n' END, ', ' ORDER BY ordinal_position)
         FROM information_schema.columns JOIN information_schema.tables
              USING (table_schema, table_name)
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
           AND table_name NOT IN ('satellite_mode', 'refinery_schema_history')
         GROUP BY 1 ORDER BY 1",
    )?;
    ensure!(columns.lines().count() >= 5, "tables of the first version are missing:\n{columns}");
    let mut contents = vec![
        "SELECT string_agg(mode || ' ' || name, ', ' ORDER BY mode) FROM satellite_mode".to_owned(),
    ];
    for line in columns.lines() {
        let mut parts = line.splitn(3, '|');
        let [table, columns, values] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        cluster().sql(
            database,
            &format!(
                "INSERT INTO {table} ({columns})
                 SELECT {values} FROM generate_series(1, {ROWS}) AS n"
            ),
        )?;
        contents.push(format!(
            "SELECT '{table}', count(*), md5(string_agg(row::text, ' ' ORDER BY row::text))
             FROM (SELECT {columns} FROM {table}) AS row"
        ));
    }
    Ok(contents)
}

fn contents(database: &str, queries: &[String]) -> Result<String> {
    cluster().sql(database, &queries.join(";\n"))
}

/// The whole schema, less the words that `pg_dump` draws for each dump.
fn schema(database: &str) -> Result<String> {
    let output = cluster().pg_dump(&cluster().url(database)).arg("--schema-only").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8(output.stdout)?;
    ensure!(dump.contains("CREATE TABLE public.telemetry"), "no dump: {dump}");
    let lines = dump.lines().filter(|line| !line.contains("restrict "));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The policies, which are data to `pg_dump`.
fn jobs(database: &str, tables: Tables) -> Result<String> {
    if tables == Tables::Plain {
        return Ok(String::new());
    }
    let jobs = "SELECT proc_name, hypertable_schema, hypertable_name, schedule_interval, scheduled,
                       max_runtime, max_retries, retry_period, owner, config::text
                FROM timescaledb_information.jobs ORDER BY 1, 2, 3";
    let jobs = cluster().sql(database, jobs)?;
    ensure!(jobs.lines().count() > 10, "policies are missing:\n{jobs}");
    Ok(jobs)
}
