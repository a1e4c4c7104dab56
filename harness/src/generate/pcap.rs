//! Datagrams as a capture file: classic pcap, Ethernet, IPv4, UDP, the same octets every time.

use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};

/// The port on which ground stations listen.
pub const PORT: u16 = 10_015;

/// A capture of `datagrams`, each with its time since 1970 and its payload, sent to `port`.
///
/// # Panics
/// If a payload is longer than a UDP datagram can be.
#[must_use]
pub fn capture<'a>(
    port: u16,
    datagrams: impl IntoIterator<Item = (Duration, &'a [u8])>,
) -> Vec<u8> {
    let header = PcapHeader {
        snaplen: SNAPLEN,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::MicroSecond,
        // The same octets on every machine.
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut writer =
        PcapWriter::with_header(Vec::new(), header).expect("a vector takes everything");
    for (time, payload) in datagrams {
        let mut packet = Vec::new();
        PacketBuilder::ethernet2(SATELLITES_MAC, STATION_MAC)
            .ipv4(SATELLITES_IP, STATION_IP, TIME_TO_LIVE)
            .udp(SATELLITES_PORT, port)
            .write(&mut packet, payload)
            .expect("a payload that fits a datagram");
        let packet = PcapPacket::new(time, packet.len() as u32, &packet);
        writer.write_packet(&packet).expect("a packet below the snap length");
    }
    writer.into_writer()
}

/// Locally administered (IEEE 802, second bit of the first octet).
const SATELLITES_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const STATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
/// From the block for documentation (RFC 5737).
const SATELLITES_IP: [u8; 4] = [192, 0, 2, 1];
const STATION_IP: [u8; 4] = [192, 0, 2, 2];
const SATELLITES_PORT: u16 = 10_014;
const TIME_TO_LIVE: u8 = 64;
/// What tcpdump and Wireshark write for "everything".
const SNAPLEN: u32 = 262_144;
