//! What a capture holds: every packet in one counted place.

use std::fmt;

use super::link_type::LinkType;

/// Why a packet gives no datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// Longer than the capture kept of it.
    Cut,
    /// It ends within its headers, or before the end that they announce.
    Short,
    /// Headers that contradict themselves, or of an interface that is not described.
    Malformed,
    /// Longer than any packet that this reader takes.
    TooLong,
    /// Not IP.
    NotIp,
    /// IP, but not UDP.
    NotUdp,
    /// UDP to another port than the wanted one.
    OtherPort,
    /// A fragment of a datagram that is not complete in the file.
    Fragment,
    /// Of an interface with a link type that is not supported.
    OtherLink(LinkType),
}

/// How many packets of a capture were used, and how many were not, by reason.
///
/// `packets = used + Σ unused` at the end of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Packets in the file; 0 if it is no capture.
    pub packets: u64,
    /// Packets that were datagrams, or fragments of them.
    pub used: u64,
    /// Packets of which the capture holds only the first octets.
    pub cut: u64,
    /// Packets with headers or lengths that cannot be right.
    pub malformed: u64,
    /// Packets longer than any datagram.
    pub too_long: u64,
    /// Packets that are not IP.
    pub not_ip: u64,
    /// IP packets that are not UDP.
    pub not_udp: u64,
    /// UDP datagrams to other ports.
    pub other_port: u64,
    /// IP fragments of datagrams that are not complete.
    pub fragments: u64,
    /// Packets of a link type that is not supported.
    pub other_link: u64,
    /// The first such link type.
    pub(super) link_type: Option<LinkType>,
    /// Where the file ends within a packet, in octets from its beginning.
    pub torn_at: Option<u64>,
}

impl Contents {
    /// Counts `packets` that give no datagram.
    pub(super) fn pass_over(&mut self, why: Unused, packets: u64) {
        *match why {
            Unused::Cut => &mut self.cut,
            Unused::Short | Unused::Malformed => &mut self.malformed,
            Unused::TooLong => &mut self.too_long,
            Unused::NotIp => &mut self.not_ip,
            Unused::NotUdp => &mut self.not_udp,
            Unused::OtherPort => &mut self.other_port,
            Unused::Fragment => &mut self.fragments,
            Unused::OtherLink(link_type) => {
                self.link_type.get_or_insert(link_type);
                &mut self.other_link
            }
        } += packets;
    }

    /// Packets that gave no datagram.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    fn by_reason(&self) -> [(&'static str, u64); 8] {
        [
            ("cut when they were captured", self.cut),
            ("in IP fragments of incomplete datagrams", self.fragments),
            ("not IP", self.not_ip),
            ("not UDP", self.not_udp),
            ("to other UDP ports", self.other_port),
            ("of unsupported link types", self.other_link),
            ("malformed", self.malformed),
            ("too long", self.too_long),
        ]
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets", self.packets)?;
        let unused = self.by_reason().into_iter().filter(|(_, count)| *count > 0);
        for (n, (reason, count)) in unused.enumerate() {
            let start = if n == 0 { "; passed over: " } else { ", " };
            write!(f, "{start}{count} {reason}")?;
        }
        if let Some(link_type) = self.link_type {
            write!(f, "; unsupported link type {link_type}")?;
        }
        Ok(())
    }
}
