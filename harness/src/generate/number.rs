//! How scales and limits are written down.

use protocol::channel::{Channel, Field, engineering};

/// Whether some raw values of the field are outside its range.
pub(super) fn is_narrower(field: &Field, channel: &Channel) -> bool {
    let (first, last) = field.raw.limits();
    let (low, high) = channel.range;
    engineering(first as f64, channel.scale) < low || engineering(last as f64, channel.scale) > high
}

/// A number that reads back to the same 64-bit float, without an exponent.
pub(super) fn exact(value: f64) -> String {
    format!("{value}")
}

/// Decimals that show a step of `scale`: 0.01 needs two, 2^-10 four.
pub(super) fn decimals(scale: f64) -> usize {
    // A power of ten is often not quite one in binary; without the margin it would take one more.
    const MARGIN: f64 = 1e-9;
    (-scale.log10() - MARGIN).ceil().max(0.0) as usize
}

/// `value` to the decimals that a step of `scale` shows, without trailing zeros.
pub(super) fn rounded(value: f64, scale: f64) -> String {
    let text = format!("{value:.*}", decimals(scale));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact() {
        assert_eq!(exact(1e-7), "0.0000001");
        assert_eq!(exact(0.000_976_562_5), "0.0009765625");
        assert_eq!(exact(1.0), "1");
        for (scale, expected) in [(1.0, 0), (0.5, 1), (0.01, 2), (1e-7, 7), (1.0 / 1024.0, 4)] {
            assert_eq!(decimals(scale), expected, "{scale}");
        }
        assert_eq!(rounded(-327.68, 0.01), "-327.68");
        assert_eq!(rounded(100.0, 0.5), "100");
        assert_eq!(rounded(100.0, 1.0), "100");
    }
}
