//! The socket thread's loop: datagrams from every socket into the one intake.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    intake::Intake,
    shutdown::Drain,
    socket::{Arrivals, Socket, now_us},
    track::StreamCounts,
};

/// Receives on all sockets, on the calling thread, until the station is stopped, then takes what the
/// kernel still holds. Returns the counts of every stream.
pub fn run(
    intake: Intake,
    sockets: Vec<std::net::UdpSocket>,
    drain: Drain,
) -> io::Result<Vec<StreamCounts>> {
    // Timers and other sockets are looked at after every turn: under load there are few turns.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(1).build()?;
    let intake = Rc::new(RefCell::new(intake));
    tokio::task::LocalSet::new().block_on(&runtime, all(sockets, &intake, drain))?;
    let streams = intake.borrow().streams();
    Ok(streams)
}

async fn all(
    sockets: Vec<std::net::UdpSocket>,
    intake: &Rc<RefCell<Intake>>,
    drain: Drain,
) -> io::Result<()> {
    let mut tasks = Vec::new();
    let sharing = sockets.len().max(1) as u32;
    for socket in sockets {
        let socket = Socket::from_bound(socket)?;
        tracing::info!("Receiving frames on UDP {}", socket.address());
        let rest = socket.rest() / sharing;
        let one = one(socket, rest, Rc::clone(intake), drain.clone());
        tasks.push(tokio::task::spawn_local(one));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    intake.borrow_mut().finish(now_us());
    Ok(())
}

/// One socket's loop. When it has taken all that there was, it and with it the thread `rest`: a few
/// datagrams at a time cost far less than each by itself.
async fn one(mut socket: Socket, rest: Duration, intake: Rc<RefCell<Intake>>, drain: Drain) {
    let mut arrivals = Arrivals::new();
    let mut flushing = tokio::time::interval(FLUSH_PERIOD);
    flushing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopped = drain.stopped();
    tokio::pin!(stopped);
    let mut trouble = Trouble::default();
    let mut ticked = Instant::now();
    loop {
        let received = tokio::select! {
            biased;
            () = &mut stopped => break,
            _ = flushing.tick() => {
                tick(&mut socket, &intake, &arrivals);
                ticked = Instant::now();
                continue;
            }
            received = socket.receive(&mut arrivals) => received,
        };
        match received {
            Ok(()) => {
                take(&intake, &arrivals);
                // Under load the timer does not get its turn, and neither do other sockets.
                if ticked.elapsed() >= FLUSH_PERIOD {
                    tick(&mut socket, &intake, &arrivals);
                    ticked = Instant::now();
                    tokio::task::yield_now().await;
                }
                if arrivals.are_all() {
                    std::thread::sleep(rest);
                }
            }
            Err(error) => {
                trouble.tell(&socket, &error);
                // An error that lasts must not become a busy loop.
                tokio::time::sleep(FLUSH_PERIOD).await;
            }
        }
    }
    let end = Instant::now() + KERNEL_DRAIN_MAX;
    while Instant::now() < end && socket.try_receive(&mut arrivals).is_ok() {
        take(&intake, &arrivals);
    }
    intake.borrow_mut().kernel_dropped(socket.dropped(arrivals.drops_reported()));
}

fn take(intake: &Rc<RefCell<Intake>>, arrivals: &Arrivals) {
    let received_us = now_us();
    let mut intake = intake.borrow_mut();
    for arrival in arrivals.iter() {
        intake.datagram(arrival.octets, arrival.source, received_us);
    }
    intake.publish();
}

fn tick(socket: &mut Socket, intake: &Rc<RefCell<Intake>>, arrivals: &Arrivals) {
    let mut intake = intake.borrow_mut();
    intake.kernel_dropped(socket.dropped(arrivals.drops_reported()));
    intake.tick(now_us());
}

/// Errors of a socket, told at most once a second.
#[derive(Default)]
struct Trouble {
    told: Option<Instant>,
}

impl Trouble {
    fn tell(&mut self, socket: &Socket, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
            tracing::warn!("receiving on {}: {error}", socket.address());
            self.told = Some(Instant::now());
        }
    }
}

/// The longest that a sample waits in a chunk that does not fill.
const FLUSH_PERIOD: Duration = Duration::from_millis(10);
/// The kernel's buffer is emptied at the end, but a sender that goes on cannot hold up the end.
const KERNEL_DRAIN_MAX: Duration = Duration::from_secs(1);
const TELL_PERIOD: Duration = Duration::from_secs(1);
