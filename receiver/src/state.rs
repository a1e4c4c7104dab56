//! The folder in which a station keeps what it has learned between runs: one file for each shard.
//!
//! Guarantee: a file is whole, old or new, whatever happens meanwhile: it is written beside the old
//! one, synchronised and put in its place. One that cannot be used is set aside, not deleted, and
//! stops nothing. A folder belongs to one running station.
//!
//! Limits: files beyond a size are not read. The last files of a run that was killed are up to
//! [`SAVE_PERIOD`] old.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// How often each shard is written, one after the other: what is learned within minutes is learned
/// again in as many, and a file of 1 MiB every few seconds is no load.
pub const SAVE_PERIOD: Duration = Duration::from_secs(300);

/// A folder that is this station's own as long as this lives.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    octets_max: u64,
    _lock: File,
}

impl StateFolder {
    /// Opens the folder, which is made if need be; files of more than `octets_max` are not read.
    pub fn open(path: &Path, octets_max: u64) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("cannot make the folder {shown}"))?;
        let lock = File::create(path.join(LOCK))
            .with_context(|| format!("cannot write to {shown}; choose another --state"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                bail!("{shown} is in use by another station; choose another --state")
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {shown}"));
            }
        }
        Ok(Self { path: path.to_owned(), octets_max, _lock: lock })
    }

    /// Gives the shard's file to `take`, if there is one; what `take` refuses is set aside.
    pub fn load<E: std::error::Error + Send + Sync + 'static>(
        &self,
        shard: usize,
        take: impl FnOnce(&[u8]) -> Result<(), E>,
    ) {
        let path = self.file(shard);
        let taken = self.read(&path).and_then(|octets| match octets {
            Some(octets) => take(&octets).map_err(anyhow::Error::new),
            None => Ok(()),
        });
        let Err(error) = taken else { return };
        let aside = path.with_extension("damaged");
        let shown = path.display();
        match fs::rename(&path, &aside) {
            Ok(()) => tracing::warn!(
                "{shown} is not used: {error:#}; it is set aside as {}",
                aside.display()
            ),
            Err(_) => tracing::warn!("{shown} is not used: {error:#}"),
        }
    }

    /// Writes the shard's file.
    pub fn save(&self, shard: usize, octets: &[u8]) -> io::Result<()> {
        let path = self.file(shard);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&new, &path)
    }

    fn read(&self, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut octets = Vec::new();
        file.take(self.octets_max + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > self.octets_max {
            bail!("it is larger than {} octets", self.octets_max);
        }
        Ok(Some(octets))
    }

    fn file(&self, shard: usize) -> PathBuf {
        self.path.join(format!("detect-{shard:02}.state"))
    }
}

const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("not wanted")]
    struct NotWanted;

    fn load(folder: &StateFolder, shard: usize) -> Option<Vec<u8>> {
        let mut found = None;
        folder.load(shard, |octets| {
            found = Some(octets.to_vec());
            if octets == b"bad" { Err(NotWanted) } else { Ok(()) }
        });
        found
    }

    #[test]
    fn what_was_saved_is_loaded_and_what_is_refused_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/state");
        let state = StateFolder::open(&path, 5).unwrap();
        assert_eq!(load(&state, 3), None);
        state.save(3, b"12345").unwrap();
        state.save(4, b"123456").unwrap();
        state.save(5, b"bad").unwrap();
        for _ in 0..2 {
            assert_eq!(load(&state, 3).as_deref(), Some(&b"12345"[..]));
        }
        assert_eq!(load(&state, 4), None, "too large");
        assert_eq!(load(&state, 5).as_deref(), Some(&b"bad"[..]));
        assert_eq!(load(&state, 5), None);
        for shard in ["04", "05"] {
            assert!(path.join(format!("detect-{shard}.damaged")).exists());
        }
        fs::create_dir(path.join("detect-06.new")).unwrap();
        assert!(state.save(6, b"1").is_err(), "and no more than that");
    }

    #[test]
    fn a_folder_has_one_station() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path(), 5).unwrap();
        let error = StateFolder::open(folder.path(), 5).unwrap_err();
        assert!(error.to_string().contains("another station"), "{error}");
        drop(first);
        StateFolder::open(folder.path(), 5).unwrap();
        let file = folder.path().join("lock/beneath");
        assert!(StateFolder::open(&file, 5).is_err());
    }
}
