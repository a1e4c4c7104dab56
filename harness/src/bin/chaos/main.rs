//! Fault tests of the whole path, in random rounds.
//!
//! `make chaos` runs it, with `CHAOS=` for its options. Each round draws from its seed who sends and
//! what breaks (see [`harness::chaos`]), and is well only if every row is stored once and in order,
//! nothing is lost beyond what its faults excuse, the books balance, and the station's memory is
//! within its bound. It prints a line a round; `--seed N --rounds 1`, with the same `--only`, repeats
//! one. Figures go to `target/bench/chaos.json`, logs and reports of a round that fails stay in
//! `target/chaos/`.
//!
//! With `--outage 60s` it takes the database away once, for so long, at `--rate` frames a second, and
//! measures what is lost, doubled or out of order, and how soon all is as before. These figures go to
//! `target/bench/outage.json`.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use harness::chaos::{Absence, Field, Figures, Kind, Plan, Settings};
use harness::machine;
use harness::outln;
use harness::output::exit_code;
use serde_json::{Value, json};

/// Breaks what can break while satellites send, and looks whether every row is there, once.
#[derive(Debug, Parser)]
struct Options {
    /// How many rounds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// What the first round is drawn from; each further round has the next number [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Only this kind of fault; may be given several times
    #[arg(long, value_name = "KIND")]
    only: Vec<Kind>,
    /// How long before a kill a frame may have been sent and yet be lost
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    loss_window: Duration,
    /// What the receiver may have resident, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 300.0)]
    memory_max: f64,
    /// Stop at the first round that fails
    #[arg(long)]
    fail_fast: bool,
    /// Instead of rounds: take the database away for so long, once, and measure how it comes back
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    outage: Option<Duration>,
    /// Frames a second during that
    #[arg(long, default_value_t = 20_000, requires = "outage")]
    rate: u32,
    /// How many satellites then
    #[arg(long, default_value_t = 100, requires = "outage", value_parser = clap::value_parser!(u16).range(1..))]
    satellites: u16,
    /// Within what time of the database's return all must be stored and live again
    #[arg(long, value_name = "TIME", default_value = "15s", requires = "outage", value_parser = humantime::parse_duration)]
    return_max: Duration,
    /// Options of the receiver
    #[arg(last = true)]
    receiver: Vec<String>,
}

const FOLDER: &str = "target/chaos";
const FIGURES: &str = "target/bench/chaos.json";
const OUTAGE_FIGURES: &str = "target/bench/outage.json";

fn main() -> ExitCode {
    exit_code("error", run(&Options::parse()))
}

fn run(options: &Options) -> Result<bool> {
    let settings = Settings {
        loss_window: options.loss_window,
        memory_mib_max: options.memory_max,
        durable: options.outage.is_some(),
        receiver: options.receiver.clone(),
        ..Settings::default()
    };
    let field = Field::start(empty(FOLDER)?, settings)?;
    match options.outage {
        Some(length) => outage(&field, length, options),
        None => rounds(&field, options),
    }
}

/// One long absence; whether all was well, and soon enough.
fn outage(field: &Field, length: Duration, options: &Options) -> Result<bool> {
    if !field.has_journal() {
        outln!("note: this receiver keeps no journal; what its queue cannot hold is lost")?;
    }
    let (rate, satellites) = (options.rate, options.satellites);
    let outcome = field.outage(&Absence { length, rate, satellites })?;
    let figures = json!({
        "commit": machine::commit(),
        "machine": machine::description(),
        "outage": outcome,
    });
    outln!("{figures:#}")?;
    save(OUTAGE_FIGURES, &figures)?;
    let within =
        |seconds: Option<f64>| seconds.is_some_and(|s| s <= options.return_max.as_secs_f64());
    let mut wrong = outcome.wrong.clone();
    let counts = [
        (outcome.lost, "frames are lost"),
        (outcome.doubled, "rows are doubled"),
        (outcome.out_of_order, "rows are out of order within their satellite"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    wrong.extend(counts.map(|(count, what)| format!("{count} {what}")));
    if outcome.memory_mib_max > options.memory_max {
        wrong.push(format!("more than {} MiB resident", options.memory_max));
    }
    for (seconds, what) in [
        (outcome.seconds_until_backlog_stored, "all is stored"),
        (outcome.seconds_until_live, "rows are live again"),
    ] {
        if !within(seconds) {
            wrong.push(format!("it takes more than {:?} until {what}", options.return_max));
        }
    }
    for wrong in &wrong {
        outln!("FAILED: {wrong}")?;
    }
    Ok(wrong.is_empty())
}

fn rounds(field: &Field, options: &Options) -> Result<bool> {
    let possible = field.kinds();
    let kinds = if options.only.is_empty() {
        let missing = Kind::ALL.into_iter().filter(|kind| !possible.contains(kind));
        let missing: Vec<_> = missing.map(Kind::name).collect();
        if !missing.is_empty() {
            outln!("note: this receiver keeps no journal; left out: {}", missing.join(", "))?;
        }
        possible
    } else {
        if let Some(kind) = options.only.iter().find(|kind| !possible.contains(kind)) {
            bail!("{kind} needs a receiver with a journal");
        }
        options.only.clone()
    };
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    outln!("{} rounds from seed {seed} on", options.rounds)?;
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        let outcome = field.run(&Plan::draw(seed.wrapping_add(round), &kinds));
        outln!("{:>4}/{}  {}", round + 1, options.rounds, outcome.line())?;
        for wrong in &outcome.wrong {
            outln!("      {}", wrong.replace('\n', "\n      "))?;
        }
        let is_clean = outcome.is_clean();
        figures.add(outcome);
        // After each, so that a run that is ended early has its figures.
        write(&figures, seed)?;
        if options.fail_fast && !is_clean {
            break;
        }
    }
    let mut summary = figures.json();
    if let Some(summary) = summary.as_object_mut() {
        summary.remove("each");
    }
    outln!("{summary:#}")?;
    Ok(figures.are_clean())
}

fn write(figures: &Figures, seed: u64) -> Result<()> {
    save(
        FIGURES,
        &json!({
            "commit": machine::commit(),
            "machine": machine::description(),
            "seed": seed,
            "chaos": figures.json(),
        }),
    )
}

fn save(path: &str, figures: &Value) -> Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{figures:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The folder, emptied.
fn empty(folder: &str) -> Result<&Path> {
    let path = Path::new(folder);
    if path.exists() {
        fs::remove_dir_all(path)
            .with_context(|| format!("cannot empty the folder {}", path.display()))?;
    }
    fs::create_dir_all(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))?;
    Ok(path)
}
