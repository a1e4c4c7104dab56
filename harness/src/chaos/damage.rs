//! Damage to a journal whose station was killed, and what it may cost.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result};

use super::planted::TAG;
use super::segment::{self, Segment};
use crate::tap::Stream;

/// How a journal is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// This many octets are cut off the end of the newest segment.
    Torn {
        /// At most; a shorter segment loses all.
        octets: u64,
    },
    /// The newest segment that holds planted headers ends within the last of them.
    TornWithinPlanted,
    /// A bit of the first planted header flips.
    FlippedInPlanted,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Octets that were cut off anywhere.
    pub(super) torn_octets: u64,
    /// The frames of the records that are damaged or cut off, where that is known.
    pub(super) frames: HashSet<(Stream, u32)>,
}

impl Damage {
    /// Does it.
    pub(super) fn inflict(self, journal: &Path) -> Result<Done> {
        match self {
            Self::Torn { octets } => {
                Ok(Done { torn_octets: tear(journal, octets)?, ..Done::default() })
            }
            Self::TornWithinPlanted | Self::FlippedInPlanted => {
                let mut paths = segment::paths(journal)?.into_iter().rev();
                let done = paths.find_map(|path| self.hit_planted(&path).transpose());
                done.context("no record of the journal holds a planted header")?
            }
        }
    }

    /// Damages a segment where it holds a planted header, if it does.
    fn hit_planted(self, path: &Path) -> Result<Option<Done>> {
        let segment = Segment::read(path)?;
        let planted = |record: &segment::Record| Some((*record, segment.find(record, TAG)?));
        let mut planted = segment.records().filter_map(|record| planted(&record));
        let mut octets = segment.octets().to_vec();
        let damaged: Vec<_> = if self == Self::FlippedInPlanted {
            let Some((record, at)) = planted.next() else { return Ok(None) };
            octets[at + INTO_PLANTED] ^= 0x10;
            vec![record]
        } else {
            let Some((record, at)) = planted.last() else { return Ok(None) };
            octets.truncate(at + INTO_PLANTED);
            segment.records().filter(|other| other.start >= record.start).collect()
        };
        let mut frames = HashSet::new();
        for record in &damaged {
            frames.extend(segment.frames(record)?);
        }
        fs::write(path, octets).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(Done { torn_octets: 0, frames }))
    }
}

/// Cuts so many octets off the newest segment of a journal; how many it were.
fn tear(journal: &Path, octets: u64) -> Result<u64> {
    let path = segment::paths(journal)?.pop();
    let path = path
        .with_context(|| format!("there is no *.segment in the journal {}", journal.display()))?;
    let length = fs::metadata(&path)?.len();
    let octets = octets.min(length);
    OpenOptions::new().write(true).open(&path)?.set_len(length - octets)?;
    Ok(octets)
}

/// From the beginning of what was planted: within the first header that follows its tag.
const INTO_PLANTED: usize = TAG.len() + 20;
