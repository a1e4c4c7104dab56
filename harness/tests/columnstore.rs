//! Dense batches go straight into the columnstore: the same rows, fewer octets.

mod support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::Constellation;
use harness::judges;
use support::{Ground, Tables, cluster, hypertables, tables};

#[test]
fn dense_batches_are_compressed_as_they_are_stored() -> Result<()> {
    for tables in hypertables() {
        // Any row is dense enough.
        let mut ground = Ground::start(tables, &["--columnstore-from", "1"])?;
        make_chunks(&ground)?;
        let capture = ground.folder.path().join("sent.pcap");
        let path = capture.to_string_lossy();
        let flight = ["--satellites", "20", "--rate", "200", "--duration", "5s"];
        let faults = ["--reorder", "0.02", "--boot", "7", "--pcap", &path];
        let flight = [&flight[..], &faults].concat();
        let truth = Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
        let database = ground.database.clone();
        ground.station.wait_until_quiet()?;
        assert_eq!(in_rows(&database)?, [0, 0], "rows that are not in the columnstore");
        equal(&database, &capture)?;
        aggregates_agree(&database)?;
        let newest = "SELECT count(*), bool_and(age < interval '5 min') FROM
                      (SELECT now() - time AS age FROM telemetry_latest()) AS latest";
        assert_eq!(cluster().sql(&database, newest)?, "20|t");
        newest_are_found_by_index(&database)?;
        segments_have_the_newest_first(&database)?;
        segments_become_whole(&database)?;
        equal(&database, &capture)?;
        // Samples by hand come to the same chunk, whichever way.
        let (status, _) = ground.station.post(r#"{"satellite_id": "SAT-01", "cpu_temp": 50}"#)?;
        assert_eq!(status, 200);
        ground.station.wait_until_quiet()?;
        let by_hand = "SELECT count(*) FROM telemetry WHERE cpu_temp = 50 AND sequence IS NULL";
        assert_eq!(cluster().sql(&database, by_hand)?, "1");
        let counters = ground.stop()?;
        assert_eq!((counters.committed, counters.lost), (truth.generated + 1, 0));
    }
    Ok(())
}

#[test]
fn what_is_not_dense_stays_in_rows() -> Result<()> {
    for tables in tables() {
        // So many of one satellite are in no batch, and on plain tables there is nothing else.
        let least = if tables == Tables::Plain { "1" } else { "1000000" };
        let ground = Ground::start(tables, &["--columnstore-from", least])?;
        let flight = ["--satellites", "20", "--rate", "100", "--count", "4000"];
        Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
        let database = ground.database.clone();
        let counters = ground.stop()?;
        assert_eq!((counters.committed, counters.lost), (4_000, 0));
        if tables != Tables::Plain {
            assert_eq!(in_rows(&database)?.iter().sum::<u64>(), 4_000);
        }
    }
    Ok(())
}

#[test]
fn what_is_refused_on_the_way_to_the_columnstore_is_stored_as_rows() -> Result<()> {
    for tables in hypertables() {
        let ground = Ground::start(tables, &["--columnstore-from", "1"])?;
        make_chunks(&ground)?;
        ground.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF current_setting('timescaledb.enable_direct_compress_copy') = 'on' THEN
                     RAISE EXCEPTION 'not this way';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON telemetry
             FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
        )?;
        let flight = ["--satellites", "20", "--rate", "100", "--count", "2000"];
        Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
        let (database, log) = (ground.database.clone(), ground.folder.path().join("receiver.log"));
        let log = || std::fs::read_to_string(&log);
        let patience = Instant::now() + Duration::from_secs(20);
        while !log()?.contains("not this way") && Instant::now() < patience {
            thread::sleep(Duration::from_millis(50));
        }
        assert!(log()?.contains("not this way"), "{}", log()?);
        let counters = ground.stop()?;
        assert_eq!((counters.committed, counters.pending, counters.lost), (2_000, 0, 0));
        let health: u64 = cluster().sql(&database, "SELECT count(*) FROM telemetry")?.parse()?;
        assert_eq!(in_rows(&database)?[0], health, "all of `telemetry` is in rows");
    }
    Ok(())
}

/// A chunk that somebody else makes meanwhile is not taken for an empty one: its rows stay visible,
/// also where the station knew a chunk that has been dropped since.
#[test]
fn rows_of_another_writer_in_a_new_chunk_are_not_hidden() -> Result<()> {
    for tables in hypertables() {
        let mut ground = Ground::start(tables, &["--columnstore-from", "1"])?;
        for boot in ["1", "2"] {
            ground.sql("TRUNCATE telemetry, attitude")?;
            let database = ground.database.clone();
            let other = thread::spawn(move || cluster().sql(&database, MAKE_CHUNK_AND_WAIT));
            let patience = Instant::now() + Duration::from_secs(30);
            while ground.sql(HAS_MADE_IT)? != "t" {
                assert!(Instant::now() < patience, "the other one has not begun");
                thread::sleep(Duration::from_millis(20));
            }
            let flight = ["--satellites", "20", "--rate", "100", "--count", "6000", "--boot", boot];
            Constellation::fly(ground.station.target(), ground.folder.path(), &flight)?;
            other.join().expect("no panic")?;
            ground.station.wait_until_quiet()?;
            let stored =
                "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)";
            assert_eq!(ground.sql(stored)?, "6001", "boot {boot}");
            let chunk = ground.sql("SELECT show_chunks('telemetry') LIMIT 1")?;
            let compressed = compressed_rows(&ground.database, &chunk)?;
            assert!(compressed > 0, "nothing went into the columnstore");
        }
        let counters = ground.station.stop()?;
        assert_eq!((counters.committed, counters.lost), (12_000, 0));
    }
    Ok(())
}

/// One row in a new chunk, not committed before the station waits for that chunk.
const MAKE_CHUNK_AND_WAIT: &str = "
    BEGIN;
    INSERT INTO telemetry (time, satellite_id, station, received_at)
    VALUES (now(), 'SAT-01', 'by hand', now());
    DO $$
    BEGIN
        FOR attempt IN 1..1200 LOOP
            PERFORM pg_sleep(0.05), pg_stat_clear_snapshot();
            IF EXISTS (SELECT FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'
                         AND query LIKE 'COPY public.telemetry %') THEN
                RETURN;
            END IF;
        END LOOP;
        RAISE EXCEPTION 'the station does not wait';
    END $$;
    COMMIT";

const HAS_MADE_IT: &str = "
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Chunks for now, without rows: batches go straight into the columnstore only where there are some.
fn make_chunks(ground: &Ground) -> Result<()> {
    for table in ["telemetry", "attitude"] {
        ground.sql(&format!(
            "INSERT INTO {table} (time, satellite_id, station, received_at)
             SELECT time, 'SAT-01', 'by hand', now()
             FROM unnest(ARRAY[now(), now() + interval '1 min']) AS time;
             DELETE FROM {table}"
        ))?;
    }
    Ok(())
}

/// Rows of `telemetry` and `attitude` outside of the columnstore.
fn in_rows(database: &str) -> Result<[u64; 2]> {
    let mut rows = [0; 2];
    for (table, rows) in ["telemetry", "attitude"].into_iter().zip(&mut rows) {
        let chunks = cluster().sql(database, &format!("SELECT show_chunks('{table}')"))?;
        assert!(!chunks.is_empty(), "{table} has no chunk");
        for chunk in chunks.lines() {
            let all = format!("SELECT count(*) FROM {chunk}");
            let all: u64 = cluster().sql(database, &all)?.parse()?;
            let compressed = compressed_rows(database, chunk)?;
            *rows += all - compressed;
        }
    }
    Ok(rows)
}

/// Looking for the newest samples reads the head of a segment once at most, not once a satellite.
fn newest_are_found_by_index(database: &str) -> Result<()> {
    let chunk = cluster().sql(database, "SELECT show_chunks('telemetry') LIMIT 1")?;
    let segments = compressed(database, &chunk, "count(*)")?;
    let columnar = columnar(database, &chunk)?;
    let read = cluster().sql(
        database,
        &format!(
            "BEGIN;
             SET LOCAL enable_seqscan = off;
             CREATE TEMP TABLE latest ON COMMIT DROP AS SELECT * FROM telemetry_latest();
             SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_all_tables
             WHERE relid = '{columnar}'::regclass;
             COMMIT"
        ),
    )?;
    let read: u64 = read.trim().parse()?;
    assert!(segments > 100 && (20..=segments).contains(&read), "{read} of {segments} segments");
    Ok(())
}

/// The server was told not to sort: within a segment rows are as they were sent, and so must be in the
/// order that the table's settings say.
fn segments_have_the_newest_first(database: &str) -> Result<()> {
    let chunk = cluster().sql(database, "SELECT show_chunks('telemetry') LIMIT 1")?;
    let longest = compressed(database, &chunk, "max(_ts_meta_count)")?;
    assert!(longest > 10, "{longest} rows a segment at most");
    let unordered = "count(*) FILTER (WHERE EXISTS (
        SELECT FROM (
            SELECT moment, lag(moment) OVER (ORDER BY place) AS before
            FROM unnest(_timescaledb_functions.compressed_data_to_array(time, NULL::timestamptz))
                 WITH ORDINALITY AS row (moment, place)
        ) AS beside
        WHERE moment > before))";
    assert_eq!(compressed(database, &chunk, unordered)?, 0, "segments in another order");
    Ok(())
}

/// The policy compresses such a chunk anew, once it is old enough; here it is told that it is. Its first
/// run takes in what is in rows, the next one makes the segments whole.
fn segments_become_whole(database: &str) -> Result<()> {
    let chunk = cluster().sql(database, "SELECT show_chunks('telemetry') LIMIT 1")?;
    let rows = compressed(database, &chunk, "sum(_ts_meta_count)")?;
    let before = compressed(database, &chunk, "count(*)")?;
    let job = "SELECT job_id FROM timescaledb_information.jobs
               WHERE proc_name = 'policy_compression' AND hypertable_name = 'telemetry'";
    let job = cluster().sql(database, job)?;
    cluster().sql(
        database,
        &format!(
            "SELECT alter_job({job}, config => config || '{{\"compress_after\": \"-1 day\"}}')
             FROM timescaledb_information.jobs WHERE job_id = {job};
             CALL run_job({job});
             CALL run_job({job})"
        ),
    )?;
    let after = compressed(database, &chunk, "count(*)")?;
    assert!(after <= 20 && before > 2 * after, "{before} segments became {after}");
    assert_eq!(compressed(database, &chunk, "sum(_ts_meta_count)")?, rows);
    Ok(())
}

/// Rows that the columnstore of a chunk says that it holds.
fn compressed_rows(database: &str, chunk: &str) -> Result<u64> {
    compressed(database, chunk, "coalesce(sum(_ts_meta_count), 0)")
}

/// A figure of the segments of a chunk; 0 of one that has none.
fn compressed(database: &str, chunk: &str, figure: &str) -> Result<u64> {
    let columnar = columnar(database, chunk)?;
    if columnar.is_empty() {
        return Ok(0);
    }
    Ok(cluster().sql(database, &format!("SELECT {figure} FROM {columnar}"))?.parse()?)
}

/// The table of the segments of a chunk; an empty name where it has none.
fn columnar(database: &str, chunk: &str) -> Result<String> {
    let find = format!(
        "SELECT format('%I.%I', columnar.schema_name, columnar.table_name)
         FROM _timescaledb_catalog.chunk AS chunk
         JOIN _timescaledb_catalog.chunk AS columnar ON columnar.id = chunk.compressed_chunk_id
         WHERE format('%I.%I', chunk.schema_name, chunk.table_name)::regclass = '{chunk}'::regclass"
    );
    cluster().sql(database, &find)
}

/// Every row is what was sent, as an outside decoder reads it.
fn equal(database: &str, capture: &Path) -> Result<()> {
    let mut command = judges::oracle("rows_equal_pcap.py")?;
    judges::run(command.arg(cluster().url(database)).arg(capture).arg("7"))?;
    Ok(())
}

fn aggregates_agree(database: &str) -> Result<()> {
    let all =
        "SELECT count(*), round(avg(cpu_temp)::numeric, 3), max(battery_voltage) FROM telemetry";
    let minutes = "SELECT sum(samples), round((sum(cpu_temp_avg * cpu_temp_count)
                   / sum(cpu_temp_count))::numeric, 3), max(battery_voltage_max) FROM telemetry_1m";
    let expected = cluster().sql(database, all)?;
    // Live, and then from what a refresh has made of it.
    assert_eq!(cluster().sql(database, minutes)?, expected);
    cluster().sql(
        database,
        "CALL refresh_continuous_aggregate('telemetry_1m', NULL, now() + interval '1 hour')",
    )?;
    assert_eq!(cluster().sql(database, minutes)?, expected);
    Ok(())
}
