//! The demo: 100 satellites, a ground station and a database of their own, shown on one screen.
//!
//! `make demo` runs it. It ends on Ctrl-C or after `DEMO_SECONDS`, with a ledger of every frame,
//! and succeeds only if that ledger balances. Whatever ends it, even `SIGKILL`, nothing of what it
//! started goes on running, and the database is gone. Logs and reports stay in `demo/` beside its
//! program's folder (`target/demo/`).

#![forbid(unsafe_code)]

mod anomalies;
mod balance;
mod rows;
mod screen;
mod table;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context, Result, bail};
use clap::Parser;
use harness::grafana::{Access, READER, Source, random_password};
use harness::output::exit_code;
use harness::station::USUAL_PORTS;
use harness::{
    Cluster, ClusterOptions, Constellation, Counters, Grafana, Interrupt, Station, outln,
};

use anomalies::Anomalies;
use balance::Balance;
use rows::Stored;
use screen::{Figures, Screen};

/// 100 satellites at 10 frames a second, one in ten of them attitude, make 16,400 values a second.
const SATELLITES: u32 = 100;
const RATE: u32 = 10;

/// Chance per satellite and second that an anomaly starts: the first is found within half a minute.
const ANOMALIES: f64 = 0.02;

const DATABASE: &str = "orbitstream";

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Flies 100 satellites into a ground station with a private database, and shows it.
///
/// Ends on Ctrl-C, with a ledger of every frame; the database goes with it. Logs and reports stay in
/// target/demo.
#[derive(Debug, Parser)]
struct Options {
    /// End after this many seconds [default: on Ctrl-C]
    #[arg(
        long,
        env = "DEMO_SECONDS",
        value_name = "SECONDS",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    seconds: RunTime,
}

fn main() -> ExitCode {
    exit_code("demo", run(&Options::parse()))
}

/// Runs the demo; true if the final ledger balances.
fn run(options: &Options) -> Result<bool> {
    let RunTime(duration) = options.seconds;
    let interrupt = Interrupt::listen()?;
    let folder = folder()?;
    let _lock = lock(&folder)?;

    outln!("Starting a private PostgreSQL ...")?;
    let cluster = Cluster::start_with(&ClusterOptions { durable: true, ..Default::default() })?;
    cluster.create_database(DATABASE)?;
    Station::migrate(&cluster.url(DATABASE), &[])?;
    let writer_url =
        cluster.url_as("orbitstream_writer", Some(&login(&cluster, "writer")?), DATABASE);

    outln!("Starting the ground station ...")?;
    // A demo that was killed has left what its own database did not have yet.
    remove_folder(&folder.join("journal"))?;
    let mut station = Station::start(&writer_url, &folder, USUAL_PORTS, &[])?;
    let source = Source {
        address: format!("127.0.0.1:{}", cluster.port()),
        database: DATABASE.into(),
        password: login(&cluster, "reader")?,
    };
    let _url = UrlFile::write(&folder, &cluster.url_as(READER, Some(&source.password), DATABASE))?;
    let mut grafana = Grafana::start_if_installed(&source, Access::LookOnly, &folder)?;
    outln!("Starting {SATELLITES} satellites ...")?;
    let mut constellation = Constellation::start(
        station.target(),
        &folder,
        &[
            &format!("--satellites={SATELLITES}"),
            &format!("--rate={RATE}"),
            &format!("--anomalies={ANOMALIES}"),
        ],
    )?;

    let mut notes = notes(&cluster, &station, duration)?;
    notes.extend(grafana.as_mut().map(|grafana| match grafana.check_running() {
        Ok(()) => format!("Grafana      {}", grafana.url()),
        // The rest is the end of its log.
        Err(error) => format!("Grafana      {}", error.to_string().lines().next().unwrap_or("?")),
    }));
    let mut screen = Screen::new(notes)?;
    watch(&cluster, &mut station, &mut constellation, &mut screen, &interrupt, duration)?;

    outln!("\nStopping ...")?;
    let truth = constellation.stop()?;
    station.wait_until_quiet()?;
    let counters = station.stop()?;
    let stored = Stored::count(&cluster, DATABASE)?;
    let balance = Balance { truth: &truth, counters: &counters, stored: &stored };
    outln!("\n{}", balance.page())?;
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
    loop {
        // A machine too busy for one drawing a second leaves some out, and the time stays right.
        let due = Duration::from_secs(start.elapsed().as_secs()) + REFRESH_INTERVAL;
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
        let capacity = screen.measure();
        let satellites = rows::newest(cluster, DATABASE, capacity.satellites)?;
        let anomalies = Anomalies::ask(cluster, DATABASE, capacity.anomalies)?;
        screen.show(&Figures {
            elapsed: due,
            frames_per_second,
            values_per_second,
            counters: &counters,
            satellites: &satellites,
            anomalies: &anomalies,
        })?;
        before = Some((now, counters));
    }
    Ok(())
}

/// Lets one of the two roles log in with a new password.
fn login(cluster: &Cluster, role: &str) -> Result<String> {
    let password = random_password();
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
        format!("database     {kind}; {end}"),
        format!("             {}", cluster.psql_command(DATABASE)),
    ])
}

/// A number of seconds, or nothing for as long as it is not interrupted.
#[derive(Clone, Copy, Debug)]
struct RunTime(Option<Duration>);

impl FromStr for RunTime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `make demo` without DEMO_SECONDS sets it to nothing.
        if text.is_empty() {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(seconds) if seconds > 0 => Ok(Self(Some(Duration::from_secs(seconds)))),
            _ => Err("not a whole number of seconds, 1 or more"),
        }
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

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Tells `make grafana` where the database is, as long as the demo runs.
struct UrlFile(PathBuf);

impl UrlFile {
    fn write(folder: &Path, url: &str) -> Result<Self> {
        let path = folder.join("database-url");
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{url}"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for UrlFile {
    fn drop(&mut self) {
        // One that stays behind names a database that is gone, which `make grafana` then says.
        let _ = fs::remove_file(&self.0);
    }
}

/// Two demos at once would write each other's reports.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!("another demo is running: end that one first"),
        Err(fs::TryLockError::Error(error)) => Err(io::Error::into(error)),
    }
}
