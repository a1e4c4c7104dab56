//! A private PostgreSQL server: made in a folder, on a free port, for as long as its owner lives.
//!
//! Guarantees: the server listens on 127.0.0.1 and on a Unix socket in a folder that only its user
//! can enter, and is stopped when the [`Cluster`] is dropped, when a panic unwinds it, and when its
//! process ends in any other way, `SIGKILL` included (see [`crate::watchdog`]). A temporary folder
//! is removed with it; a given folder stays and can be started again. When this process is root,
//! the server runs as an unprivileged user. TimescaleDB is preloaded where it is installed.
//!
//! Limits: Linux and other Unixes only. The folder and its parents must be open to the server's
//! user, which a folder under `/root` is not.

mod folder;
mod installation;
mod options;
mod programs;

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

pub use options::{ClusterOptions, StopMode};

use crate::watchdog::Watchdog;
use folder::Folder;
pub(crate) use installation::server_user;

use installation::Installation;
use programs::{clean_environment, run, run_with_input};

/// Name of the superuser that owns the databases.
pub const OWNER: &str = "orbitstream";

/// Ports to choose from: below the range from which the kernel serves outgoing connections, so
/// that a stopped server finds its port free when it is started again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How often another port is tried when somebody else takes the chosen one first.
const START_ATTEMPTS: u32 = 5;

/// Stops the server in `$2` with the program `$1` and, if `$3` is given, removes that folder.
///
/// An owner that was killed may have left behind a program that is just making or starting the
/// server: where there is nothing to stop, it is given a moment, and the removing is repeated until
/// it holds.
const STOP_AND_REMOVE: &str = r#"
tries=0
while [ "$tries" -lt 20 ]; do
    "$1" -D "$2" -m immediate -t 30 stop >/dev/null 2>&1 || {
        sleep 0.5
        "$1" -D "$2" -m immediate -t 30 stop >/dev/null 2>&1
    }
    [ -n "$3" ] || exit 0
    rm -rf "$3"
    [ -e "$3/data" ] || exit 0
    tries=$((tries + 1))
done
"#;

/// A running private PostgreSQL server.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    folder: Folder,
    user: Option<(u32, u32)>,
    port: u16,
    password: String,
    timescaledb: bool,
    watchdog: Option<Watchdog>,
}

impl Cluster {
    /// Starts a temporary cluster with the default options.
    pub fn start() -> Result<Self> {
        Self::start_with(&ClusterOptions::default())
    }

    /// Starts a durable cluster in `directory`, which is kept afterwards.
    pub fn start_in(directory: impl Into<PathBuf>) -> Result<Self> {
        Self::start_with(&ClusterOptions {
            directory: Some(directory.into()),
            durable: true,
            ..ClusterOptions::default()
        })
    }

    /// Starts a cluster as `options` say.
    pub fn start_with(options: &ClusterOptions) -> Result<Self> {
        let installation = Installation::find()?;
        let user = server_user()?;
        let folder = Folder::open(options.directory.as_deref(), user)?;
        let lock = folder.lock()?;
        let pg_ctl = installation.program("pg_ctl");
        let watchdog = Watchdog::start(
            STOP_AND_REMOVE,
            &[
                &pg_ctl.to_string_lossy(),
                &folder.data().to_string_lossy(),
                &if folder.temporary { folder.path.to_string_lossy() } else { "".into() },
            ],
            user,
            Some(lock),
        )
        .context("cannot start the shell that cleans up")?;
        // From here on, whatever fails, the watchdog cleans up.
        let password = folder.password()?;
        let timescaledb = options.timescaledb && installation.timescaledb;
        let mut cluster = Self {
            installation,
            folder,
            user,
            port: 0,
            password,
            timescaledb,
            watchdog: Some(watchdog),
        };
        cluster.initialise(options.durable)?;
        cluster.start_on_free_port(options)?;
        Ok(cluster)
    }

    /// Connection URL of the owner (a superuser) by TCP.
    pub fn url(&self, database: &str) -> String {
        self.url_as(OWNER, Some(&self.password), database)
    }

    /// Connection URL of another role by TCP. Neither name nor password is escaped.
    pub fn url_as(&self, role: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgres://{role}{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Connection URL of a role by the Unix socket, for this machine's root and the server's own
    /// user, whatever network namespace they are in. No password is asked for there.
    pub fn url_by_socket(&self, role: &str, database: &str) -> Result<String> {
        let socket = self.folder.socket_folder();
        if socket.is_empty() {
            bail!("the cluster's folder has too long a name for a Unix socket");
        }
        let host: String = socket
            .bytes()
            .map(|octet| match octet {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => {
                    char::from(octet).to_string()
                }
                _ => format!("%{octet:02X}"),
            })
            .collect();
        Ok(format!("postgres://{role}@{host}:{}/{database}", self.port))
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))?;
        Ok(())
    }

    /// The owner's password.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Whether databases of this cluster can have the extension `timescaledb`.
    pub fn has_timescaledb(&self) -> bool {
        self.timescaledb
    }

    /// The command with which a person can look into a database of this cluster.
    pub fn psql_command(&self, database: &str) -> String {
        let socket = self.folder.socket_folder();
        if socket.is_empty() {
            return format!("psql {}", self.url(database));
        }
        let command = format!("psql -h {socket} -p {} -U {OWNER}", self.port);
        // A database is named after its user unless it is said otherwise.
        if database == OWNER { command } else { format!("{command} {database}") }
    }

    /// Runs SQL as the owner, each statement by itself up to the first error, and gives back what
    /// `psql` printed: one line a row, columns separated by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        self.sql_at(&self.url(database), statements)
            .map_err(|error| anyhow!("{error:#}\n(in database {database})"))
    }

    /// The same with any server, role and database.
    pub fn sql_at(&self, url: &str, statements: &str) -> Result<String> {
        let output = run_with_input(&mut self.psql(url), statements).context("cannot run psql")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Path of its `psql`.
    pub fn psql_program(&self) -> PathBuf {
        self.installation.program("psql")
    }

    /// A `pg_dump` for the given URL, undisturbed like [`Cluster::psql`].
    pub fn pg_dump(&self, url: &str) -> Command {
        let mut command = Command::new(self.installation.program("pg_dump"));
        clean_environment(&mut command);
        command.arg("--dbname").arg(url);
        command
    }

    /// A `psql` for the given URL that reads statements from its standard input, takes no settings
    /// from the environment or the user's files, and stops at the first error.
    pub fn psql(&self, url: &str) -> Command {
        let mut command = Command::new(self.installation.program("psql"));
        clean_environment(&mut command);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", url]);
        command
    }

    /// Stops the server; its folder stays.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        self.pg_ctl(&["-m", mode.name(), "stop"]).context("PostgreSQL does not stop")
    }

    /// Starts the server again on the same port, after [`Cluster::stop`].
    pub fn start_again(&self) -> Result<()> {
        let log = self.folder.log();
        self.pg_ctl(&["-l", &log.to_string_lossy(), "start"]).with_context(|| {
            format!("PostgreSQL does not start; the end of its log:\n{}", self.folder.log_tail())
        })
    }

    /// Lets the server crash and recover.
    pub fn restart_immediate(&self) -> Result<()> {
        self.stop(StopMode::Immediate)?;
        self.start_again()
    }

    /// The TCP port on 127.0.0.1, also that of the Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds the data, the log and the Unix socket.
    pub fn directory(&self) -> &Path {
        &self.folder.path
    }

    fn initialise(&self, durable: bool) -> Result<()> {
        let data = self.folder.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let mut command = self.server_program("initdb");
        command
            .args(["--no-locale", "--encoding=UTF8", "--no-instructions"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--username", OWNER])
            .arg("--pwfile")
            .arg(self.folder.password_file())
            .arg("--pgdata")
            .arg(&data);
        if !durable {
            command.arg("--no-sync");
        }
        run(&mut command).with_context(|| {
            format!(
                "cannot initialise PostgreSQL in {} (the server's user must be able to enter that \
                 folder and its parents)",
                self.folder.path.display()
            )
        })
    }

    fn start_on_free_port(&mut self, options: &ClusterOptions) -> Result<()> {
        for attempt in 1.. {
            self.port = free_port()?;
            self.folder.configure(options, self.port, self.timescaledb)?;
            // What an earlier attempt or run has logged does not explain this one.
            match fs::remove_file(self.folder.log()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
            match self.start_again() {
                Ok(()) => break,
                Err(_) if attempt < START_ATTEMPTS && self.port_was_taken() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn port_was_taken(&self) -> bool {
        self.folder.log_tail().contains("could not bind IPv4 address")
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.server_program("pg_ctl");
        command.arg("-D").arg(self.folder.data()).arg("-w").args(arguments);
        run(&mut command)
    }

    /// One of the server's programs, run as the server's user.
    fn server_program(&self, name: &str) -> Command {
        let mut command = Command::new(self.installation.program(name));
        clean_environment(&mut command);
        command.current_dir(&self.folder.path).process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        if self.folder.temporary {
            // The server's user empties the folder, but may not be allowed to take it away from
            // its parent. Mostly it is gone by now.
            let _ = fs::remove_dir_all(&self.folder.path);
        }
    }
}

/// A port that a server may stop listening on and find free again.
pub(crate) fn free_port() -> Result<u16> {
    let first: u16 = rand::random_range(PORTS);
    (first..PORTS.end)
        .chain(PORTS.start..first)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no TCP port is free on 127.0.0.1")
}
