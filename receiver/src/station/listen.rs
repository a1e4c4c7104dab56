//! The socket thread's loop: datagrams from every socket into the one intake.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
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
    // Timers and other sockets are looked at after every turn: under load there are few turns.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(1).build()?;
    let intake = Rc::new(RefCell::new(intake));
    tokio::task::LocalSet::new().block_on(&runtime, all(sockets, rest_max, &intake, drain))?;
    let streams = intake.borrow().streams();
    Ok(streams)
}

async fn all(
    sockets: Vec<std::net::UdpSocket>,
    rest_max: Duration,
    intake: &Rc<RefCell<Intake>>,
    drain: Drain,
) -> io::Result<()> {
    let sockets: Vec<_> = sockets.into_iter().map(Socket::from_bound).collect::<Result<_, _>>()?;
    let room = sockets.iter().map(Socket::room).min().unwrap_or_default();
    let pace = Pace::new(sockets.len(), room, rest_max, Instant::now());
    let pace = Rc::new(RefCell::new(pace));
    let mut tasks = Vec::new();
    for socket in sockets {
        tracing::info!("Receiving frames on UDP {}", socket.address());
        let one = one(socket, Rc::clone(&pace), Rc::clone(intake), drain.clone());
        tasks.push(tokio::task::spawn_local(one));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    intake.borrow_mut().finish(now_us());
    Ok(())
}

/// One socket's loop. When it has taken all that there was, it and with it the thread rests: a few
/// datagrams at a time cost far less than each by itself.
async fn one(
    mut socket: Socket,
    pace: Rc<RefCell<Pace>>,
    intake: Rc<RefCell<Intake>>,
    drain: Drain,
) {
    let mut arrivals = Arrivals::new();
    let stopped = drain.stopped();
    tokio::pin!(stopped);
    let mut trouble = Trouble::default();
    let mut ticked = Instant::now();
    loop {
        let due = ticked + pace.borrow().period();
        let received = tokio::select! {
            biased;
            () = &mut stopped => break,
            received = socket.receive(&mut arrivals) => Some(received),
            () = tokio::time::sleep_until(due.into()) => None,
        };
        let is_emptied = match &received {
            Some(Ok(())) => {
                let datagrams = take(&intake, &arrivals);
                pace.borrow_mut().took(arrivals.messages(), datagrams);
                arrivals.are_all()
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => true,
            Some(Err(error)) => {
                trouble.tell(&socket, error);
                // An error that lasts must not become a busy loop.
                tokio::time::sleep_until(due.into()).await;
                false
            }
            None => false,
        };
        // Under load the timer does not get its turn, and neither do other sockets.
        let now = Instant::now();
        if now >= due {
            tick(&mut socket, &mut arrivals, &pace, &intake);
            ticked = now;
            tokio::task::yield_now().await;
        }
        if is_emptied {
            let rest = pace.borrow_mut().rest();
            std::thread::sleep(rest);
            tokio::task::yield_now().await;
        }
    }
    let end = Instant::now() + KERNEL_DRAIN_MAX;
    while Instant::now() < end && socket.try_receive(&mut arrivals).is_ok() {
        take(&intake, &arrivals);
    }
    intake.borrow_mut().kernel_dropped(socket.dropped(arrivals.drops_reported()));
}

/// Takes what came; how many datagrams.
fn take(intake: &Rc<RefCell<Intake>>, arrivals: &Arrivals) -> u64 {
    let taken_us = now_us();
    let mut intake = intake.borrow_mut();
    let mut datagrams = 0;
    arrivals.each(|arrival| {
        datagrams += 1;
        let received_us = arrival.received_us.unwrap_or(taken_us);
        intake.datagram(arrival.octets, arrival.source, received_us);
    });
    intake.publish();
    datagrams
}

/// While little comes, the runtime says that something is there, and the kernel when it came, since
/// the thread rests for long. While very much comes, nobody asks from whom unless it matters.
fn tick(
    socket: &mut Socket,
    arrivals: &mut Arrivals,
    pace: &Rc<RefCell<Pace>>,
    intake: &Rc<RefCell<Intake>>,
) {
    let (mut pace, mut intake) = (pace.borrow_mut(), intake.borrow_mut());
    pace.tick(Instant::now());
    intake.kernel_dropped(socket.dropped(arrivals.drops_reported()));
    let now_us = now_us();
    intake.tick(now_us);
    socket.wait(pace.is_quiet());
    socket.stamp(pace.is_quiet());
    arrivals.ask_sources(!pace.is_crowded() || intake.needs_sources(now_us));
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

/// The kernel's buffer is emptied at the end, but a sender that goes on cannot hold up the end.
const KERNEL_DRAIN_MAX: Duration = Duration::from_secs(1);
const TELL_PERIOD: Duration = Duration::from_secs(1);
