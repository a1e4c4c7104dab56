//! One connection through the proxy: a thread for each direction, which reads, looks for a COMMIT,
//! and writes when it is time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::wire::{End, Piece, Splitter};
use super::{CommitCut, Control, Cut, POLL_INTERVAL, Passage};

/// What both directions of a connection know.
#[derive(Debug)]
struct Connection {
    control: Arc<Control>,
    /// [`super::State::cuts`] when it began.
    cuts: u64,
    is_over: AtomicBool,
    /// Whether one end has closed it, so that the other is told in order.
    is_closed: AtomicBool,
    /// Whether the next COMMIT that the server reports done is swallowed.
    swallows: AtomicBool,
}

/// Starts the two threads of a connection.
pub(super) fn start(
    client: TcpStream,
    server: TcpStream,
    control: &Arc<Control>,
) -> io::Result<()> {
    let cuts = {
        let mut state = control.lock();
        state.open += 1;
        state.cuts
    };
    let connection = Arc::new(Connection {
        control: Arc::clone(control),
        cuts,
        is_over: AtomicBool::new(false),
        is_closed: AtomicBool::new(false),
        swallows: AtomicBool::new(false),
    });
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(POLL_INTERVAL))?;
    }
    let up = Pump::new(End::Client, client.try_clone()?, server.try_clone()?, &connection);
    let down = Pump::new(End::Server, server, client, &connection);
    for (name, pump) in [("proxy-up", up), ("proxy-down", down)] {
        thread::Builder::new().name(name.into()).spawn(|| pump.run())?;
    }
    Ok(())
}

/// Lets the kernel send a reset when the last copy of the socket is closed.
pub(super) fn reset_when_closed(socket: &TcpStream) -> nix::Result<()> {
    setsockopt(socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })
}

impl Connection {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.control.lock().cuts != self.cuts
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.control.lock();
        state.open -= 1;
    }
}

/// One direction.
struct Pump {
    end: End,
    from: TcpStream,
    to: TcpStream,
    connection: Arc<Connection>,
    /// What is on its way, and when it is due.
    line: VecDeque<(Instant, Vec<u8>)>,
    octets: usize,
}

impl Pump {
    fn new(end: End, from: TcpStream, to: TcpStream, connection: &Arc<Connection>) -> Self {
        let connection = Arc::clone(connection);
        Self { end, from, to, connection, line: VecDeque::new(), octets: 0 }
    }

    fn run(mut self) {
        // An error of a socket is an end like any other.
        let is_by_peer = self.carry().is_ok_and(|is_by_peer| is_by_peer);
        let connection = Arc::clone(&self.connection);
        let is_by_proxy = {
            let state = connection.control.lock();
            state.cuts != connection.cuts && state.how == Cut::Close
        };
        connection.is_closed.fetch_or(is_by_peer || is_by_proxy, Ordering::Relaxed);
        connection.end();
        let is_closed = connection.is_closed.load(Ordering::Relaxed);
        for socket in [&self.from, &self.to] {
            // Whoever is gone needs no farewell.
            if is_closed {
                let _ = socket.shutdown(Shutdown::Both);
            } else {
                let _ = reset_when_closed(socket);
            }
        }
    }

    /// Until the connection is over; whether the sender has ended it.
    fn carry(&mut self) -> io::Result<bool> {
        let mut splitter = Splitter::new(self.end);
        let mut buffer = vec![0; BUFFER_OCTETS];
        loop {
            if self.connection.is_over() {
                return Ok(false);
            }
            if self.connection.control.lock().passage == Passage::Stalled {
                thread::sleep(POLL_INTERVAL);
                continue;
            }
            self.write_due()?;
            if self.octets > LINE_OCTETS_MAX {
                thread::sleep(self.wait());
                continue;
            }
            self.from.set_read_timeout(Some(self.wait()))?;
            match self.from.read(&mut buffer) {
                Ok(0) => {
                    self.write_all()?;
                    return Ok(true);
                }
                // Also what came after the other direction has ended the connection is too late.
                Ok(_) if self.connection.is_over() => return Ok(false),
                Ok(octets) => self.take(&mut splitter, &buffer[..octets])?,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, splitter: &mut Splitter, octets: &[u8]) -> io::Result<()> {
        let due = self.connection.control.due();
        // In order, also where less delay was drawn.
        let due = self.line.back().map_or(due, |(last, _)| due.max(*last));
        let mut pieces = Vec::new();
        splitter.push(octets, |piece| {
            pieces.push(match piece {
                Piece::Octets(octets) => (false, octets.to_vec()),
                Piece::Commit(octets) => (true, octets.to_vec()),
                Piece::EncryptionRequest => (false, Vec::new()),
            });
        });
        for (is_commit, octets) in pieces {
            if octets.is_empty() {
                self.from.write_all(NO_ENCRYPTION)?;
                continue;
            }
            if is_commit && self.is_cut_at(&octets)? {
                self.connection.end();
                return Ok(());
            }
            self.octets += octets.len();
            self.line.push_back((due, octets));
        }
        self.write_due()
    }

    /// Whether the connection ends at this COMMIT.
    fn is_cut_at(&mut self, commit: &[u8]) -> io::Result<bool> {
        let connection = Arc::clone(&self.connection);
        let control = &connection.control;
        if self.end == End::Server {
            let is_swallowed = connection.swallows.load(Ordering::Acquire);
            control.lock().counts.unanswered += u64::from(is_swallowed);
            return Ok(is_swallowed);
        }
        match control.commit() {
            None => Ok(false),
            Some(CommitCut::Unsent) => {
                control.lock().counts.unsent += 1;
                Ok(true)
            }
            Some(CommitCut::Racing) => {
                control.lock().counts.racing += 1;
                // First, so that no answer slips through.
                connection.end();
                self.line.push_back((Instant::now(), commit.to_vec()));
                self.write_all()?;
                Ok(true)
            }
            Some(CommitCut::Unanswered) => {
                // Before the server can answer it.
                connection.swallows.store(true, Ordering::Release);
                Ok(false)
            }
        }
    }

    /// Until something is due, and no longer than what is asked may wait.
    fn wait(&self) -> Duration {
        let due = self.line.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        due.unwrap_or(POLL_INTERVAL).clamp(WAIT_MIN, POLL_INTERVAL)
    }

    fn write_due(&mut self) -> io::Result<()> {
        while self.line.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_all(&mut self) -> io::Result<()> {
        while !self.line.is_empty() {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some((_, octets)) = self.line.pop_front() else { return Ok(()) };
        self.octets = self.octets.saturating_sub(octets.len());
        let mut rest = &octets[..];
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(written) => rest = &rest[written..],
                // Nobody reads at the other end: not a reason to be deaf.
                Err(error) if is_passing(&error) && !self.connection.is_over() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The server's answer to a request for encryption.
const NO_ENCRYPTION: &[u8] = b"N";
const BUFFER_OCTETS: usize = 64 * 1_024;
/// What is on its way at most; then the sender has to wait.
const LINE_OCTETS_MAX: usize = 4 << 20;
/// A read timeout of zero would be none.
const WAIT_MIN: Duration = Duration::from_micros(100);
