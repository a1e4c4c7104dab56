//! What a tracker remembers, as octets, so that it goes on after a restart: which counts came, not how
//! many of each kind there were.
//!
//! Layout, little-endian, stream after stream in the order in which they were first heard: spacecraft
//! (u16), APID (u16), boots (u8, 1 or 2, the current one first), and for each boot its count (u16) and
//! its window.

use protocol::{Apid, KINDS, SpacecraftId};

use super::{Bits, Boot, Counts, NO_STREAM, SPACECRAFT, Stream, Tracker, window::Window};

impl Tracker {
    /// What it remembers.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for ((stream, boot), bits) in self.streams.iter().zip(&self.boots).zip(&self.bits) {
            octets.extend_from_slice(&stream.spacecraft.number().to_le_bytes());
            octets.extend_from_slice(&stream.apid.number().to_le_bytes());
            octets.push(1 + u8::from(stream.previous.is_some()));
            let previous = stream.previous.iter().map(|previous| (&previous.0, &previous.1));
            for (boot, bits) in [(boot, bits)].into_iter().chain(previous) {
                octets.extend_from_slice(&boot.boot_count.to_le_bytes());
                boot.window.state(bits, &mut octets);
            }
        }
        octets
    }

    /// Remembers it again, as far as it may know so many satellites; to be called before any frame.
    /// False, and nothing is remembered, when the octets are no such state.
    pub fn restore(&mut self, octets: &[u8]) -> bool {
        let Some(streams) = streams(octets) else { return false };
        for (stream, boot, bits) in streams {
            let place = KINDS.iter().position(|kind| kind.apid == stream.apid);
            let Some(place) = place.filter(|_| self.has_room_for(stream.spacecraft)) else {
                continue;
            };
            let slot = place * SPACECRAFT + usize::from(stream.spacecraft.number());
            if self.index[slot] == NO_STREAM {
                self.add(slot, stream, boot, bits);
            }
        }
        true
    }

    /// Spacecraft and APID of every stream, in order.
    pub fn streams(&self) -> impl Iterator<Item = (SpacecraftId, Apid)> {
        self.streams.iter().map(|stream| (stream.spacecraft, stream.apid))
    }

    /// Counts from zero again.
    pub fn forget_counts(&mut self) {
        self.ended.clear();
        let previous = self.streams.iter_mut().filter_map(|stream| stream.previous.as_deref_mut());
        for boot in self.boots.iter_mut().chain(previous.map(|previous| &mut previous.0)) {
            (boot.counts, boot.is_reset) = (Counts::default(), false);
        }
    }
}

fn streams(mut octets: &[u8]) -> Option<Vec<(Stream, Boot, Bits)>> {
    let mut streams = Vec::new();
    while !octets.is_empty() {
        let (spacecraft, rest) = number(octets)?;
        let (apid, rest) = number(rest)?;
        let (&boots, rest) = rest.split_first()?;
        let (current, bits, mut rest) = boot(rest)?;
        let mut previous = None;
        if boots > 1 {
            let (boot, bits, after) = boot(rest)?;
            (previous, rest) = (Some(Box::new((boot, bits))), after);
        }
        let spacecraft = SpacecraftId::new(spacecraft)?;
        streams.push((Stream { spacecraft, apid: Apid::new(apid), previous }, current, bits));
        octets = rest;
    }
    Some(streams)
}

fn boot(octets: &[u8]) -> Option<(Boot, Bits, &[u8])> {
    let (boot_count, rest) = number(octets)?;
    let (window, bits, rest) = Window::restored(rest)?;
    Some((Boot { window, ..Boot::new(boot_count, false) }, bits, rest))
}

fn number(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = octets.split_first_chunk()?;
    Some((u16::from_le_bytes(*number), rest))
}
