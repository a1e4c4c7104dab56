//! A writer's way through the journal: record after record in order, those of its shards handed
//! out, all others passed over. Damage costs the record that it is in, and is said.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::{
    record::{RECORD_HEAD_OCTETS, RecordHead, SEGMENT_HEAD_OCTETS, is_same_run},
    shared::{After, Gauges, Segment, Shared},
    window::Window,
};
use crate::chunk::{Chunk, EntryFormat};

/// Reads for one writer. Bounded: one window of a file.
pub struct Reader {
    shared: Arc<Shared>,
    writer: usize,
    /// The writer's shards, one bit each.
    own: u64,
    segment: Option<Segment>,
    offset: u64,
    window: Window,
    /// All records before this number have been passed.
    position: i64,
    /// The last record that was met, to see what is missing.
    met: Option<i64>,
    /// The next record of its own, at `offset`.
    peeked: Option<RecordHead>,
    wake: Receiver<()>,
    /// Whether damage is counted: when a writer reads, not when its backlog is only counted.
    counts_damage: bool,
    /// From this number on, [`Self::backlog`] has counted without reading.
    counted_from: i64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, writer: usize, own: u64, wake: Receiver<()>) -> Self {
        Self {
            shared,
            writer,
            own,
            segment: None,
            offset: 0,
            window: Window::default(),
            position: i64::MIN,
            met: None,
            peeked: None,
            wake,
            counts_damage: writer != NOBODY,
            counted_from: i64::MAX,
        }
    }

    /// The journal's identity.
    #[must_use]
    pub fn identity(&self) -> i64 {
        self.shared.identity
    }

    /// Something comes out of it when there may be more to read.
    #[must_use]
    pub fn wake(&self) -> &Receiver<()> {
        &self.wake
    }

    /// Whether nothing more will be appended; what was appended before can still be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Whether everything that comes is appended: the disk takes it, and there is room.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        !self.shared.is_failing() && !self.shared.is_full()
    }

    /// All records before this number have been handed out or passed over.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Goes to the first record with this number or a higher one.
    pub fn seek(&mut self, number: i64) {
        self.segment = None;
        self.peeked = None;
        self.met = None;
        self.position = number;
    }

    /// Everything that was handed out is stored.
    pub fn stored(&self) {
        self.shared.set_stored(self.writer, self.position);
    }

    /// What the detectors know of records before `number` is on disk.
    pub fn learned(&self, number: i64) {
        self.shared.set_learned(self.writer, number);
    }

    /// The number of the next record of its own; none while there is none.
    pub fn peek(&mut self) -> Option<i64> {
        self.peek_head().map(|head| head.number.get())
    }

    /// Reads the record that [`Self::peek`] found into `chunk`; when it cannot be read, how many
    /// samples are lost with it of those that were counted before.
    pub fn take(&mut self, chunk: &mut Chunk) -> Result<(), u64> {
        let Some(head) = self.peek_head() else {
            chunk.fill(self.position, 0, &[], EntryFormat::current());
            return Ok(());
        };
        let number = head.number.get();
        self.peeked = None;
        let entries = self.view(self.offset, head.length() as usize);
        let entries = entries.and_then(|octets| octets.get(RECORD_HEAD_OCTETS..));
        let is_whole = entries.is_some_and(|entries| head.is_of(entries));
        if is_whole {
            let samples = head.samples.get().into();
            chunk.fill(number, samples, entries.unwrap_or_default(), head.format());
        }
        self.pass(&head);
        if is_whole {
            return Ok(());
        }
        self.tell_damage("a record's checksum is wrong", self.counts_damage);
        let was_counted = number >= self.counted_from && head.shards.get() & !self.own == 0;
        Err(if was_counted { head.samples.get().into() } else { 0 })
    }

    /// Samples of its own shards, from here to where this run began, that are not stored yet: those in
    /// records whose number is at least that of their shard in `next`. Where it stands does not change.
    pub fn backlog(&mut self, next: &[i64]) -> u64 {
        let position = self.position;
        let highest = next.iter().copied().max().unwrap_or(i64::MIN);
        let counts_damage = std::mem::replace(&mut self.counts_damage, false);
        let mut samples = 0;
        let mut chunk = Chunk::new();
        let run = self.shared.run;
        while let Some(head) = self.peek_head().filter(|head| head.number.get() < run) {
            let is_all_own = head.shards.get() & !self.own == 0;
            if is_all_own && head.number.get() >= highest {
                samples += u64::from(head.samples.get());
                self.peeked = None;
                self.pass(&head);
            } else if self.take(&mut chunk).is_ok() {
                let number = head.number.get();
                let is_wanted = |shard: usize| {
                    self.own & (1 << shard) != 0 && next.get(shard).is_none_or(|&n| number >= n)
                };
                samples += chunk.samples_of(is_wanted);
            }
        }
        self.counts_damage = counts_damage;
        self.counted_from = highest;
        self.seek(position);
        samples
    }

    fn peek_head(&mut self) -> Option<RecordHead> {
        loop {
            if self.peeked.is_some() {
                return self.peeked;
            }
            let Some(segment) = &self.segment else {
                self.enter(self.shared.segment_for(self.position)?);
                continue;
            };
            if segment.is_sealed && segment.next <= self.position {
                // It may be empty by now.
                self.offset = segment.end;
            }
            if self.offset >= segment.end {
                match self.shared.after(segment.first, segment.end) {
                    After::Longer(end) => {
                        if let Some(segment) = &mut self.segment {
                            segment.end = end;
                        }
                    }
                    After::Next(segment) => self.enter(segment),
                    After::Tail => return None,
                }
                continue;
            }
            let head = self.view(self.offset, RECORD_HEAD_OCTETS).and_then(RecordHead::read);
            let Some(head) = head else {
                self.find_next();
                continue;
            };
            let number = head.number.get();
            self.tell_missing(number);
            if number < self.position || head.shards.get() & self.own == 0 {
                self.pass(&head);
            } else {
                self.peeked = Some(head);
            }
        }
    }

    fn enter(&mut self, segment: Segment) {
        self.offset = SEGMENT_HEAD_OCTETS as u64;
        self.window.clear();
        self.position = self.position.max(segment.first);
        self.segment = Some(segment);
    }

    fn pass(&mut self, head: &RecordHead) {
        self.offset += head.length();
        self.met = Some(head.number.get());
        self.position = self.position.max(head.number.get() + 1);
    }

    /// So many octets of the segment, or none if they are not there or cannot be read.
    fn view(&mut self, offset: u64, octets: usize) -> Option<&[u8]> {
        let segment = self.segment.as_ref()?;
        self.window.view(&*segment.file, offset, octets, segment.end)
    }

    /// There is no record where one should be: goes to the next that is whole, or to the end.
    fn find_next(&mut self) {
        let Some(end) = self.segment.as_ref().map(|segment| segment.end) else { return };
        let least = self.met.map_or(i64::MIN, |met| met + 1);
        self.tell_damage("a record's header is damaged", self.counts_all());
        for offset in self.offset + 1..end {
            let head = self.view(offset, RECORD_HEAD_OCTETS).and_then(RecordHead::read);
            if head.is_some_and(|head| head.number.get() >= least) {
                self.offset = offset;
                return;
            }
        }
        self.offset = end;
    }

    /// Whether it counts what no writer can call its own.
    fn counts_all(&self) -> bool {
        self.counts_damage && self.writer == 0
    }

    fn tell_damage(&mut self, what: &str, counts: bool) {
        let Some(segment) = &self.segment else { return };
        self.shared.damaged(segment.first);
        if counts {
            Gauges::add(&self.shared.gauges.damaged, 1);
            let (shown, offset) = (segment.path.display(), self.offset);
            tracing::error!("{shown}: {what}, near octet {offset}; it is passed over");
        }
    }

    fn tell_missing(&mut self, number: i64) {
        let Some(met) = self.met.filter(|&met| is_same_run(met, number)) else { return };
        let missing = number - met - 1;
        if missing > 0 && self.counts_all() {
            Gauges::add(&self.shared.gauges.missing, missing.unsigned_abs());
            tracing::error!("the journal lacks {missing} records before number {number}");
        }
        // Once for each gap.
        self.met = Some(number - 1);
    }
}

/// The writer of a reader that reads for none.
pub(super) const NOBODY: usize = usize::MAX;
