//! `satsim verify` as a program: what it is asked, and what it answered.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::sibling;

/// What `satsim verify` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whether every term agrees: its exit code was 0.
    pub agrees: bool,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed, its errors last.
    pub page: String,
}

/// The two reports that are compared with the database.
#[derive(Clone, Copy, Debug)]
pub struct Reports<'a> {
    /// What satsim wrote.
    pub truth: &'a Path,
    /// What the receiver wrote.
    pub receiver: Option<&'a Path>,
}

/// Totals and verdict, and a few streams before them.
const VERDICT_LINES: usize = 20;

impl Verification {
    /// The end of what it printed: the totals and the verdict, without a line for every stream.
    pub fn verdict(&self) -> String {
        let lines: Vec<&str> = self.page.trim_end().lines().collect();
        lines[lines.len().saturating_sub(VERDICT_LINES)..].join("\n")
    }

    /// Runs it.
    pub fn run(reports: Reports<'_>, database_url: &str, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(sibling("satsim")?);
        command.arg("verify").arg("--report").arg(reports.truth);
        if let Some(receiver) = reports.receiver {
            command.arg("--receiver-report").arg(receiver);
        }
        let output = command
            .args(options)
            .env("DATABASE_URL", database_url)
            .output()
            .context("cannot run satsim")?;
        let page = [output.stdout, output.stderr].concat();
        Ok(Self {
            agrees: output.status.success(),
            code: output.status.code(),
            page: String::from_utf8_lossy(&page).into_owned(),
        })
    }
}
