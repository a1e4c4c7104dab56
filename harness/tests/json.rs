//! Samples by hand: one row for a good body, the status and message of the contract for a wrong
//! one, and nothing stored then.

mod support;

use anyhow::Result;
use support::{Ground, tables};

#[test]
fn one_sample_is_one_row() -> Result<()> {
    for tables in tables() {
        let ground = Ground::start(tables, &[])?;
        let (status, answer) = ground.station.post(r#"{"satellite_id": "SAT-01", "temp": 50}"#)?;
        assert_eq!((status, answer.as_str()), (200, r#"{"accepted":1}"#));
        let array = r#"[{"satellite_id": "SAT-02", "time": "2026-01-01T00:00:00Z", "q0": 0.5},
                        {"satellite_id": "SAT-03", "mode": 2, "charging": true}]"#;
        let (status, answer) = ground.station.post(array.replace("2026-01-01", &today()))?;
        assert_eq!((status, answer.as_str()), (200, r#"{"accepted":2}"#));
        // What comes before the text is none of it.
        let marked = "\u{feff}{\"satellite_id\": \"SAT-04\", \"q0\": 0.25}";
        assert_eq!(ground.station.post(marked)?.0, 200);
        let database = ground.database.clone();
        let log = ground.folder.path().join("receiver.log");
        let mut ground = ground;
        ground.station.wait_until_quiet()?;
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        let log = std::fs::read_to_string(log)?;
        for line in ["Listening on port ", "Data received", "Inserted "] {
            assert!(log.contains(line), "{line} is not in\n{log}");
        }
        let counters = ground.stop()?;
        assert_eq!((counters.json, counters.committed), (4, 4));

        let sql = |statement| support::cluster().sql(&database, statement);
        assert_eq!(
            sql("SELECT time, cpu_temp FROM telemetry WHERE satellite_id = 'SAT-01'")?
                .split('|')
                .nth(1),
            Some("50")
        );
        let channels = protocol::health::KIND.columns().map(|(name, _)| name);
        let others: Vec<_> = channels.filter(|name| *name != "cpu_temp").collect();
        let nulls = format!(
            "SELECT num_nulls({}), sequence IS NULL, boot_count IS NULL, station
             FROM telemetry WHERE satellite_id = 'SAT-01'",
            others.join(", ")
        );
        assert_eq!(sql(&nulls)?, format!("{}|t|t|GS-01", others.len()));
        assert_eq!(
            sql("SELECT mode, charging, cpu_temp FROM telemetry WHERE satellite_id = 'SAT-03'")?,
            "2|t|"
        );
        assert_eq!(
            sql("SELECT satellite_id, q0, q1 FROM attitude ORDER BY 1")?,
            "SAT-02|0.5|\nSAT-04|0.25|"
        );
        assert_eq!(sql("SELECT name FROM satellite ORDER BY 1")?, "SAT-01\nSAT-02\nSAT-03\nSAT-04");
    }
    Ok(())
}

#[test]
fn wrong_bodies_get_their_status_and_store_nothing() -> Result<()> {
    let ground = Ground::start(support::Tables::Plain, &["--spacecraft", "1-100"])?;
    for (body, status, message) in [
        ("", 400, "bad JSON"),
        ("{\"satellite_id\": ", 400, "the object that begins at line 1, column 1: a } is missing"),
        (r#"{"satellite_id": "SAT-01", "temp": 5, "temp": 6}"#, 400, "is there twice"),
        (
            r#"[{"satellite_id": "SAT-01", "temp": 5}, {"x": {"a": 1, "a": 1}}]"#,
            400,
            "is there twice",
        ),
        (
            "{\"satellite_id\": \"SAT-01\", \"temp\": 5}\n{\"satellite_id\": \"SAT-01\", \"temp\": 5}",
            400,
            "put them into one array",
        ),
        (r#"{"satellite_id": "SAT-01", "temp": NaN}"#, 400, "no JSON value"),
        (r#"{"satellite_id": "SAT-01", "temp": 1e999}"#, 400, "a number is too large"),
        (r#"{"satellite_id": "SAT-01", "temp": 1e30}"#, 422, "temp: out of range"),
        ("\u{1}", 400, "bad JSON"),
        (r#"{"satellite_id": "SAT-01", "tmp": 50}"#, 422, "tmp"),
        (r#"{"satellite_id": "SPUTNIK", "temp": 50}"#, 422, "satellite_id"),
        (r#"{"satellite_id": "SAT-101", "temp": 50}"#, 422, "satellite_id"),
        (r#"{"temp": 50}"#, 422, "satellite_id"),
        (r#"{"satellite_id": "SAT-01", "temp": 5000}"#, 422, "temp"),
        (r#"{"satellite_id": "SAT-01"}"#, 422, "channels"),
        (r#"{"satellite_id": "SAT-01", "temp": 5, "q0": 1}"#, 422, "table"),
        (r#"{"satellite_id": "SAT-01", "temp": 5, "cpu_temp": 5}"#, 422, "temp"),
        (r#"{"satellite_id": "SAT-01", "temp": 5, "time": "now"}"#, 422, "time"),
        (
            r#"[{"satellite_id": "SAT-01", "temp": 5}, {"satellite_id": "SAT-01", "temp": "x"}]"#,
            422,
            "element 1: temp",
        ),
    ] {
        let (found, answer) = ground.station.post(body)?;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.contains(message), "{body}: {answer}");
    }
    for time in [
        "2026-01-01",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00Z[UTC]",
        "2026-01-01T00:00:00,5Z",
        "2026-W01-1T00:00:00Z",
    ] {
        let body = format!(r#"{{"satellite_id": "SAT-01", "temp": 5, "time": "{time}"}}"#);
        let (found, answer) = ground.station.post(&body)?;
        assert_eq!(found, 422, "{body}: {answer}");
        assert!(answer.contains("time: expected an RFC 3339 time"), "{body}: {answer}");
    }
    for (body, message) in [
        (&b"{\"satellite_id\": \"SAT-01\", \"temp\": \xFF}"[..], "not UTF-8 at line 1, column 36"),
        (b"\xFF\xFE{\0}\0", "send UTF-8"),
    ] {
        let (found, answer) = ground.station.post(body)?;
        assert_eq!(found, 400, "{answer}");
        assert!(answer.contains(message), "{answer}");
    }
    let (status, _) = ground.station.post(vec![b' '; (1 << 20) + 1])?;
    assert_eq!(status, 413);
    let counters = ground.stop()?;
    assert_eq!((counters.json, counters.committed), (0, 0));
    Ok(())
}

#[test]
fn a_full_queue_is_told_and_takes_no_part_of_an_array() -> Result<()> {
    full_queue(&["--journal", "off"])
}

#[test]
fn a_full_journal_is_told_in_the_same_way() -> Result<()> {
    full_queue(&["--journal-size", "8MiB"])
}

fn full_queue(options: &[&str]) -> Result<()> {
    let ground = Ground::start(support::Tables::Plain, &[&["--writers", "1"], options].concat())?;
    // The table is locked, so that nothing can be stored until the lock goes.
    let lock = std::thread::spawn({
        let database = ground.database.clone();
        move || support::cluster().sql(&database, "BEGIN; LOCK telemetry; SELECT pg_sleep(8)")
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    let sample = r#"{"satellite_id": "SAT-01", "temp": 5}"#;
    let array = format!("[{}]", vec![sample; 25_000].join(","));
    let mut accepted = 0;
    let refused = loop {
        let (status, answer) = ground.station.post(&array)?;
        if status != 200 {
            break (status, answer);
        }
        accepted += 25_000;
        assert!(accepted < 10_000_000, "the queue has no end");
    };
    assert_eq!(refused.0, 503, "{}", refused.1);
    lock.join().expect("no panic")?;
    let counters = ground.stop()?;
    assert_eq!((counters.json, counters.committed), (accepted, accepted));
    Ok(())
}

/// The date, so that the sample lies in the station's window.
fn today() -> String {
    let sql = "SELECT to_char(now() at time zone 'UTC', 'YYYY-MM-DD')";
    support::cluster().sql("postgres", sql).expect("the server answers")
}
