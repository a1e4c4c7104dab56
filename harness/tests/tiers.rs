//! The same exercise on every tier of databases that this machine has: migrations, COPY as the
//! writer, aggregates, the columnstore, policies and rights. One line, past the capture of the
//! test's output, says which tiers these were.
//!
//! The tiers are those of `harness::tiers`. The other end-to-end tests run on all but the stand-in,
//! which has one session at a time and no background workers: no station can run on it.

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use harness::{StandIn, Station, Tier};
use protocol::{KINDS, SpacecraftId};
use receiver::batch::{Batch, Form, TimeWindow};
use receiver::chunk::Chunk;
use receiver::sparse::Sparse;
use receiver::store::{Identity, Store};
use support::{Tables, cluster, empty_database, hypertables, reader_url, stop_jobs, writer_url};

#[test]
fn the_same_exercise_on_every_tier() -> Result<()> {
    let mut said = vec![format!("plain: {}", exercise(&Place::server(Tables::Plain)?, false)?)];
    for tables in hypertables() {
        let name = if tables == Tables::Hyper { Tier::TimescaleDb } else { Tier::Server }.name();
        said.push(format!("{name}: {}", exercise(&Place::server(tables)?, true)?));
    }
    if Tier::StandIn.is_demanded()? || (Tier::StandIn.is_wanted()? && StandIn::is_installed()) {
        let stand_in = StandIn::start()?;
        said.push(format!("stand-in: {}", exercise(&Place::stand_in(&stand_in), true)?));
    }
    let not: Vec<_> = Tier::ALL
        .iter()
        .map(|tier| tier.name())
        .filter(|name| !said.iter().any(|tier| tier.starts_with(name)))
        .collect();
    let not = if not.is_empty() { String::new() } else { format!("; not: {}", not.join(", ")) };
    // Standard error itself is not captured.
    writeln!(std::io::stderr(), "tiers that ran: {}{not}", said.join("; "))?;
    Ok(())
}

/// Where the exercise is done.
struct Place {
    owner: String,
    writer: String,
    reader: String,
}

impl Place {
    /// A new database on one of the servers.
    fn server(tables: Tables) -> Result<Self> {
        let database = empty_database(tables)?;
        if tables != Tables::Plain {
            stop_jobs(&database)?;
        }
        let options = ["--timescaledb", &(tables != Tables::Plain).to_string()];
        let owner = cluster().url(&database);
        // So that there are the roles of the URLs.
        Station::migrate(&owner, &options)?;
        Ok(Self { writer: writer_url(&database), reader: reader_url(&database), owner })
    }

    fn stand_in(stand_in: &StandIn) -> Self {
        let [writer, reader] =
            ["orbitstream_writer", "orbitstream_reader"].map(|role| stand_in.url_as(role));
        Self { owner: stand_in.url(), writer, reader }
    }

    fn sql(&self, statements: &str) -> Result<String> {
        cluster().sql_at(&self.owner, statements)
    }

    /// What comes out of it, one statement after the other.
    fn call_each(&self, list: &str) -> Result<usize> {
        let calls = self.sql(list)?;
        for call in calls.lines() {
            self.sql(call)?;
        }
        Ok(calls.lines().count())
    }
}

/// Gives back the versions of server and extension.
fn exercise(place: &Place, is_hyper: bool) -> Result<String> {
    for _ in 0..2 {
        Station::migrate(&place.owner, &["--timescaledb", &is_hyper.to_string()])?;
    }
    let version = "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)
                   || (SELECT ' with TimescaleDB ' || extversion FROM pg_extension
                       WHERE extname = 'timescaledb')";
    let version = if is_hyper {
        place.sql(version)?
    } else {
        assert_eq!(place.sql(version)?, "", "no extension");
        place
            .sql("SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)")?
    };

    let mut log = Log::new();
    let two_days_ago = now_us() - 48 * 3_600_000_000;
    let before_retention = now_us() - 40 * 24 * 3_600_000_000;
    let samples = log.batch(two_days_ago, 500);
    store(&place.writer, samples)?;
    // Once more, as after an answer that was lost.
    store(&place.writer, samples)?;
    log.batch.advance();
    assert_eq!(rows(place)?, "500|500|2|1000");

    let late = log.batch(two_days_ago + 500_000, 7);
    if is_hyper {
        let convert = "SELECT format('CALL convert_to_columnstore(%L)', chunk)
                       FROM show_chunks('telemetry') AS chunk";
        assert!(place.call_each(convert)? >= 1);
        let compressed = "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks
                          WHERE hypertable_name = 'telemetry'";
        assert_eq!(place.sql(compressed)?, "t");
    }
    store(&place.writer, late)?;
    log.batch.advance();
    assert_eq!(rows(place)?, "507|507|2|1014", "late samples, into the columnstore");
    store(&place.writer, log.batch(before_retention, 60))?;
    same_as_the_samples(place)?;
    if is_hyper {
        policies(place)?;
    }
    rights(place)?;
    Ok(version)
}

fn rows(place: &Place) -> Result<String> {
    place.sql(
        "SELECT (SELECT count(*) FROM telemetry), (SELECT count(*) FROM attitude),
                (SELECT count(*) FROM satellite), (SELECT sum(samples) FROM ingest_batch)",
    )
}

/// Each level says of the samples what they say themselves, before and after it is refreshed.
fn same_as_the_samples(place: &Place) -> Result<()> {
    let is_hyper =
        !place.sql("SELECT to_regclass('timescaledb_information.hypertables')")?.is_empty();
    for refreshed in [false, true] {
        for (level, width) in [("1m", "1 minute"), ("1h", "1 hour"), ("1d", "1 day")] {
            if refreshed && is_hyper {
                place.sql(&format!(
                    "CALL refresh_continuous_aggregate('telemetry_{level}', NULL, NULL)"
                ))?;
            }
            let difference = format!(
                "WITH said AS (SELECT bucket, satellite_id, samples,
                                      round(cpu_temp_avg::numeric, 6), cpu_temp_min, cpu_temp_max, cpu_temp_count
                               FROM telemetry_{level}),
                      meant AS (SELECT time_bucket('{width}', time), satellite_id, count(*),
                                       round(avg(cpu_temp)::numeric, 6), min(cpu_temp),
                                       max(cpu_temp), count(cpu_temp)
                                FROM telemetry GROUP BY 1, 2)
                 SELECT (SELECT sum(samples) FROM said),
                        (SELECT count(*) FROM (TABLE said EXCEPT ALL TABLE meant) AS a),
                        (SELECT count(*) FROM (TABLE meant EXCEPT ALL TABLE said) AS a)"
            );
            assert_eq!(place.sql(&difference)?, "567|0|0", "{level} {refreshed}");
        }
    }
    if is_hyper {
        let made =
            "SELECT format('SELECT count(*) > 0 FROM %I.%I', materialization_hypertable_schema,
                                  materialization_hypertable_name)
                    FROM timescaledb_information.continuous_aggregates
                    WHERE view_name LIKE 'telemetry%' ORDER BY view_name";
        for made in place.sql(made)?.lines() {
            assert_eq!(place.sql(made)?, "t", "nothing was made: {made}");
        }
    }
    Ok(())
}

/// Every policy is there, and does its work when it is run: what is older than samples are kept
/// goes, and the history made of it stays.
fn policies(place: &Place) -> Result<()> {
    let jobs = "SELECT proc_name, count(*) FROM timescaledb_information.jobs
                WHERE hypertable_name IS NOT NULL GROUP BY 1 ORDER BY 1";
    let expected =
        ["policy_compression|10", "policy_refresh_continuous_aggregate|6", "policy_retention|10"];
    assert_eq!(place.sql(jobs)?, expected.join("\n"));
    let run = "SELECT format('CALL run_job(%s)', job_id) FROM timescaledb_information.jobs
               WHERE hypertable_name IS NOT NULL AND proc_name";
    let days = "SELECT sum(samples) FROM telemetry_1d";
    for job in ["policy_retention", "policy_refresh_continuous_aggregate", "policy_compression"] {
        assert!(place.call_each(&format!("{run} = '{job}'"))? >= 3);
        assert_eq!(place.sql(days)?, "567", "{job}");
    }
    assert_eq!(place.sql("SELECT count(*), count(DISTINCT satellite_id) FROM telemetry")?, "507|2");
    Ok(())
}

/// The writer only adds, the reader only looks.
fn rights(place: &Place) -> Result<()> {
    for (url, statement) in [
        (&place.writer, "SELECT FROM telemetry"),
        (&place.writer, "DELETE FROM telemetry"),
        (&place.writer, "DROP TABLE telemetry"),
        (&place.reader, "INSERT INTO satellite VALUES (9, 'SAT-09')"),
        (&place.reader, "BEGIN READ WRITE; DELETE FROM telemetry"),
    ] {
        let error = format!("{:#}", cluster().sql_at(url, statement).expect_err(statement));
        let is_refused = ["permission denied", "must be owner", "read-only transaction"];
        assert!(is_refused.iter().any(|words| error.contains(words)), "{statement}: {error}");
    }
    let seen = cluster().sql_at(&place.reader, "SELECT sum(samples) >= 507 FROM telemetry_1h")?;
    assert_eq!(seen, "t");
    Ok(())
}

/// What a station of one journal stores, batch after batch.
struct Log {
    batch: Batch,
    chunks: i64,
}

impl Log {
    fn new() -> Self {
        Self { batch: Batch::new(u64::MAX), chunks: 0 }
    }

    /// So many samples of each kind, one every tenth of a second, of two satellites in turn.
    fn batch(&mut self, first_us: i64, count: i64) -> &Batch {
        let window = TimeWindow { past: Duration::MAX, future: Duration::MAX };
        let form = Form { station: "GS-01".into(), window };
        for number in 0..count {
            let id = SpacecraftId::new(1 + number as u16 % 2).expect("not 0");
            for kind in KINDS {
                let mut sample = Sparse::new(kind, id, first_us + number * 100_000);
                let channels = kind.columns().enumerate();
                for (place, _) in
                    channels.filter(|(_, (name, _))| *name == "cpu_temp" || *name == "q0")
                {
                    sample.set(place, (number % 37) as f64 / 64.0);
                }
                let mut chunk = Chunk::new();
                assert!(chunk.push_sparse(&sample, now_us()), "an empty chunk has room");
                chunk.number(self.chunks);
                self.chunks += 1;
                self.batch.push(&chunk, &form, Instant::now(), |_, _| {});
            }
        }
        &self.batch
    }
}

/// Stores by a connection of its own, which is closed then.
fn store(url: &str, batch: &Batch) -> Result<()> {
    let who = Identity { station: "GS-01".into(), journal: 7 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut store = Store::connect(&url.parse().context("a URL")?).await?;
        match store.commit(batch, &[], &who).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("{url}: {error}"),
        }
    })
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_micros() as i64
}
