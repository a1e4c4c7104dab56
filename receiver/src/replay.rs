//! Recordings: datagrams from a file, with the times that the file gives them.
//!
//! A capture, pcap or pcapng, has UDP datagrams with the time of their capture. Packets one after the
//! other, as a ground segment archives them, are cut into pieces of a few packets, each as old as its
//! first frame. Either may be packed with gzip. Whatever is in a file, nothing of it is read but in
//! order, and no more than a window of it is in memory.

mod capture;
mod contents;
mod datagram;
mod fragments;
mod link_layer;
mod link_type;
mod packets;
mod pcap;
mod pcapng;
mod record;
mod source;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
};

use crc::{CRC_64_XZ, Crc, Table};

pub use contents::Contents;

use capture::Capture;
use packets::Packets;
use source::Source;

/// A recording, from its beginning to its end.
pub struct Recording {
    kind: Kind,
}

enum Kind {
    Capture(Box<Capture>),
    Packets(Packets, Contents),
}

/// What of a capture is a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Only what goes to this UDP port.
    pub port: Option<u16>,
    /// Packets of the link types USER0 to USER15, each as it is.
    pub bare_packets: bool,
}

/// One datagram, as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Who sent it, if the file tells.
    pub source: Option<IpAddr>,
    /// When it was recorded, in µs since 1970.
    pub time_us: i64,
}

impl Recording {
    /// Opens a file; of a capture those datagrams come out that `reading` says.
    ///
    /// A file that is no capture has to hold a frame: it is read up to the first one, and then once
    /// more from its beginning.
    pub fn open(path: &Path, reading: Reading) -> io::Result<Self> {
        let mut source = Source::open(path)?;
        let format = foreign_format(source.peek(FORMAT_OCTETS)?);
        let source = match Capture::open(source, reading)? {
            Ok(capture) => return Ok(Self { kind: Kind::Capture(Box::new(capture)) }),
            Err(source) => source,
        };
        let mut packets = Packets::new(source);
        let mut piece = Recorded::default();
        while packets.read(&mut piece)? {
            if packets::have_a_frame(&piece.octets) {
                let packets = Packets::new(Source::open(path)?);
                return Ok(Self { kind: Kind::Packets(packets, Contents::default()) });
            }
        }
        let what = match (format, packets.position()) {
            (_, 0) => "it is empty".into(),
            (Some(format), _) => format!("it is {format}"),
            (None, octets) => {
                format!(
                    "it is no capture (pcap or pcapng), and none of its {octets} octets are frames"
                )
            }
        };
        Err(io::Error::other(what))
    }

    /// The next datagram; false at the end.
    pub fn read(&mut self, out: &mut Recorded) -> io::Result<bool> {
        match &mut self.kind {
            Kind::Capture(capture) => capture.read(out),
            Kind::Packets(packets, contents) => {
                let is_read = packets.read(out)?;
                if !is_read && packets.is_torn() {
                    contents.torn_at = Some(packets.position());
                }
                Ok(is_read)
            }
        }
    }

    /// What has been found so far; of packets one after the other only whether their end is missing.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        match &self.kind {
            Kind::Capture(capture) => &capture.contents,
            Kind::Packets(_, contents) => contents,
        }
    }
}

/// A number that is the same for files with the same octets that are read with the same `options`.
pub fn identity(path: &Path, options: &str) -> io::Result<i64> {
    let crc = Crc::<u64, Table<16>>::new(&CRC_64_XZ);
    let mut digest = crc.digest();
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_OCTETS];
    loop {
        match file.read(&mut piece)? {
            0 => {
                digest.update(options.as_bytes());
                digest.update(&READER.to_le_bytes());
                return Ok(digest.finalize().cast_signed());
            }
            octets => digest.update(&piece[..octets]),
        }
    }
}

/// What a file is whose first octets are those of another format.
fn foreign_format(head: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, format)| *format)
}

const FOREIGN: [(&[u8], &str); 9] = [
    (b"\x28\xB5\x2F\xFD", "packed with zstd; unpack it first"),
    (b"\xFD7zXZ\0", "packed with xz; unpack it first"),
    (b"BZh", "packed with bzip2; unpack it first"),
    (b"\x04\x22\x4D\x18", "packed with lz4; unpack it first"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x1F\x8B\x08", "packed with gzip twice; unpack it first"),
    (b"snoop\0\0\0", "a snoop capture; `editcap -F pcap FILE NEW` converts it"),
    (b"GMBU", "a Network Monitor capture; `editcap -F pcap FILE NEW` converts it"),
    (b"\x34\xCD\xB2\xA1", "a modified pcap capture; `editcap -F pcap FILE NEW` converts it"),
];
const FORMAT_OCTETS: usize = 8;
const PIECE_OCTETS: usize = 256 << 10;
/// Counted up when the same file may yield other datagrams than before: a datagram's place in the
/// file would else be taken for that of another one, which is stored.
const READER: u32 = 2;
