//! `/readyz` is 200 only while samples are stored or could be, and else has the server's own words;
//! and whatever the database does, there are no more connections than writers and one.

mod support;

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use harness::{Cluster, ClusterOptions, StopMode};
use support::{Ground, Tables, cluster, tables};

const PATIENCE: Duration = Duration::from_secs(40);

fn wait_until(station: &mut harness::Station, status: u16, part: &str) -> Result<Duration> {
    let start = Instant::now();
    loop {
        station.program().check_running()?;
        match station.ask("/readyz") {
            Ok((now, said)) if now == status && said.contains(part) => return Ok(start.elapsed()),
            said if start.elapsed() > PATIENCE => bail!("not {status} {part:?}: {said:?}"),
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A sample of each of 64 satellites, so that every writer has some.
fn post_all(station: &harness::Station) -> Result<u64> {
    let samples: Vec<_> = (1..=SATELLITES)
        .map(|number| format!(r#"{{"satellite_id": "SAT-{number:02}", "temp": 1}}"#))
        .collect();
    assert_eq!(station.post(format!("[{}]", samples.join(",")))?.0, 200);
    Ok(SATELLITES)
}

/// Connections of the station in a database.
fn connections(database: &str) -> Result<u64> {
    let count = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'orbitstream receiver'";
    Ok(cluster().sql(database, count)?.parse()?)
}

/// A person's session that holds a lock until it is dropped.
struct Lock(std::process::Child);

impl Lock {
    fn take(database: &str, statement: &str) -> Result<Self> {
        use std::io::{BufRead as _, BufReader, Write as _};
        let url = cluster().url(database);
        let mut psql = cluster().psql(&url);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.as_mut().context("no input")?;
        writeln!(input, "BEGIN; {statement}; SELECT 'taken';")?;
        input.flush()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        assert_eq!(line.trim(), "taken");
        Ok(Self(child))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

#[test]
fn a_lock_that_a_person_holds_leaves_no_connections_behind() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &["--writers", "16"])?;
        let Ground { mut station, database, folder } = ground;
        let mut sent = post_all(&station)?;
        station.wait_until_quiet()?;
        for table in ["telemetry", "ingest_batch"] {
            let lock = Lock::take(&database, &format!("LOCK {table} IN ACCESS EXCLUSIVE MODE"))?;
            sent += post_all(&station)?;
            let noticed = wait_until(&mut station, 503, "lock timeout (SQLSTATE 55P03)")?;
            assert!(noticed < Duration::from_secs(15), "{noticed:?}");
            let start = Instant::now();
            let mut most = 0;
            while start.elapsed() < Duration::from_secs(20) {
                most = most.max(connections(&database)?);
                thread::sleep(Duration::from_millis(100));
            }
            assert!(most <= 17, "{most} connections of 16 writers");
            assert_eq!(station.ask("/readyz")?.0, 503);
            drop(lock);
            wait_until(&mut station, 200, "ready")?;
            station.wait_until_quiet()?;
        }
        let ground = Ground { station, database, folder };
        assert_eq!(ground.stop()?.committed, sent);
    }
    Ok(())
}

#[test]
fn a_station_that_is_stopped_or_cut_off_leaves_no_process_waiting_for_a_lock() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &["--writers", "4", "--drain-timeout", "1s"])?;
    let Ground { mut station, database, folder: _folder } = ground;
    post_all(&station)?;
    station.wait_until_quiet()?;
    let _lock = Lock::take(&database, "LOCK telemetry IN ACCESS EXCLUSIVE MODE")?;
    post_all(&station)?;
    thread::sleep(Duration::from_millis(500));
    let counters = station.stop()?;
    assert_eq!(counters.pending, SATELLITES, "{counters:?}");
    assert_eq!(connections(&database)?, 0);
    Ok(())
}

#[test]
fn a_read_only_database_is_said_before_and_after_samples_come() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &["--writers", "2"])?;
    post_all(&ground.station)?;
    ground.station.wait_until_quiet()?;
    let name = ground.database.clone();
    ground.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))?;
    wait_until(&mut ground.station, 503, "the database is read-only")?;
    // New connections have the setting, and the server refuses by itself.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'orbitstream receiver'";
    ground.sql(end)?;
    post_all(&ground.station)?;
    wait_until(&mut ground.station, 503, "(SQLSTATE 25006)")?;
    thread::sleep(Duration::from_secs(1));
    assert_eq!(ground.station.counters()?.pending, SATELLITES);
    cluster()
        .sql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"))?;
    wait_until(&mut ground.station, 200, "ready")?;
    ground.station.wait_until_quiet()?;
    assert_eq!(ground.stop()?.committed, 2 * SATELLITES);
    Ok(())
}

#[test]
fn what_the_server_refuses_is_said_in_its_own_words() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &["--writers", "2"])?;
    post_all(&ground.station)?;
    ground.station.wait_until_quiet()?;
    // As the server does when its disk is full.
    ground.sql(
        "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             RAISE EXCEPTION E'could not extend file \"base/1\":\\n no space'
                 USING ERRCODE = 'disk_full';
         END $$;
         CREATE TRIGGER disk_full BEFORE INSERT ON telemetry FOR EACH ROW
         EXECUTE FUNCTION disk_full()",
    )?;
    post_all(&ground.station)?;
    wait_until(
        &mut ground.station,
        503,
        "could not extend file \"base/1\":  no space (SQLSTATE 53100)",
    )?;
    ground.sql("DROP TRIGGER disk_full ON telemetry")?;
    wait_until(&mut ground.station, 200, "ready")?;
    ground.station.wait_until_quiet()?;
    assert_eq!(ground.stop()?.committed, 2 * SATELLITES);
    Ok(())
}

#[test]
fn what_is_committed_outlives_a_crash_of_a_server_that_does_not_wait_for_its_disk() -> Result<()> {
    let cluster = Cluster::start_with(&ClusterOptions {
        durable: true,
        // What is not flushed by the commit itself is flushed late.
        settings: vec![("wal_writer_delay".into(), "10s".into())],
        ..ClusterOptions::default()
    })?;
    cluster.create_database("orbitstream")?;
    cluster.sql("postgres", "ALTER DATABASE orbitstream SET synchronous_commit = off")?;
    let url = cluster.url("orbitstream");
    let folder = tempfile::tempdir()?;
    let options = ["--migrate", "--writers", "2"];
    let mut station = harness::Station::start(&url, folder.path(), support::ports(), &options)?;
    assert_eq!(cluster.sql("orbitstream", "SHOW synchronous_commit")?, "off");
    let mut sent = 0;
    for _ in 0..3 {
        sent += post_all(&station)?;
        station.wait_until_quiet()?;
        assert_eq!(station.counters()?.committed, sent);
        cluster.stop(StopMode::Immediate)?;
        cluster.start_again()?;
        let stored = cluster.sql("orbitstream", "SELECT count(*) FROM telemetry")?;
        assert_eq!(stored, sent.to_string());
        station.wait_until_ready()?;
    }
    let counters = station.stop()?;
    assert_eq!((counters.committed, counters.pending), (sent, 0));
    Ok(())
}

const SATELLITES: u64 = 64;
