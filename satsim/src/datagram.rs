//! Frames to datagrams: so many whole frames back to back, in the order they are sent. Damage is
//! done last, when it is known what lies beside it.

use crate::{
    fault::damage::{Damage, inflict},
    sink::{Datagram, Sink, SinkError},
};
use protocol::FRAME_OCTETS_MAX;

/// Fills datagrams.
#[derive(Debug)]
pub struct Packer {
    frames_per_datagram: usize,
    octets: Vec<u8>,
    frames: usize,
    offset_us: i64,
    /// What will be done to which frame, by its first octet.
    damages: Vec<(usize, Damage)>,
    damaged: Vec<u8>,
}

impl Packer {
    /// A packer of so many frames a datagram, held to 1 … [`FRAMES_PER_DATAGRAM_MAX`].
    pub fn new(frames_per_datagram: usize) -> Self {
        Self {
            frames_per_datagram: frames_per_datagram.clamp(1, FRAMES_PER_DATAGRAM_MAX),
            octets: Vec::with_capacity(DATAGRAM_OCTETS_MAX),
            frames: 0,
            offset_us: 0,
            damages: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// Adds a whole frame, to be damaged when the datagram leaves. One that is full with it leaves
    /// at once, at `offset_us`.
    pub fn push(
        &mut self,
        frame: &[u8],
        damage: Option<Damage>,
        offset_us: i64,
        sink: &mut impl Sink,
    ) -> Result<(), SinkError> {
        if let Some(damage) = damage {
            self.damages.push((self.octets.len(), damage));
        }
        self.octets.extend_from_slice(frame);
        self.frames += 1;
        self.offset_us = offset_us;
        if self.frames < self.frames_per_datagram {
            return Ok(());
        }
        self.flush(sink)
    }

    /// Lets a datagram leave that is not full.
    pub fn flush(&mut self, sink: &mut impl Sink) -> Result<(), SinkError> {
        if self.frames == 0 {
            return Ok(());
        }
        let octets = if self.damages.is_empty() {
            &self.octets
        } else {
            inflict(&self.octets, &mut self.damages, &mut self.damaged);
            self.damages.clear();
            &self.damaged
        };
        let sent = sink.send(&Datagram { octets, frames: self.frames, offset_us: self.offset_us });
        self.octets.clear();
        self.frames = 0;
        sent
    }
}

/// The largest payload of UDP over IPv4: 65,535 less the two headers.
pub const DATAGRAM_OCTETS_MAX: usize = 65_507;
/// Frames that fit whatever their kinds.
pub const FRAMES_PER_DATAGRAM_MAX: usize = DATAGRAM_OCTETS_MAX / FRAME_OCTETS_MAX;
