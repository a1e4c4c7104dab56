//! Link types: what stands before the IP header of a captured packet.
//!
//! The numbers are those of <https://www.tcpdump.org/linktypes.html>.

use std::fmt;

/// How the packets of a capture, or of one of its interfaces, begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) encapsulation: Encapsulation,
    /// Octets of a frame check sequence that may follow a packet.
    pub(super) fcs_octets: u8,
}

/// What stands before the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encapsulation {
    Ethernet,
    /// Four octets with an address family, of either byte order.
    Null,
    /// Nothing.
    Raw,
    /// PPP, with or without the address and control octets of HDLC.
    Ppp,
    /// As `tcpdump -i any` writes it: by `-y LINUX_SLL` or in older versions.
    LinuxSll,
    /// As `tcpdump -i any` writes it.
    LinuxSll2,
    /// A packet is a datagram, without any header.
    Bare,
    /// Not supported.
    Other(LinkType),
}

impl Link {
    /// From the last field of a pcap header: the upper bits tell of a frame check sequence.
    pub(super) fn of_pcap_header(field: u32, with_bare: bool) -> Self {
        let has_fcs_octets = field & FCS_IS_KNOWN != 0;
        let fcs_octets = if has_fcs_octets { (field >> FCS_SHIFT) as u8 * 2 } else { 0 };
        Self { encapsulation: LinkType(field & LINK_TYPE).encapsulation(with_bare), fcs_octets }
    }

    /// From the fields of a pcapng interface.
    pub(super) fn of_interface(link_type: u16, fcs_octets: u8, with_bare: bool) -> Self {
        Self { encapsulation: LinkType(link_type.into()).encapsulation(with_bare), fcs_octets }
    }
}

/// The number of a link type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkType(u32);

impl LinkType {
    fn encapsulation(self, with_bare: bool) -> Encapsulation {
        match self.0 {
            0 | 108 => Encapsulation::Null,
            1 => Encapsulation::Ethernet,
            9 | 50 => Encapsulation::Ppp,
            12 | 14 | 101 | 228 | 229 => Encapsulation::Raw,
            113 => Encapsulation::LinuxSll,
            276 => Encapsulation::LinuxSll2,
            USER_FIRST..=USER_LAST if with_bare => Encapsulation::Bare,
            _ => Encapsulation::Other(self),
        }
    }

    fn is_user(self) -> bool {
        (USER_FIRST..=USER_LAST).contains(&self.0)
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        if self.is_user() {
            let user = number - USER_FIRST;
            return write!(
                f,
                "{number} (USER{user}; with --bare-packets each packet is taken as a datagram)"
            );
        }
        match NAMES.iter().find(|(known, _)| known == number) {
            Some((_, name)) => write!(f, "{number} ({name})"),
            None => write!(f, "{number}"),
        }
    }
}

/// USER0 to USER15, which mean what their user wants.
const USER_FIRST: u32 = 147;
const USER_LAST: u32 = 162;
/// Of a pcap header: the link type, with its class.
const LINK_TYPE: u32 = 0x03FF_FFFF;
/// Of a pcap header: whether the highest four bits are the length of the frame check sequence, in
/// units of two octets.
const FCS_IS_KNOWN: u32 = 0x0400_0000;
const FCS_SHIFT: u32 = 28;

/// Link types that people meet and that are not supported.
const NAMES: [(u32, &str); 44] = [
    (3, "AX25"),
    (6, "IEEE802_5"),
    (7, "ARCNET_BSD"),
    (8, "SLIP"),
    (10, "FDDI"),
    (51, "PPP_ETHER"),
    (99, "SYMANTEC_FIREWALL"),
    (100, "ATM_RFC1483"),
    (104, "C_HDLC"),
    (105, "IEEE802_11"),
    (107, "FRELAY"),
    (109, "ENC"),
    (114, "LTALK"),
    (117, "PFLOG"),
    (119, "IEEE802_11_PRISM"),
    (122, "IP_OVER_FC"),
    (127, "IEEE802_11_RADIOTAP"),
    (129, "ARCNET_LINUX"),
    (138, "APPLE_IP_OVER_IEEE1394"),
    (143, "DOCSIS"),
    (144, "LINUX_IRDA"),
    (163, "IEEE802_11_AVS"),
    (166, "PPP_PPPD"),
    (169, "GPRS_LLC"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (192, "PPI"),
    (195, "IEEE802_15_4_WITHFCS"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (202, "AX25_KISS"),
    (204, "PPP_WITH_DIR"),
    (205, "C_HDLC_WITH_DIR"),
    (220, "USB_LINUX_MMAPPED"),
    (226, "IPNET"),
    (227, "CAN_SOCKETCAN"),
    (230, "IEEE802_15_4_NOFCS"),
    (231, "DBUS"),
    (239, "NFLOG"),
    (247, "INFINIBAND"),
    (249, "USBPCAP"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (258, "PKTAP"),
    (272, "NORDIC_BLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bits_are_no_part_of_the_link_type() {
        let link = |field| Link::of_pcap_header(field, false);
        assert_eq!(link(1), Link { encapsulation: Encapsulation::Ethernet, fcs_octets: 0 });
        assert_eq!(
            link(0x2400_0001),
            Link { encapsulation: Encapsulation::Ethernet, fcs_octets: 4 }
        );
        // The length means something only where the bit for it is set.
        assert_eq!(
            link(0x1000_0114),
            Link { encapsulation: Encapsulation::LinuxSll2, fcs_octets: 0 }
        );
        // A class other than 0 is another link type.
        assert!(matches!(link(0x0224_0001).encapsulation, Encapsulation::Other(_)));
    }

    #[test]
    fn a_link_type_is_named() {
        assert_eq!(LinkType(127).to_string(), "127 (IEEE802_11_RADIOTAP)");
        assert_eq!(LinkType(9999).to_string(), "9999");
        let user = LinkType(149);
        assert!(user.to_string().starts_with("149 (USER2; with --bare-packets"), "{user}");
        assert_eq!(user.encapsulation(true), Encapsulation::Bare);
        assert_eq!(user.encapsulation(false), Encapsulation::Other(user));
        assert!(NAMES.is_sorted_by_key(|(number, _)| number));
        assert!(NAMES.iter().all(|&(n, _)| {
            LinkType(n).encapsulation(true) == Encapsulation::Other(LinkType(n))
        }));
    }
}
