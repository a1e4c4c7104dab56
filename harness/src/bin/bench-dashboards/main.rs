//! Measures dashboards that refresh each second while a constellation is being stored.
//!
//! `make bench-dashboards` runs it. It starts a private PostgreSQL with a past (see [`past`]), a
//! receiver that runs as the writer and a satsim, and asks what browsers with the dashboards of
//! [`DASHBOARDS`] ask at each refresh, as the reader (see [`browsers`]). Everything is on one machine;
//! the figures go to `target/bench/dashboards.json`. It fails when a frame is lost, when the ledger or
//! the tables do not agree with what was sent, or when the 95th percentile of all queries is over
//! `--p95-ms`.
//!
//! The queries are those of the files in `grafana/dashboards`, expanded as Grafana expands them by
//! `harness/oracles/check_dashboards.py`.

#![forbid(unsafe_code)]

mod browsers;
mod figures;
mod past;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::outln;
use harness::{Cluster, ClusterOptions, Constellation, Station, generate, judges};

use browsers::Dashboard;
use figures::Figures;
use past::Past;

const DATABASE: &str = "bench";
const PASSWORD: &str = "only-for-this-benchmark";

/// What is open in the browsers: the one for the wall, the one that asks about all links, and the one
/// with most panels.
const DASHBOARDS: [&str; 3] = ["overview", "links", "satellite"];

/// The satellites fly this long before the browsers come, and after they have gone.
const AROUND: Duration = Duration::from_secs(3);

/// Measures dashboards that refresh each second while a constellation is being stored.
#[derive(Debug, Parser)]
struct Options {
    /// How many satellites
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    satellites: u32,
    /// Frames a second of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// For how long dashboards are refreshed
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Minutes before, at the same rate, that are there when it begins
    #[arg(long, default_value_t = 15)]
    minutes: u32,
    /// Days before, with a few rows each, that are there when it begins
    #[arg(long, default_value_t = 29)]
    days: u32,
    /// What the 95th percentile of all queries may be
    #[arg(long, default_value_t = 200.0)]
    p95_ms: f64,
}

fn main() -> ExitCode {
    harness::figures::main(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start_with(&ClusterOptions { durable: true, ..Default::default() })?;
    cluster.create_database(DATABASE)?;
    Station::migrate(&cluster.url(DATABASE), &[])?;
    for role in ["orbitstream_writer", "orbitstream_reader"] {
        cluster.sql(DATABASE, &format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'"))?;
    }
    outln!("Making {} minutes and {} days of past ...", options.minutes, options.days)?;
    let past = Past {
        satellites: options.satellites,
        rate: options.rate,
        minutes: options.minutes,
        days: options.days,
    };
    past.make(&cluster, DATABASE)?;
    let rows_before = rows(&cluster)?;

    let writer = cluster.url_as("orbitstream_writer", Some(PASSWORD), DATABASE);
    let mut station = Station::start(&writer, folder.path(), (20_115, 20_116), &[])?;
    let (satellites, rate) = (options.satellites.to_string(), options.rate.to_string());
    let seconds = u64::from(options.seconds);
    let duration = format!("{}s", seconds + 2 * AROUND.as_secs());
    let flight = ["--satellites", &satellites, "--rate", &rate, "--duration", &duration];
    outln!("Flying {satellites} satellites at {rate} frames a second ...")?;
    let constellation = Constellation::start(station.target(), folder.path(), &flight)?;
    thread::sleep(AROUND);

    let reader = cluster.url_as("orbitstream_reader", Some(PASSWORD), DATABASE);
    let dashboards = queries(&reader)?;
    outln!("Refreshing {} each second for {seconds} s ...", DASHBOARDS.join(", "))?;
    let visits = browsers::refresh(&reader, &dashboards, Duration::from_secs(seconds))?;

    let truth = constellation.land()?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    let rows_stored = rows(&cluster)? - rows_before;

    let figures = Figures {
        tables: if cluster.has_timescaledb() { "TimescaleDB" } else { "plain PostgreSQL" },
        satellites: options.satellites,
        frames_per_second_each: options.rate,
        seconds: options.seconds,
        minutes_before: options.minutes,
        days_before: options.days,
        frames_generated: truth.generated,
        frames_lost: truth.generated - counters.committed.min(truth.generated),
        rows_stored,
        queries: figures::times(visits.iter().flat_map(|visit| &visit.queries)),
        dashboards: dashboards
            .iter()
            .map(Arc::as_ref)
            .zip(&visits)
            .map(figures::of_dashboard)
            .collect(),
    };
    let text = harness::figures::keep("dashboards", &figures)?;
    outln!("{text}")?;
    ensure!(counters.committed == truth.generated, "{} frames were lost", figures.frames_lost);
    ensure!(rows_stored == counters.committed, "{rows_stored} rows of {}", counters.committed);
    ensure!(counters.frame_residual() == 0 && counters.sample_residual() == 0, "{counters:?}");
    let p95_ms = figures.queries.p95_ms;
    ensure!(p95_ms <= options.p95_ms, "p95 is {p95_ms} ms, more than {} ms", options.p95_ms);
    Ok(())
}

/// What a browser asks of each dashboard.
fn queries(url: &str) -> Result<Vec<Arc<Dashboard>>> {
    let mut command = judges::oracle("check_dashboards.py")?;
    command.arg(generate::root()).args(["--database-url", url, "--print", &DASHBOARDS.join(",")]);
    let dashboards: Vec<Dashboard> = serde_json::from_str(&judges::run(&mut command)?)
        .context("cannot read the dashboards' queries")?;
    Ok(dashboards.into_iter().map(Arc::new).collect())
}

fn rows(cluster: &Cluster) -> Result<u64> {
    let count = "SELECT (SELECT count(*) FROM telemetry) + (SELECT count(*) FROM attitude)";
    Ok(cluster.sql(DATABASE, count)?.parse()?)
}
