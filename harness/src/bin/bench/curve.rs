//! Loss against the offered rate, as a table and as a picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use harness::figures;
use harness::outln;
use serde::Serialize;

use crate::Common;
use crate::plot::{self, Curve};
use crate::trial::{Load, Outcome, Server, Tables};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Frames a second, all satellites together
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "50000,100000,200000,300000,400000,500000,600000,700000,800000"
    )]
    rates: Vec<u32>,
    /// For how long each
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many satellites
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    satellites: u32,
    /// Draw the curves into this SVG file
    #[arg(long, value_name = "FILE", default_value = "target/bench/loss.svg")]
    picture: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Figures<'a> {
    seconds: u32,
    satellites: u32,
    tables: Tables,
    receiver_options: &'a [String],
    curves: Vec<Series>,
}

#[derive(Serialize)]
struct Series {
    name: &'static str,
    options: &'static [&'static str],
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    frames_per_second: u32,
    lost_percent: f64,
    outcome: Outcome,
}

/// What is compared.
const SERIES: [(&str, &[&str]); 3] = [
    ("as shipped", &[]),
    ("without GRO", &["--gro", "false"]),
    ("without a journal", &["--journal", "off"]),
];

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    let tables = options.common.tables(server);
    let mut curves: Vec<_> =
        SERIES.map(|(name, options)| Series { name, options, points: Vec::new() }).into();
    for &rate in &options.rates {
        for series in &mut curves {
            let mut receiver = options.common.receiver.clone();
            receiver.extend(series.options.iter().map(|&option| option.to_owned()));
            let load = Load {
                rate,
                seconds: options.seconds,
                satellites: options.satellites,
                tables,
                receiver,
            };
            let outcome = load.fly(server)?;
            outln!("{:<18} {}", series.name, outcome.line())?;
            let lost_percent = outcome.frames_lost as f64 / outcome.frames_sent as f64 * 100.0;
            series.points.push(Point { frames_per_second: rate, lost_percent, outcome });
        }
    }
    let drawn: Vec<_> = curves.iter().map(Series::drawn).collect();
    let figures = Figures {
        seconds: options.seconds,
        satellites: options.satellites,
        tables,
        receiver_options: &options.common.receiver,
        curves,
    };
    figures::keep("loss", &figures)?;
    plot::draw(&options.picture, &drawn)?;
    outln!("The curves are in {}", options.picture.display())?;
    Ok(())
}

impl Series {
    /// What was lost at what was offered, in the order of that: satsim may have come to less with a
    /// higher rate.
    fn drawn(&self) -> Curve<'static> {
        let point = |point: &Point| (point.outcome.frames_per_second_offered, point.lost_percent);
        let mut points: Vec<_> = self.points.iter().map(point).collect();
        points.sort_by(|one, next| one.0.total_cmp(&next.0));
        Curve { name: self.name, points }
    }
}
