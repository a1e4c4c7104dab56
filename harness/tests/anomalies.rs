//! Anomalies from end to end: a sample that is not as it should be becomes one row, which is changed as
//! the event goes on and closed when it is over, whatever happens to the station and the database
//! meanwhile.

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::StopMode;
use harness::station::SATSIM_REPORT;
use harness::{Cluster, Constellation, Reports, Station, Verification};
use support::{Ground, Tables, cluster, ports, tables, writer_url};

/// Too hot for a processor, and just right.
const HOT: f64 = 95.0;
const FINE: f64 = 40.0;

/// What shows of the only event.
const EVENT: &str = "SELECT satellite_id, channel, detector, severity, samples, peak_observed,
                            close_reason, station, last_at - opened_at
                     FROM anomaly";

/// Samples a second apart, from this second of today on, so that the order is plain.
fn samples(from_s: u32, values: &[f64]) -> String {
    let day = day();
    let mut body = String::from("[");
    for (second, value) in (from_s..).zip(values) {
        let comma = if second == from_s { "" } else { "," };
        let time = format!("{day}T00:{:02}:{:02}Z", second / 60, second % 60);
        write!(body, r#"{comma}{{"satellite_id":"SAT-01","time":"{time}","temp":{value}}}"#)
            .expect("a string takes it");
    }
    body + "]"
}

/// A day that is over everywhere, and lies in the station's window.
fn day() -> String {
    let sql = "SELECT to_char(now() - interval '2 days', 'YYYY-MM-DD')";
    cluster().sql("postgres", sql).expect("the server answers")
}

fn post(station: &Station, from_s: u32, values: &[f64]) -> Result<()> {
    let (status, answer) = station.post(samples(from_s, values))?;
    ensure!(status == 200, "{answer}");
    Ok(())
}

/// Asks until the answer is this one.
fn wait_for(what: &str, answer: impl Fn() -> Result<String>) -> Result<()> {
    let start = Instant::now();
    loop {
        let found = answer()?;
        if found == what {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "it stays {found}, not {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_event_is_one_row_from_its_first_sample_to_its_end() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
        let event = || ground.sql(EVENT);
        // Beyond the soft limit, then beyond the hard one.
        post(&ground.station, 0, &[FINE, 75.0, 76.0])?;
        let open = "SAT-01|cpu_temp|limits|warning|1|76||GS-01|00:00:01";
        wait_for(open, event)?;
        post(&ground.station, 3, &[HOT, 75.0])?;
        wait_for("SAT-01|cpu_temp|limits|critical|3|95||GS-01|00:00:03", event)?;
        // What somebody has acknowledged stays so, and severity does not fall.
        ground.sql("UPDATE anomaly SET ack_by = 'me', severity = 'critical'")?;
        post(&ground.station, 5, &[FINE; 18])?;
        post(&ground.station, 23, &[75.0, 75.0])?;
        post(&ground.station, 25, &[FINE; 20])?;
        wait_for("SAT-01|cpu_temp|limits|critical|4|95|clean|GS-01|00:00:23", event)?;
        let ack = "SELECT ack_by, closed_at - opened_at, detected_at - opened_at FROM anomaly";
        assert_eq!(ground.sql(ack)?, "me|00:00:43|00:00:01");
        let metrics = ground.station.get("/metrics")?;
        for line in ["orbitstream_detect_opened_total 1", "orbitstream_detect_values_total 45"] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
        std::thread::sleep(Duration::from_millis(1_100));
        let log = std::fs::read_to_string(ground.folder.path().join("receiver.log"))?;
        assert_eq!(log.matches("1 anomalies opened").count(), 1, "{log}");
        ground.stop()?;
    }
    Ok(())
}

/// Five satellites, whose hour passes in little more than a second.
const FLIGHT: &[&str] = &["--satellites=5", "--rate=400", "--speed=3000"];

#[test]
fn what_was_learned_before_a_restart_finds_what_goes_wrong_after_it() -> Result<()> {
    let database = support::database(Tables::Plain)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let run = |writers| {
        let options = ["--state", &*state.to_string_lossy(), "--writers", writers];
        Station::start(&writer_url(&database), folder.path(), ports(), &options)
    };
    let rows =
        |what: &str| cluster().sql(&database, &format!("SELECT count(*) FROM anomaly {what}"));

    // Five orbits and a half in which all is well.
    let mut station = run("2")?;
    let start = format!("--start={}T00:00:00Z", day());
    let flight = [FLIGHT, &[&start, "--duration=11s"]].concat();
    Constellation::fly(station.target(), folder.path(), &flight)?;
    station.wait_until_quiet()?;
    station.stop()?;
    assert_eq!(rows("")?, "0", "{}", cluster().sql(&database, "SELECT * FROM anomaly")?);

    // Then two and a half in which it is not.
    let mut station = run("1")?;
    let start = format!("--start={}T10:00:00Z", day());
    let flight = [FLIGHT, &[&start, "--duration=5s", "--anomalies=0.001"]].concat();
    Constellation::fly(station.target(), folder.path(), &flight)?;
    station.wait_until_quiet()?;
    let truth = folder.path().join(SATSIM_REPORT);
    let reports = Reports { truth: &truth, receiver: None };
    let asked = ["--min-f1=0.7", "--min-recall=spike=0.6", "--min-recall=stuck=0.5"];
    let verification = Verification::run(reports, &cluster().url(&database), &asked)?;
    println!("{}", verification.page);
    assert!(verification.agrees, "{}", verification.page);
    station.stop()?;
    Ok(())
}

/// Hot frames of one satellite, a second apart, from this second of a day since 1958 on.
fn send_hot(target: &str, day: u16, from_s: u32, frames: u32, boot_count: u16) -> Result<()> {
    use protocol::{CdsTime, Packet, Sequence, SpacecraftId, Stamp, health, health::Health};
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for number in 0..frames {
        let stamp = Stamp {
            spacecraft: SpacecraftId::FIRST,
            boot_count,
            sequence: Sequence::new(number),
            time: CdsTime { day, ms: (from_s + number) * 1_000, us: 0 },
        };
        let cpu_temp = health::quantise::cpu_temp(HOT);
        let packet =
            Packet::Health(Health { cpu_temp, battery_voltage: 7_500, ..Health::default() });
        let mut octets = [0; protocol::FRAME_OCTETS_MAX];
        socket.send_to(protocol::emit(&stamp, &packet, &mut octets), target)?;
    }
    Ok(())
}

#[test]
fn what_is_quarantined_is_not_looked_at() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
        let days = "SELECT now()::date - DATE '1958-01-01'";
        let today: u16 = ground.sql(days)?.parse()?;
        // Years ago, and years ahead.
        for (day, boot_count) in [(today - 2_000, 1), (today + 2_000, 2)] {
            send_hot(ground.station.target(), day, 0, 30, boot_count)?;
        }
        wait_for("60", || ground.sql("SELECT count(*) FROM quarantine"))?;
        let looked_at = |values: u32| {
            let metrics = ground.station.get("/metrics")?;
            let line = format!("orbitstream_detect_values_total {values}\n");
            anyhow::Ok(metrics.contains(&line).to_string())
        };
        wait_for("true", || looked_at(0))?;
        assert_eq!(ground.sql("SELECT count(*) FROM anomaly")?, "0");
        // Nor has it moved what is learned of the satellite: what comes now is no late sample.
        send_hot(ground.station.target(), today - 1, 100, 3, 3)?;
        wait_for("true", || looked_at(3 * 17))?;
        let opened = "SELECT count(*), min(opened_at - date_trunc('day', opened_at)) FROM anomaly
                      WHERE channel = 'cpu_temp'";
        wait_for("1|00:01:40", || ground.sql(opened))?;
        let counters = ground.stop()?;
        assert_eq!((counters.quarantined, counters.committed), (60, 3));
    }
    Ok(())
}

#[test]
fn nothing_is_looked_for_when_that_is_switched_off() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &["--detect", "false"])?;
    post(&ground.station, 0, &[HOT; 5])?;
    let database = ground.database.clone();
    ground.stop()?;
    assert_eq!(cluster().sql(&database, "SELECT count(*) FROM anomaly")?, "0");
    Ok(())
}

#[test]
fn an_event_that_the_database_refuses_takes_no_sample_along() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    ground.sql("ALTER TABLE anomaly ADD CHECK (channel <> 'cpu_temp')")?;
    let two = r#"{"satellite_id": "SAT-01", "temp": 95, "payload_temp": 79}"#;
    for _ in 0..2 {
        assert_eq!(ground.station.post(two)?.0, 200);
    }
    wait_for("payload_temp", || ground.sql("SELECT channel FROM anomaly"))?;
    // Without the table no event can be stored, and every sample still is.
    ground.sql("ALTER TABLE anomaly RENAME TO elsewhere")?;
    assert_eq!(ground.station.post(two)?.0, 200);
    let metrics = || ground.station.get("/metrics");
    wait_for("3", || ground.sql("SELECT count(*) FROM telemetry"))?;
    wait_for("true", || {
        Ok(metrics()?.contains("orbitstream_detect_unstored_total 3").to_string())
    })?;
    ground.sql("ALTER TABLE elsewhere RENAME TO anomaly")?;
    assert_eq!(ground.stop()?.committed, 3);
    Ok(())
}

#[test]
fn an_outage_in_the_middle_of_an_event_leaves_one_row() -> Result<()> {
    let server = Cluster::start()?;
    server.create_database("orbitstream")?;
    let folder = tempfile::tempdir()?;
    let options = ["--migrate", "--writers", "1"];
    let url = server.url("orbitstream");
    let mut station = Station::start(&url, folder.path(), ports(), &options)?;
    let event = || server.sql("orbitstream", EVENT);
    post(&station, 0, &[HOT; 3])?;
    wait_for("SAT-01|cpu_temp|limits|critical|2|95||GS-01|00:00:02", event)?;
    server.stop(StopMode::Immediate)?;
    post(&station, 3, &[HOT + 2.0; 3])?;
    std::thread::sleep(Duration::from_secs(1));
    server.start_again()?;
    wait_for("SAT-01|cpu_temp|limits|critical|5|97||GS-01|00:00:05", event)?;
    server.stop(StopMode::Immediate)?;
    post(&station, 6, &[FINE; 20])?;
    std::thread::sleep(Duration::from_secs(1));
    server.start_again()?;
    wait_for("SAT-01|cpu_temp|limits|critical|5|97|clean|GS-01|00:00:05", event)?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    assert_eq!((counters.committed, counters.pending), (26, 0));
    Ok(())
}

#[test]
fn a_restart_goes_on_where_it_was_or_closes_what_it_does_not_know() -> Result<()> {
    for tables in tables() {
        let database = support::database(tables)?;
        let url = writer_url(&database);
        let folder = tempfile::tempdir()?;
        let state = folder.path().join("state");
        let state = state.to_string_lossy();
        let event = || cluster().sql(&database, EVENT);
        let run = |options: &[&str]| Station::start(&url, folder.path(), ports(), options);

        let station = run(&["--state", &state, "--writers", "2"])?;
        post(&station, 0, &[HOT; 3])?;
        station.stop()?;
        // Other writers, and the event goes on in its row.
        let station = run(&["--state", &state, "--writers", "3"])?;
        assert_eq!(event()?, "SAT-01|cpu_temp|limits|critical|2|95||GS-01|00:00:02");
        post(&station, 3, &[HOT; 2])?;
        wait_for("SAT-01|cpu_temp|limits|critical|4|95||GS-01|00:00:04", event)?;
        station.stop()?;

        // A damaged state is set aside, and the event that it knew is closed.
        let file = folder.path().join("state/detect-01.state");
        let mut octets = std::fs::read(&file)?;
        octets[99] ^= 1;
        std::fs::write(&file, octets)?;
        let station = run(&["--state", &state])?;
        assert_eq!(event()?, "SAT-01|cpu_temp|limits|critical|4|95|restart|GS-01|00:00:04");
        assert!(file.with_extension("damaged").exists() && !file.exists());
        let log = std::fs::read_to_string(folder.path().join("receiver.log"))?;
        assert!(
            log.contains("its checksum is wrong") && log.contains("1 anomalies of an"),
            "{log}"
        );
        post(&station, 60, &[HOT; 2])?;
        station.stop()?;

        // Another station's events are its own; without a folder nothing is known.
        let other = run(&["--station", "GS-02"])?;
        let open = "SELECT count(*) FROM anomaly WHERE closed_at IS NULL";
        assert_eq!(cluster().sql(&database, open)?, "1");
        other.stop()?;
        run(&["--journal", "off"])?.stop()?;
        assert_eq!(cluster().sql(&database, open)?, "0");
        let log = std::fs::read_to_string(folder.path().join("receiver.log"))?;
        assert!(log.contains("--state"), "{log}");
    }
    Ok(())
}

#[test]
fn a_state_that_cannot_be_kept_stops_nothing_that_runs() -> Result<()> {
    let database = support::database(Tables::Plain)?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let shown = state.to_string_lossy();
    let run =
        || Station::start(&writer_url(&database), folder.path(), ports(), &["--state", &shown]);
    let log = || std::fs::read_to_string(folder.path().join("receiver.log"));

    // A folder that cannot be is a wrong option, and said at once.
    std::fs::write(&state, "a file")?;
    let error = run().expect_err("it cannot be used").to_string();
    assert!(error.contains("cannot make the folder") && error.contains("state"), "{error}");
    std::fs::remove_file(&state)?;

    // One that cannot be written to any more is said, and what is received is stored all the same.
    let station = run()?;
    post(&station, 0, &[HOT; 3])?;
    std::fs::rename(&state, folder.path().join("elsewhere"))?;
    std::fs::write(&state, "a file")?;
    let counters = station.stop()?;
    assert_eq!((counters.committed, counters.pending), (3, 0));
    assert!(log()?.contains("what the detectors have learned cannot be kept"), "{}", log()?);
    std::fs::remove_file(&state)?;

    // What cannot be read, nor set aside, is not used.
    std::fs::create_dir_all(state.join("detect-01.state/of"))?;
    std::fs::create_dir_all(state.join("detect-01.damaged/before"))?;
    let station = run()?;
    assert!(log()?.contains("detect-01.state is not used"), "{}", log()?);
    post(&station, 10, &[HOT; 3])?;
    let counters = station.stop()?;
    assert_eq!((counters.committed, counters.pending), (3, 0));
    let events = "SELECT count(*), count(closed_at) FROM anomaly";
    assert_eq!(cluster().sql(&database, events)?, "2|1");
    Ok(())
}

#[test]
fn a_second_station_of_the_name_leaves_the_events_of_the_first_alone() -> Result<()> {
    let database = support::database(Tables::Plain)?;
    let url = writer_url(&database);
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let open = || cluster().sql(&database, "SELECT count(*) FROM anomaly WHERE closed_at IS NULL");
    let first = Station::start(&url, one.path(), ports(), &[])?;
    post(&first, 0, &[HOT; 3])?;
    wait_for("1", open)?;
    let second = Station::start(&url, two.path(), ports(), &[])?;
    let log = std::fs::read_to_string(two.path().join("receiver.log"))?;
    assert!(log.contains("another station with the name GS-01 stores in this database"), "{log}");
    assert!(log.contains("session ") && log.contains("--station"), "{log}");
    assert!(second.get("/readyz")?.contains("another station with the name GS-01"));
    assert!(!first.get("/readyz")?.contains("another station"));
    assert_eq!(open()?, "1", "it is the first one's");
    // Once the first has ended, the name is the second one's.
    first.kill()?;
    wait_for("ready", || {
        let ready = second.get("/readyz")?;
        let is_alone = !ready.contains("another station");
        Ok(if is_alone { "ready".to_owned() } else { ready })
    })?;
    second.stop()?;
    // A run that is alone closes what it does not know, also at once after a kill.
    let third = Station::start(&url, two.path(), ports(), &[])?;
    third.kill()?;
    let fourth = Station::start(&url, two.path(), ports(), &[])?;
    assert_eq!(open()?, "0");
    assert!(!fourth.get("/readyz")?.contains("another station"));
    fourth.stop()?;
    Ok(())
}
