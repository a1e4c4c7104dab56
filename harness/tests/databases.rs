//! People's own databases: names that need quotes, TimescaleDB there or not, in another schema or
//! under another licence, poolers, locks of others, and servers with few processes.

mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use harness::{Cluster, ClusterOptions, Pgbouncer, Station, program::sibling};
use support::{Tables, cluster, empty_database, ports, tables};

const SAMPLE: &str = r#"{"satellite_id": "SAT-01", "temp": 50}"#;

/// Every octet that is no letter or digit, as a URL has it.
fn encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The same address with `search_path`, in which a name stands in quotes.
fn in_schema(url: &str, schema: &str) -> String {
    let path = quoted(schema).replace('\\', r"\\").replace(' ', r"\ ");
    format!("{url}?options=-c%20search_path%3D{}", encoded(&path))
}

fn migrate(url: &str, options: &[&str]) -> Result<Output> {
    let mut command = Command::new(sibling("receiver")?);
    Ok(command.arg("migrate").args(options).env("DATABASE_URL", url).output()?)
}

fn migrated(url: &str, options: &[&str]) -> Result<String> {
    let output = migrate(url, options)?;
    let log = [output.stdout, output.stderr].concat();
    let log = String::from_utf8_lossy(&log).into_owned();
    ensure!(output.status.success(), "{log}");
    Ok(log)
}

fn refused(url: &str, options: &[&str]) -> Result<String> {
    let output = migrate(url, options)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it works: {error}");
    Ok(error)
}

/// Whether the tables of a schema are hypertables, and how many policies they have.
fn kind_and_policies(cluster: &Cluster, database: &str, schema: &str) -> Result<(bool, u32)> {
    let catalogue = "SELECT to_regclass('timescaledb_information.jobs') IS NOT NULL";
    if cluster.sql(database, catalogue)? == "f" {
        return Ok((false, 0));
    }
    let schema = schema.replace('\'', "''");
    let counts = cluster.sql(
        database,
        &format!(
            "SELECT (SELECT count(*) > 0 FROM timescaledb_information.hypertables
                     WHERE hypertable_schema = '{schema}' AND hypertable_name = 'telemetry'),
                    (SELECT count(*) FROM timescaledb_information.jobs
                     WHERE hypertable_name IS NOT NULL)"
        ),
    )?;
    let (is_hyper, policies) = counts.split_once('|').context("two columns")?;
    Ok((is_hyper == "t", policies.parse()?))
}

/// Starts a station, lets it store a sample, and counts what is found in the schema.
fn store_one(cluster: &Cluster, url: &str, database: &str, schema: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut station = Station::start(url, folder.path(), ports(), &["--writers", "2"])?;
    assert_eq!(station.post(SAMPLE)?.0, 200);
    station.wait_until_quiet()?;
    assert_eq!(station.stop()?.committed, 1);
    let rows = format!("SELECT cpu_temp FROM {}.telemetry", quoted(schema));
    assert_eq!(cluster.sql(database, &rows)?, "50");
    Ok(())
}

#[test]
fn names_that_need_quotes_work_for_owners_writers_and_readers() -> Result<()> {
    let cluster = Cluster::start()?;
    let kinds = if cluster.has_timescaledb() { &[false, true][..] } else { &[false] };
    for &is_hyper in kinds {
        for (place, (schema, owner)) in [
            ("GS-1", "Operator"),
            ("My ground station", "op-1"),
            (r#"it's "quoted""#, r#"O"Neil's"#),
            ("Grün;--", "Überwacher 1"),
            ("select", "user"),
        ]
        .into_iter()
        .enumerate()
        {
            let database = format!("Db {place} \"{is_hyper}\"");
            cluster.create_database(&database)?;
            let create = if is_hyper { "CREATE EXTENSION timescaledb;" } else { "" };
            let (role, space) = (quoted(owner), quoted(schema));
            let make_role = if is_hyper {
                // It was made for the database with plain tables.
                String::new()
            } else {
                format!("CREATE ROLE {role} LOGIN CREATEROLE PASSWORD 'p';")
            };
            cluster.sql(
                &database,
                &format!(
                    "{create} {make_role}
                     GRANT ALL ON DATABASE {} TO {role} WITH GRANT OPTION;
                     CREATE SCHEMA {space} AUTHORIZATION {role}",
                    quoted(&database)
                ),
            )?;
            let url = |role: &str, password: &str| {
                let url = cluster.url_as(&encoded(role), Some(password), &encoded(&database));
                in_schema(&url, schema)
            };
            let kind = is_hyper.to_string();
            for _ in 0..2 {
                migrated(&url(owner, "p"), &["--timescaledb", &kind])
                    .with_context(|| format!("schema {schema}, owner {owner}, {is_hyper}"))?;
                let policies = if is_hyper { 26 } else { 0 };
                let (found, jobs) = kind_and_policies(&cluster, &database, schema)?;
                assert_eq!(found, is_hyper, "{schema}");
                assert_eq!(jobs, policies, "policies of {schema}");
            }
            cluster.sql(
                &database,
                "ALTER ROLE orbitstream_writer PASSWORD 'w';
                 ALTER ROLE orbitstream_reader PASSWORD 'r'",
            )?;
            store_one(&cluster, &url("orbitstream_writer", "w"), &database, schema)?;
            let reader = cluster.url_as("orbitstream_reader", Some("r"), &encoded(&database));
            let seen = cluster.sql_at(
                &reader,
                &format!("SELECT sum(samples), min(cpu_temp_avg) FROM {space}.telemetry_1m"),
            )?;
            assert_eq!(seen, "1|50", "{schema}");
            let blind = format!(
                "SELECT relname FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
                 WHERE quote_ident(nspname) = '{}' AND relkind IN ('r', 'p', 'v', 'm')
                   AND NOT has_table_privilege('orbitstream_reader', pg_class.oid, 'SELECT')",
                cluster.sql(&database, &format!("SELECT quote_ident('{}')", schema.replace('\'', "''")))?
                    .replace('\'', "''"),
            );
            assert_eq!(cluster.sql(&database, &blind)?, "", "what the reader cannot see");
        }
    }
    Ok(())
}

#[test]
fn a_schema_that_does_not_exist_is_said_with_how_to_quote() -> Result<()> {
    let name = empty_database(Tables::Plain)?;
    let url = format!("{}?options=-csearch_path%3DGS-1", cluster().url(&name));
    let error = refused(&url, &[])?;
    assert!(error.contains("CREATE SCHEMA") && error.contains("\"GS-1\""), "{error}");
    Ok(())
}

#[test]
fn plain_tables_are_made_and_kept_beside_the_extension() -> Result<()> {
    if !cluster().has_timescaledb() {
        return Ok(());
    }
    // Installed before, in the schema of the tables and in another one; installed afterwards.
    for (before, after) in [
        ("CREATE EXTENSION timescaledb", ""),
        ("CREATE SCHEMA ts; CREATE EXTENSION timescaledb SCHEMA ts", ""),
        ("", "CREATE SCHEMA ts; CREATE EXTENSION timescaledb SCHEMA ts"),
    ] {
        let name = empty_database(Tables::Plain)?;
        let url = cluster().url(&name);
        cluster().sql(&name, &format!("SELECT 1;{before}"))?;
        migrated(&url, &["--timescaledb", "false"])?;
        cluster().sql(&name, &format!("SELECT 1;{after}"))?;
        for wanted in ["true", "false"] {
            migrated(&url, &["--timescaledb", wanted])?;
            assert_eq!(kind_and_policies(cluster(), &name, "public")?, (false, 0), "{before}");
        }
        store_one(cluster(), &url, &name, "public")?;
        let buckets =
            "SELECT sum(samples), count(*) FILTER (WHERE bucket = time_bucket('1 minute', bucket))
                       FROM telemetry_1m";
        assert_eq!(cluster().sql(&name, buckets)?, "1|1", "{before}{after}");
    }
    Ok(())
}

#[test]
fn hypertables_work_with_the_extension_in_another_schema() -> Result<()> {
    if !cluster().has_timescaledb() {
        return Ok(());
    }
    for (extension, schema) in [("Time Scale", "public"), ("public", "GS-1"), ("GS-1", "GS-1")] {
        let name = empty_database(Tables::Plain)?;
        cluster().sql(
            &name,
            &format!(
                "CREATE SCHEMA IF NOT EXISTS {0}; CREATE SCHEMA IF NOT EXISTS {1};
                 CREATE EXTENSION timescaledb SCHEMA {0}",
                quoted(extension),
                quoted(schema)
            ),
        )?;
        let url = in_schema(&cluster().url(&name), schema);
        for _ in 0..2 {
            migrated(&url, &[])?;
            assert_eq!(kind_and_policies(cluster(), &name, schema)?, (true, 26), "{extension}");
        }
        store_one(cluster(), &url, &name, schema)?;
        // As dashboards ask, with the path that leads to the tables alone.
        let asked = format!(
            "SET search_path = {}; SELECT count(*) FROM telemetry
             WHERE time_bucket('1 minute', time) = (SELECT bucket FROM telemetry_1m)",
            quoted(schema)
        );
        assert_eq!(cluster().sql(&name, &asked)?, "1", "{extension}");
    }
    // A second installation has hypertables and policies of its own.
    let name = empty_database(Tables::Hyper)?;
    migrated(&cluster().url(&name), &[])?;
    cluster().sql(&name, "CREATE SCHEMA \"GS-2\"")?;
    migrated(&in_schema(&cluster().url(&name), "GS-2"), &["--retention", "60d"])?;
    migrated(&cluster().url(&name), &[])?;
    assert_eq!(kind_and_policies(cluster(), &name, "GS-2")?, (true, 52));
    let kept = "SELECT hypertable_schema, config ->> 'drop_after' FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_retention' AND hypertable_name = 'telemetry' ORDER BY 1";
    assert_eq!(cluster().sql(&name, kept)?, "GS-2|1 day 1440:00:00\npublic|1 day 720:00:00");
    Ok(())
}

#[test]
fn under_the_apache_licence_tables_are_plain_and_hypertables_are_refused_before_anything()
-> Result<()> {
    if !cluster().has_timescaledb() {
        return Ok(());
    }
    let server = Cluster::start_with(&ClusterOptions {
        settings: vec![("timescaledb.license".into(), "apache".into())],
        ..ClusterOptions::default()
    })?;
    for (name, extension, options) in [
        ("new", "", &[][..]),
        ("installed", "CREATE EXTENSION timescaledb", &[]),
        ("unwanted", "CREATE EXTENSION timescaledb", &["--timescaledb", "false"]),
    ] {
        server.create_database(name)?;
        server.sql(name, &format!("SELECT 1;{extension}"))?;
        let log = migrated(&server.url(name), options)?;
        assert_eq!(log.contains("timescaledb.license is 'apache'"), options.is_empty(), "{log}");
        assert!(!kind_and_policies(&server, name, "public")?.0);
        store_one(&server, &server.url(name), name, "public")?;
    }
    // What an earlier receiver has left behind there.
    server.create_database("half")?;
    let first = include_str!("../../schema/migrations/V1__initial.sql");
    server.sql(
        "half",
        &format!(
            "CREATE EXTENSION timescaledb; {first};
             CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255),
                 applied_on varchar(255), checksum varchar(255))"
        ),
    )?;
    let error = refused(&server.url("half"), &[])?;
    assert!(error.contains("'apache'") && error.contains("--timescaledb false"), "{error}");
    Ok(())
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() -> Result<()> {
    for tables in tables() {
        if tables == Tables::Server {
            continue;
        }
        let name = empty_database(Tables::Plain)?;
        let url = cluster().url(&name);
        let wanted = (tables == Tables::Hyper).to_string();
        // What the last but some of the migrations makes is there already.
        cluster().sql(&name, "CREATE FUNCTION telemetry_latest() RETURNS int RETURN 1")?;
        let error = refused(&url, &["--timescaledb", &wanted])?;
        assert!(error.contains("nothing was changed: V8__telemetry_latest: "), "{error}");
        assert!(error.contains("(SQLSTATE 42723)"), "{error}");
        let hint = error.contains("--timescaledb false");
        assert_eq!(hint, tables == Tables::Hyper, "{error}");
        let left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace
                    UNION ALL SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'";
        assert_eq!(cluster().sql(&name, left)?, "0\n0", "{tables:?}");
        cluster().sql(&name, "DROP FUNCTION telemetry_latest()")?;
        migrated(&url, &["--timescaledb", "false"])?;
        assert_eq!(kind_and_policies(cluster(), &name, "public")?, (false, 0));
    }
    Ok(())
}

/// Lines of a program's log until one has all of the parts.
fn wait_for_line(child: &mut Child, parts: &[&str]) -> Result<String> {
    let log = child.stdout.take().context("no log")?;
    let mut seen = String::new();
    let mut log = BufReader::new(log);
    loop {
        let start = seen.len();
        ensure!(log.read_line(&mut seen)? > 0, "no {parts:?} in:\n{seen}");
        let line = &seen[start..];
        if parts.iter().all(|part| line.contains(part)) {
            let line = line.to_owned();
            // It is written on, and the pipe has to be emptied.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(line);
        }
    }
}

#[test]
fn a_migration_that_waits_for_a_lock_says_who_holds_it() -> Result<()> {
    let name = empty_database(Tables::Plain)?;
    let url = cluster().url(&name);
    for statement in [
        // Left behind by a session that has ended for its user, and not for the server.
        "SELECT pg_advisory_lock(hashtext('orbitstream migrate'))",
        "BEGIN; LOCK TABLE refinery_schema_history",
    ] {
        let (mut holder, pid) = hold(&url, statement)?;
        let mut command = Command::new(sibling("receiver")?);
        command.args(["migrate", "--timescaledb", "false"]).env("DATABASE_URL", &url);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let holds = format!("session {pid} holds it (application \"somebody's console\"");
        let line =
            wait_for_line(&mut child, &["migrate waits for a lock on ", &holds, "since 20"])?;
        assert!(line.contains("user \"orbitstream\""), "{line}");
        // The end of its input ends it.
        drop(holder.stdin.take());
        holder.wait()?;
        assert!(child.wait()?.success());
    }
    // Where there are tables, a lock that every role can take holds up no migration.
    let (mut holder, _) = hold(&url, "SELECT pg_advisory_lock(hashtext('orbitstream migrate'))")?;
    migrated(&url, &["--timescaledb", "false"])?;
    drop(holder.stdin.take());
    holder.wait()?;
    Ok(())
}

/// A session that has executed a statement, until its input is closed, and its process at the server.
fn hold(url: &str, statement: &str) -> Result<(Child, String)> {
    let mut holder = cluster()
        .psql(url)
        .env("PGAPPNAME", "somebody's console")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = holder.stdin.as_mut().context("no input")?;
    writeln!(input, "{statement}; SELECT 'taken', pg_backend_pid();")?;
    input.flush()?;
    let mut output = BufReader::new(holder.stdout.take().context("no output")?).lines();
    loop {
        let line = output.next().context("psql has ended")??;
        if let Some((_, pid)) = line.split_once("taken|") {
            return Ok((holder, pid.to_owned()));
        }
    }
}

#[test]
fn too_few_worker_processes_are_said_with_the_number_to_set() -> Result<()> {
    if !cluster().has_timescaledb() {
        return Ok(());
    }
    let server = Cluster::start_with(&ClusterOptions {
        settings: vec![
            ("max_worker_processes".into(), "8".into()),
            ("max_parallel_workers".into(), "6".into()),
        ],
        ..ClusterOptions::default()
    })?;
    let said = "max_worker_processes is 8, too few";
    for (name, wanted) in [("hyper", "true"), ("plain", "false")] {
        server.create_database(name)?;
        let url = server.url(name);
        let log = migrated(&url, &["--timescaledb", wanted])?;
        let is_said = log.contains(said) && log.contains("set it to 25");
        assert_eq!(is_said, wanted == "true", "{log}");
        let folder = tempfile::tempdir()?;
        let station = Station::start(&url, folder.path(), ports(), &[])?;
        let start = Instant::now();
        loop {
            let (status, answer) = station.ask("/readyz")?;
            assert_eq!(status, 200, "{answer}");
            if answer.contains(said) == (wanted == "true") {
                break;
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "{wanted}: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
        station.stop()?;
    }
    Ok(())
}

#[test]
fn a_pooler_in_session_mode_works_and_one_in_transaction_mode_is_refused() -> Result<()> {
    if Pgbouncer::program().is_none() {
        // The tiers say so, too.
        eprintln!("not run: pgbouncer is not installed (scripts/setup.sh pgbouncer)");
        return Ok(());
    }
    let server = Cluster::start()?;
    server.create_database("telemetry")?;
    server.sql("telemetry", "CREATE SCHEMA \"GS-1\"")?;
    for mode in ["transaction", "statement"] {
        let pooler = Pgbouncer::start(&server, mode, 20)?;
        let url = in_schema(&pooler.url("telemetry"), "GS-1");
        let words = "leads to a connection pooler in transaction mode";
        let error = refused(&url, &[])?;
        assert!(error.contains(words) && error.lines().count() == 1, "{mode}: {error}");
        let folder = tempfile::tempdir()?;
        let mut station =
            Station::launch(&url, folder.path(), ports(), &["--migrate", "--journal", "off"])?;
        let start = Instant::now();
        loop {
            station.program().check_running()?;
            match station.ask("/readyz") {
                Ok((503, said)) if said.contains(words) => break,
                said => ensure!(start.elapsed() < Duration::from_secs(30), "{said:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        station.kill()?;
        // Nothing was made, and no lock or setting stays behind in the pool.
        let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                    UNION ALL SELECT count(*) FROM pg_tables WHERE schemaname = 'GS-1'";
        assert_eq!(server.sql("telemetry", left)?, "0\n0");
        assert_eq!(server.sql_at(&pooler.url("telemetry"), "SHOW lock_timeout")?, "0");
    }
    let pooler = Pgbouncer::start(&server, "session", 20)?;
    let url = in_schema(&pooler.url("telemetry"), "GS-1");
    migrated(&url, &[])?;
    store_one(&server, &url, "telemetry", "GS-1")?;
    // With a pool of one, the second connection of the check has to wait, and is given up.
    let pooler = Pgbouncer::start(&server, "session", 1)?;
    migrated(&in_schema(&pooler.url("telemetry"), "GS-1"), &[])?;
    Ok(())
}
