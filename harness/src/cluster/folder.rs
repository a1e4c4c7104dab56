//! The folder of a cluster: who owns it, what lies in it, and the settings written to it.
//!
//! ```text
//! <folder>/data      the server's data
//! <folder>/log       the server's log
//! <folder>/password  the superuser's password, for its owner only
//! <folder>/lock      locked while a server may be running here
//! <folder>/.s.PGSQL… the Unix socket
//! ```

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::ClusterOptions;

/// The kernel's limit for a socket's path is 108 octets with the final zero; this is what
/// PostgreSQL adds to the folder's name at most.
const SOCKET_FOLDER_LENGTH_MAX: usize = 107 - "/.s.PGSQL.65535.lock".len();

/// How much of the log an error shows.
const LOG_TAIL_LINES: usize = 15;

/// File of settings in the data folder, written anew at every start.
const SETTINGS: &str = "orbitstream.conf";

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Whether the folder was made for this cluster alone and goes with it.
    pub(super) temporary: bool,
    user: Option<(u32, u32)>,
}

impl Folder {
    /// Makes the folder if need be, and gives it to the user that runs the server.
    pub(super) fn open(wanted: Option<&Path>, user: Option<(u32, u32)>) -> Result<Self> {
        let folder = if let Some(path) = wanted {
            fs::create_dir_all(path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
            let path = path.canonicalize()?;
            let mut entries = path.read_dir()?.peekable();
            if entries.peek().is_some() && !path.join("lock").exists() {
                bail!("{} holds something else: give an empty or a new folder", path.display());
            }
            Self { path, temporary: false, user }
        } else {
            let path = tempfile::Builder::new()
                .prefix("orbitstream-")
                .tempdir()
                .context("cannot make a temporary folder for PostgreSQL")?
                .keep();
            Self { path: path.canonicalize()?, temporary: true, user }
        };
        fs::set_permissions(&folder.path, Permissions::from_mode(0o700))?;
        folder.give(&folder.path)?;
        Ok(folder)
    }

    /// Takes the folder for this process; whoever holds a copy of the file holds the lock.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.path.join("lock");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        self.give(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another cluster: stop that first, or give another folder",
                self.path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the folder"),
        }
    }

    /// The superuser's password: the one of an earlier run in this folder, or a new one.
    pub(super) fn password(&self) -> Result<String> {
        let path = self.password_file();
        if let Ok(password) = fs::read_to_string(&path) {
            return Ok(password.trim().to_owned());
        }
        let password = format!("{:032x}", rand::random::<u128>());
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(password.as_bytes())?;
        self.give(&path)?;
        Ok(password)
    }

    /// Writes the settings that the server reads after its own defaults.
    pub(super) fn configure(
        &self,
        options: &ClusterOptions,
        port: u16,
        preload: bool,
    ) -> Result<()> {
        let mut text = format!("listen_addresses = '127.0.0.1'\nport = {port}\n");
        let _ = writeln!(text, "unix_socket_directories = '{}'", self.socket_folder());
        text.push_str(
            "timezone = 'UTC'\nlc_messages = 'C'\nlogging_collector = off\n\
             log_line_prefix = '%m [%p] '\nmax_worker_processes = 32\n\
             max_locks_per_transaction = 256\n",
        );
        if !options.durable {
            // Commits still reach the kernel: what is committed survives a crash of the server,
            // though not one of the machine.
            text.push_str("fsync = off\nfull_page_writes = off\n");
        }
        if preload {
            text.push_str(
                "shared_preload_libraries = 'timescaledb'\n\
                 timescaledb.telemetry_level = off\ntimescaledb.max_background_workers = 16\n",
            );
        }
        for (name, value) in &options.settings {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        let path = self.data().join(SETTINGS);
        fs::write(&path, text).context("cannot write PostgreSQL's settings")?;
        self.give(&path)?;

        let main = self.data().join("postgresql.conf");
        let include = format!("include = '{SETTINGS}'\n");
        if !fs::read_to_string(&main)?.ends_with(&include) {
            OpenOptions::new().append(true).open(&main)?.write_all(include.as_bytes())?;
        }
        Ok(())
    }

    /// The folder of the Unix socket; empty where its path would be too long to have one.
    pub(super) fn socket_folder(&self) -> String {
        let path = self.path.to_string_lossy();
        if path.len() > SOCKET_FOLDER_LENGTH_MAX || path.contains(['\'', ',']) {
            return String::new();
        }
        path.into_owned()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The last lines of the server's log, for an error message.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn give(&self, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} to the server's user", path.display()))?;
        }
        Ok(())
    }
}
