//! Programs started from here, such as `receiver` and `satsim`: none outlives its owner.
//!
//! Guarantee: a [`Program`], with everything it has started itself, is killed when it is dropped and
//! when this process ends in whatever way (see [`crate::watchdog`]). It sits in a process group of
//! its own, so Ctrl-C reaches only its owner, which then ends its programs in the right order. What it
//! does with signals does not depend on how this process was started: under nohup(1), and in the
//! background of a shell without job control, signals are ignored, and a program would inherit that.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::watchdog::Watchdog;

/// Kills the process group `$1`.
const KILL: &str = "kill -s KILL -- \"-$1\"";

/// How often a program that should end is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A program that was killed is gone as soon as the kernel has taken back its memory.
const KILL_DURATION_MAX: Duration = Duration::from_secs(10);

/// How much of a log an error shows.
const LOG_TAIL_LINES: usize = 15;

/// A running program that writes to a log file.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    /// Gone as soon as the exit status was collected: from then on another process may have the id.
    watchdog: Option<Watchdog>,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts `command` with nothing to read; what it prints goes to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        receive_ignored_signals()?;
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let id = child.id().to_string();
        let mut program = Self { name, child, log: log.to_owned(), watchdog: None, status: None };
        program.watchdog = Some(Watchdog::start(KILL, &[&id], None, None)?);
        Ok(program)
    }

    /// The program's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
            if self.status.is_some()
                && let Some(watchdog) = self.watchdog.take()
            {
                watchdog.dismiss();
            }
        }
        Ok(self.status)
    }

    /// An error with the end of the log if the program has ended.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended ({status}); the end of its log:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Asks the program to end, as Ctrl-C does.
    pub fn interrupt(&mut self) -> Result<()> {
        self.signal(Signal::SIGINT)
    }

    /// Sends a signal to the program, if it runs.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            kill(Pid::from_raw(self.child.id() as i32), signal)?;
        }
        Ok(())
    }

    /// Stops the program where it is, as a machine that hangs does, until [`Program::resume`].
    pub fn pause(&mut self) -> Result<()> {
        self.check_running()?;
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP)?;
        Ok(())
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.check_running()?;
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT)?;
        Ok(())
    }

    /// Ends the program at once, as the kernel does when memory is short, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL)?;
            self.wait(KILL_DURATION_MAX)?;
        }
        Ok(())
    }

    /// The most memory that the program has had resident, in MiB, from proc(5).
    pub fn memory_mib_max(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
        Ok(kib.parse::<f64>()? / 1_024.0)
    }

    /// Waits until the program has ended of itself.
    pub fn wait(&mut self, duration_max: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > duration_max {
                bail!(
                    "{} still runs after {} s; the end of its log:\n{}",
                    self.name,
                    duration_max.as_secs(),
                    self.log_tail()
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the program has ended, and makes an error of any other outcome than success.
    pub fn wait_for_success(&mut self, duration_max: Duration) -> Result<()> {
        let status = self.wait(duration_max)?;
        if !status.success() {
            bail!("{} failed ({status}); the end of its log:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The last lines the program has printed.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing to do for one that has ended: its watchdog was dismissed.
        if let Some(watchdog) = self.watchdog.take() {
            drop(watchdog);
            // Only collects the exit status; there is nobody to tell while dropping.
            let _ = self.child.wait();
        }
    }
}

/// Handles, by doing nothing, what this process was started to ignore: exec(2) leaves an ignored signal
/// ignored, and sets one that is handled back to its default.
pub fn receive_ignored_signals() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
        for signal in [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&one| ignores(&status, one)) {
            flag::register(signal, Arc::default()).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    done.clone().map_err(|error| anyhow!("cannot handle signals: {error}"))
}

/// Whether a process with this status, of proc(5), ignores a signal.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Path of a binary of this workspace that was built together with the running one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot find the running program")?;
    // Test programs lie one folder further down than binaries.
    exe.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{name} is not built beside {}: run `make demo` or `make test`, which build it, or \
                 `cargo build --workspace --bins`",
                exe.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Result<Program> {
        Program::start(Command::new("sh").arg("-c").arg(script), log)
    }

    #[test]
    fn what_it_printed_explains_a_failure() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut program = shell("echo reason >&2; exit 3", &folder.path().join("log"))?;
        let error = program.wait_for_success(Duration::from_secs(10)).expect_err("exit code 3");
        assert!(error.to_string().contains("reason"), "{error}");
        assert!(program.check_running().is_err());
        Ok(())
    }

    #[test]
    fn is_asked_to_end_as_by_ctrl_c() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let script = "trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.01; done";
        let mut program = shell(script, &folder.path().join("log"))?;
        while program.log_tail().is_empty() {
            program.check_running()?;
        }
        program.interrupt()?;
        program.wait_for_success(Duration::from_secs(10))?;
        assert_eq!(program.log_tail(), "up\nbye");
        Ok(())
    }

    /// A shell cannot trap what it inherits as ignored, so this one shows what it was given.
    #[test]
    fn inherits_no_ignored_signal() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut program = shell("grep SigIgn /proc/self/status", &folder.path().join("log"))?;
        program.wait_for_success(Duration::from_secs(10))?;
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            assert!(!ignores(&program.log_tail(), signal), "{}", program.log_tail());
        }
        Ok(())
    }

    #[test]
    fn is_killed_with_its_children_when_dropped() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let script = "trap '' INT TERM; sleep 100 & echo $!; wait";
        let program = shell(script, &folder.path().join("log"))?;
        let child = loop {
            if let Ok(id) = program.log_tail().parse::<u32>() {
                break id;
            }
        };
        drop(program);
        // Nobody may have collected the exit status yet: a zombie is gone.
        let start = Instant::now();
        let runs = || {
            fs::read_to_string(format!("/proc/{child}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            assert!(start.elapsed() < Duration::from_secs(10), "{child} still runs");
        }
        Ok(())
    }

    #[test]
    fn a_missing_sibling_says_what_to_do() {
        let error = sibling("no-such-program").expect_err("it does not exist");
        assert!(error.to_string().contains("make demo"), "{error}");
    }
}
