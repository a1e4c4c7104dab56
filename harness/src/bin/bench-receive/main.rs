//! Measures receiving: UDP socket to parsed, tracked samples in chunks, which are then thrown away,
//! beside a bare loop of recvmmsg(2) that only counts octets.
//!
//! `make bench` runs it. Each case has a sender that offers more than is received, over loopback,
//! with segmentation by the kernel; the station ([`ours`]), the bare loop ([`bare`]), and the same
//! loop with the CRC of every frame take their turns under it, `--repeat` times, with the same receive
//! buffer. Medians go to `target/bench/receive.json`. Speed is not judged; it fails when the ledger does not balance, when
//! a frame is refused, or when more is counted than was sent.
//!
//! Where the sender is the slower one nothing is lost and both rates are its rate: then the
//! processor time of the receiving threads says more.

#![forbid(unsafe_code)]

mod bare;
mod cpu;
mod drops;
mod figures;
mod frames;
mod ours;
mod run;
mod sender;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use bare::{Bare, Look};
use figures::{Case, Figures, HEAD, Turn};
use harness::outln;
use ours::Ours;
use run::Run;

/// Measures receiving, beside a loop that only counts octets.
#[derive(Debug, Parser)]
struct Options {
    /// How long each run is measured
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
    /// How many runs of each, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// With and without coalescing by the kernel (`UDP_GRO`)
    #[arg(long, value_delimiter = ',', default_value = "false,true")]
    gro: Vec<bool>,
    /// Frames in each datagram
    #[arg(long, value_delimiter = ',', default_value = "1,7,20", value_parser = frames)]
    frames: Vec<u64>,
    /// How many satellites
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10,1000,10000",
        value_parser = clap::value_parser!(u16).range(1..=10_000)
    )]
    satellites: Vec<u16>,
    /// The socket's receive buffer, as the receiver has it
    #[arg(long, default_value_t = 16 << 20, value_name = "OCTETS")]
    receive_buffer: usize,
}

fn main() -> ExitCode {
    harness::figures::main(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let mut figures = Figures {
        seconds: options.seconds,
        repeat: options.repeat,
        receive_buffer_octets: options.receive_buffer,
        cases: Vec::new(),
    };
    outln!("{}\n{}", HEAD[0], HEAD[1])?;
    for &gro in &options.gro {
        for &frames in &options.frames {
            for &satellites in &options.satellites {
                let case = case(options, (gro, frames as usize, satellites))?;
                outln!("{}", case.row())?;
                figures.cases.push(case);
            }
        }
    }
    harness::figures::keep("receive", &figures)?;
    Ok(())
}

fn case(options: &Options, knobs: (bool, usize, u16)) -> Result<Case> {
    let (gro, frames, satellites) = knobs;
    let duration = Duration::from_secs_f64(options.seconds);
    let buffer = options.receive_buffer;
    let mut turns = Vec::new();
    for _ in 0..options.repeat {
        let ours = Ours::start(buffer, gro)?;
        let bare = |look| {
            let bare = Bare::start(buffer, gro, look)?;
            Run::new(bare, satellites, frames, duration)
        };
        turns.push(Turn {
            ours: Run::new(ours, satellites, frames, duration)?,
            bare: bare(Look::Nothing)?,
            bare_crc: bare(Look::Crc)?,
        });
    }
    Ok(Case::new(knobs, &turns))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3_600.0).contains(seconds));
    seconds.ok_or_else(|| "expected 0.01 to 3600".into())
}

fn frames(text: &str) -> Result<u64, String> {
    let frames = text.parse().ok().filter(|frames| (1..=FRAMES_MAX).contains(frames));
    frames.ok_or_else(|| format!("expected 1 to {FRAMES_MAX}"))
}

/// What fits into a datagram.
const FRAMES_MAX: u64 = satsim::datagram::FRAMES_PER_DATAGRAM_MAX as u64;
