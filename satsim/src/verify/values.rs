//! Digests of what the database holds of a flight: one pass over each table, whose rows are hashed as
//! they arrive and forgotten.
//!
//! Nothing is sorted and nothing kept but the slices of the report, so memory is bounded by the
//! report on this side, and on the server by what reading a table takes. Values come in PostgreSQL's
//! binary format and are hashed as they are, whatever bits a float has.
//!
//! Limits: those of [`super::stored`], and only counters that the report has slices for: rows beyond
//! them are too many, which is seen there.

use std::{collections::HashMap, error::Error};

use protocol::KINDS;
use tokio_postgres::types::{FromSql, Type};

use super::{
    database::{Database, DatabaseError, MARGIN_S, Parameters},
    truth::{StreamKey, Truth},
};
use crate::digest::{RowFields, SLICE_FRAMES, Slice, Slices, row_hash};

/// The slices of each stream of the report.
pub type Values = HashMap<StreamKey, Slices>;

/// A value as the server has sent it.
struct Raw<'a>(Option<&'a [u8]>);

/// Reads the rows of `truth`'s streams; none when its report has no digests.
pub fn read(database: &Database, truth: &Truth) -> Result<Option<Values>, DatabaseError> {
    if !truth.has_digests() {
        return Ok(None);
    }
    let boots = truth.boots();
    let parameters: &Parameters<'_> = &[&boots, &truth.start, &truth.end];
    let mut values = Values::new();
    for kind in KINDS {
        let apid = kind.apid.number();
        let mut satellites: HashMap<String, HashMap<i32, Slices>> = HashMap::new();
        for stream in truth.streams.iter().filter(|stream| stream.key.apid == apid) {
            let boots = satellites.entry(stream.key.satellite_id.clone()).or_default();
            let slices = Slices(vec![Slice::default(); stream.slices.0.len()]);
            boots.insert(stream.key.boot_count.into(), slices);
        }
        let columns: Vec<&str> = kind.columns().map(|(name, _)| name).collect();
        let query = format!(
            "SELECT satellite_id, boot_count, sequence, time, sequence, {}
             FROM {}
             WHERE boot_count = ANY($1) AND sequence IS NOT NULL
               AND time BETWEEN $2::text::timestamptz - interval '{MARGIN_S} s'
                            AND $3::text::timestamptz + interval '{MARGIN_S} s'",
            columns.join(", "),
            kind.table
        );
        let mut fields = RowFields::default();
        database.for_each(&query, parameters, |row| {
            let boots = satellites.get_mut(row.get::<_, &str>(0));
            let Some(slices) = boots.and_then(|boots| boots.get_mut(&row.get(1))) else { return };
            let sequence = row.get::<_, i32>(2).cast_unsigned();
            if (sequence / SLICE_FRAMES) as usize >= slices.0.len() {
                return;
            }
            fields.clear();
            for place in FIELDS_FROM..row.len() {
                fields.raw(row.get::<_, Raw<'_>>(place).0);
            }
            slices.add(sequence, row_hash(&fields));
        })?;
        for (satellite_id, boots) in satellites {
            for (boot_count, slices) in boots {
                let boot_count = boot_count as u16;
                let key = StreamKey { satellite_id: satellite_id.clone(), apid, boot_count };
                values.insert(key, slices);
            }
        }
    }
    Ok(Some(values))
}

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, octets: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(octets)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Where the fields of the digest begin among the columns of the query.
const FIELDS_FROM: usize = 3;
