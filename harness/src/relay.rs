//! A UDP relay that impairs what passes it: a network worse than loopback, drawn from a seed.
//!
//! Guarantee: every datagram that comes is sent on, once, at once and in order, but for what the
//! [`Impairment`] does to it while that is switched on; what it took away and doubled is counted in
//! frames. At the end everything that is held back is still sent.
//!
//! Limits: at most `HELD_MAX` datagrams are held back; further ones pass at once. It listens on
//! 127.0.0.1 of the namespace of the thread that starts it.

use std::{
    collections::BinaryHeap,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt};
use protocol::Datagram;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// What a network does to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Chance that one is lost.
    pub drop: f64,
    /// Chance that one comes twice.
    pub duplicate: f64,
    /// What each waits at least.
    pub delay: Duration,
    /// What each waits beyond that at most; it lets datagrams overtake each other.
    pub jitter: Duration,
}

/// What passed, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames that came.
    pub came: u64,
    /// Frames that were taken away.
    pub dropped: u64,
    /// Frames that were sent a second time.
    pub duplicated: u64,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_impairing: Arc<AtomicBool>,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Passed>>>,
}

impl Relay {
    /// Starts a relay to `target` that does nothing yet.
    pub fn start(target: SocketAddr, impairment: Impairment, seed: u64) -> Result<Self> {
        let inbound = UdpSocket::bind("127.0.0.1:0").context("the relay finds no port")?;
        // Past the system's limit where that is permitted: only the relay's own loss is counted.
        if setsockopt(&inbound, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_err() {
            setsockopt(&inbound, sockopt::RcvBuf, &RECEIVE_BUFFER_OCTETS)?;
        }
        inbound.set_read_timeout(Some(POLL_INTERVAL))?;
        let address = inbound.local_addr()?;
        let is_impairing = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::new(AtomicBool::new(false));
        let passing = Passing {
            inbound,
            outbound: UdpSocket::bind("0.0.0.0:0")?,
            target,
            impairment,
            is_impairing: Arc::clone(&is_impairing),
            is_ending: Arc::clone(&is_ending),
            random: StdRng::seed_from_u64(seed),
            held: BinaryHeap::new(),
            number: 0,
            passed: Passed::default(),
        };
        let thread = thread::Builder::new().name("relay".into()).spawn(|| passing.run())?;
        Ok(Self { address, is_impairing, is_ending, thread: Some(thread) })
    }

    /// Where to send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches the impairment on or off.
    pub fn impair(&self, is_impairing: bool) {
        self.is_impairing.store(is_impairing, Ordering::Relaxed);
    }

    /// Ends it when nothing more comes, and says what passed.
    pub fn stop(mut self) -> Result<Passed> {
        self.is_ending.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the relay panicked"))?,
            None => Ok(Passed::default()),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Only waits for it; there is nobody to tell while dropping.
            let _ = thread.join();
        }
    }
}

/// The relay's thread.
struct Passing {
    inbound: UdpSocket,
    outbound: UdpSocket,
    target: SocketAddr,
    impairment: Impairment,
    is_impairing: Arc<AtomicBool>,
    is_ending: Arc<AtomicBool>,
    random: StdRng,
    held: BinaryHeap<Held>,
    number: u64,
    passed: Passed,
}

impl Passing {
    fn run(mut self) -> Result<Passed> {
        let mut buffer = vec![0; DATAGRAM_OCTETS_MAX];
        loop {
            match self.inbound.recv(&mut buffer) {
                Ok(octets) => self.pass(&buffer[..octets])?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {
                    if self.is_ending.load(Ordering::Relaxed) && self.held.is_empty() {
                        return Ok(self.passed);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the relay cannot receive"),
            }
            while self.held.peek().is_some_and(|held| held.due <= Instant::now()) {
                if let Some(held) = self.held.pop() {
                    self.send(&held.octets)?;
                }
            }
        }
    }

    fn pass(&mut self, octets: &[u8]) -> Result<()> {
        let frames = frames_in(octets);
        self.passed.came += frames;
        if !self.is_impairing.load(Ordering::Relaxed) {
            return self.send(octets);
        }
        if self.random.random_bool(self.impairment.drop) {
            self.passed.dropped += frames;
            return Ok(());
        }
        self.hold(octets)?;
        if self.random.random_bool(self.impairment.duplicate) {
            self.passed.duplicated += frames;
            self.hold(octets)?;
        }
        Ok(())
    }

    fn hold(&mut self, octets: &[u8]) -> Result<()> {
        let wait = self.impairment.delay + self.impairment.jitter.mul_f64(self.random.random());
        if wait.is_zero() || self.held.len() >= HELD_MAX {
            return self.send(octets);
        }
        self.number += 1;
        let due = Instant::now() + wait;
        self.held.push(Held { due, number: self.number, octets: octets.into() });
        Ok(())
    }

    fn send(&self, octets: &[u8]) -> Result<()> {
        self.outbound.send_to(octets, self.target).context("the relay cannot send")?;
        Ok(())
    }
}

/// Frames in a datagram; those that the flight has damaged count as it arrives at the station.
fn frames_in(octets: &[u8]) -> u64 {
    let mut frames = Datagram::new(octets);
    std::iter::from_fn(|| frames.next(|_| true)).count() as u64
}

/// A datagram that waits. The greatest is the one that is due first, as the heap wants it.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    due: Instant,
    number: u64,
    octets: Box<[u8]>,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

const HELD_MAX: usize = 1 << 16;
const DATAGRAM_OCTETS_MAX: usize = 65_536;
/// A second of heavy traffic, so that the relay itself loses nothing.
const RECEIVE_BUFFER_OCTETS: usize = 32 << 20;
/// How often it looks at what it holds while nothing comes.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends numbered datagrams through a relay that impairs all but the first and last ten.
    fn through(impairment: Impairment, seed: u64) -> Result<(Vec<u32>, Passed)> {
        let station = UdpSocket::bind("127.0.0.1:0")?;
        station.set_read_timeout(Some(Duration::from_millis(300)))?;
        let relay = Relay::start(station.local_addr()?, impairment, seed)?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        for number in 0..DATAGRAMS {
            if number == 10 || number == DATAGRAMS - 10 {
                thread::sleep(Duration::from_millis(50));
                relay.impair(number == 10);
            }
            sender.send_to(&number.to_be_bytes(), relay.address())?;
        }
        let passed = relay.stop()?;
        let mut numbers = Vec::new();
        let mut buffer = [0; 4];
        while station.recv(&mut buffer).is_ok() {
            numbers.push(u32::from_be_bytes(buffer));
        }
        Ok((numbers, passed))
    }

    const DATAGRAMS: u32 = 200;

    #[test]
    fn without_impairment_all_pass_in_order() -> Result<()> {
        let (numbers, passed) = through(Impairment::default(), 1)?;
        assert_eq!(numbers, (0..DATAGRAMS).collect::<Vec<_>>());
        assert_eq!(passed, Passed { came: DATAGRAMS.into(), ..Passed::default() });
        Ok(())
    }

    #[test]
    fn loss_and_repeats_are_counted_and_drawn_from_the_seed() -> Result<()> {
        let impairment = Impairment { drop: 0.2, duplicate: 0.2, ..Impairment::default() };
        let (numbers, passed) = through(impairment, 7)?;
        assert!(passed.dropped > 10 && passed.duplicated > 10, "{passed:?}");
        let expected = passed.came - passed.dropped + passed.duplicated;
        assert_eq!(numbers.len() as u64, expected);
        assert_eq!(through(impairment, 7)?, (numbers, passed));
        Ok(())
    }

    #[test]
    fn jitter_lets_datagrams_overtake_each_other_and_loses_none() -> Result<()> {
        let jitter = Duration::from_millis(40);
        let impairment = Impairment { jitter, ..Impairment::default() };
        let (mut numbers, _) = through(impairment, 3)?;
        assert!(!numbers.is_sorted());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..DATAGRAMS).collect::<Vec<_>>());
        Ok(())
    }
}
