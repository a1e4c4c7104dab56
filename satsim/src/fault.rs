//! Faults on purpose: what becomes of frames between their satellite and the ground.
//!
//! Guarantees:
//! * A frame has at most one fault. Which one is a function of the seed, the satellite, how often
//!   it has rebooted in this flight, the kind and the frame's place in its stream; only bursts also
//!   depend on the satellite's frames before. The clock and the other satellites do not matter.
//! * The first and the last frame of every stream and boot are sent clean, once, and in order:
//!   nothing of the stream leaves before the one or after the other, so every gap can be seen.
//! * What is counted is what a receiver finds that gets everything that is sent. In each stream,
//!   `dropped + corrupted + truncated` frames are lost, `duplicated` come a second time, and
//!   `reordered` come after a newer one of their stream.
//! * No checkword is ever computed here, so damage stays damage ([`damage`]).
//!
//! Bound: a stream holds at most [`REORDER_DEPTH_MAX`] late frames and [`COPY_DELAY_MAX`] copies.

pub mod damage;
pub mod options;
pub mod rates;
mod tail;

use std::collections::HashMap;

use protocol::{Apid, SpacecraftId, attitude, health};
use serde::{Deserialize, Serialize};

use crate::{
    constellation::{Frame, Stream, frames_after},
    satellite::noise::Noise,
};
use damage::Damage;
use rates::Fault;
pub use rates::{Burst, REORDER_DEPTH_MAX, Rates};
pub use tail::COPY_DELAY_MAX;
use tail::Tail;

/// Frames with a fault, by fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Made and never sent, by chance or in a burst.
    pub dropped: u64,
    /// Sent with 1 to [`damage::FLIPS_MAX`] bits flipped.
    pub corrupted: u64,
    /// Sent without its tail.
    pub truncated: u64,
    /// Sent a second time.
    pub duplicated: u64,
    /// Sent after a newer frame of its stream that is whole.
    pub reordered: u64,
}

/// Every satellite's way to the ground.
#[derive(Clone, Debug)]
pub struct Injector {
    seed: u64,
    rates: Rates,
    links: Vec<Link>,
    /// What was done to boots that are over.
    ended: HashMap<(SpacecraftId, Apid, u16), Faults>,
}

/// One satellite's.
#[derive(Clone, Debug, Default)]
struct Link {
    /// Whether a burst is on.
    is_bad: bool,
    reboots: u32,
    /// Frames of this boot so far.
    frames: u64,
    /// Frames of this boot in all; more than will come when nobody knows.
    planned: u64,
    /// Health and attitude.
    tails: [Tail; STREAMS],
}

/// The kinds that a satellite sends, in the order of a link's tails.
pub const APIDS: [Apid; STREAMS] = [health::KIND.apid, attitude::KIND.apid];
const STREAMS: usize = 2;

impl Injector {
    /// Clean ways for so many satellites, until [`Self::set_rates`].
    pub fn new(seed: u64, satellites: usize) -> Self {
        Self {
            seed,
            rates: Rates::default(),
            links: vec![Link::default(); satellites],
            ended: HashMap::new(),
        }
    }

    /// Changes the chances from here on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Satellite `index` will send so many frames in this boot, or fewer and then
    /// [`Self::pass_last`].
    pub fn plan(&mut self, index: usize, frames: u64) {
        self.links[index].planned = frames;
    }

    /// Hands the next frame of satellite `index` to `send`, or what becomes of it, and then
    /// whatever else of its stream is due. Whether the frame comes to the ground whole, now or
    /// later.
    pub fn pass<E>(
        &mut self,
        index: usize,
        frame: &Frame,
        mut send: impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let link = &mut self.links[index];
        let after = frames_after(link.frames, link.planned);
        link.frames += 1;
        let mut noise = chance(self.seed, link.reboots, frame);
        link.is_bad = self.rates.is_bad_next(link.is_bad, &mut noise);
        let tail = &mut link.tails[place(frame.apid)];
        if after == 0 || tail.is_empty() {
            tail.send_last(frame, &mut send)?;
            return Ok(true);
        }
        let fault = self.rates.draw(link.is_bad, &mut noise);
        tail.send(frame, fault, self.rates.reorder_depth, after, noise, &mut send)?;
        Ok(!fault.is_some_and(Fault::is_loss))
    }

    /// Hands a frame to `send` that is the last of its stream although nobody planned it, after all
    /// that is still held back.
    pub fn pass_last<E>(
        &mut self,
        index: usize,
        frame: &Frame,
        mut send: impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.links[index].tails[place(frame.apid)].send_last(frame, &mut send)
    }

    /// Whether the stream may end as it is: nothing is held back, and its newest frame was sent
    /// clean.
    pub fn may_end(&self, index: usize, apid: Apid) -> bool {
        self.links[index].tails[place(apid)].may_end()
    }

    /// Satellite `index` starts again, and will send so many frames; `ended` are the streams that
    /// are over with it.
    pub fn reboot(&mut self, index: usize, ended: &[Stream], frames: u64) {
        for stream in ended {
            let faults = self.faults(stream);
            self.ended.insert((stream.spacecraft, stream.apid, stream.boot_count), faults);
        }
        let link = &mut self.links[index];
        // A burst does not care who starts again on board.
        *link = Link {
            is_bad: link.is_bad,
            reboots: link.reboots + 1,
            planned: frames,
            ..Link::default()
        };
    }

    /// What was done to a stream of the constellation.
    pub fn faults(&self, stream: &Stream) -> Faults {
        let name = (stream.spacecraft, stream.apid, stream.boot_count);
        if let Some(faults) = self.ended.get(&name) {
            return *faults;
        }
        let index = usize::from(stream.spacecraft.number()) - 1;
        self.links
            .get(index)
            .map_or_else(Faults::default, |link| link.tails[place(stream.apid)].faults)
    }
}

impl core::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.corrupted += other.corrupted;
        self.truncated += other.truncated;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

fn place(apid: Apid) -> usize {
    usize::from(apid == attitude::KIND.apid)
}

/// What decides about this frame, and about its damage.
fn chance(seed: u64, reboots: u32, frame: &Frame) -> Noise {
    let seed = seed.wrapping_add(FAULTS_SEED.wrapping_mul(u64::from(reboots) + 1));
    Noise::of(seed, frame.spacecraft.number(), frame.apid, frame.sequence.value())
}

/// Keeps faults apart from the readings' noise; any odd number would do.
const FAULTS_SEED: u64 = 0xD6E8_FEB8_6659_FD93;
