//! What is stored already is recognised, and stored no second time: by the function that the writer
//! role asks, and by `receiver replay --once`.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::Constellation;
use harness::program::sibling;
use serde_json::Value;
use support::{Ground, Tables, cluster, database, tables, writer_url};
use tempfile::TempDir;

const ASK: &str = "SELECT time, station, sequence, boot_count FROM stored_frames('telemetry', \
                   'SAT-01', '2026-01-01T00:00:00Z', '2026-01-01T00:00:02Z') ORDER BY time";

#[test]
fn the_writer_can_ask_which_frames_are_stored_and_nothing_else() -> Result<()> {
    for tables in tables() {
        let database = database(tables)?;
        let writer = writer_url(&database);
        if tables != Tables::Plain {
            // These rows are older than what is kept.
            support::stop_jobs(&database)?;
        }
        let rows =
            "INSERT INTO telemetry (time, satellite_id, station, sequence, boot_count, cpu_temp)
            SELECT TIMESTAMPTZ '2026-01-01T00:00:00Z' + n * INTERVAL '1 s', name, 'GS-01', n, 7, 50
            FROM generate_series(0, 4) AS n, unnest(ARRAY['SAT-01', 'SAT-02']) AS name;
            INSERT INTO telemetry (time, satellite_id, station)
            VALUES ('2026-01-01T00:00:01.000001Z', 'SAT-01', 'GS-02')";
        cluster().sql_at(&writer, rows)?;
        let stored = "2026-01-01 00:00:00+00|GS-01|0|7\n\
                      2026-01-01 00:00:01+00|GS-01|1|7\n\
                      2026-01-01 00:00:01.000001+00|GS-02||\n\
                      2026-01-01 00:00:02+00|GS-01|2|7";
        let set = "SET timezone = 'UTC';";
        assert_eq!(cluster().sql_at(&writer, &format!("{set} {ASK}"))?, stored);
        if tables != Tables::Plain {
            let compress = "SELECT compress_chunk(chunk) FROM show_chunks('telemetry') AS chunk";
            cluster().sql(&database, compress)?;
            assert_eq!(cluster().sql_at(&writer, &format!("{set} {ASK}"))?, stored);
        }
        // Dates that are written in another way are the same dates.
        for style in ["SQL, DMY", "German", "Postgres, MDY"] {
            let session = format!("SET datestyle = '{style}'; SET timezone = 'Asia/Jakarta';");
            let count = format!("{session} SELECT count(*) FROM ({ASK}) AS stored");
            assert_eq!(cluster().sql_at(&writer, &count)?, "4", "{style}");
        }
        for sql in ["SELECT * FROM telemetry", "SELECT * FROM attitude", "TABLE quarantine"] {
            let refused = cluster().sql_at(&writer, sql).expect_err("no right to read").to_string();
            assert!(refused.contains("permission denied"), "{sql}: {refused}");
        }
        let reader = support::reader_url(&database);
        let refused = cluster().sql_at(&reader, ASK).expect_err("no right to ask").to_string();
        assert!(refused.contains("permission denied"), "{refused}");
        let granted = "SELECT grantee FROM information_schema.role_routine_grants
                       WHERE routine_name = 'stored_frames' AND grantee <> 'orbitstream'
                         AND grantee <> current_user";
        assert_eq!(cluster().sql(&database, granted)?, "orbitstream_writer");
    }
    Ok(())
}

#[test]
fn hostile_questions_do_nothing() -> Result<()> {
    for tables in tables() {
        let database = database(tables)?;
        let writer = writer_url(&database);
        cluster().sql(
            &database,
            "CREATE TABLE secret (time timestamptz, satellite_id text, station text, sequence int,
                                  boot_count int);
             INSERT INTO secret VALUES ('2026-01-01T00:00:00Z', 'SAT-01', 'secret', 1, 1)",
        )?;
        let ask = |table: &str, satellite: &str| {
            format!(
                "SELECT count(*) FROM stored_frames($a${table}$a$, $b${satellite}$b$, \
                 '-infinity', 'infinity')"
            )
        };
        for table in [
            "secret",
            "public.telemetry",
            "TELEMETRY",
            "\"telemetry\"",
            "telemetry\"",
            "telemetry; DROP TABLE telemetry",
            "telemetry WHERE true UNION SELECT time, station, sequence, boot_count FROM secret--",
            "pg_temp.telemetry",
            "pg_authid",
            "quarantine",
            "",
        ] {
            let refused = cluster().sql_at(&writer, &ask(table, "SAT-01")).expect_err(table);
            assert!(format!("{refused:#}").contains("no data table"), "{table}: {refused:#}");
        }
        let nothing = "SELECT count(*) FROM stored_frames(NULL, NULL, NULL, NULL)";
        assert!(cluster().sql_at(&writer, nothing).is_err());
        for satellite in ["' OR true --", "SAT-01' UNION SELECT now(), '', 1, 1 --", "%", "\\"] {
            assert_eq!(cluster().sql_at(&writer, &ask("telemetry", satellite))?, "0");
        }
        // A table, a function and an operator of the caller's own that would stand in for ours.
        let shadow = "SET search_path = pg_temp, public, pg_catalog;
            CREATE TEMP TABLE telemetry AS
                SELECT now() AS time, 'SAT-01' AS satellite_id, 'shadow' AS station, 1 AS sequence,
                       1 AS boot_count;
            CREATE FUNCTION pg_temp.format(text, text, text, timestamptz, timestamptz)
                RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''caught''; END';
            CREATE FUNCTION pg_temp.later(timestamptz, timestamptz) RETURNS boolean
                LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''caught''; END';
            CREATE OPERATOR pg_temp.>= (LEFTARG = timestamptz, RIGHTARG = timestamptz,
                                        FUNCTION = pg_temp.later);";
        let asked = format!("{shadow} {}", ask("telemetry", "SAT-01"));
        let answer = cluster().sql_at(&writer, &asked)?;
        assert_eq!(answer.lines().last(), Some("0"), "{answer}");
        assert_eq!(cluster().sql(&database, "SELECT count(*) FROM secret")?, "1");
    }
    Ok(())
}

#[test]
fn a_schema_whose_name_needs_quotes_works() -> Result<()> {
    for tables in tables() {
        let database = support::empty_database(tables)?;
        let schema = r#"Ground "1"; it's"#;
        let quoted = schema.replace('"', "\"\"");
        cluster().sql(
            &database,
            &format!(
                "CREATE SCHEMA \"{quoted}\";
                 CREATE SCHEMA private; CREATE TABLE private.telemetry (n int)"
            ),
        )?;
        let migration = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../schema/migrations/V12__stored_frames.sql"),
        )?;
        let set = format!("SET search_path = \"{quoted}\", public; SET timezone = 'UTC';");
        let hypertable = if tables == Tables::Plain {
            ""
        } else {
            "SELECT create_hypertable('telemetry', by_range('time'));"
        };
        cluster().sql(
            &database,
            &format!(
                "{set} CREATE TABLE telemetry (time timestamptz NOT NULL, satellite_id text,
                                               station text, sequence int, boot_count int);
                 {hypertable}
                 INSERT INTO telemetry VALUES ('2026-01-01T00:00:00Z', 'SAT-01', 'GS-01', 5, 7);
                 {migration}"
            ),
        )?;
        let ask = ASK.replace("stored_frames", &format!("\"{quoted}\".stored_frames"));
        let set = "SET search_path = private; SET timezone = 'UTC';";
        let answer = cluster().sql(&database, &format!("{set} {ask}"))?;
        assert_eq!(answer, "2026-01-01 00:00:00+00|GS-01|5|7");
    }
    Ok(())
}

/// A station that has stored a flight, and the capture of what it received.
struct Captured {
    database: String,
    folder: TempDir,
    pcap: PathBuf,
    rows: u64,
}

/// Some 1,364 rows of three satellites, as they came and live.
fn received_live(tables: Tables) -> Result<Captured> {
    let Ground { mut station, database, folder } = Ground::start(tables, &[])?;
    let pcap = folder.path().join("flight.pcap");
    let options = [
        "--satellites=3",
        "--rate=200",
        "--count=1364",
        "--boot=7",
        "--reorder=0.05",
        &format!("--pcap={}", pcap.display()),
    ];
    Constellation::fly(station.target(), folder.path(), &options)?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    assert_eq!(counters.committed, 1_364);
    Ok(Captured { database, folder, pcap, rows: counters.committed })
}

impl Captured {
    fn replay(&self, options: &[&str]) -> Result<(Output, Value)> {
        let report = self.folder.path().join("replay.json");
        let output = self.command(options).arg("--report").arg(&report).output()?;
        let read = std::fs::read(&report).context("a report")?;
        Ok((output, serde_json::from_slice(&read)?))
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(sibling("receiver").expect("it is built"));
        command.arg("replay").arg(&self.pcap).args(options);
        command.env("DATABASE_URL", writer_url(&self.database));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn count(&self) -> Result<u64> {
        let all = "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)";
        Ok(cluster().sql(&self.database, all)?.parse()?)
    }
}

/// Every frame in one counted place.
fn assert_balanced(report: &Value) {
    let count = |name: &str| report[name].as_u64().expect("a count");
    let rejected: u64 =
        report["rejected"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    let places = count("accepted") + count("duplicate") + count("stale") + count("idle") + rejected;
    assert_eq!(count("frames"), places, "{report}");
    let places = count("committed") + count("pending") + count("queue_dropped");
    assert_eq!(
        count("accepted") + count("json") + count("recovered"),
        places + count("quarantined"),
        "{report}"
    );
}

#[test]
fn a_capture_of_what_was_received_live_stores_nothing() -> Result<()> {
    for tables in tables() {
        let captured = received_live(tables)?;
        let links = "SELECT sum(received), sum(missed) FROM link_health";
        let received = cluster().sql(&captured.database, links)?;
        for round in 0..2 {
            if round == 1 && tables != Tables::Plain {
                let compress = "SELECT compress_chunk(chunk, true)
                    FROM unnest(ARRAY['telemetry', 'attitude']) AS name, show_chunks(name) AS chunk";
                cluster().sql(&captured.database, compress)?;
            }
            // With another option it has another numbering, and so asks again.
            let option = if round == 0 { "--max-satellites=10" } else { "--max-satellites=9" };
            let (output, report) = captured.replay(&["--once", option])?;
            assert!(output.status.success(), "{output:?}");
            assert_eq!((&report["committed"], &report["duplicate"]), (&0.into(), &1_364.into()));
            assert_balanced(&report);
            assert_eq!(captured.count()?, captured.rows);
            assert_eq!(cluster().sql(&captured.database, links)?, received);
        }
        // Rows that are gone come back, and only they.
        let gone =
            "DELETE FROM telemetry WHERE satellite_id = 'SAT-02' AND sequence BETWEEN 5 AND 44";
        cluster().sql(&captured.database, gone)?;
        assert_eq!(captured.count()?, captured.rows - 40);
        let (output, report) = captured.replay(&["--once", "--max-satellites=8"])?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!((&report["committed"], &report["duplicate"]), (&40.into(), &1_324.into()));
        assert_balanced(&report);
        assert_eq!(captured.count()?, captured.rows);
        let distinct =
            "SELECT count(DISTINCT (satellite_id, boot_count, sequence, time)) = count(*)
                        FROM telemetry";
        assert_eq!(cluster().sql(&captured.database, distinct)?, "t");
    }
    Ok(())
}

#[test]
fn whose_rows_count_is_a_choice() -> Result<()> {
    let captured = received_live(Tables::Plain)?;
    let other = ["--once", "--station=GS-02"];
    let (output, report) = captured.replay(&[&other[..], &["--any-station"]].concat())?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&report["committed"], captured.count()?), (&0.into(), captured.rows));
    // Another boot, counter or time is another frame.
    let shift = "UPDATE telemetry SET boot_count = 8 WHERE satellite_id = 'SAT-01' AND sequence = 3;
                 UPDATE telemetry SET time = time + INTERVAL '1 us'
                 WHERE satellite_id = 'SAT-01' AND sequence = 4;
                 UPDATE telemetry SET sequence = 1000 WHERE satellite_id = 'SAT-01' AND sequence = 5";
    cluster().sql(&captured.database, shift)?;
    let options = [&other[..], &["--any-station", "--max-satellites=9"]].concat();
    let (_, report) = captured.replay(&options)?;
    assert_eq!((&report["committed"], captured.count()?), (&3.into(), captured.rows + 3));
    // To this station the rows of another are none.
    let (_, report) = captured.replay(&[&other[..], &["--max-satellites=8"]].concat())?;
    assert_eq!(report["committed"], 1_361);
    assert_eq!(captured.count()?, 2 * captured.rows);
    let output = captured.command(&["--any-station"]).output()?;
    assert!(!output.status.success(), "it makes no sense without --once");
    Ok(())
}

/// Lets a replay begin, and waits until it holds the lock.
fn begin(captured: &Captured, options: &[&str]) -> Result<Child> {
    let child = captured.command(options).spawn()?;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for _ in 0..200 {
        if cluster().sql(&captured.database, locks)? != "0" {
            return Ok(child);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the replay took no lock")
}

#[test]
fn of_two_replays_of_one_file_at_once_one_does_it_and_the_other_says_so() -> Result<()> {
    let captured = received_live(Tables::Plain)?;
    cluster().sql(&captured.database, "TRUNCATE telemetry, attitude")?;
    // Slow enough to be there still when the other comes.
    let mut first = begin(&captured, &["--once", "--speed=0.1"])?;
    let output = captured.command(&["--once"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("another run is replaying") && said.contains("session"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // Another station's is another matter.
    let output = captured.command(&["--once", "--station=GS-02"]).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(cluster().sql(&captured.database, OF_SECOND)?, "1364");

    // One that is killed leaves its work to the next.
    first.kill()?;
    first.wait()?;
    let mut last = None;
    for _ in 0..100 {
        let (output, report) = captured.replay(&["--once"])?;
        if output.status.code() != Some(75) {
            last = Some((output, report));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (output, report) = last.context("the lock goes with its holder")?;
    assert!(output.status.success(), "{output:?}");
    assert_balanced(&report);
    assert_eq!(captured.count()?, 2 * captured.rows);
    Ok(())
}

const OF_SECOND: &str = "SELECT (SELECT count(*) FROM telemetry WHERE station = 'GS-02')
                              + (SELECT count(*) FROM attitude WHERE station = 'GS-02')";

#[test]
fn two_recordings_of_one_flight_at_once_store_it_once() -> Result<()> {
    for tables in tables() {
        let captured = received_live(tables)?;
        cluster().sql(&captured.database, "TRUNCATE telemetry, attitude")?;
        // Other options make another identity, so that no lock and no claim keeps them apart.
        let children: Vec<Child> =
            ["--max-satellites=9", "--max-satellites=8", "--max-satellites=7"]
                .iter()
                .map(|option| captured.command(&["--once", option]).spawn())
                .collect::<Result<_, _>>()?;
        for child in children {
            let output = child.wait_with_output()?;
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(captured.count()?, captured.rows);
    }
    Ok(())
}

#[test]
fn an_older_schema_is_said_to_be_one() -> Result<()> {
    let captured = received_live(Tables::Plain)?;
    let older = "DELETE FROM refinery_schema_history WHERE version >= 12;
                 DROP FUNCTION stored_frames";
    cluster().sql(&captured.database, older)?;
    let output = captured.command(&["--once"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("receiver migrate"), "{said}");
    Ok(())
}
