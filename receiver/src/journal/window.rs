//! Part of a file in memory, for those who read it in order.

use super::{files::Octets, record::RECORD_OCTETS_MAX};

/// Bounded: so many octets of one file.
#[derive(Default)]
pub(super) struct Window {
    octets: Vec<u8>,
    at: u64,
}

impl Window {
    /// Forgets what it holds: another file follows.
    pub(super) fn clear(&mut self) {
        self.octets.clear();
    }

    /// So many octets at an offset, or none if they do not lie before `end`, or cannot be read.
    pub(super) fn view(
        &mut self,
        file: &dyn Octets,
        offset: u64,
        octets: usize,
        end: u64,
    ) -> Option<&[u8]> {
        // What was read before may have been behind the end then, and be something else now.
        if offset.checked_add(octets as u64).is_none_or(|behind| behind > end) {
            return None;
        }
        if self.place(offset, octets).is_none() {
            let left = usize::try_from(end - offset).unwrap_or(WINDOW_OCTETS);
            self.octets.resize(left.min(WINDOW_OCTETS), 0);
            self.at = offset;
            let read = file.read_at(&mut self.octets, offset);
            self.octets.truncate(read.unwrap_or_default());
        }
        let from = self.place(offset, octets)?;
        self.octets.get(from..from + octets)
    }

    /// The first offset at or after `offset` where these octets stand.
    pub(super) fn find(
        &mut self,
        file: &dyn Octets,
        wanted: &[u8],
        mut offset: u64,
        end: u64,
    ) -> Option<u64> {
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(WINDOW_OCTETS);
            let octets = self.view(file, offset, left.min(WINDOW_OCTETS), end)?;
            if let Some(at) = octets.windows(wanted.len()).position(|octets| octets == wanted) {
                return Some(offset + at as u64);
            }
            // The next ones may begin within these.
            offset += octets.len().saturating_sub(wanted.len() - 1).max(1) as u64;
        }
        None
    }

    fn place(&self, offset: u64, octets: usize) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        (self.octets.len() >= from.checked_add(octets)?).then_some(from)
    }
}

const WINDOW_OCTETS: usize = 256 * 1_024;
const _: () = assert!(WINDOW_OCTETS >= RECORD_OCTETS_MAX);
