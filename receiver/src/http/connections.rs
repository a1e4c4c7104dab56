//! HTTP connections: how many, how large a request's head, and how long a client may take.
//!
//! Guarantees: at most [`CONNECTIONS_MAX`] connections are open, each with at most
//! [`HEAD_OCTETS_MAX`] of head in memory. A client that takes longer than [`HEAD_TIME`] from one
//! request's end to the end of the next one's head is let go, and one that does not take its
//! answers after [`SILENCE_MAX`]. What a body may take is stated where bodies are read.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{ledger::Counters, shutdown::Drain};

/// Serves until the station is stopped, and then for [`GRACE`] what has begun.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    counters: Arc<Counters>,
    drain: Drain,
) {
    let mut open = JoinSet::new();
    let stopped = drain.stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if open.len() < CONNECTIONS_MAX => {
                    open.spawn(one(stream, router.clone(), drain.clone()));
                }
                Ok((stream, _)) => {
                    counters.add_http_refused();
                    // It fits into an empty buffer, or the client is gone.
                    let _told = stream.try_write(FULL);
                }
                // Too many open files, for one: an error that lasts must not become a busy loop.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    drop(listener);
    // Connections that are kept open do not hold up the end: dropping the set closes them.
    let all_done = async { while open.join_next().await.is_some() {} };
    let _in_time = tokio::time::timeout(GRACE, all_done).await;
}

/// Serves one connection. How it ends is the client's affair.
async fn one(stream: TcpStream, router: Router, drain: Drain) {
    // Without these answers are late, or a client that is gone keeps its place for longer.
    let _late = stream.set_nodelay(true);
    let silence_ms = SILENCE_MAX.as_millis() as u32;
    let _longer = setsockopt(&stream, sockopt::TcpUserTimeout, &silence_ms);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_OCTETS_MAX);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = drain.stopped() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}

const CONNECTIONS_MAX: usize = 256;
/// What the request line and the headers may be together.
const HEAD_OCTETS_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long connections may take to finish when the station stops.
const GRACE: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Type: application/json\r\nContent-Length: 32\r\nConnection: close\r\n\r\n\
    {\"error\":\"too many connections\"}";
