//! A recording on its way through the station: from a file in place of the sockets, with the times of
//! the file.
//!
//! With `--once` nothing is stored that the database has already. Two runs of one file at once would
//! do the same work twice and wait for each other, so a run holds an advisory lock of the database
//! for as long as it takes: wherever the other run is, it sees the lock and ends, and a run that is
//! killed loses the lock with its connection. The lock saves work; that no row is stored twice
//! follows from the claims and checks of the writers.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use protocol::SpacecraftId;

use super::{
    QUEUE_OCTETS, ReportFile, database::watch_locks, refusals::RefusalLog, start, start_writers,
};
use crate::{
    batch::{self, Form, Limits},
    config::{ReceptionOptions, ReplayOptions},
    definitions::Definitions,
    detect::Watch,
    feed::Feed,
    intake::{Admission, Intake},
    ledger::{Counters, Ledger, Report},
    queue::{Outlets, SHARDS, queues},
    readiness::Readiness,
    replay::{Contents, Reading, Recorded, Recording, identity},
    shutdown::running,
    spacecraft::SpacecraftSet,
    store::{
        COLUMNSTORE_FROM, Identity,
        presence::Scope,
        run_lock::{Occupied, RunLock},
        schema,
    },
    track::StreamCounts,
    writer::{Setup, Watched},
};

/// Stores what a file holds, until its end or until `stop` ends; returns the report.
pub async fn replay(
    options: ReplayOptions,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Report> {
    let path = &options.recording;
    let cannot = || format!("cannot replay {}", path.display());
    let reading = Reading { port: options.port, bare_packets: options.bare_packets };
    tokio::pin!(stop);
    let opened = {
        let path = path.clone();
        on_a_thread("opening", move || Recording::open(&path, reading))
    };
    let recording = unless(&mut stop, opened).await?.with_context(cannot)?;
    let config = &options.database.database_url;
    schema::check(config).await?;
    // The file is its own journal: a place in it is the number of a datagram.
    let journal = if options.once {
        let (path, deciding) = (path.clone(), deciding(&options));
        let identity = on_a_thread("identity", move || identity(&path, &deciding));
        unless(&mut stop, identity).await?.with_context(cannot)?
    } else {
        rand::random()
    };
    let identity = Identity { station: options.reception.station.name.clone(), journal };
    // Held until the end of this function.
    let _lock = if options.once {
        let taken = RunLock::take(config, &identity).await.with_context(cannot)?;
        Some(taken.map_err(|holder| AlreadyReplayed { path: path.clone(), holder })?)
    } else {
        None
    };
    // Not before the lock: it may be the report of the other run.
    let file = ReportFile::create(options.reception.report.clone())?;
    let counters = Counters::new(WRITERS);
    let (outlets, inlets) = queues(WRITERS, QUEUE_OCTETS, &counters);
    let (stopper, drain) = running(Duration::ZERO);
    let readiness = Arc::new(Readiness::default());
    readiness.set_checked();
    let setup = Setup {
        database: config.clone(),
        identity,
        limits: Limits::new(batch::ROWS_MAX, BATCH_AGE),
        columnstore_from: Some(COLUMNSTORE_FROM),
        form: Form {
            station: options.reception.station.name.clone(),
            window: options.reception.station.window(),
        },
        definitions: Arc::new(Definitions::built_in()),
        counters: Arc::clone(&counters),
        readiness,
        drain,
        state: None,
        skip_stored: options.once.then_some(if options.any_station {
            Scope::AnyStation
        } else {
            Scope::ThisStation
        }),
    };
    let watched = (0..WRITERS).map(|_| {
        let watch = || {
            Watch::new(
                options.reception.detection.clone(),
                &options.reception.station.name,
                WRITERS,
            )
        };
        options.reception.detect.then(|| Watched { watch: watch(), seen: [0; SHARDS] })
    });
    let feeds = inlets.into_iter().map(Feed::of_numbered).collect();
    let _logged = watch_locks(config);
    let writers = start_writers(&setup, feeds, watched.collect())?;
    let admission = Admission {
        spacecraft: options.reception.spacecraft.clone().unwrap_or_else(SpacecraftSet::all),
        satellites_max: options.reception.max_satellites.into(),
        streams_max: options.reception.max_streams as usize,
        sources: options.reception.allow.clone(),
        source_rate: None,
        rejected_per_second: REJECTED_PER_SECOND,
        window: options.reception.station.window(),
        // A recording is no stranger, and bounded by its own size.
        quarantine_per_second: None,
    };
    let intake = Intake::new(admission, outlets.clone(), Arc::clone(&counters));
    let is_stopped = Arc::new(AtomicBool::new(false));
    let reading = {
        let (is_stopped, speed) = (Arc::clone(&is_stopped), options.speed);
        start("intake", move || read(recording, intake, &outlets, speed, &is_stopped))?
    };
    let ended = async {
        while !reading.is_finished() || !writers.iter().all(thread::JoinHandle::is_finished) {
            tokio::time::sleep(POLL_PERIOD).await;
        }
    };
    tokio::select! {
        () = ended => {}
        reason = &mut stop => {
            tracing::info!("Stopping: {reason}");
            is_stopped.store(true, Ordering::Relaxed);
        }
    }
    let joined = tokio::task::spawn_blocking(move || {
        let read = reading.join();
        stopper.stop();
        let written = writers.into_iter().all(|writer| writer.join().is_ok());
        (read, written)
    });
    let (read, are_written) = joined.await?;
    let Read { streams, contents, ended } =
        read.map_err(|_| anyhow!("the reading thread panicked"))?;
    RefusalLog::default().log(&counters, Instant::now());
    let report = file.write(counters.ledger(), &streams)?;
    let ended = ended.with_context(|| format!("cannot read all of {}", path.display()))?;
    if !are_written {
        bail!("a writer thread panicked");
    }
    if ended == Ended::AtTheEnd && good_frames(&report.ledger) == 0 {
        return Err(NoFrames { path: path.clone(), contents, ledger: report.ledger }.into());
    }
    Ok(report)
}

/// Nothing in a recording was a frame of this station's.
#[derive(Debug, thiserror::Error)]
#[error("there is no good frame in {}: {contents}{}", path.display(), refused(.ledger))]
struct NoFrames {
    path: PathBuf,
    contents: Contents,
    ledger: Ledger,
}

fn good_frames(ledger: &Ledger) -> u64 {
    ledger.accepted + ledger.duplicate + ledger.stale + ledger.idle
}

/// What was refused, by reason, to go on with after something else.
fn refused(ledger: &Ledger) -> String {
    let reasons = ledger.rejected.by_reason().into_iter().filter(|(_, count)| *count > 0);
    let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{count} {reason}")).collect();
    if reasons.is_empty() { String::new() } else { format!("; refused: {}", reasons.join(", ")) }
}

/// Another run replays the same file with `--once`: what it has not stored yet it is about to store.
#[derive(Debug, thiserror::Error)]
#[error("another run is replaying {} now: {holder}; replay the file again when that has ended", path.display())]
pub struct AlreadyReplayed {
    path: PathBuf,
    holder: Occupied,
}

/// Does what may take long, such as reading a large file, on a thread of its own, which ends with the
/// process if it is not waited for.
async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (send, done) = tokio::sync::oneshot::channel();
    // It cannot be sent after the command was interrupted.
    let _thread = start(name, move || drop(send.send(work())))?;
    done.await.map_err(|_| anyhow!("the thread {name} panicked"))
}

/// The outcome of `work`, or an error if `stop` ends before it.
async fn unless<T>(
    stop: &mut (impl Future<Output = &'static str> + Unpin),
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        reason = stop => bail!("{reason}, before anything was read that could be stored"),
    }
}

/// The options that decide which frames of a file come to the writers, and in which chunks. After a
/// replay with others, places in the file do not tell what is stored.
fn deciding(options: &ReplayOptions) -> String {
    let ReplayOptions { port, bare_packets, reception, .. } = options;
    let spacecraft = reception.spacecraft.as_ref().map(|set| {
        let all = (0..=u16::MAX).filter_map(SpacecraftId::new);
        all.filter(|&id| set.contains(id)).map(SpacecraftId::number).collect::<Vec<_>>()
    });
    let ReceptionOptions { max_satellites, allow, .. } = reception;
    format!("{port:?} {bare_packets} {spacecraft:?} {max_satellites} {allow:?}")
}

/// What came of reading a file.
struct Read {
    streams: Vec<StreamCounts>,
    contents: Contents,
    ended: io::Result<Ended>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    AtTheEnd,
    Stopped,
}

fn read(
    mut recording: Recording,
    mut intake: Intake,
    outlets: &Outlets,
    speed: Option<f64>,
    is_stopped: &AtomicBool,
) -> Read {
    let mut one = Recorded::default();
    let mut place = 0;
    let mut began = None;
    let ended = loop {
        if is_stopped.load(Ordering::Relaxed) {
            break Ok(Ended::Stopped);
        }
        match recording.read(&mut one) {
            Ok(true) => {}
            Ok(false) => break Ok(Ended::AtTheEnd),
            Err(error) => break Err(error),
        }
        if let Some(speed) = speed {
            let (start, first_us) = *began.get_or_insert((Instant::now(), one.time_us));
            let due = (one.time_us - first_us).max(0) as f64 / 1e6 / speed;
            wait_until(start + Duration::from_secs_f64(due.min(FAR_S)), is_stopped);
        }
        while !outlets.have_room() && !is_stopped.load(Ordering::Relaxed) {
            thread::sleep(POLL_PERIOD);
        }
        // Before it, so that what ends with the second before it has the place before it.
        intake.tick_recorded(one.time_us);
        place += 1;
        intake.number(place);
        intake.datagram(&one.octets, one.source, one.time_us);
    };
    intake.finish(one.time_us);
    let contents = recording.contents().clone();
    if contents.unused() > 0 {
        tracing::info!("The file holds {contents}");
    }
    if let Some(at) = contents.torn_at {
        tracing::warn!("The file ends within a packet, at octet {at}: what comes before is stored");
    }
    Read { streams: intake.streams(), contents, ended }
}

fn wait_until(due: Instant, is_stopped: &AtomicBool) {
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        if left.is_zero() || is_stopped.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(left.min(POLL_PERIOD));
    }
}

/// Always as many, so that the same file makes the same chunks: their places are what `--once` goes by.
const WRITERS: usize = 2;
const BATCH_AGE: Duration = Duration::from_millis(500);
const REJECTED_PER_SECOND: u32 = 100;
const POLL_PERIOD: Duration = Duration::from_millis(10);
/// Longer than anybody waits.
const FAR_S: f64 = 1e9;
