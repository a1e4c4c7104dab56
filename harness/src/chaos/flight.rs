//! Satellites and stations of a round: how they are started and waited for.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::Plan;
use crate::tap::Tap;
use crate::{Constellation, Station};

/// Starts the satellites of a plan.
pub(super) fn launch(
    plan: &Plan,
    target: &str,
    folder: &Path,
    boot_count: u16,
    duration: Duration,
) -> Result<Constellation> {
    let rate = f64::from(plan.rate) / f64::from(plan.satellites);
    let options = [
        format!("--satellites={}", plan.satellites),
        format!("--rate={rate}"),
        format!("--frames-per-datagram={}", plan.frames_per_datagram),
        format!("--duration={}ms", duration.as_millis()),
        format!("--seed={}", plan.seed),
        format!("--boot={boot_count}"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Constellation::start(target, folder, &options)
}

/// Waits until all that was sent to a tap has come there.
pub(super) fn wait_until_tap_has_seen(tap: &Tap, sent: u64) -> Result<()> {
    let landed = Instant::now();
    while tap.seen() < sent {
        ensure!(landed.elapsed() < TAP_DURATION_MAX, "the tap has lost frames, not the station");
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Waits until a station has stored all that it has received; how long it took.
pub(super) fn wait_until_quiet(station: &mut Station) -> Result<Duration> {
    let start = Instant::now();
    let mut before = station.counters()?;
    loop {
        thread::sleep(QUIET_INTERVAL);
        let now = station.counters()?;
        if now.pending == 0 && now.frames == before.frames {
            return Ok(start.elapsed().saturating_sub(QUIET_INTERVAL));
        }
        if start.elapsed() > QUIET_DURATION_MAX {
            let log = station.program().log_tail();
            bail!("not quiet after {QUIET_DURATION_MAX:?}: {now:?}; the receiver's log:\n{log}");
        }
        before = now;
    }
}

/// The same for a station that goes on with a journal. What waits there is not pending before the
/// database was asked about it; so it gets a sample of every shard, which is stored after all of that.
pub(super) fn wait_until_backlog_is_stored(station: &mut Station) -> Result<Duration> {
    let samples: Vec<_> = (1..=SHARDS)
        .map(|number| json!({ "satellite_id": format!("SAT-{number:02}"), "temp": 1 }))
        .collect();
    let (status, answer) = station.post(serde_json::to_vec(&samples)?)?;
    ensure!(status == 200, "{status}: {answer}");
    wait_until_quiet(station)
}

/// Copies the files of a folder.
pub(super) fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The boot count of the satellites of a plan.
pub(super) fn boot(plan: &Plan) -> u16 {
    (plan.seed % 65_536) as u16
}

/// The boot count of satellites that send to a second station; no forged frame has it.
pub(super) fn boot_of_twin(plan: &Plan) -> u16 {
    boot(plan) ^ 0x8000
}

/// A satellite's shard is its number modulo this.
const SHARDS: u16 = 64;
/// Satellites land when they have sent all.
pub(super) const LAND_DURATION_MAX: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the figures have to stand still.
const QUIET_INTERVAL: Duration = Duration::from_millis(400);
const TAP_DURATION_MAX: Duration = Duration::from_secs(10);
const QUIET_DURATION_MAX: Duration = Duration::from_secs(60);
