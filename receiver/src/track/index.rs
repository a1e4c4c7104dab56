//! From spacecraft and APID to the number of a stream.
//!
//! A table in two levels, indexed directly: a directory with an entry for each block of 64 spacecraft of
//! an APID, and the blocks. So a look-up is two loads whatever was received, nothing has to be hashed,
//! and spacecraft with consecutive numbers stand together in the processor's cache.
//!
//! Bounded: the directory's 8 MiB, of which only the pages of heard APIDs are ever touched, and one block
//! of 256 octets a stream.

use protocol::{Apid, SpacecraftId};

pub(super) struct Index {
    /// Number of the block and one, or 0 for none.
    directory: Vec<u32>,
    blocks: Vec<Block>,
    /// Blocks without a stream.
    free: Vec<u32>,
}

#[derive(Clone)]
struct Block {
    /// Number of the stream and one, or 0 for none.
    streams: [u32; BLOCK],
    used: u8,
}

/// What the index costs for a stream at most.
pub(super) const BYTES_PER_STREAM: usize = size_of::<Block>() + 2 * size_of::<u32>();

impl Index {
    /// For at most `streams_max` streams.
    pub(super) fn new(streams_max: usize) -> Self {
        Self {
            // Zeroes, so that the system provides its pages when they are first touched.
            directory: vec![0; DIRECTORY],
            blocks: Vec::with_capacity(streams_max),
            free: Vec::with_capacity(streams_max),
        }
    }

    /// The number of a stream.
    #[inline]
    pub(super) fn get(&self, spacecraft: SpacecraftId, apid: Apid) -> Option<usize> {
        let (entry, place) = slot(spacecraft, apid);
        let block = self.directory[entry].checked_sub(1)?;
        let number = self.blocks[block as usize].streams[place].checked_sub(1)?;
        Some(number as usize)
    }

    /// Enters a stream that has no number yet.
    pub(super) fn insert(&mut self, spacecraft: SpacecraftId, apid: Apid, number: usize) {
        let (entry, place) = slot(spacecraft, apid);
        if self.directory[entry] == 0 {
            let block = self.free.pop().unwrap_or_else(|| {
                self.blocks.push(Block { streams: [0; BLOCK], used: 0 });
                self.blocks.len() as u32 - 1
            });
            self.directory[entry] = block + 1;
        }
        let block = &mut self.blocks[self.directory[entry] as usize - 1];
        block.used += u8::from(block.streams[place] == 0);
        block.streams[place] = number as u32 + 1;
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, spacecraft: SpacecraftId, apid: Apid) {
        let (entry, place) = slot(spacecraft, apid);
        let Some(number) = self.directory[entry].checked_sub(1) else { return };
        let block = &mut self.blocks[number as usize];
        block.used -= u8::from(block.streams[place] != 0);
        block.streams[place] = 0;
        if block.used == 0 {
            self.directory[entry] = 0;
            self.free.push(number);
        }
    }
}

#[inline]
fn slot(spacecraft: SpacecraftId, apid: Apid) -> (usize, usize) {
    let spacecraft = usize::from(spacecraft.number());
    (usize::from(apid.number()) * BLOCKS_PER_APID + spacecraft / BLOCK, spacecraft % BLOCK)
}

const BLOCK: usize = 64;
const BLOCKS_PER_APID: usize = (1 << 16) / BLOCK;
const APIDS: usize = 1 << 11;
const DIRECTORY: usize = APIDS * BLOCKS_PER_APID;
const _: () = assert!(DIRECTORY * size_of::<u32>() <= 8 << 20 && BLOCK <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    fn key((spacecraft, apid): (u16, u16)) -> (SpacecraftId, Apid) {
        (SpacecraftId::new(spacecraft).unwrap(), Apid::new(apid))
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            changes in prop::collection::vec((any::<bool>(), 1_u16..200, 0_u16..4), 0..300),
        ) {
            let (mut index, mut map) = (Index::new(1_000), HashMap::new());
            for (number, (inserts, spacecraft, apid)) in changes.into_iter().enumerate() {
                let (spacecraft, apid) = (spacecraft * 300, apid * 682);
                let (id, kind) = key((spacecraft, apid));
                if inserts {
                    index.insert(id, kind, number);
                    map.insert((spacecraft, apid), number);
                } else {
                    index.remove(id, kind);
                    map.remove(&(spacecraft, apid));
                }
                prop_assert_eq!(index.get(id, kind), map.get(&(spacecraft, apid)).copied());
            }
            for (&both, &number) in &map {
                let (id, kind) = key(both);
                prop_assert_eq!(index.get(id, kind), Some(number));
            }
            prop_assert!(index.blocks.len() - index.free.len() <= map.len());
        }
    }
}
