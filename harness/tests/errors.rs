//! What is wrong when the station starts: one line that says what to do, an exit code other than 0,
//! and no panic.

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Cluster, StopMode, program::sibling};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

/// A station whose receiver was started with these signals ignored, and its log.
fn start_ignoring(signals: &str, url: &str, folder: &std::path::Path) -> Result<harness::Station> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")]);
    shell.arg(sibling("receiver")?);
    let mut station = harness::Station::launch_by(shell, url, folder, ports(), &[])?;
    station.wait_until_ready()?;
    Ok(station)
}

#[test]
fn a_closed_terminal_ends_it_as_sigterm_does_but_not_under_nohup() -> Result<()> {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};

    for (signal, word) in [(SIGHUP, "hung up"), (SIGTERM, "terminated"), (SIGINT, "interrupted")] {
        let mut ground = Ground::start(Tables::Plain, &[])?;
        assert_eq!(ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
        ground.station.program().signal(signal)?;
        ground.station.program().wait_for_success(Duration::from_secs(30))?;
        assert_eq!(ground.sql("SELECT count(*) FROM telemetry")?, "1", "{word}");
        let log = std::fs::read_to_string(ground.folder.path().join("receiver.log"))?;
        assert!(log.contains(&format!("Stopping: {word}")), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("1 samples stored, 1 came by HTTP"), "{log}");
    }
    let url = cluster().url(&database(Tables::Plain)?);
    let folder = tempfile::tempdir()?;
    let mut station = start_ignoring("HUP INT", &url, folder.path())?;
    station.program().signal(SIGHUP)?;
    // It answers still, after the signal.
    for _ in 0..5 {
        assert_eq!(station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    // SIGINT is taken all the same.
    assert_eq!(station.stop()?.json, 5);
    Ok(())
}

#[test]
fn the_log_is_json_when_that_is_wanted_and_names_refused_frames() -> Result<()> {
    let ground =
        Ground::start(Tables::Plain, &["--log-format", "json", "--allow", "127.0.0.1/32"])?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let start = Instant::now();
    let log = || std::fs::read_to_string(ground.folder.path().join("receiver.log"));
    while !log()?.contains("refused as too_short") {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", log()?);
        sender.send_to(b"\x1b[31m", ground.station.target())?;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 1}"#)?.0, 200);
    let path = ground.folder.path().join("receiver.log");
    let kept = tempfile::tempdir()?;
    std::fs::hard_link(&path, kept.path().join("log"))
        .or_else(|_| std::fs::copy(&path, kept.path().join("log")).map(drop))?;
    let port = ground.station.http_address().rsplit(':').next().unwrap_or_default().to_owned();
    ground.stop()?;
    let text = std::fs::read_to_string(kept.path().join("log"))?;
    let mut messages = Vec::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line}");
        messages.push(event["message"].as_str().unwrap_or_default().to_owned());
    }
    for wanted in [&*format!("Listening on port {port}"), "Data received", "Inserted 1 rows"] {
        assert!(messages.iter().any(|message| message == wanted), "{wanted}: {text}");
    }
    let refused: Vec<_> = messages.iter().filter(|one| one.contains("refused as")).collect();
    // Once a minute, however many come.
    assert!(refused.len() <= 2, "{refused:?}");
    assert!(refused[0].contains("the last: 5 octets from 127.0.0.1"), "{refused:?}");
    assert!(messages.last().is_some_and(|last| last.contains("too_short")), "{text}");
    Ok(())
}

#[test]
fn the_help_lists_the_options_of_run_and_how_to_log() -> Result<()> {
    let help = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(sibling("receiver")?).args(arguments).output()?;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let (whole, run) = (help(&["--help"])?, help(&["run", "--help"])?);
    let options = |text: &str| -> Vec<String> {
        let words = text
            .lines()
            .filter_map(|line| line.trim().split([' ', '=']).find(|word| word.starts_with("--")));
        words.map(str::to_owned).collect()
    };
    for option in options(&run).iter().filter(|option| *option != "--help") {
        assert!(options(&whole).contains(option), "{option}: {whole}");
    }
    for part in ["migrate", "journal", "replay", "ORBITSTREAM_LOG=debug", "--database-url"] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    assert_eq!(help(&["help"])?, help(&["-h"])?);
    assert_eq!(help(&["help", "run"])?, run);
    assert!(run.contains("Usage: receiver run"), "{run}");
    Ok(())
}

#[test]
fn a_folder_that_is_no_journal_is_an_error() -> Result<()> {
    let url = cluster().url(&database(Tables::Plain)?);
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("notes.txt"), "no segment")?;
    let file = folder.path().join("notes.txt");
    for path in [folder.path(), &file, &folder.path().join("nowhere")] {
        for action in ["ls", "verify", "drain"] {
            let mut command = Command::new(sibling("receiver")?);
            command.args(["journal", action, "--journal"]).arg(path);
            let output = command.env("DATABASE_URL", &url).output()?;
            let error = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(1), "{action} {}: {error}", path.display());
            assert!(error.contains("there is no journal in"), "{error}");
        }
    }
    let entries = std::fs::read_dir(folder.path())?.count();
    assert_eq!(entries, 1, "nothing was made in it");
    Ok(())
}

/// A process that is killed when it is dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn output_that_cannot_be_written_ends_nothing() -> Result<()> {
    let closed_pipe = || -> Result<Stdio> { Ok(std::io::pipe()?.1.into()) };
    let full_disk =
        || -> Result<Stdio> { Ok(File::options().write(true).open("/dev/full")?.into()) };
    let outputs: [(&str, &dyn Fn() -> Result<Stdio>); 2] =
        [("a closed pipe", &closed_pipe), ("a full disk", &full_disk)];
    for (name, output) in outputs {
        let database = database(Tables::Plain)?;
        let folder = tempfile::tempdir()?;
        let path = |file: &str| folder.path().join(file).display().to_string();
        let port = ports().0;
        let listen = harness::station::free_address(port, |at| UdpSocket::bind(at).is_ok())?;
        let http = harness::station::free_address(port, |at| TcpListener::bind(at).is_ok())?;
        let mut receiver = Command::new(sibling("receiver")?);
        receiver.args(["run", "--listen", &listen, "--http", &http]);
        receiver.args(["--journal", &path("journal"), "--report", &path("report")]);
        receiver.env("DATABASE_URL", cluster().url(&database)).stdout(output()?).stderr(output()?);
        let mut receiver = Killed(receiver.spawn()?);
        wait_until("it listens", || Ok(TcpStream::connect(&http).is_ok()))?;

        let mut satsim = Command::new(sibling("satsim")?);
        satsim.args(["--target", &listen, "--satellites", "2", "--rate", "100", "--count", "1600"]);
        satsim.args(["--report", &path("truth")]).stdout(output()?).stderr(output()?);
        let mut satsim = Killed(satsim.spawn()?);
        // Longer than it takes until a line of progress is due.
        satsim.0.wait()?;
        let truth: serde_json::Value = serde_json::from_slice(&fs::read(path("truth"))?)?;
        assert_eq!(truth["sent"], 1_600, "{name}");

        let mut stream = TcpStream::connect(&http)?;
        let body = r#"{"satellite_id": "SAT-01", "temp": 50}"#;
        write!(
            stream,
            "POST /telemetry HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");

        let rows = "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)";
        wait_until("all is stored", || Ok(cluster().sql(&database, rows)? == "1601"))?;
        kill(Pid::from_raw(receiver.0.id() as i32), Signal::SIGINT)?;
        assert!(receiver.0.wait()?.success(), "{name}");
        let report: serde_json::Value = serde_json::from_slice(&fs::read(path("report"))?)?;
        assert_eq!(
            (&report["committed"], &report["pending"]),
            (&1_601.into(), &0.into()),
            "{name}"
        );
    }
    Ok(())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < Duration::from_secs(60), "this does not come about: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
