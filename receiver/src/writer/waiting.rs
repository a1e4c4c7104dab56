//! Samples that wait for the detectors, so that each satellite's are looked at together: what is
//! known of one takes tens of kilobytes, and so comes into the processor's cache once for all of them
//! instead of once for each.
//!
//! The samples of one satellite stay in their order. Bounded by [`SAMPLES_MAX`] and a chunk, as long
//! as whoever fills it looks whether it is full.

use crate::{
    chunk::{self, Entry, Record},
    spacecraft::by_spacecraft,
};

/// Samples that nobody has looked at.
#[derive(Default)]
pub(super) struct Waiting {
    /// As in a chunk.
    entries: Vec<u8>,
    /// Whose each is, and where it begins.
    order: Vec<(u16, u32)>,
}

impl Waiting {
    /// Appends a sample.
    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>) {
        self.order.push((record.spacecraft().number(), self.entries.len() as u32));
        record.append_to(&mut self.entries);
    }

    /// Whether it is time to look.
    pub(super) fn is_full(&self) -> bool {
        self.order.len() >= SAMPLES_MAX
    }

    /// Gives all to `take`, satellite by satellite, and forgets them.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&Record<'_>)) {
        for (_, start) in by_spacecraft(&self.order, |&(number, _)| number) {
            if let Some(Entry::Sample(record)) = chunk::first(&self.entries[start as usize..]) {
                take(&record);
            }
        }
        self.order.clear();
        self.entries.clear();
    }
}

/// Some 640 KiB. With 500 satellites a writer that is still 16 of each.
const SAMPLES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::Sample, sparse::Sparse};
    use protocol::{SpacecraftId, attitude};

    #[test]
    fn satellite_by_satellite_and_each_in_the_order_in_which_it_came() {
        let mut waiting = Waiting::default();
        for round in 0..2 {
            for (received_us, number) in [(1, 3), (2, 1), (3, 3), (4, 65_535), (5, 1), (6, 3)] {
                let spacecraft = SpacecraftId::new(number).unwrap();
                let sparse = Sparse::new(&attitude::KIND, spacecraft, 100 - received_us);
                waiting.push(&Record { received_us, sample: Sample::Sparse(Box::new(sparse)) });
            }
            let mut taken = Vec::new();
            waiting.drain(|record| {
                taken.push((record.spacecraft().number(), record.received_us));
                assert_eq!(record.generated_us(), 100 - record.received_us);
            });
            assert_eq!(taken, [(1, 2), (1, 5), (3, 1), (3, 3), (3, 6), (65_535, 4)], "{round}");
        }
    }
}
