//! A recording on its way through the station: from a file in place of the sockets, with the times of
//! the file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};

use super::{QUEUE_OCTETS, ReportFile, start, start_writers};
use crate::{
    batch::{self, Form, Limits},
    config::ReplayOptions,
    definitions::Definitions,
    detect::Watch,
    feed::Feed,
    intake::{Admission, Intake},
    ledger::{Counters, Report},
    queue::{Outlets, SHARDS, queues},
    readiness::Readiness,
    replay::{Recorded, Recording, identity},
    shutdown::running,
    spacecraft::SpacecraftSet,
    store::{COLUMNSTORE_FROM, Identity, schema},
    writer::{Setup, Watched},
};

/// Stores what a file holds, until its end or until `stop` ends; returns the report.
pub async fn replay(
    options: ReplayOptions,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Report> {
    let path = &options.recording;
    let cannot = || format!("cannot replay {}", path.display());
    let recording = Recording::open(path, options.port).with_context(cannot)?;
    let file = ReportFile::create(options.reception.report.clone())?;
    let config = &options.database.database_url;
    schema::check(config).await?;
    // The file is its own journal: a place in it is the number of a datagram.
    let journal = if options.once { identity(path).with_context(cannot)? } else { rand::random() };
    let counters = Counters::new(WRITERS);
    let (outlets, inlets) = queues(WRITERS, QUEUE_OCTETS, &counters);
    let (stopper, drain) = running(Duration::ZERO);
    let readiness = Arc::new(Readiness::default());
    readiness.set_checked();
    let setup = Setup {
        database: config.clone(),
        identity: Identity { station: options.reception.station.name.clone(), journal },
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
    tokio::pin!(stop);
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
    let (streams, read) = read.map_err(|_| anyhow!("the reading thread panicked"))?;
    let report = file.write(counters.ledger(), &streams)?;
    read.with_context(|| format!("cannot read all of {}", path.display()))?;
    if !are_written {
        bail!("a writer thread panicked");
    }
    Ok(report)
}

type Streams = Vec<crate::track::StreamCounts>;

fn read(
    mut recording: Recording,
    mut intake: Intake,
    outlets: &Outlets,
    speed: Option<f64>,
    is_stopped: &AtomicBool,
) -> (Streams, std::io::Result<()>) {
    let mut one = Recorded::default();
    let mut place = 0;
    let mut began = None;
    let done = loop {
        if is_stopped.load(Ordering::Relaxed) {
            break Ok(());
        }
        match recording.read(&mut one) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
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
    if recording.passed_over > 0 {
        let packets = recording.passed_over;
        tracing::info!("{packets} packets of the file are no whole UDP datagrams");
    }
    (intake.streams(), done)
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
