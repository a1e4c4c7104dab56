//! `satsim verify` on a real database: it agrees with a run that went well, and names the stream
//! when a row or a count is wrong.

mod support;

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use harness::station::{RECEIVER_REPORT, SATSIM_REPORT};
use harness::{Constellation, Counters, Reports, Verification};
use serde_json::Value;
use support::{Ground, Tables, cluster, tables};
use tempfile::TempDir;

/// A flight that is over, and its station stopped.
struct Flown {
    database: String,
    counters: Counters,
    folder: TempDir,
}

const FLIGHT: &[&str] = &["--satellites=3", "--rate=200", "--count=3000", "--boot=7"];

impl Flown {
    fn fly(tables: Tables, options: &[&str]) -> Result<Self> {
        let Ground { mut station, database, folder } = Ground::start(tables, &[])?;
        Constellation::fly(station.target(), folder.path(), options)?;
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        Ok(Self { database, counters, folder })
    }

    fn truth(&self) -> PathBuf {
        self.folder.path().join(SATSIM_REPORT)
    }

    fn receiver(&self) -> PathBuf {
        self.folder.path().join(RECEIVER_REPORT)
    }

    fn sql(&self, statement: &str) -> Result<String> {
        cluster().sql(&self.database, statement)
    }

    fn verify(&self, options: &[&str]) -> Result<Verification> {
        let (truth, receiver) = (self.truth(), self.receiver());
        let reports = Reports { truth: &truth, receiver: Some(&receiver) };
        Verification::run(reports, &cluster().url(&self.database), options)
    }

    /// Without the station's report.
    fn verify_rows(&self) -> Result<Verification> {
        let reports = Reports { truth: &self.truth(), receiver: None };
        Verification::run(reports, &cluster().url(&self.database), &[])
    }

    /// It disagrees in both ways to ask, and says this about that stream.
    fn assert_wrong(&self, stream: &str, what: &str) -> Result<()> {
        for verification in [self.verify(&[])?, self.verify_rows()?] {
            assert_eq!(verification.code, Some(1), "{}", verification.page);
            let line = verification.page.lines().find(|line| line.contains(what));
            assert!(line.is_some_and(|line| line.starts_with(stream)), "{}", verification.page);
            assert!(verification.page.contains("FAILED: 1 streams"), "{}", verification.page);
        }
        Ok(())
    }
}

#[test]
fn a_row_that_is_missing_or_there_twice_is_named() -> Result<()> {
    for tables in tables() {
        let flown = Flown::fly(tables, FLIGHT)?;
        for verification in [flown.verify(&[])?, flown.verify_rows()?, flown.verify(&["--all"])?] {
            assert!(verification.agrees, "{}", verification.page);
            assert!(verification.page.contains("6 of 6 streams agree"), "{}", verification.page);
        }
        let row = "satellite_id = 'SAT-02' AND sequence = 17";
        flown.sql(&format!("CREATE TABLE aside AS SELECT * FROM telemetry WHERE {row}"))?;
        flown.sql(&format!("DELETE FROM telemetry WHERE {row}"))?;
        flown.assert_wrong("SAT-02      100      7", "1 missing")?;
        flown.sql("INSERT INTO telemetry SELECT * FROM aside")?;
        assert!(flown.verify(&[])?.agrees);
        flown.sql("INSERT INTO telemetry SELECT * FROM aside")?;
        flown.assert_wrong("SAT-02      100      7", "1 stored twice")?;
        // One missing and another twice: the number of rows is right, and it still shows.
        let other = "satellite_id = 'SAT-02' AND sequence = 99";
        flown.sql(&format!("CREATE TABLE another AS SELECT * FROM telemetry WHERE {other}"))?;
        flown.sql(&format!("DELETE FROM telemetry WHERE {other}"))?;
        flown.assert_wrong("SAT-02      100      7", "1 stored twice; 1 missing")?;
        flown.sql(&format!("DELETE FROM telemetry WHERE {row}"))?;
        flown.sql("INSERT INTO telemetry SELECT * FROM aside UNION ALL SELECT * FROM another")?;
        assert!(flown.verify(&[])?.agrees);
        flown.sql("UPDATE attitude SET satellite_id = 'SAT-04' WHERE satellite_id = 'SAT-03'")?;
        let page = flown.verify(&[])?.page;
        assert!(page.contains("100 missing") && page.contains("rows of 1 streams"), "{page}");
    }
    Ok(())
}

#[test]
fn every_figure_of_the_stations_report_counts() -> Result<()> {
    let flown = Flown::fly(Tables::Plain, FLIGHT)?;
    let report: Value = serde_json::from_str(&fs::read_to_string(flown.receiver())?)?;
    let altered = |pointer: &str| -> Result<Verification> {
        let mut altered = report.clone();
        let figure = altered.pointer_mut(pointer).expect("the figure is there");
        *figure = (figure.as_u64().expect("a count") + 1).into();
        fs::write(flown.receiver(), altered.to_string())?;
        flown.verify(&[])
    };
    for name in ["accepted", "missed", "duplicate", "stale", "late"] {
        let page = altered(&format!("/streams/3/{name}"))?.page;
        let line = page.lines().find(|line| line.starts_with("SAT-02      101"));
        assert!(line.is_some_and(|line| !line.ends_with("  ok")), "{name}: {page}");
        assert!(page.contains("FAILED: 1 streams"), "{page}");
    }
    for name in [
        "frames",
        "idle",
        "accepted",
        "duplicate",
        "stale",
        "lost",
        "kernel_dropped",
        "queue_dropped",
        "quarantined",
        "quarantine_dropped",
        "committed",
        "pending",
        "rejected/crc_mismatch",
    ] {
        let verification = altered(&format!("/{name}"))?;
        assert_eq!(verification.code, Some(1), "{name}: {}", verification.page);
        assert!(verification.page.contains("DISAGREES"), "{name}: {}", verification.page);
    }
    Ok(())
}

#[test]
fn another_run_in_the_same_tables_does_not_disturb() -> Result<()> {
    let Ground { mut station, database, folder } = Ground::start(Tables::Plain, &[])?;
    let other = tempfile::tempdir()?;
    // The same start, so that only the boot tells them apart; the second is a reboot.
    let now = cluster().sql(&database, "SELECT to_char(now() at time zone 'UTC', 'YYYY-MM-DD')")?;
    let start = format!("--start={now}T00:00:00Z");
    Constellation::fly(station.target(), folder.path(), &[FLIGHT, &[&start]].concat())?;
    let again = ["--satellites=5", "--rate=100", "--count=2000", "--boot=8", "--seed=2", &start];
    Constellation::fly(station.target(), other.path(), &again)?;
    station.post(r#"{"satellite_id": "SAT-01", "temp": 50}"#)?;
    station.wait_until_quiet()?;
    station.stop()?;
    let (url, receiver) = (cluster().url(&database), folder.path().join(RECEIVER_REPORT));
    for folder in [&folder, &other] {
        for receiver in [None, Some(&*receiver)] {
            let reports = Reports { truth: &folder.path().join(SATSIM_REPORT), receiver };
            let verification = Verification::run(reports, &url, &[])?;
            assert!(verification.agrees, "{}", verification.page);
        }
    }
    Ok(())
}

#[test]
fn all_faults_at_once_are_told_apart() -> Result<()> {
    for frames_per_datagram in [1, 7] {
        let mut options: Vec<String> = FLIGHT.iter().map(|&option| option.into()).collect();
        options.push(format!("--frames-per-datagram={frames_per_datagram}"));
        for fault in ["drop", "corrupt", "truncate", "duplicate", "reorder"] {
            options.push(format!("--{fault}=0.05"));
        }
        options.push("--burst-loss=0.01,0.25".into());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let flown = Flown::fly(Tables::Plain, &options)?;
        let verification = flown.verify(&[])?;
        assert!(verification.agrees, "{}", verification.page);
        let truth: Value = serde_json::from_str(&fs::read_to_string(flown.truth())?)?;
        let faults = truth["faults"].as_object().expect("an object");
        assert!(faults.values().all(|count| count.as_u64() > Some(20)), "{faults:?}");
        assert!(flown.counters.late > 20 && flown.counters.lost > 300);
    }
    Ok(())
}

#[test]
fn a_reboot_in_a_storm_makes_streams_of_their_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scenario = folder.path().join("storm.toml");
    fs::write(
        &scenario,
        "satellites = 4\nrate = 200\n\
         [[phase]]\nduration = '1s'\n\
         [[phase]]\nduration = '2s'\ndrop = 0.1\ncorrupt = 0.1\nreorder = 0.1\n\
         reboot = ['SAT-02']\nsilent = ['SAT-03']\n\
         [[phase]]\nduration = '1s'\nreboot = ['SAT-02', 'SAT-04']\n",
    )?;
    let scenario = format!("--scenario={}", scenario.display());
    let flown = Flown::fly(Tables::Plain, &[&scenario, "--boot=65534"])?;
    let verification = flown.verify(&[])?;
    let page = verification.page;
    assert!(verification.agrees && page.contains("14 of 14 streams agree"), "{page}");
    // SAT-02 has rebooted past the end of the counter.
    for boot_count in [65_534, 65_535, 0] {
        assert!(page.contains(&format!("SAT-02      100{boot_count:>7}")), "{page}");
    }
    assert_eq!(flown.counters.resets, 6);
    Ok(())
}

/// Three simulated minutes, less than a station lets satellites be ahead of its clock.
const ANOMALIES: &[&str] = &[
    "--satellites=4",
    "--rate=200",
    "--count=8000",
    "--boot=7",
    "--seed=5",
    "--speed=20",
    "--anomalies=0.05",
];

#[test]
fn detection_is_scored_by_onset() -> Result<()> {
    for tables in tables() {
        let flown = Flown::fly(tables, ANOMALIES)?;
        let truth: Value = serde_json::from_str(&fs::read_to_string(flown.truth())?)?;
        let events = truth["anomalies"].as_array().expect("a list");
        assert!(events.len() > 20, "{}", events.len());
        flown.sql("DELETE FROM anomaly")?;

        // Nothing found, and that is no disagreement until somebody asks.
        let verification = flown.verify(&[])?;
        assert!(verification.agrees, "{}", verification.page);
        assert!(verification.page.contains("\nall  "), "{}", verification.page);
        let json = flown.folder.path().join("verified.json");
        let json_option = format!("--json={}", json.display());
        let detection = |options: &[&str]| -> Result<(bool, Value)> {
            let verification = flown.verify(&[&[&*json_option], options].concat())?;
            let page: Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
            assert_eq!(page["agrees"], verification.agrees, "{}", verification.page);
            Ok((verification.agrees, page["detection"].clone()))
        };
        let (agrees, score) = detection(&["--min-f1=0.5"])?;
        assert!(!agrees, "{score}");
        assert_eq!(score["all"]["found"], 0);
        assert_eq!(score["all"]["recall"], 0.0);
        let judged = score["all"]["events"].as_u64().expect("a count");
        let left_out = score["cut_off"].as_u64().zip(score["not_received"].as_u64());
        assert_eq!(judged + left_out.map_or(0, |(a, b)| a + b), events.len() as u64);
        assert_eq!(score["values"], 8_000 / 10 * (9 * 17 + 11));

        // Each found on its first sample by one detector, and by another ten samples later.
        for event in events {
            let (satellite, channel) = (&event["satellite_id"], &event["channel"]);
            let table = match channel.as_str() {
                Some(name) if name.starts_with("rate") || name.starts_with("wheel") => "attitude",
                _ => "telemetry",
            };
            for (detector, later) in [("first", 0), ("second", 10)] {
                flown.sql(&format!(
                    "INSERT INTO anomaly (satellite_id, channel, detector, severity, opened_at,
                                          last_at, detected_at)
                     SELECT satellite_id, '{channel}', '{detector}', 'warning', time, time, time
                     FROM {table}
                     WHERE satellite_id = '{satellite}' AND time >= '{start}'
                     ORDER BY time OFFSET {later} LIMIT 1",
                    satellite = satellite.as_str().expect("a name"),
                    channel = channel.as_str().expect("a name"),
                    start = event["start"].as_str().expect("a time"),
                ))?;
            }
        }
        let (agrees, score) = detection(&["--min-f1=1", "--min-recall=stuck=1", "--max-false=0"])?;
        assert!(agrees, "{score}");
        assert_eq!(score["all"]["found"], judged);
        assert_eq!((&score["all"]["f1"], &score["all"]["false"]), (&1.0.into(), &0.into()));
        assert_eq!(score["all"]["delay_samples_p95"], 0);
        assert_eq!(score["kinds"].as_object().map(serde_json::Map::len), Some(5), "{score}");

        // Without the first detector the delay is ten samples, whatever the times between them.
        flown.sql("DELETE FROM anomaly WHERE detector = 'first'")?;
        let (_, score) = detection(&[])?;
        assert_eq!(score["all"]["found"], judged);
        assert_eq!(score["all"]["delay_samples_median"], 10);

        // Alarms where nothing was, on a channel that never goes wrong, and about another satellite.
        for (satellite, channel) in [("SAT-01", "altitude"), ("SAT-09", "altitude"), ("SAT-01", "")]
        {
            flown.sql(&format!(
                "INSERT INTO anomaly (satellite_id, channel, detector, severity, opened_at, last_at,
                                      detected_at)
                 SELECT '{satellite}', '{channel}', 'third', 'watch', time, time, time
                 FROM telemetry WHERE satellite_id = 'SAT-01' ORDER BY time OFFSET 500 LIMIT 1"
            ))?;
        }
        let (agrees, score) = detection(&["--max-false=0"])?;
        assert!(!agrees);
        assert_eq!(score["all"]["false"], 1);
        assert_eq!(score["channels"]["altitude"]["false"], 1);
        let page = flown.verify(&[])?.page;
        assert!(page.contains("2 alarms about other satellites"), "{page}");
    }
    Ok(())
}

#[test]
fn detection_is_scored_without_anomalies_when_asked() -> Result<()> {
    let flown = Flown::fly(Tables::Plain, FLIGHT)?;
    flown.sql("DELETE FROM anomaly")?;
    assert!(!flown.verify(&[])?.page.contains("false alarms"));
    let page = flown.verify(&["--detection"])?.page;
    assert!(page.contains("0.000 false alarms per million values (49200 values)"), "{page}");
    assert!(flown.verify(&["--max-false=0"])?.agrees);
    // A share of nothing is no share.
    for asked in ["--min-f1=0", "--min-recall=drift=0"] {
        let verification = flown.verify(&[asked])?;
        assert!(!verification.agrees, "{}", verification.page);
        assert!(verification.page.contains("nothing to score"), "{}", verification.page);
    }
    for (wrong, part) in [
        ("--min-f1=2", "a share from 0 to 1"),
        ("--min-recall=drift", "a kind and a share"),
        ("--min-recall=wobble=0.5", "spike, step, drift"),
        ("--json=/no/such/place", "--json another place"),
    ] {
        let verification = flown.verify(&[wrong])?;
        assert!(!verification.agrees && verification.page.contains(part), "{}", verification.page);
        assert_eq!(verification.page.lines().count(), 1, "{}", verification.page);
    }
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_said_in_one_line() -> Result<()> {
    let flown = Flown::fly(Tables::Plain, &["--satellites=1", "--count=20", "--rate=100"])?;
    let url = cluster().url(&flown.database);
    let (truth, garbage) = (flown.truth(), flown.folder.path().join("garbage.json"));
    fs::write(&garbage, "{\"seed\": 1}")?;
    let missing = flown.folder.path().join("missing.json");
    let nothing = cluster().url("postgres");
    let nobody = "postgres://nobody@127.0.0.1:9/nothing";
    let closed = cluster().url_as("orbitstream", Some("wrong"), &flown.database);
    for (truth, receiver, url, part) in [
        (&missing, None, &*url, "missing.json"),
        (&garbage, None, &url, "no report of satsim"),
        (&truth, Some(&*missing), &url, "--receiver-report"),
        (&truth, Some(&*garbage), &url, "no report of receiver"),
        (&truth, None, "nonsense", "postgresql://USER"),
        (&truth, None, nobody, "cannot connect to database"),
        (&truth, None, &closed, "password"),
        (&truth, None, &nothing, "telemetry"),
    ] {
        let verification = Verification::run(Reports { truth, receiver }, url, &[])?;
        let page = verification.page;
        assert_eq!((verification.code, page.lines().count()), (Some(1), 1), "{part}: {page}");
        assert!(page.starts_with("error: ") && page.contains(part), "{part}: {page}");
    }
    Ok(())
}

/// What is done to the rows, and what is said of it: in lines that begin so, with these words.
struct Damage {
    name: &'static str,
    sql: &'static str,
    said: &'static [(&'static str, &'static str)],
}

/// Sequences of a stream of 900 frames: the second slice of four.
const SECOND_SLICE: &str = "times or values differ in sequences 256 to 511";

const DAMAGES: &[Damage] = &[
    Damage {
        name: "the values of two satellites exchanged",
        sql: "UPDATE telemetry SET satellite_id = CASE satellite_id WHEN 'SAT-01' THEN 'SAT-02'
                                                                    ELSE 'SAT-01' END
              WHERE satellite_id IN ('SAT-01', 'SAT-02')",
        said: &[
            ("SAT-01      100", "times or values differ in sequences 0 to 255, "),
            ("SAT-02      100", "times or values differ in sequences 0 to 255, "),
        ],
    },
    Damage {
        name: "a satellite's values zeroed",
        sql: "UPDATE telemetry SET cpu_temp = 0, battery_temp = 0, panel_temp = 0, altitude = 0
              WHERE satellite_id = 'SAT-03'",
        said: &[("SAT-03      100", "512 to 767 and 1 slices more")],
    },
    Damage {
        name: "two sequences swapped",
        sql: "UPDATE attitude SET sequence = 51 - sequence
              WHERE satellite_id = 'SAT-02' AND sequence IN (20, 31)",
        said: &[("SAT-02      101", "times or values differ in sequences 0 to 255")],
    },
    Damage {
        name: "two sequences of different slices swapped",
        sql: "UPDATE telemetry SET sequence = 560 - sequence
              WHERE satellite_id = 'SAT-02' AND sequence IN (250, 310)",
        said: &[("SAT-02      100", "differ in sequences 0 to 255, sequences 256 to 511")],
    },
    Damage {
        name: "a time shifted by a microsecond",
        sql: "UPDATE telemetry SET time = time + INTERVAL '1 us'
              WHERE satellite_id = 'SAT-01' AND sequence = 400",
        said: &[("SAT-01      100", SECOND_SLICE)],
    },
    Damage {
        name: "one bit of a float",
        sql: "UPDATE telemetry SET speed = float4recv_next(speed)
              WHERE satellite_id = 'SAT-01' AND sequence = 400",
        said: &[("SAT-01      100", SECOND_SLICE)],
    },
    Damage {
        name: "one bit of a double",
        sql: "UPDATE telemetry SET latitude = latitude + (latitude * 2e-16)
              WHERE satellite_id = 'SAT-01' AND sequence = 400",
        said: &[("SAT-01      100", SECOND_SLICE)],
    },
    Damage {
        name: "a value taken away",
        sql: "UPDATE telemetry SET mode = NULL WHERE satellite_id = 'SAT-01' AND sequence = 400",
        said: &[("SAT-01      100", SECOND_SLICE)],
    },
    Damage {
        name: "a flag turned",
        sql: "UPDATE telemetry SET charging = NOT charging
              WHERE satellite_id = 'SAT-01' AND sequence = 400",
        said: &[("SAT-01      100", SECOND_SLICE)],
    },
];

/// The next larger `real`, by its bits.
const NEXT_FLOAT: &str = "CREATE FUNCTION float4recv_next(value real) RETURNS real LANGUAGE sql AS
    'SELECT CASE WHEN value * (1 + 1.19e-7::real) <> value THEN value * (1 + 1.19e-7::real)
                 ELSE value * (1 + 2.38e-7::real) END'";

#[test]
fn a_value_or_a_time_that_is_not_what_was_sent_is_found() -> Result<()> {
    for tables in tables() {
        let flown = Flown::fly(tables, FLIGHT)?;
        flown.sql(NEXT_FLOAT)?;
        for is_compressed in [false, true] {
            if is_compressed {
                if tables == Tables::Plain {
                    break;
                }
                support::stop_jobs(&flown.database)?;
                flown.sql(
                    "SELECT compress_chunk(chunk, true)
                     FROM unnest(ARRAY['telemetry', 'attitude']) AS name, show_chunks(name) AS chunk",
                )?;
            }
            for verification in [flown.verify(&[])?, flown.verify_rows()?] {
                let page = &verification.page;
                assert!(verification.agrees, "{page}");
                assert!(page.contains("times and values of 3000 rows were compared"), "{page}");
            }
            for damage in DAMAGES {
                flown.sql("DROP TABLE IF EXISTS health, turned")?;
                flown.sql("CREATE TABLE health AS TABLE telemetry")?;
                flown.sql("CREATE TABLE turned AS TABLE attitude")?;
                flown.sql(damage.sql)?;
                for verification in [flown.verify(&[])?, flown.verify_rows()?] {
                    let page = &verification.page;
                    assert_eq!(verification.code, Some(1), "{}: {page}", damage.name);
                    for (stream, words) in damage.said {
                        let line = page.lines().find(|line| line.starts_with(stream));
                        let is_said = line.is_some_and(|line| line.contains(words));
                        assert!(is_said, "{}: {page}", damage.name);
                    }
                    let failed = format!("FAILED: {} streams", damage.said.len());
                    assert!(page.contains(&failed), "{}: {page}", damage.name);
                }
                flown.sql("DELETE FROM telemetry; INSERT INTO telemetry TABLE health")?;
                flown.sql("DELETE FROM attitude; INSERT INTO attitude TABLE turned")?;
                if is_compressed {
                    flown.sql(
                        "SELECT compress_chunk(chunk, true)
                         FROM unnest(ARRAY['telemetry', 'attitude']) AS name,
                              show_chunks(name) AS chunk",
                    )?;
                }
            }
            assert!(flown.verify(&[])?.agrees, "as it was");
        }
    }
    Ok(())
}

#[test]
fn over_a_lossy_link_what_cannot_be_compared_is_named() -> Result<()> {
    let flown = Flown::fly(Tables::Plain, FLIGHT)?;
    // As if these had never come.
    flown
        .sql("DELETE FROM telemetry WHERE satellite_id = 'SAT-02' AND sequence BETWEEN 5 AND 7")?;
    let mut report: Value = serde_json::from_str(&fs::read_to_string(flown.receiver())?)?;
    let streams = report["streams"].as_array_mut().expect("a list");
    let is_it = |stream: &&mut Value| stream["satellite_id"] == "SAT-02" && stream["apid"] == 100;
    let stream = streams.iter_mut().find(is_it).expect("it was heard");
    (stream["accepted"], stream["missed"]) = (897.into(), 3.into());
    for (name, count) in
        [("accepted", 2_997), ("committed", 2_997), ("frames", 2_997), ("lost", 3), ("missed", 3)]
    {
        report[name] = count.into();
    }
    fs::write(flown.receiver(), report.to_string())?;
    let page = flown.verify(&["--lossy-link"])?;
    assert!(page.agrees, "{}", page.page);
    let named = "SAT-02 apid 100 boot 7: times and values of 253 rows, in 1 of 4 slices, cannot be";
    assert!(page.page.contains(named), "{}", page.page);
    assert!(page.page.contains("times and values of 2744 rows were compared"), "{}", page.page);
    // The others still are.
    flown.sql("UPDATE telemetry SET speed = 0 WHERE satellite_id = 'SAT-02' AND sequence = 700")?;
    let page = flown.verify(&["--lossy-link"])?;
    assert!(page.page.contains("times or values differ in sequences 512 to 767"), "{}", page.page);
    // A report of old has no digests, and that is said.
    let mut truth: Value = serde_json::from_str(&fs::read_to_string(flown.truth())?)?;
    truth.as_object_mut().expect("an object").remove("digest");
    fs::write(flown.truth(), truth.to_string())?;
    let page = flown.verify(&["--lossy-link"])?;
    assert!(page.agrees && page.page.contains("are not compared"), "{}", page.page);
    Ok(())
}
