//! What is in the database when the measurement begins.
//!
//! The last minutes are as the station would have written them: every satellite's frames, row after
//! row in the order of time, with the rows of link and station health. The days before have one row a
//! satellite and chunk, and are in the columnstore: they are there for the planner, which has to rule
//! their chunks out, and would be no larger a burden with more rows. Aggregates are refreshed.

use anyhow::Result;
use harness::Cluster;

/// How much of it.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) satellites: u32,
    /// Frames a second of each satellite.
    pub(crate) rate: u32,
    pub(crate) minutes: u32,
    pub(crate) days: u32,
}

/// Streams whose rows of link health come once a second (`ROWS_PER_SECOND_MAX` of the station).
const LINKS_PER_SECOND: u32 = 1_000;
/// Frames in ten that are `health`; the tenth is `attitude`.
const HEALTH_OF_TEN: f64 = 9.0;

impl Past {
    pub(crate) fn make(&self, cluster: &Cluster, database: &str) -> Result<()> {
        let sql = |text: String| cluster.sql(database, &text);
        // What policies do meanwhile would be in the way of the same done here.
        let policies = |is_on: bool| {
            let text = format!(
                "SELECT count(*)
                 FROM timescaledb_information.jobs AS job,
                      alter_job(job.job_id, scheduled => {is_on})
                 WHERE job.job_id >= 1000"
            );
            if cluster.has_timescaledb() { sql(text).map(drop) } else { Ok(()) }
        };
        policies(false)?;
        sql(format!(
            "INSERT INTO satellite
             SELECT id, 'SAT-' || lpad(id::text, greatest(2, length(id::text)), '0')
             FROM generate_series(1, {}) AS id",
            self.satellites
        ))?;
        if self.days > 0 {
            let moments = format!(
                "generate_series(now() - INTERVAL '{} days', now() - INTERVAL '1 day',
                                 INTERVAL '6 hours')",
                self.days
            );
            sql(self.rows(&moments, &moments, &moments, &moments))?;
            if cluster.has_timescaledb() {
                for table in ["telemetry", "attitude", "link_health"] {
                    // Of chunks so small it warns that they do not get smaller.
                    sql(format!(
                        "SET client_min_messages = error;
                         SELECT count(compress_chunk(chunk, if_not_compressed => true))
                         FROM show_chunks('{table}', older_than => INTERVAL '1 day') AS chunk"
                    ))?;
                }
            }
        }
        let rate = f64::from(self.rate);
        let links_s = (2 * self.satellites).div_ceil(LINKS_PER_SECOND);
        for minute in (1..=self.minutes).rev() {
            let each = |seconds: f64| {
                format!(
                    "generate_series(now() - INTERVAL '{minute} min',
                                     now() - INTERVAL '{} min 1 us', INTERVAL '{seconds} s')",
                    minute - 1
                )
            };
            sql(self.rows(
                &each(10.0 / HEALTH_OF_TEN / rate),
                &each(10.0 / (10.0 - HEALTH_OF_TEN) / rate),
                &each(f64::from(links_s)),
                &each(1.0),
            ))?;
        }
        sql(ANOMALIES.into())?;
        if cluster.has_timescaledb() {
            for table in ["telemetry", "link_health"] {
                for (level, width) in [("1m", "1 min"), ("1h", "1 hour"), ("1d", "1 day")] {
                    sql(format!(
                        "CALL refresh_continuous_aggregate('{table}_{level}', NULL,
                                                           now() - INTERVAL '{width}')"
                    ))?;
                }
            }
        }
        policies(true)?;
        sql("VACUUM ANALYZE".into())?;
        sql("CHECKPOINT".into())?;
        Ok(())
    }

    /// Rows of every satellite at these moments, one table after the other.
    fn rows(&self, health: &str, attitude: &str, links: &str, station: &str) -> String {
        let links_s = (2 * self.satellites).div_ceil(LINKS_PER_SECOND);
        let frames = self.satellites * self.rate;
        let station_columns = "datagrams, bytes, frames, idle, too_short, length_mismatch, \
             crc_mismatch, bad_version, bad_layout, unknown_apid, unknown_spacecraft, bad_time, \
             not_allowed, rate_limited, accepted, json, recovered, duplicate, stale, missed, late, lost, resets, \
             kernel_dropped, queue_dropped, quarantined, committed, pending";
        format!(
            "INSERT INTO telemetry
             SELECT t, name, 'GS-01', t, 1, 1, 1, false, true, false,
                    20 + random(), 15, 40, 18, 8.1, 5, 1.2, 2, 50 + random() * 50, -100, 20, 100,
                    random() * 180 - 90, random() * 360 - 180, 550, 7.5
             FROM {health} AS t, satellite ORDER BY t;
             INSERT INTO attitude
             SELECT t, name, 'GS-01', t, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1000, 1000, 1000, 1000
             FROM {attitude} AS t, satellite ORDER BY t;
             INSERT INTO link_health
             SELECT t, {links_s}, 'GS-01', name, apid, {links_s} * {rate} / 2,
                    (random() < 0.02)::int, 0, 0, {links_s} * {rate} * 34, 1, 3
             FROM {links} AS t, satellite, unnest(ARRAY[100, 101]) AS apid ORDER BY t;
             INSERT INTO station_health (time, station, {station_columns})
             SELECT t, 'GS-01', {frames}, {frames} * 68, {frames}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    {frames}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {frames}, 50
             FROM {station} AS t",
            rate = self.rate
        )
    }
}

const ANOMALIES: &str = "
    INSERT INTO anomaly (satellite_id, channel, detector, severity, opened_at, last_at, closed_at,
                         detected_at, expected, observed)
    SELECT name, 'cpu_temp', 'limit', 'warning', t, t, t + INTERVAL '30 s', t, 20, 60
    FROM satellite,
         generate_series(now() - INTERVAL '5 min', now() - INTERVAL '1 min', INTERVAL '2 min') AS t
    WHERE spacecraft_id % 10 = 1";
