//! What the database says: nothing that the demo shows as stored is taken from another source.

use anyhow::{Context, Result};
use harness::Cluster;

use crate::table::Column;

/// Values that one frame of each kind carries. Samples sent via HTTP have no sequence and carry what
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

/// What is shown of a satellite, the most telling first: 80 columns hold the first eight.
pub(crate) const COLUMNS: [Column; 16] = [
    Column::text("satellite", 10),
    Column::text("measured", 11),
    Column::text("mode", 9),
    Column::number("cpu °C", 7),
    Column::number("battery V", 10),
    Column::number("charge %", 9),
    Column::number("latitude", 9),
    Column::number("longitude", 10),
    Column::number("altitude km", 13),
    Column::number("signal dBm", 12),
    Column::number("panel °C", 10),
    Column::number("battery °C", 12),
    Column::number("bus V", 8),
    Column::number("battery A", 11),
    Column::number("solar A", 9),
    Column::number("load %", 8),
];

/// Columns of the table and digits behind the point, in the order of [`COLUMNS`].
const COLUMNS_OF_NUMBERS: [(&str, u8); 13] = [
    ("cpu_temp", 2),
    ("battery_voltage", 3),
    ("battery_charge", 2),
    ("latitude", 3),
    ("longitude", 3),
    ("altitude", 1),
    ("signal_strength", 1),
    ("panel_temp", 2),
    ("battery_temp", 2),
    ("bus_voltage", 3),
    ("battery_current", 3),
    ("solar_current", 3),
    ("cpu_load", 1),
];

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

/// The newest row of the first `satellites` satellites, as texts for [`COLUMNS`].
pub(crate) fn newest(
    cluster: &Cluster,
    database: &str,
    satellites: usize,
) -> Result<Vec<Vec<String>>> {
    let numbers = COLUMNS_OF_NUMBERS
        .map(|(column, digits)| format!("round({column}::numeric, {digits})"))
        .join(", ");
    let answer = cluster.sql(
        database,
        &format!(
            "SELECT newest.satellite_id, left(to_char(time, 'HH24:MI:SS.MS'), 10), m.name, {numbers}
             FROM generate_series(1, {satellites}) AS id,
                  LATERAL (SELECT * FROM telemetry
                           WHERE satellite_id
                               = 'SAT-' || lpad(id::text, greatest(2, length(id::text)), '0')
                           ORDER BY time DESC LIMIT 1) AS newest
             LEFT JOIN satellite_mode AS m USING (mode)
             ORDER BY id"
        ),
    )?;
    Ok(answer.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
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
