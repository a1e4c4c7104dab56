//! A journal's folder among others: copied, deleted, mixed with another station's, and with octets of
//! strangers in it that look like its own.

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Constellation, Station, program::sibling};
use support::{Tables, cluster, database, ports};

const ROWS: &str = "SELECT count(*), count(DISTINCT (satellite_id, boot_count, sequence))
                    FROM (SELECT satellite_id, boot_count, sequence FROM telemetry
                          UNION ALL
                          SELECT satellite_id || '/a', boot_count, sequence FROM attitude) AS rows";

/// The database refuses samples between the two.
const REFUSE: &str = "ALTER TABLE telemetry RENAME TO elsewhere";
const ALLOW: &str = "ALTER TABLE elsewhere RENAME TO telemetry";

fn receiver(words: &[&str], url: &str) -> Result<(Output, String)> {
    let output =
        Command::new(sibling("receiver")?).args(words).env("DATABASE_URL", url).output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((output, said))
}

fn fly(target: &str, folder: &Path, boot: &str, frames: &str) -> Result<harness::Truth> {
    let options = ["--satellites", "20", "--rate", "200", "--seed", "3", "--boot", boot];
    Constellation::fly(target, folder, &[&options[..], &["--count", frames]].concat())
}

fn segments(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    paths.sort();
    Ok(paths)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().context("a name")?))?;
        }
    }
    Ok(())
}

fn wait_until_recovered(station: &mut Station) -> Result<()> {
    let start = Instant::now();
    while station.counters()?.recovered == 0 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    station.wait_until_quiet()
}

/// Waits until this holds, generously: machines are busy.
fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "this does not come about: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until as many samples wait for the database, and then as long as it takes to write them into
/// the journal many times over.
fn wait_until_kept(station: &mut Station, samples: u64) -> Result<()> {
    wait_until("samples wait", || Ok(station.counters()?.pending >= samples))?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// Refused datagrams that carry record headers as anybody can compute them.
fn planted_datagrams() -> Vec<Vec<u8>> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let mut head = b"OREC".to_vec();
    head.extend(0_u32.to_le_bytes());
    head.extend(i64::MAX.to_le_bytes());
    head.extend(u64::MAX.to_le_bytes());
    head.extend([0; 12]);
    head.extend(crc.checksum(&head).to_le_bytes());
    assert_eq!(head.len(), 40);
    vec![head.repeat(50); 51]
}

#[test]
fn refused_datagrams_that_look_like_records_cost_no_sample() -> Result<()> {
    let samples: Vec<_> = (0..1_000)
        .map(|number| {
            let satellite = 1 + number % 20;
            serde_json::json!({ "satellite_id": format!("SAT-{satellite:02}"), "temp": 50 })
        })
        .collect();
    let samples = serde_json::to_vec(&samples)?;
    // The last record is torn, a bit of a header is flipped, or one of what was planted.
    for damage in ["torn", "flipped"] {
        let database = database(Tables::Plain)?;
        let url = cluster().url(&database);
        let folder = tempfile::tempdir()?;
        let options = ["--allow", "10.0.0.0/8"];
        let mut station = Station::start(&url, folder.path(), ports(), &options)?;
        cluster().sql(&database, REFUSE)?;
        assert_eq!(station.post(&samples)?.0, 200);
        wait_until_kept(&mut station, 1_000)?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        for datagram in planted_datagrams() {
            sender.send_to(&datagram, station.target())?;
        }
        wait_until("all are refused", || {
            Ok(station.counters()?.rejected.values().sum::<u64>() >= 51)
        })?;
        std::thread::sleep(Duration::from_millis(1_500));
        station.kill()?;
        let segment = segments(&folder.path().join("journal"))?.pop().context("a segment")?;
        let mut octets = fs::read(&segment)?;
        let planted = octets.windows(4).rposition(|four| four == b"OREC").context("planted")?;
        if damage == "torn" {
            octets.truncate(planted + 30);
        } else {
            // In front of all that was planted: the record that holds the first of it.
            let first = octets.windows(4).position(|four| four == b"OREC").context("planted")?;
            octets[first - 3] ^= 1;
        }
        fs::write(&segment, octets)?;
        cluster().sql(&database, ALLOW)?;
        let mut station = Station::start(&url, folder.path(), ports(), &options)?;
        wait_until_recovered(&mut station)?;
        let counters = station.stop()?;
        assert_eq!((counters.committed, counters.pending), (1_000, 0), "{damage}");
        assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0), "{damage}");
        let rows = cluster().sql(&database, "SELECT count(*) FROM telemetry")?;
        assert_eq!(rows, "1000", "{damage}");
    }
    Ok(())
}

#[test]
fn a_folder_that_was_copied_neither_loses_nor_doubles() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let options = ["--drain-timeout", "1s"];
    let start = |folder: &Path| Station::start(&url, folder, ports(), &options);
    let mut first = start(one.path())?;
    // Something of it is stored, and something waits.
    fly(first.target(), one.path(), "1", "1000")?;
    first.wait_until_quiet()?;
    cluster().sql(&database, REFUSE)?;
    fly(first.target(), one.path(), "2", "2000")?;
    wait_until_kept(&mut first, 2_000)?;
    first.kill()?;
    copy_folder(&one.path().join("journal"), &two.path().join("journal"))?;

    // Both go on, each with frames of its own, and both are killed before these are stored.
    let launch = |folder: &Path| {
        let mut station = Station::launch(&url, folder, ports(), &options)?;
        station.wait_until_listening()?;
        anyhow::Ok(station)
    };
    let (mut first, mut second) = (launch(one.path())?, launch(two.path())?);
    fly(first.target(), one.path(), "3", "1100")?;
    fly(second.target(), two.path(), "4", "1200")?;
    wait_until_kept(&mut first, 1_100)?;
    wait_until_kept(&mut second, 1_200)?;
    first.kill()?;
    second.kill()?;
    cluster().sql(&database, ALLOW)?;
    let (mut first, mut second) = (start(one.path())?, start(two.path())?);
    for station in [&mut first, &mut second] {
        wait_until_recovered(station)?;
    }
    for (station, own) in [(first, 1_100), (second, 1_200)] {
        let counters = station.stop()?;
        // What the other one had stored when it asked does not wait any more.
        assert!((own..=2_000 + own).contains(&counters.recovered), "{}", counters.recovered);
        assert_eq!((counters.pending, counters.sample_residual()), (0, 0));
    }
    assert_eq!(cluster().sql(&database, ROWS)?, "5300|5300");
    // Once more, now that all is stored.
    for folder in [one.path(), two.path()] {
        let counters = start(folder)?.stop()?;
        assert_eq!((counters.recovered, counters.pending), (0, 0));
    }
    assert_eq!(cluster().sql(&database, ROWS)?, "5300|5300");
    Ok(())
}

#[test]
fn a_commit_ledger_that_was_emptied_neither_loses_nor_doubles() -> Result<()> {
    for tables in support::tables() {
        let database = database(tables)?;
        let url = support::writer_url(&database);
        let folder = tempfile::tempdir()?;
        let start = || Station::start(&url, folder.path(), ports(), &["--drain-timeout", "1s"]);
        let mut station = start()?;
        fly(station.target(), folder.path(), "1", "5000")?;
        let json =
            r#"[{"satellite_id": "SAT-01", "temp": 1}, {"satellite_id": "SAT-01", "temp": 2}]"#;
        assert_eq!(station.post(json)?.0, 200);
        station.wait_until_quiet()?;
        cluster().sql(&database, "TRUNCATE ingest_batch")?;
        // It notices, and stores nothing more until it is restarted.
        fly(station.target(), folder.path(), "2", "700")?;
        wait_until_kept(&mut station, 700)?;
        station.kill()?;
        let mut station = start()?;
        wait_until_recovered(&mut station)?;
        let counters = station.stop()?;
        assert_eq!((counters.pending, counters.sample_residual()), (0, 0), "{tables:?}");
        // The two JSON samples have no counter, and so are one to the second figure.
        assert_eq!(cluster().sql(&database, ROWS)?, "5702|5701", "{tables:?}");
        let log = fs::read_to_string(folder.path().join("receiver.log"))?;
        assert!(log.contains("they are not stored twice"), "{log}");
    }
    Ok(())
}

#[test]
fn a_folder_that_is_deleted_while_the_station_runs_is_made_again_with_what_waits() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let folder = tempfile::tempdir()?;
    let mut station = Station::start(&url, folder.path(), ports(), &[])?;
    cluster().sql(&database, REFUSE)?;
    fly(station.target(), folder.path(), "1", "2000")?;
    wait_until_kept(&mut station, 2_000)?;
    let journal = folder.path().join("journal");
    fs::remove_dir_all(&journal)?;
    wait_until("the folder is made again", || {
        let log = fs::read_to_string(folder.path().join("receiver.log"))?;
        Ok(log.contains("has gone; it is made again") && log.contains("is there again"))
    })?;
    fly(station.target(), folder.path(), "2", "400")?;
    wait_until_kept(&mut station, 2_400)?;
    // Then only its files, as somebody who cleans up would.
    for segment in segments(&journal)? {
        fs::remove_file(segment)?;
    }
    wait_until("there is a segment again", || Ok(!segments(&journal)?.is_empty()))?;
    fly(station.target(), folder.path(), "3", "100")?;
    wait_until_kept(&mut station, 2_500)?;
    let metrics = station.get("/metrics")?;
    assert!(metrics.contains("orbitstream_journal_failing 0"), "{metrics}");
    station.kill()?;
    cluster().sql(&database, ALLOW)?;
    let mut station = Station::start(&url, folder.path(), ports(), &[])?;
    wait_until_recovered(&mut station)?;
    let counters = station.stop()?;
    assert_eq!((counters.recovered, counters.committed, counters.pending), (2_500, 2_500, 0));
    assert_eq!(cluster().sql(&database, ROWS)?, "2500|2500");
    Ok(())
}

#[test]
fn another_stations_segments_are_kept_and_can_be_drained_as_that_station() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let start =
        |folder: &Path, name: &str| Station::start(&url, folder, ports(), &["--station", name]);
    let mut station = start(one.path(), "東京")?;
    cluster().sql(&database, REFUSE)?;
    fly(station.target(), one.path(), "1", "1000")?;
    wait_until_kept(&mut station, 1_000)?;
    station.kill()?;
    cluster().sql(&database, ALLOW)?;
    copy_folder(&one.path().join("journal"), &two.path().join("journal"))?;
    let mut station = start(two.path(), "京都")?;
    fly(station.target(), two.path(), "2", "100")?;
    station.wait_until_quiet()?;
    let ready = station.get("/readyz")?;
    assert!(ready.starts_with("ready\n") && ready.contains("receiver journal drain"), "{ready}");
    let counters = station.stop()?;
    assert_eq!((counters.recovered, counters.committed), (0, 100));
    let log = fs::read_to_string(two.path().join("receiver.log"))?;
    let folder = fs::read_dir(two.path().join("journal"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "foreign"))
        .context("the other station's segments")?;
    let folder = folder.to_string_lossy();
    assert!(log.contains(&*format!("receiver journal drain --journal \"{folder}\"")), "{log}");
    for stored in ["1000 samples stored, 0 wait", "0 samples stored, 0 wait"] {
        let (output, said) = receiver(&["journal", "drain", "--journal", &folder], &url)?;
        assert!(output.status.success() && said.contains(stored), "{said}");
    }
    // Then there is nothing to warn of.
    let mut station = start(two.path(), "京都")?;
    station.wait_until_ready()?;
    assert_eq!(station.get("/readyz")?.lines().next(), Some("ready"));
    assert!(!station.get("/readyz")?.contains("drain"));
    station.stop()?;
    let stations = "SELECT station, count(*) FROM (SELECT station FROM telemetry UNION ALL
                    SELECT station FROM attitude) AS rows GROUP BY station ORDER BY 2";
    assert_eq!(cluster().sql(&database, stations)?, "京都|100\n東京|1000");
    Ok(())
}

#[test]
fn a_journal_that_cannot_be_made_keeps_the_station_from_starting() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("file"), b"")?;
    let impossible = folder.path().join("file/journal");
    let ports = ports();
    let listen = harness::station::free_address(ports.0, |at| UdpSocket::bind(at).is_ok())?;
    let words = ["run", "--duration", "5s", "--http", "127.0.0.1:0", "--listen", &listen];
    let journal = impossible.to_string_lossy();
    let (output, said) = receiver(&[&words[..], &["--journal", &journal]].concat(), &url)?;
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("cannot make the journal's folder") && said.contains("--journal"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_second_receiver_of_one_name_takes_no_other_folder() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let state = tempfile::tempdir()?;
    let command = |options: &[&str]| -> Result<Command> {
        let mut command = Command::new(sibling("receiver")?);
        let address = |is_udp: bool| {
            harness::station::free_address(ports().0, |at| {
                if is_udp { UdpSocket::bind(at).is_ok() } else { TcpListener::bind(at).is_ok() }
            })
        };
        command.args(["run", "--listen", &address(true)?, "--http", &address(false)?]);
        command.args(options).env("DATABASE_URL", &url).env_remove("STATE_DIRECTORY");
        command.env("XDG_STATE_HOME", state.path());
        Ok(command)
    };
    let folders = || -> Result<Vec<String>> {
        let entries = fs::read_dir(state.path().join("orbitstream/journal"))?;
        let names: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let names: Result<_, std::io::Error> = names;
        Ok(names?.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    };
    let log = state.path().join("first.log");
    let mut first = harness::Program::start(&mut command(&[])?, &log)?;
    let start = Instant::now();
    while !fs::read_to_string(&log)?.contains("Listening on port") {
        first.check_running()?;
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = command(&["--duration", "1s"])?.output()?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{error}");
    let holder = format!("process {}", first.id());
    for part in ["the name GS-01 runs here already", &holder, "--station"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(folders()?.len(), 1);
    // Another name, or a folder of its own, is as good as ever; and so is a start after a kill.
    assert!(command(&["--duration", "1s", "--station", "GS-02"])?.output()?.status.success());
    first.kill()?;
    let output = command(&["--duration", "1s"])?.output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(folders()?.len(), 2);

    // What an earlier version has left in another folder is said.
    let own = folders()?.into_iter().find(|name| name.starts_with("GS-01")).context("a folder")?;
    let own = state.path().join("orbitstream/journal").join(own);
    let other = own.with_file_name(format!("{}-2", own.file_name().context("a name")?.display()));
    copy_folder(&own, &other)?;
    fs::write(other.join("00000000000000ff.segment"), [0; 4_096])?;
    let output = command(&["--duration", "1s"])?.output()?;
    let said = String::from_utf8(output.stdout)?;
    let drain = format!("receiver journal drain --journal \"{}\"", other.display());
    assert!(said.contains(&drain), "{said}");
    Ok(())
}
