//! How cost grows with the number of satellites and of writers: more is offered than can be stored,
//! the journal takes what waits, and what is stored a second is looked at.

use anyhow::Result;
use clap::Args;
use harness::figures::{self, median};
use harness::outln;
use serde::Serialize;

use crate::Common;
use crate::trial::{Load, Outcome, Server, Tables};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Frames a second, all satellites together
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// For how long
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How often; medians are told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Numbers of satellites, with as many writers as there are by default
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000")]
    satellites: Vec<u32>,
    /// Numbers of writers, with 100 satellites
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    writers: Vec<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures<'a> {
    frames_per_second_offered: u32,
    seconds: u32,
    tables: Tables,
    receiver_options: &'a [String],
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    satellites: u32,
    /// None: the receiver's default.
    writers: Option<u32>,
    /// Median over all runs.
    frames_per_second_stored: f64,
    runs: Vec<Outcome>,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let tables = options.common.tables(server);
    let by_satellites = options.satellites.iter().map(|&satellites| (satellites, None));
    let by_writers = options.writers.iter().map(|&writers| (SATELLITES, Some(writers)));
    let mut cases: Vec<_> = by_satellites
        .chain(by_writers)
        .map(|(satellites, writers)| Case {
            satellites,
            writers,
            frames_per_second_stored: 0.0,
            runs: Vec::new(),
        })
        .collect();
    // Round by round, so that what else happens on the machine falls on all of them.
    for _ in 0..options.repeat {
        for case in &mut cases {
            let mut receiver = options.common.receiver.clone();
            if let Some(writers) = case.writers {
                receiver.extend(["--writers".to_owned(), writers.to_string()]);
            }
            let (rate, seconds) = (options.rate, options.seconds);
            let load = Load { rate, seconds, satellites: case.satellites, tables, receiver };
            let outcome = load.fly(server)?;
            outln!(
                "{:>6} satellites, {:>2} writers: {}",
                case.satellites,
                case.writers.unwrap_or(0),
                outcome.line()
            )?;
            case.runs.push(outcome);
        }
    }
    for case in &mut cases {
        let runs = case.runs.iter().map(|run| run.frames_per_second_stored);
        case.frames_per_second_stored = median(&mut runs.collect::<Vec<_>>());
        let writers = case.writers.map_or("default".to_owned(), |number| number.to_string());
        outln!(
            "{:>6} satellites, writers {writers}: {:.0} frames stored a second",
            case.satellites,
            case.frames_per_second_stored
        )?;
    }
    let figures = Figures {
        frames_per_second_offered: options.rate,
        seconds: options.seconds,
        tables,
        receiver_options: &options.common.receiver,
        cases,
    };
    figures::keep("scale", &figures)?;
    Ok(())
}

/// Where writers are compared.
const SATELLITES: u32 = 100;
