//! Where PostgreSQL's programs are on this machine, and which user may run them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User};

use crate::Tier;

/// Users that a server is run as when this process is root, best first.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

const NOT_FOUND: &str = "PostgreSQL's server programs (initdb, pg_ctl, postgres, psql) were not \
    found. Run `scripts/setup.sh postgres` (as `make demo` and `make test` do), install them by \
    hand and put them on the PATH, or use `docker compose up`";

/// A PostgreSQL that is installed on this machine.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    bin: PathBuf,
    /// The extension's files are there, so that the server may preload it.
    pub(super) timescaledb: bool,
}

impl Installation {
    /// Finds the server's programs, preferring a version that has TimescaleDB, unless the tests'
    /// tiers leave it out: then it is as if it were not installed.
    pub(super) fn find() -> Result<Self> {
        let mut found: Vec<Self> =
            candidates().into_iter().filter(|bin| is_complete(bin)).map(Self::at).collect();
        if !Tier::TimescaleDb.is_wanted()? {
            for one in &mut found {
                one.timescaledb = false;
            }
        }
        let best = found.iter().position(|one| one.timescaledb).unwrap_or(0);
        if found.is_empty() {
            bail!(NOT_FOUND);
        }
        Ok(found.swap_remove(best))
    }

    fn at(bin: PathBuf) -> Self {
        let timescaledb = extension_files(&bin).is_some_and(|(library, control)| {
            library.join("timescaledb.so").exists()
                && control.join("extension/timescaledb.control").exists()
        });
        Self { bin, timescaledb }
    }

    /// Path of one of the server's programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Folders to look in: what `pg_config` says, Debian's folders (newest version first), the PATH.
fn candidates() -> Vec<PathBuf> {
    let mut bins: Vec<PathBuf> =
        pg_config(Path::new("pg_config"), "--bindir").into_iter().collect();
    let mut versions: Vec<(u32, PathBuf)> = Path::new("/usr/lib/postgresql")
        .read_dir()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    bins.extend(versions.into_iter().map(|(_, bin)| bin));
    bins.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    bins
}

fn is_complete(bin: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|name| bin.join(name).is_file())
}

/// The folders of libraries and of shared files that belong to the programs in `bin`.
fn extension_files(bin: &Path) -> Option<(PathBuf, PathBuf)> {
    let program = bin.join("pg_config");
    if program.is_file() {
        return Some((pg_config(&program, "--pkglibdir")?, pg_config(&program, "--sharedir")?));
    }
    // Debian keeps the program in another package than the server.
    let root = bin.parent()?;
    Some((root.join("lib"), Path::new("/usr/share/postgresql").join(root.file_name()?)))
}

fn pg_config(program: &Path, what: &str) -> Option<PathBuf> {
    let output = Command::new(program).arg(what).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}

/// The user and group to run the server as: `None` means the present user.
///
/// PostgreSQL refuses to run as root.
pub(crate) fn server_user() -> Result<Option<(u32, u32)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in UNPRIVILEGED_USERS {
        if let Some(user) = User::from_name(name).context("cannot look up users")? {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    bail!(
        "PostgreSQL does not run as root, and there is no user {} to run it as: create one, or \
         start this as an ordinary user",
        UNPRIVILEGED_USERS.join(" or ")
    )
}
