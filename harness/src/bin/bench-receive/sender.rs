//! The sender: one thread that hands the kernel as many frames as it takes, a batch a system call
//! (`UDP_SEGMENT`), by satsim's own way out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};
use satsim::sink::{Datagram, Sink as _, batch::SEGMENTS_MAX, udp::Udp};

use crate::frames::{FRAME_OCTETS, Frames};

/// A thread that sends.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Sender {
    /// Begins to send datagrams of so many frames to `target`.
    pub(crate) fn start(
        target: SocketAddr,
        mut frames: Frames,
        per_datagram: usize,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut udp = Udp::new(target, Arc::clone(&stop))?;
        let is_over = Arc::clone(&stop);
        let send = move || {
            let mut octets = vec![0; per_datagram * FRAME_OCTETS];
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..SEGMENTS_MAX {
                    frames.fill(&mut octets);
                    udp.send(&Datagram { octets: &octets, frames: per_datagram, offset_us: 0 })?;
                }
            }
            udp.flush()?;
            Ok(udp.frames_sent())
        };
        let thread = thread::Builder::new().name("sender".into()).spawn(send)?;
        Ok(Self { stop, thread })
    }

    /// Ends it; how many frames it has sent.
    pub(crate) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}
