//! Measures the whole path: satsim → UDP → receiver → committed rows, with nothing lost.
//!
//! `make bench` runs it. Everything is on one machine, database and satellites included; figures
//! and machine go to `target/bench/ingest.json`. Options:
//!
//! * `--rate N` frames a second, all satellites together (50,000)
//! * `--seconds N` for how long (20)
//! * `--satellites N` (100)
//! * further options after `--` go to the receiver.
//!
//! It fails when a frame is lost, or when the receiver takes more memory than it may.

#![forbid(unsafe_code)]

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::{Cluster, ClusterOptions, Constellation, Station, machine};
use serde::Serialize;

/// Measures the whole path, from satellites to stored rows.
#[derive(Debug, Parser)]
struct Options {
    /// Frames a second, all satellites together
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// For how long
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many satellites
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    satellites: u32,
    /// Options of the receiver
    #[arg(last = true)]
    receiver: Vec<String>,
}

/// What is written to `target/bench/ingest.json`.
#[derive(Debug, Serialize)]
struct Figures {
    commit: String,
    machine: String,
    tables: &'static str,
    frames_per_second_offered: u32,
    seconds: u32,
    satellites: u32,
    receiver_options: Vec<String>,
    frames_generated: u64,
    frames_committed: u64,
    frames_lost: u64,
    frames_per_second_committed: f64,
    values_per_second_committed: f64,
    receiver_cpu_s_per_million_frames: f64,
    receiver_memory_mib_max: f64,
}

/// The memory that the receiver may take at this load.
const MEMORY_MIB_MAX: f64 = 300.0;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start_with(&ClusterOptions { durable: true, ..Default::default() })?;
    cluster.create_database("bench")?;
    let url = cluster.url("bench");
    Station::migrate(&url, &[])?;
    let receiver: Vec<&str> = options.receiver.iter().map(String::as_str).collect();
    let mut station = Station::start(&url, folder.path(), (20_015, 20_016), &receiver)?;

    let rate = (f64::from(options.rate) / f64::from(options.satellites)).to_string();
    let (satellites, duration) = (options.satellites.to_string(), format!("{}s", options.seconds));
    let flight = ["--satellites", &satellites, "--rate", &rate, "--duration", &duration];
    let start = Instant::now();
    let truth = Constellation::fly(station.target(), folder.path(), &flight)?;
    station.wait_until_quiet()?;
    let elapsed = start.elapsed();
    let id = station.program().id();
    let (cpu, memory_mib) = (cpu_time(id)?, station.program().memory_mib_max()?);
    let counters = station.stop()?;

    let values =
        "SELECT (SELECT count(*) FROM telemetry) * 17 + (SELECT count(*) FROM attitude) * 11";
    let values: f64 = cluster.sql("bench", values)?.parse()?;
    let figures = Figures {
        commit: machine::commit(),
        machine: machine::description(),
        tables: if cluster.has_timescaledb() { "TimescaleDB" } else { "plain PostgreSQL" },
        frames_per_second_offered: options.rate,
        seconds: options.seconds,
        satellites: options.satellites,
        receiver_options: options.receiver.clone(),
        frames_generated: truth.generated,
        frames_committed: counters.committed,
        frames_lost: truth.generated - counters.committed,
        frames_per_second_committed: counters.committed as f64 / elapsed.as_secs_f64(),
        values_per_second_committed: values / elapsed.as_secs_f64(),
        receiver_cpu_s_per_million_frames: cpu.as_secs_f64() * 1e6 / truth.generated as f64,
        receiver_memory_mib_max: memory_mib,
    };
    let text = serde_json::to_string_pretty(&figures)?;
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/ingest.json", format!("{text}\n"))?;
    println!("{text}");
    ensure!(figures.frames_lost == 0, "{} frames were lost", figures.frames_lost);
    ensure!(counters.frame_residual() == 0 && counters.sample_residual() == 0, "{counters:?}");
    ensure!(memory_mib <= MEMORY_MIB_MAX, "{memory_mib} MiB are more than {MEMORY_MIB_MAX}");
    Ok(())
}

/// Processor time that a process has used, from proc(5).
fn cpu_time(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no fields in /proc/ID/stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    let per_second: u64 =
        machine::output("getconf", &["CLK_TCK"]).parse().context("getconf CLK_TCK")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
