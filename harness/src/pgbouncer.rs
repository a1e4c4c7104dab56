//! A connection pooler before a private server: the program `pgbouncer`, for as long as its owner
//! lives. Every client becomes the owner of the databases, whatever user it names.

use std::{
    fs,
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    Cluster, Program,
    cluster::{OWNER, free_port, server_user},
};

/// A running pooler.
#[derive(Debug)]
pub struct Pgbouncer {
    program: Program,
    port: u16,
    _folder: TempDir,
}

impl Pgbouncer {
    /// Where the program is, if it is installed.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
    }

    /// Starts one with this `pool_mode` and size of its pools.
    pub fn start(cluster: &Cluster, pool_mode: &str, pool_size: u16) -> Result<Self> {
        let program = Self::program().context("pgbouncer is not installed")?;
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let port = free_port()?;
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={OWNER} password={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\ndefault_pool_size = {pool_size}\nmax_client_conn = 100\n",
            cluster.port(),
            cluster.password(),
        );
        fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg(&file);
        // It does not run as root.
        if let Some((uid, gid)) = server_user()? {
            std::os::unix::fs::chown(&file, Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        let log = folder.path().join("log");
        let mut program = Program::start(&mut command, &log)?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            program.check_running()?;
            if start.elapsed() > START_MAX {
                bail!("pgbouncer does not listen: {}", program.log_tail());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { program, port, _folder: folder })
    }

    /// URL of a database behind it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{OWNER}:any@127.0.0.1:{}/{database}", self.port)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.program.log_tail()
    }
}

const START_MAX: Duration = Duration::from_secs(30);
