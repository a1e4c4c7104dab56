//! What the station found: its rows of `anomaly`, and when the samples were taken in which it found
//! them.
//!
//! Rows that opened from the flight's start to its end, with `MARGIN_S` around them, of whatever
//! boot: an anomaly has none.

use std::{collections::BTreeMap, time::SystemTime};

use jiff::Timestamp;
use protocol::Kind;
use tokio_postgres::Row;

use super::{
    database::{Database, DatabaseError, MARGIN_S, Parameters},
    truth::Truth,
};

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// `opened_at`, Unix µs.
    pub opened_us: i64,
    /// `detected_at`, Unix µs.
    pub detected_us: i64,
}

/// Rows by satellite and channel.
pub type Alarms = BTreeMap<(String, String), Vec<Alarm>>;

/// Reads all rows of the flight's time.
pub fn read(database: &Database, truth: &Truth) -> Result<Alarms, DatabaseError> {
    let query = format!(
        "SELECT satellite_id, channel, opened_at, detected_at
         FROM anomaly
         WHERE opened_at BETWEEN $1::text::timestamptz - interval '{MARGIN_S} s'
                             AND $2::text::timestamptz + interval '{MARGIN_S} s'"
    );
    let mut alarms = Alarms::new();
    database.for_each(&query, &[&truth.start, &truth.end], |row| {
        let alarm = Alarm { opened_us: unix_us(row, 2), detected_us: unix_us(row, 3) };
        alarms.entry((row.get(0), row.get(1))).or_default().push(alarm);
    })?;
    Ok(alarms)
}

/// Unix µs of the samples of one kind that are stored of a satellite in this flight, in ascending
/// order.
pub fn sample_times(
    database: &Database,
    truth: &Truth,
    satellite_id: &str,
    kind: &Kind,
) -> Result<Vec<i64>, DatabaseError> {
    let query = format!(
        "SELECT time
         FROM {}
         WHERE satellite_id = $1 AND boot_count = ANY($2)
           AND time BETWEEN $3::text::timestamptz - interval '{MARGIN_S} s'
                        AND $4::text::timestamptz + interval '{MARGIN_S} s'
         ORDER BY time",
        kind.table
    );
    let boots = truth.boots();
    let parameters: &Parameters<'_> = &[&satellite_id, &boots, &truth.start, &truth.end];
    let mut times = Vec::new();
    database.for_each(&query, parameters, |row| times.push(unix_us(row, 0)))?;
    Ok(times)
}

/// Held to the calendar's end where it is beyond, which no sample is.
fn unix_us(row: &Row, column: usize) -> i64 {
    let time: SystemTime = row.get(column);
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).as_microsecond()
}
