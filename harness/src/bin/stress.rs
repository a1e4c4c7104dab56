//! The packet-loss stress tests, all of them.
//!
//! ```text
//! stress [WORD]...
//! ```
//!
//! Runs the cases whose description holds every WORD (such as `reorder` or `5000`), or all.
//! `STRESS=full` runs the full cross product instead of a covering part of it, `STRESS_SEED` is
//! what the faults are drawn from (1 if not given). Succeeds only if every case does. Logs and
//! reports of each case stay in `stress/` beside its program's folder (`target/stress/`).
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use harness::stress::{Extent, Range, Scoreboard, matrix, network_matrix};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stress: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let words: Vec<String> = env::args().skip(1).collect();
    let (extent, seed) = (extent()?, seed()?);
    let mut range = Range::start(&folder()?, seed)?;
    let mut cases = matrix(extent);
    match range.lay_network() {
        Ok(has_netem) => {
            if !has_netem {
                println!("note: this kernel has no netem; the cases that need it are left out");
            }
            cases.extend(network_matrix(extent, has_netem));
        }
        Err(error) => println!("note: the network cases cannot run here: {error:#}"),
    }
    // A case keeps its number, and so its seed, whatever is chosen.
    let cases: Vec<_> = (1_u16..)
        .zip(cases)
        .filter(|(_, case)| words.iter().all(|word| case.to_string().contains(word)))
        .collect();
    if cases.is_empty() {
        bail!("no case holds all of: {}", words.join(" "));
    }
    println!("{} cases, seed {seed} plus each one's number", cases.len());
    let mut scoreboard = Scoreboard::default();
    for (place, (number, case)) in cases.iter().enumerate() {
        let line = scoreboard.add(range.run(case, *number));
        println!("{:>4}/{}  {line}", place + 1, cases.len());
    }
    println!("\n{}", scoreboard.page());
    Ok(scoreboard.is_clean())
}

fn extent() -> Result<Extent> {
    match &*env::var("STRESS").unwrap_or_default() {
        "" => Ok(Extent::Covering),
        "full" => Ok(Extent::Full),
        other => bail!("STRESS={other} is not known; try STRESS=full, or leave it out"),
    }
}

fn seed() -> Result<u64> {
    let text = env::var("STRESS_SEED").unwrap_or_default();
    if text.is_empty() {
        return Ok(1);
    }
    text.parse().with_context(|| format!("STRESS_SEED={text} is not a number"))
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
