//! From a captured packet to its IP packet: takes off what stands before the IP header.

use super::{contents::Unused, link_type::Encapsulation};

/// The IP packet in a packet of that encapsulation.
///
/// What has no IP inside is [`Unused::NotIp`], what ends within its headers [`Unused::Short`].
pub(super) fn ip_packet(encapsulation: Encapsulation, packet: &[u8]) -> Result<&[u8], Unused> {
    match encapsulation {
        Encapsulation::Ethernet => tagged(packet, ETHERNET_TYPE_AT),
        Encapsulation::LinuxSll => tagged(packet, SLL_PROTOCOL_AT),
        Encapsulation::LinuxSll2 => {
            let (header, rest) = split(packet, SLL2_OCTETS)?;
            protocol(u16::from_be_bytes([header[0], header[1]]), rest)
        }
        Encapsulation::Null => null(packet),
        Encapsulation::Ppp => ppp(packet),
        Encapsulation::Raw => Ok(packet),
        Encapsulation::Bare | Encapsulation::Other(_) => Err(Unused::NotIp),
    }
}

/// A header whose last two octets, at `at`, are an `EtherType`.
fn tagged(packet: &[u8], at: usize) -> Result<&[u8], Unused> {
    let (_, rest) = split(packet, at)?;
    let (ether_type, rest) = split(rest, 2)?;
    protocol(u16::from_be_bytes([ether_type[0], ether_type[1]]), rest)
}

/// What an `EtherType` announces, behind any number of VLAN tags.
fn protocol(mut ether_type: u16, mut rest: &[u8]) -> Result<&[u8], Unused> {
    while VLAN_TAGS.contains(&ether_type) {
        let (tag, after) = split(rest, VLAN_TAG_OCTETS)?;
        ether_type = u16::from_be_bytes([tag[2], tag[3]]);
        rest = after;
    }
    if ether_type == IPV4 || ether_type == IPV6 { Ok(rest) } else { Err(Unused::NotIp) }
}

fn null(packet: &[u8]) -> Result<&[u8], Unused> {
    let (family, rest) = split(packet, 4)?;
    let family: [u8; 4] = family.try_into().map_err(|_| Unused::Short)?;
    // In the byte order of the machine that captured, which the file's need not be.
    let families = [u32::from_le_bytes(family), u32::from_be_bytes(family)];
    let is_ip = families.iter().any(|family| IP_FAMILIES.contains(family));
    if is_ip { Ok(rest) } else { Err(Unused::NotIp) }
}

/// RFC 1661 and RFC 1662: address and control are there or not, and the protocol has one octet or
/// two. Cisco's HDLC shares a link type with PPP and has an `EtherType` instead.
fn ppp(packet: &[u8]) -> Result<&[u8], Unused> {
    let packet = match packet {
        [0x0F | 0x8F, 0, rest @ ..] => return tagged(rest, 0),
        [0xFF, 0x03, rest @ ..] => rest,
        packet => packet,
    };
    match packet {
        [0x21 | 0x57, rest @ ..] | [0, 0x21 | 0x57, rest @ ..] => Ok(rest),
        [] | [0] => Err(Unused::Short),
        _ => Err(Unused::NotIp),
    }
}

fn split(octets: &[u8], at: usize) -> Result<(&[u8], &[u8]), Unused> {
    octets.split_at_checked(at).ok_or(Unused::Short)
}

/// After two addresses.
const ETHERNET_TYPE_AT: usize = 12;
/// After packet type, hardware type and address.
const SLL_PROTOCOL_AT: usize = 14;
const SLL2_OCTETS: usize = 20;
const VLAN_TAG_OCTETS: usize = 4;
/// IEEE 802.1Q and 802.1ad, and what came before the latter.
const VLAN_TAGS: [u16; 5] = [0x8100, 0x88A8, 0x9100, 0x9200, 0x9300];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
/// `AF_INET`, and `AF_INET6` of Linux, NetBSD and OpenBSD, FreeBSD, and macOS.
const IP_FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];
