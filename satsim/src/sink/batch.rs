//! Datagrams that one system call can send: a run of equal size, of which only the last may be
//! shorter. That is what the kernel's segmentation takes (`UDP_SEGMENT`, udp(7)); order is kept.

use crate::datagram::DATAGRAM_OCTETS_MAX;

/// Datagrams waiting to leave together.
#[derive(Debug)]
pub struct Batch {
    octets: Vec<u8>,
    segment_octets: usize,
    /// Frames in each datagram.
    frames: Vec<usize>,
}

impl Batch {
    /// An empty batch; it never allocates again.
    pub fn new() -> Self {
        Self {
            octets: Vec::with_capacity(DATAGRAM_OCTETS_MAX),
            segment_octets: 0,
            frames: Vec::with_capacity(SEGMENTS_MAX),
        }
    }

    /// Whether a datagram of this size can still join.
    pub fn accepts(&self, octets: usize) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < SEGMENTS_MAX
                && octets <= self.segment_octets
                && self.octets.len() == self.frames.len() * self.segment_octets
                && self.octets.len() + octets <= DATAGRAM_OCTETS_MAX)
    }

    /// Adds a datagram; the caller has asked [`Self::accepts`].
    pub fn push(&mut self, octets: &[u8], frames: usize) {
        debug_assert!(self.accepts(octets.len()));
        if self.frames.is_empty() {
            self.segment_octets = octets.len();
        }
        self.octets.extend_from_slice(octets);
        self.frames.push(frames);
    }

    /// All octets, one datagram after another.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The datagrams, from the one numbered `first` on, each with its number of frames.
    pub fn datagrams(&self, first: usize) -> impl Iterator<Item = (&[u8], usize)> {
        self.octets.chunks(self.segment_octets.max(1)).zip(self.frames.iter().copied()).skip(first)
    }

    /// Size of every datagram but the last.
    pub fn segment_octets(&self) -> usize {
        self.segment_octets
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames in all datagrams.
    pub fn frames(&self) -> usize {
        self.frames.iter().sum()
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.frames.clear();
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// As many segments as every kernel with `UDP_SEGMENT` takes (`UDP_MAX_SEGMENTS`; newer ones have
/// 128).
pub const SEGMENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Batch, SEGMENTS_MAX};
    use crate::datagram::DATAGRAM_OCTETS_MAX;
    use proptest::prelude::*;

    proptest! {
        /// What goes in comes out, in order, and every batch is one the kernel takes.
        #[test]
        fn batches_keep_datagrams_whole_and_in_order(
            sizes in prop::collection::vec(prop_oneof![46..69_usize, Just(68), 1_000..65_508_usize], 1..400),
        ) {
            let datagrams: Vec<Vec<u8>> = sizes
                .iter()
                .enumerate()
                .map(|(number, &size)| vec![number as u8; size])
                .collect();
            let mut batch = Batch::new();
            let mut left: Vec<(Vec<u8>, usize)> = Vec::new();
            let mut leave = |batch: &mut Batch| {
                prop_assert!(batch.len() <= SEGMENTS_MAX);
                prop_assert!(batch.octets().len() <= DATAGRAM_OCTETS_MAX);
                let count = batch.datagrams(0).count();
                prop_assert_eq!(count, batch.len());
                for (number, (octets, _)) in batch.datagrams(0).enumerate() {
                    let is_last = number + 1 == count;
                    prop_assert!(is_last || octets.len() == batch.segment_octets());
                    prop_assert!(octets.len() <= batch.segment_octets());
                }
                left.extend(batch.datagrams(0).map(|(o, frames)| (o.to_vec(), frames)));
                batch.clear();
                Ok(())
            };
            for (number, datagram) in datagrams.iter().enumerate() {
                if !batch.accepts(datagram.len()) {
                    leave(&mut batch)?;
                }
                batch.push(datagram, number);
            }
            leave(&mut batch)?;
            let expected: Vec<_> = datagrams.into_iter().zip(0..).collect();
            prop_assert_eq!(left, expected);
        }
    }

    #[test]
    fn equal_sizes_fill_it() {
        let mut batch = Batch::new();
        for _ in 0..SEGMENTS_MAX {
            assert!(batch.accepts(68));
            batch.push(&[0; 68], 1);
        }
        assert!(!batch.accepts(68));
        assert_eq!(batch.frames(), SEGMENTS_MAX);
    }
}
