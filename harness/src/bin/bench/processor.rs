//! Processor time of processes, from proc(5).

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::{Cluster, machine};

/// Fields of `/proc/ID/stat` behind the name, counted from 0.
const STATE: usize = 0;
const PARENT: usize = 1;
/// User and system time of the process, in ticks.
const OWN: [usize; 2] = [11, 12];
/// The same of those of its children that have ended.
const OF_ENDED_CHILDREN: [usize; 2] = [13, 14];

/// What a process has used.
pub(crate) fn time_of(id: u32) -> Result<Duration> {
    seconds(&stat(id)?, &OWN)
}

/// Waits until a child of this process has ended, and gives back what it has used; its exit status
/// stays to be asked for.
pub(crate) fn time_at_end(id: u32) -> Result<Duration> {
    loop {
        let stat = stat(id)?;
        if stat.get(STATE).is_some_and(|state| state == "Z") {
            return seconds(&stat, &OWN);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a database server has used, with all its processes, present and gone.
pub(crate) fn time_of_server(cluster: &Cluster) -> Result<Duration> {
    let file = cluster.directory().join("data/postmaster.pid");
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let server: u32 = text.lines().next().unwrap_or_default().parse()?;
    let all = stat(server)?;
    let mut time = seconds(&all, &OWN)? + seconds(&all, &OF_ENDED_CHILDREN)?;
    for entry in fs::read_dir("/proc")? {
        let id = entry?.file_name().to_string_lossy().parse::<u32>();
        // It may have ended since.
        let Some(stat) = id.ok().and_then(|id| stat(id).ok()) else { continue };
        if stat.get(PARENT).is_some_and(|parent| *parent == server.to_string()) {
            time += seconds(&stat, &OWN)?;
        }
    }
    Ok(time)
}

/// Memory that a process has resident now, in MiB.
pub(crate) fn resident_mib(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1_024.0)
}

fn stat(id: u32) -> Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no fields in /proc/ID/stat")?;
    Ok(fields.split_whitespace().map(ToOwned::to_owned).collect())
}

fn seconds(stat: &[String], fields: &[usize]) -> Result<Duration> {
    let mut ticks = 0;
    for &field in fields {
        ticks += stat.get(field).context("too few fields in /proc/ID/stat")?.parse::<u64>()?;
    }
    let per_second: u64 =
        machine::output("getconf", &["CLK_TCK"]).parse().context("getconf CLK_TCK")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
