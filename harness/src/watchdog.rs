//! A shell that outlives its owner just long enough to clean up after it.
//!
//! Guarantee: the cleaning script runs once when the [`Watchdog`] is dropped, and also when the
//! owner ends in any other way: a panic, `exit`, a static that is never dropped, Ctrl-C, `SIGKILL`.
//!
//! How: the shell reads a pipe whose other end only the owner holds. The kernel closes that end
//! when the owner is gone, whatever ended it; the shell then runs its script. It sits in a process
//! group of its own, so the terminal's Ctrl-C does not reach it.
//!
//! Limit: whoever kills the whole container or session kills the watchdog too.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Waits for the owner's word or its end. The word means that there is nothing left to clean.
const WAIT: &str = "trap '' HUP INT TERM\nread -r word\n[ \"$word\" = done ] && exit 0\n";

/// Runs a shell script when it is dropped or when this process ends.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts the shell. `script` is POSIX shell and finds `arguments` as `$1`, `$2`, …
    ///
    /// The shell runs as `user` (uid, gid) if given. It holds `lock` open until it has finished,
    /// so a lock on that file is free only when all is clean.
    pub fn start(
        script: &str,
        arguments: &[&str],
        user: Option<(u32, u32)>,
        lock: Option<File>,
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("{WAIT}{script}"))
            .arg("watchdog")
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(lock.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::null())
            .process_group(0);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        let mut shell = command.spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Ends the shell without running its script.
    pub fn dismiss(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A shell that is gone already has nothing left to do either.
            let _ = pipe.write_all(b"done\n");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // There is nobody to tell while dropping; a shell that cannot be waited for has ended.
        let _ = self.shell.wait();
    }
}
