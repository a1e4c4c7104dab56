//! Answers, and whether two are the same.

use anyhow::{Result, ensure};
use tokio_postgres::SimpleQueryMessage;

/// Rows as text.
pub(crate) struct Answer(Vec<Vec<Option<String>>>);

impl Answer {
    pub(crate) fn new(messages: &[SimpleQueryMessage]) -> Self {
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Self(rows.collect())
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.0.len()
    }

    /// An error that names the first difference. Numbers may differ by rounding: sums are made in
    /// another order.
    pub(crate) fn ensure_same(&self, other: &Self) -> Result<()> {
        ensure!(self.rows() == other.rows(), "{} rows and {}", self.rows(), other.rows());
        for (row, (one, two)) in self.0.iter().zip(&other.0).enumerate() {
            let same = one.len() == two.len()
                && one.iter().zip(two).all(|(a, b)| is_same(a.as_ref(), b.as_ref()));
            ensure!(same, "row {row}: {one:?} and {two:?}");
        }
        Ok(())
    }
}

fn is_same(one: Option<&String>, two: Option<&String>) -> bool {
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok());
    match (number(one), number(two)) {
        (Some(one), Some(two)) => (one - two).abs() <= TOLERANCE * one.abs().max(1.0),
        _ => one == two,
    }
}

/// Far below what a `real` tells apart in a temperature or a share of frames.
const TOLERANCE: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[&str]]) -> Answer {
        let rows = rows.iter().map(|row| row.iter().map(|&text| Some(text.to_owned())).collect());
        Answer(rows.collect())
    }

    #[test]
    fn only_rounding_is_no_difference() {
        let one = answer(&[&["SAT-01", "20.5"]]);
        assert!(one.ensure_same(&answer(&[&["SAT-01", "20.500000001"]])).is_ok());
        for other in [&[&["SAT-01", "20.6"][..]][..], &[&["SAT-02", "20.5"]], &[], &[&["SAT-01"]]] {
            assert!(one.ensure_same(&answer(other)).is_err());
        }
    }
}
