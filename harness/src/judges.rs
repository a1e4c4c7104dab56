//! Programs of others that judge what this project writes: Wireshark's `tshark` and Python with
//! the packages of `harness/oracles/requirements.txt`.
//!
//! A judge that is missing is an error that says how to get it, never a reason to skip: a check
//! that did not run shows nothing.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::generate;

/// A `tshark` with a name resolution and settings that depend on nobody: `home` stands in for the
/// user's folder with its preferences and plugins.
pub fn tshark(home: &Path) -> Command {
    let mut command = Command::new("tshark");
    command
        .arg("-n")
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("WIRESHARK_CONFIG_DIR");
    command
}

/// A `tshark` that has read the dissector of this repository.
pub fn tshark_with_dissector(home: &Path) -> Command {
    let mut script = std::ffi::OsString::from("lua_script:");
    script.push(generate::root().join(generate::DISSECTOR));
    let mut command = tshark(home);
    command.arg("-X").arg(script);
    command
}

/// Prometheus' `promtool`, if it is on the PATH or `scripts/setup.sh promtool` could unpack it.
#[must_use]
pub fn promtool() -> Option<Command> {
    let unpacked = generate::root().join("target/tools/promtool");
    let mut places = [unpacked, "promtool".into()].into_iter();
    let place = places.find(|place| Command::new(place).arg("--version").output().is_ok())?;
    Some(Command::new(place))
}

/// Python with those packages.
pub fn python() -> Result<Command> {
    let root = generate::root();
    let python = root.join("target/oracles/bin/python");
    if !python.exists() {
        bail!("{} is missing: run `make test`", python.display());
    }
    let mut command = Command::new(python);
    command.current_dir(root);
    Ok(command)
}

/// Python with a script of `harness/oracles`.
pub fn oracle(script: &str) -> Result<Command> {
    let mut command = python()?;
    command.arg(generate::root().join("harness/oracles").join(script));
    Ok(command)
}

/// What a judge prints; an error with all it said if it fails or cannot be started.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    // A script that does not load leaves tshark with its own dissectors, and content.
    if !output.status.success() || complaints.contains("Lua: Error") {
        bail!("{} ({}):\n{printed}{complaints}", command.get_program().display(), output.status);
    }
    Ok(printed)
}

/// The same with the exit status, for judges that are meant to find fault.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| {
        format!("cannot start {}: run `make test`", command.get_program().display())
    })
}
