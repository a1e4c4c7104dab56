//! The octets of a recording, in order: of a regular file, unpacked if they are gzip.
//!
//! Whether a file is gzip is decided by its first octets, not by its name. What is unpacked streams
//! through one buffer, so that memory is bounded whatever a file unpacks to.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

/// A stream of octets with a look ahead.
pub(super) struct Source {
    input: Box<dyn Read + Send>,
    /// Read ahead; what is before `from` has been taken.
    buffer: Vec<u8>,
    from: usize,
    taken: u64,
    is_over: bool,
    is_torn: bool,
    /// What came instead of more octets, until it is said.
    failed: Option<io::Error>,
}

impl Source {
    /// Opens a file for one reading from its beginning to its end.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Before it is opened: opening a FIFO waits for its writer.
        check_is_file(path)?;
        let mut source = Self::new(File::open(path)?);
        if source.peek(GZIP_MAGIC.len())?.starts_with(&GZIP_MAGIC) {
            source.input = Box::new(Unpacked(MultiGzDecoder::new(BufReader::with_capacity(
                READ_OCTETS,
                io::Cursor::new(source.buffer).chain(source.input),
            ))));
            source = Self { buffer: Vec::new(), is_over: false, ..source };
        }
        Ok(source)
    }

    /// The octets that `input` yields, as they are.
    pub(super) fn new(input: impl Read + Send + 'static) -> Self {
        Self {
            input: Box::new(input),
            buffer: Vec::new(),
            from: 0,
            taken: 0,
            is_over: false,
            is_torn: false,
            failed: None,
        }
    }

    /// The next `octets`, or all that are left if these are fewer, without taking them. It fails
    /// once there are none before what cannot be read.
    pub(super) fn peek(&mut self, octets: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.from < octets && !self.is_over {
            self.buffer.drain(..self.from);
            self.from = 0;
            let more = octets.max(READ_OCTETS) - self.buffer.len();
            let read = self.input.by_ref().take(more as u64).read_to_end(&mut self.buffer);
            match read {
                Ok(read) => self.is_over = read < more,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.is_over = true;
                    self.is_torn = true;
                }
                Err(error) => {
                    self.is_over = true;
                    self.failed = Some(error);
                }
            }
        }
        if self.from == self.buffer.len() {
            self.check()?;
        }
        let ahead = &self.buffer[self.from..];
        Ok(&ahead[..ahead.len().min(octets)])
    }

    /// Whether the octets that are left are the last for another reason than the file's end.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Takes octets that were looked at.
    pub(super) fn take(&mut self, octets: usize) {
        let octets = octets.min(self.buffer.len() - self.from);
        self.from += octets;
        self.taken += octets as u64;
    }

    /// Takes octets unseen; false if there are fewer.
    pub(super) fn skip(&mut self, mut octets: u64) -> io::Result<bool> {
        while octets > 0 {
            let piece = self.peek(octets.min(READ_OCTETS as u64) as usize)?.len();
            if piece == 0 {
                return Ok(false);
            }
            self.take(piece);
            octets -= piece as u64;
        }
        Ok(true)
    }

    /// How many octets, unpacked, have been taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the gzip stream ended before its end.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }
}

/// The octets of a gzip stream, with errors that say so.
struct Unpacked<R>(R);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                io::Error::new(error.kind(), format!("its gzip stream is damaged: {error}"))
            }
            _ => error,
        })
    }
}

/// A recording has an end, and is read more than once.
fn check_is_file(path: &Path) -> io::Result<()> {
    let kind = path.metadata()?.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "directory",
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    };
    Err(io::Error::other(format!(
        "it is a {kind}, not a file; write what it yields to a file first"
    )))
}

const GZIP_MAGIC: [u8; 3] = [0x1F, 0x8B, 8];
const READ_OCTETS: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(octets: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    fn open(octets: &[u8]) -> Source {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), octets).unwrap();
        Source::open(file.path()).unwrap()
    }

    #[test]
    fn gzip_is_unpacked_by_content_and_member_after_member() {
        let octets: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let two = [packed(&octets[..400_000]), packed(&octets[400_000..])].concat();
        for file in [&octets, &packed(&octets), &two] {
            let mut source = open(file);
            assert_eq!(source.peek(7).unwrap(), &octets[..7]);
            source.take(7);
            assert!(source.skip(499_993).unwrap());
            assert_eq!(source.peek(1 << 20).unwrap(), &octets[500_000..]);
            assert_eq!((source.taken(), source.is_torn()), (500_000, false));
            assert!(!source.skip(500_001).unwrap());
        }
    }

    #[test]
    fn a_torn_gzip_stream_yields_what_comes_before_the_tear() {
        let octets: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = packed(&octets);
        let mut source = open(&file[..file.len() / 2]);
        let read = source.peek(octets.len()).unwrap().to_vec();
        assert!(read.len() > 10_000 && octets.starts_with(&read) && source.is_torn());
        let mut damaged = file.clone();
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        let mut source = open(&damaged);
        assert_eq!(source.peek(octets.len() + 1).unwrap(), octets);
        source.take(octets.len());
        let error = source.peek(1).unwrap_err().to_string();
        assert!(error.contains("gzip stream is damaged"), "{error}");
    }

    #[test]
    fn what_a_file_unpacks_to_does_not_stay_in_memory() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..64 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let mut source = open(&encoder.finish().unwrap());
        assert!(source.skip(64 << 20).unwrap());
        assert!(source.peek(1).unwrap().is_empty());
        assert!(source.buffer.capacity() < 4 * READ_OCTETS, "{}", source.buffer.capacity());
    }

    #[test]
    fn only_regular_files_are_recordings() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, kind) in [
            (folder.path(), "directory"),
            (&pipe, "pipe"),
            (Path::new("/dev/zero"), "device"),
            (Path::new("/dev/null"), "device"),
        ] {
            let error = Source::open(path).err().unwrap().to_string();
            assert!(error.contains(kind) && error.contains("to a file first"), "{error}");
        }
    }
}
