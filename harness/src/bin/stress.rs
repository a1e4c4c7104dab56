//! The packet-loss stress tests, all of them.
//!
//! `make stress` runs it; `stress --help` says what can be chosen. Logs and reports of each case
//! stay in `stress/` beside its program's folder (`target/stress/`).
#![forbid(unsafe_code)]

use std::num::ParseIntError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::Parser;
use harness::outln;
use harness::output::exit_code;
use harness::stress::{Extent, Range, Scoreboard, matrix, network_matrix};

/// Runs the packet-loss stress tests.
///
/// Succeeds only if every case does. Logs and reports of each case stay in target/stress.
#[derive(Debug, Parser)]
struct Options {
    /// Words that a case's description has to hold, such as `reorder` or `5000`; without any, all
    /// cases run
    #[arg(value_name = "WORD")]
    words: Vec<String>,

    /// `full` for every combination instead of a covering part
    #[arg(long, env = "STRESS", default_value = "", hide_default_value = true,
        value_parser = extent)]
    extent: Extent,

    /// What the faults are drawn from [default: 1]
    #[arg(long, env = "STRESS_SEED", default_value = "", hide_default_value = true,
        value_parser = seed)]
    seed: u64,
}

fn main() -> ExitCode {
    exit_code("stress", run(&Options::parse()))
}

/// `make stress` sets what it does not know to nothing.
fn extent(text: &str) -> Result<Extent, &'static str> {
    match text {
        "" => Ok(Extent::Covering),
        "full" => Ok(Extent::Full),
        _ => Err("try `full`, or leave it out"),
    }
}

fn seed(text: &str) -> Result<u64, ParseIntError> {
    if text.is_empty() { Ok(1) } else { text.parse() }
}

fn run(options: &Options) -> Result<bool> {
    let (words, extent, seed) = (&options.words, options.extent, options.seed);
    let mut range = Range::start(&folder()?, seed)?;
    let mut cases = matrix(extent);
    match range.lay_network() {
        Ok(has_netem) => {
            if !has_netem {
                outln!("note: this kernel has no netem; the cases that need it are left out")?;
            }
            cases.extend(network_matrix(extent, has_netem));
        }
        Err(error) => outln!("note: the network cases cannot run here: {error:#}")?,
    }
    // A case keeps its number, and so its seed, whatever is chosen.
    let cases: Vec<_> = (1_u16..)
        .zip(cases)
        .filter(|(_, case)| words.iter().all(|word| case.to_string().contains(word)))
        .collect();
    if cases.is_empty() {
        bail!("no case holds all of: {}", words.join(" "));
    }
    outln!("{} cases, seed {seed} plus each one's number", cases.len())?;
    let mut scoreboard = Scoreboard::default();
    for (place, (number, case)) in cases.iter().enumerate() {
        let line = scoreboard.add(range.run(case, *number));
        outln!("{:>4}/{}  {line}", place + 1, cases.len())?;
    }
    outln!("\n{}", scoreboard.page())?;
    Ok(scoreboard.is_clean())
}

/// `target/stress`, emptied.
fn folder() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let target = exe.ancestors().nth(2).context("the program lies in no folder")?;
    let folder = target.join("stress");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty the folder {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}
