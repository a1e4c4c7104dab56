//! The three databases, and how each is made.

use std::collections::BTreeMap;

use anyhow::Result;
use harness::{Cluster, Station};

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// PostgreSQL's own tables.
    Plain,
    /// Hypertables with the same indexes and nothing else.
    Hypertable,
    /// What `receiver migrate` makes.
    Shipped,
}

/// All of them, in the order of every array of figures.
pub(crate) const TARGETS: [Target; 3] = [Target::Plain, Target::Hypertable, Target::Shipped];

/// The tables that hold the month.
pub(crate) const TABLES: [&str; 3] = ["telemetry", "attitude", "link_health"];

impl Target {
    /// Its database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hypertable => "hypertable",
            Self::Shipped => "shipped",
        }
    }

    /// Makes the database with its tables. No policy runs by itself: the figures are to be those of
    /// the questions alone.
    pub(crate) fn make(self, cluster: &Cluster) -> Result<()> {
        cluster.create_database(self.name())?;
        let timescaledb = (self != Self::Plain).to_string();
        Station::migrate(&cluster.url(self.name()), &["--timescaledb", &timescaledb])?;
        match self {
            Self::Plain => {}
            Self::Hypertable => {
                cluster.sql(self.name(), BARE)?;
            }
            Self::Shipped => {
                cluster.sql(
                    self.name(),
                    &format!("SELECT alter_job(job_id, scheduled => false) {POLICIES}"),
                )?;
            }
        }
        Ok(())
    }

    /// Does what the policies would have done by the end of the month, and leaves every table as
    /// the autovacuum would.
    pub(crate) fn settle(self, cluster: &Cluster) -> Result<()> {
        if self == Self::Shipped {
            let levels = "SELECT view_name FROM timescaledb_information.continuous_aggregates
                          ORDER BY materialization_hypertable_name";
            for level in cluster.sql(self.name(), levels)?.lines() {
                // Oldest first, each from the one below: the order in which they were made.
                cluster.sql(
                    self.name(),
                    &format!("CALL refresh_continuous_aggregate('{level}', NULL, NULL)"),
                )?;
            }
            let jobs = format!("SELECT job_id {POLICIES} AND proc_name = 'policy_compression'");
            let jobs = cluster.sql(self.name(), &jobs)?;
            anyhow::ensure!(!jobs.is_empty(), "no policy moves chunks to the columnstore");
            for job in jobs.lines() {
                cluster.sql(self.name(), &format!("CALL run_job({job})"))?;
            }
        }
        cluster.sql(self.name(), "VACUUM ANALYZE")?;
        Ok(())
    }
}

/// Whether an earlier run has made them in this cluster, to the end.
pub(crate) fn exist(cluster: &Cluster) -> Result<bool> {
    let found = "SELECT count(*) FROM pg_database WHERE datname = 'loaded'";
    Ok(cluster.sql("postgres", found)? == "1")
}

/// Notes that they are loaded.
pub(crate) fn finish(cluster: &Cluster) -> Result<()> {
    cluster.create_database("loaded")
}

/// How many rows each table holds, the same in each database.
pub(crate) fn rows(cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
    let counts = TABLES.map(|table| format!("(SELECT count(*) FROM {table})")).join(", ");
    let mut found = Vec::new();
    for target in TARGETS {
        found.push(cluster.sql(target.name(), &format!("SELECT {counts}"))?);
    }
    anyhow::ensure!(found.windows(2).all(|pair| pair[0] == pair[1]), "rows differ: {found:?}");
    let counts = found[0].split('|').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    Ok(TABLES.iter().map(ToString::to_string).zip(counts).collect())
}

/// The server's version and the extension's.
pub(crate) fn versions(cluster: &Cluster) -> Result<String> {
    let sql = "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)
                   || ', TimescaleDB ' || extversion
               FROM pg_extension WHERE extname = 'timescaledb'";
    cluster.sql(Target::Shipped.name(), sql)
}

const POLICIES: &str = "FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL";

/// Takes away everything that the migrations put on top of hypertables with indexes.
const BARE: &str = "
    DO $$
    DECLARE
        name regclass;
        job int;
    BEGIN
        FOR name IN
            SELECT format('%I', view_name)::regclass
            FROM timescaledb_information.continuous_aggregates
            ORDER BY materialization_hypertable_name DESC
        LOOP
            EXECUTE format('DROP MATERIALIZED VIEW %s', name);
        END LOOP;
        FOR job IN
            SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
        LOOP
            PERFORM delete_job(job);
        END LOOP;
        FOR name IN
            SELECT format('%I', hypertable_name)::regclass
            FROM timescaledb_information.hypertables WHERE compression_enabled
        LOOP
            EXECUTE format('ALTER TABLE %s SET (timescaledb.enable_columnstore = false)', name);
        END LOOP;
    END
    $$";
