//! Sends datagrams, many with one system call.
//!
//! Guarantee: a datagram is counted as sent when the kernel has taken it, and never given up
//! silently: when the kernel has no room, or the network is away, it is tried again for
//! ten seconds, then the flight ends with an error.
//!
//! The socket is connected, so that the target's refusals (ICMP port unreachable) are reported to it
//! (udp(7)). Such an error is of a datagram that was sent before: it is returned by the next call,
//! before that call has sent anything, so the call is repeated as it was. When several datagrams go
//! with one call and the error comes at a later one, the call returns how many were sent, and the
//! rest goes with the next call. A refusal therefore changes nothing about what was sent; it is
//! counted, and the flight goes on, since a receiver may be started later. Refusals are a lower bound:
//! a host limits how many it sends.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{
    io::{self, IoSlice},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{
        ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, sendmsg, setsockopt,
        sockopt,
    },
};

use super::{
    Datagram, Sink, SinkError,
    batch::{Batch, SEGMENTS_MAX},
};

/// A sender to one address.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    target: SocketAddr,
    address: SockaddrStorage,
    batch: Batch,
    /// Whether the kernel has not refused to cut a batch into datagrams.
    segments: bool,
    /// Whether the socket has its target, so that the address need not be given.
    is_connected: bool,
    frames_sent: u64,
    refusals: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Udp {
    /// A sender to `target`, which gives up waiting for the network when `stop` is set.
    pub fn new(target: SocketAddr, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let any: SocketAddr =
            if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        // More room than the default smooths bursts; where it is not granted, less will do.
        setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER_OCTETS).ok();
        // Without a network there is no way to the target yet: then the address goes along.
        let is_connected = socket.connect(target).is_ok();
        Ok(Self {
            socket,
            target,
            address: SockaddrStorage::from(target),
            batch: Batch::new(),
            segments: true,
            is_connected,
            frames_sent: 0,
            refusals: Arc::default(),
            stop,
        })
    }

    /// Sends each datagram by itself, as on a kernel without segmentation.
    #[must_use]
    pub fn without_segmentation(mut self) -> Self {
        self.segments = false;
        self
    }

    /// How often the target has refused, for whoever watches.
    pub fn refusals(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refusals)
    }

    /// Takes notice of a refusal that no call has reported yet; to be called when all has left.
    pub fn finish(&self) {
        let pending = self.socket.take_error().ok().flatten();
        if pending.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn leave(&mut self) -> Result<(), SinkError> {
        let mut left = 0;
        let mut trying_since = None;
        while left < self.batch.len() {
            match self.try_leave(left) {
                Ok(datagrams) => {
                    let frames = self.batch.datagrams(left).take(datagrams);
                    self.frames_sent += frames.map(|(_, frames)| frames as u64).sum::<u64>();
                    left += datagrams;
                    trying_since = None;
                }
                Err(Errno::EINTR) => {}
                // Nothing was sent by this call. Each attempt takes one error away, and none comes
                // while nothing is sent.
                Err(Errno::ECONNREFUSED) => {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if self.segments && is_segmentation_refused(error) => {
                    self.segments = false;
                }
                Err(error) => {
                    let since = *trying_since.get_or_insert_with(Instant::now);
                    let is_over = self.stop.load(Ordering::Relaxed) || since.elapsed() > PATIENCE;
                    if !is_passing(error) || is_over {
                        return Err(SinkError::Send(self.target, error));
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        self.batch.clear();
        Ok(())
    }

    /// Hands the datagrams from number `first` on to the kernel; how many it took.
    fn try_leave(&self, first: usize) -> nix::Result<usize> {
        let descriptor = self.socket.as_raw_fd();
        let address = (!self.is_connected).then_some(self.address);
        let waiting = self.batch.len() - first;
        if self.segments && first == 0 && waiting > 1 {
            let segment_octets = self.batch.segment_octets() as u16;
            return sendmsg(
                descriptor,
                &[IoSlice::new(self.batch.octets())],
                &[ControlMessage::UdpGsoSegments(&segment_octets)],
                MsgFlags::empty(),
                address.as_ref(),
            )
            .map(|_| waiting);
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            self.batch.datagrams(first).map(|(octets, _)| [IoSlice::new(octets)]).collect();
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        let addresses = [address; SEGMENTS_MAX];
        sendmmsg(
            descriptor,
            &mut headers,
            &slices,
            &addresses[..slices.len()],
            [],
            MsgFlags::empty(),
        )
        .map(Iterator::count)
    }
}

impl Sink for Udp {
    fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
        if !self.batch.accepts(datagram.octets.len()) {
            self.leave()?;
        }
        self.batch.push(datagram.octets, datagram.frames);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.leave()
    }

    fn frames_sent(&self) -> u64 {
        self.frames_sent
    }
}

/// What kernels and devices answer that cannot cut a batch, or not this one: without the option,
/// without checksum offload, or datagrams larger than a packet of the device.
fn is_segmentation_refused(error: Errno) -> bool {
    matches!(
        error,
        Errno::EIO | Errno::EINVAL | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EMSGSIZE
    )
}

/// What can be otherwise a moment later, or is an answer to an earlier datagram.
fn is_passing(error: Errno) -> bool {
    matches!(
        error,
        Errno::EAGAIN
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EPERM
            | Errno::EMSGSIZE
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EPROTO
    )
}

/// How long the network may be away: a receiver's container being replaced takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(1);
/// A thousand batches of small datagrams.
const SEND_BUFFER_OCTETS: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::Udp;
    use crate::sink::{Datagram, Sink as _, batch::SEGMENTS_MAX};
    use core::sync::atomic::Ordering;
    use std::{
        net::UdpSocket,
        sync::{Arc, atomic::AtomicBool},
        time::Duration,
    };

    fn exchange(sizes: &[usize], segments: bool) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut udp = Udp::new(receiver.local_addr().unwrap(), stop).unwrap();
        if !segments {
            udp = udp.without_segmentation();
        }
        let mut buffer = vec![0; 65_536];
        for (number, &size) in sizes.iter().enumerate() {
            let octets = vec![number as u8; size];
            udp.send(&Datagram { octets: &octets, frames: 2, offset_us: 0 }).unwrap();
        }
        udp.flush().unwrap();
        assert_eq!(udp.frames_sent(), 2 * sizes.len() as u64);
        for (number, &size) in sizes.iter().enumerate() {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], &vec![number as u8; size][..]);
        }
    }

    #[test]
    fn datagrams_arrive_whole_and_in_order_both_ways() {
        let mixed: Vec<usize> = (0..150).map(|i| if i % 10 == 9 { 46 } else { 68 }).collect();
        for segments in [true, false] {
            exchange(&mixed, segments);
            exchange(&[68], segments);
            exchange(&[65_507, 65_507, 3], segments);
        }
    }

    /// Every datagram is sent once, also those whose call reported that another was refused: a
    /// receiver that comes back gets all that is sent from then on.
    #[test]
    fn a_refusal_is_counted_and_costs_no_datagram() {
        for segments in [true, false] {
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = receiver.local_addr().unwrap();
            drop(receiver);
            let mut udp = Udp::new(address, Arc::default()).unwrap();
            if !segments {
                udp = udp.without_segmentation();
            }
            let send = |udp: &mut Udp, number: u32| {
                // Twice as many as go with one call.
                for place in 0..2 * SEGMENTS_MAX as u32 {
                    let octets = (number + place).to_be_bytes().repeat(17);
                    udp.send(&Datagram { octets: &octets, frames: 1, offset_us: 0 }).unwrap();
                }
                udp.flush().unwrap();
            };
            for _ in 0..100 {
                send(&mut udp, 0);
            }
            assert_eq!(udp.frames_sent(), 200 * SEGMENTS_MAX as u64);
            let refused = udp.refusals().load(Ordering::Relaxed);
            assert!((1..=udp.frames_sent()).contains(&refused), "{refused}");

            let receiver = UdpSocket::bind(address).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            send(&mut udp, 1_000);
            let mut buffer = [0; 128];
            for number in 1_000..1_000 + 2 * SEGMENTS_MAX as u32 {
                let octets = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..octets], number.to_be_bytes().repeat(17));
            }
            receiver.set_nonblocking(true).unwrap();
            assert!(receiver.recv(&mut buffer).is_err(), "each once");
            let before = udp.refusals().load(Ordering::Relaxed);
            udp.finish();
            assert_eq!(udp.refusals().load(Ordering::Relaxed), before);
        }
    }

    #[test]
    fn the_last_datagram_is_refused_too() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut udp = Udp::new(closed, Arc::default()).unwrap();
        udp.send(&Datagram { octets: &[0; 68], frames: 1, offset_us: 0 }).unwrap();
        udp.flush().unwrap();
        udp.finish();
        assert_eq!((udp.frames_sent(), udp.refusals().load(Ordering::Relaxed)), (1, 1));
    }
}
