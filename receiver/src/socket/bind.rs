//! Binding sockets, all of a station at once, since what they may share depends on each other.
//!
//! * A `[::]` takes IPv4 too, unless an IPv4 address with the same port is listened on as well: then
//!   it is for IPv6 alone (`IPV6_V6ONLY`).
//! * A multicast group may be received by several programs of a host, each with all of it
//!   (`SO_REUSEADDR`). Any other address is bound by one program only.
//! * A wildcard address beside a group with the same port does not receive that group a second time.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};

use super::{
    mmsg,
    multicast::{Group, Interface},
    receive_buffer_of, set_receive_buffer,
};

/// What the sockets of a station are to be like.
#[derive(Clone, Debug)]
pub struct BindOptions<'a> {
    /// Octets that each has in the kernel.
    pub receive_buffer: usize,
    /// Whether the kernel may hand over several datagrams of one sender at once (`UDP_GRO`).
    pub coalesce: bool,
    /// Where groups are joined; without it where the route to them leads.
    pub interface: Option<&'a Interface>,
}

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BindError {
    #[error("cannot listen on UDP {0}: {1}; choose another address with --listen")]
    Address(SocketAddr, io::Error),
    #[error("--listen names {0} twice: give each address once")]
    Twice(SocketAddr),
    #[error(
        "cannot join the multicast group {0}{on}: {1}; choose an interface with \
         --multicast-interface",
        on = .2.as_ref().map(|interface| format!(" on {interface}")).unwrap_or_default()
    )]
    Group(SocketAddr, io::Error, Option<Interface>),
}

/// Binds a socket to each address, outside any runtime, or none. A receive buffer smaller than wanted
/// is warned about.
pub fn bind_all(
    addresses: &[SocketAddr],
    options: &BindOptions<'_>,
) -> Result<Vec<UdpSocket>, BindError> {
    for (place, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..place].contains(address) {
            return Err(BindError::Twice(*address));
        }
    }
    let mut sockets: Vec<Option<UdpSocket>> = addresses.iter().map(|_| None).collect();
    // Groups last: a wildcard address may be shared with them, but only once it is its own.
    for is_group in [false, true] {
        for (place, &address) in addresses.iter().enumerate() {
            if address.ip().is_multicast() == is_group {
                sockets[place] = Some(bind(address, Beside::new(address, addresses), options)?);
            }
        }
    }
    Ok(sockets.into_iter().flatten().collect())
}

/// Binds a socket that has the port of its address to itself.
pub(super) fn bind_one(
    address: SocketAddr,
    options: &BindOptions<'_>,
) -> Result<UdpSocket, BindError> {
    bind(address, Beside::default(), options)
}

/// What else is listened on with the port of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    has_ipv4: bool,
    has_group: bool,
}

impl Beside {
    fn new(address: SocketAddr, addresses: &[SocketAddr]) -> Self {
        let others = addresses.iter().filter(|&&other| {
            other != address && other.port() == address.port() && address.port() != 0
        });
        others.fold(Self::default(), |beside, other| Self {
            has_ipv4: beside.has_ipv4 || other.is_ipv4(),
            has_group: beside.has_group || other.ip().is_multicast(),
        })
    }
}

fn bind(
    address: SocketAddr,
    beside: Beside,
    options: &BindOptions<'_>,
) -> Result<UdpSocket, BindError> {
    let group_failed = |error| BindError::Group(address, error, options.interface.cloned());
    let group = if address.ip().is_multicast() {
        Some(Group::new(address, options.interface).map_err(group_failed)?)
    } else {
        None
    };
    let fail = |error| match group {
        Some(_) => group_failed(error),
        None => BindError::Address(address, error),
    };
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
            .map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    if address.is_ipv6() {
        // Without it the kernel's own default counts (net.ipv6.bindv6only).
        socket.set_only_v6(beside.has_ipv4).map_err(fail)?;
        if beside.has_ipv4 && address.ip().is_unspecified() {
            tracing::info!(
                "{address} receives IPv6 only, since IPv4 addresses or groups of its port are given, too"
            );
        }
    }
    if let Some(group) = group {
        socket.set_reuse_address(true).map_err(fail)?;
        socket.bind(&group.address().into()).map_err(fail)?;
        let interface = group.join(&socket).map_err(fail)?;
        tracing::info!("Joined the multicast group {} on {interface}", address.ip());
    } else {
        socket.bind(&address.into()).map_err(fail)?;
        if beside.has_group && address.ip().is_unspecified() {
            // Only now, so that two programs cannot share this address unawares.
            socket.set_reuse_address(true).map_err(fail)?;
            refuse_groups(&socket, address.ip()).map_err(fail)?;
        }
    }
    let socket = UdpSocket::from(socket);
    set_receive_buffer(&socket, options.receive_buffer).map_err(fail)?;
    let granted = receive_buffer_of(&socket).map_err(fail)?;
    if granted < options.receive_buffer {
        let wanted = options.receive_buffer;
        tracing::warn!(
            "receive buffer of {address} is {granted} octets instead of {wanted}: \
             raise net.core.rmem_max to {wanted}, or grant CAP_NET_ADMIN"
        );
    }
    if options.coalesce && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_err() {
        tracing::warn!("this kernel does not coalesce UDP datagrams: --gro has no effect");
    }
    // Control messages about drops cost time with every datagram, just when there is none left.
    if mmsg::drops(socket.as_raw_fd()).is_none()
        && setsockopt(&socket, sockopt::RxqOvfl, &1).is_err()
    {
        tracing::warn!("this kernel does not tell which datagrams it dropped");
    }
    Ok(socket)
}

/// Keeps the groups of other sockets of this host away from one with a wildcard address.
fn refuse_groups(socket: &socket2::Socket, ip: IpAddr) -> io::Result<()> {
    if ip.is_ipv6() {
        // Kernels before 4.20 do not know it.
        let _older = socket.set_multicast_all_v6(false);
    }
    socket.set_multicast_all_v4(false)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

    use super::*;

    const LO: Interface = Interface::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    const OPTIONS: BindOptions<'static> =
        BindOptions { receive_buffer: 65_536, coalesce: false, interface: Some(&LO) };

    /// A port that is free for IPv4 and IPv6.
    fn free_port() -> u16 {
        let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.local_addr().unwrap().port()
    }

    fn bind_texts(addresses: &[String]) -> Result<Vec<UdpSocket>, BindError> {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        bind_all(&addresses, &OPTIONS)
    }

    fn send(text: &str, target: &str) {
        let target: SocketAddr = target.parse().unwrap();
        let domain = Domain::for_address(target);
        let sender = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        if target.is_ipv4() {
            sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        }
        sender.send_to(text.as_bytes(), &target.into()).unwrap();
    }

    /// What arrives at a socket up to a datagram `end`, in whatever order.
    fn received(socket: &UdpSocket, end: &str) -> Vec<String> {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut found = Vec::new();
        let mut buffer = [0; 64];
        while found.last().is_none_or(|last| last != end) {
            let octets = socket.recv(&mut buffer).expect("the datagram that ends it arrives");
            found.push(String::from_utf8_lossy(&buffer[..octets]).into_owned());
        }
        found
    }

    #[test]
    fn a_group_is_received_by_every_program_that_joins_it_and_no_other_group() {
        // Of IPv6 a loopback interface does no multicast.
        let (group, other) = ("239.255.10.15", "239.255.10.16");
        let port = free_port();
        let bind = |group: &str| bind_texts(&[format!("{group}:{port}")]).unwrap().remove(0);
        let (ours, theirs) = (bind(group), bind(group));
        // Another program joins another group with the same port: that is none of ours.
        let third = bind(other);
        send("not ours", &format!("{other}:{port}"));
        send("ours", &format!("{group}:{port}"));
        assert_eq!(received(&ours, "ours"), ["ours"]);
        assert_eq!(received(&theirs, "ours"), ["ours"]);
        assert_eq!(received(&third, "not ours"), ["not ours"]);
    }

    #[test]
    fn a_wildcard_beside_a_group_takes_the_rest_once() {
        let port = free_port();
        for wildcard in ["0.0.0.0", "[::]"] {
            let (group, all) = (format!("239.255.10.15:{port}"), format!("{wildcard}:{port}"));
            let sockets = match bind_texts(&[all.clone(), group.clone()]) {
                Ok(sockets) => sockets,
                Err(error) if wildcard == "[::]" && UdpSocket::bind("[::1]:0").is_err() => {
                    eprintln!("there is no IPv6 here: {error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let own = if wildcard == "[::]" { "[::1]" } else { "127.0.0.1" };
            send("group", &group);
            send("own", &format!("{own}:{port}"));
            assert_eq!(received(&sockets[0], "own"), ["own"], "{wildcard}");
            assert_eq!(received(&sockets[1], "group"), ["group"], "{wildcard}");
            // A second station does not take the unicast datagrams away.
            let error = bind_texts(&[all, group]).unwrap_err().to_string();
            assert!(error.contains("in use") && error.contains("--listen"), "{error}");
        }
    }

    #[test]
    fn ipv6_leaves_ipv4_to_a_socket_of_its_own_and_takes_it_otherwise() {
        if UdpSocket::bind("[::1]:0").is_err() {
            eprintln!("there is no IPv6 here");
            return;
        }
        let port = free_port();
        let all =
            |first: &str, second: &str| [format!("{first}:{port}"), format!("{second}:{port}")];
        for addresses in [all("0.0.0.0", "[::]"), all("[::]", "0.0.0.0"), all("127.0.0.1", "[::]")]
        {
            let sockets = bind_texts(&addresses).unwrap();
            let ipv4 = usize::from(addresses[0].starts_with('['));
            send("4", &format!("127.0.0.1:{port}"));
            send("6", &format!("[::1]:{port}"));
            assert_eq!(received(&sockets[ipv4], "4"), ["4"], "{addresses:?}");
            assert_eq!(received(&sockets[1 - ipv4], "6"), ["6"], "{addresses:?}");
        }
        let alone = bind_texts(&[format!("[::]:{port}")]).unwrap();
        send("4", &format!("127.0.0.1:{port}"));
        send("6", &format!("[::1]:{port}"));
        let found: BTreeSet<_> = received(&alone[0], "6").into_iter().collect();
        assert_eq!(found, BTreeSet::from(["4".into(), "6".into()]));
        // Other ports are none of its business.
        let other = free_port();
        let both = bind_texts(&[format!("[::]:{port}"), format!("127.0.0.1:{other}")]);
        assert!(both.is_err(), "the first is still bound");
        drop(alone);
        let both = bind_texts(&[format!("[::]:{port}"), format!("127.0.0.1:{other}")]).unwrap();
        send("4", &format!("127.0.0.1:{port}"));
        assert_eq!(received(&both[0], "4"), ["4"]);
    }

    #[test]
    fn errors_say_what_to_do() {
        let port = free_port();
        let taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let error = bind_texts(&[format!("127.0.0.1:{port}")]).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("--listen"), "{error}");
        drop(taken);
        let twice = [format!("239.255.10.15:{port}"), format!("239.255.10.15:{port}")];
        let error = bind_texts(&twice).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
        let interface = Interface::Name("no-such-one".into());
        let options = BindOptions { interface: Some(&interface), ..OPTIONS };
        for group in ["239.255.10.15", "[ff02::1015]"] {
            let group = format!("{group}:{port}").parse().unwrap();
            let error = bind_all(&[group], &options).unwrap_err().to_string();
            assert!(error.contains("no interface no-such-one"), "{error}");
            assert!(error.contains("--multicast-interface"), "{error}");
        }
        // A link-local group says nothing about the link.
        let options = BindOptions { interface: None, ..OPTIONS };
        let group = format!("[ff02::1015]:{port}").parse().unwrap();
        let error = bind_all(&[group], &options).unwrap_err().to_string();
        assert!(error.contains("--multicast-interface"), "{error}");
    }
}
