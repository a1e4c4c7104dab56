//! Pictures of the dashboards as a real Grafana and a real browser show them.
//!
//! `make grafana-shots` runs it. It starts a private database, a ground station, satellites whose
//! links are not perfect, and the Grafana that is on the PATH. An hour and a half passes in the
//! first minute, so that curves have a shape; then the satellites fly in real time for
//! `SHOTS_SECONDS` (180 unless set), and each dashboard becomes a PNG in `grafana-shots/` beside its
//! program's folder (`target/grafana-shots/`). Whatever ends it, nothing of what it started goes on
//! running.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use harness::grafana::{Access, NOT_FOUND, Source, random_password};
use harness::outln;
use harness::output::exit_code;
use harness::{Cluster, Constellation, Grafana, Program, Station};

const DATABASE: &str = "orbitstream";

/// Enough satellites for tables and "worst of" lists to mean something.
const CONSTELLATION: [&str; 2] = ["--satellites=100", "--rate=5"];
/// The past: an orbit's worth of curves, which ends as the present begins.
const PAST: [&str; 3] = ["--boot=1", "--speed=90", "--duration=60s"];
const PAST_MINUTES: u64 = 90;
/// The present, with every kind of fault, and sensors that go wrong.
const PRESENT: [&str; 7] = [
    "--anomalies=0.004",
    "--boot=2",
    "--drop=0.003",
    "--corrupt=0.002",
    "--duplicate=0.001",
    "--reorder=0.004",
    "--burst-loss=0.0005,0.2",
];

/// Name of the dashboard, height of its picture, further parameters, minutes shown.
const SHOTS: [(&str, u32, &str, u64); 5] = [
    ("overview", 1_000, "", 2),
    ("satellite", 2_700, "&var-satellite=SAT-03", PAST_MINUTES),
    ("links", 1_250, "", 2),
    ("ingest", 1_250, "", 2),
    ("anomalies", 1_000, "", PAST_MINUTES),
];
const WIDTH: u32 = 1_600;

const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// How long one picture may take.
const SHOT_DURATION_MAX: Duration = Duration::from_secs(120);
/// Milliseconds of the browser's own time in which a page has to be complete.
const PAGE_BUDGET_MS: u32 = 25_000;

/// Draws every dashboard with live data into target/grafana-shots, with the Grafana and the Chromium
/// that are installed.
#[derive(Debug, Parser)]
struct Options {
    /// How long the satellites fly before the pictures are taken
    #[arg(long, env = "SHOTS_SECONDS", default_value_t = 180)]
    seconds: u64,
}

fn main() -> ExitCode {
    exit_code("grafana-shots", run(&Options::parse()).map(|()| true))
}

fn run(options: &Options) -> Result<()> {
    let browser = browser()?;
    let folder = folder()?;
    let cluster = Cluster::start()?;
    cluster.create_database(DATABASE)?;
    Station::migrate(&cluster.url(DATABASE), &[])?;
    let writer = cluster.url_as("orbitstream_writer", Some(&login(&cluster, "writer")?), DATABASE);
    let source = Source {
        address: format!("127.0.0.1:{}", cluster.port()),
        database: DATABASE.into(),
        password: login(&cluster, "reader")?,
    };
    let grafana = Grafana::start_if_installed(&source, Access::LookOnly, &folder)?;
    let mut grafana = grafana.context(NOT_FOUND)?;
    let station = Station::start(&writer, &folder, harness::station::USUAL_PORTS, &[])?;
    outln!("Grafana      {}", grafana.url())?;

    let duration = Duration::from_secs(options.seconds);
    outln!(
        "Flying 100 satellites for {PAST_MINUTES} minutes in one, then {} s ...",
        duration.as_secs()
    )?;
    let start = format!("--start={}", ago(&cluster, PAST_MINUTES)?);
    let past = [&CONSTELLATION[..], &PAST, &[&start]].concat();
    Constellation::fly(station.target(), &folder, &past)?;
    let present = [&CONSTELLATION[..], &PRESENT].concat();
    let mut constellation = Constellation::start(station.target(), &folder, &present)?;
    thread::sleep(duration);
    constellation.check_running()?;
    grafana.wait_until_ready()?;
    let address = grafana.url();
    for (name, height, parameters, minutes) in SHOTS {
        let picture = folder.join(format!("{name}.png"));
        shoot(&browser, &folder, &picture, height, &page(&address, name, parameters, minutes)?)?;
        outln!("{}", picture.display())?;
    }
    constellation.check_running()
}

/// The time so many minutes ago, as satsim reads it.
fn ago(cluster: &Cluster, minutes: u64) -> Result<String> {
    cluster.sql(
        DATABASE,
        &format!(
            "SELECT to_char((now() - INTERVAL '{minutes} minutes') AT TIME ZONE 'UTC',
                            'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        ),
    )
}

/// The dashboard's page. The time range is fixed: the browser's clock runs ahead while it draws.
fn page(address: &str, name: &str, parameters: &str, minutes: u64) -> Result<String> {
    let to = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let from = to - minutes * 60;
    Ok(format!(
        "{address}/d/orbitstream-{name}?orgId=1&kiosk=tv&refresh=&from={from}000&to={to}000{parameters}"
    ))
}

/// Lets the browser draw `page` into `picture`.
fn shoot(browser: &Path, folder: &Path, picture: &Path, height: u32, page: &str) -> Result<()> {
    let profile = tempfile::tempdir()?;
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--hide-scrollbars")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={WIDTH},{height}"))
        .arg(format!("--virtual-time-budget={PAGE_BUDGET_MS}"))
        .arg(format!("--screenshot={}", picture.display()));
    // Its sandbox refuses to work for root. It opens one page, of this machine's own.
    if nix::unistd::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    let mut program = Program::start(command.arg(page), &folder.join("browser.log"))?;
    program.wait_for_success(SHOT_DURATION_MAX)?;
    if !picture.is_file() {
        bail!("the browser wrote no {}: see browser.log beside it", picture.display());
    }
    Ok(())
}

fn browser() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .flat_map(|folder| BROWSERS.map(|name| folder.join(name)))
        .find(|program| program.is_file())
        .with_context(|| format!("none of {} is on the PATH", BROWSERS.join(", ")))
}

/// Lets a role in, and gives back its password.
fn login(cluster: &Cluster, role: &str) -> Result<String> {
    let password = random_password();
    cluster.sql(DATABASE, &format!("ALTER ROLE orbitstream_{role} PASSWORD '{password}'"))?;
    Ok(password)
}

/// Where the pictures and logs go.
fn folder() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("a folder above the program's")?;
    let folder = target.join("grafana-shots");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
