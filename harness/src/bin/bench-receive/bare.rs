//! The ceiling: a loop of blocking recvmmsg(2) that only counts octets. It takes as many messages a
//! call as the station, into buffers of the same size; it asks for no addresses, no control messages
//! and no time, and looks at nothing that came. With [`Look::Crc`] it sums the CRC of every frame
//! besides, which is the least that anybody has to do who wants to know whether it is one.

use std::array;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use protocol::crc16;

use crate::cpu;
use crate::drops;
use crate::frames::FRAME_OCTETS;
use crate::run::{Ended, Receiver};

/// What the loop does with the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Counts them.
    Nothing,
    /// Counts those of frames whose CRC is right.
    Crc,
}

/// The loop on its thread.
pub(crate) struct Bare {
    address: SocketAddr,
    octets: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// Ends with its processor time, and gives the socket back.
    thread: JoinHandle<Result<(Duration, UdpSocket)>>,
}

impl Bare {
    /// Begins to receive.
    pub(crate) fn start(receive_buffer: usize, coalesce: bool, look: Look) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
        }
        setsockopt(&socket, sockopt::UdpGroSegment, &coalesce)?;
        socket.set_read_timeout(Some(STOP_PERIOD))?;
        let address = socket.local_addr()?;
        let (octets, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_over) = (Arc::clone(&octets), Arc::clone(&stop));
        let receive = move || {
            receive(&socket, &count, &is_over, look)?;
            Ok((cpu::of_this_thread()?, socket))
        };
        let thread = thread::Builder::new().name("bare".into()).spawn(receive)?;
        Ok(Self { address, octets, stop, thread })
    }
}

impl Receiver for Bare {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn received(&self) -> u64 {
        self.octets.load(Ordering::Relaxed) / FRAME_OCTETS as u64
    }

    fn stop(self) -> Result<Ended> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| anyhow!("the bare loop panicked"))?;
        // The kernel tells the drops of sockets that are open.
        let (cpu, _socket) = ended?;
        let kernel_dropped = drops::of(self.address)?;
        let frames = self.octets.load(Ordering::Relaxed) / FRAME_OCTETS as u64;
        Ok(Ended { frames, cpu, kernel_dropped, missed: None, shed: None })
    }
}

fn receive(socket: &UdpSocket, octets: &AtomicU64, is_over: &AtomicBool, look: Look) -> Result<()> {
    let mut buffers = vec![0; MESSAGES * BUFFER_OCTETS];
    let mut headers = MultiHeaders::<()>::preallocate(MESSAGES, None);
    let mut sum = 0;
    loop {
        let mut buffers = buffers.chunks_exact_mut(BUFFER_OCTETS);
        let mut slices: [_; MESSAGES] = array::from_fn(|_| {
            let buffer = buffers.next().unwrap_or_default();
            [IoSliceMut::new(&mut buffer[..PAYLOAD_OCTETS])]
        });
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
            Ok(messages) if look == Look::Nothing => {
                sum += messages.map(|message| message.bytes as u64).sum::<u64>();
                octets.store(sum, Ordering::Relaxed);
            }
            Ok(messages) => {
                for octets in messages.filter_map(|message| message.iovs().next()) {
                    // Datagrams that came as one have whole frames, too.
                    let (frames, _) = octets.as_chunks::<FRAME_OCTETS>();
                    sum += frames.iter().filter(|frame| has_valid_crc(frame)).count() as u64
                        * FRAME_OCTETS as u64;
                }
                octets.store(sum, Ordering::Relaxed);
            }
            // Nothing for a while.
            Err(Errno::EAGAIN) if is_over.load(Ordering::Relaxed) => return Ok(()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn has_valid_crc(frame: &[u8; FRAME_OCTETS]) -> bool {
    let checked = frame.split_last_chunk();
    checked.is_some_and(|(covered, checkword)| crc16(covered) == u16::from_be_bytes(*checkword))
}

/// As in the station's socket.
const MESSAGES: usize = 32;
const PAYLOAD_OCTETS: usize = 65_536;
const BUFFER_OCTETS: usize = PAYLOAD_OCTETS + 192;
/// How soon the loop notices that it is over, once nothing comes any more.
const STOP_PERIOD: Duration = Duration::from_millis(50);
