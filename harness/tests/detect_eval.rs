//! `detect-eval` on recordings that are made here: what it finds, and what it says of files that are
//! not as they should be.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result};
use harness::program::sibling;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

/// Rows before anything goes wrong.
const WARMUP_ROWS: usize = 300;
const START_S: usize = 1_800_000_000;

fn evaluate(folder: &Path, options: &[&str]) -> Result<Output> {
    Ok(Command::new(sibling("detect-eval")?).arg(folder).args(options).output()?)
}

/// The figures of the groups, and what was said besides.
fn figures(folder: &Path, options: &[&str]) -> Result<(Vec<Value>, String)> {
    let json = folder.join("figures.json");
    let path = json.to_str().context("a path that is text")?;
    let output = evaluate(folder, &[&["--json", path], options].concat())?;
    let said = String::from_utf8(output.stderr)?;
    anyhow::ensure!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&fs::read(json)?)?;
    Ok((figures["groups"].as_array().context("groups")?.clone(), said))
}

/// What the program says when it fails.
fn failure(folder: &Path, options: &[&str]) -> Result<String> {
    let output = evaluate(folder, options)?;
    anyhow::ensure!(!output.status.success(), "it did not fail");
    Ok(String::from_utf8(output.stderr)?)
}

/// A noisy sine, with what goes wrong in it: a spike, a step, a stuck value, twice each.
fn series(seed: u64, with_anomalies: bool) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut text = String::from("timestamp,value,is_anomaly\n");
    let mut last = 0.0;
    for row in 0..3_000_usize {
        let turn = row as f64 / 1_100.0;
        let noise: f64 = (0..4).map(|_| rng.random_range(-0.05..0.05)).sum();
        let value = 20.0 + 5.0 * (std::f64::consts::TAU * turn).sin() + noise;
        let wrong = match row {
            _ if !with_anomalies => None,
            600 | 1_800 => Some(value + 6.0),
            900..960 | 2_200..2_260 => Some(value - 4.0),
            1_300..1_400 | 2_600..2_700 => Some(last),
            _ => None,
        };
        last = (wrong.unwrap_or(value) * 100.0).round() / 100.0;
        _ = writeln!(text, "{},{last:.2},{}", START_S + 5 * row, u8::from(wrong.is_some()));
    }
    text
}

#[test]
fn finds_what_went_wrong() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut manifest = String::from("group,series,kind,rows,warmup_rows,note\n");
    for (group, with_anomalies) in [("good", false), ("bad", true)] {
        fs::create_dir(folder.path().join(group))?;
        for seed in 1..=4 {
            let name = format!("s{seed}");
            let file = folder.path().join(group).join(format!("{name}.csv"));
            fs::write(file, series(seed, with_anomalies))?;
            _ = writeln!(manifest, "{group},{name},temperature,3000,{WARMUP_ROWS},\"a, b\"");
        }
    }
    fs::write(folder.path().join("manifest.csv"), manifest)?;
    let (groups, said) = figures(folder.path(), &[])?;
    assert_eq!(said, "");
    let [bad, good] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((&bad["group"], &good["group"]), (&"bad".into(), &"good".into()));
    assert_eq!((&bad["labelled"], &bad["rows"]), (&24.into(), &12_000.into()));
    assert!(bad["f1"].as_f64() >= Some(0.85), "{bad}");
    assert!(bad["false_alarms"].as_u64() <= Some(2), "{bad}");
    assert!(bad["ns_per_value"].as_f64() > Some(0.0), "{bad}");
    assert_eq!(good["events"], 0, "{good}");
    assert_eq!(good["nominal_rows"], 4 * (3_000 - WARMUP_ROWS));
    assert_eq!(good["recall"], Value::Null);

    // The limits of a channel, and of a configuration, are looked at too.
    let config = folder.path().join("station.toml");
    fs::write(&config, "[detect.channels.battery_temp]\nsoft = [17.0, 30.0]\n")?;
    let config = config.to_str().context("a path that is text")?;
    let events = |options: &[&str]| -> Result<u64> {
        let (groups, _) = figures(folder.path(), options)?;
        groups[1]["events"].as_u64().context("events")
    };
    assert_eq!(events(&["--channel", "battery_temp"])?, 0);
    assert!(events(&["--channel", "battery_temp", "--config", config])? >= 4);
    let said = failure(folder.path(), &["--channel", "battery_tmp"])?;
    assert!(said.contains("battery_tmp") && said.contains("bus_voltage"), "{said}");
    fs::write(config, "[detect.channels.battery_temp]\nsotf = [17.0, 30.0]\n")?;
    let said = failure(folder.path(), &["--channel", "battery_temp", "--config", config])?;
    assert!(said.contains("battery_temp.sotf"), "{said}");
    Ok(())
}

/// The same samples, written in other ways, give the same figures.
#[test]
fn takes_recordings_as_people_write_them() -> Result<()> {
    let plain = series(1, true);
    let figures_of = |text: &str| -> Result<Value> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("one.csv"), text)?;
        let (mut groups, said) = figures(folder.path(), &[])?;
        assert_eq!(said, "");
        let mut figures = groups.remove(0);
        figures["ns_per_value"] = Value::Null;
        Ok(figures)
    };
    let as_is = figures_of(&plain)?;
    assert!(as_is["found"].as_u64() >= Some(4), "{as_is}");
    let lines = |change: &dyn Fn([&str; 3]) -> String| -> String {
        plain.lines().map(|line| change(cells(line)) + "\n").collect()
    };
    for text in [
        format!("\u{feff}{}", plain.replace('\n', "\r\n")),
        lines(&|[time, value, label]| format!("{label} , x,{value},{time}")),
        lines(&|[time, value, label]| {
            format!("{time},{value},{}", label.replace('1', "True").replace('0', "false"))
        }),
        lines(&|[time, value, label]| match time.parse() {
            Ok(seconds) => {
                let time = jiff_time(seconds);
                format!("{time},{value},{label}")
            }
            Err(_) => format!("{time},{value},{label}"),
        }),
    ] {
        assert_eq!(figures_of(&text)?, as_is, "{}", &text[..200]);
    }

    // Rows without a value are rows, and gaps; late rows and repeats are no alarms.
    let good = series(1, false);
    let mut odd: Vec<String> = good.lines().map(str::to_owned).collect();
    for row in (1_000..1_200).step_by(7) {
        let [time, ..] = cells(&odd[row]);
        odd[row] = format!("{time},{},0", ["", "NaN", "null"][row % 3]);
    }
    for row in (1_500..1_700).step_by(9) {
        odd.swap(row, row + 4);
    }
    for row in (2_000..2_100).step_by(11) {
        odd.insert(row, odd[row].clone());
    }
    let figures = figures_of(&(odd.join("\n") + "\n"))?;
    assert_eq!((&figures["events"], &figures["rows"]), (&0.into(), &3_010.into()), "{figures}");
    Ok(())
}

fn cells(line: &str) -> [&str; 3] {
    let mut cells = line.split(',');
    [(); 3].map(|()| cells.next().unwrap_or_default())
}

fn jiff_time(seconds: i64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs());
    humantime::format_rfc3339(time).to_string()
}

#[test]
fn says_what_is_wrong_with_a_file() -> Result<()> {
    let header = "timestamp,value,is_anomaly\n";
    let listed = "group,series,kind,warmup_rows\nall,one,voltage,5\n";
    for (file, manifest, parts) in [
        ("timestamp,value\n1,2\n".to_owned(), "", &["no series", "timestamp,value,is_anomaly"][..]),
        ("timestamp,value\n1,2\n".into(), listed, &["one.csv", "no column is_anomaly"]),
        (String::new(), listed, &["one.csv", "no column timestamp"]),
        (header.into(), listed, &["one.csv", "no rows"]),
        (format!("{header}1,2,0\n2,abc,0\n"), "", &["one.csv", "line 3", "value `abc`"]),
        (format!("{header}x,2,0\n"), "", &["line 2", "timestamp `x`", "2026-01-01T00:00:00Z"]),
        (format!("{header}1800000000000,2,0\n"), "", &["line 2", "milliseconds"]),
        (format!("{header}nan,2,0\n"), "", &["line 2", "timestamp `nan`"]),
        (format!("{header}1,inf,0\n"), "", &["line 2", "value `inf`"]),
        (format!("{header}1,2,2\n"), "", &["line 2", "is_anomaly `2`"]),
        (format!("{header}1,2\n"), "", &["one.csv", "line: 2"]),
        (
            format!("{header}1,2,0\n"),
            "group,series,kind\nall,one,voltage\nall,two,wattage\n",
            &["manifest.csv, line 3", "wattage", "temperature, voltage"],
        ),
        (format!("{header}1,2,0\n"), "group,series\nall,one\n", &["manifest.csv", "column kind"]),
        (
            format!("{header}1,2,0\n"),
            "group,series,kind,warmup_rows\nall,one,voltage,-5\n",
            &["manifest.csv, line 2", "warmup_rows `-5`"],
        ),
    ] {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("one.csv"), &file)?;
        if !manifest.is_empty() {
            fs::write(folder.path().join("manifest.csv"), manifest)?;
        }
        let said = failure(folder.path(), &[])?;
        assert!(parts.iter().all(|part| said.contains(part)), "{file:?} {manifest:?}: {said}");
    }
    let said = failure(Path::new("/nowhere"), &[])?;
    assert!(said.contains("/nowhere"), "{said}");
    Ok(())
}

#[test]
fn warns_of_what_is_left_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("one.csv"), series(1, false))?;
    fs::write(folder.path().join("notes.csv"), "day,what\n1,rain\n")?;
    fs::write(folder.path().join("empty.csv"), "")?;
    fs::write(
        folder.path().join("manifest.csv"),
        "group,series,kind,rows,warmup_rows\nmine,one.csv,Temperature,7,\nmine,two,voltage,1,1\n",
    )?;
    let (groups, said) = figures(folder.path(), &[])?;
    // Flat, so the group is the manifest's.
    assert_eq!(groups[0]["group"], "mine");
    for part in ["notes.csv is left out", "empty.csv is left out", "says 7", "mine/two"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
    Ok(())
}
