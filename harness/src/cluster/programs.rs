//! Running PostgreSQL's programs, undisturbed by the user's environment and files.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::{env, thread};

use anyhow::{Context, Result, bail};

/// A connection's settings come from its URL alone, messages are in English.
pub(super) fn clean_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let more = String::from_utf8_lossy(&output.stdout);
        bail!("{}", [message.trim(), more.trim()].join("\n").trim());
    }
    Ok(())
}

/// Feeds `input` while the output is collected, so that neither side waits for the other.
pub(super) fn run_with_input(command: &mut Command, input: &str) -> io::Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that stops reading has failed, and says why itself.
            pipe.as_mut().map(|pipe| pipe.write_all(input.as_bytes()))
        });
        child.wait_with_output()
    })
}
