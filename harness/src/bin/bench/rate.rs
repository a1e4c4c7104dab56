//! One rate, for a look at one setting.

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
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
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
    frames_per_second: u32,
    seconds: u32,
    satellites: u32,
    tables: Tables,
    receiver_options: &'a [String],
    outcome: Outcome,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let load = Load {
        rate: options.rate,
        seconds: options.seconds,
        satellites: options.satellites,
        tables: options.common.tables(server),
        receiver: options.common.receiver.clone(),
    };
    let outcome = load.fly(server)?;
    outln!("{}", outcome.line())?;
    let figures = Figures {
        frames_per_second: options.rate,
        seconds: options.seconds,
        satellites: options.satellites,
        tables: load.tables,
        receiver_options: &load.receiver,
        outcome,
    };
    figures::keep("rate", &figures)?;
    ensure!(figures.outcome.frames_lost == 0, "{} frames were lost", figures.outcome.frames_lost);
    Ok(())
}
