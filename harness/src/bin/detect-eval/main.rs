//! `detect-eval`: runs the station's detectors, as shipped, over labelled recordings and says how
//! well they did. For tuning limits on one's own telemetry: `detect-eval FOLDER`.
//!
//! Each CSV file is a series, with the columns `timestamp` (seconds since 1970, or RFC 3339), `value`
//! (empty or NaN where there is none) and `is_anomaly` (0 or 1). A `manifest.csv` may say more:
//! `group`, `series` (a file's name without ending), `kind` (temperature, voltage, current, power,
//! other), `rows` and `warmup_rows`. Without it a folder is a group, the kind is other and the warm-up
//! 200 rows. With `--channel` every series is held to that channel's rules, as shipped or as a
//! configuration has them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use harness::outln;
use harness::output::{error_line, exit_code};
use protocol::SpacecraftId;
use receiver::config;
use receiver::detect::{Event, Rules, Series, Settings};
use serde_json::json;

mod recording;
mod score;

use recording::Recording;
use score::{Judgement, Score};

/// Runs the station's detectors over labelled recordings.
#[derive(Parser)]
struct Cli {
    /// Folder of CSV files with the columns `timestamp,value,is_anomaly`, and perhaps a manifest.csv
    folder: PathBuf,

    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Period of the orbit, such as 95m: with it what is usual along the orbit is learned
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    orbit: Option<std::time::Duration>,

    /// Hold every series to the rules of this channel, such as `battery_temp`, instead of its kind's
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    /// Take the channel's rules from the table `detect` of this TOML file
    #[arg(long, value_name = "FILE", requires = "channel")]
    config: Option<PathBuf>,

    /// Print every event, and what was missed
    #[arg(long)]
    events: bool,
}

fn main() -> ExitCode {
    exit_code("error", run(&Cli::parse()).map(|()| true))
}

fn run(cli: &Cli) -> Result<()> {
    let (rules, settings) = chosen(cli)?;
    let orbit_us = cli.orbit.map(|orbit| orbit.as_micros() as i64).or(settings.orbit_us);
    let mut groups: BTreeMap<String, Score> = BTreeMap::new();
    let mut warn = |warning: String| error_line(&format!("warning: {warning}"));
    for recording in recording::all(&cli.folder, &mut warn)? {
        let score = evaluate(&recording, rules.as_ref(), orbit_us, cli.events)?;
        groups.entry(recording.group).or_default().add(score);
    }
    outln!(
        "{:<14} {:>6} {:>8} {:>8} {:>6} {:>6} {:>9} {:>6} {:>6} {:>12} {:>6} {:>9}",
        "group",
        "series",
        "rows",
        "labelled",
        "events",
        "found",
        "precision",
        "recall",
        "F1",
        "false/10,000",
        "delay",
        "ns/value"
    )?;
    for (group, score) in &groups {
        outln!(
            "{group:<14} {:>6} {:>8} {:>8} {:>6} {:>6} {:>9} {:>6} {:>6} {:>12} {:>6} {:>9}",
            score.series,
            score.rows,
            score.labelled,
            score.events,
            score.found,
            decimal(score.precision(), 3),
            decimal(score.recall(), 3),
            decimal(score.f1(), 3),
            decimal(score.false_per_10k(), 2),
            score.median_delay().map_or_else(|| "-".into(), |rows| rows.to_string()),
            decimal(score.ns_per_value(), 1),
        )?;
    }
    if let Some(path) = &cli.json {
        let text = serde_json::to_string_pretty(&json(&groups))?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The rules of the channel that was asked for, and the settings around them.
fn chosen(cli: &Cli) -> Result<(Option<Rules>, Settings)> {
    let settings = match &cli.config {
        Some(path) => config::read_detect(path).map_err(anyhow::Error::msg)?,
        None => Settings::default(),
    };
    let Some(name) = &cli.channel else { return Ok((None, settings)) };
    let (kind, place, _) = config::detect::channel(name).with_context(|| {
        format!("no channel {name}; expected one of {}", config::detect::channels_known())
    })?;
    let rules = settings.rules.of(SpacecraftId::FIRST)[kind][place].clone();
    Ok((Some(rules), settings))
}

fn evaluate(
    recording: &Recording,
    rules: Option<&Rules>,
    orbit_us: Option<i64>,
    tells: bool,
) -> Result<Score> {
    // What the recording calls its warm-up takes the place of the orbits that a station waits for.
    let rules = Rules {
        warm_up_samples: recording.warmup_rows.try_into().unwrap_or(u32::MAX),
        warm_up_orbits: 0,
        ..rules.cloned().unwrap_or_else(|| Rules::of(recording.kind))
    };
    let samples: Vec<_> = recording.rows.iter().filter_map(|row| row.sample()).collect();
    let mut series = Series::new(rules, orbit_us);
    let start = Instant::now();
    for sample in samples {
        series.take(sample);
    }
    let spent_ns = start.elapsed().as_nanos();
    let events = series.events();
    let (score, judgement) = score::score(recording, &events);
    if tells {
        tell(recording, &events, &judgement)?;
    }
    Ok(Score { spent_ns, ..score })
}

fn tell(recording: &Recording, events: &[Event], judgement: &Judgement) -> Result<()> {
    let name = format!("{}/{}", recording.group, recording.name);
    for (event, judged) in events.iter().zip(&judgement.events) {
        let verdict = if judged.is_right { "right" } else { "false" };
        outln!(
            "{name} row {:>5} {verdict} {:<8} {} samples, observed {} expected {} threshold {:.4}",
            judged.row,
            event.detector.to_string(),
            event.samples,
            event.observed,
            event.expected,
            event.threshold,
        )?;
    }
    for stretch in judgement.stretches.iter().filter(|stretch| stretch.delay.is_none()) {
        let in_warm_up =
            if stretch.first < recording.warmup_rows { ", in the warm-up" } else { "" };
        let rows = stretch.last - stretch.first + 1;
        outln!("{name} row {:>5} missed, {rows} rows{in_warm_up}", stretch.first)?;
    }
    Ok(())
}

fn json(groups: &BTreeMap<String, Score>) -> serde_json::Value {
    let group = |(name, score): (&String, &Score)| {
        json!({
            "group": name,
            "series": score.series,
            "rows": score.rows,
            "nominal_rows": score.nominal_rows,
            "labelled": score.labelled,
            "events": score.events,
            "found": score.found,
            "false_alarms": score.false_alarms,
            "precision": score.precision(),
            "recall": score.recall(),
            "f1": score.f1(),
            "false_alarms_per_10k_nominal_rows": score.false_per_10k(),
            "median_delay_rows": score.median_delay(),
            "ns_per_value": score.ns_per_value(),
        })
    };
    json!({ "groups": groups.iter().map(group).collect::<Vec<_>>() })
}

fn decimal(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.places$}"))
}
