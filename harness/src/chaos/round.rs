//! Where rounds are run, and how one is.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use protocol::{attitude, health};

use super::judge::{Down, Row, Rules, judge};
use super::{Action, Kind, Outcome, Plan};
use crate::program::sibling;
use crate::proxy::{Passage, Proxy};
use crate::station::{RECEIVER_REPORT, SATSIM_REPORT};
use crate::tap::{Stream, Tap};
use crate::{
    Cluster, ClusterOptions, Constellation, Counters, Reports, Station, StopMode, Truth,
    Verification,
};

/// What rounds are held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long before a kill a frame may have been sent and yet be lost.
    pub loss_window: Duration,
    /// What the station may have resident, in MiB.
    pub memory_mib_max: f64,
    /// Whether the station keeps a journal, where it can.
    pub journal: bool,
    /// Whether commits of the database survive a crash of the machine, as in operation.
    pub durable: bool,
    /// Further options of the receiver.
    pub receiver: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss_window: Duration::from_millis(100),
            memory_mib_max: 300.0,
            journal: true,
            durable: false,
            receiver: Vec::new(),
        }
    }
}

/// A place to run rounds in.
#[derive(Debug)]
pub struct Field {
    pub(super) cluster: Cluster,
    /// Whether the server is up, as far as this program has had a hand in it.
    is_up: Cell<bool>,
    /// Whether the receiver that is built here can keep a journal.
    knows_journal: bool,
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
}

impl Field {
    /// Starts a server with plain tables and, where it can, hypertables. Each round leaves its logs
    /// and reports in a folder of its own in `folder`.
    pub fn start(folder: &Path, settings: Settings) -> Result<Self> {
        let options = ClusterOptions { durable: settings.durable, ..Default::default() };
        let cluster = Cluster::start_with(&options)?;
        for (database, timescaledb) in [(PLAIN, "false"), (HYPER, "true")] {
            cluster.create_database(database)?;
            Station::migrate(&cluster.url(database), &["--timescaledb", timescaledb])?;
            cluster.sql(database, NUMBER_ROWS)?;
        }
        let password = format!("ALTER ROLE {WRITER} PASSWORD '{PASSWORD}'");
        cluster.sql(PLAIN, &password)?;
        let knows_journal = knows_journal()?;
        let folder = folder.to_owned();
        Ok(Self { cluster, is_up: Cell::new(true), knows_journal, folder, settings })
    }

    /// What can go wrong here: all, or what a station without a journal stands.
    pub fn kinds(&self) -> Vec<Kind> {
        let all = Kind::ALL.into_iter();
        all.filter(|kind| self.has_journal() || !kind.needs_journal()).collect()
    }

    /// Runs a round.
    pub fn run(&self, plan: &Plan) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome::new(plan);
        if let Err(error) = self.try_run(plan, &mut outcome) {
            outcome.wrong.push(format!("{error:#}"));
        }
        outcome.duration = start.elapsed();
        let folder = self.folder_of(plan);
        if outcome.wrong.is_empty() {
            // What is left of a round in which all was well tells nobody anything.
            let _ = fs::remove_dir_all(folder);
        } else {
            outcome.wrong.push(format!("logs and reports are in {}", folder.display()));
        }
        outcome
    }

    /// Whether its stations keep a journal.
    pub fn has_journal(&self) -> bool {
        self.knows_journal && self.settings.journal
    }

    /// The receiver's options about its journal.
    pub(super) fn journal_options(&self, folder: &Path) -> Vec<String> {
        let folder = folder.display().to_string();
        match (self.knows_journal, self.settings.journal) {
            (false, _) => Vec::new(),
            (true, true) => vec!["--journal".into(), folder],
            (true, false) => vec!["--journal".into(), "off".into()],
        }
    }

    /// Where a station reaches a database.
    pub(super) fn url(&self, database: &str) -> String {
        self.cluster.url_as(WRITER, Some(PASSWORD), database)
    }

    fn folder_of(&self, plan: &Plan) -> PathBuf {
        self.folder.join(format!("seed-{}", plan.seed))
    }

    fn try_run(&self, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
        let folder = self.folder_of(plan);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        self.start_database()?;
        let database = if plan.has_hypertables { HYPER } else { PLAIN };
        self.sql(database, EMPTY)?;
        if plan.begins_without_database() {
            self.stop_database(StopMode::Fast)?;
        }
        let proxy = Proxy::start(([127, 0, 0, 1], self.cluster.port()).into(), plan.seed)?;
        let url = self.url(database);
        let mut scene = Scene {
            field: self,
            plan,
            database,
            url: proxy.url(&url)?,
            journal: folder.join("journal"),
            folder,
            ports: ports(),
            proxy,
            tap: Tap::start()?,
            station: None,
            starts: 0,
            downs: Vec::new(),
            reports: Vec::new(),
            memory_mib: 0.0,
        };
        let flown = scene.play();
        outcome.cuts = scene.proxy.counts();
        outcome.memory_mib = scene.memory_mib;
        let flown = flown?;
        outcome.generated = flown.truth.generated;
        outcome.quiet = flown.quiet;
        outcome.counters = scene.reports.last().cloned();
        scene.examine(&flown, outcome)
    }

    pub(super) fn start_database(&self) -> Result<()> {
        if !self.is_up.replace(true) {
            self.cluster.start_again()?;
        }
        Ok(())
    }

    pub(super) fn stop_database(&self, mode: StopMode) -> Result<()> {
        if self.is_up.replace(false) {
            self.cluster.stop(mode)?;
        }
        Ok(())
    }

    pub(super) fn sql(&self, database: &str, statements: &str) -> Result<String> {
        self.cluster.sql(database, &format!("SET statement_timeout = '60s';\n{statements}"))
    }
}

fn knows_journal() -> Result<bool> {
    let help = Command::new(sibling("receiver")?).args(["run", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--journal "))
}

/// A round that is being played.
struct Scene<'a> {
    field: &'a Field,
    plan: &'a Plan,
    database: &'static str,
    url: String,
    journal: PathBuf,
    folder: PathBuf,
    ports: (u16, u16),
    proxy: Proxy,
    tap: Tap,
    station: Option<Station>,
    /// How often the station was started.
    starts: u32,
    downs: Vec<Down>,
    /// Of the stations that have ended in order.
    reports: Vec<Counters>,
    memory_mib: f64,
}

/// What a round has come to.
struct Flown {
    truth: Truth,
    /// How long the station had to go on after the last frame.
    quiet: Duration,
}

impl Scene<'_> {
    fn play(&mut self) -> Result<Flown> {
        self.start_station(self.plan.writers, false)?;
        let mut satellites = self.launch()?;
        let start = Instant::now();
        for &(at, action) in &self.plan.steps {
            thread::sleep(at.saturating_sub(start.elapsed()));
            if let Some(station) = &mut self.station {
                station.program().check_running()?;
            }
            self.act(action).with_context(|| format!("at {} ms, {action:?}", at.as_millis()))?;
        }
        // Whatever the plan was, in the end all is well again.
        self.proxy.cut_commits(None);
        self.proxy.set_passage(Passage::Open)?;
        self.field.start_database()?;
        self.act(Action::Resume)?;
        self.act(Action::Start { writers: self.plan.writers, repeats: false })?;
        satellites.program().wait(self.plan.flight + LAND_DURATION_MAX)?;
        let truth = satellites.land()?;
        let landed = Instant::now();
        while self.tap.seen() < truth.sent {
            ensure!(
                landed.elapsed() < TAP_DURATION_MAX,
                "the tap has lost frames, not the station"
            );
            thread::sleep(POLL_INTERVAL);
        }
        let quiet = self.wait_until_quiet()?;
        self.stop_station()?;
        Ok(Flown { truth, quiet })
    }

    fn launch(&self) -> Result<Constellation> {
        let plan = self.plan;
        let rate = f64::from(plan.rate) / f64::from(plan.satellites);
        let options = [
            format!("--satellites={}", plan.satellites),
            format!("--rate={rate}"),
            format!("--frames-per-datagram={}", plan.frames_per_datagram),
            format!("--duration={}ms", plan.flight.as_millis()),
            format!("--seed={}", plan.seed),
            format!("--boot={}", boot(plan)),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Constellation::start(&self.tap.address().to_string(), &self.folder, &options)
    }

    fn act(&mut self, action: Action) -> Result<()> {
        let field = self.field;
        match action {
            Action::Cut(how) => self.proxy.cut(how),
            Action::Commits(commits) => self.proxy.cut_commits(commits),
            Action::Passage(passage) => self.proxy.set_passage(passage)?,
            Action::Terminate if field.is_up.get() => {
                field.sql(self.database, TERMINATE)?;
            }
            Action::Crash if field.is_up.get() => field.cluster.restart_immediate()?,
            // It is gone already.
            Action::Terminate | Action::Crash => {}
            Action::StopDatabase(mode) => field.stop_database(mode)?,
            Action::StartDatabase => field.start_database()?,
            Action::Pause => {
                if let Some(station) = &mut self.station {
                    station.program().pause()?;
                }
            }
            Action::Resume => {
                if let Some(station) = &mut self.station {
                    station.program().resume()?;
                }
            }
            Action::Kill { torn_octets } => self.kill_station(torn_octets)?,
            Action::Stop => {
                self.act(Action::Resume)?;
                self.stop_station()?;
            }
            Action::Start { writers, repeats } => {
                if self.station.is_none() {
                    self.start_station(writers, repeats)?;
                }
            }
        }
        Ok(())
    }

    fn start_station(&mut self, writers: u8, repeats: bool) -> Result<()> {
        self.starts += 1;
        let folder = self.folder_of_station();
        fs::create_dir_all(&folder)?;
        let writers = writers.to_string();
        let journal = self.field.journal_options(&self.journal);
        let mut options = vec!["--drain-timeout=2s", "--writers", &writers];
        options.extend(journal.iter().chain(&self.field.settings.receiver).map(String::as_str));
        let mut station = Station::launch(&self.url, &folder, self.ports, &options)?;
        station.wait_until_listening()?;
        self.tap.open(station.target().parse()?, repeats)?;
        self.station = Some(station);
        Ok(())
    }

    fn kill_station(&mut self, torn_octets: Option<u64>) -> Result<()> {
        let Some(mut station) = self.station.take() else { return Ok(()) };
        self.memory_mib = self.memory_mib.max(station.program().memory_mib_max()?);
        let at = Instant::now();
        // Satellites go on while it dies.
        station.kill()?;
        self.tap.shut()?;
        let shut = Instant::now();
        let torn_octets = torn_octets.map_or(Ok(0), |octets| tear(&self.journal, octets))?;
        if self.field.has_journal() {
            // As it was found, for whoever wants to know why a round failed.
            let found = self.folder.join(format!("journal-after-{}", self.starts));
            copy_files(&self.journal, &found)?;
        }
        self.downs.push(Down { at, shut, torn_octets });
        Ok(())
    }

    fn stop_station(&mut self) -> Result<()> {
        let Some(mut station) = self.station.take() else { return Ok(()) };
        self.tap.shut()?;
        self.memory_mib = self.memory_mib.max(station.program().memory_mib_max()?);
        let counters = station.stop()?;
        self.reports.push(counters);
        Ok(())
    }

    fn wait_until_quiet(&mut self) -> Result<Duration> {
        let station = self.station.as_mut().context("there is no station")?;
        let start = Instant::now();
        let mut before = station.counters()?;
        loop {
            thread::sleep(QUIET_INTERVAL);
            let now = station.counters()?;
            if now.pending == 0 && now.frames == before.frames {
                return Ok(start.elapsed().saturating_sub(QUIET_INTERVAL));
            }
            if start.elapsed() > QUIET_DURATION_MAX {
                let log = station.program().log_tail();
                bail!(
                    "not quiet after {QUIET_DURATION_MAX:?}: {now:?}; the receiver's log:\n{log}"
                );
            }
            before = now;
        }
    }

    fn folder_of_station(&self) -> PathBuf {
        self.folder.join(format!("station-{}", self.starts))
    }

    /// Holds the books and the rows against what was sent.
    fn examine(self, flown: &Flown, outcome: &mut Outcome) -> Result<()> {
        let plan = self.plan;
        let last_folder = self.folder_of_station();
        let is_one_life = self.starts == 1;
        let rows = self.rows()?;
        let passages = self.tap.stop()?;
        let kernel_dropped = self.reports.iter().map(|counters| counters.kernel_dropped).sum();
        let rules = Rules {
            loss_window: self.field.settings.loss_window,
            record_octets_max: RECORD_OCTETS_MAX,
            kernel_dropped,
            frames_per_datagram: plan.frames_per_datagram,
        };
        let findings = judge(&passages, &rows, &self.downs, &rules);
        outcome.wrong.extend(findings.violations());
        outcome.findings = Some(findings);
        for counters in &self.reports {
            outcome.wrong.extend(imbalance(counters));
        }
        let may_be_deaf = plan.kinds.contains(&Kind::Pause) || plan.begins_without_database();
        if kernel_dropped > 0 && !may_be_deaf {
            outcome.wrong.push(format!("the kernel dropped {kernel_dropped} datagrams"));
        }
        let last = self.reports.last().context("the station has left no report")?;
        if last.pending > 0 {
            outcome.wrong.push(format!("{} samples are pending at the end", last.pending));
        }
        if self.memory_mib > self.field.settings.memory_mib_max {
            let max = self.field.settings.memory_mib_max;
            outcome.wrong.push(format!("{:.0} MiB resident, of {max} at most", self.memory_mib));
        }
        if is_one_life {
            let reports = Reports {
                truth: &self.folder.join(SATSIM_REPORT),
                receiver: Some(&last_folder.join(RECEIVER_REPORT)),
            };
            let options: &[&str] = if kernel_dropped > 0 { &["--lossy-link"] } else { &[] };
            let url = self.field.cluster.url(self.database);
            let verification = Verification::run(reports, &url, options)?;
            if !verification.agrees {
                outcome.wrong.push(format!("satsim verify: {}", verification.verdict()));
            }
            if last.committed + kernel_dropped < flown.truth.generated {
                outcome.wrong.push(format!("{} samples committed", last.committed));
            }
        }
        Ok(())
    }

    /// What is stored, in the order in which it was.
    fn rows(&self) -> Result<Vec<Row>> {
        let boot_count = boot(self.plan);
        let mut rows = Vec::new();
        for kind in [&health::KIND, &attitude::KIND] {
            let query = format!(
                "SELECT substr(satellite_id, 5), sequence FROM {}
                 WHERE boot_count = {boot_count} ORDER BY stored_by, sequence",
                kind.table
            );
            for line in self.field.sql(self.database, &query)?.lines() {
                let (spacecraft, sequence) = line.split_once('|').context("two columns")?;
                let apid = kind.apid.number();
                let stream = Stream { spacecraft: spacecraft.parse()?, apid, boot_count };
                rows.push(Row { stream, sequence: sequence.parse()? });
            }
        }
        Ok(rows)
    }
}

/// What is wrong with the books of a station that has ended in order.
pub(super) fn imbalance(counters: &Counters) -> Vec<String> {
    let figures = [
        ("frames without a place", counters.frame_residual()),
        ("samples without a place", counters.sample_residual()),
        ("samples were dropped for want of room", counters.queue_dropped as i64),
        ("samples were quarantined", counters.quarantined as i64),
        ("frames were dropped before the quarantine", counters.quarantine_dropped as i64),
        ("frames were refused", counters.rejected_total() as i64),
    ];
    let wrong = figures.into_iter().filter(|(_, figure)| *figure != 0);
    wrong.map(|(name, figure)| format!("{figure} {name}")).collect()
}

/// Cuts so many octets off the newest segment of a journal; how many it were.
fn tear(journal: &Path, octets: u64) -> Result<u64> {
    let mut segments = Vec::new();
    let mut folders = vec![journal.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "segment") {
                // Names sort as they were made.
                segments.push((path, metadata.len()));
            }
        }
    }
    let newest = segments.into_iter().max();
    let (path, length) = newest
        .ok_or_else(|| anyhow!("there is no *.segment in the journal {}", journal.display()))?;
    let octets = octets.min(length);
    OpenOptions::new().write(true).open(&path)?.set_len(length - octets)?;
    Ok(octets)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn boot(plan: &Plan) -> u16 {
    (plan.seed % 65_536) as u16
}

/// Ports that another program is unlikely to choose at the same time: below those of the clusters,
/// and of the kernel for outgoing connections.
pub(super) fn ports() -> (u16, u16) {
    let first = rand::random_range(11_000..19_999);
    (first, first + 1)
}

pub(super) const PLAIN: &str = "plain";
pub(super) const HYPER: &str = "hyper";
const WRITER: &str = "orbitstream_writer";
const PASSWORD: &str = "only-for-this-test";

/// Rows have the number of the transaction that stored them: within one they have no order, since the
/// columnstore has the newest first.
const NUMBER_ROWS: &str = "
    ALTER TABLE telemetry ADD COLUMN stored_by bigint;
    ALTER TABLE telemetry ALTER COLUMN stored_by SET DEFAULT pg_current_xact_id()::text::bigint;
    ALTER TABLE attitude ADD COLUMN stored_by bigint;
    ALTER TABLE attitude ALTER COLUMN stored_by SET DEFAULT pg_current_xact_id()::text::bigint";

pub(super) const EMPTY: &str = "
    TRUNCATE telemetry, attitude, quarantine, rejected_frame, anomaly, link_health, station_health,
        ingest_batch";

const TERMINATE: &str = "
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'orbitstream receiver'";

/// A record of the journal holds a chunk at most.
const RECORD_OCTETS_MAX: u64 = 33 * 1_024;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the figures have to stand still.
const QUIET_INTERVAL: Duration = Duration::from_millis(400);
/// Satellites land when they have sent all.
const LAND_DURATION_MAX: Duration = Duration::from_secs(20);
const TAP_DURATION_MAX: Duration = Duration::from_secs(10);
const QUIET_DURATION_MAX: Duration = Duration::from_secs(60);
