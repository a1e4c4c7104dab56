//! Recordings: datagrams from a file, with the times that the file gives them.
//!
//! A pcap file has UDP datagrams with the time of their capture. Packets one after the other, as a
//! ground segment archives them, are cut into pieces of a few packets, each as old as its first
//! frame. Whatever is in a file, nothing of it is read but in order, and no more than a window of it
//! is in memory.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    net::IpAddr,
    path::Path,
};

use crc::{CRC_64_XZ, Crc, Table};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::{DataLink, PcapError, pcap::PcapReader};
use protocol::{Datagram, Frame};

/// A recording, from its beginning to its end.
pub struct Recording {
    kind: Kind,
    /// Packets of a pcap file that are no UDP datagram, or only a part of one.
    pub passed_over: u64,
}

enum Kind {
    Pcap(Box<PcapReader<BufReader<File>>>, Option<u16>),
    Packets(Packets<BufReader<File>>),
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
    /// Opens a file; of a pcap file only datagrams to `port` come out, if one is given.
    pub fn open(path: &Path, port: Option<u16>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        let is_pcap = match file.read_exact(&mut magic) {
            Ok(()) if magic == PCAPNG_MAGIC => {
                return Err(io::Error::other(
                    "it is a pcapng file; `editcap -F pcap FILE NEW` makes a pcap file of it",
                ));
            }
            Ok(()) => PCAP_MAGICS.contains(&magic),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        file.rewind()?;
        let file = BufReader::with_capacity(WINDOW_OCTETS, file);
        let kind = if is_pcap {
            Kind::Pcap(Box::new(PcapReader::new(file).map_err(into_io)?), port)
        } else {
            Kind::Packets(Packets { file, window: Vec::new(), from: 0, is_over: false, time_us: 0 })
        };
        Ok(Self { kind, passed_over: 0 })
    }

    /// The next datagram; false at the end.
    pub fn read(&mut self, out: &mut Recorded) -> io::Result<bool> {
        match &mut self.kind {
            Kind::Packets(packets) => packets.read(out),
            Kind::Pcap(reader, port) => loop {
                let link = reader.header().datalink;
                let Some(packet) = reader.next_packet() else { return Ok(false) };
                let packet = packet.map_err(into_io)?;
                let time_us = i64::try_from(packet.timestamp.as_micros()).unwrap_or(i64::MAX);
                if let Some(to) = datagram(link, &packet.data, out) {
                    if port.is_none_or(|port| port == to) {
                        out.time_us = time_us;
                        return Ok(true);
                    }
                } else {
                    self.passed_over += 1;
                }
            },
        }
    }
}

/// A number that is the same for files with the same octets that are read with the same `options`.
pub fn identity(path: &Path, options: &str) -> io::Result<i64> {
    let crc = Crc::<u64, Table<16>>::new(&CRC_64_XZ);
    let mut digest = crc.digest();
    let mut file = File::open(path)?;
    let mut piece = vec![0; WINDOW_OCTETS];
    loop {
        match file.read(&mut piece)? {
            0 => {
                digest.update(options.as_bytes());
                return Ok(digest.finalize().cast_signed());
            }
            octets => digest.update(&piece[..octets]),
        }
    }
}

/// Takes the UDP datagram out of a packet; the port that it went to.
fn datagram(link: DataLink, packet: &[u8], out: &mut Recorded) -> Option<u16> {
    let sliced = match link {
        DataLink::ETHERNET => SlicedPacket::from_ethernet(packet),
        DataLink::LINUX_SLL => SlicedPacket::from_linux_sll(packet),
        DataLink::NULL | DataLink::LOOP => SlicedPacket::from_ip(packet.get(4..)?),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => SlicedPacket::from_ip(packet),
        _ => return None,
    };
    let sliced = sliced.ok()?;
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { return None };
    out.octets.clear();
    out.octets.extend_from_slice(udp.payload());
    out.source = match sliced.net? {
        NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Arp(_) => None,
    };
    Some(udp.destination_port())
}

/// Packets one after the other.
struct Packets<R> {
    file: R,
    window: Vec<u8>,
    /// Where in the window the rest begins.
    from: usize,
    is_over: bool,
    time_us: i64,
}

impl<R: Read> Packets<R> {
    fn read(&mut self, out: &mut Recorded) -> io::Result<bool> {
        self.fill()?;
        let rest = &self.window[self.from..];
        if rest.is_empty() {
            return Ok(false);
        }
        let window = &rest[..rest.len().min(PIECE_OCTETS_MAX)];
        let piece = &window[..self.cut(window)];
        out.octets.clear();
        out.octets.extend_from_slice(piece);
        out.source = None;
        if let Some(Ok(Frame::Telemetry(first))) =
            frames(piece).map(|(item, _)| item).find(|item| matches!(item, Ok(Frame::Telemetry(_))))
        {
            self.time_us = first.time().unix_us();
        }
        out.time_us = self.time_us;
        self.from += out.octets.len();
        Ok(true)
    }

    /// How much of the window to hand out: up to the end of a good frame, so that none is divided.
    fn cut(&self, window: &[u8]) -> usize {
        let is_last = self.is_over && self.from + window.len() == self.window.len();
        let mut good = 0;
        let mut end = 0;
        for (item, octets) in frames(window) {
            end += octets;
            if item.is_ok() {
                good = end;
                if good >= PIECE_OCTETS {
                    return good;
                }
            }
        }
        match good {
            _ if is_last => window.len(),
            // Nothing but rubbish: a frame may still begin near its end.
            0 => window.len().saturating_sub(FRAME_OCTETS).max(1),
            good => good,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.is_over || self.window.len() - self.from >= PIECE_OCTETS_MAX {
            return Ok(());
        }
        self.window.drain(..self.from);
        self.from = 0;
        let more = WINDOW_OCTETS.saturating_sub(self.window.len()) as u64;
        let read = self.file.by_ref().take(more).read_to_end(&mut self.window)?;
        self.is_over = (read as u64) < more;
        Ok(())
    }
}

type Item<'a> = Result<Frame<'a>, protocol::Rejected<'a>>;

/// The frames of some octets, each with its length.
fn frames(octets: &[u8]) -> impl Iterator<Item = (Item<'_>, usize)> {
    let mut datagram = Datagram::new(octets);
    std::iter::from_fn(move || {
        let item = datagram.next(|_| true)?;
        let octets = match &item {
            Ok(Frame::Telemetry(frame)) => frame.octets().len(),
            Ok(Frame::Idle(octets)) => octets.len(),
            Err(rejected) => rejected.octets.len(),
        };
        Some((item, octets))
    })
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(format!("it is no whole pcap file: {error}")),
    }
}

/// Little-endian and big-endian, microseconds and nanoseconds.
const PCAP_MAGICS: [[u8; 4]; 4] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
];
const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
const WINDOW_OCTETS: usize = 256 << 10;
/// A piece ends with the frame that makes it this long, so that its frames are of about one time.
const PIECE_OCTETS: usize = 1_400;
/// No piece is longer, like a datagram.
const PIECE_OCTETS_MAX: usize = 16 << 10;
/// No frame is longer.
const FRAME_OCTETS: usize = protocol::IDLE_OCTETS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::{
        CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit, health::Health,
    };

    fn frame(count: u32) -> Vec<u8> {
        let stamp = Stamp {
            spacecraft: SpacecraftId::new(3).unwrap(),
            boot_count: 1,
            sequence: Sequence::new(count),
            time: CdsTime { day: 24_837, ms: count, us: 0 },
        };
        emit(&stamp, &Packet::Health(Health::default()), &mut [0; FRAME_OCTETS_MAX]).to_vec()
    }

    fn read(octets: &[u8]) -> Vec<Recorded> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets");
        std::fs::write(&path, octets).unwrap();
        let mut recording = Recording::open(&path, None).unwrap();
        let (mut all, mut one) = (Vec::new(), Recorded::default());
        while recording.read(&mut one).unwrap() {
            all.push(one.clone());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Rubbish between packets takes none of them along, and no octet is left out or repeated.
        #[test]
        fn every_packet_comes_out_whole(
            rubbish in prop::collection::vec(
                (0..400_usize, prop::collection::vec(any::<u8>(), 0..3_000)), 0..6,
            ),
        ) {
            let mut octets = Vec::new();
            for count in 0..400 {
                octets.extend(frame(count as u32));
                for (_, rubbish) in rubbish.iter().filter(|(place, _)| *place == count) {
                    octets.extend(rubbish);
                }
            }
            let pieces = read(&octets);
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.octets.clone()).collect();
            prop_assert!(joined == octets);
            let mut counts = Vec::new();
            for piece in &pieces {
                for (item, _) in frames(&piece.octets) {
                    if let Ok(Frame::Telemetry(frame)) = item {
                        counts.push(frame.sequence().value());
                    }
                }
            }
            prop_assert_eq!(counts, (0..400).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_piece_is_as_old_as_its_first_frame() {
        let pieces = read(&(0..100).flat_map(frame).collect::<Vec<_>>());
        assert!(pieces.len() > 3 && pieces.windows(2).all(|two| two[0].time_us < two[1].time_us));
        assert!(read(b"").is_empty());
    }

    #[test]
    fn what_it_cannot_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.pcapng");
        std::fs::write(&path, PCAPNG_MAGIC).unwrap();
        let error = Recording::open(&path, None).err().unwrap().to_string();
        assert!(error.contains("editcap"), "{error}");
        std::fs::write(&path, PCAP_MAGICS[0]).unwrap();
        assert!(Recording::open(&path, None).is_err());
        assert!(Recording::open(&folder.path().join("none"), None).is_err());
    }
}
