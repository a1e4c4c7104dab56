//! From a datagram's octets to chunks of samples: parse, track, append. One thread's work, without
//! a lock, an allocation or a log line per frame.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use protocol::{Apid, Datagram, Frame, KINDS, Refusal, SpacecraftId, Telemetry};

use crate::{
    chunk::{Chunk, Entry, Record, Sample},
    definitions::Definitions,
    ledger::{Counters, IntakeCounts, Ledger, Rejections},
    link::{BYTES_PER_LINK, Budget, Jump, Links, Row},
    quarantine_rate::{Dated, QuarantineRate},
    queue::Outlets,
    rejected::{Example, Rationing, RejectedFrame},
    source_rate::SourceRate,
    spacecraft::SpacecraftSet,
    time_window::TimeWindow,
    track::{BYTES_PER_STREAM_MAX, Limits, StreamCounts, Tracked, Tracker, Verdict},
};

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Spacecraft that are accepted.
    pub spacecraft: SpacecraftSet,
    /// How many of them at most.
    pub satellites_max: usize,
    /// How many streams of them at most.
    pub streams_max: usize,
    /// Sources that are accepted; all when empty.
    pub sources: Vec<IpNet>,
    /// Datagrams that each source may send, a second; any number when none.
    pub source_rate: Option<u32>,
    /// Refused frames that are stored, a second; the rest are only counted.
    pub rejected_per_second: u32,
    /// Which generation times are stored as rows.
    pub window: TimeWindow,
    /// Frames outside the window that each source may bring into the quarantine, a second; any number
    /// when none.
    pub quarantine_per_second: Option<u32>,
}

/// The socket side's state.
pub struct Intake {
    admission: Admission,
    tracker: Tracker,
    links: Links,
    rationing: Rationing,
    /// Rows of links whose streams made room.
    closings: Rationing,
    jumps: Budget,
    source_rate: Option<SourceRate>,
    quarantine_rate: Option<QuarantineRate>,
    /// When a frame last was refused, or dated outside the window.
    refused_us: i64,
    /// The ledger at the last row of `station_health`.
    told: Ledger,
    /// When the next rows about links and station are due.
    tell_us: i64,
    /// Whether there is a journal to keep what the tracker knows, and in how many seconds it is due.
    checkpoints: Option<u32>,
    /// The place of the next chunk, if it is given by what is read.
    place: Option<i64>,
    outlets: Outlets,
    /// The chunk that is being filled for each writer.
    open: Vec<Option<Chunk>>,
    counts: IntakeCounts,
    counters: Arc<Counters>,
}

impl Admission {
    /// How much is tracked: as many as are wanted, and all that are named in a list.
    fn limits(&self) -> Limits {
        let named = self.spacecraft.len();
        let named = if named < SpacecraftSet::all().len() { named } else { 0 };
        Limits {
            satellites_max: self.satellites_max.max(named),
            streams_max: self.streams_max.max(named * KINDS.len()),
        }
    }
}

impl Intake {
    /// Nothing received yet.
    #[must_use]
    pub fn new(admission: Admission, outlets: Outlets, counters: Arc<Counters>) -> Self {
        Self {
            tracker: Tracker::with_limits(admission.limits()),
            links: Links::new(admission.limits().streams_max),
            rationing: Rationing::new(admission.rejected_per_second),
            closings: Rationing::new(CLOSINGS_PER_SECOND),
            jumps: Budget::new(),
            source_rate: admission.source_rate.map(SourceRate::new),
            quarantine_rate: admission
                .quarantine_per_second
                .map(|per_second| QuarantineRate::new(&admission.window, per_second)),
            refused_us: i64::MIN,
            told: Ledger::default(),
            tell_us: 0,
            checkpoints: None,
            place: None,
            admission,
            open: (0..outlets.writers()).map(|_| None).collect(),
            outlets,
            counts: IntakeCounts::default(),
            counters,
        }
    }

    /// Takes one datagram that arrived from `source` at `received_us` (µs since 1970).
    pub fn datagram(&mut self, octets: &[u8], source: Option<IpAddr>, received_us: i64) {
        self.counts.datagrams += 1;
        self.counts.bytes += octets.len() as u64;
        if !self.is_allowed(source) {
            self.counts.frames += 1;
            self.counts.rejected.not_allowed += 1;
            self.keep(Rejections::NOT_ALLOWED, source, octets, received_us);
            return;
        }
        if let Some(rate) = &mut self.source_rate
            && !rate.permits(source, received_us)
        {
            self.counts.frames += 1;
            self.counts.rejected.rate_limited += 1;
            self.keep(Rejections::RATE_LIMITED, source, octets, received_us);
            return;
        }
        let mut frames = Datagram::new(octets);
        loop {
            let spacecraft = &self.admission.spacecraft;
            let Some(item) = frames.next(|id| spacecraft.contains(id)) else {
                break;
            };
            self.counts.frames += 1;
            match item {
                Ok(Frame::Telemetry(frame)) => self.telemetry(&frame, source, received_us),
                Ok(Frame::Idle(_)) => self.counts.idle += 1,
                Err(rejected) => {
                    self.counts.rejected.count(rejected.reason);
                    let reason = Rejections::place(rejected.reason);
                    self.keep(reason, source, rejected.octets, received_us);
                }
            }
        }
    }

    /// To be called every few milliseconds: sends on what has gathered to writers that wait, shows the
    /// counts, and once a second appends the rows about the links and the station.
    pub fn tick(&mut self, now_us: i64) {
        self.tell_in_time(now_us);
        // All of them before any is sent: with a journal they share a queue, and the first one's chunk
        // would make the others' wait until they are full.
        let writers = 0..self.open.len();
        let hungry = writers.clone().filter(|&writer| self.outlets.is_hungry(writer));
        let hungry = hungry.fold(0_u64, |set, writer| set | 1 << writer);
        writers.filter(|writer| hungry >> writer & 1 == 1).for_each(|writer| self.flush(writer));
        self.publish();
    }

    /// The part of [`Self::tick`] that only depends on the time: what it sends is the same whenever
    /// the same datagrams come at the same times.
    pub fn tick_recorded(&mut self, now_us: i64) {
        if self.tell_in_time(now_us) {
            (0..self.open.len()).for_each(|writer| self.flush(writer));
        }
        self.publish();
    }

    /// Chunks that are sent from now on have this place in the order of all.
    pub fn number(&mut self, place: i64) {
        self.place = Some(place);
    }

    fn tell_in_time(&mut self, now_us: i64) -> bool {
        // A clock that was set back must not silence the station until it has caught up.
        let is_due = now_us >= self.tell_us || self.tell_us - now_us > TELL_PERIOD_US;
        if is_due {
            self.tell_us = now_us - now_us.rem_euclid(TELL_PERIOD_US) + TELL_PERIOD_US;
            self.publish();
            self.tell(now_us, false);
            self.checkpoint_in_time();
        }
        is_due
    }

    /// Appends the last rows and sends on everything.
    pub fn finish(&mut self, now_us: i64) {
        self.publish();
        self.tell(now_us, true);
        (0..self.open.len()).for_each(|writer| self.flush(writer));
        if self.checkpoints.is_some() {
            self.checkpoint();
        }
        self.publish();
    }

    /// From now on, what the tracker knows is sent along every so often.
    pub fn keep_checkpoints(&mut self) {
        self.checkpoints = Some(CHECKPOINT_TELLS);
    }

    /// Goes on from what a tracker knew before; false when the octets do not say it.
    pub fn restore(&mut self, state: &[u8], now_us: i64) -> bool {
        let spacecraft = &self.admission.spacecraft;
        let is_restored = self.tracker.restore(state, |id| spacecraft.contains(id));
        for stream in self.tracker.streams() {
            self.links.know(stream, now_us);
        }
        is_restored
    }

    /// Takes notice of what was accepted after that: it is not sent on again, but what was not told
    /// of its links is told with the next rows. What cannot be decoded says nothing about a stream. Ends
    /// with [`Self::recalled`].
    pub fn recall(&mut self, chunk: &Chunk, definitions: &Definitions) {
        for entry in chunk.entries_as(definitions.of(chunk.format().fingerprint)) {
            match entry {
                Entry::Sample(Record { received_us, sample: Sample::Frame(frame) }) => {
                    // As it was decided when it was received.
                    let Some(tracked) = self.tracker.track(&frame) else { continue };
                    if tracked.is_new {
                        self.close_links(received_us, |_, _| false);
                    }
                    if tracked.verdict.is_accepted() {
                        self.count_link(&frame, &tracked, received_us);
                    }
                }
                Entry::Link(row) => {
                    let spacecraft = SpacecraftId::new(row.spacecraft.get());
                    let apid = Apid::new(row.apid.get());
                    let stream = spacecraft.and_then(|id| self.tracker.find(id, apid));
                    if let Some(stream) = stream {
                        self.links.was_told(stream, row.time_us.get());
                    }
                }
                Entry::Sample(_)
                | Entry::Station(_)
                | Entry::Rejected(..)
                | Entry::Jump(_)
                | Entry::Unreadable(_) => {}
            }
        }
    }

    /// All that was accepted before is recalled; it is not counted.
    pub fn recalled(&mut self) {
        self.tracker.forget_counts();
    }

    /// Whether it matters where datagrams come from: to who is let in, or because something was refused
    /// of late, and its source is kept with it, or was dated outside the window, which is bounded by
    /// source.
    #[must_use]
    pub fn needs_sources(&self, now_us: i64) -> bool {
        let Admission { sources, source_rate, .. } = &self.admission;
        let is_calm = now_us.saturating_sub(self.refused_us) > REFUSED_US;
        !sources.is_empty() || source_rate.is_some() || !is_calm
    }

    /// Adds datagrams that the kernel dropped.
    pub fn kernel_dropped(&mut self, datagrams: u64) {
        self.counts.kernel_dropped += datagrams;
    }

    /// Shows the counts to the rest of the station.
    pub fn publish(&self) {
        self.counters.publish_intake(self.counts);
    }

    /// The counts of every stream.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamCounts> {
        self.tracker.summary()
    }

    fn is_allowed(&self, source: Option<IpAddr>) -> bool {
        let sources = &self.admission.sources;
        sources.is_empty()
            || source.is_some_and(|source| sources.iter().any(|net| net.contains(&source)))
    }

    #[inline]
    fn telemetry(&mut self, frame: &Telemetry<'_>, source: Option<IpAddr>, received_us: i64) {
        let Some(tracked) = self.tracker.track(frame) else {
            self.counts.rejected.count(Refusal::UnknownSpacecraft);
            let reason = Rejections::place(Refusal::UnknownSpacecraft);
            self.keep(reason, source, frame.octets(), received_us);
            return;
        };
        self.counts.resets += u64::from(tracked.is_reset);
        if tracked.is_new {
            self.make_room(received_us);
        }
        self.count_link(frame, &tracked, received_us);
        match tracked.verdict {
            Verdict::Next => {}
            Verdict::Gap { missed } => self.counts.missed += u64::from(missed),
            Verdict::Late => self.counts.late += 1,
            Verdict::Duplicate => {
                self.counts.duplicate += 1;
                return;
            }
            Verdict::Stale => {
                self.counts.stale += 1;
                return;
            }
        }
        self.counts.accepted += 1;
        if let Some(rate) = &mut self.quarantine_rate {
            match rate.admits(frame.time().unix_us(), received_us, source) {
                Dated::Inside => {}
                Dated::Quarantined => self.refused_us = received_us,
                Dated::Dropped => {
                    self.refused_us = received_us;
                    self.counts.quarantine_dropped += 1;
                    return;
                }
            }
        }
        self.append(frame, received_us);
        if let Some(plausible) = tracked.plausible {
            self.jump(frame, tracked.verdict, plausible, received_us);
        }
    }

    /// A stream is new: ends the links of those that made room for it.
    #[cold]
    fn make_room(&mut self, received_us: i64) {
        self.close_links(received_us, |intake, row| {
            intake.closings.permits(received_us) && intake.push_link(row)
        });
    }

    fn close_links(&mut self, now_us: i64, mut send: impl FnMut(&mut Self, &Row) -> bool) {
        let mut links = std::mem::take(&mut self.links);
        for place in 0..self.tracker.vacated().len() {
            links.close(self.tracker.vacated()[place], now_us, |row| send(self, row));
        }
        self.links = links;
    }

    /// A counter has leapt further than its rate explains: an event, as long as not too many are.
    #[cold]
    fn jump(&mut self, frame: &Telemetry<'_>, verdict: Verdict, plausible: f32, received_us: i64) {
        let Verdict::Gap { missed } = verdict else { return };
        let jump = Jump {
            time_us: received_us.into(),
            spacecraft: frame.spacecraft().number().into(),
            apid: frame.apid().number().into(),
            boot_count: u32::from(frame.boot_count()).into(),
            count: frame.sequence().value().into(),
            missed: missed.into(),
            plausible: plausible.into(),
        };
        let writer = self.outlets.writer_of(frame.spacecraft());
        let is_stored =
            self.jumps.permits(received_us) && self.push(writer, |chunk| chunk.push_jump(&jump));
        let jumps = &mut self.counts.jumps;
        jumps.seen += 1;
        jumps.unstored += u64::from(!is_stored);
        jumps.last = Some(jump);
    }

    fn push_link(&mut self, row: &Row) -> bool {
        let spacecraft = SpacecraftId::new(row.spacecraft.get());
        let writer = spacecraft.map_or(0, |spacecraft| self.outlets.writer_of(spacecraft));
        self.push(writer, |chunk| chunk.push_link(row))
    }

    #[inline]
    fn count_link(&mut self, frame: &Telemetry<'_>, tracked: &Tracked, received_us: i64) {
        self.links.count(
            tracked.stream,
            (frame.spacecraft(), frame.apid()),
            tracked.verdict,
            frame.octets().len(),
            (received_us, received_us.saturating_sub(frame.time().unix_us())),
        );
    }

    #[inline]
    fn append(&mut self, frame: &Telemetry<'_>, received_us: i64) {
        let writer = self.outlets.writer_of(frame.spacecraft());
        if self.push(writer, |chunk| chunk.push_frame(frame, received_us)) {
            self.counts.open += 1;
        } else {
            self.counters.add_shed(writer, 1);
        }
    }

    /// Appends to the open chunk of a writer, or to a new one; false when there is none.
    #[inline]
    fn push(&mut self, writer: usize, append: impl Fn(&mut Chunk) -> bool) -> bool {
        if let Some(chunk) = &mut self.open[writer] {
            if append(chunk) {
                return true;
            }
            if let Some(full) = self.open[writer].take() {
                self.send(writer, full);
            }
        }
        let Some(mut chunk) = self.outlets.take(writer) else {
            return false;
        };
        let is_appended = append(&mut chunk);
        self.open[writer] = Some(chunk);
        is_appended
    }

    /// Keeps a refused frame as its reason's example, and in the database if this second still permits.
    #[cold]
    fn keep(&mut self, reason: u8, source: Option<IpAddr>, octets: &[u8], received_us: i64) {
        self.refused_us = received_us;
        if let Some(example) = self.counts.examples.get_mut(usize::from(reason)) {
            *example = Some(Example::new(octets, source));
        }
        if self.rationing.permits(received_us) {
            let frame = RejectedFrame { reason, source, octets };
            let writer = self.outlets.station_writer();
            // Without room it is only counted, like those beyond the ration.
            let _kept = self.push(writer, |chunk| chunk.push_rejected(&frame, received_us));
        }
    }

    /// Appends the rows about links and station. What finds no room is told the next time.
    fn tell(&mut self, now_us: i64, is_last: bool) {
        let mut links = std::mem::take(&mut self.links);
        let send = |row: &Row| self.push_link(row);
        if is_last {
            links.last_rows(now_us, send);
        } else {
            links.rows(now_us, send);
        }
        self.links = links;
        let ledger = self.counters.ledger();
        let row = ledger.row_since(&self.told, now_us);
        if self.push(self.outlets.station_writer(), |chunk| chunk.push_station(&row)) {
            self.told = ledger;
        }
    }

    fn checkpoint_in_time(&mut self) {
        let Some(left) = &mut self.checkpoints else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            *left = CHECKPOINT_TELLS;
            (0..self.open.len()).for_each(|writer| self.flush(writer));
            self.checkpoint();
        }
    }

    /// Sends along what the tracker knows, behind all chunks. Without a free chunk it has to wait for
    /// the next time.
    fn checkpoint(&mut self) {
        let writer = self.outlets.station_writer();
        if let Some(mut chunk) = self.outlets.take(writer) {
            chunk.attach(self.tracker.state());
            self.send(writer, chunk);
        }
    }

    fn flush(&mut self, writer: usize) {
        if let Some(chunk) = self.open[writer].take() {
            self.send(writer, chunk);
        }
    }

    fn send(&mut self, writer: usize, mut chunk: Chunk) {
        if let Some(place) = self.place {
            chunk.number(place);
        }
        self.counts.open -= chunk.samples();
        if let Err(shed) = self.outlets.send(writer, chunk) {
            self.counters.add_shed(writer, shed);
        }
    }
}

// docs/architecture.md states this bound for the default of --max-streams.
const _: () = assert!((BYTES_PER_STREAM_MAX + BYTES_PER_LINK) * 20_000 < 104 << 20);
/// Rows a second of links whose streams made room: what is beyond that is in the ledger alone.
const CLOSINGS_PER_SECOND: u32 = 100;
/// Links and station are told about each second.
const TELL_PERIOD_US: i64 = 1_000_000;
/// How long something refused says that more will be.
const REFUSED_US: i64 = 10_000_000;
/// What the tracker knows is kept each time that so many seconds were told: after a crash the frames
/// since then are tracked again, and repeats since then are counted no more.
const CHECKPOINT_TELLS: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{chunk::Entry, queue::queues};
    use protocol::{
        CdsTime, FRAME_OCTETS_MAX, IDLE_OCTETS_MAX, Packet, Sequence, Stamp, emit, emit_idle,
        health::Health,
    };

    fn frame(spacecraft: u16, count: u32) -> Vec<u8> {
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(spacecraft).unwrap(),
            boot_count: 0,
            sequence: Sequence::new(count),
            time: CdsTime { day: 24_837, ms: 0, us: 0 },
        };
        emit(&stamp, &Packet::Health(Health::default()), &mut [0; FRAME_OCTETS_MAX]).to_vec()
    }

    /// When every [`frame`] was generated, µs since 1970.
    const DATE_US: i64 = (24_837 - 4_383) * 86_400_000_000;

    fn admission() -> Admission {
        Admission {
            spacecraft: SpacecraftSet::all(),
            satellites_max: 3,
            streams_max: 6,
            sources: Vec::new(),
            source_rate: None,
            rejected_per_second: 2,
            window: TimeWindow::EVERYTHING,
            quarantine_per_second: Some(100),
        }
    }

    #[test]
    fn every_frame_ends_in_one_place() {
        let counters = Counters::new(2);
        let (outlets, inlets) = queues(2, 1 << 20, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        let idle = emit_idle(0, &[], &mut [0; IDLE_OCTETS_MAX]).to_vec();
        let datagram = [
            &frame(1, 0)[..],
            &frame(1, 0),
            &frame(1, 5),
            &[1, 2, 3],
            &frame(2, 9),
            &frame(2, 10),
            &idle,
            &frame(3, 0),
            &frame(3, 1),
            &frame(4, 0),
            &frame(1, 3),
        ]
        .concat();
        intake.datagram(&datagram, None, 1);
        intake.publish();
        let ledger = counters.ledger();
        assert_eq!((ledger.frames, ledger.accepted, ledger.pending), (11, 7, 7));
        assert_eq!((ledger.duplicate, ledger.idle, ledger.rejected.total()), (1, 1, 2));
        assert_eq!((ledger.missed, ledger.late, ledger.lost), (4, 1, 3));
        assert_eq!(ledger.rejected.unknown_spacecraft, 1);
        assert_eq!((ledger.frames_residual(), ledger.samples_residual()), (0, 0));
        intake.tick(0);
        assert_eq!(counters.ledger(), ledger, "still pending, now in the queues");
        let samples = |inlet: &crate::queue::Inlet| -> u64 {
            inlet.chunks.try_iter().map(|chunk| chunk.samples()).sum()
        };
        assert_eq!(inlets.iter().map(samples).collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn links_station_and_refusals_are_told() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 1 << 20, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        intake.tick(500_000);
        for _ in 0..5 {
            intake.datagram(&[1, 2, 3], "192.0.2.1".parse().ok(), 600_000);
        }
        intake.datagram(&[frame(1, 0), frame(1, 3), frame(2, 0)].concat(), None, 700_000);
        intake.tick(900_000);
        intake.tick(1_000_001);
        intake.finish(1_300_000);
        let (mut links, mut stations, mut rejected) = (Vec::new(), Vec::new(), 0);
        for chunk in inlets[0].chunks.try_iter() {
            for entry in chunk.entries() {
                match entry {
                    Entry::Link(row) => links.push((row.spacecraft.get(), row.missed.get())),
                    Entry::Station(row) => stations.push(row.differences.map(i64::from)),
                    Entry::Rejected(_, frame) => {
                        assert_eq!((frame.reason, frame.octets), (0, &[1, 2, 3][..]));
                        rejected += 1;
                    }
                    Entry::Sample(_) | Entry::Jump(_) | Entry::Unreadable(_) => {}
                }
            }
        }
        assert_eq!((links, rejected), (vec![(1, 2), (2, 0)], 2));
        assert_eq!(stations.iter().map(|row| row[0]).collect::<Vec<_>>(), [0, 6, 0]);
        assert_eq!(counters.ledger().rejected.too_short, 5);
    }

    #[test]
    fn a_leap_is_an_event_and_too_many_are_only_counted() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 1 << 20, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        let leaps = 300;
        for leap in 0..=leaps {
            intake.datagram(&frame(1, leap * 1_000), None, 5);
        }
        intake.finish(10);
        let jumps = counters.jumps();
        let stored: Vec<_> = inlets[0]
            .chunks
            .try_iter()
            .flat_map(|chunk| {
                let jumps = chunk.entries().filter_map(|entry| match entry {
                    Entry::Jump(jump) => Some(jump),
                    _ => None,
                });
                jumps.collect::<Vec<_>>()
            })
            .collect();
        assert_eq!((jumps.seen, jumps.unstored), (leaps.into(), u64::from(leaps) - 100));
        assert_eq!((stored.len(), jumps.last.unwrap().count.get()), (100, leaps * 1_000));
        assert_eq!((stored[1].missed.get(), stored[1].count.get()), (999, 2_000));
        assert_eq!(counters.ledger().accepted, u64::from(leaps) + 1);
    }

    #[test]
    fn invented_spacecraft_make_room_and_their_links_are_told() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 1 << 20, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        intake.datagram(&[frame(1, 0), frame(1, 1)].concat(), None, 5);
        for invented in 1_000..1_050 {
            intake.datagram(&frame(invented, 7), None, 5);
        }
        // A new one that is true is heard again, and from then on refused nothing.
        intake.datagram(&[frame(2, 0), frame(2, 1)].concat(), None, 6);
        intake.datagram(&[frame(3, 0), frame(3, 1)].concat(), None, 7);
        intake.datagram(&frame(1_000, 7), None, 8);
        intake.finish(10);
        let mut told = Vec::new();
        for chunk in inlets[0].chunks.try_iter() {
            told.extend(chunk.entries().filter_map(|entry| match entry {
                Entry::Link(row) => Some((row.spacecraft.get(), row.received.get())),
                _ => None,
            }));
        }
        told.sort_unstable();
        let true_ones = [(1, 2), (2, 2), (3, 2)].into_iter();
        assert_eq!(told, true_ones.chain((1_000..1_050).map(|id| (id, 1))).collect::<Vec<_>>());
        let ledger = counters.ledger();
        assert_eq!((ledger.accepted, ledger.rejected.unknown_spacecraft), (56, 1));
        assert_eq!(ledger.frames_residual(), 0);
        assert_eq!(intake.streams().iter().map(|one| one.counts.accepted).sum::<u64>(), 56);
    }

    #[test]
    fn a_spacecraft_that_is_listed_always_has_room() {
        let counters = Counters::new(1);
        let spacecraft = "1-4".parse().unwrap();
        let admission = Admission { spacecraft, satellites_max: 1, streams_max: 1, ..admission() };
        // What was tracked while the list was another takes no room.
        let mut before = Tracker::new(1_000);
        for other in 500..1_000 {
            for count in 0..2 {
                let octets = frame(other, count);
                let frame = Telemetry::from_checked(&octets).unwrap();
                before.track(&frame).unwrap();
            }
        }
        let (outlets, _inlets) = queues(1, 1 << 20, &counters);
        let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
        assert!(intake.restore(&before.state(), 0));
        for round in 0..3 {
            for number in 1..=5 {
                intake.datagram(&frame(number, round), None, 5);
            }
        }
        intake.publish();
        let ledger = counters.ledger();
        assert_eq!((ledger.accepted, ledger.rejected.unknown_spacecraft), (12, 3));
    }

    /// What was accepted behind the tracker's state is tracked again, with the same outcome.
    #[test]
    fn a_recalled_journal_agrees() {
        let counters = Counters::new(1);
        let intake = || {
            let (outlets, inlets) = queues(1, 1 << 20, &counters);
            (Intake::new(admission(), outlets, Arc::clone(&counters)), inlets)
        };
        let (mut before, inlets) = intake();
        let boot = |boot_count: u16, count: u32| {
            let mut octets = frame(1, count);
            octets[18..20].copy_from_slice(&boot_count.to_be_bytes());
            let end = octets.len() - 2;
            let crc = protocol::crc16(&octets[..end]);
            octets[end..].copy_from_slice(&crc.to_be_bytes());
            octets
        };
        before.datagram(&[frame(1, 0), frame(2, 0)].concat(), None, 1);
        let state = before.tracker.state();
        before.finish(2);
        inlets[0].chunks.try_iter().for_each(drop);
        let frames = [
            [frame(1, 1_000_000), frame(1, 3), frame(1, 3), frame(3, 0), frame(9, 0)].concat(),
            [boot(7, 0), boot(8, 0), boot(7, 0), boot(9, 0), frame(1, 2), frame(9, 1)].concat(),
            [frame(3, 0), frame(10, 5), frame(10, 9), frame(1, 3), boot(9, 1)].concat(),
        ];
        for frames in &frames {
            before.datagram(frames, None, 3);
        }
        before.finish(4);
        let (mut after, _inlets) = intake();
        assert!(after.restore(&state, 5));
        inlets[0]
            .chunks
            .try_iter()
            .for_each(|chunk| after.recall(&chunk, &Definitions::built_in()));
        after.recalled();
        assert_eq!(after.tracker.state(), before.tracker.state());
        assert_eq!(after.streams(), []);
    }

    #[test]
    fn a_full_queue_sheds_and_counts() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 0, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        for count in 0..10_000 {
            intake.datagram(&frame(1, count), None, 0);
        }
        intake.tick(0);
        let ledger = counters.ledger();
        assert!(ledger.queue_dropped > 0 && ledger.pending > 0);
        assert_eq!(ledger.accepted, 10_000);
        assert_eq!((ledger.frames_residual(), ledger.samples_residual()), (0, 0));
        drop(inlets);
    }

    #[test]
    fn with_a_journal_every_open_chunk_goes_on_at_once() {
        let counters = Counters::new(3);
        let (mut outlets, _inlets) = queues(3, 1 << 20, &counters);
        let (journal, _direct) = outlets.through_one();
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        intake.datagram(&[frame(1, 0), frame(2, 0), frame(3, 0)].concat(), None, 0);
        intake.tick(0);
        let samples: Vec<_> = journal.try_iter().map(|chunk| chunk.samples()).collect();
        assert_eq!(samples, [1, 1, 1]);
    }

    #[test]
    fn a_writer_that_is_busy_gets_full_chunks() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 0, &counters);
        let mut intake = Intake::new(admission(), outlets, Arc::clone(&counters));
        for count in 0..1_000 {
            intake.datagram(&frame(1, count), None, 0);
            intake.tick(0);
        }
        assert_eq!(counters.ledger().queue_dropped, 0);
        assert!(inlets[0].chunks.len() <= 4);
    }

    #[test]
    fn sources_that_are_not_allowed() {
        let counters = Counters::new(1);
        let (outlets, _inlets) = queues(1, 0, &counters);
        let sources = vec!["192.0.2.0/24".parse().unwrap()];
        let mut intake =
            Intake::new(Admission { sources, ..admission() }, outlets, Arc::clone(&counters));
        let two = [frame(1, 0), frame(1, 1)].concat();
        intake.datagram(&two, "198.51.100.1".parse().ok(), 0);
        intake.datagram(&two, "192.0.2.7".parse().ok(), 0);
        intake.publish();
        let ledger = counters.ledger();
        assert_eq!((ledger.rejected.not_allowed, ledger.accepted, ledger.frames), (1, 2, 3));
        assert_eq!(ledger.frames_residual(), 0);
    }

    #[test]
    fn sources_that_send_too_many() {
        let counters = Counters::new(1);
        let (outlets, _inlets) = queues(1, 0, &counters);
        let sources = vec!["192.0.2.0/24".parse().unwrap()];
        let admission = Admission { sources, source_rate: Some(3), ..admission() };
        let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
        for count in 0..5 {
            let two = [frame(1, 2 * count), frame(1, 2 * count + 1)].concat();
            intake.datagram(&two, "192.0.2.7".parse().ok(), 0);
            intake.datagram(&frame(2, count), "192.0.2.8".parse().ok(), i64::from(count) * 400_000);
            intake.datagram(&two, "198.51.100.1".parse().ok(), 0);
        }
        intake.publish();
        let ledger = counters.ledger();
        assert_eq!((ledger.rejected.rate_limited, ledger.rejected.not_allowed), (2, 5));
        assert_eq!((ledger.accepted, ledger.frames), (3 * 2 + 5, 3 * 2 + 5 + 7));
        assert_eq!((ledger.frames_residual(), ledger.missed), (0, 0));
    }

    #[test]
    fn frames_outside_the_window_are_tracked_and_bounded_by_source() {
        let counters = Counters::new(1);
        let (outlets, inlets) = queues(1, 1 << 20, &counters);
        let window = TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(5) };
        let admission = Admission { window, quarantine_per_second: Some(3), ..admission() };
        let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
        // All frames have one date. It is too old from a minute later on.
        let (inside_us, outside_us) = (DATE_US + 60_000_000, DATE_US + 60_000_001);
        let sources = ["192.0.2.1", "192.0.2.2"].map(|source| source.parse().ok());
        assert!(!intake.needs_sources(outside_us));
        for count in 0..10 {
            let two = [frame(1, 2 * count), frame(1, 2 * count + 1)].concat();
            intake.datagram(&two, sources[0], outside_us);
            intake.datagram(&frame(2, count), sources[1], outside_us);
            intake.datagram(&frame(3, count), None, inside_us);
        }
        assert!(intake.needs_sources(outside_us));
        intake.datagram(&frame(1, 0), sources[0], outside_us);
        intake.finish(outside_us);
        let ledger = counters.ledger();
        assert_eq!((ledger.accepted, ledger.duplicate, ledger.missed), (40, 1, 0));
        assert_eq!((ledger.quarantine_dropped, ledger.pending), (17 + 7, 3 + 3 + 10));
        assert_eq!((ledger.frames_residual(), ledger.samples_residual()), (0, 0));
        // What went on is what a batch stores, in the quarantine or as a row.
        let chunks: Vec<_> = inlets[0].chunks.try_iter().collect();
        let records = chunks.iter().flat_map(Chunk::records);
        let refused = records
            .filter(|record| window.refusal(record.generated_us(), record.received_us).is_some());
        assert_eq!(refused.count(), 6);
    }

    #[test]
    fn sources_matter_to_who_is_let_in_and_for_a_while_after_a_refusal() {
        let counters = Counters::new(1);
        let intake =
            |admission| Intake::new(admission, queues(1, 0, &counters).0, Arc::clone(&counters));
        let mut calm = intake(admission());
        assert!(!calm.needs_sources(0));
        calm.datagram(&frame(1, 0), None, 1_000_000);
        assert!(!calm.needs_sources(1_000_000));
        calm.datagram(&[1, 2, 3], None, 2_000_000);
        assert!(calm.needs_sources(2_000_000) && calm.needs_sources(12_000_000));
        assert!(!calm.needs_sources(12_000_001));
        let sources = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(intake(Admission { sources, ..admission() }).needs_sources(0));
        assert!(intake(Admission { source_rate: Some(3), ..admission() }).needs_sources(0));
    }
}
