//! What the database says: nothing that the demo shows as stored is taken from another source.

use anyhow::{Context, Result};
use harness::Cluster;

/// Values that one frame of each kind carries. Samples sent by hand have no sequence and carry what
/// their sender chose: they count as rows, and not as values.
const VALUES_PER_TELEMETRY_ROW: u64 = 17;
const VALUES_PER_ATTITUDE_ROW: u64 = 11;

/// The rate is counted over a span that ends a little ago: younger rows may not be committed yet.
const RATE_SPAN_S: u64 = 5;
const RATE_LAG_S: u64 = 2;

/// Rows looked at for the rate: those measured this long ago at most. It bounds the part of the
/// index that is read, however long the demo has run.
const RATE_LOOK_BACK_S: u64 = 60;

/// How long the demo must have run before a rate can be told.
pub(crate) const RATE_AFTER_S: u64 = RATE_SPAN_S + RATE_LAG_S + 1;

/// Satellites whose newest values are shown.
const SHOWN: &str = "'SAT-01', 'SAT-02', 'SAT-03'";

/// Width of a column of numbers.
const COLUMN_WIDTH: usize = 10;

/// Values stored for every second of late, counted in the tables.
pub(crate) fn values_per_second(cluster: &Cluster, database: &str, satellites: u32) -> Result<u64> {
    // One walk down the index for each satellite, instead of one through the whole table.
    let count = |table: &str| {
        format!(
            "SELECT coalesce(sum(rows), 0)
             FROM generate_series(1, {satellites}) AS id,
                  LATERAL (SELECT 'SAT-' || lpad(id::text, greatest(2, length(id::text)), '0')
                           AS name) AS named,
                  LATERAL (SELECT count(sequence) AS rows FROM {table}
                           WHERE satellite_id = name
                             AND time > now() - interval '{RATE_LOOK_BACK_S} s'
                             AND received_at >= now() - interval '{} s'
                             AND received_at < now() - interval '{RATE_LAG_S} s') AS counted",
            RATE_SPAN_S + RATE_LAG_S
        )
    };
    let statement = format!("SELECT ({}), ({})", count("telemetry"), count("attitude"));
    let answer = cluster.sql(database, &statement)?;
    let [telemetry, attitude] = numbers(&answer)?;
    Ok(values(telemetry, attitude) / RATE_SPAN_S)
}

/// The newest row of some satellites, as lines of a table with a heading.
pub(crate) fn newest(cluster: &Cluster, database: &str) -> Result<Vec<String>> {
    let answer = cluster.sql(
        database,
        &format!(
            "SELECT id, to_char(time, 'HH24:MI:SS.MS'), m.name, round(cpu_temp::numeric, 2),
                    round(battery_voltage::numeric, 3), round(battery_charge::numeric, 2),
                    round(latitude::numeric, 3), round(longitude::numeric, 3),
                    round(altitude::numeric, 1)
             FROM unnest(ARRAY[{SHOWN}]) AS id,
                  LATERAL (SELECT * FROM telemetry WHERE satellite_id = id
                           ORDER BY time DESC LIMIT 1) AS newest
             LEFT JOIN satellite_mode AS m USING (mode)"
        ),
    )?;
    let heading = "satellite|measured|mode|cpu °C|battery V|charge %|latitude|longitude|height km";
    Ok(std::iter::once(heading)
        .chain(answer.lines())
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            let text = |index: usize| fields.get(index).copied().unwrap_or_default();
            let mut row = format!("{:<10}{:<14}{:<9}", text(0), text(1), text(2));
            for index in 3..9 {
                row.push_str(&" ".repeat(COLUMN_WIDTH.saturating_sub(text(index).chars().count())));
                row.push_str(text(index));
            }
            row
        })
        .collect())
}

/// What kind of database it is, for people.
pub(crate) fn kind(cluster: &Cluster, database: &str) -> Result<String> {
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
    let version = cluster.sql(database, version)?;
    Ok(if version.is_empty() {
        "PostgreSQL without TimescaleDB".into()
    } else {
        format!("PostgreSQL with TimescaleDB {version}")
    })
}

/// Everything that is stored.
pub(crate) struct Stored {
    pub(crate) rows: u64,
    /// Those of them that came as frames.
    pub(crate) telemetry: u64,
    pub(crate) attitude: u64,
    /// From the first row received to the last.
    pub(crate) seconds: f64,
}

impl Stored {
    /// Counts all rows.
    pub(crate) fn count(cluster: &Cluster, database: &str) -> Result<Self> {
        let answer = cluster.sql(
            database,
            "WITH received AS (
                 SELECT count(*) AS rows, count(sequence) AS telemetry, 0 AS attitude,
                        min(received_at), max(received_at)
                 FROM telemetry
                 UNION ALL
                 SELECT count(*), 0, count(sequence), min(received_at), max(received_at)
                 FROM attitude)
             SELECT sum(rows), sum(telemetry), sum(attitude),
                    coalesce(extract(epoch FROM max(max) - min(min)) * 1000, 0)::bigint
             FROM received",
        )?;
        let [rows, telemetry, attitude, milliseconds] = numbers(&answer)?;
        Ok(Self { rows, telemetry, attitude, seconds: milliseconds as f64 / 1e3 })
    }

    pub(crate) fn values(&self) -> u64 {
        values(self.telemetry, self.attitude)
    }

    pub(crate) fn values_per_second(&self) -> u64 {
        if self.seconds > 0.0 { (self.values() as f64 / self.seconds) as u64 } else { 0 }
    }
}

fn values(telemetry: u64, attitude: u64) -> u64 {
    telemetry * VALUES_PER_TELEMETRY_ROW + attitude * VALUES_PER_ATTITUDE_ROW
}

fn numbers<const N: usize>(line: &str) -> Result<[u64; N]> {
    let numbers: Vec<u64> = line
        .split('|')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("not {N} numbers: {line}"))?;
    numbers.try_into().ok().with_context(|| format!("not {N} numbers: {line}"))
}
