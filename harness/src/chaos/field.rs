//! Where rounds are run: a server with plain tables and hypertables, and how a station reaches it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Kind;
use crate::program::sibling;
use crate::{Cluster, ClusterOptions, Station, StopMode};

/// What rounds are held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long before a kill a frame may have been sent and yet be lost.
    pub loss_window: Duration,
    /// What the station may have resident, in MiB.
    pub memory_mib_max: f64,
    /// Whether the station keeps a journal, where it can.
    pub journal: bool,
    /// Whether commits of the database survive a crash of the machine, as in operation.
    pub durable: bool,
    /// Further options of the receiver.
    pub receiver: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss_window: Duration::from_millis(100),
            memory_mib_max: 300.0,
            journal: true,
            durable: false,
            receiver: Vec::new(),
        }
    }
}

/// A place to run rounds in.
#[derive(Debug)]
pub struct Field {
    pub(super) cluster: Cluster,
    /// Whether the server is up, as far as this program has had a hand in it.
    pub(super) is_up: Cell<bool>,
    /// The database that is being restored.
    pub(super) restoring: Cell<Option<&'static str>>,
    /// Whether the receiver that is built here can keep a journal.
    knows_journal: bool,
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
}

impl Field {
    /// Starts a server with plain tables and, where it can, hypertables. Each round leaves its logs
    /// and reports in a folder of its own in `folder`.
    pub fn start(folder: &Path, settings: Settings) -> Result<Self> {
        let options = ClusterOptions { durable: settings.durable, ..Default::default() };
        let cluster = Cluster::start_with(&options)?;
        for (database, timescaledb) in [(PLAIN, "false"), (HYPER, "true")] {
            cluster.create_database(database)?;
            Station::migrate(&cluster.url(database), &["--timescaledb", timescaledb])?;
            cluster.sql(database, NUMBER_ROWS)?;
        }
        let password = format!("ALTER ROLE {WRITER} PASSWORD '{PASSWORD}'");
        cluster.sql(PLAIN, &password)?;
        let knows_journal = knows_journal()?;
        let folder = folder.to_owned();
        Ok(Self {
            cluster,
            is_up: Cell::new(true),
            restoring: Cell::new(None),
            knows_journal,
            folder,
            settings,
        })
    }

    /// What can go wrong here: all, or what a station without a journal stands.
    pub fn kinds(&self) -> Vec<Kind> {
        let all = Kind::ALL.into_iter();
        all.filter(|kind| self.has_journal() || !kind.needs_journal()).collect()
    }

    /// Whether its stations keep a journal.
    pub fn has_journal(&self) -> bool {
        self.knows_journal && self.settings.journal
    }

    /// The receiver's options about its journal.
    pub(super) fn journal_options(&self, folder: &Path) -> Vec<String> {
        let folder = folder.display().to_string();
        match (self.knows_journal, self.settings.journal) {
            (false, _) => Vec::new(),
            (true, true) => vec!["--journal".into(), folder],
            (true, false) => vec!["--journal".into(), "off".into()],
        }
    }

    /// All options of a receiver in a round.
    pub(super) fn station_options(&self, journal: &Path, writers: u8) -> Vec<String> {
        let mut options = vec!["--drain-timeout=2s".to_owned(), format!("--writers={writers}")];
        options.extend(self.journal_options(journal));
        options.extend(self.settings.receiver.iter().cloned());
        options
    }

    /// Where a station reaches a database.
    pub(super) fn url(&self, database: &str) -> String {
        self.cluster.url_as(WRITER, Some(PASSWORD), database)
    }

    pub(super) fn start_database(&self) -> Result<()> {
        if !self.is_up.replace(true) {
            self.cluster.start_again()?;
        }
        Ok(())
    }

    pub(super) fn stop_database(&self, mode: StopMode) -> Result<()> {
        if self.is_up.replace(false) {
            self.cluster.stop(mode)?;
        }
        Ok(())
    }

    pub(super) fn sql(&self, database: &str, statements: &str) -> Result<String> {
        self.cluster.sql(database, &format!("SET statement_timeout = '60s';\n{statements}"))
    }
}

fn knows_journal() -> Result<bool> {
    let help = Command::new(sibling("receiver")?).args(["run", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--journal "))
}

/// Ports that another program is unlikely to choose at the same time: below those of the clusters,
/// and of the kernel for outgoing connections.
pub(super) fn ports() -> (u16, u16) {
    let first = rand::random_range(11_000..19_999);
    (first, first + 1)
}

pub(super) const PLAIN: &str = "plain";
pub(super) const HYPER: &str = "hyper";
const WRITER: &str = "orbitstream_writer";
const PASSWORD: &str = "only-for-this-test";

/// Rows have the number of the transaction that stored them: within one they have no order, since the
/// columnstore has the newest first.
const NUMBER_ROWS: &str = "
    ALTER TABLE telemetry ADD COLUMN stored_by bigint;
    ALTER TABLE telemetry ALTER COLUMN stored_by SET DEFAULT pg_current_xact_id()::text::bigint;
    ALTER TABLE attitude ADD COLUMN stored_by bigint;
    ALTER TABLE attitude ALTER COLUMN stored_by SET DEFAULT pg_current_xact_id()::text::bigint";

pub(super) const EMPTY: &str = "
    TRUNCATE telemetry, attitude, quarantine, rejected_frame, anomaly, link_health, station_health,
        ingest_batch";
