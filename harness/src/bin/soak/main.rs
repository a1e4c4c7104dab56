//! Flies many orbits past the station's detectors, over UDP and into a database, and counts what they
//! open.
//!
//! `make soak` runs it, in two flights of 100 satellites:
//!
//! 1. *Nominal*: nothing goes wrong on board, but frames are lost, repeated, reordered and damaged,
//!    and satellites start again. Every event is a false alarm. It fails above
//!    [`FALSE_EVENTS_MAX`] for each 100 million values.
//! 2. *Anomalies*: after orbits of learning, sensors go wrong in every way that satsim knows.
//!    `satsim verify` scores what was found; it fails below [`F1_MIN`] and [`DRIFT_RECALL_MIN`].
//!
//! A simulated sample is [`STEP_S`] apart from the next of its satellite, so that orbits pass in
//! seconds. Figures go to `target/bench/soak.json`.
//!
//! `soak --latency` asks another question instead, see [`latency`].

#![forbid(unsafe_code)]

mod latency;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use harness::outln;
use harness::{
    Cluster, Constellation, Reports, Station, Verification, figures,
    station::{RECEIVER_REPORT, SATSIM_REPORT},
};
use serde_json::json;

/// Counts false alarms in a nominal flight, and scores a flight with anomalies.
#[derive(Debug, Parser)]
struct Options {
    /// Millions of values that are sent in the nominal flight: some are lost, and 100 are to be left
    #[arg(long, default_value_t = 105.0)]
    nominal: f64,
    /// Millions of values in the flight with anomalies
    #[arg(long, default_value_t = 40.0)]
    anomalies: f64,
    /// How many satellites
    #[arg(long, default_value_t = 100)]
    satellites: u32,
    /// Frames a second, all satellites together
    #[arg(long, default_value_t = 40_000)]
    rate: u32,
    /// Measure instead how soon after its sample an event is in the database, in real time
    #[arg(long)]
    latency: bool,
    /// Values a second with --latency
    #[arg(long, default_value_t = 100_000)]
    values: u32,
    /// Seconds of the flight with --latency
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Options of the receiver
    #[arg(last = true)]
    receiver: Vec<String>,
}

/// Simulated seconds between two samples of a satellite.
const STEP_S: f64 = 5.0;
/// Nine health frames of 17 values for one attitude frame of 11.
const VALUES_PER_FRAME: f64 = 16.4;
/// Orbits in which nothing goes wrong, before anomalies begin: the detectors learn.
const LEARNING_ORBITS: f64 = 6.0;
const ORBIT_S: f64 = 5_700.0;
/// Chance of an anomaly per satellite and simulated second.
const CHANCE: f64 = 0.0005;
const FALSE_EVENTS_MAX: f64 = 10.0;
const F1_MIN: f64 = 0.92;
const DRIFT_RECALL_MIN: f64 = 0.65;
/// What the link does in both flights; no more than a bad one.
const FAULTS: &str = "drop = 0.01\ncorrupt = 0.002\nduplicate = 0.005\nreorder = 0.005\n";
/// Satellites that start again in each part of the nominal flight.
const REBOOTS: u32 = 5;
const PARTS: u32 = 4;

fn main() -> ExitCode {
    figures::main(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    if options.latency {
        return latency::run(options);
    }
    let cluster = Cluster::start()?;
    let nominal = nominal(&cluster, options)?;
    outln!("{nominal:#}")?;
    let anomalies = anomalies(&cluster, options)?;
    outln!("{anomalies:#}")?;
    let kept = json!({
        "satellites": options.satellites,
        "step_s": STEP_S,
        "nominal": nominal,
        "anomalies": anomalies,
    });
    figures::keep("soak", &kept)?;
    let per_100_million = nominal["events_per_100_million_values"].as_f64();
    ensure!(
        per_100_million <= Some(FALSE_EVENTS_MAX),
        "more than {FALSE_EVENTS_MAX} false events in 100 million values: {per_100_million:?}"
    );
    ensure!(
        anomalies["is_good_enough"] == true,
        "the score is below {F1_MIN}, or drifts below {DRIFT_RECALL_MIN}"
    );
    Ok(())
}

/// The flight in which nothing is wrong on board.
fn nominal(cluster: &Cluster, options: &Options) -> Result<serde_json::Value> {
    let seconds = seconds(options.nominal, options);
    let mut scenario = head(options);
    for part in 0..PARTS {
        let reboot: Vec<String> = (1..=REBOOTS.min(options.satellites))
            .map(|place| format!("{:?}", name(part * REBOOTS + place, options.satellites)))
            .collect();
        let duration = seconds / f64::from(PARTS);
        let reboot = reboot.join(", ");
        let phase = format!("duration = \"{duration:.3}s\"\nreboot = [{reboot}]\n");
        scenario.extend(["[[phase]]\n", &phase, FAULTS]);
    }
    let folder = tempfile::tempdir()?;
    let flown = fly(cluster, "nominal", folder.path(), &scenario, options)?;
    let detectors = cluster.sql(
        "nominal",
        "SELECT satellite_id, channel, detector, opened_at, observed, expected, threshold, close_reason
         FROM anomaly WHERE detector <> 'silence' ORDER BY opened_at LIMIT 40",
    )?;
    let events: f64 = cluster
        .sql("nominal", "SELECT count(*) FROM anomaly WHERE detector <> 'silence'")?
        .parse()?;
    Ok(json!({
        "frames": flown.frames,
        "values": flown.values,
        "seconds": flown.seconds,
        "orbits": seconds * STEP_S * f64::from(options.rate) / f64::from(options.satellites) / ORBIT_S,
        "events": events,
        "events_per_100_million_values": events * 1e8 / flown.values,
        "which": detectors.lines().collect::<Vec<_>>(),
    }))
}

/// The flight in which sensors go wrong.
fn anomalies(cluster: &Cluster, options: &Options) -> Result<serde_json::Value> {
    let speed = speed(options);
    let learning = LEARNING_ORBITS * ORBIT_S / speed;
    let rest = seconds(options.anomalies, options);
    let scenario = head(options)
        + &format!("[[phase]]\nduration = \"{learning:.3}s\"\n{FAULTS}")
        + &format!("[[phase]]\nduration = \"{rest:.3}s\"\nanomalies = {CHANCE}\n{FAULTS}");
    let folder = tempfile::tempdir()?;
    let flown = fly(cluster, "anomalies", folder.path(), &scenario, options)?;
    let score = folder.path().join("score.json");
    let (f1, recall) = (F1_MIN.to_string(), format!("drift={DRIFT_RECALL_MIN}"));
    let reports = Reports { truth: &folder.path().join(SATSIM_REPORT), receiver: None };
    let score_path = score.to_string_lossy();
    let verification = Verification::run(
        reports,
        &cluster.url("anomalies"),
        &["--detection", "--min-f1", &f1, "--min-recall", &recall, "--json", &score_path],
    )?;
    outln!("{}", verification.page)?;
    let score: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(&score).with_context(|| verification.page.clone())?,
    )?;
    Ok(json!({
        "frames": flown.frames,
        "values": flown.values,
        "seconds": flown.seconds,
        "is_good_enough": verification.agrees,
        "detection": score["detection"],
    }))
}

struct Flown {
    frames: u64,
    values: f64,
    seconds: f64,
}

fn fly(
    cluster: &Cluster,
    database: &str,
    folder: &Path,
    scenario: &str,
    options: &Options,
) -> Result<Flown> {
    cluster.create_database(database)?;
    let url = cluster.url(database);
    Station::migrate(&url, &[])?;
    let receiver: Vec<&str> = options.receiver.iter().map(String::as_str).collect();
    let mut station = Station::start(&url, folder, (20_115, 20_116), &receiver)?;
    let path = folder.join("scenario.toml");
    fs::write(&path, scenario)?;
    let start = Instant::now();
    let truth = Constellation::fly(
        station.target(),
        folder,
        &["--scenario", &path.to_string_lossy(), "--frames-per-datagram", "10"],
    )?;
    station.wait_until_quiet()?;
    let seconds = start.elapsed().as_secs_f64();
    let counters = station.stop()?;
    ensure!(
        counters.kernel_dropped == 0 && counters.queue_dropped == 0,
        "not all was looked at: {counters:?}"
    );
    ensure!(folder.join(RECEIVER_REPORT).exists(), "no report");
    let values =
        "SELECT (SELECT count(*) FROM telemetry) * 17 + (SELECT count(*) FROM attitude) * 11";
    Ok(Flown { frames: truth.generated, values: cluster.sql(database, values)?.parse()?, seconds })
}

/// The options of the flight, as the head of a scenario. It begins in the past, so that it ends
/// before now.
fn head(options: &Options) -> String {
    let rate = f64::from(options.rate) / f64::from(options.satellites);
    let flown = (seconds(options.nominal.max(options.anomalies), options) * speed(options)) as i64;
    let past = jiff::SignedDuration::from_secs(flown + (LEARNING_ORBITS * ORBIT_S) as i64 + 3_600);
    let start = jiff::Timestamp::now() - past;
    format!(
        "satellites = {}\nrate = {rate}\nspeed = {}\nstart = \"{start}\"\n",
        options.satellites,
        speed(options)
    )
}

/// Simulated seconds a second.
fn speed(options: &Options) -> f64 {
    STEP_S * f64::from(options.rate) / f64::from(options.satellites)
}

/// How long so many million values take.
fn seconds(millions: f64, options: &Options) -> f64 {
    millions * 1e6 / VALUES_PER_FRAME / f64::from(options.rate)
}

fn name(number: u32, satellites: u32) -> String {
    format!("SAT-{:02}", (number - 1) % satellites + 1)
}
