//! A walk over the records of one segment, from its first to its last, past what is damaged.

use super::{
    files::Octets,
    record::{Layout, Record},
    window::Window,
};

/// Finds whole records where they may be: where the one before ends or, after damage in format 2, at
/// the segment's marker.
pub(super) struct Walk<'a> {
    file: &'a dyn Octets,
    layout: Layout,
    first: i64,
    end: u64,
    offset: u64,
    /// Records or stretches of them that are damaged, in front of the last whole record.
    pub(super) damaged: u64,
    /// Whether something behind the last whole record cannot be read and was not looked at.
    pub(super) is_cut_short: bool,
    window: Window,
}

impl<'a> Walk<'a> {
    /// A walk over a segment whose first record has this number.
    pub(super) fn new(file: &'a dyn Octets, layout: Layout, first: i64, end: u64) -> Self {
        let offset = layout.segment_head_octets() as u64;
        let window = Window::default();
        Self { file, layout, first, end, offset, damaged: 0, is_cut_short: false, window }
    }

    /// The next whole record and where it stands.
    pub(super) fn next_whole(&mut self) -> Option<(u64, Record)> {
        let mut damaged = 0;
        while self.offset < self.end {
            let (offset, end) = (self.offset, self.end);
            let record = self.layout.record_at(&mut self.window, self.file, offset, end);
            let range = self.first..=self.layout.number_max(self.first, end);
            let record = record.filter(|record| range.contains(&record.number));
            let whole = record.filter(|record| {
                let octets = self.window.view(self.file, offset, record.octets(), end);
                let entries = octets.and_then(|octets| octets.get(record.head_octets..));
                entries.is_some_and(|entries| record.is_of(entries))
            });
            if let Some(record) = whole {
                self.damaged += damaged;
                self.offset += record.octets() as u64;
                return Some((offset, record));
            }
            damaged += 1;
            let next = self.layout.resume(&mut self.window, self.file, offset + 1, end);
            self.is_cut_short |= next.is_none() && self.layout == Layout::One;
            self.offset = next.unwrap_or(end);
        }
        None
    }
}
