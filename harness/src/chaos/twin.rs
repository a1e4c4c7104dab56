//! A second station of the same name that goes on with a copy of the first one's journal, with
//! satellites of its own: the same spacecraft in another boot, so that it is known which frames went
//! to which station.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Plan;
use super::field::{Field, ports};
use super::flight::{self, LAND_DURATION_MAX};
use crate::tap::{Passage, Tap};
use crate::{Constellation, Counters, Station};

/// The second station.
pub(super) struct Twin {
    station: Station,
    satellites: Constellation,
    tap: Tap,
}

/// What has come of it.
pub(super) struct Landed {
    pub(super) counters: Counters,
    pub(super) generated: u64,
    pub(super) passages: Vec<Passage>,
    pub(super) memory_mib: f64,
}

impl Twin {
    /// Copies the journal of a station that does not run, and starts another one on it.
    pub(super) fn start(
        field: &Field,
        plan: &Plan,
        url: &str,
        journal: &Path,
        folder: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let copy = folder.join("journal");
        flight::copy_files(journal, &copy)?;
        let options = field.station_options(&copy, plan.writers);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut station = Station::launch(url, folder, ports(), &options)?;
        station.wait_until_listening()?;
        let tap = Tap::start()?;
        tap.open(station.target().parse()?, false)?;
        let target = tap.address().to_string();
        let (boot_count, duration) = (flight::boot_of_twin(plan), plan.flight / 2);
        let satellites = flight::launch(plan, &target, folder, boot_count, duration)?;
        Ok(Self { station, satellites, tap })
    }

    /// An error if a program of it has ended before its time.
    pub(super) fn check_running(&mut self) -> Result<()> {
        self.station.program().check_running().context("the second station")
    }

    /// Waits until all that was sent to it is stored, and stops it.
    pub(super) fn land(mut self, plan: &Plan) -> Result<Landed> {
        self.satellites.program().wait(plan.flight + LAND_DURATION_MAX)?;
        let truth = self.satellites.land()?;
        flight::wait_until_tap_has_seen(&self.tap, truth.sent)?;
        flight::wait_until_backlog_is_stored(&mut self.station)?;
        let memory_mib = self.station.program().memory_mib_max()?;
        let counters = self.station.stop()?;
        let pending = counters.pending;
        ensure!(pending == 0, "{pending} samples are pending at the end of the second station");
        let passages = self.tap.stop()?;
        Ok(Landed { counters, generated: truth.generated, passages, memory_mib })
    }
}
