//! Every benchmark program runs, small.

use std::process::Command;

use anyhow::Result;
use harness::program::sibling;

#[test]
fn the_ingest_benchmark_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(sibling("bench")?)
        .args(["--rate", "2000", "--seconds", "1", "--satellites", "10"])
        .current_dir(folder.path())
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let figures = std::fs::read_to_string(folder.path().join("target/bench/ingest.json"))?;
    let figures: serde_json::Value = serde_json::from_str(&figures)?;
    assert_eq!(figures["frames_committed"], 2_000);
    assert!(figures["receiver_memory_mib_max"].as_f64() > Some(1.0));
    Ok(())
}
