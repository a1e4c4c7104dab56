//! The migrations run on plain PostgreSQL and with TimescaleDB, in several databases of one server,
//! and give each role what it needs and no more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, thread};

use anyhow::Result;
use harness::{Cluster, Station};

#[test]
fn migrations_run_on_plain_postgresql_and_twice_in_one_cluster() -> Result<()> {
    let cluster = Cluster::start()?;
    for database in ["first", "second"] {
        cluster.create_database(database)?;
        migrate(&cluster, database)?;
        check_tables_and_roles(&cluster, database)?;
    }
    Ok(())
}

#[test]
fn migrations_make_hypertables_where_timescaledb_is() -> Result<()> {
    let cluster = Cluster::start()?;
    // The test program `tiers` says whether it is installed.
    let databases = if cluster.has_timescaledb() { &["first", "second"][..] } else { &[] };
    for &database in databases {
        cluster.create_database(database)?;
        cluster.sql(database, "CREATE EXTENSION timescaledb")?;
        migrate(&cluster, database)?;
        check_tables_and_roles(&cluster, database)?;
        let dimensions = cluster.sql(
            database,
            "SELECT hypertable_name, column_name, time_interval
             FROM timescaledb_information.dimensions
             WHERE hypertable_schema = 'public' ORDER BY 1",
        )?;
        let expected = [
            "attitude|time|06:00:00",
            "link_health|time|06:00:00",
            "quarantine|time|1 day",
            "rejected_frame|time|1 day",
            "station_health|time|7 days",
            "telemetry|time|06:00:00",
        ];
        assert_eq!(dimensions, expected.join("\n"));
    }
    Ok(())
}

#[test]
fn migrations_work_for_an_owner_who_may_not_create_roles() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.sql(
        "postgres",
        "CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE DATABASE modest OWNER plain",
    )?;
    cluster.sql("modest", &format!("SET ROLE plain; {}", migrations()?))?;
    assert_eq!(
        cluster.sql("modest", "SELECT count(*) FROM pg_roles WHERE rolname ~ 'orbitstream_'")?,
        "0"
    );
    cluster.sql("modest", "SET ROLE plain; INSERT INTO satellite VALUES (1, 'SAT-01')")?;
    Ok(())
}

#[test]
fn the_reader_sees_what_another_user_migrates() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.create_database("shared")?;
    Station::migrate(&cluster.url("shared"), &[])?;
    cluster.sql(
        "shared",
        "CREATE ROLE other SUPERUSER LOGIN PASSWORD 'o';
         ALTER ROLE orbitstream_reader PASSWORD 'r'",
    )?;
    let [other, reader] = [("other", "o"), ("orbitstream_reader", "r")]
        .map(|(role, password)| cluster.url_as(role, Some(password), "shared"));
    // As a later migration would.
    cluster.sql_at(&other, "CREATE TABLE later (n int); CREATE VIEW later_still AS TABLE later")?;
    let look = "SELECT count(*) FROM later UNION ALL SELECT count(*) FROM later_still";
    assert!(cluster.sql_at(&reader, look).is_err(), "the case is not what it was made for");
    Station::migrate(&other, &[])?;
    assert_eq!(cluster.sql_at(&reader, look)?, "0\n0");
    Ok(())
}

#[test]
fn two_databases_may_be_migrated_at_once() -> Result<()> {
    let cluster = Cluster::start()?;
    let databases = ["a", "b", "c", "d"];
    for database in databases {
        cluster.create_database(database)?;
    }
    thread::scope(|scope| {
        databases
            .map(|database| scope.spawn(|| migrate(&cluster, database)))
            .into_iter()
            .try_for_each(|run| run.join().expect("no panic"))
    })?;
    for database in databases {
        check_tables_and_roles(&cluster, database)?;
    }
    Ok(())
}

/// Applies the migrations in their order, as `receiver migrate` does: each in a transaction.
fn migrate(cluster: &Cluster, database: &str) -> Result<()> {
    cluster.sql(database, &migrations()?)?;
    Ok(())
}

fn migrations() -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/migrations");
    let mut files: Vec<(u32, PathBuf)> = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (number, _) = name.trim_start_matches('V').split_once("__").expect("V<number>__<name>");
        files.push((number.parse()?, path));
    }
    files.sort();
    let mut script = String::new();
    for (_, path) in files {
        script.push_str(&["BEGIN;", &fs::read_to_string(path)?, "COMMIT;\n"].join("\n"));
    }
    Ok(script)
}

/// The writer can do its work and nothing else, and so can the reader.
fn check_tables_and_roles(cluster: &Cluster, database: &str) -> Result<()> {
    cluster.sql(
        database,
        "ALTER ROLE orbitstream_writer PASSWORD 'w'; ALTER ROLE orbitstream_reader PASSWORD 'r'",
    )?;
    let writer = cluster.url_as("orbitstream_writer", Some("w"), database);
    let reader = cluster.url_as("orbitstream_reader", Some("r"), database);
    let run = |url: &str, sql: &str| -> Result<String> {
        let mut command = cluster.psql(url);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().expect("a pipe").write_all(sql.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
    };

    for sql in [
        "BEGIN;
         INSERT INTO ingest_batch AS l (station, journal, shard, next, samples)
            VALUES ('GS-01', 1, 1, 1, 1)
            ON CONFLICT (station, journal, shard)
            DO UPDATE SET next = excluded.next, samples = l.samples + 1, updated_at = now();
         COPY telemetry (time, satellite_id, cpu_temp) FROM stdin;
2026-01-01T00:00:00Z\tSAT-01\t50
\\.
         COMMIT",
        "INSERT INTO attitude (time, satellite_id, q0) VALUES (now(), 'SAT-01', 1)",
        "INSERT INTO satellite VALUES (1, 'SAT-01') ON CONFLICT DO NOTHING",
        "INSERT INTO satellite VALUES (1, 'SAT-01') ON CONFLICT DO NOTHING",
        "INSERT INTO quarantine (station, reason, raw) VALUES ('GS-01', 'too old', 'x')",
    ] {
        assert_eq!(run(&writer, sql)?, "", "{sql}");
    }
    for sql in [
        "SELECT * FROM telemetry",
        "DELETE FROM telemetry",
        "UPDATE attitude SET q0 = 2",
        "DELETE FROM ingest_batch",
        "TRUNCATE quarantine",
    ] {
        assert!(run(&writer, sql)?.contains("permission denied"), "{sql}");
    }

    let sample = "SELECT cpu_temp, mode FROM telemetry WHERE satellite_id = 'SAT-01'";
    assert_eq!(run(&reader, sample)?, "50|");
    assert_eq!(run(&reader, "SELECT count(*) FROM satellite_mode")?, "4");
    assert_eq!(run(&reader, "SHOW statement_timeout")?, "30s");
    assert_eq!(run(&reader, "SHOW work_mem")?, "32MB");
    let refused = run(&reader, "INSERT INTO satellite VALUES (2, 'SAT-02')")?;
    assert!(refused.contains("read-only transaction"), "{refused}");
    let refused = run(&reader, "BEGIN READ WRITE; DELETE FROM telemetry; COMMIT")?;
    assert!(refused.contains("permission denied"), "{refused}");
    cluster.sql(database, "CREATE TABLE later (n int)")?;
    assert_eq!(run(&reader, "SELECT count(*) FROM later")?, "0");

    let excess = cluster.sql(database, MORE_THAN_THEIR_WORK)?;
    assert_eq!(excess, "", "rights that nobody needs");
    let blind = cluster.sql(
        database,
        "SELECT relname FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
           AND NOT has_table_privilege('orbitstream_reader', oid, 'SELECT')",
    )?;
    assert_eq!(blind, "", "what the reader cannot see");
    for sql in
        ["DROP TABLE telemetry", "ALTER TABLE telemetry ADD more int", "CREATE TABLE n (n int)"]
    {
        for (role, url) in [("writer", &writer), ("reader", &reader)] {
            let refused = run(url, sql)?;
            let words = ["must be owner", "permission denied", "read-only transaction"];
            assert!(words.iter().any(|words| refused.contains(words)), "{role}: {sql}: {refused}");
        }
    }

    // The timeout does cut off, shown with a shorter one; an administrator's setting is kept.
    let limit = |timeout: &str| {
        let set = format!("ALTER ROLE orbitstream_reader SET statement_timeout = '{timeout}'");
        cluster.sql(database, &set)
    };
    limit("300ms")?;
    let cut = run(&reader, "SELECT pg_sleep(20)")?;
    assert!(cut.contains("canceling statement due to statement timeout"), "{cut}");
    limit("30s")?;

    let plan = cluster.sql(
        database,
        "SET enable_seqscan = off;
         EXPLAIN SELECT time, cpu_temp FROM telemetry WHERE satellite_id = 'SAT-01'",
    )?;
    assert!(plan.contains("telemetry_satellite_id_time_idx"), "{plan}");
    let uncommented = cluster.sql(
        database,
        "SELECT relname FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'later'
           AND obj_description(oid, 'pg_class') IS NULL",
    )?;
    assert_eq!(uncommented, "", "tables without a comment");
    Ok(())
}

/// Rights of the two roles beyond what they need, on every table and view, chunks included.
const MORE_THAN_THEIR_WORK: &str = "
    SELECT role, relation, has
    FROM (VALUES ('orbitstream_writer'), ('orbitstream_reader')) AS roles (role),
         (SELECT oid, oid::regclass::text AS relation FROM pg_class
          WHERE relkind IN ('r', 'p', 'v', 'm')
            AND (relnamespace = 'public'::regnamespace
                 OR relname ~ '^(_hyper|compress_hyper|_compressed_hyper|_materialized_hyper)'))
             AS relations,
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
             AS has
    WHERE has_table_privilege(role, oid, has)
      AND NOT CASE
          WHEN role = 'orbitstream_reader' THEN has = 'SELECT'
          WHEN relation IN ('ingest_batch', 'anomaly') THEN has IN ('SELECT', 'INSERT', 'UPDATE')
          WHEN relation = 'refinery_schema_history' THEN has = 'SELECT'
          ELSE has = 'INSERT'
      END";
