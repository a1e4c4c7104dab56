//! Part of a file in memory, for those who read it in order.

use super::files::Octets;

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
        if self.place(offset, octets).is_none() {
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(WINDOW_OCTETS);
            self.octets.resize(left.min(WINDOW_OCTETS), 0);
            self.at = offset;
            let read = file.read_at(&mut self.octets, offset);
            self.octets.truncate(read.unwrap_or_default());
        }
        let from = self.place(offset, octets)?;
        self.octets.get(from..from + octets)
    }

    fn place(&self, offset: u64, octets: usize) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        (self.octets.len() >= from + octets).then_some(from)
    }
}

const WINDOW_OCTETS: usize = 256 * 1_024;
const _: () = assert!(WINDOW_OCTETS >= super::record::RECORD_OCTETS_MAX);
