//! One measured run: a receiver on its thread, and the sender that it does not keep up with.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::frames::Frames;
use crate::sender::Sender;

/// Something that receives on a thread of its own.
pub(crate) trait Receiver {
    /// Where.
    fn address(&self) -> SocketAddr;
    /// Frames so far.
    fn received(&self) -> u64;
    /// Ends it.
    fn stop(self) -> Result<Ended>;
}

/// What a receiver has done.
pub(crate) struct Ended {
    pub(crate) frames: u64,
    /// Processor time of its receiving thread.
    pub(crate) cpu: Duration,
    /// Messages that the kernel dropped; several datagrams may be one.
    pub(crate) kernel_dropped: u64,
    /// Frames that it found missing, if it looks.
    pub(crate) missed: Option<u64>,
    /// Frames that it threw away before the end of the queue, if it has one.
    pub(crate) shed: Option<u64>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) frames_per_second: f64,
    pub(crate) cpu_s_per_million_frames: f64,
    pub(crate) kernel_dropped: u64,
    pub(crate) missed: Option<u64>,
    pub(crate) shed: Option<u64>,
}

impl Run {
    /// Lets `station` receive for `duration` what satellites send in datagrams of so many frames.
    pub(crate) fn new(
        station: impl Receiver,
        satellites: u16,
        per_datagram: usize,
        duration: Duration,
    ) -> Result<Self> {
        let frames = Frames::new(satellites)?;
        let sender = Sender::start(station.address(), frames, per_datagram)?;
        // Buffers are touched for the first time, streams are new, clocks speed up.
        thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), station.received());
        thread::sleep(duration);
        let (elapsed, counted) = (start.elapsed(), station.received() - before);
        let sent = sender.stop()?;
        wait_until_quiet(&station);
        let ended = station.stop()?;
        let received = ended.frames;
        ensure!(received <= sent, "{received} frames received, and only {sent} sent");
        if let Some(missed) = ended.missed {
            // What was lost at the end of a stream is not noticed: nothing comes after it.
            ensure!(received + missed <= sent, "{missed} frames missing of {sent}: too many");
        }
        Ok(Self {
            sent,
            received,
            frames_per_second: counted as f64 / elapsed.as_secs_f64(),
            cpu_s_per_million_frames: ended.cpu.as_secs_f64() * 1e6 / received as f64,
            kernel_dropped: ended.kernel_dropped,
            missed: ended.missed,
            shed: ended.shed,
        })
    }

    /// Frames that did not arrive, of all that were sent.
    pub(crate) fn loss(&self) -> f64 {
        (self.sent - self.received) as f64 / self.sent as f64
    }
}

fn wait_until_quiet(station: &impl Receiver) {
    let start = Instant::now();
    let mut frames = station.received();
    while start.elapsed() < QUIET_DURATION_MAX {
        thread::sleep(QUIET_PERIOD);
        let now = station.received();
        if now == frames {
            break;
        }
        frames = now;
    }
}

const WARM_UP: Duration = Duration::from_millis(200);
/// The kernel's buffer is empty long before.
const QUIET_DURATION_MAX: Duration = Duration::from_secs(5);
const QUIET_PERIOD: Duration = Duration::from_millis(60);
