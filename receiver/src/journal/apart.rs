//! Files of the folder that are not read with it, and are kept: damaged segments, and segments that
//! another journal or another station has written. Those lie in a folder of their own, which is a
//! journal by itself and can be drained.
//!
//! Guarantee: no file that is kept replaces another.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    DAMAGED, FOREIGN, NUMBER_DIGITS, SEGMENT, file_name,
    files::Files,
    record::{SEGMENT_HEAD_OCTETS, SegmentHead, Unusable, crc32c},
};

/// Segments of another journal or station that hold samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The folder that they lie in.
    pub folder: PathBuf,
    /// Whose samples they are.
    pub station: String,
    /// How many.
    pub segments: usize,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, station, segments } = self;
        // Debug quotes both for a shell, and shows control characters as such.
        write!(
            f,
            "{segments} journal segments of station {station:?} are not part of this journal; store \
             them with: receiver journal drain --journal {folder:?}"
        )
    }
}

impl Apart {
    /// What lies in the folder of a journal.
    #[must_use]
    pub fn list(files: &dyn Files, folder: &Path) -> Vec<Self> {
        let mut folders = files.list(folder).unwrap_or_default();
        folders.retain(|path| path.extension().is_some_and(|ending| ending == FOREIGN));
        folders.sort();
        folders.into_iter().filter_map(|folder| Self::of(files, folder)).collect()
    }

    fn of(files: &dyn Files, folder: PathBuf) -> Option<Self> {
        let (mut segments, mut station) = (0, String::new());
        for path in super::segments_in(files, &folder).ok()? {
            let Ok((octets, head)) = read_head(files, &path) else { continue };
            let Ok(head) = head else { continue };
            if octets > head.octets() as u64 {
                segments += 1;
                station = head.station;
            }
        }
        (segments > 0).then_some(Self { folder, station, segments })
    }
}

/// A segment's length and header.
pub(super) fn read_head(
    files: &dyn Files,
    path: &Path,
) -> io::Result<(u64, Result<SegmentHead, Unusable>)> {
    let file = files.open(path)?;
    let octets = file.length()?;
    let mut head = [0; SEGMENT_HEAD_OCTETS];
    let read = file.read_at(&mut head, 0)?;
    Ok((octets, SegmentHead::read(&head[..read])))
}

/// Keeps a damaged file under another name, which comes back.
pub(super) fn keep_damaged(files: &dyn Files, path: &Path) -> io::Result<PathBuf> {
    keep_as(files, path, DAMAGED)
}

/// Keeps a segment that this program cannot read under another name, which comes back.
pub(super) fn keep_unknown(files: &dyn Files, path: &Path) -> io::Result<PathBuf> {
    keep_as(files, path, FOREIGN)
}

fn keep_as(files: &dyn Files, path: &Path, ending: &str) -> io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let taken = files.list(folder)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = std::iter::once(format!("{stem}.{ending}"))
        .chain((2..).map(|number: u64| format!("{stem}.{number}.{ending}")));
    let mut paths = names.map(|name| folder.join(name)).filter(|path| !taken.contains(path));
    let kept = paths.next().ok_or_else(|| io::Error::other("no name is free"))?;
    files.rename(path, &kept)?;
    Ok(kept)
}

/// Moves a segment of another journal or station to the folder that it belongs in, and returns where
/// it is now.
pub(super) fn keep_foreign(
    files: &dyn Files,
    path: &Path,
    head: &SegmentHead,
) -> io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (journal, station) = (head.journal, crc32c(head.station.as_bytes()));
    let name = format!("{:016x}-{station:08x}", journal.cast_unsigned());
    let names = std::iter::once(format!("{name}.{FOREIGN}"))
        .chain((2..).map(|number: u64| format!("{name}.{number}.{FOREIGN}")));
    for name in names {
        let folder = folder.join(name);
        files.make_folder(&folder)?;
        let kept = folder.join(file_name(head.first));
        if !files.list(&folder)?.contains(&kept) {
            files.rename(path, &kept)?;
            return Ok(kept);
        }
    }
    Err(io::Error::other("no name is free"))
}

/// Looks again at segments that an earlier start kept: one that is this journal's, and that this
/// program reads, becomes part of it again; another one goes to the folder that it belongs in.
pub(super) fn adopt(files: &dyn Files, folder: &Path, station: &str, journal: Option<i64>) {
    let paths = files.list(folder).unwrap_or_default();
    for path in paths.into_iter().filter(|path| is_kept(path, FOREIGN)) {
        let Ok((_, Ok(head))) = read_head(files, &path) else { continue };
        let own = folder.join(file_name(head.first));
        let is_own = head.station == station && journal.is_some_and(|own| own == head.journal);
        let shown = path.display();
        let kept = if is_own && files.open(&own).is_err() {
            files.rename(&path, &own).map(|()| own)
        } else {
            keep_foreign(files, &path, &head)
        };
        match kept {
            Ok(kept) => tracing::info!("{shown} is now {}", kept.display()),
            Err(error) => tracing::warn!("{shown}: {error}"),
        }
    }
}

/// Whether it is the file of a segment that is kept with this ending.
fn is_kept(path: &Path, ending: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_number = name
        .get(..NUMBER_DIGITS)
        .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let rest = name.get(NUMBER_DIGITS..).unwrap_or_default();
    is_number && rest.starts_with('.') && path.extension().is_some_and(|other| other == ending)
}

/// Whether it is a damaged segment that is kept.
pub(super) fn is_damaged(path: &Path) -> bool {
    is_kept(path, DAMAGED)
}

/// Whether it is a segment, or was one.
pub(super) fn is_segment(path: &Path) -> bool {
    is_kept(path, SEGMENT) || is_kept(path, DAMAGED) || is_kept(path, FOREIGN)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::files::Disk;

    #[test]
    fn files_that_are_kept_never_replace_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000000000000009.segment");
        let head = SegmentHead::new(-1, 2, 7, 0, "GS 1");
        for number in 0..4 {
            fs::write(&path, format!("damaged {number}")).unwrap();
            keep_damaged(&Disk, &path).unwrap();
            let mut octets = head.to_octets().unwrap();
            octets.extend_from_slice(format!("foreign {number}").as_bytes());
            fs::write(&path, octets).unwrap();
            keep_foreign(&Disk, &path, &head).unwrap();
            fs::write(&path, format!("unknown {number}")).unwrap();
            keep_unknown(&Disk, &path).unwrap();
        }
        let mut damaged: Vec<_> = Disk.list(folder.path()).unwrap();
        damaged.retain(|path| is_damaged(path));
        assert_eq!(damaged.len(), 4);
        let all = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(all, 4 + 4 + 4, "damaged, folders of foreign segments, and unknown");
        let apart = Apart::list(&Disk, folder.path());
        assert_eq!(apart.len(), 4);
        assert!(apart.iter().all(|one| one.station == "GS 1" && one.segments == 1));
        let said = apart[0].to_string();
        assert!(said.contains("receiver journal drain --journal"), "{said}");
        assert!(said.contains(".foreign") && said.contains("\"GS 1\""), "{said}");
    }
}
