//! What the journal asks of a file system, so that tests can let each of it fail.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A file system.
pub trait Files: Debug + Send + Sync {
    /// Makes a folder, and those above it.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The files of a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a file that is not there yet.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Octets>>;
    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn Octets>>;
    /// Renames a file; one that has that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file.
pub trait Octets: Debug + Send + Sync {
    /// Writes all of it at an offset.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at an offset; fewer octets than asked for only at the end.
    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it.
    fn truncate(&self, octets: u64) -> io::Result<()>;
    /// Its length.
    fn length(&self) -> io::Result<u64>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        crate::state::make_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Octets>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        // What is read while it is written would cost a write each time, of when that was; a file that
        // is not one's own, as NFS may have it, costs that.
        let _dearer = fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NOATIME));
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn Octets>> {
        // On a disk that has become read-only the samples can still be read.
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Arc::new(file.or_else(|_| File::open(path))?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl Octets for File {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(octets, offset)
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < octets.len() {
            match std::os::unix::fs::FileExt::read_at(
                self,
                &mut octets[read..],
                offset + read as u64,
            ) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, octets: u64) -> io::Result<()> {
        self.set_len(octets)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
