//! The demo: 100 satellites, a ground station and a database of their own, shown on one screen.
//!
//! `make demo` runs it. It ends on Ctrl-C or after `DEMO_SECONDS`, with a ledger of every frame,
//! and succeeds only if that ledger balances. Whatever ends it, even `SIGKILL`, nothing of what it
//! started goes on running, and the database is gone. Logs and reports stay in `demo/` beside its
//! program's folder (`target/demo/`).

#![forbid(unsafe_code)]

mod balance;
mod grafana;
mod interrupt;
mod rows;
mod screen;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context, Result, bail};
use harness::station::USUAL_PORTS;
use harness::{Cluster, ClusterOptions, Constellation, Counters, Station};

use balance::Balance;
use grafana::Grafana;
use interrupt::Interrupt;
use rows::Stored;
use screen::{Figures, Screen};

/// 100 satellites at 10 frames a second, one in ten of them attitude, make 16,400 values a second.
const SATELLITES: u32 = 100;
const RATE: u32 = 10;

const DATABASE: &str = "orbitstream";

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; true if the final ledger balances.
fn run() -> Result<bool> {
    let duration = duration()?;
    let interrupt = Interrupt::listen()?;
    let folder = folder()?;
    let _lock = lock(&folder)?;

    println!("Starting a private PostgreSQL ...");
    let cluster = Cluster::start_with(&ClusterOptions { durable: true, ..Default::default() })?;
    cluster.create_database(DATABASE)?;
    Station::migrate(&cluster.url(DATABASE), &[])?;
    let writer_url =
        cluster.url_as("orbitstream_writer", Some(&login(&cluster, "writer")?), DATABASE);

    println!("Starting the ground station ...");
    let mut station = Station::start(&writer_url, &folder, USUAL_PORTS, &[])?;
    let password = login(&cluster, "reader")?;
    let mut grafana = Grafana::start_if_installed(cluster.port(), DATABASE, &password, &folder)?;
    println!("Starting {SATELLITES} satellites ...");
    let mut constellation = Constellation::start(
        station.target(),
        &folder,
        &["--satellites", &SATELLITES.to_string(), "--rate", &RATE.to_string()],
    )?;

    let mut notes = notes(&cluster, &station, duration)?;
    notes.extend(grafana.as_mut().map(Grafana::note));
    let mut screen = Screen::new(notes);
    watch(&cluster, &mut station, &mut constellation, &mut screen, &interrupt, duration)?;

    println!("\nStopping ...");
    let truth = constellation.stop()?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    let stored = Stored::count(&cluster, DATABASE)?;
    let balance = Balance { truth: &truth, counters: &counters, stored: &stored };
    println!("\n{}", balance.page());
    Ok(balance.is_even())
}

/// Shows the figures each second until it is time to end.
fn watch(
    cluster: &Cluster,
    station: &mut Station,
    constellation: &mut Constellation,
    screen: &mut Screen,
    interrupt: &Interrupt,
    duration: Option<Duration>,
) -> Result<()> {
    let start = Instant::now();
    let mut before: Option<(Instant, Counters)> = None;
    for tick in 1.. {
        let due = REFRESH_INTERVAL * tick;
        let end = duration.map_or(due, |duration| due.min(duration));
        if interrupt.came_within(end.saturating_sub(start.elapsed()))
            || duration.is_some_and(|duration| start.elapsed() >= duration)
        {
            break;
        }
        constellation.check_running()?;
        let counters = station.counters()?;
        let now = Instant::now();
        let frames_per_second = before.as_ref().map_or(0, |(then, earlier)| {
            let frames = counters.frames - earlier.frames;
            (frames as f64 / (now - *then).as_secs_f64()).round() as u64
        });
        let values_per_second = (start.elapsed().as_secs() >= rows::RATE_AFTER_S)
            .then(|| rows::values_per_second(cluster, DATABASE, SATELLITES))
            .transpose()?;
        let newest = rows::newest(cluster, DATABASE)?;
        screen.show(&Figures {
            elapsed: due,
            frames_per_second,
            values_per_second,
            counters: &counters,
            newest: &newest,
        })?;
        before = Some((now, counters));
    }
    Ok(())
}

/// Lets one of the two roles log in, with a password nobody else knows.
fn login(cluster: &Cluster, role: &str) -> Result<String> {
    let password = format!("{:032x}", rand::random::<u128>());
    cluster
        .sql(DATABASE, &format!("ALTER ROLE orbitstream_{role} PASSWORD '{password}'"))
        .with_context(|| format!("cannot let orbitstream_{role} log in"))?;
    Ok(password)
}

fn notes(cluster: &Cluster, station: &Station, duration: Option<Duration>) -> Result<Vec<String>> {
    let end = duration.map_or_else(
        || "Ctrl-C ends it".to_owned(),
        |duration| format!("ends after {} s, or on Ctrl-C", duration.as_secs()),
    );
    let kind = rows::kind(cluster, DATABASE)?;
    Ok(vec![
        format!("satellites   {SATELLITES}, {RATE} frames/s each, to udp {}", station.target()),
        format!("station      http://{}/stats", station.http_address()),
        format!("database     {kind}; look yourself with"),
        format!("             {}", cluster.psql_command(DATABASE)),
        format!("demo         {end}"),
    ])
}

/// How long to run, from `DEMO_SECONDS`; without it (or with nothing in it), until Ctrl-C.
fn duration() -> Result<Option<Duration>> {
    let text = env::var("DEMO_SECONDS").unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
        _ => bail!("DEMO_SECONDS={text} is not a number of seconds; try DEMO_SECONDS=30"),
    }
}

/// The folder for logs and reports, `target/demo`.
fn folder() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let target = exe.ancestors().nth(2).context("the demo's program lies in no folder")?;
    let folder = target.join("demo");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

/// Two demos at once would write each other's reports.
fn lock(folder: &std::path::Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!("another demo is running: end that one first"),
        Err(fs::TryLockError::Error(error)) => Err(io::Error::into(error)),
    }
}
