//! Every benchmark program runs, small.

use std::process::Command;

use anyhow::Result;
use harness::Cluster;
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
fn the_history_benchmark_runs() -> Result<()> {
    if !Cluster::start()?.has_timescaledb() {
        println!("NOT RUN: TimescaleDB is not installed, so there is nothing to compare");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let small = ["--satellites=3", "--days=2", "--frame-seconds=20", "--link-seconds=300"];
    let output = Command::new(sibling("bench-history")?)
        .args(small)
        .args(["--cold=1", "--warm=2", "--keep-kernel-cache", "--shared-buffers=64MB"])
        .current_dir(folder.path())
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let figures = std::fs::read_to_string(folder.path().join("target/bench/history.json"))?;
    let figures: serde_json::Value = serde_json::from_str(&figures)?;
    // Two days of a frame each 20 s at least, of which nine in ten are health, less what is lost.
    assert!(
        figures["rows"]["telemetry"].as_u64() > Some(3 * 2 * 86_400 / 20 * 8 / 10),
        "{figures}"
    );
    let questions = figures["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(questions.len(), 9, "{figures}");
    for question in questions {
        for target in ["plain", "hypertable", "shipped"] {
            let times = [&question["cold"][target], &question["warm"][target]];
            assert!(times.iter().all(|times| times["p50_ms"].as_f64() > Some(0.0)), "{question}");
        }
    }
    // An answer without rows would be the same everywhere. Two weeks ago there was nothing yet, and
    // every battery may well be full.
    for question in questions {
        let name = question["question"].as_str().unwrap_or_default();
        let may_be_empty = name.contains("weeks") || name.contains("charge");
        assert!(may_be_empty || question["answer_rows"].as_u64() > Some(0), "{question}");
    }
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

#[test]
fn the_receive_benchmark_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(sibling("bench-receive")?)
        .args(["--seconds=0.1", "--repeat=1", "--frames=1,7", "--satellites=10,300"])
        .current_dir(folder.path())
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let figures = std::fs::read_to_string(folder.path().join("target/bench/receive.json"))?;
    let figures: serde_json::Value = serde_json::from_str(&figures)?;
    let cases = figures["cases"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(cases.len(), 2 * 2 * 2, "{figures}");
    for case in cases {
        for side in [&case["ours"], &case["bare"], &case["bare_crc"]] {
            assert!(side["frames_per_second"].as_f64() > Some(0.0), "{case}");
            assert!(side["cpu_s_per_million_frames"].as_f64() > Some(0.0), "{case}");
            let frames = |name: &str| side[name].as_u64().unwrap_or_default();
            let (sent, received) = (frames("frames_sent"), frames("frames_received"));
            assert!(0 < received && received + frames("frames_missed") <= sent, "{case}");
        }
        for ratio in ["rate_ratio", "cpu_ratio", "rate_ratio_crc", "cpu_ratio_crc"] {
            assert!(case[ratio].as_f64() > Some(0.0), "{case}");
        }
        assert!(case["ours"]["frames_missed"].is_u64(), "tracking looks for loss: {case}");
        assert!(case["bare"]["frames_missed"].is_null(), "the bare loop does not: {case}");
    }
    Ok(())
}
