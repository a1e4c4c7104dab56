//! The whole path: satellites → UDP → station → rows, each row equal to what was sent as an outside
//! decoder reads it from the capture.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::Constellation;
use support::{Ground, Tables, cluster, tables};

#[test]
fn every_row_is_what_was_sent_and_a_second_run_is_a_reboot() -> Result<()> {
    let preferred = tables().pop().context("plain tables are always there")?;
    for tables in tables() {
        // The whole flight on the tables that are used most, a shorter one on the others.
        let duration = if tables == preferred { "20s" } else { "4s" };
        let ground = Ground::start(tables, &[])?;
        let mut flown = 0;
        for boot in ["7", "8"] {
            let capture = ground.folder.path().join(format!("{boot}.pcap"));
            let capture = capture.to_string_lossy();
            let flight = ["--satellites", "50", "--rate", "200", "--duration", duration];
            let options = [&flight[..], &["--boot", boot, "--pcap", &capture]].concat();
            let target = ground.station.target();
            let truth = Constellation::fly(target, ground.folder.path(), &options)?;
            flown += truth.generated;
        }
        let database = ground.database.clone();
        let folder = ground.folder.path().to_owned();
        let url = cluster().url(&database);
        let mut ground = ground;
        ground.station.wait_until_quiet()?;
        for boot in ["7", "8"] {
            equal(&url, &folder.join(format!("{boot}.pcap")), boot)?;
        }
        // The check can fail: one altered row is found.
        cluster().sql(
            &database,
            "UPDATE telemetry SET cpu_temp = cpu_temp + 0.01 WHERE satellite_id = 'SAT-07'
             AND boot_count = 7 AND sequence = 5",
        )?;
        let found = equal(&url, &folder.join("7.pcap"), "7").expect_err("one row differs");
        assert!(format!("{found:#}").contains("telemetry.cpu_temp: 1 rows differ"), "{found:#}");
        let counters = ground.stop()?;
        assert_eq!((counters.committed, counters.lost), (flown, 0));
        assert_eq!((counters.duplicate, counters.rejected_total()), (0, 0));
        assert_eq!(counters.resets, 100, "one a stream");
    }
    Ok(())
}

#[test]
fn the_queries_of_the_tutorial_use_the_index() -> Result<()> {
    for tables in tables() {
        // In rows, as most are: the columnstore has indexes of its own.
        let ground = Ground::start(tables, &["--columnstore-from", "0"])?;
        let options = ["--satellites", "100", "--rate", "100", "--count", "50000"];
        Constellation::fly(ground.station.target(), ground.folder.path(), &options)?;
        let database = ground.database.clone();
        let counters = ground.stop()?;
        assert_eq!(counters.committed, 50_000);
        let plan = cluster().sql(
            &database,
            "ANALYZE telemetry;
             EXPLAIN SELECT time, cpu_temp FROM telemetry WHERE satellite_id = 'SAT-01'",
        )?;
        assert!(plan.contains("satellite_id_time_idx"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
        let health: u64 = cluster().sql(&database, "SELECT count(*) FROM telemetry")?.parse()?;
        let links =
            "SELECT sum(received), sum(missed), sum(duplicate), count(DISTINCT satellite_id)
                     FROM link_health";
        assert_eq!(cluster().sql(&database, links)?, "50000|0|0|100");
        let bytes: u64 = cluster().sql(&database, "SELECT sum(bytes) FROM link_health")?.parse()?;
        assert_eq!(bytes, health * 68 + (50_000 - health) * 46);
        let station = "SELECT sum(frames), sum(accepted), sum(datagrams) FROM station_health";
        assert_eq!(cluster().sql(&database, station)?, "50000|50000|50000");
    }
    Ok(())
}

#[test]
fn refused_frames_are_kept_up_to_a_number_each_second() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &["--rejected-per-second", "5"])?;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..50 {
        socket.send_to(b"no frame at all", ground.station.target())?;
    }
    let database = ground.database.clone();
    let roles = "SELECT DISTINCT usename FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'orbitstream receiver'";
    // A writer connects when it has something to store.
    let patience = Instant::now() + Duration::from_secs(20);
    let mut found = ground.sql(roles)?;
    while found.is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(100));
        found = ground.sql(roles)?;
    }
    assert_eq!(found, "orbitstream_writer", "whom the station runs as");
    let counters = ground.stop()?;
    assert_eq!((counters.rejected_total(), counters.committed), (50, 0));
    let kept = "SELECT count(*) BETWEEN 5 AND 10, min(host(source)), min(reason),
                       min(convert_from(raw, 'UTF8')) FROM rejected_frame";
    assert_eq!(cluster().sql(&database, kept)?, "t|127.0.0.1|length_mismatch|no frame at all");
    let reasons = "SELECT sum(length_mismatch), sum(frames) FROM station_health";
    assert_eq!(cluster().sql(&database, reasons)?, "50|50");
    Ok(())
}

/// Compares the rows of one boot with its capture.
fn equal(url: &str, capture: &Path, boot: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(root.join("target/oracles/bin/python"))
        .arg(root.join("harness/oracles/rows_equal_pcap.py"))
        .arg(url)
        .arg(capture)
        .arg(boot)
        .output()
        .context("the Python oracles are missing: run `make test`, which installs them")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", error.trim());
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
