//! The highest rate at which nothing is lost, and what COPY of the same rows comes to.

use anyhow::{Result, ensure};
use clap::Args;
use harness::figures::{self, median};
use harness::outln;
use serde::Serialize;

use crate::Common;
use crate::ceiling::{Rows, Way};
use crate::trial::{Load, Outcome, Server, Tables};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long the rate is held
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// For how long each rate is tried in the search
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    search_seconds: u32,
    /// How often the rate must be held, each time with the ceiling beside it; medians are told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// How many satellites
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    satellites: u32,
    /// Rows for the ceiling
    #[arg(long, default_value_t = 3_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// No higher rate is tried
    #[arg(long, default_value_t = 800_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate_max: u32,
    /// Fail when less than this share of the ceiling was held
    #[arg(long)]
    at_least: Option<f64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures<'a> {
    seconds: u32,
    satellites: u32,
    ceiling_connections: usize,
    ceiling_rows: u64,
    receiver_options: &'a [String],
    cases: Vec<Case>,
    ten_thousand_values: TenThousand,
}

/// One kind of tables and set of options.
#[derive(Serialize)]
struct Case {
    name: String,
    tables: Tables,
    /// COPY of the same rows, a second: every measurement.
    ceiling_rows_per_second: Vec<f64>,
    /// The same straight into the columnstore, where there is one.
    ceiling_columnstore_rows_per_second: Vec<f64>,
    /// The rate that was held every time; 0 when none was.
    frames_per_second_held: u32,
    /// Its share of the higher ceiling, as measured after each of the times, and the median.
    shares_of_ceiling: Vec<f64>,
    share_of_ceiling: f64,
    /// Medians over the times that it was held.
    frames_per_second_stored: f64,
    values_per_second_stored: f64,
    held: Vec<Outcome>,
    /// Every rate that was tried on the way.
    tried: Vec<Tried>,
}

#[derive(Serialize)]
struct Tried {
    frames_per_second: u32,
    is_held: bool,
    outcome: Outcome,
}

/// What 10,000 values a second cost.
#[derive(Serialize)]
struct TenThousand {
    values_per_second: f64,
    /// Of one core, in percent.
    receiver_cpu_percent: f64,
    postgresql_cpu_percent: f64,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let connections = connections(&options.common.receiver);
    let mut cases = Vec::new();
    let shipped = options.common.receiver.clone();
    let tables = options.common.tables.map_or_else(|| server.tables(), |one| vec![one]);
    for &tables in &tables {
        cases.push(case(server, options, tables, "as shipped", &shipped, connections)?);
    }
    let mut no_detection = shipped.clone();
    no_detection.extend(["--detect".to_owned(), "false".to_owned()]);
    let best = tables[0];
    cases.push(case(server, options, best, "without detection", &no_detection, connections)?);

    let figures = Figures {
        seconds: options.seconds,
        satellites: options.satellites,
        ceiling_connections: connections,
        ceiling_rows: options.rows,
        receiver_options: &shipped,
        cases,
        ten_thousand_values: ten_thousand(server, options, best)?,
    };
    figures::keep("ingest", &figures)?;
    for case in &figures.cases {
        let (name, tables) = (&case.name, case.tables);
        ensure!(
            !case.held.is_empty(),
            "{name}, {tables:?}: not even {STEP} frames a second were held"
        );
    }
    let share = figures.cases[0].share_of_ceiling;
    let least = options.at_least.unwrap_or_default();
    ensure!(share >= least, "{share:.2} of the ceiling was held, less than {least}");
    Ok(())
}

/// As many as the receiver has writers.
fn connections(receiver: &[String]) -> usize {
    let wanted = receiver.iter().skip_while(|option| *option != "--writers").nth(1);
    let wanted = wanted.and_then(|number| number.parse().ok());
    wanted.unwrap_or_else(receiver::station::default_writers)
}

fn case(
    server: &Server,
    options: &Options,
    tables: Tables,
    name: &str,
    receiver: &[String],
    connections: usize,
) -> Result<Case> {
    outln!("{name}, {tables:?}:")?;
    let ways = match tables {
        Tables::Timescaledb => &[Way::Rows, Way::Columnstore][..],
        Tables::Plain => &[Way::Rows],
    };
    let mut ceiling = [Vec::new(), Vec::new()];
    // What COPY comes to now, the better of the ways.
    let mut copy = || {
        let mut top: f64 = 0.0;
        for (way, measured) in ways.iter().zip(&mut ceiling) {
            let rows =
                Rows::make(options.rows, CEILING_RATE, options.satellites, connections, *way)?;
            let copied = rows.copy(server, tables)?;
            measured.push(copied);
            top = top.max(copied);
        }
        outln!("  COPY of the same rows: {top:.0} a second")?;
        anyhow::Ok(top)
    };
    let top = copy()?;
    let load = |rate, seconds| Load {
        rate,
        seconds,
        satellites: options.satellites,
        tables,
        receiver: receiver.to_vec(),
    };

    // From a rate that is surely held to one that is not, by halves.
    let mut tried = Vec::new();
    let (mut held, mut missed) = (0, round(top.min(f64::from(options.rate_max))).max(STEP) + STEP);
    while missed - held > STEP {
        let rate = round(f64::from(held + missed) / 2.0).max(STEP);
        let load = load(rate, options.search_seconds);
        let outcome = load.fly(server)?;
        let is_held = outcome.may_be_held(&load, options.seconds);
        outln!("  {} {}", if is_held { "held  " } else { "missed" }, outcome.line())?;
        *(if is_held { &mut held } else { &mut missed }) = rate;
        tried.push(Tried { frames_per_second: rate, is_held, outcome });
        if missed <= STEP {
            break;
        }
    }
    // Then for long, and a step slower whenever that does not hold. The machine's own speed changes, so
    // that what COPY comes to is measured again after each time.
    let mut rate = held.max(STEP);
    let (mut long, mut shares) = (Vec::new(), Vec::new());
    while rate > 0 && long.len() < options.repeat as usize {
        let load = load(rate, options.seconds);
        let outcome = load.fly(server)?;
        let is_held = outcome.is_held(&load);
        outln!("  {} {}", if is_held { "HELD  " } else { "missed" }, outcome.line())?;
        if is_held {
            long.push(outcome);
            shares.push(f64::from(rate) / copy()?);
        } else {
            tried.push(Tried { frames_per_second: rate, is_held, outcome });
            long.clear();
            shares.clear();
            rate -= STEP;
        }
    }
    let of = |figure: fn(&Outcome) -> f64| median(&mut long.iter().map(figure).collect::<Vec<_>>());
    let share = median(&mut shares.clone());
    outln!("  {rate} frames a second held {} times: {shares:.2?} of COPY, {share:.2}", long.len())?;
    let [ceiling, columnstore] = ceiling;
    Ok(Case {
        name: name.to_owned(),
        tables,
        ceiling_rows_per_second: ceiling,
        ceiling_columnstore_rows_per_second: columnstore,
        frames_per_second_held: rate,
        share_of_ceiling: share,
        shares_of_ceiling: shares,
        frames_per_second_stored: of(|outcome| outcome.frames_per_second_stored),
        values_per_second_stored: of(|outcome| outcome.values_per_second_stored),
        held: long,
        tried,
    })
}

fn ten_thousand(server: &Server, options: &Options, tables: Tables) -> Result<TenThousand> {
    let load = Load {
        rate: TEN_THOUSAND_VALUES,
        seconds: options.seconds,
        satellites: options.satellites,
        tables,
        receiver: options.common.receiver.clone(),
    };
    let outcome = load.fly(server)?;
    ensure!(outcome.frames_lost == 0, "{} frames were lost", outcome.frames_lost);
    let percent = |s_per_million: f64| {
        s_per_million * outcome.frames_sent as f64 / 1e6 / f64::from(options.seconds) * 100.0
    };
    let figures = TenThousand {
        values_per_second: outcome.values_per_second_stored,
        receiver_cpu_percent: percent(outcome.cpu_s_per_million.receiver),
        postgresql_cpu_percent: percent(outcome.cpu_s_per_million.postgresql),
    };
    outln!(
        "10,000 values a second: {:.1} % of a core in the receiver, {:.1} % in PostgreSQL",
        figures.receiver_cpu_percent,
        figures.postgresql_cpu_percent
    )?;
    Ok(figures)
}

fn round(rate: f64) -> u32 {
    (rate / f64::from(STEP)).round() as u32 * STEP
}

/// The search ends when what is held and what is not lie that close, in frames a second.
const STEP: u32 = 10_000;
/// How far apart in time the ceiling's rows are: it does not matter much, since they are few chunks.
const CEILING_RATE: u32 = 300_000;
/// One in ten frames is `attitude` with 11 values, the others have 17: 16.4 each.
const TEN_THOUSAND_VALUES: u32 = 610;
