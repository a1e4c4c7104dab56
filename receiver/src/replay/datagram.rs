//! From an IP packet to its UDP datagram.

use std::net::IpAddr;

use etherparse::{
    IpAuthHeaderSlice, IpFragOffset, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, UdpHeaderSlice, UdpSlice, ip_number,
};

use super::{
    contents::Unused,
    fragments::{Fragment, PacketId},
};

/// What an IP packet carries.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    /// All that its sender gave to IP.
    Whole {
        source: IpAddr,
        protocol: IpNumber,
        octets: &'a [u8],
        /// Fewer octets than the header announces.
        is_short: bool,
    },
    /// A part of it.
    Part(Fragment<'a>),
}

/// Reads the headers of an IP packet, of either version.
pub(super) fn payload(packet: &[u8]) -> Result<Payload<'_>, Unused> {
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => payload_of_v4(packet),
        Some(6) => payload_of_v6(packet),
        Some(_) => Err(Unused::NotIp),
        None => Err(Unused::Short),
    }
}

fn payload_of_v4(packet: &[u8]) -> Result<Payload<'_>, Unused> {
    use etherparse::err::ipv4::HeaderSliceError::{Content, Len};
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|error| match error {
        Len(_) => Unused::Short,
        Content(_) => Unused::Malformed,
    })?;
    let header_octets = header.slice().len();
    let end = match usize::from(header.total_len()) {
        // The network card was to fill it in.
        0 => packet.len(),
        total if total < header_octets => return Err(Unused::Malformed),
        total => total,
    };
    let octets = &packet[header_octets..end.min(packet.len())];
    let is_short = end > packet.len();
    let source = header.source_addr().into();
    if !header.is_fragmenting_payload() {
        return Ok(Payload::Whole { source, protocol: header.protocol(), octets, is_short });
    }
    if is_short {
        return Err(Unused::Short);
    }
    Ok(Payload::Part(Fragment {
        packet: PacketId {
            source,
            destination: header.destination_addr().into(),
            identification: header.identification().into(),
            protocol: header.protocol(),
        },
        offset: header.fragments_offset(),
        more_follow: header.more_fragments(),
        payload: octets,
    }))
}

fn payload_of_v6(packet: &[u8]) -> Result<Payload<'_>, Unused> {
    use etherparse::err::ipv6::HeaderSliceError::{Content, Len};
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|error| match error {
        Len(_) => Unused::Short,
        Content(_) => Unused::Malformed,
    })?;
    let rest = &packet[header.slice().len()..];
    let announced = match usize::from(header.payload_length()) {
        // The network card was to fill it in.
        0 => rest.len(),
        octets => octets,
    };
    let is_short = announced > rest.len();
    let rest = &rest[..announced.min(rest.len())];
    let source = header.source_addr().into();
    let (protocol, octets) = match extensions(header.next_header(), rest)? {
        Extensions::Passed(protocol, octets) => (protocol, octets),
        Extensions::Fragment(_, _) if is_short => return Err(Unused::Short),
        Extensions::Fragment(fragment, payload) => {
            return Ok(Payload::Part(Fragment {
                packet: PacketId {
                    source,
                    destination: header.destination_addr().into(),
                    identification: fragment.identification(),
                    protocol: fragment.next_header(),
                },
                offset: fragment.fragment_offset(),
                more_follow: fragment.more_fragments(),
                payload,
            }));
        }
    };
    Ok(Payload::Whole { source, protocol, octets, is_short })
}

enum Extensions<'a> {
    /// What follows the last extension header.
    Passed(IpNumber, &'a [u8]),
    /// What follows a fragment header belongs to the packet that is put together.
    Fragment(Ipv6FragmentHeaderSlice<'a>, &'a [u8]),
}

/// Passes over extension headers (RFC 8200 section 4, RFC 4302).
fn extensions(mut next: IpNumber, mut rest: &[u8]) -> Result<Extensions<'_>, Unused> {
    loop {
        let octets = match next {
            ip_number::IPV6_FRAG => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(short)?;
                let after = &rest[header.slice().len()..];
                if header.is_fragmenting_payload() {
                    return Ok(Extensions::Fragment(header, after));
                }
                next = header.next_header();
                header.slice().len()
            }
            ip_number::AUTH => {
                use etherparse::err::ip_auth::HeaderSliceError::{Content, Len};
                let header = IpAuthHeaderSlice::from_slice(rest).map_err(|error| match error {
                    Len(_) => Unused::Short,
                    Content(_) => Unused::Malformed,
                })?;
                next = header.next_header();
                header.slice().len()
            }
            next_header if Ipv6RawExtHeaderSlice::header_type_supported(next_header) => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(short)?;
                next = header.next_header();
                header.slice().len()
            }
            _ => return Ok(Extensions::Passed(next, rest)),
        };
        rest = &rest[octets..];
    }
}

/// The payload of a UDP datagram, if it goes to `port`.
///
/// Checksums are not looked at: captured where it was sent, a datagram has none yet.
pub(super) fn udp(
    protocol: IpNumber,
    octets: &[u8],
    is_short: bool,
    port: Option<u16>,
) -> Result<&[u8], Unused> {
    // Of fragments that were put together, and of IPv4 with authentication.
    let (protocol, octets) = match extensions(protocol, octets)? {
        Extensions::Passed(protocol, octets) => (protocol, octets),
        Extensions::Fragment(_, _) => return Err(Unused::Malformed),
    };
    if protocol != ip_number::UDP {
        return Err(Unused::NotUdp);
    }
    let header = UdpHeaderSlice::from_slice(octets).map_err(short)?;
    if port.is_some_and(|port| port != header.destination_port()) {
        return Err(Unused::OtherPort);
    }
    match header.length() {
        // A jumbogram, which is as long as its packet, if that is whole.
        0 if is_short => Err(Unused::Short),
        1..UDP_HEADER_OCTETS => Err(Unused::Malformed),
        _ => Ok(UdpSlice::from_slice(octets).map_err(short)?.payload()),
    }
}

fn short(_: etherparse::err::LenError) -> Unused {
    Unused::Short
}

const UDP_HEADER_OCTETS: u16 = 8;
const _: () = assert!(IpFragOffset::MAX_U16 == 0x1FFF);
