//! Looking at a journal from outside, also while a station writes it: nothing is changed.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    apart,
    files::{Files, Octets},
    open::LOCK,
    record::{SEGMENT_HEAD_OCTETS, SegmentHead},
    walk::Walk,
};

/// One file of a journal's folder.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub octets: u64,
    /// What is in it; why it cannot be read otherwise.
    pub content: Result<Content, String>,
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whose samples.
    pub station: String,
    /// The journal's identity.
    pub journal: i64,
    /// When it was begun, µs since 1970.
    pub made_us: i64,
    /// Whole records.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Records that are not whole, and octets that are in no record.
    pub damaged: u64,
    /// Octets of those at the end: of a write that was not finished, or is not yet.
    pub torn: u64,
}

impl Looked {
    /// What stands above lines of it.
    pub const HEADING: &str = "file                       begun                    octets   records   samples  damaged  torn";

    /// Whether all of it can be read.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.content.as_ref().is_ok_and(|content| content.damaged == 0 && content.torn == 0)
    }
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let octets = self.octets;
        match &self.content {
            Ok(content) => {
                let begun = jiff::Timestamp::from_microsecond(content.made_us).unwrap_or_default();
                let begun = format!("{begun:.0}");
                let Content { records, samples, damaged, torn, .. } = content;
                write!(
                    f,
                    "{name:25}  {begun:20} {octets:>10} {records:>9} {samples:>9} {damaged:>8} {torn:>5}"
                )
            }
            Err(why) => write!(f, "{name:25}  {:20} {octets:>10}  {why}", ""),
        }
    }
}

/// The segments of a folder in order, and the files that were set aside.
pub fn look(files: &dyn Files, folder: &Path) -> io::Result<Vec<Looked>> {
    let mut paths = files.list(folder)?;
    paths.retain(|path| apart::is_segment(path));
    paths.sort();
    Ok(paths.into_iter().map(|path| look_at(files, path)).collect())
}

/// Whether a folder is a journal's: it has a segment, or the lock of a station that has used it.
#[must_use]
pub fn is_journal(files: &dyn Files, folder: &Path) -> bool {
    let paths = files.list(folder).unwrap_or_default();
    let is_lock = |path: &Path| path.file_name().is_some_and(|name| name == LOCK);
    paths.iter().any(|path| apart::is_segment(path) || is_lock(path))
}

/// Whether a folder has a segment with more than a header.
#[must_use]
pub fn may_hold_samples(files: &dyn Files, folder: &Path) -> bool {
    let paths = super::segments_in(files, folder).unwrap_or_default();
    let length = |path: &PathBuf| files.open(path).and_then(|file| file.length()).unwrap_or(0);
    paths.iter().any(|path| length(path) > SEGMENT_HEAD_OCTETS as u64)
}

fn look_at(files: &dyn Files, path: PathBuf) -> Looked {
    let opened = files.open(&path).and_then(|file| Ok((file.length()?, file)));
    match opened {
        Ok((octets, file)) => Looked { path, octets, content: content(&*file, octets) },
        Err(error) => Looked { path, octets: 0, content: Err(error.to_string()) },
    }
}

fn content(file: &dyn Octets, octets: u64) -> Result<Content, String> {
    let mut head = [0; SEGMENT_HEAD_OCTETS];
    let read = file.read_at(&mut head, 0).map_err(|error| error.to_string())?;
    let head = SegmentHead::read(&head[..read]).map_err(|error| error.to_string())?;
    let mut end = head.octets() as u64;
    let mut walk = Walk::new(file, head.layout, head.first, octets);
    let mut content = Content {
        station: head.station,
        journal: head.journal,
        made_us: head.made_us,
        records: 0,
        samples: 0,
        damaged: 0,
        torn: 0,
    };
    while let Some((offset, record)) = walk.next_whole() {
        content.records += 1;
        content.samples += record.samples;
        end = offset + record.octets() as u64;
    }
    // What stands behind the last whole record is an unfinished write, not damage.
    content.damaged = walk.damaged;
    content.torn = octets.saturating_sub(end);
    Ok(content)
}
