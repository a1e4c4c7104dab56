//! One stream on its way: what is held back to be sent late, and what was done to it.

use super::{Faults, damage::Damage, rates::Fault};
use crate::{constellation::Frame, satellite::noise::Noise};

/// The end of a stream that is still being sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// Frames made so far.
    frames: u64,
    /// Number of the newest frame that was sent whole.
    newest: u64,
    /// Whether the newest frame that was made has been sent clean, once, and nothing after it.
    is_clean: bool,
    held: Vec<Held>,
    pub(super) faults: Faults,
}

/// A frame that waits for later ones.
#[derive(Clone, Debug)]
struct Held {
    frame: Frame,
    number: u64,
    /// It is sent after the frame with this number.
    due: u64,
    is_copy: bool,
}

/// A copy is sent after at most so many frames of its stream that were made after it.
pub const COPY_DELAY_MAX: u64 = 4;

impl Tail {
    /// Whether nothing was made yet.
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn may_end(&self) -> bool {
        self.is_empty() || (self.is_clean && self.held.is_empty())
    }

    /// Sends all that is held back and then this frame, clean: as a stream ends, and as it starts.
    pub(super) fn send_last<E>(
        &mut self,
        frame: &Frame,
        send: &mut impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.release(u64::MAX, send)?;
        self.newest = self.frames;
        self.frames += 1;
        self.is_clean = true;
        send(frame, None)
    }

    /// Sends the next frame with its fault, and what is due after it. `after` more frames will
    /// come, at least 1; nothing is held back beyond the last of them.
    pub(super) fn send<E>(
        &mut self,
        frame: &Frame,
        fault: Option<Fault>,
        reorder_depth: u16,
        after: u64,
        mut noise: Noise,
        send: &mut impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.frames;
        self.frames += 1;
        let room = after - 1;
        let depth = u64::from(reorder_depth).min(room);
        // A frame that nothing can overtake is not late.
        let fault = fault.filter(|&fault| fault != Fault::Reorder || depth > 0);
        self.is_clean = fault.is_none();
        match fault {
            None => self.send_whole(frame, number, send)?,
            Some(Fault::Drop) => self.faults.dropped += 1,
            Some(Fault::Corrupt) => {
                self.faults.corrupted += 1;
                send(frame, Some(Damage::corruption(noise)))?;
            }
            Some(Fault::Truncate) => {
                self.faults.truncated += 1;
                send(frame, Some(Damage::truncation(noise)))?;
            }
            Some(Fault::Duplicate) => {
                self.send_whole(frame, number, send)?;
                let due = number + noise.below(COPY_DELAY_MAX.min(room) + 1);
                self.held.push(Held { frame: frame.clone(), number, due, is_copy: true });
            }
            Some(Fault::Reorder) => {
                let due = number + 1 + noise.below(depth);
                self.held.push(Held { frame: frame.clone(), number, due, is_copy: false });
            }
        }
        self.release(number, send)
    }

    fn send_whole<E>(
        &mut self,
        frame: &Frame,
        number: u64,
        send: &mut impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.newest = self.newest.max(number);
        send(frame, None)
    }

    /// Sends what is due after frame `number`. A frame counts as reordered only now: when all that
    /// could overtake it was lost or is held back itself, it comes in order after all.
    fn release<E>(
        &mut self,
        number: u64,
        send: &mut impl FnMut(&Frame, Option<Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.held.is_empty() {
            return Ok(());
        }
        for held in self.held.extract_if(.., |held| held.due <= number) {
            if held.is_copy {
                self.faults.duplicated += 1;
            } else if held.number < self.newest {
                self.faults.reordered += 1;
            } else {
                self.newest = held.number;
            }
            self.is_clean = false;
            send(&held.frame, None)?;
        }
        Ok(())
    }
}
