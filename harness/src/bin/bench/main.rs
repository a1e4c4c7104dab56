//! Measures the whole path: satsim → UDP → receiver → committed rows, everything on this machine,
//! database and satellites included. `docs/benchmarks.md` explains the figures.
//!
//! `make bench` runs all of it. Figures, commit, machine and options go to `target/bench/`.

#![forbid(unsafe_code)]

mod ceiling;
mod curve;
mod ingest;
mod latency;
mod memory;
mod plot;
mod processor;
mod rate;
mod scale;
mod trial;
mod visible;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use harness::figures;

use trial::{Server, Tables};

/// Measures the whole path, from satellites to stored rows.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One rate; fails when a frame is lost
    Rate(rate::Options),
    /// The highest rate at which nothing is lost, beside COPY of the same rows
    Ingest(ingest::Options),
    /// From a frame to its visible row, at three rates
    Latency(latency::Options),
    /// What the receiver has resident: at rest, under load, during an outage
    Memory(memory::Options),
    /// What is lost of what is offered, as a curve
    Loss(curve::Options),
    /// What is stored a second with more satellites and more writers
    Scale(scale::Options),
}

/// What all of them may be told.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Which tables [default: hypertables where TimescaleDB is installed]
    #[arg(long)]
    tables: Option<Tables>,
    /// Options of the receiver
    #[arg(last = true)]
    receiver: Vec<String>,
}

impl Common {
    fn tables(&self, server: &Server) -> Tables {
        self.tables.unwrap_or(server.best_tables())
    }
}

fn main() -> ExitCode {
    figures::main(|| run(&Options::parse().what))
}

fn run(what: &What) -> Result<()> {
    let server = Server::start()?;
    match what {
        What::Rate(options) => rate::run(&server, options),
        What::Ingest(options) => ingest::run(&server, options),
        What::Latency(options) => latency::run(&server, options),
        What::Memory(options) => memory::run(&server, options),
        What::Loss(options) => curve::run(&server, options),
        What::Scale(options) => scale::run(&server, options),
    }
}
