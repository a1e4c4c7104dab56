//! One run of the whole path at one rate: satsim → UDP → receiver → committed rows, all on this
//! machine, in a database made for it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Cluster, ClusterOptions, Constellation, Station};
use serde::Serialize;

use crate::processor;
use crate::visible::{Delay, Reader};

/// A server for the trials of one program.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    databases: Cell<u32>,
}

/// Which tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tables {
    /// Hypertables, columnstore, aggregates
    Timescaledb,
    /// Those of PostgreSQL alone
    Plain,
}

/// What is sent, and to which receiver.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Frames a second, all satellites together.
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) satellites: u32,
    pub(crate) tables: Tables,
    /// Further options of the receiver.
    pub(crate) receiver: Vec<String>,
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// What satsim came to: less than wanted when it had too little of the processor.
    pub(crate) frames_per_second_offered: f64,
    /// Stored frames over the time from satsim's start until the last one was stored.
    pub(crate) frames_per_second_stored: f64,
    /// The same in values, counted in the tables: 17 a row of `telemetry`, 11 of `attitude`.
    pub(crate) values_per_second_stored: f64,
    pub(crate) frames_sent: u64,
    pub(crate) frames_stored: u64,
    pub(crate) frames_lost: u64,
    /// Of these, datagrams that the kernel dropped (a lower bound where it coalesces),
    pub(crate) kernel_dropped: u64,
    /// and samples for which the receiver had no room.
    pub(crate) queue_dropped: u64,
    /// Frames that were received and not stored when satsim ended.
    pub(crate) frames_waiting_at_end: u64,
    /// Processor time a million frames.
    pub(crate) cpu_s_per_million: ByProgram,
    /// The most that the receiver had resident.
    pub(crate) memory_mib_max: f64,
    /// Write-ahead log a row of `telemetry` and `attitude`, of everything that was written.
    pub(crate) wal_octets_per_row: f64,
    /// Tables and indexes of `telemetry` and `attitude`, a row.
    pub(crate) disk_octets_per_row: f64,
    /// From a frame's own time until its row could be read.
    pub(crate) frame_to_visible: Delay,
    /// From its receipt.
    pub(crate) receipt_to_visible: Delay,
}

/// A figure of each program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ByProgram {
    pub(crate) receiver: f64,
    pub(crate) satsim: f64,
    pub(crate) postgresql: f64,
}

/// The receiver stores as this role, as an installation should.
const WRITER: &str = "orbitstream_writer";
const PASSWORD: &str = "bench";
/// Settings that a server for telemetry should have, see `docs/operations.md`.
const SETTINGS: [(&str, &str); 2] = [("shared_buffers", "1GB"), ("max_wal_size", "8GB")];

impl Server {
    /// A temporary one that synchronises its disk as PostgreSQL does.
    pub(crate) fn start() -> Result<Self> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options =
            ClusterOptions { durable: true, settings: settings.into(), ..Default::default() };
        Ok(Self { cluster: Cluster::start_with(&options)?, databases: Cell::new(0) })
    }

    /// The kinds of tables that this server can have.
    pub(crate) fn tables(&self) -> Vec<Tables> {
        let mut all = vec![Tables::Plain];
        if self.cluster.has_timescaledb() {
            all.insert(0, Tables::Timescaledb);
        }
        all
    }

    /// Those that users should have.
    pub(crate) fn best_tables(&self) -> Tables {
        if self.cluster.has_timescaledb() { Tables::Timescaledb } else { Tables::Plain }
    }

    /// Makes a database with the product's tables, and gives back its name.
    pub(crate) fn database(&self, tables: Tables) -> Result<String> {
        self.databases.set(self.databases.get() + 1);
        let name = format!("bench{}", self.databases.get());
        self.cluster.create_database(&name)?;
        let extension = (tables == Tables::Timescaledb).to_string();
        Station::migrate(&self.cluster.url(&name), &["--timescaledb", &extension])?;
        self.cluster.sql(&name, &format!("ALTER ROLE {WRITER} PASSWORD '{PASSWORD}'"))?;
        Ok(name)
    }

    /// Where the receiver stores.
    pub(crate) fn writer_url(&self, database: &str) -> String {
        self.cluster.url_as(WRITER, Some(PASSWORD), database)
    }

    /// Throws a database away.
    pub(crate) fn drop(&self, database: &str) -> Result<()> {
        self.cluster.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"))?;
        Ok(())
    }

    /// Rows of both tables, values in them, and octets on disk.
    pub(crate) fn stored(&self, database: &str, tables: Tables) -> Result<(u64, u64, u64)> {
        let size = match tables {
            Tables::Timescaledb => "hypertable_size",
            Tables::Plain => "pg_total_relation_size",
        };
        let question = format!(
            "SELECT t + a, t * 17 + a * 11, {size}('telemetry') + {size}('attitude')
             FROM (SELECT count(*) AS t FROM telemetry) AS t, (SELECT count(*) AS a FROM attitude) AS a"
        );
        let answer = self.cluster.sql(database, &question)?;
        let mut figures = answer.split('|').map(str::parse);
        let mut next = || figures.next().unwrap_or(Ok(0));
        Ok((next()?, next()?, next()?))
    }

    fn wal_octets(&self) -> Result<f64> {
        let written = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')";
        Ok(self.cluster.sql("postgres", written)?.parse()?)
    }
}

impl Load {
    /// Flies once. Loss is a figure; only books that do not balance are an error.
    pub(crate) fn fly(&self, server: &Server) -> Result<Outcome> {
        let folder = tempfile::tempdir()?;
        let database = server.database(self.tables)?;
        let options: Vec<&str> = self.receiver.iter().map(String::as_str).collect();
        let url = server.writer_url(&database);
        let mut station = Station::start(&url, folder.path(), (20_015, 20_016), &options)?;
        let reader = Reader::start(&server.cluster.url(&database), self.satellites);
        let postgresql = processor::time_of_server(&server.cluster)?;
        let wal = server.wal_octets()?;

        let start = Instant::now();
        let flight = self.flight();
        let flight: Vec<&str> = flight.iter().map(String::as_str).collect();
        let mut satellites = Constellation::start(station.target(), folder.path(), &flight)?;
        let satsim = processor::time_at_end(satellites.program().id())?;
        let flown = start.elapsed();
        let waiting = station.counters()?.pending;
        let truth = satellites.land()?;
        station.wait_until_quiet_within(BACKLOG_DURATION_MAX)?;
        let elapsed = start.elapsed();

        let postgresql = processor::time_of_server(&server.cluster)?.saturating_sub(postgresql);
        let wal = server.wal_octets()? - wal;
        let [frame_to_visible, receipt_to_visible] = reader.finish()?;
        let receiver = processor::time_of(station.program().id())?;
        let memory_mib_max = station.program().memory_mib_max()?;
        let counters = station.stop()?;
        let (rows, values, disk) = server.stored(&database, self.tables)?;
        server.drop(&database)?;

        ensure!(counters.frame_residual() == 0 && counters.sample_residual() == 0, "{counters:?}");
        ensure!(rows == counters.committed, "{rows} rows of {} committed", counters.committed);
        let millions = truth.sent as f64 / 1e6;
        Ok(Outcome {
            frames_per_second_offered: truth.sent as f64 / flown.as_secs_f64(),
            frames_per_second_stored: counters.committed as f64 / elapsed.as_secs_f64(),
            values_per_second_stored: values as f64 / elapsed.as_secs_f64(),
            frames_sent: truth.sent,
            frames_stored: counters.committed,
            frames_lost: truth.sent - counters.committed,
            kernel_dropped: counters.kernel_dropped,
            queue_dropped: counters.queue_dropped,
            frames_waiting_at_end: waiting,
            cpu_s_per_million: ByProgram {
                receiver: receiver.as_secs_f64() / millions,
                satsim: satsim.as_secs_f64() / millions,
                postgresql: postgresql.as_secs_f64() / millions,
            },
            memory_mib_max,
            wal_octets_per_row: wal / rows as f64,
            disk_octets_per_row: disk as f64 / rows as f64,
            frame_to_visible,
            receipt_to_visible,
        })
    }

    fn flight(&self) -> [String; 6] {
        let rate = f64::from(self.rate) / f64::from(self.satellites);
        let satellites = self.satellites.to_string();
        let duration = format!("{}s", self.seconds);
        [
            "--satellites".into(),
            satellites,
            "--rate".into(),
            rate.to_string(),
            "--duration".into(),
            duration,
        ]
    }
}

impl Outcome {
    /// Whether all was stored, and as fast as it came: what waited at the end was little, and satsim
    /// sent what it should.
    pub(crate) fn is_held(&self, load: &Load) -> bool {
        self.may_be_held(load, load.seconds)
    }

    /// The same after a shorter time than the rate is to be held for: as much may wait as after that,
    /// since what is on its way at any moment is no less in a shorter time.
    pub(crate) fn may_be_held(&self, load: &Load, seconds: u32) -> bool {
        let rate = f64::from(load.rate);
        self.frames_lost == 0
            && (self.frames_waiting_at_end as f64) < rate * f64::from(seconds) * WAITING_SHARE_MAX
            && self.frames_per_second_offered > rate * OFFERED_SHARE_MIN
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "offered {:>7.0}/s  stored {:>7.0}/s  lost {:>8}  waiting {:>8}  receiver {:.2} satsim \
             {:.2} PostgreSQL {:.2} CPU s/M  {:>4.0} MiB  visible p50 {:.0} p99 {:.0} ms, at \
             first {:.0} ms",
            self.frames_per_second_offered,
            self.frames_per_second_stored,
            self.frames_lost,
            self.frames_waiting_at_end,
            self.cpu_s_per_million.receiver,
            self.cpu_s_per_million.satsim,
            self.cpu_s_per_million.postgresql,
            self.memory_mib_max,
            self.frame_to_visible.p50_ms,
            self.frame_to_visible.p99_ms,
            self.frame_to_visible.start_max_ms,
        )
    }
}

/// More than that waiting at the end, of all that was sent, says that storing fell behind.
const WAITING_SHARE_MAX: f64 = 0.03;
/// Its start and end are part of satsim's time.
const OFFERED_SHARE_MIN: f64 = 0.95;
/// How long storing what waits may take, when far more was offered than can be stored.
const BACKLOG_DURATION_MAX: Duration = Duration::from_secs(180);
