//! The socket task: datagrams from every socket into the one intake.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::pace::Pace;
use crate::{
    intake::Intake,
    shutdown::Drain,
    socket::{Arrivals, Socket, now_us},
    track::StreamCounts,
};

/// Receives on all sockets, on the calling thread, until the station is stopped, then takes what the
/// kernel still holds. No socket is left alone for longer than `rest_max`. Returns the counts of every
/// stream.
pub fn run(
    intake: Intake,
    sockets: Vec<std::net::UdpSocket>,
    rest_max: Duration,
    drain: Drain,
) -> io::Result<Vec<StreamCounts>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sockets: Vec<_> = sockets.into_iter().map(Socket::from_bound).collect::<Result<_, _>>()?;
    for socket in &sockets {
        tracing::info!("Receiving frames on UDP {}", socket.address());
    }
    let room = sockets.iter().map(Socket::room).min().unwrap_or_default();
    let pace = Pace::new(room, rest_max, Instant::now());
    let sockets = sockets.into_iter().map(Listening::new).collect();
    Ok(runtime.block_on(Listener { sockets, pace, intake }.run(drain)))
}

/// All sockets, and where what they bring goes.
struct Listener {
    sockets: Vec<Listening>,
    pace: Pace,
    intake: Intake,
}

/// One socket, and room for what it brings.
struct Listening {
    socket: Socket,
    arrivals: Arrivals,
    /// When its errors were told last.
    told: Option<Instant>,
}

/// What a look at a socket brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Nothing,
    /// All that there was.
    All,
    /// As much as one look can bring.
    Part,
}

impl Listener {
    /// Looks at one socket after the other. When that has emptied all of them the thread rests: a few
    /// datagrams at a time cost far less than each by itself.
    async fn run(mut self, drain: Drain) -> Vec<StreamCounts> {
        let mut stopped = pin!(drain.stopped());
        self.adapt();
        while !drain.is_stopped() {
            let waits = self.sockets.iter().any(|listening| listening.socket.waits());
            if waits {
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    () = self.something() => {}
                    () = tokio::time::sleep_until(self.pace.due().into()) => {}
                }
            }
            let (mut is_emptied, mut has_come) = (true, false);
            for listening in &mut self.sockets {
                let look = listening.look(&mut self.intake, &mut self.pace);
                is_emptied &= look != Look::Part;
                has_come |= look != Look::Nothing;
            }
            let now = Instant::now();
            if now >= self.pace.due() {
                self.pace.tick(now);
                self.tick();
                self.adapt();
            }
            // Without anything to wait for, the rest is what keeps this from being a busy loop.
            if is_emptied && (has_come || !waits) {
                std::thread::sleep(self.pace.rest());
            }
        }
        self.finish()
    }

    /// Waits until a socket has something, as far as sockets are waited for.
    async fn something(&self) {
        let is_ready = |context: &mut Context<'_>| {
            self.sockets.iter().any(|listening| listening.socket.poll_ready(context).is_ready())
        };
        poll_fn(|context| if is_ready(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn tick(&mut self) {
        self.count_drops();
        self.intake.tick(now_us());
    }

    /// While little comes, the runtime says that something is there, and the kernel when it came, since
    /// the thread rests for long. While very much comes, nobody asks from whom unless it matters.
    fn adapt(&mut self) {
        let asks = !self.pace.is_crowded() || self.intake.needs_sources(now_us());
        for Listening { socket, arrivals, .. } in &mut self.sockets {
            socket.wait(!self.pace.may_poll());
            socket.stamp(self.pace.is_quiet());
            arrivals.ask_sources(asks);
        }
    }

    fn count_drops(&mut self) {
        for Listening { socket, arrivals, .. } in &mut self.sockets {
            self.intake.kernel_dropped(socket.dropped(arrivals.drops_reported()));
        }
    }

    /// Takes what the kernel still holds.
    fn finish(mut self) -> Vec<StreamCounts> {
        for listening in &mut self.sockets {
            listening.socket.wait(false);
            let end = Instant::now() + KERNEL_DRAIN_MAX;
            while Instant::now() < end {
                if listening.look(&mut self.intake, &mut self.pace) == Look::Nothing {
                    break;
                }
            }
        }
        self.count_drops();
        self.intake.finish(now_us());
        self.intake.streams()
    }
}

impl Listening {
    fn new(socket: Socket) -> Self {
        Self { socket, arrivals: Arrivals::new(), told: None }
    }

    /// Takes what one system call brings.
    fn look(&mut self, intake: &mut Intake, pace: &mut Pace) -> Look {
        match self.socket.receive(&mut self.arrivals) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Look::Nothing,
            Err(error) => {
                self.tell(&error);
                // An error that lasts must not become a busy loop.
                std::thread::sleep(TROUBLE_REST);
                return Look::Nothing;
            }
        }
        let taken_us = now_us();
        let mut datagrams = 0;
        self.arrivals.each(|arrival| {
            datagrams += 1;
            let received_us = arrival.received_us.unwrap_or(taken_us);
            intake.datagram(arrival.octets, arrival.source, received_us);
        });
        intake.publish();
        pace.took(self.arrivals.messages(), datagrams);
        if self.arrivals.are_all() { Look::All } else { Look::Part }
    }

    /// Says what is wrong, at most once a second.
    fn tell(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
            tracing::warn!("receiving on {}: {error}", self.socket.address());
            self.told = Some(Instant::now());
        }
    }
}

/// Each socket's buffer is emptied at the end, but a sender that goes on cannot hold up the end.
const KERNEL_DRAIN_MAX: Duration = Duration::from_secs(1);
const TELL_PERIOD: Duration = Duration::from_secs(1);
const TROUBLE_REST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, thread};

    use super::*;
    use crate::{
        intake::Admission, ledger::Counters, queue::queues, shutdown::running,
        spacecraft::SpacecraftSet, time_window::TimeWindow,
    };

    /// Busy, quiet, and busy again, on one of two sockets and on the other: all of it is taken, also what
    /// comes right before the end. With buffers that may be polled, and with small ones.
    #[test]
    fn two_sockets_through_busy_and_quiet_times() {
        for octets in [16 << 20, 256 << 10] {
            let counters = Counters::new(1);
            let (outlets, _inlets) = queues(1, 1 << 20, &counters);
            let admission = Admission {
                spacecraft: SpacecraftSet::all(),
                satellites_max: 1,
                streams_max: 2,
                sources: Vec::new(),
                source_rate: None,
                rejected_per_second: 1,
                window: TimeWindow::EVERYTHING,
                quarantine_per_second: Some(100),
            };
            let intake = Intake::new(admission, outlets, counters.clone());
            let address = "127.0.0.1:0".parse().unwrap();
            let sockets = [(); 2].map(|()| Socket::bind(address, octets, false).unwrap());
            let ports = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
            let (stopper, drain) = running(Duration::from_secs(1));
            let listen =
                move || run(intake, sockets.into(), Duration::from_millis(32), drain).unwrap();
            let sender = UdpSocket::bind(address).unwrap();
            let mut sent = 0;
            // What is dropped must not hold up the test, which fails in the end.
            let taken_or_dropped = || {
                let ledger = counters.ledger();
                ledger.datagrams + ledger.kernel_dropped
            };
            let mut send = |to: usize, count| {
                for _ in 0..count {
                    // Never more on its way than the smaller buffer holds, however slow the machine.
                    while sent - taken_or_dropped() >= 200 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    sender.send_to(b"no frame", ports[to]).unwrap();
                    sent += 1;
                }
            };
            thread::scope(|scope| {
                let listening = scope.spawn(listen);
                for busy in [0, 1] {
                    send(busy, 6_000);
                    send(1 - busy, 10);
                    thread::sleep(SECOND * 13 / 10);
                    (0..20).for_each(|turn| send(turn % 2, 3));
                }
                stopper.stop();
                listening.join().unwrap();
            });
            let ledger = counters.ledger();
            assert_eq!((ledger.datagrams, ledger.kernel_dropped), (sent, 0), "{octets}");
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
}
