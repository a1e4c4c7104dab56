//! A TCP proxy in front of PostgreSQL that cuts, stalls, delays and refuses on demand, and that can
//! cut a connection around a COMMIT: the moment at which a client cannot know what has happened.
//!
//! Guarantee: as long as it is asked for nothing, octets pass unchanged, in order, both ways. What it
//! does to commits is drawn from the seed, commit after commit. It listens on 127.0.0.1, and ends
//! with its owner: connections are reset when it is dropped.
//!
//! How: two threads a connection, each with one direction; see `pump`. They read with a timeout, so
//! that they heed what is asked of them within `POLL_INTERVAL`.
//!
//! Limits: no encryption: a client that asks for it is told that there is none. A COMMIT is seen
//! when it is sent as the simple query `COMMIT`, as `tokio-postgres` does.

mod pump;
mod wire;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::cluster::free_port;

/// How connections get on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// As without a proxy.
    #[default]
    Open,
    /// Each octet comes later by `by` and up to `jitter` more, in order.
    Delayed {
        /// At least.
        by: Duration,
        /// At most so much more.
        jitter: Duration,
    },
    /// Connections are accepted, and nothing passes.
    Stalled,
    /// Nobody listens: new connections are refused by the kernel. Those that exist go on.
    Refused,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With a reset, as when a machine or a NAT has forgotten it. What was under way is lost.
    Reset,
    /// In order, as when the other program has ended.
    Close,
}

/// Where a connection is cut around a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitCut {
    /// The COMMIT never comes to the server.
    Unsent,
    /// It comes to the server, and the connection is reset while the server is at it.
    Racing,
    /// The server has committed and said so, and its answer is swallowed.
    Unanswered,
}

/// Which commits it happens to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    /// Each with this chance.
    Chance(f64),
    /// Only the n-th from now, counted from 1.
    Number(u64),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// COMMITs that clients have sent.
    pub commits: u64,
    /// Cut with [`CommitCut::Unsent`].
    pub unsent: u64,
    /// Cut with [`CommitCut::Racing`].
    pub racing: u64,
    /// Cut with [`CommitCut::Unanswered`].
    pub unanswered: u64,
    /// Connections that [`Proxy::cut`] has ended.
    pub cut: u64,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy to `upstream`, with every passage open.
    pub fn start(upstream: SocketAddr, seed: u64) -> Result<Self> {
        // Not one that the kernel would give to somebody else while it refuses.
        let listener = TcpListener::bind(("127.0.0.1", free_port()?))
            .context("the proxy cannot listen on its port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            state: Mutex::new(State {
                passage: Passage::Open,
                commits: None,
                cuts: 0,
                how: Cut::Close,
                open: 0,
                is_listening: true,
                is_ending: false,
                counts: Counts::default(),
                random: StdRng::seed_from_u64(seed),
            }),
        });
        let shared = Arc::clone(&control);
        let accept = move || accept(listener, address, upstream, &shared);
        let thread = thread::Builder::new().name("proxy".into()).spawn(accept)?;
        Ok(Self { address, control, thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection URL of the server as one that leads through the proxy.
    pub fn url(&self, url: &str) -> Result<String> {
        let (before, rest) = url.rsplit_once('@').context("the URL has no host")?;
        let (_, database) = rest.split_once('/').context("the URL has no database")?;
        Ok(format!("{before}@{}/{database}", self.address))
    }

    /// Sets how connections get on from now on.
    pub fn set_passage(&self, passage: Passage) -> Result<()> {
        self.control.lock().passage = passage;
        let start = Instant::now();
        while self.control.lock().is_listening == (passage == Passage::Refused) {
            if start.elapsed() > LISTEN_DURATION_MAX {
                bail!("the proxy cannot listen on {} again", self.address);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Ends all connections.
    pub fn cut(&self, how: Cut) {
        let mut state = self.control.lock();
        state.how = how;
        state.cuts += 1;
        state.counts.cut += state.open;
    }

    /// From now on, cuts connections around these commits; none with `None`.
    pub fn cut_commits(&self, commits: Option<(CommitCut, Which)>) {
        self.control.lock().commits = commits;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.control.lock().counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.lock().is_ending = true;
        self.cut(Cut::Reset);
        if let Some(thread) = self.thread.take() {
            // Only waits for it; there is nobody to tell while dropping.
            let _ = thread.join();
        }
    }
}

/// What is asked of the threads, and what they have counted.
#[derive(Debug)]
struct Control {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    passage: Passage,
    commits: Option<(CommitCut, Which)>,
    /// How often all connections were cut; a connection that began before the last time is over.
    cuts: u64,
    how: Cut,
    open: u64,
    is_listening: bool,
    is_ending: bool,
    counts: Counts,
    random: StdRng,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of the next COMMIT.
    fn commit(&self) -> Option<CommitCut> {
        let mut state = self.lock();
        state.counts.commits += 1;
        let (cut, which) = state.commits?;
        let is_chosen = match which {
            Which::Chance(chance) => state.random.random_bool(chance),
            Which::Number(number) => {
                let left = number.saturating_sub(1);
                state.commits = (left > 0).then_some((cut, Which::Number(left)));
                left == 0
            }
        };
        is_chosen.then_some(cut)
    }

    /// When octets that have come now are due.
    fn due(&self) -> Instant {
        let mut state = self.lock();
        let now = Instant::now();
        match state.passage {
            Passage::Delayed { by, jitter } => {
                now + by + jitter.mul_f64(state.random.random::<f64>())
            }
            _ => now,
        }
    }
}

/// The thread that accepts connections.
fn accept(listener: TcpListener, own: SocketAddr, upstream: SocketAddr, control: &Arc<Control>) {
    let mut listener = Some(listener);
    loop {
        let (is_ending, passage) = {
            let state = control.lock();
            (state.is_ending, state.passage)
        };
        if is_ending {
            return;
        }
        if passage == Passage::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(own).ok();
            if let Some(listener) = &listener
                && listener.set_nonblocking(true).is_err()
            {
                return;
            }
        }
        control.lock().is_listening = listener.is_some();
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => connect(client, upstream, control),
            _ => thread::sleep(ACCEPT_INTERVAL),
        }
    }
}

/// Connects a client with the server; one that cannot be is reset.
fn connect(client: TcpStream, upstream: SocketAddr, control: &Arc<Control>) {
    let Ok(server) = TcpStream::connect_timeout(&upstream, CONNECT_DURATION_MAX) else {
        // What fails is already the failure that is wanted.
        let _ = pump::reset_when_closed(&client);
        return;
    };
    control.lock().counts.connections += 1;
    let _ = pump::start(client, server, control);
}

/// How soon threads heed what is asked of them.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const ACCEPT_INTERVAL: Duration = Duration::from_millis(1);
const CONNECT_DURATION_MAX: Duration = Duration::from_secs(5);
const LISTEN_DURATION_MAX: Duration = Duration::from_secs(5);
