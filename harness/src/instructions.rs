//! Instructions that a program takes for each thing it does, counted by valgrind's callgrind: a
//! figure that does not depend on what else the machine does.
//!
//! The program is run with two numbers of things to do; what it takes to start and to end is in
//! both runs, so the difference is what the things take. The figure depends on compiler and
//! processor family, which are recorded with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::machine;

/// A figure that was taken before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// What it was compiled for, as `rustc -vV` says it.
    pub host: String,
    /// What compiled it.
    pub rustc: String,
    /// Instructions a frame.
    pub instructions_per_frame: f64,
}

/// How much more than recorded is too much.
pub const RISE_MAX: f64 = 0.10;
/// What a person runs to record a new figure.
pub const RECORD_COMMAND: &str = "make instructions";

impl Recorded {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: run `{RECORD_COMMAND}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Writes it, for people to commit.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, format!("{text}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A figure of the programs that were just built.
    pub fn now(instructions_per_frame: f64) -> Self {
        let about = machine::output("rustc", &["-vV"]);
        let host = about.lines().find_map(|line| line.strip_prefix("host: "));
        Self {
            host: host.unwrap_or("unknown").into(),
            rustc: about.lines().next().unwrap_or("unknown").into(),
            instructions_per_frame: (instructions_per_frame * 10.0).round() / 10.0,
        }
    }

    /// An error when `now` takes too much more; figures for different processors cannot be compared,
    /// which is an error too.
    pub fn judge(&self, now: &Self) -> Result<()> {
        ensure!(self.host == now.host, "recorded for {}, this is {}", self.host, now.host);
        let rise = now.instructions_per_frame / self.instructions_per_frame - 1.0;
        ensure!(
            rise <= RISE_MAX,
            "a parsed frame takes {} instructions ({}), {:.0} % more than the recorded {} ({}): find \
             out why, or, if it has to be, run `{RECORD_COMMAND}` and commit the new figure",
            now.instructions_per_frame,
            now.rustc,
            rise * 100.0,
            self.instructions_per_frame,
            self.rustc
        );
        Ok(())
    }
}

/// Instructions that `program` takes for each frame; it is told their number as its argument.
pub fn per_frame(program: &Path) -> Result<f64> {
    let (few, many) = (count(program, FRAMES)?, count(program, FRAMES + FRAMES_MORE)?);
    ensure!(few < many, "{few} instructions for {FRAMES} frames, and {many} for more");
    Ok((many - few) as f64 / FRAMES_MORE as f64)
}

fn count(program: &Path, frames: u64) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let figures = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=9"])
        .arg(format!("--callgrind-out-file={}", figures.display()))
        .arg(program)
        .arg(frames.to_string())
        .output()
        .context("cannot start valgrind: run `scripts/setup.sh valgrind`")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} under valgrind failed ({}): {error}", program.display(), output.status);
    }
    total(&fs::read_to_string(&figures)?)
}

/// The sum in a callgrind file: its line `summary: …` or `totals: …`.
fn total(figures: &str) -> Result<u64> {
    let total = figures.lines().find_map(|line| {
        let rest = line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: "))?;
        rest.split_whitespace().next()?.parse().ok()
    });
    total.context("callgrind wrote no total")
}

const FRAMES: u64 = 1_000;
const FRAMES_MORE: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(instructions_per_frame: f64) -> Recorded {
        let rustc = "rustc 1.90.0".to_owned();
        Recorded { host: "x86_64-unknown-linux-gnu".into(), rustc, instructions_per_frame }
    }

    #[test]
    fn a_rise_is_an_error_that_says_what_to_do() {
        let before = recorded(300.0);
        for fine in [10.0, 300.0, 329.9] {
            assert!(before.judge(&recorded(fine)).is_ok(), "{fine}");
        }
        for too_many in [330.5, 3_000.0, f64::NAN] {
            let error = before.judge(&recorded(too_many)).expect_err("too many").to_string();
            assert!(error.contains(RECORD_COMMAND), "{error}");
        }
    }

    #[test]
    fn other_processors_are_not_compared() {
        let other = Recorded { host: "aarch64-unknown-linux-gnu".into(), ..recorded(300.0) };
        let error = recorded(300.0).judge(&other).expect_err("another processor").to_string();
        assert!(error.contains("aarch64"), "{error}");
    }

    #[test]
    fn totals() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 1234\n\nfn=(1)\n").unwrap(), 1_234);
        assert_eq!(total("events: Ir\n0 5\n\ntotals: 99 1\n").unwrap(), 99);
        assert!(total("events: Ir\n").is_err());
    }

    #[test]
    fn reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figure.json");
        assert!(Recorded::read(&path).unwrap_err().to_string().contains(RECORD_COMMAND));
        recorded(301.5).write(&path).unwrap();
        assert_eq!(Recorded::read(&path).unwrap(), recorded(301.5));
    }
}
