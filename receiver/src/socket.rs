//! UDP sockets: many datagrams a system call, into buffers that are made once. Octets only; what
//! they mean is not known here.

mod mmsg;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::{Duration, SystemTime},
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{io::Interest, net::UdpSocket};

pub use mmsg::Arrivals;

/// One bound socket.
pub struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
    rest: Duration,
    drops: DropCounter,
}

/// A datagram as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its payload.
    pub octets: &'a [u8],
    /// Where it came from, as far as the kernel told.
    pub source: Option<IpAddr>,
}

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {error}; choose another address with --listen")]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl Socket {
    /// Binds a socket, outside any runtime. `coalesce` lets the kernel hand over several datagrams
    /// of one sender at once (UDP_GRO). A receive buffer smaller than wanted is warned about.
    pub fn bind(
        address: SocketAddr,
        receive_buffer: usize,
        coalesce: bool,
    ) -> Result<std::net::UdpSocket, BindError> {
        let fail = |error| BindError { address, error };
        let socket = std::net::UdpSocket::bind(address).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        set_receive_buffer(&socket, receive_buffer).map_err(fail)?;
        let granted = receive_buffer_of(&socket).map_err(fail)?;
        if granted < receive_buffer {
            tracing::warn!(
                "receive buffer of {address} is {granted} octets instead of {receive_buffer}: \
                 raise net.core.rmem_max to {receive_buffer}, or grant CAP_NET_ADMIN"
            );
        }
        if coalesce && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_err() {
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

    /// Hands a bound socket to the runtime that this is called in.
    pub fn from_bound(socket: std::net::UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let rest = rest(receive_buffer_of(&socket)?);
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            address,
            rest,
            drops: DropCounter::default(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For how long nobody has to look: what comes meanwhile fills a quarter of the receive buffer at
    /// most, even a million datagrams a second.
    #[must_use]
    pub fn rest(&self) -> Duration {
        self.rest
    }

    /// Waits for datagrams and takes as many as there are, up to the room in `arrivals`.
    pub async fn receive(&self, arrivals: &mut Arrivals) -> io::Result<()> {
        let descriptor = self.socket.as_raw_fd();
        self.socket.async_io(Interest::READABLE, || arrivals.receive(descriptor)).await
    }

    /// Takes what is there without waiting; `WouldBlock` when there is nothing.
    pub fn try_receive(&self, arrivals: &mut Arrivals) -> io::Result<()> {
        arrivals.receive(self.socket.as_raw_fd())
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
fn set_receive_buffer(socket: &std::net::UdpSocket, octets: usize) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &octets).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &octets)?;
    }
    Ok(())
}

/// See [`Socket::rest`]: the kernel has twice the room that was asked for, and takes up to
/// [`DATAGRAM_OCTETS`] of it for a datagram of a few hundred octets.
fn rest(receive_buffer: usize) -> Duration {
    let datagrams = receive_buffer * 2 / 4 / DATAGRAM_OCTETS;
    Duration::from_micros(datagrams as u64).min(REST_MAX)
}

/// The buffer that there is.
fn receive_buffer_of(socket: &std::net::UdpSocket) -> io::Result<usize> {
    let doubled = nix::sys::socket::getsockopt(socket, sockopt::RcvBuf)?;
    // socket(7): the kernel doubles the value for its own bookkeeping and returns the double.
    Ok(doubled / 2)
}

const DATAGRAM_OCTETS: usize = 1_280;
/// Samples are not visible so much later, and `received_at` is not so much too late, that it matters.
const REST_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_the_buffer_the_shorter_the_rest() {
        assert_eq!(rest(16 << 20), Duration::from_millis(5));
        assert_eq!(rest(1 << 20), Duration::from_micros(409));
        assert_eq!(rest(212_992), Duration::from_micros(83));
        assert_eq!(rest(256), Duration::ZERO);
    }

    #[test]
    fn the_drop_counter_wraps() {
        let mut counter = DropCounter { last: u32::MAX - 1 };
        assert_eq!(counter.advance(1), 3);
        assert_eq!(counter.advance(0), 0, "an older reading");
        assert_eq!(counter.advance(5), 4);
    }

    #[tokio::test]
    async fn datagrams_arrive_whole_and_drops_are_seen_without_another() {
        for coalesce in [false, true] {
            let bound = Socket::bind("127.0.0.1:0".parse().unwrap(), 4_096, coalesce).unwrap();
            let mut socket = Socket::from_bound(bound).unwrap();
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for length in [0_usize, 1, 68, 1_000, 1_400] {
                sender.send_to(&vec![length as u8; length], socket.address()).unwrap();
            }
            let mut arrivals = Arrivals::new();
            let mut lengths = Vec::new();
            while lengths.len() < 5 {
                socket.receive(&mut arrivals).await.unwrap();
                for arrival in arrivals.iter() {
                    assert!(arrival.octets.iter().all(|&o| o == arrival.octets.len() as u8));
                    assert_eq!(arrival.source, Some("127.0.0.1".parse().unwrap()));
                    lengths.push(arrival.octets.len());
                }
            }
            assert_eq!(lengths, [0, 1, 68, 1_000, 1_400]);
            assert_eq!(socket.dropped(None), 0);
            for _ in 0..200 {
                sender.send_to(&[0; 1_000], socket.address()).unwrap();
            }
            let mut received = 0;
            while socket.try_receive(&mut arrivals).is_ok() {
                received += arrivals.iter().count() as u64;
            }
            assert!(received < 200, "the small buffer overflowed");
            assert_eq!(socket.dropped(None), 200 - received);
            assert_eq!(socket.dropped(None), 0);
        }
    }
}
