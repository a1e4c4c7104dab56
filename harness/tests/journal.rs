//! What the station has received ends in the database exactly once: over kills, restarts, refusals of
//! the database, and from recordings.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harness::proxy::{Cut, Passage};
use harness::{Constellation, Proxy, Reports, Station, Verification, program::sibling};
use support::{Ground, Tables, cluster, database, ports, tables, writer_url};

const ROWS: &str = "SELECT count(*), count(DISTINCT (satellite_id, boot_count, sequence))
                    FROM (SELECT satellite_id, boot_count, sequence FROM telemetry
                          UNION ALL
                          SELECT satellite_id || '/a', boot_count, sequence FROM attitude) AS rows";

/// What `receiver` with these words says.
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

/// The same frames each time.
fn fly(target: &str, folder: &Path, frames: &str, more: &[&str]) -> Result<harness::Truth> {
    let boot = ["--boot", "7"];
    let boot = if more.contains(&"--boot") { &[][..] } else { &boot };
    let options = ["--satellites", "20", "--rate", "200", "--seed", "3"];
    Constellation::fly(target, folder, &[&options[..], boot, &["--count", frames], more].concat())
}

#[test]
fn a_kill_costs_nothing_that_was_heard_and_a_repeat_after_it_is_known() -> Result<()> {
    for tables in tables() {
        let database = database(tables)?;
        let url = cluster().url_of_role("orbitstream_writer", &database);
        let folder = tempfile::tempdir()?;
        let start = |options: &[&str]| Station::start(&url, folder.path(), ports(), options);
        let mut station = start(&["--writers", "2"])?;
        let hour_ago = "SELECT to_char(now() AT TIME ZONE 'UTC' - INTERVAL '1 hour',
                                       'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
        let hour_ago = cluster().sql(&database, hour_ago)?;
        let time = ["--start", &*hour_ago];
        // While the table is locked nothing is stored, so that all is in the journal at the kill.
        let lock = std::thread::spawn({
            let database = database.clone();
            move || cluster().sql(&database, "BEGIN; LOCK telemetry; SELECT pg_sleep(4)")
        });
        std::thread::sleep(Duration::from_millis(500));
        fly(station.target(), folder.path(), "8000", &time)?;
        std::thread::sleep(Duration::from_millis(300));
        station.program().kill()?;
        lock.join().expect("no panic")?;

        // Another number of writers, and the same frames once more: every one has come before.
        let mut station = start(&["--writers", "3"])?;
        fly(station.target(), folder.path(), "8000", &time)?;
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        assert_eq!((counters.duplicate, counters.accepted, counters.lost), (8_000, 0, 0));
        assert_eq!(counters.recovered, counters.committed);
        assert_eq!(counters.pending, 0);
        assert_eq!(cluster().sql(&database, ROWS)?, "8000|8000");
        // The links' figures know of all frames, and of their repeats.
        let links = "SELECT sum(received), sum(missed), sum(duplicate) FROM link_health";
        assert_eq!(cluster().sql(&database, links)?, "8000|0|8000");
    }
    Ok(())
}

#[test]
fn what_waited_for_the_database_is_stored_in_few_transactions() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &["--writers", "1"])?;
    let database = ground.database.clone();
    cluster().sql(&database, "ALTER TABLE telemetry RENAME TO elsewhere")?;
    fly(ground.station.target(), ground.folder.path(), "8000", &[])?;
    cluster().sql(&database, "ALTER TABLE elsewhere RENAME TO telemetry")?;
    ground.station.wait_until_quiet()?;
    assert_eq!(cluster().sql(&database, ROWS)?, "8000|8000");
    // The one that was refused, and all that came meanwhile; each row knows its transaction.
    let transactions = "SELECT count(DISTINCT xmin::text) FROM telemetry";
    let transactions: u32 = cluster().sql(&database, transactions)?.parse()?;
    assert!((1..10).contains(&transactions), "{transactions} transactions");
    Ok(())
}

#[test]
fn what_is_pending_at_the_end_is_listed_checked_and_drained() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let folder = tempfile::tempdir()?;
    let journal = folder.path().join("journal");
    let journal = journal.to_string_lossy();
    let options = ["--drain-timeout", "1s"];
    let mut station = Station::start(&url, folder.path(), ports(), &options)?;
    cluster().sql(&database, "ALTER TABLE telemetry RENAME TO elsewhere")?;
    fly(station.target(), folder.path(), "3000", &[])?;
    // Dated long ago: to be set aside, by whoever stores it.
    let old = ["--start", "2020-01-01T00:00:00Z", "--boot", "8"];
    fly(station.target(), folder.path(), "100", &old)?;
    // The database refuses: that is said where people look, and nothing is lost meanwhile.
    let start = Instant::now();
    while station.ask("/readyz")?.0 != 503 {
        assert!(start.elapsed() < Duration::from_secs(20), "it still says ready");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(station.program().log_tail().contains("42P01"));
    let counters = station.stop()?;
    assert_eq!((counters.accepted, counters.pending), (3_100, 3_100));

    let (_, listed) = receiver(&["journal", "ls", "--journal", &journal], &url)?;
    assert!(listed.contains("3100"), "{listed}");
    let (output, said) = receiver(&["journal", "verify", "--journal", &journal], &url)?;
    assert!(output.status.success(), "{said}");
    cluster().sql(&database, "ALTER TABLE elsewhere RENAME TO telemetry")?;
    for stored in ["3000 samples stored, 0 wait", "0 samples stored, 0 wait"] {
        let (output, said) = receiver(&["journal", "drain", "--journal", &journal], &url)?;
        assert!(output.status.success() && said.contains(stored), "{said}");
        assert_eq!(cluster().sql(&database, ROWS)?, "3000|3000");
        assert_eq!(cluster().sql(&database, "SELECT count(*) FROM quarantine")?, "100");
    }
    let nowhere = receiver(&["journal", "ls", "--journal", "/no/such/folder"], &url)?.1;
    assert!(nowhere.contains("there is no journal"), "{nowhere}");
    Ok(())
}

#[test]
fn an_end_without_a_database_does_not_wait_for_it() -> Result<()> {
    // Away from the start on, and away only at the end.
    for is_there_at_first in [false, true] {
        let database = database(Tables::Plain)?;
        let folder = tempfile::tempdir()?;
        let proxy = Proxy::start(([127, 0, 0, 1], cluster().port()).into(), 1)?;
        let url = proxy.url(&writer_url(&database))?;
        let leave = || {
            proxy.set_passage(Passage::Refused)?;
            proxy.cut(Cut::Reset);
            anyhow::Ok(())
        };
        let launch = || {
            let options = ["--drain-timeout", "60s"];
            Station::launch(&url, folder.path(), ports(), &options)
        };
        if !is_there_at_first {
            leave()?;
        }
        let mut station = launch()?;
        station.wait_until_listening()?;
        if is_there_at_first {
            station.wait_until_ready()?;
            leave()?;
        }
        fly(station.target(), folder.path(), "3000", &[])?;
        let start = Instant::now();
        // It says that it ended well, too.
        let counters = station.stop()?;
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert_eq!((counters.accepted, counters.pending), (3_000, 3_000));
        assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0));
        let log = std::fs::read_to_string(folder.path().join("receiver.log"))?;
        assert!(log.contains("waits in the journal for the next start"), "{log}");

        proxy.set_passage(Passage::Open)?;
        let mut station = launch()?;
        station.wait_until_ready()?;
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        assert_eq!((counters.recovered, counters.committed, counters.pending), (3_000, 3_000, 0));
        assert_eq!(cluster().sql(&database, ROWS)?, "3000|3000");
    }
    Ok(())
}

#[test]
fn damage_is_said_and_costs_its_record() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let folder = tempfile::tempdir()?;
    let options = ["--drain-timeout", "1s"];
    let mut station = Station::start(&url, folder.path(), ports(), &options)?;
    cluster().sql(&database, "ALTER TABLE telemetry RENAME TO elsewhere")?;
    fly(station.target(), folder.path(), "6000", &[])?;
    station.program().kill()?;
    let journal = folder.path().join("journal");
    let segment = std::fs::read_dir(&journal)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .context("a segment")?;
    let mut octets = std::fs::read(&segment)?;
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    octets.truncate(octets.len() - 3);
    std::fs::write(&segment, octets)?;
    let shown = journal.to_string_lossy();
    let (output, said) = receiver(&["journal", "verify", "--journal", &shown], &url)?;
    assert!(!output.status.success() && said.contains("1 files"), "{said}");

    cluster().sql(&database, "ALTER TABLE elsewhere RENAME TO telemetry")?;
    let mut station = Station::start(&url, folder.path(), ports(), &[])?;
    // Before a writer has asked the database, what waits for it is not known, and nothing seems to.
    let start = Instant::now();
    while station.counters()?.recovered == 0 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    station.wait_until_quiet()?;
    let metrics = station.get("/metrics")?;
    let counters = station.stop()?;
    let journal: Vec<_> = metrics.lines().filter(|line| line.contains("_journal_")).collect();
    assert!(metrics.contains("orbitstream_journal_damaged_total 1"), "{journal:#?}");
    assert!(!metrics.contains("orbitstream_journal_torn_bytes_total 0"), "{journal:#?}");
    let rows: u64 = cluster().sql(&database, "SELECT count(*) FROM telemetry")?.parse()?;
    let attitude: u64 = cluster().sql(&database, "SELECT count(*) FROM attitude")?.parse()?;
    // A record has at most 424 frames: of the two that were damaged nothing else is gone.
    assert!((5_100..6_000).contains(&(rows + attitude)), "{rows} and {attitude}");
    assert_eq!(counters.pending, 0);
    assert_eq!(cluster().sql(&database, ROWS)?, format!("{0}|{0}", rows + attitude));
    Ok(())
}

#[test]
fn a_row_that_the_database_refuses_is_set_aside_alone() -> Result<()> {
    for tables in tables() {
        let mut ground = Ground::start(tables, &[])?;
        ground.sql(
            "ALTER TABLE telemetry ADD CONSTRAINT not_hot CHECK (cpu_temp < 70);
             ALTER TABLE telemetry ADD CONSTRAINT not_nine CHECK (satellite_id <> 'SAT-09')",
        )?;
        let bad = r#"{"satellite_id": "SAT-50", "temp": 77}"#;
        assert_eq!(ground.station.post(bad)?.0, 200);
        fly(ground.station.target(), ground.folder.path(), "4000", &[])?;
        ground.station.wait_until_quiet()?;
        let refused: u64 = ground.sql("SELECT count(*) FROM quarantine")?.parse()?;
        let (database, folder) = (ground.database.clone(), ground.folder);
        let counters = ground.station.stop()?;
        // Of 200 frames of each satellite nine in ten are of that table.
        assert_eq!((refused, counters.quarantined, counters.pending), (181, 181, 0));
        assert_eq!(counters.committed, 4_001 - refused);
        assert_eq!(cluster().sql(&database, ROWS)?, format!("{0}|{0}", 4_001 - refused));
        let kept = "SELECT convert_from(raw, 'UTF8') FROM quarantine
                    WHERE reason LIKE '%not_hot%' AND sqlstate = '23514'";
        assert!(cluster().sql(&database, kept)?.contains(r#""cpu_temp":77"#));
        let frames = "SELECT DISTINCT length(raw), sqlstate FROM quarantine
                      WHERE reason LIKE '%not_nine%'";
        assert_eq!(cluster().sql(&database, frames)?, "68|23514");
        drop(folder);
    }
    Ok(())
}

#[test]
fn what_cannot_even_be_set_aside_waits_for_people() -> Result<()> {
    let mut ground = Ground::start(Tables::Plain, &[])?;
    ground.sql(
        "ALTER TABLE telemetry ADD CONSTRAINT not_hot CHECK (cpu_temp < 70);
         ALTER TABLE quarantine ADD CONSTRAINT nothing CHECK (false) NOT VALID",
    )?;
    for temp in [20, 77] {
        let sample = format!(r#"{{"satellite_id": "SAT-50", "temp": {temp}}}"#);
        assert_eq!(ground.station.post(sample)?.0, 200);
    }
    let start = Instant::now();
    while ground.station.ask("/readyz")?.0 != 503 {
        assert!(start.elapsed() < Duration::from_secs(20), "it still says ready");
        std::thread::sleep(Duration::from_millis(100));
    }
    // It waits between its attempts: the log has few lines.
    std::thread::sleep(Duration::from_secs(2));
    let log = std::fs::read_to_string(ground.folder.path().join("receiver.log"))?;
    assert!(log.contains("nothing") && log.lines().count() < 30, "{log}");
    ground.sql("ALTER TABLE quarantine DROP CONSTRAINT nothing")?;
    ground.station.wait_until_ready()?;
    ground.station.wait_until_quiet()?;
    let counters = ground.station.stop()?;
    assert_eq!((counters.committed, counters.quarantined, counters.pending), (1, 1, 0));
    Ok(())
}

#[test]
fn a_recording_is_stored_with_its_own_times_and_once() -> Result<()> {
    for tables in tables() {
        let database = database(tables)?;
        let url = cluster().url_of_role("orbitstream_writer", &database);
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (pcap, truth) = (path("flight.pcap"), path("satsim.json"));
        let faults = ["--drop", "0.02", "--corrupt", "0.02", "--duplicate", "0.02"];
        let flight = ["--satellites", "20", "--count", "20000", "--rate", "50", "--boot", "7"];
        let files = ["--pcap", &pcap, "--report", &truth];
        let output = Command::new(sibling("satsim")?)
            .args([&flight[..], &faults, &files].concat())
            .output()?;
        assert!(output.status.success(), "{output:?}");

        let report = path("replay.json");
        let words = ["replay", &pcap, "--once", "--report", &report];
        let mut committed = Vec::new();
        for _ in 0..2 {
            let (output, said) = receiver(&words, &url)?;
            assert!(output.status.success(), "{said}");
            let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
            committed.push(read["committed"].as_u64().context("a count")?);
            let reports = Reports { truth: Path::new(&truth), receiver: None };
            let verdict = Verification::run(reports, &cluster().url(&database), &[])?;
            assert!(verdict.agrees, "{}", verdict.page);
        }
        assert!(committed[0] > 19_000 && committed[1] == 0, "{committed:?}");
        // Twenty seconds of flight, whenever they were read.
        let rows = committed[0];
        let times = "SELECT max(abs(extract(epoch FROM received_at - time))) < 1,
                            max(received_at) - min(received_at) > INTERVAL '19 s' FROM telemetry";
        assert_eq!(cluster().sql(&database, times)?, "t|t");
        let links = "SELECT sum(received) FROM link_health";
        assert_eq!(cluster().sql(&database, links)?, rows.to_string());
    }
    Ok(())
}

#[test]
fn packets_one_after_the_other_are_a_recording_too() -> Result<()> {
    let database = database(Tables::Plain)?;
    let url = cluster().url(&database);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("packets.bin");
    let mut octets = Vec::new();
    for count in 0..1_000_u32 {
        let stamp = protocol::Stamp {
            spacecraft: protocol::SpacecraftId::new(1 + (count % 3) as u16).context("not 0")?,
            boot_count: 1,
            sequence: protocol::Sequence::new(count / 3),
            time: protocol::CdsTime { day: 24_837, ms: count * 100, us: 0 },
        };
        let packet = protocol::Packet::Health(protocol::health::Health::default());
        octets.extend(protocol::emit(&stamp, &packet, &mut [0; protocol::FRAME_OCTETS_MAX]));
        if count % 100 == 50 {
            octets.extend(b"no packet at all");
        }
    }
    std::fs::write(&path, octets)?;
    let (output, said) = receiver(&["replay", &path.to_string_lossy()], &url)?;
    assert!(output.status.success() && said.contains("1000 samples stored"), "{said}");
    assert_eq!(cluster().sql(&database, ROWS)?, "1000|1000");
    let span = "SELECT max(received_at) - min(received_at) FROM telemetry";
    assert!(cluster().sql(&database, span)?.starts_with("00:01:3"));
    let (output, said) = receiver(&["replay", "/no/such/file"], &url)?;
    assert!(!output.status.success() && said.contains("cannot replay /no/such/file"), "{said}");
    Ok(())
}
