//! What is committed is found by a query: whatever would put rows where nobody looks is said by
//! `/readyz`, everything is kept meanwhile, and stored by itself once that is over.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use support::{Ground, Tables, cluster, hypertables, tables, writer_url};

const SAMPLE: &str = r#"{"satellite_id": "SAT-01", "temp": 1}"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `/readyz` has this status, and says this.
fn wait_until(ground: &mut Ground, status: u16, part: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        ground.station.program().check_running()?;
        match ground.station.ask("/readyz") {
            Ok((now, said)) if now == status && said.contains(part) => return Ok(()),
            said if start.elapsed() > PATIENCE => bail!("not {status} {part:?}: {said:?}"),
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Ends the station's connections, so that it makes new ones.
fn disconnect(ground: &Ground) -> Result<()> {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'orbitstream receiver'";
    ground.sql(end).map(drop)
}

fn post(ground: &Ground) -> Result<()> {
    assert_eq!(ground.station.post(SAMPLE)?.0, 200);
    Ok(())
}

/// Samples that were posted, by what became of them.
fn committed_and_pending(ground: &mut Ground) -> Result<(u64, u64)> {
    let counters = ground.station.counters()?;
    Ok((counters.committed, counters.pending))
}

#[test]
fn nothing_is_stored_while_the_database_is_being_restored() -> Result<()> {
    for tables in hypertables() {
        for has_old_connections in [true, false] {
            let mut ground = Ground::start(tables, &["--writers", "4"])?;
            post(&ground)?;
            ground.station.wait_until_quiet()?;
            ground.sql("SELECT timescaledb_pre_restore()")?;
            if !has_old_connections {
                disconnect(&ground)?;
            }
            wait_until(&mut ground, 503, "timescaledb.restoring is on")?;
            for _ in 0..5 {
                post(&ground)?;
            }
            thread::sleep(Duration::from_secs(2));
            assert_eq!(committed_and_pending(&mut ground)?, (1, 5), "{has_old_connections}");
            ground.sql("SELECT timescaledb_post_restore()")?;
            wait_until(&mut ground, 200, "ready")?;
            ground.station.wait_until_quiet()?;
            assert_eq!(ground.sql("SELECT count(*) FROM ONLY telemetry")?, "0", "in the root");
            let counters = ground.stop()?;
            assert_eq!(counters.committed, 6);
        }
    }
    Ok(())
}

#[test]
fn another_entry_of_the_search_path_puts_nothing_before_the_tables() -> Result<()> {
    for tables in tables() {
        let mut ground = Ground::start(tables, &["--writers", "2"])?;
        post(&ground)?;
        ground.station.wait_until_quiet()?;
        // As the role's own schema, `"$user"` is before all others.
        ground.sql(
            "CREATE SCHEMA orbitstream_writer;
             CREATE TABLE orbitstream_writer.telemetry (LIKE public.telemetry);
             CREATE TABLE orbitstream_writer.satellite (LIKE public.satellite);
             CREATE TABLE orbitstream_writer.ingest_batch (LIKE public.ingest_batch INCLUDING ALL);
             GRANT ALL ON SCHEMA orbitstream_writer TO orbitstream_writer;
             GRANT ALL ON ALL TABLES IN SCHEMA orbitstream_writer TO orbitstream_writer",
        )?;
        let shown = cluster().sql_at(
            &writer_url(&ground.database),
            "SELECT 'telemetry'::regclass = 'public.telemetry'::regclass",
        )?;
        assert_eq!(shown, "f", "the case is not what it was made for");
        disconnect(&ground)?;
        post(&ground)?;
        ground.station.wait_until_quiet()?;
        wait_until(&mut ground, 200, "ready")?;
        assert_eq!(ground.sql("SELECT count(*) FROM public.telemetry")?, "2");
        assert_eq!(ground.sql("SELECT count(*) FROM orbitstream_writer.telemetry")?, "0");
        assert_eq!(ground.stop()?.committed, 2);
    }
    Ok(())
}

#[test]
fn a_table_that_hides_rows_is_said_and_everything_kept() -> Result<()> {
    for (hide, said, show) in [
        (
            "ALTER TABLE telemetry ENABLE ROW LEVEL SECURITY",
            "DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE telemetry DISABLE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE telemetry RENAME TO kept;
             CREATE VIEW telemetry AS SELECT * FROM kept WHERE false;
             GRANT INSERT ON telemetry TO orbitstream_writer",
            "is a view",
            "DROP VIEW telemetry; ALTER TABLE kept RENAME TO telemetry",
        ),
        (
            "ALTER TABLE telemetry RENAME TO kept;
             CREATE TABLE telemetry () INHERITS (kept);
             GRANT INSERT ON telemetry TO orbitstream_writer",
            "inherits from kept",
            "DROP TABLE telemetry; ALTER TABLE kept RENAME TO telemetry",
        ),
        ("ALTER TABLE attitude SET UNLOGGED", "SET LOGGED", "ALTER TABLE attitude SET LOGGED"),
        (
            "CREATE RULE swallow AS ON INSERT TO ingest_batch DO INSTEAD NOTHING",
            "DROP RULE swallow ON public.ingest_batch",
            "DROP RULE swallow ON ingest_batch",
        ),
        (
            "ALTER TABLE quarantine RENAME TO kept",
            "there is no table public.quarantine",
            "ALTER TABLE kept RENAME TO quarantine",
        ),
        (
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER swallow BEFORE INSERT ON telemetry FOR EACH ROW
             EXECUTE FUNCTION swallow()",
            "telemetry took 0 of 1 rows",
            "DROP TRIGGER swallow ON telemetry",
        ),
    ] {
        let mut ground = Ground::start(Tables::Plain, &["--writers", "2"])?;
        post(&ground)?;
        ground.station.wait_until_quiet()?;
        ground.sql(hide)?;
        post(&ground)?;
        wait_until(&mut ground, 503, said)?;
        thread::sleep(Duration::from_secs(1));
        assert_eq!(committed_and_pending(&mut ground)?, (1, 1), "{said}");
        ground.sql(show)?;
        wait_until(&mut ground, 200, "ready")?;
        ground.station.wait_until_quiet()?;
        assert_eq!(ground.stop()?.committed, 2);
    }
    Ok(())
}

#[test]
fn two_installations_in_the_search_path_are_not_guessed_between() -> Result<()> {
    let ground = Ground::start(Tables::Plain, &[])?;
    ground.sql("CREATE SCHEMA other")?;
    let url =
        |path: &str| format!("{}?options=-csearch_path%3D{path}", cluster().url(&ground.database));
    harness::Station::migrate(&url("other"), &["--timescaledb", "false"])?;
    // Each station stores where its path leads.
    let folder = tempfile::tempdir()?;
    let own = harness::Station::start(&url("other"), folder.path(), support::ports(), &[])?;
    assert_eq!(own.post(SAMPLE)?.0, 200);
    assert_eq!(own.stop()?.committed, 1);
    assert_eq!(ground.sql("SELECT count(*) FROM other.telemetry")?, "1");
    assert_eq!(ground.sql("SELECT count(*) FROM public.telemetry")?, "0");
    let nowhere = harness::Station::launch(&url("nowhere"), folder.path(), support::ports(), &[])?;
    let database = ground.database.clone();
    let mut nowhere = Ground { station: nowhere, database, folder };
    wait_until(&mut nowhere, 503, "in another schema (other, public)")?;
    let Ground { station, folder, .. } = nowhere;
    station.kill()?;
    let both = url("public,other");
    let station = harness::Station::launch(&both, folder.path(), support::ports(), &[])?;
    let mut both = Ground { station, database: ground.database.clone(), folder };
    wait_until(&mut both, 503, "several schemas (other, public)")?;
    both.station.kill()?;
    ground.stop()?;
    Ok(())
}
