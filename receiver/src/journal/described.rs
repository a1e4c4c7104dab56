//! Descriptions of the definitions that the entries of a journal follow: one small file each in its
//! folder, so that a later build knows what it decodes as it was meant.
//!
//! Limits: [`FILES_MAX`] files of [`OCTETS_MAX`] octets are read. A file whose text does not have the
//! fingerprint in its name is not used.

use std::{io, path::Path};

use super::files::Files;
use crate::definitions::{self, Definitions, Known};

/// Writes the description of this build's own definitions, unless it is there.
pub(super) fn write(files: &dyn Files, folder: &Path) -> io::Result<()> {
    let path = folder.join(format!("{:016x}.{ENDING}", definitions::fingerprint()));
    let text = definitions::describe();
    if read(files, &path).is_some_and(|there| there == text) {
        return Ok(());
    }
    let new = path.with_extension("new");
    match files.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&new)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()?;
    files.rename(&new, &path)?;
    files.sync_folder(folder)
}

/// The definitions that a folder describes, and those that are built in.
#[must_use]
pub fn known(files: &dyn Files, folder: &Path) -> Definitions {
    let mut known = Definitions::built_in();
    let mut paths = files.list(folder).unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    for path in paths.into_iter().take(FILES_MAX) {
        let described = read(files, &path).map(|text| Known::parse(&text));
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match described {
            Some(Ok(one)) if name == format!("{:016x}", one.fingerprint()) => known.learn(&one),
            _ => tracing::warn!("{} describes no definitions; it is not used", path.display()),
        }
    }
    known
}

fn read(files: &dyn Files, path: &Path) -> Option<String> {
    let file = files.open(path).ok()?;
    let length = file.length().ok().filter(|&length| length <= OCTETS_MAX)?;
    let mut octets = vec![0; usize::try_from(length).ok()?];
    let read = file.read_at(&mut octets, 0).ok()?;
    octets.truncate(read);
    String::from_utf8(octets).ok()
}

const ENDING: &str = "definitions";
const OCTETS_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{definitions::Decodable, journal::files::Disk};

    #[test]
    fn descriptions_read_back_and_nothing_else_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            write(&Disk, folder.path()).unwrap();
        }
        let own = definitions::fingerprint();
        let other = definitions::describe().replace(" health ", " other ");
        let of_other = Known::parse(&other).unwrap().fingerprint();
        fs::write(folder.path().join(format!("{of_other:016x}.{ENDING}")), &other).unwrap();
        // Under a name that is not its own it would decode what it does not describe.
        fs::write(folder.path().join(format!("{:016x}.{ENDING}", of_other ^ 1)), &other).unwrap();
        fs::write(folder.path().join(format!("0.{ENDING}")), b"\xFF\xFE").unwrap();
        let known = known(&Disk, folder.path());
        assert_eq!(known.of(own), Decodable::ALL);
        assert_ne!(known.of(of_other), Decodable::NONE);
        assert_eq!(known.of(of_other ^ 1), Decodable::NONE);
    }
}
