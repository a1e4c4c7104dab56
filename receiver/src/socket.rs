//! UDP sockets: many datagrams a system call, into buffers that are made once. Octets only; what
//! they mean is not known here.

mod bind;
mod mmsg;
mod multicast;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    task::{Context, Poll},
    time::SystemTime,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;

pub use bind::{BindError, BindOptions, bind_all};
pub use mmsg::Arrivals;
pub use multicast::{Interface, NotAnInterface};

/// One bound socket.
pub struct Socket {
    socket: UdpSocket,
    /// The same as the runtime has it, while it waits for datagrams.
    waiting: Option<tokio::net::UdpSocket>,
    address: SocketAddr,
    room: usize,
    is_stamped: bool,
    drops: DropCounter,
}

/// A datagram as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its payload.
    pub octets: &'a [u8],
    /// Where it came from, as far as the kernel told.
    pub source: Option<IpAddr>,
    /// When it came, in µs since 1970, if the kernel was asked ([`Socket::stamp`]) and told.
    pub received_us: Option<i64>,
}

impl Socket {
    /// Binds one socket by itself, as [`bind_all`] does.
    pub fn bind(
        address: SocketAddr,
        receive_buffer: usize,
        coalesce: bool,
    ) -> Result<UdpSocket, BindError> {
        let options = BindOptions { receive_buffer, coalesce, interface: None };
        bind::bind_one(address, &options)
    }

    /// Takes a bound socket, to be polled.
    pub fn from_bound(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let room = receive_buffer_of(&socket)? * 2 / DATAGRAM_OCTETS;
        Ok(Self {
            socket,
            waiting: None,
            address,
            room,
            is_stamped: false,
            drops: DropCounter::default(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams the kernel holds at least until somebody looks, as long as each is of a few
    /// hundred octets. It has twice the room that was asked for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Lets the kernel say when each datagram came, or no longer: it takes its time for that.
    pub fn stamp(&mut self, is_stamped: bool) {
        if is_stamped != self.is_stamped {
            self.is_stamped = is_stamped;
            // A kernel that does not know it tells nothing, and then nothing is known.
            let _unknown = setsockopt(&self.socket, sockopt::ReceiveTimestampns, &is_stamped);
        }
    }

    /// Lets the runtime that this is called in wait for datagrams, or no longer: whoever sends then has
    /// to tell it of each of them.
    pub fn wait(&mut self, waits: bool) {
        if waits != self.waits() {
            let register = || self.socket.try_clone().and_then(tokio::net::UdpSocket::from_std);
            // Where the runtime does not take it, it is polled as before.
            self.waiting = waits.then(register).and_then(Result::ok);
        }
    }

    /// Whether it is waited for datagrams.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether there may be datagrams: always, if it is not waited for them.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.waiting {
            Some(waiting) => waiting.poll_recv_ready(context).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Takes as many datagrams as there are, up to the room in `arrivals`; `WouldBlock` when there are
    /// none.
    pub fn receive(&self, arrivals: &mut Arrivals) -> io::Result<()> {
        let mut receive = || arrivals.receive(self.socket.as_raw_fd());
        match &self.waiting {
            Some(waiting) => waiting.try_io(Interest::READABLE, receive),
            None => receive(),
        }
    }

    /// Datagrams that the kernel dropped since the last call. Asked of the socket itself
    /// (`SO_MEMINFO`), so that the last burst counts even if nothing follows it; `reported` is what
    /// came with the data (`SO_RXQ_OVFL`), which is asked for only where the kernel does not answer.
    pub fn dropped(&mut self, reported: Option<u32>) -> u64 {
        let asked = mmsg::drops(self.socket.as_raw_fd());
        asked.or(reported).map_or(0, |count| self.drops.advance(count))
    }
}

/// Now, in µs since 1970, by the station's clock.
#[must_use]
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}

/// A kernel counter of 32 bits that wraps, made one of 64 that only grows.
#[derive(Debug, Default)]
struct DropCounter {
    last: u32,
}

impl DropCounter {
    fn advance(&mut self, count: u32) -> u64 {
        let more = count.wrapping_sub(self.last);
        // An older reading than the last one is no drop of four thousand million datagrams.
        if more > u32::MAX / 2 {
            return 0;
        }
        self.last = count;
        u64::from(more)
    }
}

/// Sets the buffer, past the system's limit where that is permitted.
fn set_receive_buffer(socket: &UdpSocket, octets: usize) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &octets).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &octets)?;
    }
    Ok(())
}

/// The receive buffer that a socket has, which may be smaller than the one that was asked for.
pub fn receive_buffer_of(socket: &UdpSocket) -> io::Result<usize> {
    let doubled = nix::sys::socket::getsockopt(socket, sockopt::RcvBuf)?;
    // socket(7): the kernel doubles the value for its own bookkeeping and returns the double.
    Ok(doubled / 2)
}

/// What the kernel counts for a datagram of a few hundred octets.
const DATAGRAM_OCTETS: usize = 1_280;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn the_drop_counter_wraps() {
        let mut counter = DropCounter { last: u32::MAX - 1 };
        assert_eq!(counter.advance(1), 3);
        assert_eq!(counter.advance(0), 0, "an older reading");
        assert_eq!(counter.advance(5), 4);
    }

    #[tokio::test]
    async fn a_stamp_says_when_a_datagram_came() {
        let bound = Socket::bind("127.0.0.1:0".parse().unwrap(), 65_536, true).unwrap();
        let mut socket = Socket::from_bound(bound).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut arrivals = Arrivals::new();
        for is_stamped in [false, true, false] {
            socket.stamp(is_stamped);
            // The kernel takes a moment to begin.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let from_us = now_us();
            sender.send_to(b"datagram", socket.address()).unwrap();
            let to_us = now_us();
            std::thread::sleep(std::time::Duration::from_millis(2));
            receive(&socket, &mut arrivals).await;
            let mut came = Vec::new();
            arrivals.each(|arrival| came.push(arrival.received_us));
            assert_eq!(came.len(), 1);
            assert_eq!(came[0].is_some(), is_stamped);
            assert!(came[0].is_none_or(|us| (from_us..=to_us).contains(&us)), "{came:?}");
        }
    }

    #[tokio::test]
    async fn it_is_waited_for_or_not_with_and_without_sources() {
        let bound = Socket::bind("127.0.0.1:0".parse().unwrap(), 65_536, true).unwrap();
        let mut socket = Socket::from_bound(bound).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut arrivals = Arrivals::new();
        for round in 0..16 {
            let [waits, asks, is_there] = [1, 2, 4].map(|bit| round & bit != 0);
            if is_there {
                sender.send_to(b"datagram", socket.address()).unwrap();
            }
            socket.wait(waits);
            arrivals.ask_sources(asks);
            assert_eq!(socket.waits(), waits, "{round}");
            if !is_there {
                let error = socket.receive(&mut arrivals).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{round}");
                let first = poll_fn(|context| Poll::Ready(socket.poll_ready(context))).await;
                assert_eq!(first.is_pending(), waits, "{round}");
                sender.send_to(b"datagram", socket.address()).unwrap();
            }
            receive(&socket, &mut arrivals).await;
            let mut sources = Vec::new();
            arrivals.each(|arrival| sources.push(arrival.source));
            assert_eq!(sources, [asks.then_some("127.0.0.1".parse().unwrap())], "{round}");
        }
    }

    /// Waits for datagrams and takes them.
    async fn receive(socket: &Socket, arrivals: &mut Arrivals) {
        while let Err(error) = socket.receive(arrivals) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            poll_fn(|context| socket.poll_ready(context)).await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn datagrams_arrive_whole_and_drops_are_seen_without_another() {
        for coalesce in [false, true] {
            let bound = Socket::bind("127.0.0.1:0".parse().unwrap(), 4_096, coalesce).unwrap();
            let mut socket = Socket::from_bound(bound).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            for length in [0_usize, 1, 68, 1_000, 1_400] {
                sender.send_to(&vec![length as u8; length], socket.address()).unwrap();
            }
            let mut arrivals = Arrivals::new();
            let mut lengths = Vec::new();
            while lengths.len() < 5 {
                receive(&socket, &mut arrivals).await;
                arrivals.each(|arrival| {
                    assert!(arrival.octets.iter().all(|&o| o == arrival.octets.len() as u8));
                    assert_eq!(arrival.source, Some("127.0.0.1".parse().unwrap()));
                    lengths.push(arrival.octets.len());
                });
            }
            assert_eq!(lengths, [0, 1, 68, 1_000, 1_400]);
            assert_eq!(socket.dropped(None), 0);
            for _ in 0..200 {
                sender.send_to(&[0; 1_000], socket.address()).unwrap();
            }
            let mut received = 0;
            while socket.receive(&mut arrivals).is_ok() {
                arrivals.each(|_| received += 1);
            }
            assert!(received < 200, "the small buffer overflowed");
            assert_eq!(socket.dropped(None), 200 - received);
            assert_eq!(socket.dropped(None), 0);
        }
    }
}
