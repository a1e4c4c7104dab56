//! Writes datagrams to a file that Wireshark and tcpdump open: classic pcap, Ethernet, with
//! synthesised headers. Packets are dated in simulated time, to the microsecond.
//!
//! Addresses are from the block for documentation (RFC 5737) whatever the target, so that the file
//! does not depend on where a name points to; the port is the target's.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use etherparse::PacketBuilder;
use pcap_file::{
    DataLink, Endianness, PcapError, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
};

use super::{Datagram, Sink, SinkError};
use crate::datagram::DATAGRAM_OCTETS_MAX;

/// A pcap file being written.
#[derive(Debug)]
pub struct Pcap {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
    start_unix_us: i64,
    port: u16,
    packet: Vec<u8>,
    frames_sent: u64,
}

impl Pcap {
    /// Creates the file; offsets of datagrams count from `start_unix_us`.
    pub fn create(path: &Path, start_unix_us: i64, port: u16) -> Result<Self, SinkError> {
        let fail = |error| SinkError::Pcap(path.into(), error);
        let file = File::create(path).map_err(fail)?;
        let header = PcapHeader {
            snaplen: SNAPLEN,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::MicroSecond,
            // The same bytes on every machine.
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| fail(into_io(error)))?;
        Ok(Self {
            path: path.into(),
            writer,
            start_unix_us,
            port,
            packet: Vec::with_capacity(PACKET_OCTETS_MAX),
            frames_sent: 0,
        })
    }

    fn fail(&self, error: std::io::Error) -> SinkError {
        SinkError::Pcap(self.path.clone(), error)
    }
}

impl Sink for Pcap {
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        self.packet.clear();
        PacketBuilder::ethernet2(SATELLITES_MAC, STATION_MAC)
            .ipv4(SATELLITES_IP, STATION_IP, TIME_TO_LIVE)
            .udp(SATELLITES_PORT, self.port)
            .write(&mut self.packet, datagram.octets)
            .map_err(|error| self.fail(std::io::Error::other(error)))?;
        let unix_us = self.start_unix_us.saturating_add(datagram.offset_us);
        let at = Duration::from_micros(unix_us.max(0) as u64);
        let packet = PcapPacket::new(at, self.packet.len() as u32, &self.packet);
        let written = self.writer.write_packet(&packet);
        written.map_err(|error| self.fail(into_io(error)))?;
        self.frames_sent += datagram.frames as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn frames_sent(&self) -> u64 {
        self.frames_sent
    }
}

impl Pcap {
    /// Writes what is still buffered.
    pub fn close(self) -> Result<(), SinkError> {
        self.writer.into_writer().flush().map_err(|error| SinkError::Pcap(self.path, error))
    }
}

fn into_io(error: PcapError) -> std::io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => std::io::Error::other(other),
    }
}

/// Locally administered (IEEE 802, second bit of the first octet).
const SATELLITES_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const STATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
const SATELLITES_IP: [u8; 4] = [192, 0, 2, 1];
const STATION_IP: [u8; 4] = [192, 0, 2, 2];
const SATELLITES_PORT: u16 = 10_014;
const TIME_TO_LIVE: u8 = 64;
/// Ethernet, IPv4 and UDP.
const HEADERS_OCTETS: usize = 14 + 20 + 8;
const PACKET_OCTETS_MAX: usize = HEADERS_OCTETS + DATAGRAM_OCTETS_MAX;
/// What tcpdump and Wireshark write for "everything".
const SNAPLEN: u32 = 262_144;
const _: () = assert!(PACKET_OCTETS_MAX <= SNAPLEN as usize);
