//! Every benchmark program runs, small.

use std::process::Command;

use anyhow::Result;
use harness::Cluster;
use harness::program::sibling;

/// Runs a benchmark in a folder of its own, and gives back the figures that it has written.
fn figures_of(program: &str, arguments: &[&str], name: &str) -> Result<serde_json::Value> {
    figures_even_if(program, arguments, name, None)
}

/// The same of a benchmark that may end with this error, which is one of speed: that says nothing of
/// debug builds beside other tests.
fn figures_even_if(
    program: &str,
    arguments: &[&str],
    name: &str,
    too_slow: Option<&str>,
) -> Result<serde_json::Value> {
    let folder = tempfile::tempdir()?;
    let output =
        Command::new(sibling(program)?).args(arguments).current_dir(folder.path()).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    let is_too_slow = too_slow.is_some_and(|words| error.contains(words));
    assert!(output.status.success() || is_too_slow, "{error}");
    let figures = std::fs::read_to_string(folder.path().join(format!("target/bench/{name}.json")))?;
    Ok(serde_json::from_str(&figures)?)
}

/// Every figure of a run is there and can be; all that was sent was stored.
fn check_outcome(outcome: &serde_json::Value, frames: u64) {
    assert_eq!(outcome["frames_sent"], frames, "{outcome}");
    assert_eq!(outcome["frames_stored"], frames, "{outcome}");
    assert_eq!(outcome["frames_lost"], 0, "{outcome}");
    for figure in [
        &outcome["frames_per_second_stored"],
        &outcome["cpu_s_per_million"]["receiver"],
        &outcome["cpu_s_per_million"]["postgresql"],
        &outcome["memory_mib_max"],
        &outcome["wal_octets_per_row"],
        &outcome["disk_octets_per_row"],
        &outcome["frame_to_visible"]["p50_ms"],
        &outcome["receipt_to_visible"]["p99_ms"],
    ] {
        assert!(figure.as_f64() > Some(0.0), "{outcome}");
    }
}

#[test]
fn one_rate_runs() -> Result<()> {
    let small = ["rate", "--rate=4000", "--seconds=2", "--satellites=10"];
    check_outcome(&figures_of("bench", &small, "rate")?["outcome"], 8_000);
    Ok(())
}

#[test]
fn the_ingest_benchmark_runs() -> Result<()> {
    // One rate is tried, since the next lower one is none.
    let small = ["ingest", "--rate-max=10000", "--seconds=2", "--search-seconds=1", "--repeat=1"];
    let small = [&small[..], &["--rows=100000", "--satellites=10", "--tables=plain"]].concat();
    let figures = figures_even_if("bench", &small, "ingest", Some("frames a second were held"))?;
    let cases = figures["cases"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(cases.len(), 2, "{figures}");
    for case in cases {
        assert!(case["ceiling_rows_per_second"][0].as_f64() > Some(0.0), "{case}");
        let tried = case["tried"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(tried[0]["outcome"]["frames_sent"], 10_000, "{case}");
        if case["held"][0].is_null() {
            // The search may have found it good enough to be tried for long.
            assert_eq!(tried.last().map(|tried| &tried["is_held"]), Some(&false.into()), "{case}");
            assert_eq!(case["frames_per_second_held"], 0, "{case}");
        } else {
            assert!(case["share_of_ceiling"].as_f64() > Some(0.0), "{case}");
            check_outcome(&case["held"][0], 20_000);
        }
    }
    assert!(figures["ten_thousand_values"]["values_per_second"].as_f64() > Some(0.0));
    Ok(())
}

#[test]
fn the_latency_benchmark_runs() -> Result<()> {
    let small = ["latency", "--rates=1000,4000", "--seconds=2", "--satellites=10"];
    let figures = figures_of("bench", &small, "latency")?;
    for (case, frames) in [2_000, 8_000].into_iter().enumerate() {
        check_outcome(&figures["cases"][case]["outcome"], frames);
    }
    Ok(())
}

#[test]
fn the_memory_benchmark_runs() -> Result<()> {
    let small =
        ["memory", "--rate=4000", "--outage-rate=1000", "--seconds=2", "--satellites=10,50"];
    let figures = figures_of("bench", &small, "memory")?;
    for case in [&figures["cases"][0], &figures["cases"][1]] {
        assert_eq!(case["frames_lost"], 0, "{case}");
        let most = case["loaded_mib_max"].as_f64();
        assert!(
            case["at_rest_mib"].as_f64() > Some(1.0) && most >= case["backlog_mib_max"].as_f64()
        );
    }
    Ok(())
}

#[test]
fn the_loss_benchmark_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let picture = folder.path().join("loss.svg");
    let option = format!("--picture={}", picture.display());
    let small = ["loss", "--rates=2000,4000", "--seconds=1", "--satellites=10", &option];
    let figures = figures_of("bench", &small, "loss")?;
    let curves = figures["curves"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(curves.len(), 3, "{figures}");
    for curve in curves {
        check_outcome(&curve["points"][1]["outcome"], 4_000);
        assert_eq!(curve["points"][1]["lost_percent"], 0.0);
    }
    let picture = std::fs::read_to_string(picture)?;
    assert_eq!(picture.matches("<circle").count(), 3 * 2, "{picture}");
    Ok(())
}

#[test]
fn the_scale_benchmark_runs() -> Result<()> {
    let small = ["scale", "--rate=2000", "--seconds=1", "--repeat=1"];
    let small = [&small[..], &["--satellites=10", "--writers=1,3"]].concat();
    let figures = figures_of("bench", &small, "scale")?;
    let cases = figures["cases"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(
        cases.iter().map(|case| &case["writers"]).collect::<Vec<_>>(),
        [&serde_json::Value::Null, &1.into(), &3.into()]
    );
    for case in cases {
        check_outcome(&case["runs"][0], 2_000);
    }
    Ok(())
}

#[test]
fn the_history_benchmark_runs() -> Result<()> {
    if !Cluster::start()?.has_timescaledb() {
        println!("NOT RUN: TimescaleDB is not installed, so there is nothing to compare");
        return Ok(());
    }
    let small = ["--satellites=3", "--days=2", "--frame-seconds=20", "--link-seconds=300"];
    let few = ["--cold=1", "--warm=2", "--keep-kernel-cache", "--shared-buffers=64MB"];
    let figures = figures_of("bench-history", &[&small[..], &few].concat(), "history")?;
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
    let small = ["--satellites=5", "--seconds=2", "--minutes=1", "--days=1", "--p95-ms=10000"];
    let figures = figures_of("bench-dashboards", &small, "dashboards")?;
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
fn the_soak_measures_how_soon_events_are_stored() -> Result<()> {
    let small = ["--latency", "--satellites=20", "--values=20000", "--seconds=12"];
    let too_slow = Some("half of the events took");
    let figures = figures_even_if("soak", &small, "soak-latency", too_slow)?;
    // Every event has its sample, and none is stored before that came.
    assert!(figures["measured"].as_u64() > Some(0), "{figures}");
    assert_eq!(figures["measured"], figures["events"], "{figures}");
    assert!(figures["median_ms"].as_f64() > Some(0.0), "{figures}");
    assert!(figures["max_ms"].as_f64() >= figures["p95_ms"].as_f64(), "{figures}");
    Ok(())
}

#[test]
fn the_receive_benchmark_runs() -> Result<()> {
    let small = ["--seconds=0.1", "--repeat=1", "--frames=1,7", "--satellites=10,300"];
    let figures = figures_of("bench-receive", &small, "receive")?;
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
