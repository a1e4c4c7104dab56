//! A disk of a few MiB, which is full soon: a tmpfs in a mount namespace of its own, seen only by
//! programs that are started in there.
//!
//! Guarantee: nothing of it is seen outside, and it is gone with the [`SmallDisk`] and the programs on
//! it, in whatever way this process ends.
//!
//! Limits: Linux, the programs `unshare` and `nsenter` (util-linux), and root or the right to make
//! user namespaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::Program;

/// A small disk.
#[derive(Debug)]
pub struct SmallDisk {
    /// Lives in the namespace, and keeps it.
    _keeper: Program,
    /// What enters it, before the program.
    enter: Vec<String>,
    path: PathBuf,
}

impl SmallDisk {
    /// Makes one with room for so many octets, in a folder that is there. An error says what is
    /// missing.
    pub fn make(octets: u64, folder: &Path) -> Result<Self> {
        let path = folder.join("disk");
        fs::create_dir_all(&path)?;
        // Root as it is, or somebody who is root in there.
        let first = Self::make_by(&[], octets, folder, &path);
        let made =
            first.or_else(|_| Self::make_by(&["--user", "--map-root-user"], octets, folder, &path));
        made.context("a disk of its own cannot be mounted here")
    }

    fn make_by(by: &[&str], octets: u64, folder: &Path, path: &Path) -> Result<Self> {
        let script = "mount -t tmpfs -o size=$1,mode=0777 tmpfs \"$2\" && echo mounted && exec sleep infinity";
        let mut keeper = Program::start(
            Command::new("unshare")
                .arg("--mount")
                .args(by)
                .args(["--", "sh", "-c", script, "sh"])
                .arg(octets.to_string())
                .arg(path),
            &folder.join("disk.log"),
        )?;
        let start = Instant::now();
        while keeper.log_tail() != "mounted" {
            keeper.check_running()?;
            if start.elapsed() > MOUNT_DURATION_MAX {
                bail!("mounting takes too long: {}", keeper.log_tail());
            }
            thread::sleep(POLL_INTERVAL);
        }
        let mut enter = vec!["--target".into(), keeper.id().to_string(), "--mount".into()];
        if !by.is_empty() {
            enter.extend(["--user".into(), "--preserve-credentials".into()]);
        }
        Ok(Self { _keeper: keeper, enter, path: path.to_owned() })
    }

    /// Where it is, for programs that are in there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs a program in there.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.enter).arg("--").arg(program);
        command
    }

    /// Lets nothing be written any more, or again. No file may be open for writing.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<()> {
        let how = if is_read_only { "remount,ro" } else { "remount,rw" };
        let output = self.command(Path::new("mount")).args(["-o", how]).arg(&self.path).output()?;
        if !output.status.success() {
            bail!("mount -o {how}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

const MOUNT_DURATION_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
