//! The folder in which a station keeps what it has learned between runs: one file for each shard.
//!
//! A file begins with what it was learned from: the journal and the place in it up to which all
//! samples of the shard were seen (magic `ORBLEARN`, two i64, little-endian).
//!
//! Guarantee: a file is whole, old or new, whatever happens meanwhile: it is written beside the old
//! one, synchronised and put in its place. One that cannot be used is set aside, not deleted, and
//! stops nothing. A folder belongs to one running station.
//!
//! Limits: files beyond a size are not read. The last files of a run that was killed are up to
//! [`SAVE_PERIOD`] old.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// How often each shard is written, one after the other: with a journal, what was learned since is
/// learned again from there after a crash, and so much of it has to be kept. A file of 1 MiB a second
/// at most is no load.
pub const SAVE_PERIOD: Duration = Duration::from_secs(60);

/// What was learned came from all before a place in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The journal's identity.
    pub journal: i64,
    /// The place.
    pub number: i64,
}

/// Makes a folder that nobody else on the machine may look into, and those above it.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Opens a file that is to be locked, and makes it if need be.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    open_file(path, File::options().write(true).create(true).truncate(false))
}

/// Opens a file that is to be locked and is there, also on a disk that is read-only.
pub(crate) fn open_lock_read_only(path: &Path) -> io::Result<File> {
    open_file(path, File::options().read(true))
}

/// Something else than a file is an error: a FIFO would be waited for, and what a link leads to is not
/// this station's.
fn open_file(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(format!("{} is no file", path.display())))
    }
}

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
        make_folder(path).with_context(|| format!("cannot make the folder {shown}"))?;
        let lock = open_lock(&path.join(LOCK))
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

    /// Gives the shard's file to `take`, if there is one, and returns since when it is; what `take`
    /// refuses is set aside.
    pub fn load<E: std::error::Error + Send + Sync + 'static>(
        &self,
        shard: usize,
        take: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Option<Since> {
        let path = self.file(shard);
        let taken = self.read(&path).and_then(|octets| {
            let Some(octets) = octets else { return Ok(None) };
            let (since, learned) = Since::split(&octets).context("it is no such file")?;
            take(learned)?;
            Ok(Some(since))
        });
        let error = match taken {
            Ok(since) => return since,
            Err(error) => error,
        };
        let aside = path.with_extension("damaged");
        let shown = path.display();
        match fs::rename(&path, &aside) {
            Ok(()) => tracing::warn!(
                "{shown} is not used: {error:#}; it is set aside as {}",
                aside.display()
            ),
            Err(_) => tracing::warn!("{shown} is not used: {error:#}"),
        }
        None
    }

    /// Writes the shard's file.
    pub fn save(&self, shard: usize, since: Since, octets: &[u8]) -> io::Result<()> {
        let path = self.file(shard);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&since.head())?;
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
        let octets_max = self.octets_max + HEAD_OCTETS as u64;
        file.take(octets_max + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > octets_max {
            bail!("it is larger than {} octets", self.octets_max);
        }
        Ok(Some(octets))
    }

    fn file(&self, shard: usize) -> PathBuf {
        self.path.join(format!("detect-{shard:02}.state"))
    }
}

impl Since {
    fn head(self) -> [u8; HEAD_OCTETS] {
        let mut head = [0; HEAD_OCTETS];
        head[..8].copy_from_slice(MAGIC);
        head[8..16].copy_from_slice(&self.journal.to_le_bytes());
        head[16..].copy_from_slice(&self.number.to_le_bytes());
        head
    }

    fn split(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (head, learned) = octets.split_first_chunk::<HEAD_OCTETS>()?;
        let number = |at: usize| Some(i64::from_le_bytes(*head[at..].first_chunk()?));
        let since = Self { journal: number(8)?, number: number(16)? };
        (&head[..8] == MAGIC).then_some((since, learned))
    }
}

const LOCK: &str = "lock";
const FOLDER_MODE: u32 = 0o700;
const MAGIC: &[u8; 8] = b"ORBLEARN";
const HEAD_OCTETS: usize = 24;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("not wanted")]
    struct NotWanted;

    const SINCE: Since = Since { journal: -7, number: 9 };

    fn load(folder: &StateFolder, shard: usize) -> Option<Vec<u8>> {
        let mut found = None;
        let since = folder.load(shard, |octets| {
            found = Some(octets.to_vec());
            if octets == b"bad" { Err(NotWanted) } else { Ok(()) }
        });
        assert!(since.is_none_or(|since| since == SINCE));
        found
    }

    #[test]
    fn what_was_saved_is_loaded_and_what_is_refused_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/state");
        let state = StateFolder::open(&path, 5).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(load(&state, 3), None);
        state.save(3, SINCE, b"12345").unwrap();
        state.save(4, SINCE, b"123456").unwrap();
        state.save(5, SINCE, b"bad").unwrap();
        fs::write(path.join("detect-07.state"), b"no such file").unwrap();
        for _ in 0..2 {
            assert_eq!(load(&state, 3).as_deref(), Some(&b"12345"[..]));
        }
        assert_eq!(load(&state, 4), None, "too large");
        assert_eq!(load(&state, 5).as_deref(), Some(&b"bad"[..]));
        assert_eq!(load(&state, 5), None);
        assert_eq!(load(&state, 7), None);
        for shard in ["04", "05", "07"] {
            assert!(path.join(format!("detect-{shard}.damaged")).exists());
        }
        fs::create_dir(path.join("detect-06.new")).unwrap();
        assert!(state.save(6, SINCE, b"1").is_err(), "and no more than that");
    }

    #[test]
    fn a_lock_is_a_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(path("precious"), b"precious").unwrap();
        std::os::unix::fs::symlink(path("precious"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for name in ["fifo", "link", "folder"] {
            assert!(open_lock(&path(name)).is_err(), "{name}");
            assert!(open_lock_read_only(&path(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read(path("precious")).unwrap(), b"precious");
        assert!(open_lock(&path("new")).is_ok() && open_lock(&path("new")).is_ok());
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
