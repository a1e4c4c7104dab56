//! The station put together: the only file that makes its threads and channels.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use tokio_postgres::Config;

use crate::{
    batch::{Limits, TimeWindow},
    config::RunOptions,
    http::{self, Door, Readiness},
    intake::{Admission, Intake},
    ledger::{Counters, Ledger, Report, StreamReport},
    queue::{Inlet, SHARDS, queues},
    shutdown::{Drain, Stopper, running},
    socket::Socket,
    spacecraft::SpacecraftSet,
    store::{Identity, schema},
    track::StreamCounts,
    writer::{Setup, Writer},
};

mod listen;

/// Runs the station until `stop` ends or `--duration` is over; returns its report. Errors are of
/// configuration, or of a database that did not come within `--database-wait`.
pub async fn run(
    options: RunOptions,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Report> {
    let http = bind_http(options.http)?;
    let mut sockets = Vec::new();
    for &address in &options.listen {
        let octets = options.receive_buffer.as_u64() as usize;
        sockets.push(Socket::bind(address, octets, options.gro)?);
    }
    let report = options.report.as_deref().map(create_report).transpose()?;
    tokio::pin!(stop);
    tokio::select! {
        ready = database(&options) => ready?,
        reason = &mut stop => {
            tracing::info!("Stopping: {reason}, before the database was there");
            let report = Report { ledger: Ledger::default(), streams: Vec::new() };
            return Ok(report);
        }
    }

    let (stopper, drain) = running(options.drain_timeout);
    let writers = options.writers.map_or_else(default_writers, usize::from);
    let counters = Counters::new(writers);
    let (outlets, inlets) = queues(writers, QUEUE_OCTETS, &counters);
    let window = TimeWindow { past: options.time_past, future: options.time_future };
    let setup = Setup {
        database: options.database.database_url.clone(),
        identity: Identity { station: options.station.clone(), journal: rand::random() },
        limits: Limits {
            rows_max: options.batch_rows.into(),
            octets_max: BATCH_OCTETS_MAX,
            age_max: options.batch_age,
        },
        window,
        counters: Arc::clone(&counters),
        drain: drain.clone(),
    };
    let writers = start_writers(&setup, inlets)?;
    let spacecraft = options.spacecraft.unwrap_or_else(SpacecraftSet::all);
    let admission = Admission {
        spacecraft: spacecraft.clone(),
        satellites_max: options.max_satellites.into(),
        sources: options.allow,
        rejected_per_second: options.rejected_per_second,
    };
    let intake = Intake::new(admission, outlets.clone(), Arc::clone(&counters));
    let listening = start_intake(intake, sockets, drain.clone())?;
    let readiness = Arc::new(Readiness::default());
    let door = Door {
        outlets: Some(outlets).into(),
        counters: Arc::clone(&counters),
        spacecraft,
        window,
        readiness: Arc::clone(&readiness),
    };
    let served = tokio::spawn(http::serve(http, door, drain.clone()));
    let watched = tokio::spawn(watch_database(setup.database, readiness));
    let told = tokio::spawn(tell_progress(Arc::clone(&counters)));
    tracing::info!("Listening on port {}", options.http.port());

    let reason = tokio::select! {
        reason = stop => reason,
        () = sleep_or_forever(options.duration) => "--duration is over",
        () = any_ended(&listening, &writers) => "a thread has ended by itself",
    };
    tracing::info!("Stopping: {reason}");
    let streams = finish(&stopper, served, listening, writers).await?;
    told.abort();
    watched.abort();
    let report = Final { report, options_name: options.report }.write(&counters, &streams)?;
    Ok(report)
}

/// The report's file, opened before anything depends on it.
struct Final {
    report: Option<fs::File>,
    options_name: Option<std::path::PathBuf>,
}

impl Final {
    fn write(self, counters: &Counters, streams: &[StreamCounts]) -> anyhow::Result<Report> {
        let streams = streams.iter().map(StreamReport::from).collect();
        let report = Report { ledger: counters.ledger(), streams };
        if let (Some(mut file), Some(path)) = (self.report, self.options_name) {
            serde_json::to_writer_pretty(&mut file, &report)
                .map_err(io::Error::from)
                .and_then(|()| io::Write::write_all(&mut file, b"\n"))
                .with_context(|| format!("cannot write the report {}", path.display()))?;
        }
        Ok(report)
    }
}

/// Ends the parts in the order of the flow, so that each finds all that the one before it sent.
async fn finish(
    stopper: &Stopper,
    served: tokio::task::JoinHandle<()>,
    listening: JoinHandle<io::Result<Vec<StreamCounts>>>,
    writers: Vec<JoinHandle<()>>,
) -> anyhow::Result<Vec<StreamCounts>> {
    stopper.stop();
    served.await.context("the HTTP server panicked")?;
    let ended = tokio::task::spawn_blocking(move || {
        let streams = listening.join().map_err(|_| anyhow!("the socket thread panicked"))?;
        // The doors are gone and with them the sending ends: the writers finish what is queued.
        for writer in writers {
            writer.join().map_err(|_| anyhow!("a writer thread panicked"))?;
        }
        anyhow::Ok(streams?)
    });
    ended.await.context("the threads could not be joined")?
}

fn start_writers(setup: &Setup, inlets: Vec<Inlet>) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for inlet in inlets {
        let name = format!("writer-{}", inlet.writer);
        let writer = Writer::new(setup.clone(), inlet).context("cannot start a writer")?;
        let thread = thread::Builder::new().name(name).spawn(move || writer.run());
        threads.push(thread.context("cannot start a writer thread")?);
    }
    Ok(threads)
}

fn start_intake(
    intake: Intake,
    sockets: Vec<std::net::UdpSocket>,
    drain: Drain,
) -> anyhow::Result<JoinHandle<io::Result<Vec<StreamCounts>>>> {
    // Timers and other sockets are looked at after every turn: under load there are few turns.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(1).build()?;
    let run = move || {
        let local = tokio::task::LocalSet::new();
        let intake = Rc::new(std::cell::RefCell::new(intake));
        local.block_on(&runtime, listen::all(sockets, &intake, drain))?;
        let streams = intake.borrow().streams();
        Ok(streams)
    };
    thread::Builder::new().name("intake".into()).spawn(run).context("cannot start a thread")
}

fn bind_http(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(tokio::net::TcpListener::from_std);
    listener.with_context(|| {
        format!("cannot listen on TCP {address} (is it taken?); choose another with --http")
    })
}

fn create_report(path: &std::path::Path) -> anyhow::Result<fs::File> {
    let file = fs::File::create(path);
    file.with_context(|| format!("cannot write the report {}", path.display()))
}

/// Waits for the database, for a while, and checks its tables.
async fn database(options: &RunOptions) -> anyhow::Result<()> {
    let config = &options.database.database_url;
    let start = Instant::now();
    let mut backoff = DATABASE_BACKOFF_MIN;
    let mut is_told = false;
    loop {
        let ready = async {
            if options.migrate {
                schema::migrate(&options.database, &options.periods).await?;
            }
            schema::check(config).await
        };
        let error = match ready.await {
            Ok(has_timescaledb) => {
                tell_extension(has_timescaledb);
                return Ok(());
            }
            Err(schema::Error::Database(error)) => schema::Error::Database(error),
            Err(error) => return Err(error.into()),
        };
        if start.elapsed() + backoff >= options.database_wait {
            let waited = humantime::format_duration(options.database_wait);
            bail!("no usable database after {waited} (--database-wait): {error}");
        }
        if !is_told {
            tracing::warn!("waiting for the database: {error}");
            is_told = true;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(DATABASE_BACKOFF_MAX);
    }
}

/// Says in one line what the tables are.
pub fn tell_extension(has_timescaledb: bool) {
    if has_timescaledb {
        tracing::info!("TimescaleDB is there: the tables are hypertables");
    } else {
        tracing::info!("no TimescaleDB in this database: the tables are plain PostgreSQL");
    }
}

/// Asks now and then whether the database is usable, for `/readyz`.
async fn watch_database(config: Config, readiness: Arc<Readiness>) {
    loop {
        let wrong = match tokio::time::timeout(WATCH_TIMEOUT, schema::check(&config)).await {
            Ok(Ok(_)) => None,
            // What the server said stays in the log: this answer goes to anybody who asks.
            Ok(Err(schema::Error::Database(_))) | Err(_) => Some("database unreachable".into()),
            Ok(Err(error)) => Some(error.to_string()),
        };
        readiness.set(wrong);
        tokio::time::sleep(WATCH_PERIOD).await;
    }
}

/// Says once a second how many rows were stored, when there were any.
async fn tell_progress(counters: Arc<Counters>) {
    let mut period = tokio::time::interval(PROGRESS_PERIOD);
    let mut told = 0;
    loop {
        period.tick().await;
        let committed = counters.ledger().committed;
        if committed > told {
            tracing::info!("Inserted {} rows", committed - told);
            told = committed;
        }
    }
}

/// Waits for what is not supposed to happen: a thread that ends while the station runs.
async fn any_ended<T>(listening: &JoinHandle<T>, writers: &[JoinHandle<()>]) {
    while !listening.is_finished() && !writers.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(PROGRESS_PERIOD).await;
    }
}

async fn sleep_or_forever(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn default_writers() -> usize {
    thread::available_parallelism().map_or(WRITERS_FALLBACK, usize::from).min(WRITERS_DEFAULT_MAX)
}

/// The final state in one line.
#[must_use]
pub fn summary(ledger: &Ledger) -> String {
    format!(
        "{} frames: {} accepted, {} lost, {} duplicate, {} rejected; {} samples committed, \
         {} pending, {} shed; residuals {} and {}",
        ledger.frames,
        ledger.accepted,
        ledger.lost,
        ledger.duplicate,
        ledger.rejected.total(),
        ledger.committed,
        ledger.pending,
        ledger.queue_dropped,
        ledger.frames_residual(),
        ledger.samples_residual()
    )
}

/// Samples that wait for the writers: some 850,000 frames of 68 octets, 17 s of 50,000 a second.
const QUEUE_OCTETS: usize = 64 << 20;
/// Encoded rows of a batch are about three times their frames.
const BATCH_OCTETS_MAX: usize = 8 << 20;
const WRITERS_FALLBACK: usize = 2;
const WRITERS_DEFAULT_MAX: usize = 16;
const _: () = assert!(WRITERS_DEFAULT_MAX <= SHARDS);
const DATABASE_BACKOFF_MIN: Duration = Duration::from_millis(100);
const DATABASE_BACKOFF_MAX: Duration = Duration::from_secs(2);
const WATCH_PERIOD: Duration = Duration::from_secs(2);
const WATCH_TIMEOUT: Duration = Duration::from_secs(5);
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
