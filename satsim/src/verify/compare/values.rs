//! Times and values of one stream, slice by slice.
//!
//! A slice is compared when as many rows of it are stored as were sent. With fewer the digest says
//! nothing about the rest: over a lossy link such a slice is left out and said to be, otherwise it
//! disagrees, as one with more rows always does.

use super::Link;
use crate::digest::{SLICE_FRAMES, Slices};

/// How much of a stream was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows in slices that were compared.
    pub rows: u64,
    /// Slices that were not, since rows of them were lost.
    pub slices_left_out: u64,
    /// Rows that are stored of those.
    pub rows_left_out: u64,
}

pub(super) fn compare(
    sent: &Slices,
    stored: &Slices,
    link: Link,
    findings: &mut Vec<String>,
) -> Compared {
    let mut compared = Compared::default();
    let (mut unequal, mut incomplete) = (Vec::new(), Vec::new());
    for (number, sent) in sent.0.iter().enumerate() {
        let stored = stored.0.get(number).copied().unwrap_or_default();
        if stored.rows == sent.rows {
            compared.rows += stored.rows;
            if stored.sum != sent.sum {
                unequal.push(counters(number));
            }
        } else if stored.rows < sent.rows && link == Link::Lossy {
            compared.slices_left_out += 1;
            compared.rows_left_out += stored.rows;
        } else {
            let counters = counters(number);
            incomplete.push(format!("{} instead of {} in {counters}", stored.rows, sent.rows));
        }
    }
    if !unequal.is_empty() {
        findings.push(format!("times or values differ in {}", first_few(&unequal)));
    }
    if !incomplete.is_empty() {
        findings.push(format!("rows: {}", first_few(&incomplete)));
    }
    compared
}

/// The sequence counters of a slice.
fn counters(number: usize) -> String {
    let first = number as u64 * u64::from(SLICE_FRAMES);
    format!("sequences {first} to {}", first + u64::from(SLICE_FRAMES) - 1)
}

fn first_few(slices: &[String]) -> String {
    let shown = &slices[..slices.len().min(SLICES_SHOWN_MAX)];
    let more = slices.len() - shown.len();
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} slices more") } else { shown }
}

const SLICES_SHOWN_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Slice;

    fn slices(slices: &[(u64, u64)]) -> Slices {
        Slices(slices.iter().map(|&(rows, sum)| Slice { rows, sum }).collect())
    }

    fn compared(stored: &[(u64, u64)], link: Link) -> (Compared, Vec<String>) {
        let sent = slices(&[(256, 1), (250, 2), (256, 3), (256, 4), (40, 5)]);
        let mut findings = Vec::new();
        (compare(&sent, &slices(stored), link, &mut findings), findings)
    }

    #[test]
    fn every_slice_counts() {
        let good = [(256, 1), (250, 2), (256, 3), (256, 4), (40, 5)];
        for link in [Link::Faultless, Link::Lossy] {
            let all = Compared { rows: 1_058, ..Compared::default() };
            assert_eq!(compared(&good, link), (all, vec![]));
            let mut wrong = good;
            wrong[1].1 = 3;
            let said = "times or values differ in sequences 256 to 511";
            assert_eq!(compared(&wrong, link), (all, vec![said.into()]));
            let (_, findings) = compared(&good.map(|(rows, sum)| (rows, sum + 1)), link);
            assert!(findings[0].ends_with("512 to 767 and 2 slices more"), "{findings:?}");
            wrong = good;
            wrong[1].0 = 251;
            let (_, findings) = compared(&wrong, link);
            assert_eq!(findings, ["rows: 251 instead of 250 in sequences 256 to 511"]);
        }
    }

    #[test]
    fn only_over_a_lossy_link_may_rows_be_missing_and_then_it_is_said() {
        let stored = [(256, 1), (249, 9), (256, 3), (256, 4)];
        let (left_out, findings) = compared(&stored, Link::Lossy);
        let expected = Compared { rows: 768, slices_left_out: 2, rows_left_out: 249 };
        assert_eq!((left_out, findings), (expected, vec![]));
        let (_, findings) = compared(&stored, Link::Faultless);
        let said = "rows: 249 instead of 250 in sequences 256 to 511, 0 instead of 40 in sequences \
                    1024 to 1279";
        assert_eq!(findings, [said]);
    }
}
