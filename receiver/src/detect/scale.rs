//! How large the steps from sample to sample usually are: the median of the last [`WINDOW`].
//!
//! In constant time and 200 octets: steps are counted in buckets, four to each power of two, which
//! are read off the number's bits. So the median is right to a tenth, which is all that a threshold
//! of many times the median needs.

use serde::{Deserialize, Serialize};

/// A sliding median of positive numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub(super) struct Scale {
    ring: [u8; WINDOW],
    counts: [u8; BUCKETS],
    next: u8,
    filled: u8,
    /// The bucket that holds the median, and how many steps are in those below it.
    place: u8,
    below: u8,
}

impl Scale {
    pub(super) const fn new() -> Self {
        Self { ring: [0; WINDOW], counts: [0; BUCKETS], next: 0, filled: 0, place: 0, below: 0 }
    }

    /// Reads something of each line of the cache that it lies in.
    #[inline]
    pub(super) fn touch(&self) -> u32 {
        let counts = self.counts[0] ^ self.counts[BUCKETS / 2] ^ self.counts[BUCKETS - 1];
        u32::from(self.ring[0] ^ self.ring[WINDOW - 1] ^ counts)
    }

    /// Takes one step's size. No bucket is beyond [`BUCKETS`]: the remainders only say so to the compiler.
    #[inline]
    pub(super) fn push(&mut self, step: f32) {
        let bucket = bucket(step);
        let oldest = std::mem::replace(&mut self.ring[usize::from(self.next)], bucket);
        if usize::from(self.filled) == WINDOW {
            self.counts[usize::from(oldest) % BUCKETS] -= 1;
            self.below -= u8::from(oldest < self.place);
        } else {
            self.filled += 1;
        }
        self.counts[usize::from(bucket) % BUCKETS] += 1;
        self.below += u8::from(bucket < self.place);
        self.next = if usize::from(self.next) + 1 == WINDOW { 0 } else { self.next + 1 };
        self.find();
    }

    /// The median; none before the window is full.
    #[inline]
    pub(super) fn median(&self) -> Option<f32> {
        (usize::from(self.filled) == WINDOW).then(|| middle(usize::from(self.place)))
    }

    /// Moves on to the bucket that holds the median: seldom far from where it was.
    #[inline]
    fn find(&mut self) {
        let half = self.filled.div_ceil(2);
        let mut place = self.place;
        let mut below = self.below;
        while below >= half {
            place -= 1;
            below -= self.counts[usize::from(place) % BUCKETS];
        }
        loop {
            let here = self.counts[usize::from(place) % BUCKETS];
            if below + here >= half {
                break;
            }
            below += here;
            place += 1;
        }
        (self.place, self.below) = (place, below);
    }
}

/// What is kept of it between runs: all else follows from the ring.
#[derive(Serialize, Deserialize)]
struct Saved {
    ring: Vec<u8>,
    next: u8,
    filled: u8,
}

impl From<Scale> for Saved {
    fn from(scale: Scale) -> Self {
        let Scale { ring, next, filled, .. } = scale;
        Self { ring: ring.into(), next, filled }
    }
}

impl TryFrom<Saved> for Scale {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let Saved { ring, next, filled } = saved;
        let ring: [u8; WINDOW] = ring.try_into().map_err(|_| "a window of another length")?;
        let (at, end) = (usize::from(next), usize::from(filled));
        if at >= WINDOW || end > WINDOW || (end < WINDOW && at != end) {
            return Err("a window that is filled otherwise");
        }
        let mut scale = Self { ring, next, filled, ..Self::new() };
        for &bucket in &ring[..end] {
            let count = scale.counts.get_mut(usize::from(bucket));
            *count.ok_or("a step in no bucket")? += 1;
        }
        if filled > 0 {
            scale.find();
        }
        Ok(scale)
    }
}

/// Buckets are quarters of an octave from [`FINEST`] on; the first is for all below, 0 included.
#[inline]
fn bucket(step: f32) -> u8 {
    let quarters = (step.to_bits() >> 21).cast_signed() - FIRST_QUARTER;
    quarters.clamp(0, BUCKETS as i32 - 1) as u8
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f32 {
    if bucket == 0 {
        return 0.0;
    }
    // Half a quarter above the lower end.
    f32::from_bits(((bucket as u32 + FIRST_QUARTER.cast_unsigned()) << 21) | 1 << 20)
}

/// Steps that are remembered: a minute's at one sample a second, and odd.
pub(super) const WINDOW: usize = 61;
/// 32 octaves.
const BUCKETS: usize = 128;
/// Steps are finer than this for no channel: 2^-16.
const FINEST: f32 = 1.0 / 65_536.0;
const FIRST_QUARTER: i32 = (FINEST.to_bits() >> 21).cast_signed() - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_sorting_has_it(steps in prop::collection::vec(1e-4_f32..1e4, WINDOW..300)) {
            let mut scale = Scale::new();
            for &step in &steps {
                scale.push(step);
            }
            let mut last = steps[steps.len() - WINDOW..].to_vec();
            last.sort_by(f32::total_cmp);
            let ratio = scale.median().unwrap() / last[WINDOW / 2];
            prop_assert!((0.88..1.13).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn nothing_moves() {
        let mut scale = Scale::new();
        for place in 0..WINDOW {
            assert_eq!(scale.median().is_some(), place == WINDOW, "{place}");
            scale.push(0.0);
        }
        assert_eq!(scale.median(), Some(0.0));
        scale.push(f32::INFINITY);
        assert_eq!(scale.median(), Some(0.0));
    }
}
