//! What the database holds of a flight: one grouped query for each table, so that tens of millions
//! of rows cost one pass and the answer has one line a stream.
//!
//! Limits: only the flight's boots, and times from its start to its end with `MARGIN_S` around
//! them; JSON samples have no boot and are left out.

use std::collections::HashMap;

use protocol::KINDS;

use super::{
    database::{Database, DatabaseError, MARGIN_S, Parameters},
    truth::{StreamKey, Truth},
};

/// The rows of each stream.
pub type Stored = HashMap<StreamKey, Rows>;

/// The rows of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// All.
    pub rows: u64,
    /// Different sequence counters among them: fewer when a row is there twice.
    pub sequences: u64,
    /// The lowest sequence counter.
    pub first: u32,
    /// The highest sequence counter.
    pub last: u32,
}

/// Counts the rows of `truth`'s boots and times.
pub fn read(database: &Database, truth: &Truth) -> Result<Stored, DatabaseError> {
    let boots = truth.boots();
    let parameters: &Parameters<'_> = &[&boots, &truth.start, &truth.end];
    let mut stored = Stored::new();
    for kind in KINDS {
        let query = format!(
            "SELECT satellite_id, boot_count, count(*), count(DISTINCT sequence),
                    min(sequence), max(sequence)
             FROM {}
             WHERE boot_count = ANY($1)
               AND time BETWEEN $2::text::timestamptz - interval '{MARGIN_S} s'
                            AND $3::text::timestamptz + interval '{MARGIN_S} s'
             GROUP BY satellite_id, boot_count",
            kind.table
        );
        for row in database.query(&query, parameters)? {
            let number = |column| -> u64 { row.get::<_, i64>(column).cast_unsigned() };
            // A sequence is NULL only in a row that the station did not write.
            let sequence = |column| row.get::<_, Option<i32>>(column).unwrap_or_default();
            let key = StreamKey {
                satellite_id: row.get(0),
                apid: kind.apid.number(),
                // Only boots that were asked for come back, and those have 16 bits.
                boot_count: row.get::<_, i32>(1) as u16,
            };
            let rows = Rows {
                rows: number(2),
                sequences: number(3),
                first: sequence(4).cast_unsigned(),
                last: sequence(5).cast_unsigned(),
            };
            stored.insert(key, rows);
        }
    }
    Ok(stored)
}
