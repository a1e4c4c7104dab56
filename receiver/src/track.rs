//! Which frames of each stream came, which are missing, which came twice.
//!
//! A stream is one spacecraft and APID. Its frames are numbered by a 30-bit counter that starts
//! again with each boot of the spacecraft. [`Tracker::track`] says what a frame is; it is exact as
//! long as frames are not delayed by more than [`WINDOW_COUNTS`] counts.
//!
//! Pure: no clock, no I/O, no lock, and no allocation but for a stream's first frame and its
//! reboots. Bounded: [`BYTES_PER_STREAM_MAX`] a stream, `satellites_max` × APIDs streams, and
//! [`ENDED_MAX`] summaries of boots that are over.

mod state;
mod window;

use protocol::{Apid, KINDS, SpacecraftId, Telemetry};

use window::{Bits, NO_BITS, Window};
pub use window::{Verdict, WINDOW_COUNTS};

/// Every stream of the station, in columns: each frame changes something in `boots`, but seldom in the
/// others. With ten thousand streams `boots` lies in 157 pages of memory, so that the processor finds
/// their places in its table (the second-level TLB), where all of the streams together need some 1,500.
pub struct Tracker {
    /// Number of each stream, or [`NO_STREAM`]; by APID, then spacecraft.
    index: Vec<u32>,
    /// The current boot of each stream,
    boots: Vec<Boot>,
    /// which of its counts came,
    bits: Vec<Bits>,
    /// and what seldom matters.
    streams: Vec<Stream>,
    /// Boots that neither are current nor previous any more.
    ended: Vec<StreamCounts>,
    satellites: usize,
    satellites_max: usize,
}

/// One boot of one stream, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounts {
    /// The spacecraft.
    pub spacecraft: SpacecraftId,
    /// The packet kind.
    pub apid: Apid,
    /// The boot that the counts are about.
    pub boot_count: u16,
    /// Whether it followed another.
    pub is_reset: bool,
    /// The counts.
    pub counts: Counts,
}

/// What became of a stream's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New frames, late ones included.
    pub accepted: u64,
    /// Counts that were skipped; those that came late are not taken off.
    pub missed: u64,
    /// Frames that filled a gap.
    pub late: u64,
    /// Frames that had come before.
    pub duplicate: u64,
    /// Frames older than the window remembers.
    pub stale: u64,
}

struct Stream {
    spacecraft: SpacecraftId,
    apid: Apid,
    previous: Option<Box<(Boot, Bits)>>,
}

/// One boot of one stream, in one line of the processor's cache: all that changes with a frame that
/// comes in its order, 63 times in 64.
#[repr(align(64))]
struct Boot {
    counts: Counts,
    boot_count: u16,
    is_reset: bool,
    window: Window,
}

const _: () = assert!(size_of::<Boot>() == 64);

/// How many streams so many spacecraft have at most.
#[must_use]
pub fn streams_max(satellites_max: usize) -> usize {
    satellites_max.min(SPACECRAFT) * KINDS.len()
}

/// What a stream costs at most: its own record, and those of two boots.
pub const BYTES_PER_STREAM_MAX: usize = size_of::<Stream>() + 2 * size_of::<(Boot, Bits)>();
/// Boots that are remembered for the final report after they are over. Later ones keep counting in
/// the station's totals, but are not listed one by one.
pub const ENDED_MAX: usize = 65_536;

impl Tracker {
    /// A tracker for at most `satellites_max` spacecraft.
    #[must_use]
    pub fn new(satellites_max: usize) -> Self {
        let streams_max = streams_max(satellites_max);
        Self {
            index: vec![NO_STREAM; KINDS.len() * SPACECRAFT],
            // So that they never move; what is not used yet takes no memory.
            boots: Vec::with_capacity(streams_max),
            bits: Vec::with_capacity(streams_max),
            streams: Vec::with_capacity(streams_max),
            ended: Vec::new(),
            satellites: 0,
            satellites_max,
        }
    }

    /// Whether there is room for this spacecraft: it is known, or one more may become so.
    #[inline]
    #[must_use]
    pub fn has_room_for(&self, spacecraft: SpacecraftId) -> bool {
        self.satellites < self.satellites_max || self.is_known(spacecraft)
    }

    /// Takes notice of a checked frame and says what it is.
    #[inline]
    pub fn track(&mut self, frame: &Telemetry<'_>) -> Tracked {
        let (spacecraft, apid) = (frame.spacecraft(), frame.apid());
        // The door lets only declared kinds in.
        let place = KINDS.iter().position(|kind| kind.apid == apid).unwrap_or_default();
        let slot = place * SPACECRAFT + usize::from(spacecraft.number());
        let boot_count = frame.boot_count();
        let number = self.index[slot] as usize;
        let (Some(current), Some(bits)) = (self.boots.get_mut(number), self.bits.get_mut(number))
        else {
            let (mut current, mut bits) = (Boot::new(boot_count, false), NO_BITS);
            let verdict = current.take(&mut bits, frame);
            let stream = self.add(slot, Stream { spacecraft, apid, previous: None }, current, bits);
            return Tracked { stream, verdict, is_reset: false };
        };
        if current.boot_count == boot_count {
            return Tracked { stream: number, verdict: current.take(bits, frame), is_reset: false };
        }
        let previous = &mut self.streams[number].previous;
        if let Some(previous) = previous
            && previous.0.boot_count == boot_count
        {
            let (boot, bits) = &mut **previous;
            return Tracked { stream: number, verdict: boot.take(bits, frame), is_reset: false };
        }
        let before = std::mem::replace(current, Boot::new(boot_count, true));
        let bits_before = std::mem::replace(bits, NO_BITS);
        let verdict = current.take(bits, frame);
        if let Some(ended) = previous.replace(Box::new((before, bits_before)))
            && self.ended.len() < ENDED_MAX
        {
            self.ended.push(ended.0.summary(spacecraft, apid));
        }
        Tracked { stream: number, verdict, is_reset: true }
    }

    /// The counts of every stream and boot that was heard, in order of spacecraft, APID and time of
    /// the boot.
    #[must_use]
    pub fn summary(&self) -> Vec<StreamCounts> {
        let live = self.streams.iter().zip(&self.boots).flat_map(|(stream, current)| {
            let previous = stream.previous.iter().map(|previous| &previous.0);
            previous.chain([current]).map(|boot| boot.summary(stream.spacecraft, stream.apid))
        });
        let live = live.filter(|stream| stream.counts != Counts::default());
        let mut summary: Vec<_> = self.ended.iter().copied().chain(live).collect();
        summary.sort_by_key(|counts| (counts.spacecraft, counts.apid));
        summary
    }

    /// The number of a stream that has been heard.
    #[must_use]
    pub fn find(&self, spacecraft: SpacecraftId, apid: Apid) -> Option<usize> {
        let place = KINDS.iter().position(|kind| kind.apid == apid)?;
        let number = self.index[place * SPACECRAFT + usize::from(spacecraft.number())];
        (number != NO_STREAM).then_some(number as usize)
    }

    /// Adds a stream, and gives its number.
    fn add(&mut self, slot: usize, stream: Stream, current: Boot, bits: Bits) -> usize {
        let number = self.streams.len();
        self.satellites += usize::from(!self.is_known(stream.spacecraft));
        self.index[slot] = number as u32;
        self.streams.push(stream);
        self.boots.push(current);
        self.bits.push(bits);
        number
    }

    fn is_known(&self, spacecraft: SpacecraftId) -> bool {
        let number = usize::from(spacecraft.number());
        (0..KINDS.len()).any(|place| self.index[place * SPACECRAFT + number] != NO_STREAM)
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its stream: they are numbered in the order in which they are first heard.
    pub stream: usize,
    /// Its place among the frames of its boot.
    pub verdict: Verdict,
    /// Whether it told of a reboot.
    pub is_reset: bool,
}

impl Boot {
    fn new(boot_count: u16, is_reset: bool) -> Self {
        Self { boot_count, is_reset, counts: Counts::default(), window: Window::default() }
    }

    #[inline]
    fn take(&mut self, bits: &mut Bits, frame: &Telemetry<'_>) -> Verdict {
        let verdict = self.window.take(bits, frame.sequence());
        self.counts.count(verdict);
        verdict
    }

    fn summary(&self, spacecraft: SpacecraftId, apid: Apid) -> StreamCounts {
        let Self { boot_count, is_reset, counts, .. } = *self;
        StreamCounts { spacecraft, apid, boot_count, is_reset, counts }
    }
}

impl Counts {
    /// Adds one frame.
    #[inline]
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Next => self.accepted += 1,
            Verdict::Gap { missed } => {
                self.accepted += 1;
                self.missed += u64::from(missed);
            }
            Verdict::Late => {
                self.accepted += 1;
                self.late += 1;
            }
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Stale => self.stale += 1,
        }
    }
}

const SPACECRAFT: usize = 1 << 16;
const NO_STREAM: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, Stamp, emit, health::Health,
    };

    fn track(tracker: &mut Tracker, spacecraft: u16, boot_count: u16, count: u32) -> Tracked {
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(spacecraft).unwrap(),
            boot_count,
            sequence: Sequence::new(count),
            time: CdsTime { day: 24_837, ms: 0, us: 0 },
        };
        let mut out = [0; FRAME_OCTETS_MAX];
        let octets = emit(&stamp, &Packet::Health(Health::default()), &mut out);
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
            panic!("refused");
        };
        tracker.track(&frame)
    }

    #[test]
    fn a_reboot_in_a_burst_keeps_both_windows() {
        let mut tracker = Tracker::new(10);
        let steps = [
            (1, 100, Verdict::Next, false),
            (1, 102, Verdict::Gap { missed: 1 }, false),
            (2, 0, Verdict::Next, true),
            (1, 101, Verdict::Late, false),
            (1, 102, Verdict::Duplicate, false),
            (2, 1, Verdict::Next, false),
            (1, 103, Verdict::Next, false),
            (3, 0, Verdict::Next, true),
            (2, 2, Verdict::Next, false),
            (1, 104, Verdict::Next, true),
        ];
        for (boot, count, verdict, is_reset) in steps {
            let tracked = Tracked { stream: 0, verdict, is_reset };
            assert_eq!(track(&mut tracker, 7, boot, count), tracked);
        }
        let summary = tracker.summary();
        let boots: Vec<_> = summary.iter().map(|s| (s.boot_count, s.is_reset, s.counts)).collect();
        let one = Counts { accepted: 4, missed: 1, late: 1, duplicate: 1, ..Counts::default() };
        let later = |boot, accepted| (boot, true, Counts { accepted, ..Counts::default() });
        assert_eq!(boots, [(1, false, one), later(2, 3), later(3, 1), later(1, 1)]);
    }

    #[test]
    fn both_boots_outlive_the_tracker() {
        let mut tracker = Tracker::new(10);
        // Of either boot 2 and 70 are missing, in different words of the window.
        for (boot, counts) in [(1, 0..72), (2, 0..72)] {
            for count in counts.filter(|count| ![2, 70].contains(count)) {
                track(&mut tracker, 7, boot, count);
            }
        }
        track(&mut tracker, 8, 5, 1_000);
        let mut restored = Tracker::new(10);
        assert!(restored.restore(&tracker.state()));
        assert_eq!(restored.state(), tracker.state());
        assert_eq!(restored.summary(), []);
        for (spacecraft, boot, count, verdict) in [
            (7, 1, 2, Verdict::Late),
            (7, 1, 70, Verdict::Late),
            (7, 1, 71, Verdict::Duplicate),
            (7, 1, 72, Verdict::Next),
            (7, 2, 70, Verdict::Late),
            (7, 2, 2, Verdict::Late),
            (7, 2, 3, Verdict::Duplicate),
            (7, 2, 72, Verdict::Next),
            (8, 5, 1_001, Verdict::Next),
        ] {
            let tracked = track(&mut restored, spacecraft, boot, count);
            assert_eq!((tracked.verdict, tracked.is_reset), (verdict, false), "{boot} {count}");
        }
    }

    #[test]
    fn only_so_many_satellites() {
        let mut tracker = Tracker::new(2);
        track(&mut tracker, 5, 0, 0);
        track(&mut tracker, 9, 0, 0);
        assert!(tracker.has_room_for(SpacecraftId::new(5).unwrap()));
        assert!(tracker.has_room_for(SpacecraftId::new(9).unwrap()));
        assert!(!tracker.has_room_for(SpacecraftId::new(6).unwrap()));
    }
}
