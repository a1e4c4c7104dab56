//! Packets one after the other, as a ground segment archives them: cut into pieces of a few packets,
//! each as old as its first frame.

use std::io;

use protocol::{Datagram, Frame};

use super::{Recorded, source::Source};

/// Packets one after the other.
pub(super) struct Packets {
    source: Source,
    is_over: bool,
    time_us: i64,
}

impl Packets {
    pub(super) fn new(source: Source) -> Self {
        Self { source, is_over: false, time_us: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.source.taken()
    }

    pub(super) fn is_torn(&self) -> bool {
        self.source.is_torn()
    }

    /// The next piece; false at the end.
    pub(super) fn read(&mut self, out: &mut Recorded) -> io::Result<bool> {
        // One octet more tells whether these are the last.
        let ahead = self.source.peek(PIECE_OCTETS_MAX + 1)?;
        if ahead.is_empty() {
            return Ok(false);
        }
        self.is_over = ahead.len() <= PIECE_OCTETS_MAX;
        let window = &ahead[..ahead.len().min(PIECE_OCTETS_MAX)];
        let piece = &window[..cut(window, self.is_over)];
        out.octets.clear();
        out.octets.extend_from_slice(piece);
        out.source = None;
        self.time_us = time_us(piece).unwrap_or(self.time_us);
        out.time_us = self.time_us;
        self.source.take(out.octets.len());
        Ok(true)
    }
}

/// How much of the window to hand out: up to the end of a good frame, so that none is divided.
fn cut(window: &[u8], is_last: bool) -> usize {
    let mut good = 0;
    let mut end = 0;
    for (item, octets) in frames(window) {
        end += octets;
        if item.is_ok() {
            good = end;
            if good >= PIECE_OCTETS {
                return good;
            }
        }
    }
    match good {
        _ if is_last => window.len(),
        // Nothing but rubbish: a frame may still begin near its end.
        0 => window.len().saturating_sub(FRAME_OCTETS).max(1),
        good => good,
    }
}

/// When the first telemetry frame was made, in µs since 1970.
pub(super) fn time_us(octets: &[u8]) -> Option<i64> {
    frames(octets).find_map(|(item, _)| match item {
        Ok(Frame::Telemetry(frame)) => Some(frame.time().unix_us()),
        _ => None,
    })
}

/// Whether there is a frame in these octets.
pub(super) fn have_a_frame(octets: &[u8]) -> bool {
    frames(octets).any(|(item, _)| item.is_ok())
}

/// Whether the last octets are those of a frame.
pub(super) fn ends_with_a_frame(octets: &[u8]) -> bool {
    frames(octets).last().is_some_and(|(item, _)| item.is_ok())
}

type Item<'a> = Result<Frame<'a>, protocol::Rejected<'a>>;

/// The frames of some octets, each with its length.
fn frames(octets: &[u8]) -> impl Iterator<Item = (Item<'_>, usize)> {
    let mut datagram = Datagram::new(octets);
    std::iter::from_fn(move || {
        let item = datagram.next(|_| true)?;
        let octets = match &item {
            Ok(Frame::Telemetry(frame)) => frame.octets().len(),
            Ok(Frame::Idle(octets)) => octets.len(),
            Err(rejected) => rejected.octets.len(),
        };
        Some((item, octets))
    })
}

/// A piece ends with the frame that makes it this long, so that its frames are of about one time.
const PIECE_OCTETS: usize = 1_400;
/// No piece is longer, like a datagram.
const PIECE_OCTETS_MAX: usize = 16 << 10;
/// No frame is longer.
const FRAME_OCTETS: usize = protocol::IDLE_OCTETS_MAX;
