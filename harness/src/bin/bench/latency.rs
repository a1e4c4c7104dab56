//! From a frame to its visible row, at rates far from each other.

use anyhow::{Result, ensure};
use clap::Args;
use harness::figures;
use harness::outln;
use serde::Serialize;

use crate::Common;
use crate::trial::{Load, Outcome, Server, Tables};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Frames a second, all satellites together
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    rates: Vec<u32>,
    /// For how long
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many satellites
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    satellites: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures<'a> {
    seconds: u32,
    satellites: u32,
    tables: Tables,
    receiver_options: &'a [String],
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    frames_per_second: u32,
    outcome: Outcome,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let tables = options.common.tables(server);
    let mut cases = Vec::new();
    for &rate in &options.rates {
        let load = Load {
            rate,
            seconds: options.seconds,
            satellites: options.satellites,
            tables,
            receiver: options.common.receiver.clone(),
        };
        let outcome = load.fly(server)?;
        outln!("{}", outcome.line())?;
        ensure!(outcome.frames_lost == 0, "{} frames were lost", outcome.frames_lost);
        cases.push(Case { frames_per_second: rate, outcome });
    }
    let figures = Figures {
        seconds: options.seconds,
        satellites: options.satellites,
        tables,
        receiver_options: &options.common.receiver,
        cases,
    };
    figures::keep("latency", &figures)?;
    Ok(())
}
