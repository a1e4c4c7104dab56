//! What is wrong when the station starts: one line that says what to do, an exit code other than 0,
//! and no panic.

mod support;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Cluster, StopMode, program::sibling};
use support::{Ground, Tables, cluster, database, ports};

/// Runs the receiver, which has to fail with one line.
fn failure(url: &str, options: &[&str]) -> Result<String> {
    let output = Command::new(sibling("receiver")?)
        .args(["run", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
        .args(options)
        .env("DATABASE_URL", url)
        .output()?;
    let error = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "{options:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{options:?}: {error}");
    assert!(error.starts_with("error: "), "{error}");
    Ok(error)
}

/// Starts a station that cannot store yet, and reads what `/readyz` says until it says `part`.
fn unready(
    url: &str,
    options: &[&str],
    part: &str,
) -> Result<(harness::Station, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let mut station = harness::Station::launch(url, folder.path(), ports(), options)?;
    let start = Instant::now();
    loop {
        station.program().check_running()?;
        match station.ask("/readyz") {
            Ok((503, said)) if said.contains(part) => return Ok((station, folder)),
            said if start.elapsed() > Duration::from_secs(20) => panic!("{part}: {said:?}"),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[test]
fn a_schema_that_is_missing_older_or_newer_is_said_and_waited_for() -> Result<()> {
    let name = database(Tables::Plain)?;
    let url = cluster().url(&name);
    let history = "refinery_schema_history";
    cluster().sql(&name, &format!("INSERT INTO {history} VALUES (9999, 'later', now(), '1')"))?;
    for options in [&[][..], &["--migrate"]] {
        assert!(failure(&url, options)?.contains("install a newer receiver"));
    }
    let older = format!("DELETE FROM {history} WHERE version <> 1");
    cluster().sql(&name, &older)?;
    unready(&url, &[], "receiver migrate")?.0.stop()?;
    cluster().sql("postgres", "CREATE DATABASE empty")?;
    let url = cluster().url("empty");
    let (mut station, _folder) = unready(&url, &[], "receiver migrate")?;
    // What comes meanwhile is kept, and stored once there are tables.
    assert_eq!(station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
    harness::Station::migrate(&url, &["--timescaledb", "false"])?;
    station.wait_until_ready()?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    assert_eq!((counters.json, counters.committed, counters.pending), (1, 1, 0));
    assert_eq!(cluster().sql("empty", "SELECT cpu_temp FROM telemetry")?, "1");
    Ok(())
}

#[test]
fn ports_that_are_taken() -> Result<()> {
    let url = cluster().url(&database(Tables::Plain)?);
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let address = tcp.local_addr()?.to_string();
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    // A later option replaces an earlier one only where one value is taken, so `--listen` is added.
    let error = failure(&url, &["--listen", &udp.local_addr()?.to_string()])?;
    assert!(error.contains("--listen"), "{error}");
    let output = Command::new(sibling("receiver")?)
        .args(["--http", &address])
        .env("DATABASE_URL", &url)
        .output()?;
    let error = String::from_utf8(output.stderr)?;
    assert!(error.contains("--http") && error.lines().count() == 1, "{error}");
    Ok(())
}

#[test]
fn options_files_and_urls() -> Result<()> {
    let url = cluster().url("postgres");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("station.toml");
    std::fs::write(&file, "statoin = 'GS-02'\n")?;
    let file = file.to_string_lossy();
    for (url, options, part) in [
        (&*url, &["--config", "/no/such/file.toml"][..], "/no/such/file.toml"),
        (&url, &["--config", &file], "`statoin`"),
        (&url, &["--lisen", "x"], "--listen"),
        (&url, &["--report", "/no/such/folder/report.json"], "/no/such/folder"),
        ("postgres//x", &[], "postgresql://USER"),
        ("mysql://x/y", &[], "postgresql://USER"),
    ] {
        let error = failure(url, options)?;
        assert!(error.contains(part), "{options:?}: {error}");
    }
    Ok(())
}

#[test]
fn a_database_that_does_not_come_leaves_what_came_in_the_journal() -> Result<()> {
    let nobody = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    for (url, said) in [
        (format!("postgres://x@127.0.0.1:{nobody}/x"), "database unreachable"),
        // Where the server answers, these are its own words.
        (cluster().url("no_such_database"), "does not exist (SQLSTATE 3D000)"),
        (cluster().url_as("orbitstream", Some("wrong"), "postgres"), "(SQLSTATE 28P01)"),
    ] {
        let options = ["--drain-timeout", "1s"];
        let (station, _folder) = unready(&url, &options, said)?;
        assert_eq!(station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
        let counters = station.stop()?;
        assert_eq!((counters.json, counters.committed, counters.pending), (1, 0, 1));
    }
    Ok(())
}

#[test]
fn a_database_that_comes_late_or_goes_away_is_waited_for() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.create_database("orbitstream")?;
    let url = cluster.url("orbitstream");
    cluster.stop(StopMode::Fast)?;
    let folder = tempfile::tempdir()?;
    let options = ["--migrate", "--writers", "1"];
    let mut station = harness::Station::launch(&url, folder.path(), ports(), &options)?;
    std::thread::sleep(Duration::from_secs(1));
    station.program().check_running()?;
    cluster.start_again()?;
    station.wait_until_ready()?;
    assert_eq!(station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
    station.wait_until_quiet()?;
    cluster.stop(StopMode::Immediate)?;
    assert_eq!(station.post(r#"{"satellite_id": "SAT-01", "temp": 2}"#)?.0, 200);
    let gone = Instant::now();
    while station.get("/readyz").is_ok() {
        assert!(gone.elapsed() < Duration::from_secs(20), "it still says ready");
        std::thread::sleep(Duration::from_millis(200));
    }
    // The metrics say so too, and are there meanwhile.
    wait_for_metric(&station, "orbitstream_database_up 0\n")?;
    assert!(station.get("/metrics")?.contains("orbitstream_pending 1\n"));
    cluster.start_again()?;
    station.wait_until_quiet()?;
    station.wait_until_ready()?;
    wait_for_metric(&station, "orbitstream_database_up 1\n")?;
    assert!(station.get("/metrics")?.contains("orbitstream_ready 1\n"));
    let counters = station.stop()?;
    assert_eq!((counters.json, counters.committed, counters.pending), (2, 2, 0));
    assert_eq!(cluster.sql("orbitstream", "SELECT count(*) FROM telemetry")?, "2");
    Ok(())
}

fn wait_for_metric(station: &harness::Station, line: &str) -> Result<()> {
    let start = Instant::now();
    while !station.get("/metrics")?.contains(line) {
        assert!(start.elapsed() < Duration::from_secs(40), "{line}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn a_client_that_never_finishes_does_not_hold_up_the_end() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &[])?;
    let mut client = TcpStream::connect(ground.station.http_address())?;
    client.write_all(b"POST /telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")?;
    assert_eq!(ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
    ground.station.program().interrupt()?;
    ground.station.program().wait_for_success(Duration::from_secs(20))?;
    assert_eq!(ground.sql("SELECT count(*) FROM telemetry")?, "1");
    Ok(())
}

#[test]
fn samples_that_could_not_be_stored_are_said_at_the_end() -> Result<()> {
    let options = ["--drain-timeout", "1s", "--journal", "off"];
    let mut ground = Ground::start(Tables::Plain, &options)?;
    ground.sql("ALTER TABLE telemetry RENAME TO elsewhere")?;
    assert_eq!(ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
    std::thread::sleep(Duration::from_millis(500));
    ground.station.program().interrupt()?;
    let status = ground.station.program().wait(Duration::from_secs(20))?;
    assert!(!status.success());
    let log = ground.station.program().log_tail();
    assert!(log.contains("1 samples could not be stored"), "{log}");
    Ok(())
}
