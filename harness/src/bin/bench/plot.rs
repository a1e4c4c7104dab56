//! Curves as a picture.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

/// One line of the picture.
pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    /// Frames a second, and percent of them.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws loss against the offered rate.
pub(crate) fn draw(path: &Path, curves: &[Curve<'_>]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Its errors borrow from the picture.
    draw_into(path, curves).map_err(|error| anyhow!("{error}")).context("cannot draw the curves")
}

fn draw_into(
    path: &Path,
    curves: &[Curve<'_>],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let x_max = all().map(|point| point.0).fold(1.0, f64::max) / THOUSAND * MARGIN;
    let y_max = all().map(|point| point.1).fold(1.0, f64::max) * MARGIN;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..x_max, 0.0..y_max)?;
    chart
        .configure_mesh()
        .x_desc("offered, thousand frames a second")
        .y_desc("lost, percent")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, &colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points = || curve.points.iter().map(|&(x, y)| (x / THOUSAND, y));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 14))
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

const SIZE: (u32, u32) = (800, 440);
const THOUSAND: f64 = 1e3;
/// The highest point is not on the frame.
const MARGIN: f64 = 1.05;
const COLOURS: [RGBColor; 3] = [RGBColor(0, 90, 181), RGBColor(220, 50, 32), RGBColor(60, 140, 60)];
