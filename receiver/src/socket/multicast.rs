//! Joining multicast groups (any source; RFC 1112, RFC 4291 §2.7), on one interface each.
//!
//! Guarantee: a socket that has joined receives what is sent to its group on its interface and nothing
//! else: it is bound to the group's address, so that other groups on its port are not its own, and
//! does not take part in what other programs of the host have joined (`IP_MULTICAST_ALL`).
//!
//! Limits: without a chosen interface the kernel takes the one to which its route to the group leads.
//! Memberships end with an interface that is removed. On IPv6 a group that another program has joined
//! on another interface is told apart only where the kernel lets the socket be bound to its own.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZeroU32,
    str::FromStr,
};

use nix::{ifaddrs::getifaddrs, net::if_};
use socket2::{InterfaceIndexOrAddress, Socket};

/// A network interface, as an option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By its name, such as `eth0`.
    Name(String),
    /// By its index, as `ip link` shows it.
    Index(NonZeroU32),
    /// By one of its addresses.
    Address(IpAddr),
}

/// The text names no interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name, the index or the IPv4 address of a network interface, such as eth0")]
pub struct NotAnInterface;

impl FromStr for Interface {
    type Err = NotAnInterface;

    fn from_str(text: &str) -> Result<Self, NotAnInterface> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if text.bytes().all(|octet| octet.is_ascii_digit()) {
            return text.parse().map(Self::Index).map_err(|_| NotAnInterface);
        }
        let is_name = text.len() < nix::libc::IFNAMSIZ
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        if is_name { Ok(Self::Name(text.into())) } else { Err(NotAnInterface) }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Interface {
    /// Its index; an error says which interfaces there are.
    fn index(&self) -> io::Result<NonZeroU32> {
        let found = match self {
            Self::Name(name) => if_::if_nametoindex(name.as_str()).ok().and_then(NonZeroU32::new),
            Self::Index(index) => name_of(*index).map(|_| *index),
            Self::Address(address) => interface_of(*address)
                .and_then(|name| if_::if_nametoindex(name.as_str()).ok().and_then(NonZeroU32::new)),
        };
        found.ok_or_else(|| {
            let here: Vec<_> = all().into_iter().map(|(_, name)| name).collect();
            let here = here.join(", ");
            io::Error::other(format!("there is no interface {self}, but {here}"))
        })
    }
}

/// A group and the interface that was chosen for it, if one was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    address: SocketAddr,
    chosen: Option<NonZeroU32>,
}

impl Group {
    /// The scope of an IPv6 address counts before `interface`.
    pub(super) fn new(mut address: SocketAddr, interface: Option<&Interface>) -> io::Result<Self> {
        let scope = match address {
            SocketAddr::V6(address) => NonZeroU32::new(address.scope_id()),
            SocketAddr::V4(_) => None,
        };
        let chosen = match (scope, interface) {
            (Some(_), _) | (None, None) => scope,
            (None, Some(interface)) => Some(interface.index()?),
        };
        if let (SocketAddr::V6(address), Some(index)) = (&mut address, chosen) {
            address.set_scope_id(index.get());
        }
        Ok(Self { address, chosen })
    }

    /// What a socket for it is bound to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Joins it; says on which interface.
    pub(super) fn join(&self, socket: &Socket) -> io::Result<String> {
        let index = self.chosen.map_or(0, NonZeroU32::get);
        match self.address.ip() {
            IpAddr::V4(group) => {
                socket.set_multicast_all_v4(false)?;
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
            }
            IpAddr::V6(group) => {
                // Kernels before 4.20 do not know it.
                let _older = socket.set_multicast_all_v6(false);
                socket.join_multicast_v6(&group, index)?;
                if self.chosen.is_some() {
                    // Kernels before 5.7 want a privilege for it.
                    let _refused = socket.bind_device_by_index_v6(self.chosen);
                }
            }
        }
        let name = match self.chosen {
            Some(index) => name_of(index),
            None => routed(self.address),
        };
        Ok(name.unwrap_or_else(|| "the interface of the route to it".into()))
    }
}

/// The interface to which the route to a group leads: that of the address which the kernel would send
/// from.
fn routed(group: SocketAddr) -> Option<String> {
    let any: SocketAddr = if group.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let probe = UdpSocket::bind(any).ok()?;
    // Nothing is sent.
    probe.connect(group).ok()?;
    interface_of(probe.local_addr().ok()?.ip())
}

fn interface_of(address: IpAddr) -> Option<String> {
    let mut interfaces = getifaddrs().ok()?;
    let found = interfaces.find(|interface| {
        let Some(own) = &interface.address else { return false };
        let v4 = own.as_sockaddr_in().map(|own| IpAddr::V4(own.ip()));
        let v6 = own.as_sockaddr_in6().map(|own| IpAddr::V6(own.ip()));
        v4.or(v6) == Some(address)
    });
    found.map(|interface| interface.interface_name)
}

fn name_of(index: NonZeroU32) -> Option<String> {
    all().into_iter().find(|(other, _)| *other == index.get()).map(|(_, name)| name)
}

/// Index and name of each.
fn all() -> Vec<(u32, String)> {
    let Ok(interfaces) = if_::if_nameindex() else { return Vec::new() };
    let name = |one: &if_::Interface| one.name().to_string_lossy().into_owned();
    interfaces.iter().map(|one| (one.index(), name(one))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_names_indices_or_addresses() {
        let lo = NonZeroU32::new(if_::if_nametoindex("lo").unwrap()).unwrap();
        for text in ["lo", "127.0.0.1", "::ffff:127.0.0.1", &lo.to_string()] {
            assert_eq!(text.parse::<Interface>().unwrap().index().unwrap(), lo, "{text}");
        }
        for text in ["no-such-one", "192.0.2.254", "4000000000"] {
            let error = text.parse::<Interface>().unwrap().index().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("lo"), "{error}");
        }
        for text in ["", "0", "5000000000", "a/b", "eth 0", "eth0:1", "a-name-of-16-octs"] {
            assert_eq!(text.parse::<Interface>(), Err(NotAnInterface), "{text}");
        }
    }
}
