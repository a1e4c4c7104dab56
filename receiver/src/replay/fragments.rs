//! IP fragments, put together to whole packets.
//!
//! At most [`ASSEMBLED_MAX`] packets are put together at a time, of at most 64 KiB each. When there
//! are more, the one that began first is given up; so is one whose next fragment was captured more
//! than [`LIFETIME_US`] after its first, since its identification may be another packet's by then.

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpNumber,
    defrag::{IpDefragBuf, IpFragRange},
};

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) packet: PacketId,
    pub(super) offset: IpFragOffset,
    pub(super) more_follow: bool,
    pub(super) payload: &'a [u8],
}

/// Which fragments belong together (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PacketId {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    /// Of the first fragment: with IPv6 others may say something else.
    pub(super) protocol: IpNumber,
}

impl PacketId {
    fn is_same(&self, other: &Self) -> bool {
        let is_same = self.source == other.source
            && self.destination == other.destination
            && self.identification == other.identification;
        is_same && (self.source.is_ipv6() || self.protocol == other.protocol)
    }
}

/// A packet that has become complete.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) protocol: IpNumber,
    pub(super) payload: Vec<u8>,
    /// How many fragments it came in.
    pub(super) fragments: u64,
}

/// Packets that are being put together.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    /// In the order in which they began.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    packet: PacketId,
    octets: IpDefragBuf,
    began_us: i64,
    fragments: u64,
}

impl Fragments {
    /// Takes a fragment, captured at `time_us`; returns the packet that it completes, and how many
    /// fragments are given up for it.
    pub(super) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        time_us: i64,
    ) -> (Option<Assembled>, u64) {
        let mut given_up = 0;
        let mut found = self.open.iter().position(|open| open.packet.is_same(&fragment.packet));
        if let Some(place) = found
            && time_us.abs_diff(self.open[place].began_us) > LIFETIME_US
        {
            given_up += self.open.remove(place).fragments;
            found = None;
        }
        let place = found.unwrap_or_else(|| {
            if self.open.len() >= ASSEMBLED_MAX {
                given_up += self.open.remove(0).fragments;
            }
            let octets = IpDefragBuf::new(fragment.packet.protocol, Vec::new(), Vec::new());
            self.open.push(Open {
                packet: fragment.packet,
                octets,
                began_us: time_us,
                fragments: 0,
            });
            self.open.len() - 1
        });
        let open = &mut self.open[place];
        open.fragments += 1;
        if fragment.offset.value() == 0 {
            open.packet.protocol = fragment.packet.protocol;
        }
        let added = open.octets.add(fragment.offset, fragment.more_follow, fragment.payload);
        if added.is_err() {
            given_up += self.open.remove(place).fragments;
            return (None, given_up);
        }
        if !open.octets.is_complete() {
            return (None, given_up);
        }
        let open = self.open.remove(place);
        let (protocol, fragments) = (open.packet.protocol, open.fragments);
        let (payload, _): (_, Vec<IpFragRange>) = open.octets.take_bufs();
        (Some(Assembled { protocol, payload, fragments }), given_up)
    }

    /// Gives up all; returns how many fragments these are.
    pub(super) fn give_up(&mut self) -> u64 {
        self.open.drain(..).map(|open| open.fragments).sum()
    }
}

/// Stations that send fragments at once, with room for some that never become whole.
pub(super) const ASSEMBLED_MAX: usize = 64;
/// As Linux (`net.ipv4.ipfrag_time`).
const LIFETIME_US: u64 = 30_000_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn fragment(identification: u32, offset: u16, more_follow: bool) -> Fragment<'static> {
        Fragment {
            packet: PacketId {
                source: Ipv4Addr::new(192, 0, 2, 1).into(),
                destination: Ipv4Addr::new(192, 0, 2, 2).into(),
                identification,
                protocol: IpNumber::UDP,
            },
            offset: IpFragOffset::try_new(offset).unwrap(),
            more_follow,
            payload: b"eight of",
        }
    }

    #[test]
    fn fragments_in_any_order_and_repeated_make_a_packet() {
        let mut fragments = Fragments::default();
        for (offset, more_follow) in [(2, false), (0, true), (0, true)] {
            let (done, given_up) = fragments.add(&fragment(1, offset, more_follow), 0);
            assert!(done.is_none() && given_up == 0);
        }
        let (done, _) = fragments.add(&fragment(1, 1, true), 0);
        let done = done.unwrap();
        assert_eq!((done.payload, done.fragments), (b"eight of".repeat(3), 4));
        assert_eq!(fragments.give_up(), 0);
    }

    #[test]
    fn what_does_not_become_whole_is_given_up_and_counted() {
        let mut fragments = Fragments::default();
        for id in 0..ASSEMBLED_MAX as u32 + 10 {
            let (_, given_up) = fragments.add(&fragment(id, 0, true), 0);
            assert_eq!(given_up, u64::from(id >= ASSEMBLED_MAX as u32));
        }
        // The oldest is gone, so its end completes nothing.
        assert!(fragments.add(&fragment(0, 1, false), 0).0.is_none());
        // A late one belongs to another packet.
        let late = LIFETIME_US as i64 + 1;
        let (done, given_up) = fragments.add(&fragment(40, 1, false), late);
        assert!(done.is_none() && given_up == 1);
        // One that contradicts what came before takes it along.
        fragments.add(&fragment(50, 1, false), 0);
        let (done, given_up) = fragments.add(&fragment(41, 0x1FFF, true), 0);
        assert!(done.is_none() && given_up == 2);
        assert!(fragments.give_up() > 50);
        assert_eq!(fragments.give_up(), 0);
    }
}
