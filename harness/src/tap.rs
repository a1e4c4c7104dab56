//! A UDP relay on loopback that writes down which frames it has sent on, and when.
//!
//! What is sent to a station that is not there is lost, and nobody can blame the station for it. So
//! the satellites send here; while the tap is open, datagrams go on to the station, and while it is
//! shut, they end here. What went on is the truth that rows are held against.
//!
//! Guarantee: after [`Tap::shut`] has returned nothing is sent on; each frame that comes is written
//! down once, in the order in which it came, and once more when it is repeated.
//!
//! Limits: frames that the kernel drops before they come here are not in the log. A caller compares
//! [`Tap::seen`] with what was sent.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt};
use protocol::{Datagram, Frame};

/// One kind of packet of one satellite in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The satellite's number.
    pub spacecraft: u16,
    /// The kind.
    pub apid: u16,
    /// The boot.
    pub boot_count: u16,
}

/// A frame that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its stream.
    pub stream: Stream,
    /// Its full counter.
    pub sequence: u32,
    /// When it was sent on; `None` when it was not.
    pub sent: Option<Instant>,
}

/// A running tap.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    seen: Arc<AtomicU64>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<Result<Vec<Passage>>>>,
}

/// What the thread is told; it answers when that is so.
#[derive(Debug)]
enum Order {
    Open { target: SocketAddr, repeats: bool, done: Sender<()> },
    Shut { done: Sender<()> },
    End,
}

impl Tap {
    /// Starts a tap that is shut.
    pub fn start() -> Result<Self> {
        let inbound = UdpSocket::bind("127.0.0.1:0").context("the tap finds no port")?;
        // Past the system's limit where that is permitted.
        if setsockopt(&inbound, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_err() {
            setsockopt(&inbound, sockopt::RcvBuf, &RECEIVE_BUFFER_OCTETS)?;
        }
        inbound.set_read_timeout(Some(POLL_INTERVAL))?;
        let address = inbound.local_addr()?;
        let seen = Arc::new(AtomicU64::new(0));
        let (orders, inbox) = mpsc::channel();
        let log = Log {
            inbound,
            outbound: UdpSocket::bind("127.0.0.1:0")?,
            inbox,
            seen: Arc::clone(&seen),
            target: None,
            recent: VecDeque::new(),
            passages: Vec::new(),
        };
        let thread = thread::Builder::new().name("tap".into()).spawn(|| log.run())?;
        Ok(Self { address, seen, orders, thread: Some(thread) })
    }

    /// Where to send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frames that have come so far.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Sends on from now on, on request after once more what it had sent last ([`REPEATS`] datagrams).
    pub fn open(&self, target: SocketAddr, repeats: bool) -> Result<()> {
        self.order(|done| Order::Open { target, repeats, done })
    }

    /// Sends nothing on from now on.
    pub fn shut(&self) -> Result<()> {
        self.order(|done| Order::Shut { done })
    }

    /// Ends it, and gives back what came.
    pub fn stop(mut self) -> Result<Vec<Passage>> {
        // A thread that has ended says why below.
        let _ = self.orders.send(Order::End);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the tap panicked"))?,
            None => Ok(Vec::new()),
        }
    }

    fn order(&self, order: impl FnOnce(Sender<()>) -> Order) -> Result<()> {
        let (done, answer) = mpsc::channel();
        self.orders.send(order(done)).context("the tap has ended")?;
        answer.recv_timeout(ANSWER_DURATION_MAX).context("the tap does not answer")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            // Only waits for it; there is nobody to tell while dropping.
            let _ = thread.join();
        }
    }
}

/// The tap's thread.
struct Log {
    inbound: UdpSocket,
    outbound: UdpSocket,
    inbox: Receiver<Order>,
    seen: Arc<AtomicU64>,
    target: Option<SocketAddr>,
    recent: VecDeque<Vec<u8>>,
    passages: Vec<Passage>,
}

impl Log {
    fn run(mut self) -> Result<Vec<Passage>> {
        let mut buffer = vec![0; DATAGRAM_OCTETS_MAX];
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Open { target, repeats, done }) => {
                    self.open(target, repeats)?;
                    let _ = done.send(());
                }
                Ok(Order::Shut { done }) => {
                    self.target = None;
                    let _ = done.send(());
                }
                Ok(Order::End) | Err(mpsc::TryRecvError::Disconnected) => return Ok(self.passages),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            match self.inbound.recv(&mut buffer) {
                Ok(octets) => {
                    let frames = self.pass(&buffer[..octets])?;
                    self.seen.fetch_add(frames, Ordering::Relaxed);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the tap cannot receive"),
            }
        }
    }

    fn open(&mut self, target: SocketAddr, repeats: bool) -> Result<()> {
        self.target = Some(target);
        let recent = std::mem::take(&mut self.recent);
        if repeats {
            for octets in &recent {
                self.pass(octets)?;
            }
        }
        Ok(())
    }

    /// Writes down and sends on; how many frames it was.
    fn pass(&mut self, octets: &[u8]) -> Result<u64> {
        let sent = self.target.map(|_| Instant::now());
        if let Some(target) = self.target {
            self.outbound.send_to(octets, target).context("the tap cannot send")?;
            if self.recent.len() == REPEATS {
                self.recent.pop_front();
            }
            self.recent.push_back(octets.to_vec());
        }
        let (mut frames, mut datagram) = (0, Datagram::new(octets));
        while let Some(frame) = datagram.next(|_| true) {
            if let Ok(Frame::Telemetry(frame)) = frame {
                frames += 1;
                self.passages.push(Passage {
                    stream: Stream {
                        spacecraft: frame.spacecraft().number(),
                        apid: frame.apid().number(),
                        boot_count: frame.boot_count(),
                    },
                    sequence: frame.sequence().value(),
                    sent,
                });
            }
        }
        Ok(frames)
    }
}

/// How many datagrams are repeated.
pub const REPEATS: usize = 256;
const DATAGRAM_OCTETS_MAX: usize = 65_536;
/// Seconds of heavy traffic, so that the tap itself loses nothing.
const RECEIVE_BUFFER_OCTETS: usize = 32 << 20;
/// How soon it heeds an order while nothing comes.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use satsim::constellation::{Constellation, Origin};
    use satsim::orbit::walker;

    use super::*;

    /// The first health frames of a satellite.
    fn frames(count: usize) -> Result<Vec<Vec<u8>>> {
        let origin = Origin { start_unix_us: 0, seed: 1, boot_count: 7 };
        let mut constellation = Constellation::new(origin, vec![walker::orbit(0, 1, 0)?])?;
        Ok((0..count).map(|_| constellation.frame(0, 0).octets().to_vec()).collect())
    }

    #[test]
    fn what_went_on_is_told_from_what_did_not() -> Result<()> {
        let station = UdpSocket::bind("127.0.0.1:0")?;
        station.set_read_timeout(Some(Duration::from_millis(300)))?;
        let tap = Tap::start()?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        let frames = frames(5)?;
        let send = |number: usize, seen| -> Result<()> {
            sender.send_to(&frames[number], tap.address())?;
            while tap.seen() < seen {
                thread::yield_now();
            }
            Ok(())
        };
        send(0, 1)?;
        tap.open(station.local_addr()?, false)?;
        send(1, 2)?;
        send(2, 3)?;
        tap.shut()?;
        send(3, 4)?;
        tap.open(station.local_addr()?, true)?;
        send(4, 5)?;
        let log: Vec<_> = tap.stop()?.iter().map(|p| (p.sequence, p.sent.is_some())).collect();
        let expected =
            [(0, false), (1, true), (2, true), (3, false), (1, true), (2, true), (4, true)];
        assert_eq!(log, expected);
        let mut came = Vec::new();
        let mut buffer = [0; 200];
        while let Ok(octets) = station.recv(&mut buffer) {
            came.push(buffer[..octets].to_vec());
        }
        assert_eq!(came, [1, 2, 1, 2, 4].map(|number| frames[number].clone()));
        Ok(())
    }
}
