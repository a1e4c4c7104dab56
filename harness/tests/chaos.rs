//! A slice of the fault tests in random rounds, one of each kind that no other test has; `make chaos`
//! runs many more. And the proof that they can fail.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::chaos::{Absence, Field, Figures, Kind, Plan, Settings};
use harness::program::sibling;

#[test]
fn a_slice_of_the_rounds() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let field = Field::start(folder.path(), Settings::default())?;
    let possible = field.kinds();
    let mut figures = Figures::default();
    let wanted = [Kind::Gone, Kind::Kill, Kind::Torn, Kind::Absent];
    for kind in wanted.into_iter().filter(|kind| possible.contains(kind)) {
        let outcome = field.run(&Plan::draw(SEED, &[kind]));
        assert!(outcome.is_clean(), "{}\n{}", outcome.line(), outcome.wrong.join("\n"));
        assert!(outcome.generated > 5_000, "{}", outcome.line());
        figures.add(outcome);
    }
    let json = figures.json();
    assert!(figures.are_clean() && json["rounds"].as_u64() > Some(1), "{json}");
    assert_eq!((&json["doubled"], &json["lost"]), (&0.into(), &0.into()));
    Ok(())
}

/// Locks and restoring are in `readyz` and `visible`.
#[test]
fn a_slice_of_the_attacks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let field = Field::start(folder.path(), Settings::default())?;
    for kind in [Kind::PlantedHeader, Kind::Clone, Kind::ForgedLeap] {
        let outcome = field.run(&Plan::draw(SEED, &[kind]));
        assert!(outcome.is_clean(), "{}\n{}", outcome.line(), outcome.wrong.join("\n"));
        let found = outcome.findings.clone().context("findings")?;
        assert_eq!((found.doubled, found.lost), (0, 0), "{}", outcome.line());
        assert_eq!(found.damaged > 0, kind == Kind::PlantedHeader, "{}", outcome.line());
        assert_eq!(found.forged_sent > 0, kind == Kind::ForgedLeap, "{}", outcome.line());
        assert_eq!(found.forged_rows, found.forged_sent, "{}", outcome.line());
    }
    Ok(())
}

/// What is in memory dies with the process: this has to show.
#[test]
fn a_station_that_keeps_no_journal_is_found_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let loss_window = Duration::from_millis(1);
    let settings = Settings { journal: false, loss_window, ..Settings::default() };
    let field = Field::start(folder.path(), settings)?;
    assert!(!field.kinds().contains(&Kind::Kill));
    let outcome = field.run(&Plan::draw(SEED, &[Kind::Kill]));
    let wrong = outcome.wrong.join("\n");
    assert!(wrong.contains("frames are lost that should have been kept"), "{wrong}");
    assert!(!outcome.is_clean() && outcome.line().starts_with("FAILED"), "{}", outcome.line());
    Ok(())
}

#[test]
fn a_short_outage_is_measured() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let field = Field::start(folder.path(), Settings::default())?;
    let length = Duration::from_secs(2);
    let found = field.outage(&Absence { length, rate: 3_000, satellites: 30 })?;
    assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n"));
    assert_eq!((found.lost, found.doubled, found.out_of_order), (0, 0, 0));
    assert!(found.generated > 20_000 && found.outage_s >= 2.0, "{found:?}");
    assert!(found.seconds_until_backlog_stored.is_some(), "{found:?}");
    assert!(found.seconds_until_live.is_some(), "{found:?}");
    Ok(())
}

#[test]
fn the_program_says_what_it_did() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |options: &[&str]| {
        Command::new(sibling("chaos")?)
            .args(options)
            .current_dir(folder.path())
            .output()
            .map_err(anyhow::Error::from)
    };
    let output = run(&["--rounds=1", "--seed=5", "--only=cut"])?;
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{page}{}", String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("seed 5  cut; "), "{page}");
    let figures = std::fs::read_to_string(folder.path().join("target/bench/chaos.json"))?;
    let figures: serde_json::Value = serde_json::from_str(&figures)?;
    let round = &figures["chaos"]["each"][0];
    assert_eq!((&round["seed"], &round["rows"]), (&5.into(), &round["generated"]), "{figures}");
    let output = run(&["--only=rain"])?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("commit-unanswered"), "{error}");
    Ok(())
}

/// With it satellites fly for little more than five seconds.
const SEED: u64 = 20;
