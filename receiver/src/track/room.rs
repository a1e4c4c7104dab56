//! How many spacecraft and streams are followed, and which of them make room for others.
//!
//! A stream of which one frame was accepted and no other is *lone*; a spacecraft is when all its streams
//! are. When there is no room for one more, the oldest lone one goes. So whoever invents spacecraft takes
//! no room from true ones for long: those are heard again.

use protocol::SpacecraftId;

use super::fifo::Fifo;

/// How much may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Spacecraft at most.
    pub satellites_max: usize,
    /// Streams at most.
    pub streams_max: usize,
}

pub(super) struct Room {
    pub(super) limits: Limits,
    /// By number.
    satellites: Vec<Satellite>,
    satellites_heard: usize,
    streams_heard: usize,
    /// The next stream of the same spacecraft and one, or 0.
    siblings: Vec<u32>,
    lone_streams: Fifo,
    lone_satellites: Fifo,
}

#[derive(Clone, Copy, Default)]
struct Satellite {
    /// Its last stream and one, or 0.
    last: u32,
    streams: u16,
    /// Those that are not lone.
    heard_again: u16,
}

/// What must make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacate {
    /// Nothing.
    Nothing,
    /// One stream.
    Stream(usize),
    /// All streams of a spacecraft, of which this is one.
    Satellite(usize),
}

/// What room costs for a stream.
pub(super) const BYTES_PER_STREAM: usize = size_of::<(u32, u32)>() + size_of::<u32>();

impl Room {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            satellites: vec![Satellite::default(); SPACECRAFT],
            satellites_heard: 0,
            streams_heard: 0,
            siblings: vec![0; limits.streams_max],
            lone_streams: Fifo::new(limits.streams_max),
            lone_satellites: Fifo::new(SPACECRAFT),
        }
    }

    /// What has to go before a stream of this spacecraft can be added; none when nothing may. To be asked
    /// again after each answer but [`Vacate::Nothing`].
    pub(super) fn wanted(&self, spacecraft: SpacecraftId) -> Option<Vacate> {
        let is_known = self.satellites[number(spacecraft)].streams > 0;
        if !is_known && self.satellites_heard >= self.limits.satellites_max {
            let oldest = self.lone_satellites.first()?;
            return Some(Vacate::Satellite(self.satellites[oldest].last as usize - 1));
        }
        if self.streams_heard >= self.limits.streams_max {
            return self.lone_streams.first().map(Vacate::Stream);
        }
        Some(Vacate::Nothing)
    }

    /// A stream was added.
    pub(super) fn add(&mut self, spacecraft: SpacecraftId, stream: usize, is_lone: bool) {
        let satellite = &mut self.satellites[number(spacecraft)];
        if satellite.streams == 0 {
            self.satellites_heard += 1;
            self.lone_satellites.push(number(spacecraft));
        }
        satellite.streams += 1;
        self.siblings[stream] = std::mem::replace(&mut satellite.last, stream as u32 + 1);
        self.streams_heard += 1;
        self.lone_streams.push(stream);
        if !is_lone {
            self.heard_again(spacecraft, stream);
        }
    }

    /// A lone stream is none any more.
    pub(super) fn heard_again(&mut self, spacecraft: SpacecraftId, stream: usize) {
        self.lone_streams.remove(stream);
        let satellite = &mut self.satellites[number(spacecraft)];
        satellite.heard_again += 1;
        if satellite.heard_again == 1 {
            self.lone_satellites.remove(number(spacecraft));
        }
    }

    /// A lone stream was removed.
    pub(super) fn remove(&mut self, spacecraft: SpacecraftId, stream: usize) {
        self.lone_streams.remove(stream);
        self.streams_heard -= 1;
        let satellite = &mut self.satellites[number(spacecraft)];
        satellite.streams -= 1;
        if satellite.streams == 0 {
            // With all its streams lone, so was the spacecraft.
            self.satellites_heard -= 1;
            self.lone_satellites.remove(number(spacecraft));
        }
        let after = std::mem::take(&mut self.siblings[stream]);
        // As long as a spacecraft has packet kinds.
        let mut link = &mut satellite.last;
        while let Some(sibling) = link.checked_sub(1)
            && sibling as usize != stream
        {
            link = &mut self.siblings[sibling as usize];
        }
        *link = after;
    }

    /// The lone streams, the oldest first.
    pub(super) fn lone_streams(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.lone_streams.first(), |&stream| self.lone_streams.after(stream))
    }
}

fn number(spacecraft: SpacecraftId) -> usize {
    spacecraft.number().into()
}

const SPACECRAFT: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> SpacecraftId {
        SpacecraftId::new(number).unwrap()
    }

    #[test]
    fn the_oldest_that_was_heard_once_makes_room() {
        let mut room = Room::new(Limits { satellites_max: 2, streams_max: 4 });
        room.add(id(1), 0, true);
        room.add(id(2), 1, true);
        room.add(id(2), 2, true);
        assert_eq!(room.wanted(id(1)), Some(Vacate::Nothing));
        assert_eq!(room.wanted(id(3)), Some(Vacate::Satellite(0)));
        room.heard_again(id(1), 0);
        assert_eq!(room.wanted(id(3)), Some(Vacate::Satellite(2)));
        room.remove(id(2), 2);
        assert_eq!(room.wanted(id(3)), Some(Vacate::Satellite(1)));
        room.remove(id(2), 1);
        assert_eq!(room.wanted(id(3)), Some(Vacate::Nothing));
        room.add(id(3), 1, true);
        room.heard_again(id(3), 1);
        assert_eq!(room.wanted(id(4)), None);
        room.add(id(3), 2, true);
        room.add(id(1), 3, true);
        assert_eq!(room.wanted(id(1)), Some(Vacate::Stream(2)));
        assert_eq!(room.lone_streams().collect::<Vec<_>>(), [2, 3]);
        room.heard_again(id(3), 2);
        room.heard_again(id(1), 3);
        assert_eq!(room.wanted(id(1)), None);
    }
}
