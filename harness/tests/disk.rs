//! A journal on a disk that takes no more: full, or read-only. The station says so, counts, runs on,
//! and stores all that it has taken, once.

mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::proxy::{Cut, Passage};
use harness::small_disk::SmallDisk;
use harness::{Constellation, Counters, Proxy, Station, program::sibling};
use support::{Tables, cluster, database, ports, writer_url};

/// A station whose journal is on a small disk, and its database behind a proxy.
struct Narrow {
    disk: SmallDisk,
    proxy: Proxy,
    database: String,
    folder: tempfile::TempDir,
}

impl Narrow {
    /// None, and a line that says why, where no disk can be made.
    fn make() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let disk = match SmallDisk::make(DISK_OCTETS, folder.path()) {
            Ok(disk) => disk,
            Err(error) => {
                // Not `eprintln`, which a passing test swallows.
                writeln!(std::io::stderr(), "NOT RUN: {error:#}")?;
                return Ok(None);
            }
        };
        let database = database(Tables::Plain)?;
        let proxy = Proxy::start(([127, 0, 0, 1], cluster().port()).into(), 1)?;
        Ok(Some(Self { disk, proxy, database, folder }))
    }

    fn start(&self, options: &[&str]) -> Result<Station> {
        let command = self.disk.command(&sibling("receiver")?);
        let url = self.proxy.url(&writer_url(&self.database))?;
        let journal = self.disk.path().join("journal");
        let journal = ["--journal", &*journal.to_string_lossy(), "--writers", "2"];
        let options = [&journal[..], options].concat();
        let mut station = Station::launch_by(command, &url, self.folder.path(), ports(), &options)?;
        station.wait_until_listening()?;
        Ok(station)
    }

    fn set_away(&self, is_away: bool) -> Result<()> {
        self.proxy.set_passage(if is_away { Passage::Refused } else { Passage::Open })?;
        if is_away {
            self.proxy.cut(Cut::Reset);
        }
        Ok(())
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("receiver.log"))?)
    }

    /// Rows, and different ones.
    fn rows(&self) -> Result<(u64, u64)> {
        let rows = "SELECT count(*), count(DISTINCT (satellite_id, boot_count, sequence))
                    FROM (SELECT satellite_id, boot_count, sequence FROM telemetry
                          UNION ALL
                          SELECT satellite_id || '/a', boot_count, sequence FROM attitude) AS rows";
        let rows = cluster().sql(&self.database, rows)?;
        let (all, distinct) = rows.split_once('|').context("two numbers")?;
        Ok((all.parse()?, distinct.parse()?))
    }
}

/// The satellites start again with each flight.
fn fly(station: &Station, folder: &Path, frames: u64, boot: u64) -> Result<()> {
    let (frames, boot) = (frames.to_string(), boot.to_string());
    let options = ["--satellites", "20", "--rate", "1500", "--frames-per-datagram", "4"];
    let options = [&options[..], &["--boot", &boot, "--count", &frames]].concat();
    Constellation::fly(station.target(), folder, &options).map(drop)
}

fn metric(station: &Station, name: &str) -> Result<u64> {
    let metrics = station.get("/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    Ok(line.with_context(|| format!("no {name} in {metrics}"))?.parse()?)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < Duration::from_secs(60), "this does not come about: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn check(counters: &Counters) {
    assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0), "{counters:?}");
    assert_eq!(counters.pending, 0, "{counters:?}");
}

#[test]
fn a_disk_that_is_full_while_the_database_is_away() -> Result<()> {
    // In many files, and in one that would be larger than the disk.
    for size in ["16MiB", "64MiB"] {
        let Some(narrow) = Narrow::make()? else { return Ok(()) };
        let folder = narrow.folder.path();
        let options = ["--journal-size", size];
        let mut station = narrow.start(&options)?;
        station.wait_until_ready()?;
        narrow.set_away(true)?;
        fly(&station, folder, 120_000, 1)?;
        assert_eq!(metric(&station, FAILING)?, 1, "{size}");
        assert!(metric(&station, BYPASSED)? > 20_000 && metric(&station, FAILURES)? > 0);
        let log = narrow.log()?;
        assert!(log.contains("cannot be written: No space left on device"), "{log}");
        assert_eq!(station.ask("/healthz")?.0, 200);
        assert_eq!(station.counters()?.committed, 0);

        narrow.set_away(false)?;
        wait_for("all is stored", || Ok(station.counters()?.pending == 0))?;
        // A small record may find the last free octets, and end the alarm before files are removed.
        wait_for("there is room, and the alarm is over", || {
            Ok(metric(&station, OCTETS)? < DISK_OCTETS / 2 && metric(&station, FAILING)? == 0)
        })?;
        let bypassed = metric(&station, BYPASSED)?;
        fly(&station, folder, 2_000, 2)?;
        station.wait_until_quiet()?;
        assert_eq!(metric(&station, BYPASSED)?, bypassed, "the journal takes all again");
        assert_eq!(metric(&station, "orbitstream_journal_damaged_total")?, 0);
        assert!(narrow.log()?.contains("the journal is written again"));
        let counters = station.stop()?;
        check(&counters);
        assert_eq!(counters.accepted, 122_000, "{counters:?}");
        let stored = counters.committed;
        assert_eq!(stored, 122_000 - counters.queue_dropped);
        assert_eq!(narrow.rows()?, (stored, stored));
    }
    Ok(())
}

#[test]
fn a_station_that_starts_again_on_a_disk_that_is_still_full() -> Result<()> {
    let Some(narrow) = Narrow::make()? else { return Ok(()) };
    let folder = narrow.folder.path();
    let options = ["--journal-size", "16MiB"];
    let mut station = narrow.start(&options)?;
    station.wait_until_ready()?;
    // Somebody else has filled it.
    let full = format!("head -c {DISK_OCTETS} /dev/zero > \"$1\"/full; true");
    let mut shell = narrow.disk.command(Path::new("sh"));
    shell.args(["-c", &full, "sh"]).arg(narrow.disk.path()).output()?;
    for boot in 1..=3 {
        fly(&station, folder, 3_000, boot)?;
        station.wait_until_quiet()?;
        let counters = station.counters()?;
        assert_eq!((counters.accepted, counters.committed), (3_000, 3_000), "{counters:?}");
        assert_eq!(metric(&station, FAILING)?, 1);
        station.program().kill()?;
        station = narrow.start(&options)?;
        station.wait_until_ready()?;
    }
    assert_eq!(narrow.rows()?, (9_000, 9_000));
    check(&station.stop()?);
    Ok(())
}

#[test]
fn a_disk_that_is_read_only() -> Result<()> {
    let Some(narrow) = Narrow::make()? else { return Ok(()) };
    let folder = narrow.folder.path();
    let options = ["--drain-timeout", "1s"];
    let mut station = narrow.start(&options)?;
    station.wait_until_ready()?;
    narrow.set_away(true)?;
    fly(&station, folder, 5_000, 1)?;
    let counters = station.stop()?;
    assert_eq!((counters.accepted, counters.pending), (5_000, 5_000), "{counters:?}");
    narrow.disk.set_read_only(true)?;
    narrow.set_away(false)?;
    let mut rows = 0;
    for (boot, found) in [(2, 5_000), (3, 0)] {
        let mut station = narrow.start(&[])?;
        station.wait_until_ready()?;
        fly(&station, folder, 3_000, boot)?;
        station.wait_until_quiet()?;
        assert_eq!(metric(&station, FAILING)?, 1);
        let log = narrow.log()?;
        for said in ["Read-only file system", "what the detectors learn is not kept"] {
            assert!(log.contains(said), "{log}");
        }
        let counters = station.stop()?;
        check(&counters);
        assert_eq!((counters.recovered, counters.committed), (found, found + 3_000));
        rows += counters.committed;
        assert_eq!(narrow.rows()?, (rows, rows));
    }
    Ok(())
}

const DISK_OCTETS: u64 = 4 << 20;
const OCTETS: &str = "orbitstream_journal_bytes";
const FAILING: &str = "orbitstream_journal_failing";
const BYPASSED: &str = "orbitstream_journal_bypassed_total";
const FAILURES: &str = "orbitstream_journal_failures_total";
