//! How datagrams to a multicast group leave: by which interface, and how far they go. They come back
//! to this machine too, so that a station on it receives them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex};
use socket2::SockRef;

/// What was asked for; the kernel decides the rest.
#[derive(Clone, Debug, Default)]
pub struct Multicast {
    /// The interface; without it the one to which the route to the group leads.
    pub interface: Option<Interface>,
    /// How many networks they may pass through; 1 without it.
    pub ttl: Option<u8>,
}

/// A network interface, as an option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By its name or its index.
    Named(String),
    /// By one of its addresses.
    Address(IpAddr),
}

impl FromStr for Interface {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let is_name = !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_whitespace());
        is_name.then(|| Self::Named(text.into())).ok_or(
            "expected the name, the index or the IPv4 address of a network interface, such as eth0",
        )
    }
}

impl Multicast {
    /// Whether anything was asked for.
    pub fn is_asked(&self) -> bool {
        self.interface.is_some() || self.ttl.is_some()
    }

    /// Prepares a socket that sends to `target`; nothing where that is no group.
    pub(super) fn apply(&self, socket: &UdpSocket, target: SocketAddr) -> io::Result<()> {
        if !target.ip().is_multicast() {
            return Ok(());
        }
        let socket = SockRef::from(socket);
        let ttl = self.ttl.map_or(1, u32::from);
        match target {
            SocketAddr::V4(_) => {
                socket.set_multicast_ttl_v4(ttl)?;
                if let Some(interface) = &self.interface {
                    socket.set_multicast_if_v4(&interface.ipv4()?)?;
                }
            }
            SocketAddr::V6(_) => {
                socket.set_multicast_hops_v6(ttl)?;
                if let Some(interface) = &self.interface {
                    socket.set_multicast_if_v6(interface.index()?)?;
                }
            }
        }
        Ok(())
    }
}

impl Interface {
    /// An IPv4 address of it.
    fn ipv4(&self) -> io::Result<Ipv4Addr> {
        if let Self::Address(IpAddr::V4(address)) = self {
            return Ok(*address);
        }
        let (_, name) = self.find()?;
        let mut addresses = getifaddrs()?.filter(|one| one.interface_name == name);
        let found = addresses.find_map(|one| Some(one.address?.as_sockaddr_in()?.ip()));
        found.ok_or_else(|| io::Error::other(format!("the interface {name} has no IPv4 address")))
    }

    fn index(&self) -> io::Result<u32> {
        Ok(self.find()?.0)
    }

    /// Its index and name.
    fn find(&self) -> io::Result<(u32, String)> {
        let mut all = Vec::new();
        for one in &if_nameindex()? {
            all.push((one.index(), one.name().to_string_lossy().into_owned()));
        }
        let wanted = match self {
            Self::Named(wanted) => Some(wanted.clone()),
            Self::Address(address) => getifaddrs()?
                .find(|one| {
                    one.address.as_ref().is_some_and(|own| {
                        let v4 = own.as_sockaddr_in().map(|own| IpAddr::V4(own.ip()));
                        let v6 = own.as_sockaddr_in6().map(|own| IpAddr::V6(own.ip()));
                        v4.or(v6) == Some(*address)
                    })
                })
                .map(|one| one.interface_name),
        };
        let is_wanted = |wanted: &String, (index, name): &(u32, String)| {
            name == wanted || index.to_string() == *wanted
        };
        let names: Vec<_> = all.iter().map(|(_, name)| name.clone()).collect();
        let found = wanted.and_then(|wanted| all.into_iter().find(|one| is_wanted(&wanted, one)));
        found.ok_or_else(|| {
            let names = names.join(", ");
            io::Error::other(match self {
                Self::Named(wanted) => format!("there is no interface {wanted}, but {names}"),
                Self::Address(address) => format!("no interface of {names} has {address}"),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_names_indices_or_addresses() {
        let lo = "lo".parse::<Interface>().unwrap().index().unwrap();
        for text in ["lo", "127.0.0.1", "::ffff:127.0.0.1", &lo.to_string()] {
            let interface: Interface = text.parse().unwrap();
            assert_eq!(interface.index().unwrap(), lo, "{text}");
            assert_eq!(interface.ipv4().unwrap(), Ipv4Addr::LOCALHOST, "{text}");
        }
        for text in ["no-such-one", "4000000000", "2001:db8::7"] {
            let error = text.parse::<Interface>().unwrap().index().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("lo"), "{error}");
        }
        for text in ["", "a/b", "eth 0"] {
            assert!(text.parse::<Interface>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_prepared_for_groups_only() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let multicast = Multicast { interface: "127.0.0.1".parse().ok(), ttl: Some(7) };
        multicast.apply(&socket, "127.0.0.1:1".parse().unwrap()).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 1);
        multicast.apply(&socket, "239.255.10.15:1".parse().unwrap()).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 7);
        assert_eq!(SockRef::from(&socket).multicast_if_v4().unwrap(), Ipv4Addr::LOCALHOST);
    }
}
