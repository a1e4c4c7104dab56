//! Layout 1 of a tracker's state, little-endian: stream after stream: spacecraft (u16), APID (u16), boots
//! (u8, 1 or 2, the current one first), and for each boot its count (u16), newest count (u32), counts
//! heard (u32) and the bits (u64 each). The counter had 30 bits.
//!
//! It has no ranges, so those within the window are found in its bits. What lies further back could not
//! be told from repeats, and cannot now. Times and rates were not known.

use protocol::{Apid, SpacecraftId};

use super::{Reader, Restored, Role};
use crate::track::{
    CANDIDATES, CounterWidth, WINDOW_COUNTS,
    boot::{Boot, place},
    ranges::Range,
};

/// Reads all streams.
pub(super) fn streams(octets: &[u8], each: &mut dyn FnMut(Restored)) -> Option<()> {
    let mut reader = Reader(octets);
    while !reader.0.is_empty() {
        let spacecraft = SpacecraftId::new(u16::from_le_bytes(reader.take()?))?;
        let apid = Apid::new(u16::from_le_bytes(reader.take()?));
        let [boots] = reader.take()?;
        let current = boot(&mut reader)?;
        let mut others = [const { None }; 1 + CANDIDATES];
        if boots > 1 {
            others[0] = Some((Role::Previous, boot(&mut reader)?));
        }
        let received = current.memory.bits.iter().map(|word| word.count_ones()).sum::<u32>();
        let is_lone = boots == 1 && current.line.heard == 1 && received == 1;
        each(Restored { spacecraft, apid, is_lone, current, others });
    }
    Some(())
}

fn boot(reader: &mut Reader<'_>) -> Option<Boot> {
    let boot_count = u16::from_le_bytes(reader.take()?);
    let mut boot = Boot::new(boot_count.into(), WIDTH, 0.0);
    let Boot { line, memory } = &mut boot;
    line.newest = WIDTH.wrap(u32::from_le_bytes(reader.take()?));
    line.heard = u32::from_le_bytes(reader.take()?).min(WINDOW_COUNTS) as u16;
    memory.bits = reader.bits()?;
    if line.heard == 0 {
        // No count came, whatever the bits say.
        return Some(Boot::new(boot_count.into(), WIDTH, 0.0));
    }
    line.recent = memory.bits[place(line.newest).0];
    let heard = u32::from(line.heard);
    let mut gap = None;
    let mut close = |range: Option<Range>| range.map(|range| memory.ranges.push(WIDTH, range));
    if heard < WINDOW_COUNTS {
        // What lies before the window cannot have come: it would have been stale.
        let counts = WIDTH.half() - (WINDOW_COUNTS - 1);
        let start = WIDTH.wrap(line.newest.wrapping_sub(WIDTH.half()));
        gap = Some(Range { start, counts, is_missed: false });
    }
    for age in (1..WINDOW_COUNTS).rev() {
        let count = WIDTH.wrap(line.newest.wrapping_sub(age));
        let (word, bit) = place(count);
        let is_missed = age < heard;
        if memory.bits[word] & bit != 0 {
            close(gap.take());
            continue;
        }
        match &mut gap {
            Some(range) if range.is_missed == is_missed => range.counts += 1,
            _ => {
                close(gap.take());
                gap = Some(Range { start: count, counts: 1, is_missed });
            }
        }
    }
    close(gap);
    Some(boot)
}

const WIDTH: CounterWidth = CounterWidth::EXTENDED;
