//! The station put together: the only file that makes its threads and channels.

use std::{
    fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use crossbeam_channel::bounded;
use protocol::SpacecraftId;

use crate::{
    batch::{Form, Limits},
    config::RunOptions,
    definitions::Definitions,
    feed::Feed,
    http::{self, Door, token::Token},
    intake::{Admission, Intake},
    journal::{self, Journal, files::Disk},
    ledger::{Counters, DetectCounts, Ledger, Report, StreamReport},
    queue::{Outlets, SHARDS, queues},
    readiness::Readiness,
    shutdown::{Drain, Stopper, running},
    socket::{BindOptions, bind_all, receive_buffer_of},
    spacecraft::SpacecraftSet,
    store::Identity,
    track::StreamCounts,
    writer::{Setup, Watched, Writer},
};

mod database;
mod drain;
mod journaling;
pub mod listen;
mod name;
mod pace;
mod refusals;
mod replaying;
mod summary;
mod watching;

pub use drain::drain;
pub use journaling::default_folder;
pub use replaying::{AlreadyReplayed, replay};
pub use summary::summary;

use refusals::RefusalLog;
use watching::{Beside, Watching};

/// Runs the station until `stop` ends or `--duration` is over; returns its report. Errors are of
/// configuration: a database that is not there is waited for, and what comes meanwhile is kept.
pub async fn run(
    options: RunOptions,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Outcome> {
    let token = Token::read(options.http_token_file.as_deref()).map_err(anyhow::Error::msg)?;
    database::refuse_newer(&options.database.database_url).await?;
    let http = bind_http(options.http)?;
    let sockets = bind_udp(&options)?;
    let file = ReportFile::create(options.reception.report.clone())?;
    let writers = options.writers.map_or_else(default_writers, usize::from);
    let counters = Counters::new(writers);
    let mut journal = journaling::open(&options, writers, counters.journal())?;
    let identity = Identity {
        station: options.reception.station.name.clone(),
        journal: journal.as_ref().map_or_else(rand::random, Journal::run_identity),
    };
    let is_known = journaling::is_known(&identity, &options.database.database_url).await;
    let beside = journal.as_ref().map(|journal| Beside {
        folder: journal.folder(),
        identity: journal.identity(),
        next: journal.next(),
        is_known,
    });
    let Watching { watched, folder } = watching::start(&options, writers, beside)?;
    let known = watched.iter().flatten().flat_map(|one| one.watch.known_events()).collect();

    let (stopper, drain) = running(options.drain_timeout);
    let (mut outlets, inlets) = queues(writers, QUEUE_OCTETS, &counters);
    let (feeds, keeping) = match &mut journal {
        Some(journal) => {
            let readers = journal.readers();
            let feeds = inlets.into_iter().zip(readers);
            let feeds = feeds.map(|(inlet, reader)| Feed::of_journal(inlet, reader)).collect();
            (feeds, start_journal(journal, &mut outlets, &drain)?)
        }
        None => (inlets.into_iter().map(Feed::of_queue).collect(), Vec::new()),
    };
    let readiness = Arc::new(Readiness::default());
    let octets = options.receive_buffer.as_u64() as usize;
    readiness.set_warning("receive_buffer", clamped_buffer(&sockets, octets)?);
    let window = options.reception.station.window();
    let definitions = Arc::new(journal.as_ref().map_or_else(Definitions::built_in, |journal| {
        journal::known_definitions(&Disk, journal.folder())
    }));
    let setup = Setup {
        database: options.database.database_url.clone(),
        identity,
        limits: Limits::new(options.batch_rows, options.batch_age),
        columnstore_from: Some(options.columnstore_from).filter(|&rows| rows > 0),
        form: Form { station: options.reception.station.name.clone(), window },
        definitions: Arc::clone(&definitions),
        counters: Arc::clone(&counters),
        readiness: Arc::clone(&readiness),
        drain: drain.clone(),
        state: folder,
        skip_stored: None,
    };
    let seen = database::Seen {
        known_events: known,
        counters: Arc::clone(&counters),
        readiness: Arc::clone(&readiness),
    };
    let attended = tokio::spawn(database::attend(options.clone(), seen));
    let spacecraft = options.reception.spacecraft.unwrap_or_else(SpacecraftSet::all);
    let admission = Admission {
        spacecraft: spacecraft.clone(),
        satellites_max: options.reception.max_satellites.into(),
        streams_max: options.reception.max_streams as usize,
        sources: options.reception.allow,
        source_rate: options.source_rate,
        rejected_per_second: options.rejected_per_second,
        window,
        quarantine_per_second: Some(options.quarantine_per_second),
    };
    let mut intake = Intake::new(admission, outlets.clone(), Arc::clone(&counters));
    if let Some(journal) = &journal {
        journaling::recall(journal, &definitions, &mut intake, is_known);
    }
    let warning = journal.as_ref().map(|journal| {
        let (folder, gauges) = (journal.folder().to_owned(), Arc::clone(counters.journal()));
        tokio::spawn(journaling::warn_of_journal(folder, gauges, Arc::clone(&readiness)))
    });
    let writers = start_writers(&setup, feeds, watched)?;
    let listening = start_intake(intake, sockets, options.batch_age, drain.clone())?;
    let door = Door {
        outlets: Some(outlets).into(),
        counters: Arc::clone(&counters),
        spacecraft,
        window,
        readiness,
        token,
    };
    let served = tokio::spawn(http::serve(http, door, drain.clone()));
    let told = Arc::new(Mutex::new(Told::default()));
    let telling = tokio::spawn(tell_progress(Arc::clone(&counters), Arc::clone(&told)));
    tracing::info!("Listening on port {}", options.http.port());

    let reason = tokio::select! {
        reason = stop => Ok(reason),
        () = sleep_or_forever(options.duration) => Ok("--duration is over"),
        () = any_ended(&listening, &writers) => Err(anyhow!("a thread has ended by itself")),
    };
    tracing::info!("Stopping: {}", reason.as_ref().unwrap_or(&"something is wrong"));
    let then = keeping.into_iter().chain(writers).collect();
    let finished = finish(&stopper, served, listening, then).await;
    telling.abort();
    attended.abort();
    warning.inspect(|task| task.abort());
    tell(&counters, &told);
    // Whatever went wrong, the figures are written.
    let streams = finished.as_deref().unwrap_or_default();
    let report = file.write(counters.ledger(), streams)?;
    let journal = journal.map(|journal| {
        let folder = journal.folder().to_owned();
        journal.finish();
        folder
    });
    finished?;
    reason?;
    Ok(Outcome { report, journal })
}

fn bind_udp(options: &RunOptions) -> anyhow::Result<Vec<std::net::UdpSocket>> {
    let interface = options.multicast_interface.as_ref();
    let has_group = options.listen.iter().any(|address| address.ip().is_multicast());
    if interface.is_some() && !has_group {
        tracing::warn!("--multicast-interface has no effect: --listen names no multicast group");
    }
    let receive_buffer = options.receive_buffer.as_u64() as usize;
    let how = BindOptions { receive_buffer, coalesce: options.gro, interface };
    Ok(bind_all(&options.listen, &how)?)
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub report: Report,
    /// Where what is pending is kept, if there is a journal.
    pub journal: Option<PathBuf>,
}

/// The report's file, opened before anything depends on it.
struct ReportFile(Option<(fs::File, PathBuf)>);

impl ReportFile {
    fn create(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = fs::File::create(&path).with_context(|| cannot_write(&path))?;
        Ok(Self(Some((file, path))))
    }

    fn write(self, ledger: Ledger, streams: &[StreamCounts]) -> anyhow::Result<Report> {
        let report = Report { ledger, streams: streams.iter().map(StreamReport::from).collect() };
        if let Some((file, path)) = self.0 {
            let mut file = io::BufWriter::new(file);
            serde_json::to_writer_pretty(&mut file, &report)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.flush())
                .with_context(|| cannot_write(&path))?;
        }
        Ok(report)
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the report {}", path.display())
}

/// Ends the parts in the order of the flow, so that each finds all that the one before it sent.
async fn finish(
    stopper: &Stopper,
    served: tokio::task::JoinHandle<()>,
    listening: JoinHandle<io::Result<Vec<StreamCounts>>>,
    then: Vec<JoinHandle<()>>,
) -> anyhow::Result<Vec<StreamCounts>> {
    stopper.stop();
    served.await.context("the HTTP server panicked")?;
    let ended = tokio::task::spawn_blocking(move || {
        let streams = listening.join().map_err(|_| anyhow!("the socket thread panicked"))?;
        // The doors are gone and with them the sending ends: what is queued is finished.
        for thread in then {
            thread.join().map_err(|_| anyhow!("a thread of the journal or a writer panicked"))?;
        }
        anyhow::Ok(streams?)
    });
    ended.await.context("the threads could not be joined")?
}

/// Lets all queues lead through the journal.
fn start_journal(
    journal: &Journal,
    outlets: &mut Outlets,
    drain: &Drain,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let (inlet, direct) = outlets.through_one();
    let appender = journal.appender(inlet, outlets.lanes(), direct, drain.clone());
    let (ends, ended) = bounded(1);
    let keeper = journal.keeper(ended);
    let append = move || {
        appender.run();
        drop(ends);
    };
    Ok(vec![start("journal", append)?, start("journal-sync", move || keeper.run())?])
}

fn start_writers(
    setup: &Setup,
    feeds: Vec<Feed>,
    watched: Vec<Option<Watched>>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (feed, watched) in feeds.into_iter().zip(watched) {
        let name = format!("writer-{}", feed.lane().writer());
        let writer = Writer::new(setup.clone(), feed, watched).context("cannot start a writer")?;
        threads.push(start(&name, move || writer.run())?);
    }
    Ok(threads)
}

fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.with_context(|| format!("cannot start the thread {name}"))
}

fn start_intake(
    intake: Intake,
    sockets: Vec<std::net::UdpSocket>,
    batch_age: Duration,
    drain: Drain,
) -> anyhow::Result<JoinHandle<io::Result<Vec<StreamCounts>>>> {
    // While a batch grows old, three rests bring all but what comes at its end.
    start("intake", move || listen::run(intake, sockets, batch_age * 32 / 100, drain))
}

fn bind_http(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .and_then(tokio::net::TcpListener::from_std);
    listener.with_context(|| {
        format!("cannot listen on TCP {address} (is it taken?); choose another with --http")
    })
}

/// Which socket has a smaller receive buffer than was asked for, if any has.
fn clamped_buffer(
    sockets: &[std::net::UdpSocket],
    wanted: usize,
) -> anyhow::Result<Option<String>> {
    for socket in sockets {
        let granted = receive_buffer_of(socket)?;
        if granted < wanted {
            let address = socket.local_addr()?;
            return Ok(Some(format!(
                "the receive buffer of {address} is {granted} octets instead of {wanted}"
            )));
        }
    }
    Ok(None)
}

/// Says in one line what the tables are.
pub fn tell_extension(has_timescaledb: bool) {
    if has_timescaledb {
        tracing::info!("TimescaleDB is there: the tables are hypertables");
    } else {
        tracing::info!("TimescaleDB is not used: the tables are plain PostgreSQL");
    }
}

/// Says once a second how it goes on.
async fn tell_progress(counters: Arc<Counters>, told: Arc<Mutex<Told>>) {
    let mut period = tokio::time::interval(PROGRESS_PERIOD);
    loop {
        period.tick().await;
        tell(&counters, &told);
    }
}

/// What the log knows.
#[derive(Default)]
struct Told {
    ledger: Ledger,
    detect: DetectCounts,
    /// Jumps of counters, and when they were logged.
    jumps: u64,
    jumps_at: Option<Instant>,
    refusals: RefusalLog,
}

/// Says what was stored and found since it was told last, and what was dropped.
fn tell(counters: &Counters, told: &Mutex<Told>) {
    let (now, found) = (counters.ledger(), counters.detect());
    let mut all_told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let Told { ledger: told, detect, jumps, jumps_at, refusals } = &mut *all_told;
    refusals.log(counters, Instant::now());
    if now.committed > told.committed {
        tracing::info!("Inserted {} rows", now.committed - told.committed);
    }
    if now.queue_dropped > told.queue_dropped {
        let samples = now.queue_dropped - told.queue_dropped;
        tracing::warn!("{samples} samples were dropped: storing is too slow");
    }
    if now.kernel_dropped > told.kernel_dropped {
        let datagrams = now.kernel_dropped - told.kernel_dropped;
        tracing::warn!("{datagrams} datagrams were dropped by the kernel: receiving is too slow");
    }
    if now.quarantine_dropped > told.quarantine_dropped {
        let frames = now.quarantine_dropped - told.quarantine_dropped;
        tracing::warn!(
            "{frames} frames dated outside --time-past and --time-future were dropped: more than \
             --quarantine-per-second"
        );
    }
    if found.watch.opened > detect.watch.opened {
        tracing::info!("{} anomalies opened", found.watch.opened - detect.watch.opened);
    }
    if found.watch.refused > detect.watch.refused {
        let refused = found.watch.refused - detect.watch.refused;
        tracing::warn!("{refused} anomalies were not opened: too many are");
    }
    if found.watch.limits_only > detect.watch.limits_only {
        let satellites = found.watch.limits_only;
        tracing::warn!("{satellites} satellites get limits only: the detectors' memory is full");
    }
    let leapt = counters.jumps();
    let is_quiet = jumps_at.is_none_or(|at| at.elapsed() >= JUMPS_PERIOD);
    if let Some(last) = leapt.last.filter(|_| leapt.seen > *jumps && is_quiet) {
        let (seen, spacecraft) = (leapt.seen - *jumps, SpacecraftId::new(last.spacecraft.get()));
        tracing::warn!(
            "sequence counters have leapt further than rate and time explain ({seen}; the last: {} \
             APID {}, boot {}, {} counts to {}): another sender may be using the name. Frames \
             behind a leap are stored as late; see detector link_jump in table anomaly",
            spacecraft.map_or_else(String::new, |spacecraft| spacecraft.to_string()),
            last.apid,
            last.boot_count,
            last.missed,
            last.count,
        );
        (*jumps, *jumps_at) = (leapt.seen, Some(Instant::now()));
    }
    *told = now;
    *detect = found;
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

/// Writers of a station that was not told how many.
#[must_use]
pub fn default_writers() -> usize {
    thread::available_parallelism().map_or(WRITERS_FALLBACK, usize::from).min(WRITERS_DEFAULT_MAX)
}

/// Samples that wait for the writers: some 800,000 frames of 68 octets, 16 s of 50,000 a second.
const QUEUE_OCTETS: usize = 64 << 20;
const WRITERS_FALLBACK: usize = 2;
const WRITERS_DEFAULT_MAX: usize = 16;
const _: () = assert!(WRITERS_DEFAULT_MAX <= SHARDS);
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How often jumps of counters are logged.
const JUMPS_PERIOD: Duration = Duration::from_secs(60);
