//! The frame's checkword: CRC-16/IBM-3740 ("CCITT-FALSE"), as CCSDS 132.0-B-3 §4.1.6 defines it:
//! polynomial x¹⁶ + x¹² + x⁵ + 1, preset to ones, nothing reflected, no final xor.
//!
//! Frames are summed by folding, without tables. Over GF(2) a sum is squared by squaring each of its
//! terms, so that with the polynomial its powers of two have four terms, too, and for n = 16, 32, 64, …
//!
//! > xⁿ ≡ x^(12n/16) + x^(5n/16) + 1
//!
//! What stands n bits or higher is added in three lower places: word by word with n = 256, and what is
//! left is halved until 16 bits remain, which are the remainder.

use crc::{CRC_16_IBM_3740, Crc};

/// Octets of the checkword at the end of every frame.
pub(crate) const CRC_OCTETS: usize = 2;

/// For what is too short to fold.
static SHORT: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
/// Put in front of the octets it does what presetting to ones does: 16 bits higher it is worth 0xFFFF.
const PRESET: u64 = 0x84CF;

/// The CRC-16 over `octets`.
#[must_use]
pub fn crc16(octets: &[u8]) -> u16 {
    match octets.first_chunk() {
        // Sixteen zero bits follow where the checkword will be.
        Some(head) => fold16(remainder(*head, octets)),
        None => SHORT.checksum(octets),
    }
}

/// Whether the last two octets are the CRC-16 over all before them; never of less than eight, which is
/// no frame.
#[inline]
pub(crate) fn has_valid_crc(frame: &[u8]) -> bool {
    frame.first_chunk().is_some_and(|head| remainder(*head, frame) == 0)
}

/// The remainder of `octets`, which begin with `head`, as one number behind [`PRESET`].
#[inline]
fn remainder(head: [u8; 8], octets: &[u8]) -> u16 {
    // Whole words end where the octets do. What is left in front of them may be nothing at all.
    let odd = octets.len() % 8;
    let front = u64::from_be_bytes(head) >> 1 >> (63 - 8 * odd);
    let (words, _) = octets[odd..].as_chunks();
    // The lowest word comes first here.
    let mut sum = [PRESET << (8 * odd) | front, PRESET >> 1 >> (63 - 8 * odd), 0, 0];
    let (words, blocks) = words.as_rchunks::<4>();
    for word in words {
        append(&mut sum, *word);
    }
    // Four at a time, so that the words of the sum need not change their places.
    for block in blocks {
        for word in block {
            append(&mut sum, *word);
        }
    }
    let [a, b, c, d] = sum.map(u128::from);
    let sum = fold128(d << 64 | c) ^ (b << 64 | a);
    let sum = fold64((sum >> 64) as u64) ^ sum as u64;
    let sum = fold32((sum >> 32) as u32) ^ sum as u32;
    fold16((sum >> 16) as u16) ^ sum as u16
}

/// Moves the sum one word up and folds what leaves its 256 bits.
#[inline]
fn append(sum: &mut [u64; 4], word: [u8; 8]) {
    let [a, b, c, high] = *sum;
    *sum = [u64::from_be_bytes(word) ^ high, a ^ high << 16, b ^ high >> 48, c ^ high];
}

macro_rules! fold {
    ($name:ident, $bits:ty) => {
        /// What this many bits are worth when they stand this many bits higher.
        #[inline]
        fn $name(high: $bits) -> $bits {
            let n = <$bits>::BITS;
            // What the shifts below move out of the top would be folded again, and so on.
            let all =
                high ^ high >> n / 4 ^ high >> n / 2 ^ high >> 3 * n / 4 ^ high >> 11 * n / 16;
            all ^ all << 12 * n / 16 ^ all << 5 * n / 16
        }
    };
}

fold!(fold128, u128);
fold!(fold64, u64);
fold!(fold32, u32);
fold!(fold16, u16);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_vectors() {
        for (octets, expected) in [
            (&b"123456789"[..], 0x29B1),
            (&[0x00, 0x00], 0x1D0F),
            (&[0x00, 0x00, 0x00], 0xCC9C),
            (&[0xAB, 0xCD, 0xEF, 0x01], 0x04A2),
            (&[0x14, 0x56, 0xF8, 0x9A, 0x00, 0x01], 0x7FD5),
        ] {
            assert_eq!(crc16(octets), expected, "{octets:02X?}");
        }
    }

    #[test]
    fn the_preset_is_ones() {
        assert_eq!(fold16(PRESET as u16), 0xFFFF);
    }

    proptest! {
        #[test]
        fn folding_agrees_with_tables(octets in prop::collection::vec(any::<u8>(), 200)) {
            for length in 0..octets.len() {
                let mut frame = octets[..length].to_vec();
                let expected = SHORT.checksum(&frame);
                prop_assert_eq!(crc16(&frame), expected);
                frame.extend(expected.to_be_bytes());
                prop_assert_eq!(has_valid_crc(&frame), frame.len() >= 8);
                // One changed bit is always found.
                frame[length / 2] ^= 1;
                prop_assert!(!has_valid_crc(&frame));
            }
        }
    }
}
