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

#[test]
fn the_dashboards_benchmark_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // How fast it is says nothing here, beside other tests.
    let output = Command::new(sibling("bench-dashboards")?)
        .args(["--satellites=5", "--seconds=2", "--minutes=1", "--days=1", "--p95-ms=10000"])
        .current_dir(folder.path())
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let figures = std::fs::read_to_string(folder.path().join("target/bench/dashboards.json"))?;
    let figures: serde_json::Value = serde_json::from_str(&figures)?;
    assert_eq!(figures["frames_lost"], 0);
    assert_eq!(figures["rows_stored"], figures["frames_generated"]);
    let dashboards = figures["dashboards"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(dashboards.len(), 3, "{figures}");
    for dashboard in dashboards {
        let panels = dashboard["panels"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(panels.len() > 5, "{dashboard}");
        assert!(panels.iter().all(|panel| panel["p95_ms"].as_f64() > Some(0.0)), "{dashboard}");
    }
    Ok(())
}
