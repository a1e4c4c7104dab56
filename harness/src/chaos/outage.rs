//! One long absence of the database while satellites send, and how soon all is as before.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Serialize;

use super::examine::imbalance;
use super::field::{EMPTY, Field, HYPER, PLAIN, ports};
use crate::station::{RECEIVER_REPORT, SATSIM_REPORT};
use crate::{Constellation, Reports, Station, StopMode, Verification};

/// What happens.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// How long the database is gone.
    pub length: Duration,
    /// Frames a second, of all satellites together.
    pub rate: u32,
    /// How many satellites send.
    pub satellites: u16,
}

/// How it went. Times are counted from when the database accepts connections again.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, with their units")]
pub struct Return {
    pub tables: &'static str,
    pub outage_s: f64,
    pub frames_per_second: u32,
    pub satellites: u16,
    pub generated: u64,
    pub lost: u64,
    pub doubled: u64,
    pub out_of_order: u64,
    /// Rows that were received before the database came back are all stored.
    pub seconds_until_backlog_stored: Option<f64>,
    /// The newest row of every satellite was received less than a second ago.
    pub seconds_until_live: Option<f64>,
    pub journal_mib_at_return: f64,
    pub memory_mib_max: f64,
    /// What was wrong besides; nothing when all was well.
    pub wrong: Vec<String>,
}

impl Field {
    /// Flies, takes the database away and gives it back, and goes on until all is as before or
    /// [`RETURN_DURATION_MAX`] is over.
    pub fn outage(&self, absence: &Absence) -> Result<Return> {
        let database = if self.cluster.has_timescaledb() { HYPER } else { PLAIN };
        self.start_database()?;
        self.sql(database, EMPTY)?;
        let folder = self.folder.join("outage");
        let journal = folder.join("journal");
        fs::create_dir_all(&folder)?;
        let options = self.journal_options(&journal);
        let options: Vec<_> =
            options.iter().chain(&self.settings.receiver).map(String::as_str).collect();
        let mut station = Station::start(&self.url(database), &folder, ports(), &options)?;
        let rate = format!("--rate={}", f64::from(absence.rate) / f64::from(absence.satellites));
        let satellites = format!("--satellites={}", absence.satellites);
        let flight = [&*satellites, &rate, "--boot=1"];
        let mut satellites = Constellation::start(station.target(), &folder, &flight)?;
        thread::sleep(BEFORE);
        station.program().check_running()?;
        self.stop_database(StopMode::Immediate)?;
        let gone = Instant::now();
        thread::sleep(absence.length);
        self.start_database()?;
        let (back, back_at) = (Instant::now(), Timestamp::now());
        let journal_mib_at_return = octets_in(&journal) as f64 / f64::from(1 << 20);

        let (mut stored, mut live) = (None, None);
        while (stored.is_none() || live.is_none()) && back.elapsed() < RETURN_DURATION_MAX {
            thread::sleep(POLL_INTERVAL);
            station.program().check_running()?;
            satellites.check_running()?;
            let newest = self.newest(database, absence.satellites)?;
            let seconds = back.elapsed().as_secs_f64();
            if let Some(newest) = newest {
                stored = stored.or((newest >= back_at).then_some(seconds));
                let age = Timestamp::now().duration_since(newest).as_secs_f64();
                live = live.or((age < 1.0).then_some(seconds));
            }
        }
        let truth = satellites.stop()?;
        station.wait_until_quiet()?;
        let memory_mib_max = station.program().memory_mib_max()?;
        let counters = station.stop()?;
        let mut wrong = imbalance(&counters);
        let counts = [
            (counters.rejected_total(), "frames were refused"),
            (counters.queue_dropped, "samples were dropped for want of room"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        wrong.extend(counts.map(|(count, what)| format!("{count} {what}")));
        let url = self.cluster.url(database);
        let reports = Reports {
            truth: &folder.join(SATSIM_REPORT),
            receiver: Some(&folder.join(RECEIVER_REPORT)),
        };
        let verification = Verification::run(reports, &url, &[])?;
        if !verification.agrees {
            wrong.push(format!("satsim verify: {}", verification.verdict()));
        }
        let answer = self.sql(database, COUNT)?;
        let counts = answer.split('|').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [rows, frames, out_of_order] = counts[..] else { bail!("three counts: {answer}") };
        Ok(Return {
            tables: if database == HYPER { "TimescaleDB" } else { "plain PostgreSQL" },
            outage_s: back.duration_since(gone).as_secs_f64(),
            frames_per_second: absence.rate,
            satellites: absence.satellites,
            generated: truth.generated,
            lost: truth.generated.saturating_sub(frames),
            doubled: rows - frames,
            out_of_order,
            seconds_until_backlog_stored: stored,
            seconds_until_live: live,
            journal_mib_at_return,
            memory_mib_max,
            wrong,
        })
    }

    /// When the newest row was received, of the satellite that is furthest behind; nothing while
    /// one has no row yet.
    fn newest(&self, database: &str, satellites: u16) -> Result<Option<Timestamp>> {
        let query = format!(
            "SELECT to_char(min(received_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
             FROM telemetry_latest() HAVING count(*) = {satellites}"
        );
        let answer = self.sql(database, &query)?;
        if answer.is_empty() {
            return Ok(None);
        }
        answer.parse().map(Some).with_context(|| format!("a time: {answer}"))
    }
}

/// Octets of all files in a folder, 0 where there is none.
fn octets_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => octets_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Rows, different frames, and rows that were stored after a later one of their stream.
const COUNT: &str = "
    WITH numbered AS (
        SELECT 100 AS apid, satellite_id, sequence, stored_by FROM telemetry
        UNION ALL
        SELECT 101, satellite_id, sequence, stored_by FROM attitude
    ), beside AS (
        SELECT apid, satellite_id, sequence,
               lag(sequence) OVER (PARTITION BY apid, satellite_id ORDER BY stored_by, sequence) AS before
        FROM numbered
    )
    SELECT count(*), count(DISTINCT (apid, satellite_id, sequence)),
           count(*) FILTER (WHERE sequence < before)
    FROM beside";

/// The satellites send this long before the database goes.
const BEFORE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// When nobody waits any longer.
pub const RETURN_DURATION_MAX: Duration = Duration::from_secs(120);
