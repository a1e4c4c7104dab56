//! The station's way from the socket to the queue: its own socket, loop, intake, tracking and chunks,
//! as it runs with a journal, in which all queues are one. The one thread at the end of that gives
//! the chunks back: a writer that has nothing to do. It looks each millisecond, so that it takes next
//! to nothing of the two processors that receiver and sender run on.

use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use receiver::intake::{Admission, Intake};
use receiver::ledger::Counters;
use receiver::queue::queues;
use receiver::shutdown::{Stopper, running};
use receiver::socket::Socket;
use receiver::spacecraft::SpacecraftSet;
use receiver::station::listen;
use receiver::time_window::TimeWindow;

use crate::cpu;
use crate::run::{Ended, Receiver};

/// The station's threads up to the queue.
pub(crate) struct Ours {
    address: SocketAddr,
    counters: Arc<Counters>,
    stopper: Stopper,
    receiving: JoinHandle<Result<Duration>>,
    discarding: JoinHandle<()>,
}

impl Ours {
    /// Begins to receive.
    pub(crate) fn start(receive_buffer: usize, coalesce: bool) -> Result<Self> {
        let socket = Socket::bind(([127, 0, 0, 1], 0).into(), receive_buffer, coalesce)?;
        let address = socket.local_addr()?;
        let counters = Counters::new(WRITERS);
        let (mut outlets, _inlets) = queues(WRITERS, QUEUE_OCTETS, &counters);
        let (chunks, _direct) = outlets.through_one();
        let lanes = outlets.lanes();
        let discard = move || {
            for first in &chunks {
                for chunk in iter::once(first).chain(chunks.try_iter()) {
                    let lane = &lanes[chunk.writer()];
                    lane.dequeued(chunk.samples());
                    lane.give_back(chunk);
                }
                thread::sleep(DISCARD_PERIOD);
            }
        };
        let discarding = thread::Builder::new().name("discard".into()).spawn(discard)?;
        let admission = Admission {
            spacecraft: SpacecraftSet::all(),
            satellites_max: SATELLITES_MAX,
            streams_max: SATELLITES_MAX * protocol::KINDS.len(),
            sources: Vec::new(),
            source_rate: None,
            rejected_per_second: 100,
            window: TimeWindow::EVERYTHING,
            quarantine_per_second: Some(100),
        };
        let intake = Intake::new(admission, outlets, Arc::clone(&counters));
        let (stopper, drain) = running(Duration::from_secs(1));
        let receive = move || {
            listen::run(intake, vec![socket], Duration::MAX, drain)?;
            cpu::of_this_thread()
        };
        let receiving = thread::Builder::new().name("ours".into()).spawn(receive)?;
        Ok(Self { address, counters, stopper, receiving, discarding })
    }
}

impl Receiver for Ours {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn received(&self) -> u64 {
        self.counters.ledger().accepted
    }

    fn stop(self) -> Result<Ended> {
        self.stopper.stop();
        let cpu = self.receiving.join().map_err(|_| anyhow!("the station's thread panicked"))??;
        self.discarding.join().map_err(|_| anyhow!("the discarding thread panicked"))?;
        let ledger = self.counters.ledger();
        ensure!(ledger.frames_residual() == 0, "the ledger does not balance: {ledger:?}");
        ensure!(ledger.accepted == ledger.frames, "frames were refused: {ledger:?}");
        ensure!(ledger.pending == 0, "samples were left over: {ledger:?}");
        Ok(Ended {
            frames: ledger.accepted,
            cpu,
            kernel_dropped: ledger.kernel_dropped,
            missed: Some(ledger.missed),
            shed: Some(ledger.queue_dropped),
        })
    }
}

/// As the station has them.
const WRITERS: usize = 2;
const QUEUE_OCTETS: usize = 64 << 20;
const SATELLITES_MAX: usize = 10_000;
const DISCARD_PERIOD: Duration = Duration::from_millis(1);
