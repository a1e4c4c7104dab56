//! Faults between the station and its database while satellites send: whatever breaks, every row is
//! stored, once, and every frame has its place in the ledger. `make chaos` does more of it, longer.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harness::proxy::{CommitCut, Counts, Cut, Passage, Proxy, Which};
use harness::station::{RECEIVER_REPORT, SATSIM_REPORT};
use harness::{Cluster, Constellation, Counters, Reports, Station, Verification};
use support::{Tables, cluster, database, ports, tables, writer_url};
use tempfile::TempDir;

/// A station that reaches its database through a proxy.
struct Front<'a> {
    cluster: &'a Cluster,
    database: String,
    proxy: Proxy,
    station: Station,
    folder: TempDir,
}

impl<'a> Front<'a> {
    /// On the server of all tests.
    fn start(tables: Tables) -> Result<Self> {
        let database = database(tables)?;
        Self::with(cluster(), &writer_url(&database), database)
    }

    /// On a server of its own, which may go away.
    fn start_on(cluster: &'a Cluster) -> Result<Self> {
        cluster.create_database("front")?;
        Station::migrate(&cluster.url("front"), &[])?;
        cluster.sql("front", "ALTER ROLE orbitstream_writer PASSWORD 'only-for-this-test'")?;
        let url = cluster.url_as("orbitstream_writer", Some("only-for-this-test"), "front");
        Self::with(cluster, &url, "front".into())
    }

    fn with(cluster: &'a Cluster, url: &str, database: String) -> Result<Self> {
        let proxy = Proxy::start(([127, 0, 0, 1], cluster.port()).into(), SEED)?;
        let folder = tempfile::tempdir()?;
        let station = Station::start(&proxy.url(url)?, folder.path(), ports(), &[])?;
        Ok(Self { cluster, database, proxy, station, folder })
    }

    /// Lets satellites fly for some seconds and does `fault` again and again meanwhile; then all has
    /// to be there, and nothing twice.
    fn fly(
        mut self,
        frames_per_second: u32,
        seconds: u32,
        mut fault: impl FnMut(&Self) -> Result<()>,
    ) -> Result<(Counters, Counts)> {
        let rate = format!("--rate={}", frames_per_second / SATELLITES);
        let duration = format!("--duration={seconds}s");
        let satellites = format!("--satellites={SATELLITES}");
        let options = [&*satellites, &rate, &duration, "--frames-per-datagram=4", "--boot=7"];
        let flight = Constellation::start(self.station.target(), self.folder.path(), &options)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds.into()) {
            fault(&self)?;
        }
        self.proxy.cut_commits(None);
        self.proxy.set_passage(Passage::Open)?;
        let truth = flight.land()?;
        self.station.wait_until_quiet()?;
        let counters = self.station.stop()?;
        assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0), "{counters:?}");
        let reports = Reports {
            truth: &self.folder.path().join(SATSIM_REPORT),
            receiver: Some(&self.folder.path().join(RECEIVER_REPORT)),
        };
        let verification = Verification::run(reports, &self.cluster.url(&self.database), &[])?;
        assert!(verification.agrees, "{}", verification.page);
        let mut rows = 0;
        for table in ["telemetry", "attitude"] {
            let query = format!(
                "SELECT count(*), count(DISTINCT (satellite_id, boot_count, sequence)) FROM {table}"
            );
            let answer = self.cluster.sql(&self.database, &query)?;
            let (all, distinct) = answer.split_once('|').context("two numbers")?;
            assert_eq!(all, distinct, "{table} holds rows twice");
            rows += all.parse::<u64>()?;
        }
        assert_eq!((rows, counters.committed), (truth.generated, truth.generated));
        Ok((counters, self.proxy.counts()))
    }
}

fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn commits_that_are_cut_before_in_and_after_them() -> Result<()> {
    for tables in tables() {
        let mut kinds =
            [CommitCut::Unsent, CommitCut::Racing, CommitCut::Unanswered].iter().cycle();
        let (_, counts) = Front::start(tables)?.fly(8_000, 5, |front| {
            let kind = kinds.next().context("they never end")?;
            front.proxy.cut_commits(Some((*kind, Which::Chance(0.6))));
            pause(300);
            Ok(())
        })?;
        for cut in [counts.unsent, counts.racing, counts.unanswered] {
            assert!(cut > 0, "{counts:?}");
        }
    }
    Ok(())
}

#[test]
fn answers_to_commits_that_never_come_at_twenty_thousand_frames_a_second() -> Result<()> {
    let (_, counts) = Front::start(Tables::Plain)?.fly(20_000, 4, |front| {
        front.proxy.cut_commits(Some((CommitCut::Unanswered, Which::Chance(0.6))));
        pause(100);
        Ok(())
    })?;
    assert!(counts.unanswered > 0, "{counts:?}");
    Ok(())
}

#[test]
fn connections_that_are_cut_again_and_again() -> Result<()> {
    let mut ways = [Cut::Reset, Cut::Close].iter().cycle();
    let (_, counts) = Front::start(Tables::Plain)?.fly(5_000, 4, |front| {
        pause(170);
        front.proxy.cut(*ways.next().context("they never end")?);
        Ok(())
    })?;
    assert!(counts.cut > 2, "{counts:?}");
    Ok(())
}

#[test]
fn stalls_and_delays() -> Result<()> {
    let ms = Duration::from_millis;
    Front::start(Tables::Plain)?.fly(5_000, 5, |front| {
        front.proxy.set_passage(Passage::Stalled)?;
        pause(900);
        front.proxy.set_passage(Passage::Delayed { by: ms(20), jitter: ms(30) })?;
        pause(700);
        front.proxy.set_passage(Passage::Open)?;
        pause(200);
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_way_to_the_database_that_is_refused_for_a_while() -> Result<()> {
    let (counters, _) = Front::start(Tables::Plain)?.fly(5_000, 4, |front| {
        pause(500);
        front.proxy.set_passage(Passage::Refused)?;
        front.proxy.cut(Cut::Reset);
        pause(1_000);
        front.proxy.set_passage(Passage::Open)?;
        pause(500);
        Ok(())
    })?;
    assert_eq!(counters.queue_dropped, 0);
    Ok(())
}

#[test]
fn sessions_that_an_administrator_ends() -> Result<()> {
    let preferred = tables().pop().context("plain tables are always there")?;
    let mut ended = 0;
    Front::start(preferred)?.fly(5_000, 4, |front| {
        pause(250);
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE datname = current_database()
                             AND application_name = 'orbitstream receiver'";
        ended += front.cluster.sql(&front.database, terminate)?.parse::<u32>()?;
        Ok(())
    })?;
    assert!(ended > 2, "{ended} sessions were ended");
    Ok(())
}

#[test]
fn a_server_that_crashes_and_recovers() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut crashes = 0;
    Front::start_on(&cluster)?.fly(3_000, 6, |front| {
        pause(1_000);
        front.cluster.restart_immediate()?;
        crashes += 1;
        Ok(())
    })?;
    assert!(crashes >= 2, "{crashes}");
    Ok(())
}

#[test]
fn a_database_that_is_restored_while_the_station_runs() -> Result<()> {
    // Saved before anything was stored, and in the middle.
    for before in [0, 1_000] {
        let database = database(Tables::Plain)?;
        let url = writer_url(&database);
        let folder = tempfile::tempdir()?;
        let options = ["--drain-timeout", "1s"];
        let mut station = Station::start(&url, folder.path(), ports(), &options)?;
        let fly = |station: &Station, boot: &str, frames: u32| {
            let count = frames.to_string();
            let options = ["--satellites=20", "--rate=100", "--boot", boot, "--count", &count];
            Constellation::fly(station.target(), folder.path(), &options)
        };
        // With nobody connected, as a backup is put in place.
        let alone = |work: &str| {
            let away = format!(
                "ALTER DATABASE {database} ALLOW_CONNECTIONS false;
                 SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = '{database}';"
            );
            // A session that ends takes a moment.
            cluster().sql("postgres", &away)?;
            let start = Instant::now();
            while let Err(error) = cluster().sql("postgres", work) {
                anyhow::ensure!(start.elapsed() < Duration::from_secs(20), "{error:#}");
                pause(100);
            }
            anyhow::Ok(())
        };
        if before > 0 {
            fly(&station, "1", before)?;
            station.wait_until_quiet()?;
        }
        let again = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true");
        alone(&format!("CREATE DATABASE saved TEMPLATE {database}"))?;
        cluster().sql("postgres", &again)?;
        fly(&station, "2", 1_000)?;
        station.wait_until_quiet()?;
        alone(&format!("DROP DATABASE {database} WITH (FORCE)"))?;
        let rename = format!("ALTER DATABASE saved RENAME TO {database}");
        cluster().sql("postgres", &format!("{rename}; {again}"))?;
        fly(&station, "3", 1_000)?;

        // It says what to do, and stores nothing meanwhile.
        let start = Instant::now();
        while !station.ask("/readyz")?.1.contains("restart the station") {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", station.ask("/readyz")?);
            pause(100);
        }
        let log = std::fs::read_to_string(folder.path().join("receiver.log"))?;
        assert!(log.contains("Restart the station"), "{log}");
        let rows = "SELECT count(*), count(DISTINCT (satellite_id, boot_count, sequence))
                    FROM (SELECT satellite_id, boot_count, sequence FROM telemetry UNION ALL
                          SELECT satellite_id || '/a', boot_count, sequence FROM attitude) AS r";
        let stored = cluster().sql(&database, rows)?;
        assert_eq!(stored, format!("{before}|{before}"));
        let counters = station.stop()?;
        assert_eq!((counters.frame_residual(), counters.sample_residual()), (0, 0));
        assert_eq!(counters.pending, 1_000, "{counters:?}");

        // After that all is there that the journal still had, which is everything here.
        let mut station = Station::start(&url, folder.path(), ports(), &options)?;
        station.wait_until_quiet()?;
        let counters = station.stop()?;
        assert_eq!((counters.recovered, counters.committed), (2_000, 2_000), "{counters:?}");
        let all = before + 2_000;
        assert_eq!(cluster().sql(&database, rows)?, format!("{all}|{all}"));
    }
    Ok(())
}

const SATELLITES: u32 = 50;
const SEED: u64 = 11;
