//! A round that is being played: the programs of it, and what is done to them step by step.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::field::{Field, ports};
use super::flight::{self, LAND_DURATION_MAX};
use super::forged::Forger;
use super::judge::Down;
use super::person::Lock;
use super::planted;
use super::twin::{Landed, Twin};
use super::{Action, Damage, Kind, Plan};
use crate::proxy::{Counts, Passage, Proxy};
use crate::tap::Tap;
use crate::{Counters, Station};

/// A round that is being played.
pub(super) struct Scene<'a> {
    pub(super) field: &'a Field,
    pub(super) plan: &'a Plan,
    pub(super) database: &'static str,
    url: String,
    journal: PathBuf,
    pub(super) folder: PathBuf,
    ports: (u16, u16),
    proxy: Proxy,
    pub(super) tap: Tap,
    station: Option<Station>,
    /// How many writers it has.
    writers: u8,
    /// How often the station was started.
    pub(super) starts: u32,
    pub(super) downs: Vec<Down>,
    /// Of the stations that have ended in order; the last one's is the last.
    pub(super) reports: Vec<Counters>,
    pub(super) memory_mib: f64,
    /// What was wrong while it was played.
    pub(super) wrong: Vec<String>,
    twin: Option<Twin>,
    pub(super) forger: Forger,
    /// Datagrams with planted headers that were sent.
    pub(super) planted: u64,
    lock: Option<Lock>,
}

/// What a round has come to.
pub(super) struct Flown {
    /// Frames that satellites have generated.
    pub(super) generated: u64,
    /// How long the station had to go on after the last frame.
    pub(super) quiet: Duration,
    /// The second station, if there was one.
    pub(super) twin: Option<Landed>,
}

impl<'a> Scene<'a> {
    /// A round on a database; its files go to a folder that is there.
    pub(super) fn new(
        field: &'a Field,
        plan: &'a Plan,
        database: &'static str,
        folder: PathBuf,
    ) -> Result<Self> {
        let proxy = Proxy::start(([127, 0, 0, 1], field.cluster.port()).into(), plan.seed)?;
        Ok(Self {
            field,
            plan,
            database,
            url: proxy.url(&field.url(database))?,
            journal: folder.join("journal"),
            folder,
            ports: ports(),
            proxy,
            tap: Tap::start()?,
            station: None,
            writers: plan.writers,
            starts: 0,
            downs: Vec::new(),
            reports: Vec::new(),
            memory_mib: 0.0,
            wrong: Vec::new(),
            twin: None,
            forger: Forger::new()?,
            planted: 0,
            lock: None,
        })
    }

    /// What the proxy did.
    pub(super) fn cuts(&self) -> Counts {
        self.proxy.counts()
    }

    pub(super) fn play(&mut self) -> Result<Flown> {
        let plan = self.plan;
        self.start_station(plan.writers, false)?;
        let target = self.tap.address().to_string();
        let boot_count = flight::boot(plan);
        let mut satellites = flight::launch(plan, &target, &self.folder, boot_count, plan.flight)?;
        let start = Instant::now();
        for &(at, action) in &plan.steps {
            thread::sleep(at.saturating_sub(start.elapsed()));
            if let Some(station) = &mut self.station {
                station.program().check_running()?;
            }
            if let Some(twin) = &mut self.twin {
                twin.check_running()?;
            }
            self.act(action).with_context(|| format!("at {} ms, {action:?}", at.as_millis()))?;
        }
        // Whatever the plan was, in the end all is well again.
        self.lock = None;
        self.proxy.cut_commits(None);
        self.proxy.set_passage(Passage::Open)?;
        self.field.start_database()?;
        self.field.end_restoring()?;
        self.act(Action::Resume)?;
        self.act(Action::Start { writers: plan.writers, repeats: false })?;
        satellites.program().wait(plan.flight + LAND_DURATION_MAX)?;
        let truth = satellites.land()?;
        flight::wait_until_tap_has_seen(&self.tap, truth.sent)?;
        let station = self.station.as_mut().context("no station")?;
        let quiet = if self.starts == 1 {
            flight::wait_until_quiet(station)?
        } else {
            flight::wait_until_backlog_is_stored(station)?
        };
        let twin = self.twin.take().map(|twin| twin.land(plan)).transpose()?;
        if let Some(twin) = &twin {
            self.reports.push(twin.counters.clone());
            self.memory_mib = self.memory_mib.max(twin.memory_mib);
        }
        self.stop_station()?;
        let generated = truth.generated + twin.as_ref().map_or(0, |twin| twin.generated);
        Ok(Flown { generated, quiet, twin })
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
            Action::Lock if field.is_up.get() => self.lock()?,
            Action::Crash if field.is_up.get() => field.cluster.restart_immediate()?,
            // It is gone already, and with it whoever would lock something.
            Action::Terminate | Action::Crash | Action::Lock => {}
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
            Action::Kill { damage } => self.kill_station(damage)?,
            Action::Stop => {
                self.act(Action::Resume)?;
                self.stop_station()?;
            }
            Action::Plant => self.plant()?,
            Action::Forge => {
                if let Some(station) = &self.station {
                    let (satellites, boot_count) = (self.plan.satellites, flight::boot(self.plan));
                    self.forger.send(station.target(), satellites, boot_count)?;
                }
            }
            Action::Unlock => self.lock = None,
            Action::CountConnections => self.count_connections()?,
            Action::BeginRestoring => field.begin_restoring(self.database)?,
            Action::EndRestoring => field.end_restoring()?,
            Action::Clone => {
                let folder = self.folder.join("second");
                let twin = Twin::start(field, self.plan, &self.url, &self.journal, &folder)?;
                self.twin = Some(twin);
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
        let options = self.field.station_options(&self.journal, writers);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut station = Station::launch(&self.url, &folder, self.ports, &options)?;
        station.wait_until_listening()?;
        self.tap.open(station.target().parse()?, repeats)?;
        self.station = Some(station);
        self.writers = writers;
        Ok(())
    }

    fn kill_station(&mut self, damage: Option<Damage>) -> Result<()> {
        let Some(mut station) = self.station.take() else { return Ok(()) };
        self.memory_mib = self.memory_mib.max(station.program().memory_mib_max()?);
        let at = Instant::now();
        // Satellites go on while it dies.
        station.kill()?;
        self.tap.shut()?;
        let shut = Instant::now();
        let done = damage.map(|damage| damage.inflict(&self.journal)).transpose()?;
        let done = done.unwrap_or_default();
        if self.field.has_journal() {
            // As it was found, for whoever wants to know why a round failed.
            let found = self.folder.join(format!("journal-after-{}", self.starts));
            flight::copy_files(&self.journal, &found)?;
        }
        self.downs.push(Down { at, shut, torn_octets: done.torn_octets, damaged: done.frames });
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

    /// Sends what a stranger would plant, past the tap.
    fn plant(&mut self) -> Result<()> {
        let Some(station) = &self.station else { return Ok(()) };
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        for datagram in planted::datagrams(&self.journal)? {
            socket.send_to(&datagram, station.target())?;
            self.planted += 1;
        }
        Ok(())
    }

    fn lock(&mut self) -> Result<()> {
        self.lock = Lock::take(self.field, self.database)?;
        // With other faults, a session that does not go on may hold the table.
        if self.lock.is_none() && self.plan.kinds == [Kind::Lock] {
            self.wrong.push("the table could not be locked".to_owned());
        }
        Ok(())
    }

    fn count_connections(&mut self) -> Result<()> {
        if !self.field.is_up.get() {
            return Ok(());
        }
        let connections: u64 = self.field.sql(self.database, CONNECTIONS)?.parse()?;
        let max = u64::from(self.writers) + 1;
        if connections > max {
            self.wrong.push(format!("{connections} connections, of {max} at most"));
        }
        Ok(())
    }

    pub(super) fn folder_of_station(&self) -> PathBuf {
        self.folder.join(format!("station-{}", self.starts))
    }
}

const TERMINATE: &str = "
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'orbitstream receiver'";

const CONNECTIONS: &str = "
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'orbitstream receiver'";
