//! How a round is run, from the empty tables to the verdict.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use super::field::{EMPTY, Field, HYPER, PLAIN};
use super::scene::Scene;
use super::{Outcome, Plan};
use crate::StopMode;

impl Field {
    /// Runs a round.
    pub fn run(&self, plan: &Plan) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome::new(plan);
        if let Err(error) = self.try_run(plan, &mut outcome) {
            outcome.wrong.push(format!("{error:#}"));
        }
        outcome.duration = start.elapsed();
        let folder = self.folder_of(plan);
        if outcome.wrong.is_empty() {
            // What is left of a round in which all was well tells nobody anything.
            let _ = fs::remove_dir_all(folder);
        } else {
            outcome.wrong.push(format!("logs and reports are in {}", folder.display()));
        }
        outcome
    }

    fn folder_of(&self, plan: &Plan) -> PathBuf {
        self.folder.join(format!("seed-{}", plan.seed))
    }

    fn try_run(&self, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
        let folder = self.folder_of(plan);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        self.start_database()?;
        // A round that failed may have left it so.
        self.end_restoring()?;
        let database = if plan.has_hypertables { HYPER } else { PLAIN };
        self.sql(database, EMPTY)?;
        if plan.begins_without_database() {
            self.stop_database(StopMode::Fast)?;
        }
        let mut scene = Scene::new(self, plan, database, folder)?;
        let flown = scene.play();
        outcome.cuts = scene.cuts();
        outcome.memory_mib = scene.memory_mib;
        outcome.wrong.append(&mut scene.wrong);
        let flown = flown?;
        outcome.generated = flown.generated;
        outcome.quiet = flown.quiet;
        outcome.counters = scene.reports.last().cloned();
        scene.examine(&flown, outcome)
    }
}
