//! The sample captures beside the dissector, and what each frame in them is.
//!
//! Every item says what was sent, not what somebody read: damage is done after a frame was written
//! down.

mod scenes;

use std::time::Duration;

use protocol::{FRAME_OCTETS_MAX, IDLE_OCTETS_MAX, Packet, Refusal, Stamp, crc16, emit, emit_idle};

use super::pcap::{PORT, capture};
use super::reading::Reading;

/// One capture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name, also that of the file.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its datagrams.
    pub datagrams: Vec<Payload>,
}

/// What one datagram holds.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// All octets.
    pub octets: Vec<u8>,
    /// What they are, in order.
    pub items: Vec<Item>,
}

/// A frame, or a stretch of octets without any.
#[derive(Clone, Debug)]
pub enum Item {
    /// A good frame.
    Good(Box<Reading>, Place),
    /// Filling: its sequence count and its octets.
    Idle(u16, usize),
    /// Refused octets, how many, and what had been sent if the headers are still whole.
    Refused(Refusal, usize, Option<Box<Reading>>),
}

/// What a frame is among those of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing is missing before it.
    Next,
    /// So many are missing before it.
    Gap(u32),
    /// It was counted as missing.
    Late,
    /// It has come before.
    Duplicate,
    /// Behind the window and in no gap: it may have come before.
    Stale,
    /// The one that shows that there is a later boot: its third.
    Reboot,
}

/// All captures.
#[must_use]
pub fn all() -> Vec<Sample> {
    scenes::all()
}

impl Sample {
    /// `clean.pcap`, ….
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.pcap", self.name)
    }

    /// The capture file.
    #[must_use]
    pub fn pcap(&self) -> Vec<u8> {
        let datagrams = self.datagrams.iter().zip(0..);
        capture(
            PORT,
            datagrams.map(|(payload, index)| (START + index * INTERVAL, &payload.octets[..])),
        )
    }
}

impl Payload {
    /// Adds a frame, the next of its stream.
    fn frame(self, stamp: &Stamp, packet: Packet) -> Self {
        self.frame_at(Place::Next, stamp, packet)
    }

    fn frame_at(mut self, place: Place, stamp: &Stamp, packet: Packet) -> Self {
        let frame = octets(stamp, packet);
        self.items.push(Item::Good(Box::new(Reading::read(&frame)), place));
        self.octets.extend(frame);
        self
    }

    fn idle(mut self, count: u16, filling: &[u8]) -> Self {
        let mut out = [0xA5; IDLE_OCTETS_MAX];
        let frame = emit_idle(count, filling, &mut out);
        self.items.push(Item::Idle(count, frame.len()));
        self.octets.extend_from_slice(frame);
        self
    }

    /// Adds octets of a frame after `damage`; its headers are still as they were sent.
    fn damaged(
        mut self,
        refusal: Refusal,
        stamp: &Stamp,
        packet: Packet,
        damage: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut frame = octets(stamp, packet);
        let truth = Box::new(Reading::read(&frame));
        damage(&mut frame);
        self.items.push(Item::Refused(refusal, frame.len(), Some(truth)));
        self.octets.extend(frame);
        self
    }

    /// Adds a frame of a sender that is wrong: changed, and its length and CRC made to fit.
    fn wrong(
        mut self,
        refusal: Refusal,
        stamp: &Stamp,
        packet: Packet,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut frame = octets(stamp, packet);
        frame.truncate(frame.len() - 2);
        change(&mut frame);
        let length = (frame.len() + 2 - 7) as u16;
        frame[4..6].copy_from_slice(&length.to_be_bytes());
        let crc = crc16(&frame);
        frame.extend(crc.to_be_bytes());
        self.items.push(Item::Refused(refusal, frame.len(), None));
        self.octets.extend(frame);
        self
    }

    fn junk(mut self, refusal: Refusal, octets: &[u8]) -> Self {
        self.items.push(Item::Refused(refusal, octets.len(), None));
        self.octets.extend(octets);
        self
    }
}

fn octets(stamp: &Stamp, packet: Packet) -> Vec<u8> {
    emit(stamp, &packet, &mut [0xA5; FRAME_OCTETS_MAX]).to_vec()
}

/// 2026-01-01T00:00:00Z.
const START: Duration = Duration::from_secs(1_767_225_600);
/// Between two datagrams.
const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use protocol::{Datagram, Frame};

    use super::*;

    #[test]
    fn the_crate_reads_what_the_samples_say() {
        for sample in all() {
            for payload in &sample.datagrams {
                let mut frames = Datagram::new(&payload.octets);
                for item in &payload.items {
                    let read = frames.next(|_| true);
                    match (item, read) {
                        (Item::Good(truth, _), Some(Ok(Frame::Telemetry(frame)))) => {
                            assert_eq!(**truth, Reading::of(&frame), "{}", sample.name);
                        }
                        (Item::Idle(_, expected), Some(Ok(Frame::Idle(octets)))) => {
                            assert_eq!(*expected, octets.len(), "{}", sample.name);
                        }
                        (Item::Refused(reason, octets, _), Some(Err(rejected))) => {
                            assert_eq!(*reason, rejected.reason, "{}", sample.name);
                            assert_eq!(*octets, rejected.octets.len(), "{}", sample.name);
                        }
                        (item, read) => panic!("{}: {item:?} is {read:?}", sample.name),
                    }
                }
                assert!(frames.next(|_| true).is_none(), "{}", sample.name);
            }
        }
    }
}
