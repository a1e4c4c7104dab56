//! Which frames of each stream came, which are missing, which came twice.
//!
//! A stream is one spacecraft and APID. Its frames are numbered by a counter of a certain
//! [`CounterWidth`] that starts again with each boot of the spacecraft. [`Tracker::track`] says what a
//! frame is. It knows of the last [`WINDOW_COUNTS`] counts of a boot whether they came, and further back
//! the [`RANGES_MAX`] largest ranges that did not.
//!
//! Four boots of a stream are followed: the current one, the one before it, and two *candidates*, each
//! with all that it takes to tell repeats and gaps. A boot count that is none of these becomes a
//! candidate; it displaces the candidate that was heard least recently, and no true boot. A candidate
//! becomes the current boot after [`REBOOT_FRAMES`] frames with rising times.
//!
//! Pure: no clock, no I/O, no lock, and no allocation for any frame. Bounded:
//! [`BYTES_PER_STREAM_MAX`] a stream, [`Limits::streams_max`] streams, and [`ENDED_MAX`] summaries of
//! boots that are over.

mod boot;
mod counter;
mod fifo;
mod index;
mod ranges;
mod room;
mod state;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use protocol::{Apid, KINDS, SpacecraftId, Telemetry};

use boot::{Boot, Line, Taken, UNKNOWN_US};
pub use boot::{Counts, Verdict, WINDOW_COUNTS};
pub use counter::CounterWidth;
use index::Index;
pub use ranges::RANGES_MAX;
pub use room::Limits;
use room::{Room, Vacate};

/// Every stream of the station, in columns: each frame changes something in `lines`, but seldom in the
/// others. With ten thousand streams `lines` lies in 157 pages of memory, so that the processor finds
/// their places in its table (the second-level TLB), where all of the streams together need some 3,000.
pub struct Tracker {
    /// Number of each stream.
    index: Index,
    /// The current boot of each stream,
    lines: Vec<Line>,
    /// and what seldom matters.
    streams: Vec<Stream>,
    /// Numbers of streams that made room.
    free_streams: Vec<u32>,
    /// All boots of all streams. Of the current ones the line stands in `lines`.
    boots: Vec<Boot>,
    /// Boots that are of no stream.
    free_boots: Vec<u32>,
    /// Boots that are followed no more, and streams that made room.
    ended: Vec<StreamCounts>,
    room: Room,
    /// Streams that made room for the last new one.
    vacated: Vec<usize>,
}

/// One boot of one stream, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounts {
    /// The spacecraft.
    pub spacecraft: SpacecraftId,
    /// The packet kind.
    pub apid: Apid,
    /// The boot that the counts are about.
    pub boot_count: u32,
    /// Whether it followed another.
    pub is_reset: bool,
    /// The counts.
    pub counts: Counts,
}

#[derive(Clone, Copy)]
struct Stream {
    spacecraft: SpacecraftId,
    apid: Apid,
    /// Numbers of its boots but the current one, or [`NONE`].
    previous: u32,
    /// The one that was heard more recently first.
    candidates: [u32; CANDIDATES],
    is_vacant: bool,
}

/// What is tracked of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The spacecraft.
    pub spacecraft: SpacecraftId,
    /// The packet kind.
    pub apid: Apid,
    /// How wide its counter is; it stays as it is with the first frame of a stream.
    pub width: CounterWidth,
    /// How often the spacecraft had started.
    pub boot_count: u32,
    /// The full counter.
    pub count: u32,
    /// Generation time, µs since 1970.
    pub time_us: i64,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// The number of its stream. That of a stream that made room is used again.
    pub stream: usize,
    /// What it is among the frames of its boot.
    pub verdict: Verdict,
    /// Whether it made its boot the current one, after another.
    pub is_reset: bool,
    /// Whether it is the first of its stream. Others may have made room for it:
    /// [`Tracker::vacated`].
    pub is_new: bool,
    /// For a gap that the rate and the times of the frames do not explain: the most missed counts that
    /// they would.
    pub plausible: Option<f32>,
}

/// What a stream costs at most: its records, and four boots.
pub const BYTES_PER_STREAM_MAX: usize = size_of::<Stream>()
    + size_of::<Line>()
    + BOOTS * (size_of::<Boot>() + size_of::<u32>())
    + index::BYTES_PER_STREAM
    + room::BYTES_PER_STREAM
    + size_of::<u32>();
/// Boots that are remembered for the final report after they are over. Later ones keep counting in
/// the station's totals, but are not listed one by one.
pub const ENDED_MAX: usize = 65_536;
/// Frames with rising times that make a candidate the current boot.
pub const REBOOT_FRAMES: u8 = 3;

impl Tracker {
    /// A tracker for at most `satellites_max` spacecraft with all declared kinds.
    #[must_use]
    pub fn new(satellites_max: usize) -> Self {
        let streams_max = satellites_max * KINDS.len();
        Self::with_limits(Limits { satellites_max, streams_max })
    }

    /// A tracker with these limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        let streams_max = limits.streams_max;
        // All as large as it gets, so that nothing ever moves; what is not used yet takes no memory.
        Self {
            index: Index::new(streams_max),
            lines: Vec::with_capacity(streams_max),
            streams: Vec::with_capacity(streams_max),
            free_streams: Vec::with_capacity(streams_max),
            boots: Vec::with_capacity(BOOTS * streams_max),
            free_boots: Vec::with_capacity(BOOTS * streams_max),
            ended: Vec::with_capacity(ENDED_MAX),
            room: Room::new(limits),
            vacated: Vec::with_capacity(streams_max),
        }
    }

    /// Tracks a checked frame and says what it is; none when there is no room for its stream.
    #[inline]
    pub fn track(&mut self, frame: &Telemetry<'_>) -> Option<Tracked> {
        self.arrive(&Arrival::from(frame))
    }

    /// As [`Self::track`].
    #[inline]
    pub fn arrive(&mut self, arrival: &Arrival) -> Option<Tracked> {
        let Some(stream) = self.index.get(arrival.spacecraft, arrival.apid) else {
            return self.begin(arrival);
        };
        let line = &mut self.lines[stream];
        if line.boot_count != arrival.boot_count {
            return Some(self.other_boot(stream, arrival));
        }
        let taken = if line.follow(arrival.count, arrival.time_us) {
            Taken { verdict: Verdict::Next, plausible: None }
        } else {
            let memory = &mut self.boots[line.boot as usize].memory;
            line.take(memory, arrival.count, arrival.time_us)
        };
        if line.is_lone && taken.verdict.is_accepted() {
            self.heard_again(stream);
        }
        Some(Tracked::of(stream, taken))
    }

    /// The streams that made room for the last new one. Their numbers may be those of others by now.
    #[must_use]
    pub fn vacated(&self) -> &[usize] {
        &self.vacated
    }

    /// The counts of every stream and boot that was heard, in order of spacecraft, APID and time of
    /// the boot.
    #[must_use]
    pub fn summary(&self) -> Vec<StreamCounts> {
        let live = self.streams.iter().zip(&self.lines).filter(|(stream, _)| !stream.is_vacant);
        let live = live.flat_map(|(stream, line)| {
            let others = [stream.previous, stream.candidates[1], stream.candidates[0]];
            let [previous, older, newer] = others.map(|boot| self.boots.get(boot as usize));
            let current = &self.boots[line.boot as usize].memory;
            let of = |boot: &Boot| stream.summary(&boot.line, boot.line.counts(&boot.memory));
            let current = stream.summary(line, line.counts(current));
            [previous.map(of), Some(current), older.map(of), newer.map(of)].into_iter().flatten()
        });
        let live = live.filter(|stream| stream.counts != Counts::default());
        let mut summary: Vec<StreamCounts> = Vec::new();
        let mut places = HashMap::new();
        for one in self.ended.iter().copied().chain(live) {
            // A boot that was followed several times.
            let place =
                *places.entry((one.spacecraft, one.apid, one.boot_count)).or_insert(summary.len());
            match summary.get_mut(place) {
                Some(known) => {
                    known.counts.add(&one.counts);
                    known.is_reset |= one.is_reset;
                }
                None => summary.push(one),
            }
        }
        summary.sort_by_key(|counts| (counts.spacecraft, counts.apid));
        summary
    }

    /// The number of a stream that has been heard.
    #[must_use]
    pub fn find(&self, spacecraft: SpacecraftId, apid: Apid) -> Option<usize> {
        self.index.get(spacecraft, apid)
    }

    /// The first frame of a stream.
    #[cold]
    fn begin(&mut self, arrival: &Arrival) -> Option<Tracked> {
        self.vacated.clear();
        loop {
            match self.room.wanted(arrival.spacecraft)? {
                Vacate::Nothing => break,
                Vacate::Stream(stream) | Vacate::Satellite(stream) => self.vacate(stream),
            }
        }
        let mut boot = Boot::new(arrival.boot_count, arrival.width, 0.0);
        let taken = boot.take(arrival.count, arrival.time_us);
        boot.line.is_lone = true;
        let stream = self.add(arrival.spacecraft, arrival.apid, &boot);
        Some(Tracked { is_new: true, ..Tracked::of(stream, taken) })
    }

    /// A frame that is not of the stream's current boot.
    #[cold]
    fn other_boot(&mut self, stream: usize, arrival: &Arrival) -> Tracked {
        let Stream { previous, candidates, .. } = self.streams[stream];
        let is_of = |boot: u32| {
            let boot = self.boots.get(boot as usize);
            boot.is_some_and(|boot| boot.line.boot_count == arrival.boot_count)
        };
        if is_of(previous) {
            let taken = self.boots[previous as usize].take(arrival.count, arrival.time_us);
            if self.lines[stream].is_lone && taken.verdict.is_accepted() {
                self.heard_again(stream);
            }
            return Tracked::of(stream, taken);
        }
        let (place, number) = match candidates.iter().position(|&boot| is_of(boot)) {
            Some(place) => (place, candidates[place]),
            None => (CANDIDATES - 1, self.add_candidate(stream, arrival)),
        };
        let boot = &mut self.boots[number as usize];
        let taken = boot.take(arrival.count, arrival.time_us);
        let mut is_reset = false;
        if taken.verdict.is_accepted() {
            is_reset = boot.confirm(arrival.time_us);
            if self.lines[stream].is_lone {
                self.heard_again(stream);
            }
            self.streams[stream].candidates[..=place].rotate_right(1);
        }
        if is_reset {
            self.reboot(stream, number);
        }
        Tracked { is_reset, ..Tracked::of(stream, taken) }
    }

    /// Makes room for a candidate and appends it; gives its number.
    fn add_candidate(&mut self, stream: usize, arrival: &Arrival) -> u32 {
        let displaced = self.streams[stream].candidates[CANDIDATES - 1];
        self.end(stream, displaced);
        let line = &self.lines[stream];
        let rate = self.boots[line.boot as usize].memory.rate;
        let boot = Boot::new(arrival.boot_count, line.width, rate);
        let number = self.add_boot(&boot);
        self.streams[stream].candidates[CANDIDATES - 1] = number;
        number
    }

    /// A candidate, the one heard last, becomes the current boot.
    fn reboot(&mut self, stream: usize, candidate: u32) {
        self.end(stream, self.streams[stream].previous);
        let before = self.lines[stream];
        self.boots[before.boot as usize].line = before;
        let boot = &mut self.boots[candidate as usize];
        boot.line.is_reset = true;
        self.lines[stream] = Line { boot: candidate, is_lone: false, ..boot.line };
        let this = &mut self.streams[stream];
        this.previous = before.boot;
        this.candidates.rotate_left(1);
        this.candidates[CANDIDATES - 1] = NONE;
    }

    /// A boot that is not followed any more, if it is one.
    fn end(&mut self, stream: usize, boot: u32) {
        let Some(ended) = self.boots.get(boot as usize) else { return };
        let counts = ended.line.counts(&ended.memory);
        if self.ended.len() < ENDED_MAX && counts != Counts::default() {
            self.ended.push(self.streams[stream].summary(&ended.line, counts));
        }
        self.free_boots.push(boot);
    }

    /// A lone stream makes room.
    fn vacate(&mut self, stream: usize) {
        let Stream { spacecraft, apid, previous, candidates, .. } = self.streams[stream];
        let line = self.lines[stream];
        self.boots[line.boot as usize].line = line;
        for boot in [line.boot, previous].into_iter().chain(candidates) {
            self.end(stream, boot);
        }
        self.index.remove(spacecraft, apid);
        self.room.remove(spacecraft, stream);
        self.streams[stream].is_vacant = true;
        self.free_streams.push(stream as u32);
        self.vacated.push(stream);
    }

    #[cold]
    fn heard_again(&mut self, stream: usize) {
        self.lines[stream].is_lone = false;
        self.room.heard_again(self.streams[stream].spacecraft, stream);
    }

    /// Adds a stream for which there is room, with its current boot; gives its number.
    fn add(&mut self, spacecraft: SpacecraftId, apid: Apid, current: &Boot) -> usize {
        let boot = self.add_boot(current);
        let line = Line { boot, ..current.line };
        let stream = Stream {
            spacecraft,
            apid,
            previous: NONE,
            candidates: [NONE; CANDIDATES],
            is_vacant: false,
        };
        let number = if let Some(number) = self.free_streams.pop() {
            let number = number as usize;
            (self.lines[number], self.streams[number]) = (line, stream);
            number
        } else {
            self.lines.push(line);
            self.streams.push(stream);
            self.lines.len() - 1
        };
        self.index.insert(spacecraft, apid, number);
        self.room.add(spacecraft, number, line.is_lone);
        number
    }

    fn add_boot(&mut self, boot: &Boot) -> u32 {
        if let Some(number) = self.free_boots.pop() {
            self.boots[number as usize] = boot.clone();
            return number;
        }
        self.boots.push(boot.clone());
        self.boots.len() as u32 - 1
    }
}

impl Tracked {
    #[inline]
    fn of(stream: usize, Taken { verdict, plausible }: Taken) -> Self {
        Self { stream, verdict, is_reset: false, is_new: false, plausible }
    }
}

impl From<&Telemetry<'_>> for Arrival {
    #[inline]
    fn from(frame: &Telemetry<'_>) -> Self {
        Self {
            spacecraft: frame.spacecraft(),
            apid: frame.apid(),
            width: CounterWidth::EXTENDED,
            boot_count: frame.boot_count().into(),
            count: frame.sequence().value(),
            time_us: frame.time().unix_us(),
        }
    }
}

impl Stream {
    fn summary(&self, line: &Line, counts: Counts) -> StreamCounts {
        let Self { spacecraft, apid, .. } = *self;
        let Line { boot_count, is_reset, .. } = *line;
        StreamCounts { spacecraft, apid, boot_count, is_reset, counts }
    }
}

impl Boot {
    /// Counts an accepted frame of a candidate; whether it makes it the current boot.
    fn confirm(&mut self, time_us: i64) -> bool {
        let memory = &mut self.memory;
        if memory.confirmed_us == UNKNOWN_US || time_us > memory.confirmed_us {
            memory.confirmations += 1;
        }
        // Also when it is earlier: a frame dated far ahead must not keep the others from confirming.
        memory.confirmed_us = time_us;
        memory.confirmations >= REBOOT_FRAMES
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.missed += other.missed;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
    }
}

/// The current boot, the one before it, and the candidates.
const BOOTS: usize = 2 + CANDIDATES;
const CANDIDATES: usize = 2;
const NONE: u32 = u32::MAX;
