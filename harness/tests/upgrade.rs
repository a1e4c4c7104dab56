//! What a journal of an earlier or another build holds ends in the database, every sample in one counted
//! place. The files are described in `receiver/tests/fixtures/README.md`.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use harness::{Station, program::sibling};
use receiver::{
    address::Address,
    batch::{Batch, Form, TimeWindow},
    chunk::{Chunk, EntryFormat},
    definitions::{Definitions, Known},
    store::{Identity, Store},
};
use support::{cluster, database, ports, tables, writer_url};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../receiver/tests/fixtures").join(name)
}

/// A copy of a folder's files.
fn copy(name: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(fixture(name))? {
        let path = entry?.path();
        std::fs::copy(&path, to.join(path.file_name().context("a file")?))?;
    }
    Ok(())
}

const ROWS: &str = "SELECT (SELECT count(*) FROM telemetry WHERE sequence IS NOT NULL),
                           (SELECT count(*) FROM telemetry WHERE sequence IS NULL),
                           (SELECT count(*) FROM attitude),
                           (SELECT count(*) FROM rejected_frame),
                           (SELECT count(*) FROM quarantine),
                           (SELECT sum(received) FROM link_health)";

#[test]
fn a_journal_of_the_first_version_is_stored_whole_by_a_station_and_by_a_drain() -> Result<()> {
    for tables in tables() {
        for is_drained in [false, true] {
            let database = database(tables)?;
            keep_old_rows(&database)?;
            let folder = tempfile::tempdir()?;
            let journal = folder.path().join("journal");
            copy("journal-1", &journal)?;
            if is_drained {
                let output = Command::new(sibling("receiver")?)
                    .args(["journal", "drain", "--journal"])
                    .arg(&journal)
                    .env("DATABASE_URL", writer_url(&database))
                    .output()?;
                let log = String::from_utf8_lossy(&output.stderr);
                let text = format!("{}{log}", String::from_utf8_lossy(&output.stdout));
                assert!(output.status.success(), "{text}");
                assert!(text.contains("30 samples stored, 0 wait"), "{text}");
                assert!(!text.contains("cannot be decoded"), "{text}");
            } else {
                let url = writer_url(&database);
                let mut station = Station::start(&url, folder.path(), ports(), &[])?;
                station.wait_until_quiet()?;
                let metrics = station.get("/metrics")?;
                let unreadable = "orbitstream_journal_unreadable_entries_total 0";
                assert!(metrics.contains(unreadable), "{metrics}");
                let counters = station.stop()?;
                assert_eq!((counters.recovered, counters.committed, counters.pending), (30, 30, 0));
                assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0));
            }
            // 27 frames of both kinds, a JSON sample of attitude, and two of telemetry.
            let rows = cluster().sql(&database, ROWS)?;
            let numbers: Vec<u32> = rows.split('|').filter_map(|n| n.parse().ok()).collect();
            let [frames, json, attitude, rejected, quarantined, received] = numbers[..] else {
                anyhow::bail!("{rows}");
            };
            assert_eq!((frames + attitude, json, quarantined), (28, 2, 0), "{rows}");
            assert_eq!((rejected, received), (4, 27), "{rows}");
            let json = "SELECT count(*) FROM telemetry WHERE cpu_temp = 50.5
                        OR (mode = 2 AND heater_on AND sequence IS NULL)";
            assert_eq!(cluster().sql(&database, json)?, "2");
        }
    }
    Ok(())
}

/// The fixtures are older than samples are kept: no policy is to drop them while the test looks.
fn keep_old_rows(database: &str) -> Result<()> {
    let has_jobs = "SELECT to_regclass('timescaledb_information.jobs') IS NOT NULL";
    if cluster().sql(database, has_jobs)? == "t" {
        let stop = "SELECT alter_job(job_id, scheduled => false)
                    FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'";
        cluster().sql(database, stop)?;
    }
    Ok(())
}

#[test]
fn samples_of_a_build_with_other_parameters_and_counters_are_stored_or_quarantined() -> Result<()> {
    for tables in tables() {
        for build in ["more", "fewer"] {
            let database = database(tables)?;
            keep_old_rows(&database)?;
            let text = std::fs::read_to_string(fixture(&format!("{build}.definitions")))?;
            let known = Known::parse(&text)?;
            let octets = std::fs::read(fixture(&format!("{build}.entries")))?;
            let mut chunk = Chunk::new();
            let format = EntryFormat { version: 2, fingerprint: known.fingerprint() };
            chunk.fill(0, 8, &octets, format);
            let mut definitions = Definitions::built_in();
            definitions.learn(&known);
            let window = TimeWindow { past: Duration::MAX, future: Duration::MAX };
            let form = Form { station: "GS-01".into(), window };
            let mut batch = Batch::with_definitions(u64::MAX, Arc::new(definitions));
            batch.push(&chunk, &form, Instant::now(), |_, _| {});
            let address: Address = writer_url(&database).parse().map_err(anyhow::Error::msg)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut store = Store::connect(&address).await?;
                let identity = Identity { station: "GS-01".into(), journal: 7 };
                store.commit(&batch, &[], &identity).await
            })?;
            assert_eq!(cluster().sql(&database, ROWS)?, "3|1|0|1|4|7", "{build}");
            // The octets of the frames are there to the last, and the reason is the station's own.
            let frames = "SELECT count(*) FROM quarantine
                          WHERE reason = 'undecodable' AND sqlstate IS NULL AND station = 'GS-01'
                            AND get_byte(raw, 0) = 8 AND get_byte(raw, 1) = 101";
            assert_eq!(cluster().sql(&database, frames)?, "3", "{build}");
            let station = "SELECT datagrams, json, pending FROM station_health";
            let pending = if build == "more" { 7 } else { 0 };
            assert_eq!(cluster().sql(&database, station)?, format!("6|2|{pending}"), "{build}");
            let ledger = "SELECT sum(samples) FROM ingest_batch";
            assert_eq!(cluster().sql(&database, ledger)?, "8", "{build}");
        }
    }
    Ok(())
}
