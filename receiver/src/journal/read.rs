//! A writer's way through the journal: record after record in order, those of its shards handed
//! out, all others passed over. Damage costs the record that it is in, and is said.

use std::{collections::BTreeMap, sync::Arc};

use crossbeam_channel::Receiver;

use super::{
    record::{Layout, Record, is_same_run},
    shared::{After, Gauges, RunRange, Segment, Shared},
    window::Window,
};
use crate::{
    chunk::{Chunk, EntryFormat},
    queue::SHARDS,
};

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
    peeked: Option<Record>,
    wake: Receiver<()>,
    /// Whether damage is counted: when a writer reads, not when its backlog is only counted.
    counts_damage: bool,
    /// By earlier run: from this number on, [`Self::backlog`] has counted what headers say.
    counted_from: BTreeMap<i64, i64>,
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
            counted_from: BTreeMap::new(),
        }
    }

    /// The journal's identity.
    #[must_use]
    pub fn identity(&self) -> i64 {
        self.shared.identity
    }

    /// The earlier runs that have left something here.
    #[must_use]
    pub fn earlier_runs(&self) -> Vec<RunRange> {
        let mut runs = self.shared.runs();
        runs.retain(|range| range.run != self.shared.run_identity);
        runs
    }

    /// The number of the first record of this run.
    #[must_use]
    pub fn first_of_run(&self) -> i64 {
        self.shared.run
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
        self.peek_head().map(|head| head.number)
    }

    /// Reads the record that [`Self::peek`] found into `chunk`; when it cannot be read, how many
    /// samples are lost with it of those that were counted before.
    pub fn take(&mut self, chunk: &mut Chunk) -> Result<(), u64> {
        let Some(head) = self.peek_head() else {
            chunk.fill(self.position, 0, &[], EntryFormat::current());
            return Ok(());
        };
        self.peeked = None;
        let (run, is_counted) = (self.run(), self.is_counted(&head));
        let entries = self.view(self.offset, head.octets());
        let entries = entries.and_then(|octets| octets.get(head.head_octets..));
        let is_readable = head.format.is_readable();
        let is_whole = is_readable && entries.is_some_and(|entries| head.is_of(entries));
        if is_whole {
            chunk.fill(head.number, head.samples, entries.unwrap_or_default(), head.format);
            chunk.set_run(run);
            self.pass(&head);
            return Ok(());
        }
        let what = if is_readable {
            "a record's checksum is wrong"
        } else {
            "a record's entries are of a later version; the file is kept"
        };
        self.report_damage(what, self.counts_damage);
        self.resync();
        // No other record is at a place where this one has been.
        self.position = self.position.max(head.number + 1);
        self.met = Some(head.number);
        Err(if is_counted { head.samples } else { 0 })
    }

    /// Samples of its own shards, from here to where this run began, that are not stored yet: those in
    /// records whose number is at least that of their shard in what `position_of` says of the run that
    /// wrote them. Where it stands does not change.
    pub fn backlog(&mut self, position_of: impl Fn(i64) -> [i64; SHARDS]) -> u64 {
        let position = self.position;
        let counts_damage = std::mem::replace(&mut self.counts_damage, false);
        let mut samples = 0;
        let mut chunk = Chunk::new();
        let mut of_run: Option<(i64, [i64; SHARDS])> = None;
        while let Some(head) = self.peek_head().filter(|head| head.number < self.shared.run) {
            let run = self.run();
            let next = match of_run {
                Some((of, next)) if of == run => next,
                _ => position_of(run),
            };
            of_run = Some((run, next));
            let highest = next.iter().copied().max().unwrap_or(i64::MIN);
            self.counted_from.insert(run, highest);
            // Nothing behind damage is read in format 1, so that it has to be looked for here too.
            if self.is_counted(&head) {
                samples += head.samples;
                self.peeked = None;
                self.pass(&head);
            } else if self.take(&mut chunk).is_ok() {
                let is_wanted =
                    |shard: usize| self.own & (1 << shard) != 0 && head.number >= next[shard];
                samples += chunk.samples_of(is_wanted);
            }
        }
        self.counts_damage = counts_damage;
        self.seek(position);
        samples
    }

    /// Whether all samples of a record are counted by what its header says.
    fn is_counted(&self, head: &Record) -> bool {
        let from = self.counted_from.get(&self.run()).copied().unwrap_or(i64::MIN);
        let is_format_1 =
            self.segment.as_ref().is_some_and(|segment| segment.layout == Layout::One);
        !is_format_1 && head.shards & !self.own == 0 && head.number >= from
    }

    /// The run that wrote the segment at hand.
    fn run(&self) -> i64 {
        self.segment.as_ref().map_or(self.shared.run_identity, |segment| segment.run)
    }

    fn peek_head(&mut self) -> Option<Record> {
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
            let Some(head) = self.record_here() else {
                self.report_damage("a record's header is damaged", self.counts_all());
                self.resync();
                continue;
            };
            let number = head.number;
            self.tell_missing(number);
            if number < self.position || head.shards & self.own == 0 {
                self.pass(&head);
            } else {
                self.peeked = Some(head);
            }
        }
    }

    fn enter(&mut self, segment: Segment) {
        self.offset = segment.layout.segment_head_octets() as u64;
        self.window.clear();
        self.position = self.position.max(segment.first);
        self.segment = Some(segment);
    }

    fn pass(&mut self, head: &Record) {
        self.offset += head.octets() as u64;
        self.met = Some(head.number);
        self.position = self.position.max(head.number + 1);
    }

    /// So many octets of the segment, or none if they are not there or cannot be read.
    fn view(&mut self, offset: u64, octets: usize) -> Option<&[u8]> {
        let segment = self.segment.as_ref()?;
        self.window.view(&*segment.file, offset, octets, segment.end)
    }

    /// The record at the offset, if it is one of this segment.
    fn record_here(&mut self) -> Option<Record> {
        let segment = self.segment.as_ref()?;
        let (file, end) = (&*segment.file, segment.end);
        let record = segment.layout.record_at(&mut self.window, file, self.offset, end)?;
        let range = segment.first..=segment.layout.number_max(segment.first, end);
        range.contains(&record.number).then_some(record)
    }

    /// Goes on behind damage: to the next record where one may be, or to the segment's end.
    fn resync(&mut self) {
        let Some(segment) = self.segment.as_ref() else { return };
        let (file, end) = (&*segment.file, segment.end);
        let next = segment.layout.resume(&mut self.window, file, self.offset + 1, end);
        self.offset = next.unwrap_or(end);
    }

    /// Whether it counts what no writer can call its own.
    fn counts_all(&self) -> bool {
        self.counts_damage && self.writer == 0
    }

    fn report_damage(&mut self, what: &str, counts: bool) {
        let Some(segment) = &self.segment else { return };
        self.shared.damaged(segment.first);
        if counts {
            Gauges::add(&self.shared.gauges.damaged, 1);
            let (shown, offset) = (segment.path.display(), self.offset);
            let skipped = match segment.layout {
                Layout::One => {
                    "what follows in this file of an earlier version is not read, and kept"
                }
                Layout::Two(_) => "the record is skipped",
            };
            tracing::error!("{shown}: {what}, near octet {offset}; {skipped}");
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
