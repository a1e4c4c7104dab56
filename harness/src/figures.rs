//! What benchmark programs have in common: how they end, and where their figures go.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine;
use crate::output::exit_code;

/// Figures with the sources and the machine that they are of.
#[derive(Debug, Serialize)]
struct Kept<'a, T> {
    commit: String,
    machine: String,
    #[serde(flatten)]
    figures: &'a T,
}

/// Runs a program; an error is printed in one line.
pub fn main(run: impl FnOnce() -> Result<()>) -> ExitCode {
    exit_code("error", run().map(|()| true))
}

/// Writes figures to `target/bench/NAME.json` of the current folder, with commit and machine, and gives
/// back what it has written.
pub fn keep(name: &str, figures: &impl Serialize) -> Result<String> {
    let kept = Kept { commit: machine::commit(), machine: machine::description(), figures };
    let text = serde_json::to_string_pretty(&kept)?;
    fs::create_dir_all("target/bench")?;
    let path = format!("target/bench/{name}.json");
    fs::write(&path, format!("{text}\n")).with_context(|| format!("cannot write {path}"))?;
    Ok(text)
}

/// The value below which this share of all lies, or NaN of none. `values` need no order.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The value in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_values_in_any_order() {
        let mut values = [3.0, 1.0, 2.0, 5.0, 4.0];
        let found = [0.0, 0.5, 1.0].map(|share| quantile(&mut values, share).to_string());
        assert_eq!(found, ["1", "3", "5"]);
        assert_eq!(median(&mut [7.0]).to_string(), "7");
        assert!(median(&mut []).is_nan());
    }
}
