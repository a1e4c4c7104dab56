//! The questions that people ask of a month of history.
//!
//! The plain and the bare hypertables are asked the same SQL; the shipped ones are asked of their
//! aggregates where a dashboard would be, else the same. All spans are of whole hours, so that
//! every answer is exactly the same.

use anyhow::Result;
use harness::Cluster;
use serde::Serialize;

use crate::target::Target;

/// A question and how it is put.
pub(crate) struct Question {
    /// In words.
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    of_raw: String,
    of_shipped: String,
}

/// How much history it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reach {
    /// A day at most.
    Short,
    Month,
}

impl Question {
    /// The SQL for a target, about satellite `number` where it is about one.
    pub(crate) fn sql(&self, target: Target, number: u32) -> String {
        let sql = if target == Target::Shipped { &self.of_shipped } else { &self.of_raw };
        sql.replace("{satellite}", &format!("SAT-{number:02}"))
    }

    /// Whether these words are in its SQL.
    pub(crate) fn has(&self, words: &str) -> bool {
        self.of_raw.contains(words)
    }
}

/// All of them, about the time up to the end of what is stored.
#[expect(clippy::too_many_lines, reason = "a list of questions, one after the other")]
pub(crate) fn questions(cluster: &Cluster) -> Result<Vec<Question>> {
    let end = cluster.sql(
        Target::Plain.name(),
        "SELECT date_trunc('hour', max(time)) + interval '1 hour' FROM telemetry
         WHERE satellite_id = 'SAT-01'",
    )?;
    let question = |name, reach, of_raw: &str, of_shipped: &str| {
        let fill = |sql: &str| sql.replace("{end}", &format!("timestamptz '{end}'"));
        Question { name, reach, of_raw: fill(of_raw), of_shipped: fill(of_shipped) }
    };
    let channel = |width: &str, from: &str, to: &str| {
        format!(
            "SELECT time_bucket('{width}', time) AS t, avg(cpu_temp), min(cpu_temp), max(cpu_temp)
             FROM telemetry
             WHERE satellite_id = '{{satellite}}'
               AND time >= {{end}} - interval '{from}' AND time < {{end}} - interval '{to}'
             GROUP BY 1 ORDER BY 1"
        )
    };
    let channel_of = |level: &str, width: &str, from: &str| {
        format!(
            "SELECT time_bucket('{width}', bucket) AS t,
                    sum(cpu_temp_avg * cpu_temp_count) / nullif(sum(cpu_temp_count), 0),
                    min(cpu_temp_min), max(cpu_temp_max)
             FROM {level}
             WHERE satellite_id = '{{satellite}}'
               AND bucket >= {{end}} - interval '{from}' AND bucket < {{end}}
             GROUP BY 1 ORDER BY 1"
        )
    };
    let (hour, old_hour) =
        (channel("5 s", "1 hour", "0"), channel("5 s", "14 days", "13 days 23 h"));
    Ok(vec![
        question(
            "last value of every satellite",
            Reach::Short,
            &last(""),
            "SELECT name, time, battery_charge
             FROM telemetry_latest() JOIN satellite ON name = satellite_id
             ORDER BY spacecraft_id",
        ),
        question(
            "last value of those heard in 5 minutes",
            Reach::Short,
            &last("AND time > {end} - interval '5 minutes'"),
            &last("AND time > {end} - interval '5 minutes'"),
        ),
        question("one channel of one satellite, an hour", Reach::Short, &hour, &hour),
        question("the same, an hour two weeks ago", Reach::Short, &old_hour, &old_hour),
        question(
            "one channel of one satellite, a day",
            Reach::Short,
            &channel("1 minute", "1 day", "0"),
            &channel_of("telemetry_1m", "1 minute", "1 day"),
        ),
        question(
            "one channel of one satellite, a month",
            Reach::Month,
            &channel("1 hour", "30 days", "0"),
            &channel_of("telemetry_1h", "1 hour", "30 days"),
        ),
        question(
            "max battery temperature, satellite and hour, a month",
            Reach::Month,
            "SELECT time_bucket('1 hour', time) AS t, satellite_id, max(battery_temp)
             FROM telemetry WHERE time >= {end} - interval '30 days' AND time < {end}
             GROUP BY 1, 2 ORDER BY 1, 2",
            "SELECT bucket AS t, satellite_id, battery_temp_max
             FROM telemetry_1h WHERE bucket >= {end} - interval '30 days' AND bucket < {end}
             ORDER BY 1, 2",
        ),
        question(
            "satellites under 20 % charge in the last day",
            Reach::Short,
            "SELECT satellite_id, min(battery_charge)
             FROM telemetry
             WHERE time >= {end} - interval '1 day' AND time < {end} AND battery_charge < 20
             GROUP BY 1 ORDER BY 1",
            "SELECT satellite_id, min(battery_charge_min)
             FROM telemetry_1h
             WHERE bucket >= {end} - interval '1 day' AND bucket < {end}
               AND battery_charge_min < 20
             GROUP BY 1 ORDER BY 1",
        ),
        question(
            "loss, satellite and day, a month",
            Reach::Month,
            "SELECT time_bucket('1 day', time) AS t, satellite_id, sum(missed) - sum(late),
                    100 * (sum(missed) - sum(late))
                        / nullif(sum(received) + sum(missed) - sum(late), 0)
             FROM link_health
             WHERE time >= date_trunc('day', {end}) - interval '30 days'
               AND time < date_trunc('day', {end})
             GROUP BY 1, 2 ORDER BY 1, 2",
            "SELECT bucket AS t, satellite_id, sum(missed) - sum(late),
                    100 * (sum(missed) - sum(late))
                        / nullif(sum(received) + sum(missed) - sum(late), 0)
             FROM link_health_1d
             WHERE bucket >= date_trunc('day', {end}) - interval '30 days'
               AND bucket < date_trunc('day', {end})
             GROUP BY 1, 2 ORDER BY 1, 2",
        ),
    ])
}

fn last(condition: &str) -> String {
    format!(
        "SELECT name, newest.time, newest.battery_charge
         FROM satellite
         CROSS JOIN LATERAL (
             SELECT time, battery_charge FROM telemetry
             WHERE satellite_id = name {condition}
             ORDER BY time DESC LIMIT 1) AS newest
         ORDER BY spacecraft_id"
    )
}
