//! The ground station and the satellites as programs: how they are started, asked and stopped.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ledger::read_report;
use crate::program::sibling;
use crate::{Counters, Program, Truth};

/// The usual ports, which the demo takes if they are free.
pub const USUAL_PORTS: (u16, u16) = (10_015, 3_000);

/// The reports' names in the folder that a program was started with.
pub const RECEIVER_REPORT: &str = "receiver.json";
/// See [`RECEIVER_REPORT`].
pub const SATSIM_REPORT: &str = "satsim.json";

/// How long the station may take to be ready, to be done with what was sent, and to stop.
const READY_DURATION_MAX: Duration = Duration::from_secs(30);
const QUIET_DURATION_MAX: Duration = Duration::from_secs(20);
const STOP_DURATION_MAX: Duration = Duration::from_secs(30);

/// How long satellites may fly that stop by themselves.
const FLIGHT_DURATION_MAX: Duration = Duration::from_secs(600);

/// How often it is asked while waiting for these.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The same for one that has just been started.
const LISTEN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// An answer that takes longer than this is no answer.
const HTTP_DURATION_MAX: Duration = Duration::from_secs(5);

/// A running receiver.
#[derive(Debug)]
pub struct Station {
    program: Program,
    http: ureq::Agent,
    http_address: String,
    target: String,
    report: PathBuf,
}

impl Station {
    /// Makes the tables.
    pub fn migrate(database_url: &str, options: &[&str]) -> Result<()> {
        let output = Command::new(sibling("receiver")?)
            .arg("migrate")
            .args(options)
            .env("DATABASE_URL", database_url)
            .output()
            .context("cannot run receiver")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("receiver migrate: {}", message.trim());
        }
        Ok(())
    }

    /// Starts the receiver with these UDP and HTTP ports, or the next ones that are free, and waits
    /// until it is ready; log and report go to `folder`.
    pub fn start(
        database_url: &str,
        folder: &Path,
        (telemetry_port, http_port): (u16, u16),
        options: &[&str],
    ) -> Result<Self> {
        let mut station = Self::launch(database_url, folder, (telemetry_port, http_port), options)?;
        station.wait_until_ready()?;
        Ok(station)
    }

    /// As [`Station::start`], without waiting.
    pub fn launch(
        database_url: &str,
        folder: &Path,
        (telemetry_port, http_port): (u16, u16),
        options: &[&str],
    ) -> Result<Self> {
        let command = Command::new(sibling("receiver")?);
        Self::launch_by(command, database_url, folder, (telemetry_port, http_port), options)
    }

    /// As [`Station::launch`], by a command of which the receiver is the last word.
    pub fn launch_by(
        mut command: Command,
        database_url: &str,
        folder: &Path,
        (telemetry_port, http_port): (u16, u16),
        options: &[&str],
    ) -> Result<Self> {
        let target = free_address(telemetry_port, |address| UdpSocket::bind(address).is_ok())?;
        let http_address = free_address(http_port, |address| TcpListener::bind(address).is_ok())?;
        let report = fresh(folder, RECEIVER_REPORT)?;
        // Its own: what another test has left is none of its business.
        let journal = folder.join("journal");
        let has_journal = options.contains(&"--journal");
        let program = Program::start(
            command
                .arg("run")
                .args(["--listen", &target, "--http", &http_address])
                .arg("--report")
                .arg(&report)
                .args(options)
                .args((!has_journal).then_some("--journal"))
                .args((!has_journal).then_some(journal))
                .env("DATABASE_URL", database_url),
            &folder.join("receiver.log"),
        )?;
        let http = ureq::Agent::config_builder()
            .timeout_global(Some(HTTP_DURATION_MAX))
            .proxy(None)
            .http_status_as_error(false)
            .build()
            .new_agent();
        Ok(Self { program, http, http_address, target, report })
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Where the satellites send to.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Where its HTTP interface is.
    pub fn http_address(&self) -> &str {
        &self.http_address
    }

    /// The counters of this moment.
    pub fn counters(&mut self) -> Result<Counters> {
        self.program.check_running()?;
        let text = self.get("/stats").or_else(|error| {
            // Most likely it has just died: then its log says more.
            thread::sleep(POLL_INTERVAL);
            self.program.check_running()?;
            Err(error).context("the receiver does not answer /stats")
        })?;
        serde_json::from_str(&text).context("cannot read the receiver's /stats")
    }

    /// Waits until everything received is stored.
    pub fn wait_until_quiet(&mut self) -> Result<()> {
        self.wait_until_quiet_within(QUIET_DURATION_MAX)
    }

    /// The same with another patience.
    pub fn wait_until_quiet_within(&mut self, duration_max: Duration) -> Result<()> {
        let start = Instant::now();
        let mut before = self.counters()?;
        while start.elapsed() < duration_max {
            thread::sleep(POLL_INTERVAL);
            let now = self.counters()?;
            if now.pending == 0 && now.frames == before.frames {
                return Ok(());
            }
            before = now;
        }
        // The final ledger will show what is missing.
        Ok(())
    }

    /// Stops the receiver and gives back its last word.
    pub fn stop(mut self) -> Result<Counters> {
        self.program.interrupt()?;
        self.program.wait_for_success(STOP_DURATION_MAX)?;
        read_report(&self.report)
    }

    /// Waits until the receiver can store.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.program.check_running()?;
            match self.get("/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > READY_DURATION_MAX => {
                    return Err(error).with_context(|| {
                        let seconds = READY_DURATION_MAX.as_secs();
                        let log = self.program.log_tail();
                        format!("the receiver is not ready after {seconds} s; its log:\n{log}")
                    });
                }
                Err(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Waits until the receiver listens, whether it has a database or not.
    pub fn wait_until_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = self.get("/healthz") {
            self.program.check_running()?;
            if start.elapsed() > READY_DURATION_MAX {
                let (seconds, log) = (READY_DURATION_MAX.as_secs(), self.program.log_tail());
                let message =
                    format!("the receiver does not listen after {seconds} s; its log:\n{log}");
                return Err(error).context(message);
            }
            thread::sleep(LISTEN_POLL_INTERVAL);
        }
        Ok(())
    }

    /// Kills the receiver, as the kernel does when memory is short. Nothing is written any more.
    pub fn kill(mut self) -> Result<()> {
        self.program.kill()
    }

    /// Posts a JSON body to `/telemetry`: status and answer.
    pub fn post(&self, body: impl AsRef<[u8]>) -> Result<(u16, String)> {
        let url = format!("http://{}/telemetry", self.http_address);
        let mut answer = self.http.post(&url).send(body.as_ref())?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    /// Asks for a page: status and answer.
    pub fn ask(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.http_address);
        let mut answer = self.http.get(&url).call()?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    /// Asks for a page; an answer other than 200 is an error.
    pub fn get(&self, path: &str) -> Result<String> {
        let (status, text) = self.ask(path)?;
        if status != 200 {
            bail!("http://{}{path}: {status}: {text}", self.http_address);
        }
        Ok(text)
    }
}

/// A running satsim.
#[derive(Debug)]
pub struct Constellation {
    program: Program,
    report: PathBuf,
}

impl Constellation {
    /// Starts satellites that send to `target`.
    pub fn start(target: &str, folder: &Path, options: &[&str]) -> Result<Self> {
        let report = fresh(folder, SATSIM_REPORT)?;
        let program = Program::start(
            Command::new(sibling("satsim")?)
                .args(["--target", target])
                .arg("--report")
                .arg(&report)
                .args(options),
            &folder.join("satsim.log"),
        )?;
        Ok(Self { program, report })
    }

    /// Lets satellites fly that stop by themselves, and gives back what they sent.
    pub fn fly(target: &str, folder: &Path, options: &[&str]) -> Result<Truth> {
        Self::start(target, folder, options)?.land()
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// An error if it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.program.check_running()
    }

    /// Waits until the satellites have stopped by themselves, and gives back what they sent.
    pub fn land(mut self) -> Result<Truth> {
        self.program.wait_for_success(FLIGHT_DURATION_MAX)?;
        read_report(&self.report)
    }

    /// Stops the satellites and gives back what they sent.
    pub fn stop(mut self) -> Result<Truth> {
        self.program.interrupt()?;
        self.program.wait_for_success(STOP_DURATION_MAX)?;
        read_report(&self.report)
    }
}

/// `127.0.0.1` with the usual port, or with the next one that is free.
pub fn free_address(port: u16, is_free: impl Fn(&str) -> bool) -> Result<String> {
    (port..=u16::MAX)
        .map(|port| format!("127.0.0.1:{port}"))
        .find(|address| is_free(address))
        .with_context(|| format!("no port from {port} on is free on 127.0.0.1"))
}

/// Path of a file that is not there yet, so that no earlier run's is read in its place.
fn fresh(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(path)
}
