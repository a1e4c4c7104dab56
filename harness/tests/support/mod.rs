//! What the end-to-end tests share: one database server for all tests of a program, or two where
//! `TEST_DATABASE_URL` names another, and a ground station in a database of its own.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use harness::{Cluster, Counters, Foreign, Station, Tier, tiers};
use tempfile::TempDir;

/// What kind of tables a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Plain ones.
    Plain,
    /// Hypertables on the private server.
    Hyper,
    /// Hypertables on the server of `TEST_DATABASE_URL`.
    Server,
}

/// A ground station and its database.
pub(crate) struct Ground {
    pub(crate) station: Station,
    pub(crate) database: String,
    pub(crate) folder: TempDir,
}

/// The private server and, if there is one, that of `TEST_DATABASE_URL`. A database on the latter
/// is known by its name, so that tests need not care where theirs is.
pub(crate) struct Servers {
    private: Cluster,
    foreign: Option<Foreign>,
}

/// The private server itself, for what is done with no other.
impl Deref for Servers {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.private
    }
}

impl Servers {
    /// URL of the owner of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        match self.foreign(database) {
            Some(foreign) => foreign.url(database),
            None => self.private.url(database),
        }
    }

    /// URL of a database with the rights of a role, whose password need not be set.
    pub(crate) fn url_of_role(&self, role: &str, database: &str) -> String {
        const PASSWORD: &str = "only-for-this-test";
        // One after another: two at once would change the same row of the catalogue.
        static PASSWORDS_SET: OnceLock<()> = OnceLock::new();
        if let Some(foreign) = self.foreign(database) {
            return foreign.url_as(role, database);
        }
        PASSWORDS_SET.get_or_init(|| {
            for role in ["orbitstream_writer", "orbitstream_reader"] {
                let set = format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'");
                self.private.sql(database, &set).expect("the role exists");
            }
        });
        self.private.url_as(role, Some(PASSWORD), database)
    }

    /// As [`Cluster::sql`].
    pub(crate) fn sql(&self, database: &str, statements: &str) -> Result<String> {
        self.private.sql_at(&self.url(database), statements)
    }

    fn foreign(&self, database: &str) -> Option<&Foreign> {
        self.foreign.as_ref().filter(|foreign| foreign.has(database))
    }
}

/// The servers, which go with the test program.
pub(crate) fn cluster() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let private = Cluster::start().expect("PostgreSQL starts");
        let url = tiers::server_url().expect("the tiers that are wanted");
        let foreign = url.map(|url| Foreign::open(&url, &private).expect("TEST_DATABASE_URL"));
        Servers { private, foreign }
    })
}

/// The kinds of tables that tests run on here; the test program `tiers` says which.
pub(crate) fn tables() -> Vec<Tables> {
    let mut tables = vec![Tables::Plain];
    tables.extend(hypertables());
    tables
}

/// Those that are hypertables.
pub(crate) fn hypertables() -> Vec<Tables> {
    let has_timescaledb = cluster().has_timescaledb();
    assert!(
        has_timescaledb || !Tier::TimescaleDb.is_demanded().expect("known tiers"),
        "the tier timescaledb is asked for, and the extension is not installed"
    );
    let private = has_timescaledb.then_some(Tables::Hyper);
    let server = cluster().foreign.is_some().then_some(Tables::Server);
    private.into_iter().chain(server).collect()
}

/// A new database without tables, but with the extension where they shall be hypertables.
pub(crate) fn empty_database(tables: Tables) -> Result<String> {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = match &cluster().foreign {
        Some(foreign) if tables == Tables::Server => foreign.create_database(&cluster().private)?,
        _ => {
            let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
            cluster().create_database(&name)?;
            name
        }
    };
    if tables != Tables::Plain {
        cluster().sql(&name, "CREATE EXTENSION IF NOT EXISTS timescaledb")?;
    }
    Ok(name)
}

/// Lets no policy of a database with the extension run by itself from now on: what they do is done
/// by the test, and no worker comes in between.
pub(crate) fn stop_jobs(database: &str) -> Result<()> {
    let stop = "SELECT _timescaledb_functions.stop_background_workers()";
    cluster().sql(database, stop).map(drop)
}

/// A new database with tables.
pub(crate) fn database(tables: Tables) -> Result<String> {
    let name = empty_database(tables)?;
    let timescaledb = (tables != Tables::Plain).to_string();
    Station::migrate(&cluster().url(&name), &["--timescaledb", &timescaledb])?;
    Ok(name)
}

/// The URL of a database for the role that the station runs as.
pub(crate) fn writer_url(database: &str) -> String {
    cluster().url_of_role("orbitstream_writer", database)
}

/// The URL of a database for the role that Grafana has.
pub(crate) fn reader_url(database: &str) -> String {
    cluster().url_of_role("orbitstream_reader", database)
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
