//! Captures for the tests: frames in datagrams, packets of every link type, and files.

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit, health::Health,
};

pub(super) const PORT: u16 = 10_015;

pub(super) fn frame(count: u32) -> Vec<u8> {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(3).unwrap(),
        boot_count: 1,
        sequence: Sequence::new(count),
        time: CdsTime { day: 24_837, ms: count, us: 0 },
    };
    emit(&stamp, &Packet::Health(Health::default()), &mut [0; FRAME_OCTETS_MAX]).to_vec()
}

pub(super) fn ipv4(payload: &[u8], port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    ip.udp(5_000, port).write(&mut packet, payload).unwrap();
    packet
}

pub(super) fn ipv6(payload: &[u8], port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(V6_SOURCE, V6_TARGET, 64)
        .udp(5_000, port)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

const V6_SOURCE: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_TARGET: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// An IPv6 packet with these extension headers, each with its number and its octets but the first,
/// which says what is next.
pub(super) fn ipv6_with(extensions: &[(u8, &[u8])], payload: &[u8], last: u8) -> Vec<u8> {
    let numbers = extensions.iter().map(|(number, _)| *number).chain([last]);
    let mut rest = Vec::new();
    for ((_, octets), next) in extensions.iter().zip(numbers.clone().skip(1)) {
        rest.push(next);
        rest.extend_from_slice(octets);
    }
    rest.extend_from_slice(payload);
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: rest.len() as u16,
        next_header: IpNumber(numbers.clone().next().unwrap()),
        hop_limit: 64,
        source: V6_SOURCE,
        destination: V6_TARGET,
    };
    [&header.to_bytes()[..], &rest].concat()
}

/// The UDP datagram of an IPv4 or IPv6 packet without options.
pub(super) fn udp(payload: &[u8]) -> Vec<u8> {
    ipv6(payload, PORT)[40..].to_vec()
}

/// An IPv4 datagram in fragments of `step` octets.
pub(super) fn ipv4_fragments(payload: &[u8], id: u16, step: usize) -> Vec<Vec<u8>> {
    let whole = udp(payload);
    let pieces = whole.chunks(step).enumerate();
    pieces
        .map(|(n, piece)| {
            let mut header = Ipv4Header::new(
                piece.len() as u16,
                64,
                IpNumber::UDP,
                [192, 0, 2, 1],
                [192, 0, 2, 2],
            )
            .unwrap();
            header.identification = id;
            header.dont_fragment = false;
            header.fragment_offset = ((n * step / 8) as u16).try_into().unwrap();
            header.more_fragments = (n + 1) * step < whole.len();
            [&header.to_bytes()[..], piece].concat()
        })
        .collect()
}

/// `octets` of an IPv6 packet, whose first header is `first`, in fragments.
pub(super) fn ipv6_fragments(octets: &[u8], first: u8, id: u32, step: usize) -> Vec<Vec<u8>> {
    let pieces = octets.chunks(step).enumerate();
    pieces
        .map(|(n, piece)| {
            let more_follow = (n + 1) * step < octets.len();
            let offset = ((n * step) as u16 | u16::from(more_follow)).to_be_bytes();
            let fragment = [&[0][..], &offset, &id.to_be_bytes()].concat();
            ipv6_with(&[(44, &fragment)], piece, first)
        })
        .collect()
}

pub(super) fn ethernet(tags: &[u16], ip: &[u8]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    for tag in tags {
        packet.extend(tag.to_be_bytes());
        packet.extend([0x20, 7]);
    }
    packet.extend(ether_type(ip));
    packet.extend_from_slice(ip);
    packet
}

pub(super) fn sll(hardware: u16, tags: &[u16], ip: &[u8]) -> Vec<u8> {
    let header = [&[0, 0][..], &hardware.to_be_bytes(), &[0, 6, 2, 0, 0, 0, 0, 1, 0, 0]].concat();
    [&header[..], &ethernet(tags, ip)[12..]].concat()
}

pub(super) fn sll2(ip: &[u8]) -> Vec<u8> {
    let rest = [0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    [&ether_type(ip)[..], &rest, ip].concat()
}

fn ether_type(ip: &[u8]) -> [u8; 2] {
    if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xDD] }
}

/// A captured packet.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    pub(super) octets: Vec<u8>,
    /// Its length before it was cut.
    pub(super) original: usize,
    pub(super) time_us: i64,
}

pub(super) fn captured(octets: Vec<u8>, time_us: i64) -> Captured {
    Captured { original: octets.len(), octets, time_us }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcap,
    PcapOfNanoseconds,
    /// With times in units of 10 to the power of -n, or of 2 if the highest bit is set.
    PcapNg(u8),
    /// Without times.
    Simple,
}

pub(super) const FORMATS: [Format; 7] = [
    Format::Pcap,
    Format::PcapOfNanoseconds,
    Format::PcapNg(6),
    Format::PcapNg(9),
    Format::PcapNg(3),
    Format::PcapNg(0x80 | 10),
    Format::Simple,
];

/// Writes numbers in one byte order.
pub(super) struct Writer {
    pub(super) octets: Vec<u8>,
    is_big_endian: bool,
}

impl Writer {
    pub(super) fn new(is_big_endian: bool) -> Self {
        Self { octets: Vec::new(), is_big_endian }
    }

    pub(super) fn u16(&mut self, number: u16) {
        let big = number.to_be_bytes();
        self.octets.extend(if self.is_big_endian { big } else { number.to_le_bytes() });
    }

    pub(super) fn u32(&mut self, number: u32) {
        let big = number.to_be_bytes();
        self.octets.extend(if self.is_big_endian { big } else { number.to_le_bytes() });
    }

    pub(super) fn pcap_header(&mut self, magic: u32, snaplen: u32, link_type: u32) {
        self.u32(magic);
        self.u16(2);
        self.u16(4);
        [0, 0, snaplen, link_type].into_iter().for_each(|field| self.u32(field));
    }

    pub(super) fn block(&mut self, kind: u32, body: &[u8]) {
        let octets = 12 + body.len() as u32;
        self.u32(kind);
        self.u32(octets);
        self.octets.extend_from_slice(body);
        self.u32(octets);
    }

    fn body(&self, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut body = Self::new(self.is_big_endian);
        write(&mut body);
        let padded = body.octets.len().next_multiple_of(4);
        body.octets.resize(padded, 0);
        body.octets
    }

    pub(super) fn section(&mut self) {
        let body = self.body(|body| {
            body.u32(0x1A2B_3C4D);
            body.u16(1);
            body.u16(0);
            body.octets.extend([0xFF; 8]);
        });
        self.block(0x0A0D_0D0A, &body);
    }

    pub(super) fn interface(&mut self, link_type: u16, resolution: u8) {
        let body = self.body(|body| {
            body.u16(link_type);
            body.u16(0);
            body.u32(0);
            // The name, the resolution, the end.
            body.u16(2);
            body.u16(3);
            body.octets.extend(b"en0\0");
            body.u16(9);
            body.u16(1);
            body.octets.extend([resolution, 0, 0, 0]);
            body.u32(0);
        });
        self.block(1, &body);
    }

    pub(super) fn enhanced(&mut self, interface: u32, units: u64, packet: &Captured) {
        let body = self.body(|body| {
            body.u32(interface);
            body.u32((units >> 32) as u32);
            body.u32(units as u32);
            body.u32(packet.octets.len() as u32);
            body.u32(packet.original as u32);
            body.octets.extend_from_slice(&packet.octets);
        });
        self.block(6, &body);
    }
}

/// A file with these packets.
pub(super) fn file(
    format: Format,
    is_big_endian: bool,
    link_type: u32,
    packets: &[Captured],
) -> Vec<u8> {
    let mut file = Writer::new(is_big_endian);
    match format {
        Format::Pcap | Format::PcapOfNanoseconds => {
            let is_nano = format == Format::PcapOfNanoseconds;
            let magic = if is_nano { 0xA1B2_3C4D } else { 0xA1B2_C3D4 };
            file.pcap_header(magic, 262_144, link_type);
            for packet in packets {
                let (seconds, us) = (packet.time_us / 1_000_000, packet.time_us % 1_000_000);
                file.u32(seconds as u32);
                file.u32(us as u32 * if is_nano { 1_000 } else { 1 });
                file.u32(packet.octets.len() as u32);
                file.u32(packet.original as u32);
                file.octets.extend_from_slice(&packet.octets);
            }
        }
        Format::PcapNg(resolution) => {
            file.section();
            // Another one, so that not all are of the first.
            file.interface(147, 6);
            file.interface(link_type as u16, resolution);
            file.block(5, &[0; 12]);
            for packet in packets {
                let per_s = match resolution {
                    0..0x80 => 10_i128.pow(resolution.into()),
                    _ => 1 << (resolution & 0x7F),
                };
                let units = i128::from(packet.time_us) * per_s / 1_000_000;
                file.enhanced(1, units as u64, packet);
            }
        }
        Format::Simple => {
            file.section();
            file.interface(link_type as u16, 6);
            for packet in packets {
                let body = file.body(|body| {
                    body.u32(packet.original as u32);
                    body.octets.extend_from_slice(&packet.octets);
                });
                file.block(3, &body);
            }
        }
    }
    file.octets
}
