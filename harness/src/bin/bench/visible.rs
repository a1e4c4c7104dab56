//! When rows become visible: a reader that asks for the newest rows of a few satellites over and
//! over, as a dashboard would, only far more often.
//!
//! What it finds is an upper bound: a row was visible some time before the answer in which it was
//! first seen, at most by [`PERIOD`] and the time that the queries of one round take.
//!
//! The start is told apart: the first rows of a database make its first chunks, and wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use harness::figures::quantile;
use protocol::SpacecraftId;
use serde::Serialize;
use tokio_postgres::NoTls;

/// Satellites that are looked at, from the first on: consecutive ones have different writers.
const SATELLITES: u32 = 4;
const PERIOD: Duration = Duration::from_millis(20);
const START_DURATION: Duration = Duration::from_secs(4);

const NEW_ROWS: &str = "SELECT time, received_at FROM telemetry
    WHERE satellite_id = $1 AND time > $2 ORDER BY time";

/// Reads until it is told to stop.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

/// When frames were made, and how long their rows took, in ms.
#[derive(Debug, Default)]
struct Seen {
    made: Vec<SystemTime>,
    from_frame: Vec<f64>,
    from_receipt: Vec<f64>,
}

/// The same in few figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delay {
    /// Rows that were looked at, but for those of the start.
    rows: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    max_ms: f64,
    /// The longest of the start: the first [`START_DURATION`], or a fifth of all if that is less.
    pub(crate) start_max_ms: f64,
}

impl Reader {
    /// Starts to read; of so many satellites, a few.
    pub(crate) fn start(url: &str, satellites: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, is_over) = (url.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(read(&url, satellites.min(SATELLITES) as u16, &is_over))
        });
        Self { stop, thread }
    }

    /// Stops, and gives back how long it took from a frame's own time and from its receipt until
    /// its row could be read.
    pub(crate) fn finish(self) -> Result<[Delay; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().map_err(|_| anyhow!("the reader panicked"))??;
        Ok([&seen.from_frame, &seen.from_receipt].map(|ms| Delay::of(&seen.made, ms)))
    }
}

impl Delay {
    fn of(made: &[SystemTime], ms: &[f64]) -> Self {
        let first = made.iter().min().copied().unwrap_or(SystemTime::UNIX_EPOCH);
        let since = |made: SystemTime| made.duration_since(first).unwrap_or_default();
        let all = made.iter().map(|&made| since(made)).max().unwrap_or_default();
        let start = START_DURATION.min(all / 5);
        let of = |is_start: bool| {
            let rows = made.iter().zip(ms);
            rows.filter(|&(&made, _)| (since(made) < start) == is_start)
                .map(|(_, &ms)| ms)
                .collect::<Vec<f64>>()
        };
        let at = |ms: &mut [f64], share| (quantile(ms, share) * 10.0).round() / 10.0;
        let (mut starting, mut later) = (of(true), of(false));
        let [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|share| at(&mut later, share));
        let start_max_ms = at(&mut starting, 1.0);
        Self { rows: later.len(), p50_ms, p99_ms, max_ms, start_max_ms }
    }
}

async fn read(url: &str, satellites: u16, is_over: &AtomicBool) -> Result<Seen> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let new_rows = client.prepare(NEW_ROWS).await?;
    let names = (1..=satellites).filter_map(SpacecraftId::new).map(|id| id.to_string());
    let mut newest: Vec<_> = names.map(|name| (name, SystemTime::now())).collect();
    let mut seen = Seen::default();
    while !is_over.load(Ordering::Relaxed) {
        for (name, newest) in &mut newest {
            let rows = client.query(&new_rows, &[name, newest]).await?;
            let now = SystemTime::now();
            let since = |then: SystemTime| match now.duration_since(then) {
                Ok(after) => after.as_secs_f64() * 1e3,
                // Two readings of one clock, cut to µs.
                Err(before) => -before.duration().as_secs_f64() * 1e3,
            };
            for row in rows {
                *newest = row.get(0);
                seen.made.push(*newest);
                seen.from_frame.push(since(*newest));
                seen.from_receipt.push(since(row.get(1)));
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
    Ok(seen)
}
