//! The ground station and the satellites: how they are started, asked and stopped.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::ledger::read_report;
use harness::program::sibling;
use harness::{Counters, Program, Truth};

/// The usual addresses; another port is taken where one is in use.
const TELEMETRY_PORT: u16 = 10_015;
const HTTP_PORT: u16 = 3_000;

/// How long the station may take to be ready, to be done with what was sent, and to stop.
const READY_DURATION_MAX: Duration = Duration::from_secs(30);
const QUIET_DURATION_MAX: Duration = Duration::from_secs(20);
const STOP_DURATION_MAX: Duration = Duration::from_secs(30);

/// How often it is asked while waiting for these.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// An answer that takes longer than this is no answer.
const HTTP_DURATION_MAX: Duration = Duration::from_secs(5);

/// A running receiver.
pub(crate) struct Station {
    program: Program,
    http: ureq::Agent,
    http_address: String,
    target: String,
    report: PathBuf,
}

impl Station {
    /// Makes the tables.
    pub(crate) fn migrate(database_url: &str) -> Result<()> {
        let output = Command::new(sibling("receiver")?)
            .arg("migrate")
            .env("DATABASE_URL", database_url)
            .output()
            .context("cannot run receiver")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("receiver migrate: {}", message.trim());
        }
        Ok(())
    }

    /// Starts the receiver and waits until it is ready; log and report go to `folder`.
    pub(crate) fn start(database_url: &str, folder: &Path) -> Result<Self> {
        let target = free_address(TELEMETRY_PORT, |address| UdpSocket::bind(address).is_ok())?;
        let http_address = free_address(HTTP_PORT, |address| TcpListener::bind(address).is_ok())?;
        let report = fresh(folder, "receiver.json")?;
        let program = Program::start(
            Command::new(sibling("receiver")?)
                .arg("run")
                .args(["--listen", &target, "--http", &http_address])
                .arg("--report")
                .arg(&report)
                .env("DATABASE_URL", database_url),
            &folder.join("receiver.log"),
        )?;
        let http = ureq::Agent::config_builder()
            .timeout_global(Some(HTTP_DURATION_MAX))
            .proxy(None)
            .build()
            .new_agent();
        let mut station = Self {
            program,
            http,
            http_address,
            target,
            report,
        };
        station.wait_until_ready()?;
        Ok(station)
    }

    /// Where the satellites send to.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Where its HTTP interface is.
    pub(crate) fn http_address(&self) -> &str {
        &self.http_address
    }

    /// The counters of this moment.
    pub(crate) fn counters(&mut self) -> Result<Counters> {
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
    pub(crate) fn wait_until_quiet(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut before = self.counters()?;
        while start.elapsed() < QUIET_DURATION_MAX {
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
    pub(crate) fn stop(mut self) -> Result<Counters> {
        self.program.interrupt()?;
        self.program.wait_for_success(STOP_DURATION_MAX)?;
        read_report(&self.report)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
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

    fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.http_address);
        Ok(self.http.get(&url).call()?.body_mut().read_to_string()?)
    }
}

/// A running satsim.
pub(crate) struct Constellation {
    program: Program,
    report: PathBuf,
}

impl Constellation {
    /// Starts `satellites` that send to `target`, each `rate` frames a second, until stopped.
    pub(crate) fn start(target: &str, satellites: u32, rate: u32, folder: &Path) -> Result<Self> {
        let report = fresh(folder, "satsim.json")?;
        let program = Program::start(
            Command::new(sibling("satsim")?)
                .args(["--target", target])
                .args([
                    "--satellites",
                    &satellites.to_string(),
                    "--rate",
                    &rate.to_string(),
                ])
                .arg("--report")
                .arg(&report),
            &folder.join("satsim.log"),
        )?;
        Ok(Self { program, report })
    }

    /// An error if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.program.check_running()
    }

    /// Stops the satellites and gives back what they sent.
    pub(crate) fn stop(mut self) -> Result<Truth> {
        self.program.interrupt()?;
        self.program.wait_for_success(STOP_DURATION_MAX)?;
        read_report(&self.report)
    }
}

/// `127.0.0.1` with the usual port, or with the next one that is free.
pub(crate) fn free_address(port: u16, is_free: impl Fn(&str) -> bool) -> Result<String> {
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
