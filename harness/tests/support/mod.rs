//! What the end-to-end tests share: one database server for all tests of a program, and a ground
//! station in a database of its own.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use harness::{Cluster, Counters, Station};
use tempfile::TempDir;

/// What kind of tables a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    Plain,
    Hyper,
}

/// A ground station and its database.
pub(crate) struct Ground {
    pub(crate) station: Station,
    pub(crate) database: String,
    pub(crate) folder: TempDir,
}

/// The server, which goes with the test program.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().expect("PostgreSQL starts"))
}

/// The kinds of tables this machine can have; the first line of `make test` says which.
pub(crate) fn tables() -> Vec<Tables> {
    let mut tables = vec![Tables::Plain];
    if cluster().has_timescaledb() {
        tables.push(Tables::Hyper);
    }
    tables
}

/// A new database with tables.
pub(crate) fn database(tables: Tables) -> Result<String> {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    cluster().create_database(&name)?;
    let timescaledb = (tables == Tables::Hyper).to_string();
    Station::migrate(&cluster().url(&name), &["--timescaledb", &timescaledb])?;
    Ok(name)
}

/// The URL of a database for the role that the station runs as.
pub(crate) fn writer_url(database: &str) -> String {
    const PASSWORD: &str = "only-for-this-test";
    // One after another: two at once would change the same row of the catalogue.
    static PASSWORD_SET: OnceLock<()> = OnceLock::new();
    PASSWORD_SET.get_or_init(|| {
        let set = format!("ALTER ROLE orbitstream_writer PASSWORD '{PASSWORD}'");
        cluster().sql(database, &set).expect("the role exists");
    });
    cluster().url_as("orbitstream_writer", Some(PASSWORD), database)
}

impl Ground {
    /// A station of its own with further options, running as the writer role.
    pub(crate) fn start(tables: Tables, options: &[&str]) -> Result<Self> {
        let database = database(tables)?;
        let folder = tempfile::tempdir()?;
        let station = Station::start(&writer_url(&database), folder.path(), ports(), options)?;
        Ok(Self { station, database, folder })
    }

    pub(crate) fn sql(&self, statement: &str) -> Result<String> {
        cluster().sql(&self.database, statement)
    }

    /// Waits until all is stored, stops the station, and checks that its books balance.
    pub(crate) fn stop(mut self) -> Result<Counters> {
        self.station.wait_until_quiet()?;
        let counters = self.station.stop()?;
        assert_eq!(counters.frame_residual(), 0, "{counters:?}");
        assert_eq!(counters.sample_residual(), 0, "{counters:?}");
        assert_eq!(counters.pending, 0, "{counters:?}");
        let stored = cluster().sql(
            &self.database,
            "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)",
        )?;
        assert_eq!(stored, counters.committed.to_string());
        Ok(counters)
    }
}

/// Ports that another test is unlikely to choose at the same time: below those of the clusters, and
/// of the kernel for outgoing connections.
pub(crate) fn ports() -> (u16, u16) {
    let first = rand::random_range(11_000..19_999);
    (first, first + 1)
}
