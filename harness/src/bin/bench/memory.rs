//! What the receiver has resident: at rest, at a high rate, and while the database is away.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use harness::figures;
use harness::outln;
use harness::{Constellation, Station, StopMode};
use serde::Serialize;

use crate::Common;
use crate::processor::resident_mib;
use crate::trial::{Server, Tables};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Frames a second under load, all satellites together
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The same during the outage
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    outage_rate: u32,
    /// For how long each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Numbers of satellites
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    satellites: Vec<u32>,
    /// Fail when the receiver ever has more
    #[arg(long, value_name = "MIB")]
    at_most: Option<f64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures<'a> {
    frames_per_second_loaded: u32,
    frames_per_second_in_outage: u32,
    seconds: u32,
    tables: Tables,
    receiver_options: &'a [String],
    cases: Vec<Case>,
}

/// In MiB; all but the first the most since the receiver's start.
#[derive(Serialize)]
struct Case {
    satellites: u32,
    at_rest_mib: f64,
    outage_mib_max: f64,
    backlog_mib_max: f64,
    loaded_mib_max: f64,
    frames_lost: u64,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let tables = options.common.tables(server);
    let mut cases = Vec::new();
    for &satellites in &options.satellites {
        let case = case(server, options, tables, satellites)?;
        outln!(
            "{satellites:>6} satellites: {:.0} MiB at rest, {:.0} during an outage, {:.0} after it, \
             {:.0} at {} frames a second ({} lost)",
            case.at_rest_mib,
            case.outage_mib_max,
            case.backlog_mib_max,
            case.loaded_mib_max,
            options.rate,
            case.frames_lost
        )?;
        cases.push(case);
    }
    let figures = Figures {
        frames_per_second_loaded: options.rate,
        frames_per_second_in_outage: options.outage_rate,
        seconds: options.seconds,
        tables,
        receiver_options: &options.common.receiver,
        cases,
    };
    figures::keep("memory", &figures)?;
    let most = figures.cases.iter().map(|case| case.loaded_mib_max).fold(0.0, f64::max);
    let limit = options.at_most.unwrap_or(f64::INFINITY);
    ensure!(most <= limit, "{most:.0} MiB are more than {limit}");
    Ok(())
}

fn case(server: &Server, options: &Options, tables: Tables, satellites: u32) -> Result<Case> {
    let folder = tempfile::tempdir()?;
    let database = server.database(tables)?;
    let receiver: Vec<&str> = options.common.receiver.iter().map(String::as_str).collect();
    let url = server.writer_url(&database);
    let mut station = Station::start(&url, folder.path(), (20_015, 20_016), &receiver)?;
    thread::sleep(REST);
    let at_rest_mib = resident_mib(station.program().id())?;

    let target = station.target().to_owned();
    let fly = |rate: u32| {
        let each = (f64::from(rate) / f64::from(satellites)).to_string();
        let (satellites, duration) = (satellites.to_string(), format!("{}s", options.seconds));
        let flight = ["--satellites", &satellites, "--rate", &each, "--duration", &duration];
        Constellation::fly(&target, folder.path(), &flight)
    };
    server.cluster.stop(StopMode::Fast)?;
    let mut sent = fly(options.outage_rate)?.sent;
    let outage_mib_max = station.program().memory_mib_max()?;
    server.cluster.start_again()?;
    station.wait_until_quiet_within(BACKLOG_DURATION_MAX)?;
    let backlog_mib_max = station.program().memory_mib_max()?;
    sent += fly(options.rate)?.sent;
    station.wait_until_quiet_within(BACKLOG_DURATION_MAX)?;
    let loaded_mib_max = station.program().memory_mib_max()?;

    let counters = station.stop()?;
    ensure!(counters.frame_residual() == 0 && counters.sample_residual() == 0, "{counters:?}");
    server.drop(&database)?;
    let frames_lost = sent - counters.committed;
    Ok(Case {
        satellites,
        at_rest_mib,
        outage_mib_max,
        backlog_mib_max,
        loaded_mib_max,
        frames_lost,
    })
}

/// Until what was needed for the start has been given back.
const REST: Duration = Duration::from_secs(2);
const BACKLOG_DURATION_MAX: Duration = Duration::from_secs(180);
