//! From the sample that decides to the row in `anomaly`: how long that takes beside 100,000 values a
//! second, in real time.
//!
//! The server keeps the time of every commit. A trigger of this database alone writes a row beside
//! each event when it is inserted, in the same transaction, and it is the commit of that row that
//! counts: those of `anomaly` change as events go on.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harness::outln;
use harness::{Cluster, ClusterOptions, Constellation, Station, figures};
use protocol::KINDS;
use serde_json::{Value, json};

use super::{Options, VALUES_PER_FRAME};

/// Flies, and writes the figures; an error when they are not good enough.
pub(crate) fn run(options: &Options) -> Result<()> {
    let settings = vec![("track_commit_timestamp".to_owned(), "on".to_owned())];
    let cluster = Cluster::start_with(&ClusterOptions { settings, ..ClusterOptions::default() })?;
    let figures = fly(&cluster, options)?;
    outln!("{}", figures::keep("soak-latency", &figures)?)?;
    let median_ms = figures["median_ms"].as_f64().context("no event was stored")?;
    ensure!(median_ms < MEDIAN_MS_MAX, "half of the events took {median_ms} ms or more");
    Ok(())
}

fn fly(cluster: &Cluster, options: &Options) -> Result<Value> {
    cluster.create_database(DATABASE)?;
    let url = cluster.url(DATABASE);
    Station::migrate(&url, &[])?;
    cluster.sql(DATABASE, STAMP)?;
    let folder = tempfile::tempdir()?;
    let receiver: Vec<&str> = options.receiver.iter().map(String::as_str).collect();
    let mut station = Station::start(&url, folder.path(), (20_115, 20_116), &receiver)?;
    let rate = f64::from(options.values) / VALUES_PER_FRAME / f64::from(options.satellites);
    let flight = [
        format!("--satellites={}", options.satellites),
        format!("--rate={rate:.3}"),
        format!("--duration={}s", options.seconds),
        format!("--anomalies={CHANCE}"),
    ];
    let flight: Vec<&str> = flight.iter().map(String::as_str).collect();
    let start = Instant::now();
    let truth = Constellation::fly(station.target(), folder.path(), &flight)?;
    let seconds = start.elapsed().as_secs_f64();
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    ensure!(
        counters.kernel_dropped == 0 && counters.queue_dropped == 0,
        "not all was looked at: {counters:?}"
    );
    let mut took_ms = Vec::new();
    for kind in KINDS {
        took_ms.extend(took(cluster, kind)?);
    }
    let events: u64 = cluster.sql(DATABASE, "SELECT count(*) FROM anomaly")?.parse()?;
    // Of none they are NaN, which JSON has as null.
    let mut quantile = |share| figures::quantile(&mut took_ms, share);
    let [median_ms, p95_ms, max_ms] = [0.5, 0.95, 1.0].map(&mut quantile);
    Ok(json!({
        "satellites": options.satellites,
        "seconds": seconds,
        "frames": truth.generated,
        "values_per_second": truth.generated as f64 * VALUES_PER_FRAME / seconds,
        "events": events,
        "measured": took_ms.len(),
        "median_ms": median_ms,
        "p95_ms": p95_ms,
        "max_ms": max_ms,
    }))
}

/// How long each event of a kind's channels took, ms.
fn took(cluster: &Cluster, kind: &protocol::Kind) -> Result<Vec<f64>> {
    let channels: Vec<_> = kind.channels().map(|(name, _)| format!("'{name}'")).collect();
    let (table, channels) = (kind.table, channels.join(", "));
    let took = cluster.sql(
        DATABASE,
        &format!(
            "SELECT extract(epoch FROM pg_xact_commit_timestamp(stored.xmin) - received_at) * 1000
             FROM anomaly
             JOIN anomaly_stored AS stored USING (id)
             JOIN {table} AS sample
                 ON sample.satellite_id = anomaly.satellite_id AND sample.time = detected_at
             WHERE channel IN ({channels})"
        ),
    )?;
    took.lines().map(|line| Ok(line.parse()?)).collect()
}

const DATABASE: &str = "latency";
/// Rows of `anomaly_stored` are never changed: their commit is that of the event's first row.
const STAMP: &str = "
    CREATE TABLE anomaly_stored (id bigint);
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO anomaly_stored VALUES (NEW.id); RETURN NULL; END';
    CREATE TRIGGER stamp AFTER INSERT ON anomaly FOR EACH ROW EXECUTE FUNCTION stamp();";
/// Chance of an anomaly per satellite and second: in a minute a thousand, of which those show that
/// need no orbit to be learned.
const CHANCE: f64 = 0.2;
const MEDIAN_MS_MAX: f64 = 1_000.0;
