//! What a tracker remembers, as octets, so that it goes on after a restart: which counts came, not how
//! many of each verdict there were.
//!
//! Layout 2, little-endian: two zero octets, the version (u16), and stream after stream, those that are
//! lone last and in the order in which they make room: spacecraft (u16), APID (u16), width of the
//! counter (u8), whether it is lone (u8), boots (u8) and the boots. A boot is its role (u8: 0 current,
//! 1 previous, 2 candidate; the current one first), boot count (u32), newest count (u32), counts heard
//! (u16), time of the newest (i64), count and time where the stretch for the rate begins (u32, i64), rate
//! (f32), confirmations (u8) and their latest time (i64), the ranges and the bits (u64 each).
//!
//! Layout 1 has no version: it begins with a spacecraft, which is never 0.
//!
//! Octets that are no such state are refused as a whole. None of them makes this panic, or allocate more
//! than the tracker's limits.

mod version_1;

use protocol::{Apid, SpacecraftId};

use super::{
    CANDIDATES, Counts, NONE, Stream, Tracker, WINDOW_COUNTS,
    boot::{Boot, Line, WORDS, place},
    counter::CounterWidth,
    ranges::Ranges,
    room::Vacate,
};

/// A stream as it is read.
struct Restored {
    spacecraft: SpacecraftId,
    apid: Apid,
    is_lone: bool,
    current: Boot,
    others: [Option<(Role, Boot)>; 1 + CANDIDATES],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Current,
    Previous,
    Candidate,
}

impl Tracker {
    /// What it remembers.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let heard_again = (0..self.streams.len())
            .filter(|&stream| !self.streams[stream].is_vacant && !self.lines[stream].is_lone);
        let mut octets = vec![0, 0];
        octets.extend_from_slice(&VERSION.to_le_bytes());
        for stream in heard_again.chain(self.room.lone_streams()) {
            self.write(stream, &mut octets);
        }
        octets
    }

    /// Remembers it again: the streams that `is_accepted`, as far as there is room for them. To be called
    /// before any frame. False, and nothing is remembered, when the octets are no such state.
    pub fn restore(&mut self, octets: &[u8], is_accepted: impl Fn(SpacecraftId) -> bool) -> bool {
        let read = |each: &mut dyn FnMut(Restored)| match octets.strip_prefix(&[0, 0]) {
            Some(rest) => streams(rest, each),
            None => version_1::streams(octets, each),
        };
        let is_valid = read(&mut |_| {}).is_some();
        if is_valid {
            read(&mut |stream| {
                if is_accepted(stream.spacecraft) {
                    self.remember(stream);
                }
            });
        }
        is_valid
    }

    /// Spacecraft and APID of every stream, by number.
    pub fn streams(&self) -> impl Iterator<Item = (SpacecraftId, Apid)> {
        self.streams.iter().map(|stream| (stream.spacecraft, stream.apid))
    }

    /// Counts from zero again.
    pub fn forget_counts(&mut self) {
        self.ended.clear();
        for line in &mut self.lines {
            (line.accepted, line.is_reset) = (0, false);
        }
        for boot in &mut self.boots {
            (boot.line.accepted, boot.line.is_reset) = (0, false);
            boot.memory.rest = Counts::default();
        }
    }

    fn write(&self, stream: usize, octets: &mut Vec<u8>) {
        let Stream { spacecraft, apid, previous, candidates, .. } = self.streams[stream];
        let line = &self.lines[stream];
        octets.extend_from_slice(&spacecraft.number().to_le_bytes());
        octets.extend_from_slice(&apid.number().to_le_bytes());
        octets.push(line.width.bits());
        octets.push(line.is_lone.into());
        let boots_at = octets.len();
        octets.push(1);
        write_boot(Role::Current, line, &self.boots[line.boot as usize], octets);
        let roles = [(Role::Previous, previous)];
        let candidates = candidates.map(|candidate| (Role::Candidate, candidate));
        for (role, number) in roles.into_iter().chain(candidates) {
            if let Some(boot) = self.boots.get(number as usize) {
                octets[boots_at] += 1;
                write_boot(role, &boot.line, boot, octets);
            }
        }
    }

    fn remember(&mut self, stream: Restored) {
        let Restored { spacecraft, apid, is_lone, mut current, others } = stream;
        let is_new = self.index.get(spacecraft, apid).is_none();
        if !is_new || self.room.wanted(spacecraft) != Some(Vacate::Nothing) {
            return;
        }
        current.line.is_lone = is_lone;
        let number = self.add(spacecraft, apid, &current);
        let mut free = 0..CANDIDATES;
        for (role, boot) in others.into_iter().flatten() {
            let slot = match role {
                Role::Previous if self.streams[number].previous == NONE => {
                    let boot = self.add_boot(&boot);
                    self.streams[number].previous = boot;
                    continue;
                }
                Role::Candidate => free.next(),
                Role::Current | Role::Previous => None,
            };
            if let Some(slot) = slot {
                let boot = self.add_boot(&boot);
                self.streams[number].candidates[slot] = boot;
            }
        }
    }
}

fn write_boot(role: Role, line: &Line, boot: &Boot, octets: &mut Vec<u8>) {
    let memory = &boot.memory;
    octets.push(role as u8);
    octets.extend_from_slice(&line.boot_count.to_le_bytes());
    octets.extend_from_slice(&line.newest.to_le_bytes());
    octets.extend_from_slice(&line.heard.to_le_bytes());
    octets.extend_from_slice(&line.newest_us.to_le_bytes());
    octets.extend_from_slice(&line.stretch.to_le_bytes());
    octets.extend_from_slice(&line.stretch_us.to_le_bytes());
    octets.extend_from_slice(&memory.rate.to_le_bytes());
    octets.push(memory.confirmations);
    octets.extend_from_slice(&memory.confirmed_us.to_le_bytes());
    memory.ranges.state(octets);
    let mut bits = memory.bits;
    bits[place(line.newest).0] = line.recent;
    octets.extend(bits.iter().flat_map(|word| word.to_le_bytes()));
}

/// Reads all streams of layout 2 behind its first two octets.
fn streams(octets: &[u8], each: &mut dyn FnMut(Restored)) -> Option<()> {
    let (version, mut rest) = octets.split_first_chunk()?;
    if u16::from_le_bytes(*version) != VERSION {
        return None;
    }
    while !rest.is_empty() {
        let mut reader = Reader(rest);
        let spacecraft = SpacecraftId::new(u16::from_le_bytes(reader.take()?))?;
        let apid = Apid::new(u16::from_le_bytes(reader.take()?));
        let [width, is_lone, boots] = reader.take()?;
        let width = CounterWidth::new(width)?;
        let (Role::Current, current) = boot(&mut reader, width)? else { return None };
        let mut others = [const { None }; 1 + CANDIDATES];
        for other in others.get_mut(..usize::from(boots.checked_sub(1)?))? {
            *other = Some(boot(&mut reader, width)?);
        }
        let is_lone = is_lone != 0 && boots == 1;
        each(Restored { spacecraft, apid, is_lone, current, others });
        rest = reader.0;
    }
    Some(())
}

fn boot(reader: &mut Reader<'_>, width: CounterWidth) -> Option<(Role, Boot)> {
    let role = match reader.take()? {
        [0] => Role::Current,
        [1] => Role::Previous,
        [2] => Role::Candidate,
        _ => return None,
    };
    let mut boot = Boot::new(u32::from_le_bytes(reader.take()?), width, 0.0);
    let Boot { line, memory } = &mut boot;
    line.newest = width.wrap(u32::from_le_bytes(reader.take()?));
    line.heard = u16::from_le_bytes(reader.take()?);
    line.newest_us = i64::from_le_bytes(reader.take()?);
    line.stretch = width.wrap(u32::from_le_bytes(reader.take()?));
    line.stretch_us = i64::from_le_bytes(reader.take()?);
    memory.rate = f32::from_le_bytes(reader.take()?);
    [memory.confirmations] = reader.take()?;
    memory.confirmed_us = i64::from_le_bytes(reader.take()?);
    let (ranges, rest) = Ranges::restored(reader.0)?;
    reader.0 = rest;
    memory.ranges = ranges;
    memory.bits = reader.bits()?;
    line.recent = memory.bits[place(line.newest).0];
    let is_valid = (1..=WINDOW_COUNTS).contains(&line.heard.into())
        && memory.rate >= 0.0
        && memory.confirmations < super::REBOOT_FRAMES + u8::from(role != Role::Candidate)
        && memory.ranges.are_valid(width, line.newest);
    is_valid.then_some((role, boot))
}

/// Octets that are read from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const OCTETS: usize>(&mut self) -> Option<[u8; OCTETS]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    fn bits(&mut self) -> Option<[u64; WORDS]> {
        let (words, rest) = self.0.split_at_checked(WORDS * 8)?;
        self.0 = rest;
        let mut bits = [0; WORDS];
        let words = words.as_chunks().0;
        bits.iter_mut().zip(words).for_each(|(word, octets)| *word = u64::from_le_bytes(*octets));
        Some(bits)
    }
}

const VERSION: u16 = 2;
