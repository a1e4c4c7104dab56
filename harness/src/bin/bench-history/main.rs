//! Measures questions about a month of a constellation, on three databases that hold the same rows.
//!
//! `make bench-history` runs it. A constellation on real orbits is flown through the station's own
//! tracking, batches and COPY into
//!
//! * `plain`: PostgreSQL's own tables with the same indexes,
//! * `hypertable`: hypertables with these indexes and nothing else,
//! * `shipped`: what `receiver migrate` makes, its older chunks in the columnstore and its
//!   aggregates refreshed, as the policies do,
//!
//! and then every question is asked of each: cold (the server restarted, and the kernel's cache
//! dropped where this process may) and warm, in turns, and the answers are compared. Figures and
//! machine go to `target/bench/history.json`. Options: see `--help`.
//!
//! It fails when a row is missing, when answers differ, or when a figure misses what `--at-least`
//! and `--raw-at-most` ask for.

#![forbid(unsafe_code)]

mod answer;
mod load;
mod month;
mod questions;
mod sizes;
mod target;
mod timing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use harness::outln;
use harness::{Cluster, ClusterOptions, figures};
use serde::Serialize;

use load::{Loaded, load};
use month::Month;
use questions::{Reach, questions};
use sizes::{Sizes, sizes};
use target::{TARGETS, Target};
use timing::{Measured, Session};

/// Measures questions about a month of history, on three kinds of tables.
#[derive(Clone, Debug, Parser, Serialize)]
struct Options {
    /// How many satellites
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    satellites: u16,
    /// Whole days before today; today's whole hours are added
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// Seconds from one frame of a satellite to its next; one in ten is attitude
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    frame_seconds: u32,
    /// Seconds that a row of `link_health` is about; a station writes one a second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    link_seconds: u32,
    /// How often each question is asked cold
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    cold: u32,
    /// How often each is asked warm at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    warm: u32,
    /// Stop asking one warm after so many seconds, but not before as often as cold
    #[arg(long, default_value_t = 20)]
    warm_seconds: u64,
    /// The server's `shared_buffers`
    #[arg(long, default_value = "1GB")]
    shared_buffers: String,
    /// Leave the kernel's cache of files as it is before cold questions
    #[arg(long)]
    keep_kernel_cache: bool,
    /// Fail unless month-long questions are so many times faster than on the plain tables, warm
    #[arg(long)]
    at_least: Option<f64>,
    /// Fail unless the shipped raw data takes at most this part of the plain tables' disk
    #[arg(long)]
    raw_at_most: Option<f64>,
    /// Ask only the questions that have these words
    #[arg(long, default_value = "")]
    questions: String,
    /// Folder to keep the databases in; where they are loaded already, they are only asked
    #[arg(long)]
    #[serde(skip)]
    directory: Option<PathBuf>,
}

/// What is written to `target/bench/history.json`.
#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    knobs: Options,
    /// Whether the kernel's cache was dropped before each cold question.
    kernel_cache_dropped: bool,
    rows: BTreeMap<String, u64>,
    /// Nothing when the databases had been loaded by an earlier run.
    load: Option<Loaded>,
    sizes: BTreeMap<&'static str, Sizes>,
    /// Raw data of the shipped tables over that of the plain ones.
    raw_ratio: f64,
    questions: Vec<Asked>,
}

#[derive(Debug, Serialize)]
struct Asked {
    question: &'static str,
    about: Reach,
    answer_rows: usize,
    cold: Times,
    warm: Times,
}

/// By target, and the plain table's median over that of the others.
#[derive(Debug, Serialize)]
struct Times {
    plain: Measured,
    hypertable: Measured,
    shipped: Measured,
    hypertable_times_faster: f64,
    shipped_times_faster: f64,
}

fn main() -> ExitCode {
    figures::main(|| run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let cluster = Cluster::start_with(&ClusterOptions {
        directory: options.directory.clone(),
        settings: settings(options),
        ..Default::default()
    })?;
    ensure!(cluster.has_timescaledb(), "TimescaleDB is not installed: nothing to compare with");
    let is_loaded = target::exist(&cluster)?;
    let loaded = if is_loaded {
        None
    } else {
        let month = Month::plan(options)?;
        Some(load(&cluster, month)?)
    };
    let questions: Vec<_> = questions(&cluster)?
        .into_iter()
        .filter(|question| question.name.contains(&options.questions))
        .collect();
    ensure!(!questions.is_empty(), "no question has the words {:?}", options.questions);
    let rows = target::rows(&cluster)?;
    let mut sizes_by_target = BTreeMap::new();
    for target in TARGETS {
        sizes_by_target.insert(target.name(), sizes(&cluster, target)?);
    }
    let raw = |target: Target| sizes_by_target[target.name()].raw as f64;
    let raw_ratio = raw(Target::Shipped) / raw(Target::Plain);

    let session = Session::new(&cluster, options)?;
    let mut asked = Vec::new();
    for question in &questions {
        let answer_rows = session.compare(question)?;
        let cold = times(session.cold(question, options.cold)?);
        let warm = times(session.warm(question, options.cold)?);
        outln!(
            "{:<52} cold {:>9.1} ms {:>9.1} ms {:>9.1} ms ({:>6.1}x)  warm {:>9.2} ms {:>9.2} ms \
             {:>9.2} ms ({:>6.1}x)",
            question.name,
            cold.plain.p50_ms,
            cold.hypertable.p50_ms,
            cold.shipped.p50_ms,
            cold.shipped_times_faster,
            warm.plain.p50_ms,
            warm.hypertable.p50_ms,
            warm.shipped.p50_ms,
            warm.shipped_times_faster,
        )?;
        asked.push(Asked {
            question: question.name,
            about: question.reach,
            answer_rows,
            cold,
            warm,
        });
    }
    let figures = Figures {
        server: target::versions(&cluster)?,
        knobs: options.clone(),
        kernel_cache_dropped: session.drops_kernel_cache(),
        rows,
        load: loaded,
        sizes: sizes_by_target,
        raw_ratio,
        questions: asked,
    };
    let text = figures::keep("history", &figures)?;
    outln!("{text}")?;
    judge(&figures, options)
}

/// What would make the figures a failure.
fn judge(figures: &Figures, options: &Options) -> Result<()> {
    let (ratio, most) = (figures.raw_ratio, options.raw_at_most.unwrap_or(f64::INFINITY));
    ensure!(ratio <= most, "the shipped raw data takes {ratio:.3} of the plain tables' disk");
    let least = options.at_least.unwrap_or(0.0);
    for asked in figures.questions.iter().filter(|asked| asked.about == Reach::Month) {
        let faster = asked.warm.shipped_times_faster;
        ensure!(faster >= least, "{}: only {faster:.1} times faster", asked.question);
    }
    Ok(())
}

fn times([plain, hypertable, shipped]: [Measured; 3]) -> Times {
    Times {
        hypertable_times_faster: plain.p50_ms / hypertable.p50_ms,
        shipped_times_faster: plain.p50_ms / shipped.p50_ms,
        plain,
        hypertable,
        shipped,
    }
}

/// A server for a database of this size, the same for all three; the rest is as PostgreSQL comes.
fn settings(options: &Options) -> Vec<(String, String)> {
    [
        ("shared_buffers", options.shared_buffers.as_str()),
        ("work_mem", "64MB"),
        ("maintenance_work_mem", "256MB"),
        ("max_wal_size", "8GB"),
        ("random_page_cost", "1.1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
