//! What figures were taken on: every benchmark writes it beside them.

use std::fs;
use std::process::Command;

/// The commit of the sources in the current folder.
pub fn commit() -> String {
    output("git", &["rev-parse", "--short", "HEAD"])
}

/// Cores, processor and kernel.
pub fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {}, Linux {}", model.map_or("unknown", |m| m.1), output("uname", &["-r"]))
}

/// What a program prints, or `unknown`.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
