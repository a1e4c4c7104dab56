//! What the tracker knows, as a file beside the segments: the state after all records before a
//! number.
//!
//! Layout, little-endian: magic `ORBTRACK`, version (u32), CRC32C of all that follows (u32), journal
//! (i64), number (i64), the tracker's own octets.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{files::Files, record::crc32c};

/// The state that is to be written next; a newer one replaces it.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Option<(i64, Vec<u8>)>>);

impl Pending {
    pub(super) fn put(&self, number: i64, state: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, state));
    }

    pub(super) fn take(&self) -> Option<(i64, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes the file: whole, old or new, whatever happens meanwhile.
pub(super) fn write(
    files: &dyn Files,
    folder: &Path,
    journal: i64,
    number: i64,
    state: &[u8],
) -> io::Result<()> {
    let mut octets = Vec::with_capacity(HEAD_OCTETS + state.len());
    octets.extend_from_slice(MAGIC);
    octets.extend_from_slice(&VERSION.to_le_bytes());
    octets.extend_from_slice(&[0; 4]);
    octets.extend_from_slice(&journal.to_le_bytes());
    octets.extend_from_slice(&number.to_le_bytes());
    octets.extend_from_slice(state);
    let crc = crc32c(&octets[CRC_END..]);
    octets[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_le_bytes());
    let (new, path) = (folder.join(NEW_NAME), folder.join(NAME));
    match files.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&new)?;
    file.write_at(&octets, 0)?;
    file.sync()?;
    files.rename(&new, &path)?;
    files.sync_folder(folder)
}

/// The file's number and state; none if there is none for this journal. An error says why it cannot
/// be used.
pub(super) fn read(
    files: &dyn Files,
    folder: &Path,
    journal: i64,
) -> io::Result<Option<(i64, Vec<u8>)>> {
    let file = match files.open(&folder.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    if length > STATE_OCTETS_MAX {
        return Err(io::Error::other("it is too large"));
    }
    let mut octets = vec![0; length as usize];
    let read = file.read_at(&mut octets, 0)?;
    octets.truncate(read);
    let damaged = || io::Error::other("it is damaged");
    let (head, state) = octets.split_first_chunk::<HEAD_OCTETS>().ok_or_else(damaged)?;
    let crc = u32::from_le_bytes(*head[12..].first_chunk().ok_or_else(damaged)?);
    let version = u32::from_le_bytes(*head[8..].first_chunk().ok_or_else(damaged)?);
    if &head[..8] != MAGIC || crc != crc32c(&octets[CRC_END..]) {
        return Err(damaged());
    }
    if version != VERSION {
        return Err(io::Error::other(format!("it has version {version}")));
    }
    let number = |at: usize| head[at..].first_chunk().map(|octets| i64::from_le_bytes(*octets));
    let (of, number) = (number(16).ok_or_else(damaged)?, number(24).ok_or_else(damaged)?);
    Ok((of == journal).then(|| (number, state.to_vec())))
}

pub(super) const NAME: &str = "tracker.state";
const NEW_NAME: &str = "tracker.new";
const MAGIC: &[u8; 8] = b"ORBTRACK";
const VERSION: u32 = 1;
const CRC_END: usize = 16;
const HEAD_OCTETS: usize = 32;
/// More than every spacecraft there can be, with three APIDs and four boots each.
const STATE_OCTETS_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::files::Disk;

    #[test]
    fn a_file_of_the_build_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = include_bytes!("../../tests/fixtures/tracker-v1.state");
        std::fs::write(folder.path().join(NAME), file).unwrap();
        let (number, state) = read(&Disk, folder.path(), 4_711).unwrap().unwrap();
        assert_eq!((number, &*state), (42, &file[HEAD_OCTETS..]));
    }

    #[test]
    fn reads_back_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(read(&Disk, path, 1).unwrap(), None);
        for number in [5, 7] {
            write(&Disk, path, 1, number, b"state").unwrap();
            assert_eq!(read(&Disk, path, 1).unwrap(), Some((number, b"state".to_vec())));
        }
        assert_eq!(read(&Disk, path, 2).unwrap(), None, "another journal's");
        let file = path.join(NAME);
        let whole = std::fs::read(&file).unwrap();
        for place in 0..whole.len() {
            let mut octets = whole.clone();
            octets[place] ^= 1;
            std::fs::write(&file, &octets).unwrap();
            assert!(read(&Disk, path, 1).is_err(), "octet {place}");
            std::fs::write(&file, &whole[..place]).unwrap();
            assert!(read(&Disk, path, 1).is_err(), "{place} octets");
        }
    }
}
