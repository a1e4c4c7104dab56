//! Rows in PostgreSQL's binary COPY format (PostgreSQL 15 documentation, "COPY", Binary Format),
//! encoded straight into the buffer that is sent.

pub mod side;

use std::{cmp::Reverse, collections::BTreeSet};

use protocol::{
    Kind,
    channel::{Column, ColumnSink},
};

use bytes::Bytes;

use crate::{
    chunk::{Record, SLOT_US, Sample},
    spacecraft::by_spacecraft,
};

/// A COPY stream for one table: header, rows, and at last the trailer.
pub struct CopyBuffer {
    octets: Vec<u8>,
    rows: u64,
    /// Where the rows of samples are.
    samples: Vec<Row>,
    /// The first and the last time of a sample, in µs since 1970.
    times_us: Option<(i64, i64)>,
    /// The [`SLOT_US`] in which samples lie, and that of the last one.
    slots: BTreeSet<i64>,
    slot: Option<i64>,
}

/// A row's place, and what it is sorted by.
#[derive(Clone, Copy)]
struct Row {
    time_us: i64,
    start: u32,
    length: u16,
    spacecraft: u16,
}

/// The rows of a stream, those of one satellite together, in the order in which they came: so they
/// reach neighbouring places of table and index.
pub struct BySatellite<'a> {
    buffer: &'a CopyBuffer,
    rows: Vec<Row>,
}

impl CopyBuffer {
    /// A stream without rows.
    #[must_use]
    pub fn new() -> Self {
        let mut buffer = Self {
            octets: Vec::new(),
            rows: 0,
            samples: Vec::new(),
            times_us: None,
            slots: BTreeSet::new(),
            slot: None,
        };
        buffer.clear();
        buffer
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The first and the last time of its samples, in µs since 1970; none without any.
    #[must_use]
    pub fn times_us(&self) -> Option<(i64, i64)> {
        self.times_us
    }

    /// In how many chunks of a hypertable its samples lie.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The stream without its trailer.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The same in pieces, as it is.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        self.octets.chunks(PIECE_OCTETS).map(Bytes::copy_from_slice)
    }

    /// The rows of samples in the order in which they are to be sent.
    #[must_use]
    pub fn by_satellite(&self) -> BySatellite<'_> {
        let rows = by_spacecraft(&self.samples, |row| row.spacecraft);
        BySatellite { buffer: self, rows }
    }

    /// Removes the rows; the room stays.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.octets.extend_from_slice(HEADER);
        self.rows = 0;
        self.samples.clear();
        self.times_us = None;
        self.slots.clear();
        self.slot = None;
    }

    /// Appends the row of a sample, whose columns are those of [`telemetry_columns`].
    pub fn push(&mut self, record: &Record<'_>, station: &str) {
        let kind = match &record.sample {
            Sample::Frame(frame) => frame.body().kind(),
            Sample::Sparse(sample) => sample.kind(),
        };
        let start = self.octets.len();
        self.start_row(FIXED_COLUMNS.len() + kind.column_count);
        let time_us = record.generated_us();
        let (first, last) = self.times_us.unwrap_or((time_us, time_us));
        self.times_us = Some((first.min(time_us), last.max(time_us)));
        let slot = Some(time_us.div_euclid(SLOT_US));
        if self.slot != slot {
            self.slot = slot;
            self.slots.extend(slot);
        }
        self.timestamp(time_us);
        self.text(&record.spacecraft().name());
        self.text(station);
        self.timestamp(record.received_us);
        match &record.sample {
            Sample::Frame(frame) => {
                self.int(frame.sequence().value() as i32);
                self.int(i32::from(frame.boot_count()));
                frame.body().columns(self);
            }
            Sample::Sparse(sample) => {
                self.null();
                self.null();
                for (column, value) in sample.columns() {
                    self.sparse(column, value);
                }
            }
        }
        self.samples.push(Row {
            time_us,
            start: start as u32,
            length: (self.octets.len() - start) as u16,
            spacecraft: record.spacecraft().number(),
        });
    }

    /// Starts a row of so many fields; exactly as many have to follow.
    pub fn start_row(&mut self, fields: usize) {
        self.octets.extend_from_slice(&(fields as i16).to_be_bytes());
        self.rows += 1;
    }

    /// A `timestamptz`, from µs since 1970.
    pub fn timestamp(&mut self, unix_us: i64) {
        self.field(unix_us.saturating_sub(POSTGRES_EPOCH_US).to_be_bytes());
    }

    /// A `text`, without NUL octets.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A `bytea`.
    pub fn bytes(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(&(octets.len() as i32).to_be_bytes());
        self.octets.extend_from_slice(octets);
    }

    /// An `integer`.
    pub fn int(&mut self, value: i32) {
        self.field(value.to_be_bytes());
    }

    /// A `bigint`.
    pub fn big_int(&mut self, value: i64) {
        self.field(value.to_be_bytes());
    }

    /// NULL.
    pub fn null(&mut self) {
        self.octets.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn sparse(&mut self, column: Column, value: Option<f64>) {
        match (column, value) {
            (_, None) => self.null(),
            (Column::SmallInt, Some(value)) => self.small_int(value as i16),
            (Column::Real, Some(value)) => self.real(value as f32),
            (Column::Double, Some(value)) => self.double(value),
            (Column::Boolean, Some(value)) => self.boolean(value != 0.0),
        }
    }

    /// A field of up to 8 octets. Appended with its length at once: whether there is room is asked for
    /// each of some 25 fields of a row.
    #[inline]
    fn field<const N: usize>(&mut self, value: [u8; N]) {
        const { assert!(N <= 8) };
        let mut field = [0; LENGTH_OCTETS + 8];
        field[..LENGTH_OCTETS].copy_from_slice(&(N as i32).to_be_bytes());
        field[LENGTH_OCTETS..LENGTH_OCTETS + N].copy_from_slice(&value);
        self.octets.extend_from_slice(&field[..LENGTH_OCTETS + N]);
    }
}

impl Default for CopyBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl BySatellite<'_> {
    /// Turns each satellite's rows round: newest first, as the columnstore has them (`schema`,
    /// V4), by their time whatever the order in which they came.
    pub fn newest_first(&mut self) {
        for rows in self.rows.chunk_by_mut(|one, next| one.spacecraft == next.spacecraft) {
            rows.reverse();
            rows.sort_by_key(|row| Reverse(row.time_us));
        }
    }

    /// Rows of one satellite, on average.
    #[must_use]
    pub fn density(&self) -> usize {
        let satellites = self.rows.chunk_by(|one, next| one.spacecraft == next.spacecraft).count();
        self.rows.len() / satellites.max(1)
    }

    /// The stream without its trailer, in pieces of about 128 KiB.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let header = [Bytes::from_static(HEADER)];
        let mut rows = &*self.rows;
        header.into_iter().chain(std::iter::from_fn(move || {
            let mut piece = Vec::with_capacity(PIECE_OCTETS);
            while let Some((row, rest)) = rows.split_first() {
                let start = row.start as usize;
                let octets = &self.buffer.octets[start..start + usize::from(row.length)];
                if piece.len() + octets.len() > PIECE_OCTETS {
                    break;
                }
                piece.extend_from_slice(octets);
                rows = rest;
            }
            (!piece.is_empty()).then(|| Bytes::from(piece))
        }))
    }
}

impl ColumnSink for CopyBuffer {
    #[inline]
    fn small_int(&mut self, value: i16) {
        self.field(value.to_be_bytes());
    }

    #[inline]
    fn real(&mut self, value: f32) {
        self.field(value.to_be_bytes());
    }

    #[inline]
    fn double(&mut self, value: f64) {
        self.field(value.to_be_bytes());
    }

    #[inline]
    fn boolean(&mut self, value: bool) {
        self.field([u8::from(value)]);
    }
}

/// The COPY statement for a kind's table in a schema, whose name is quoted where it needs to be.
#[must_use]
pub fn telemetry_copy(kind: &Kind, schema: &str) -> String {
    let columns = telemetry_columns(kind).join(", ");
    format!("COPY {schema}.{} ({columns}) FROM STDIN BINARY", kind.table)
}

/// The columns of a kind's table, in the order of its rows.
#[must_use]
pub fn telemetry_columns(kind: &Kind) -> Vec<&'static str> {
    FIXED_COLUMNS.iter().copied().chain(kind.columns().map(|(name, _)| name)).collect()
}

/// What stands before the channels in every row.
const FIXED_COLUMNS: [&str; 6] =
    ["time", "satellite_id", "station", "received_at", "sequence", "boot_count"];
/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A field's length, which stands before it.
const LENGTH_OCTETS: usize = 4;
/// COPY data goes out in pieces of this size: large enough that the cost of a message vanishes.
const PIECE_OCTETS: usize = 128 * 1_024;
/// 2000-01-01T00:00:00Z.
pub(crate) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

#[cfg(test)]
mod tests {
    use protocol::{SpacecraftId, health};

    use super::*;
    use crate::{chunk::Chunk, sparse::Sparse};

    #[test]
    fn rows_of_a_satellite_are_together_and_in_their_order() {
        let mut chunk = Chunk::new();
        for number in 0..60_u16 {
            let spacecraft = SpacecraftId::new(1 + number * 7 % 5 * 300).unwrap();
            let sample = Sparse::new(&health::KIND, spacecraft, i64::from(number));
            assert!(chunk.push_sparse(&sample, 7));
        }
        let (mut mixed, mut sorted) = (CopyBuffer::new(), CopyBuffer::new());
        chunk.records().for_each(|record| mixed.push(&record, "GS-01"));
        let mut records: Vec<_> = chunk.records().collect();
        records.sort_by_key(Record::spacecraft);
        records.iter().for_each(|record| sorted.push(record, "GS-01"));
        assert_ne!(mixed.octets(), sorted.octets());
        let sent: Vec<_> = mixed.by_satellite().pieces().collect();
        assert_eq!(sent.concat(), sorted.octets());
        assert_eq!(mixed.by_satellite().density(), 60 / 5);
        assert_eq!(CopyBuffer::new().by_satellite().density(), 0);

        // Times grow with the places, but for two that came late.
        let late = [(2_u16, 40), (1, 50), (1, 45), (2, 30), (1, 60)];
        let mut chunk = Chunk::new();
        for (spacecraft, time_us) in late {
            let spacecraft = SpacecraftId::new(spacecraft).unwrap();
            assert!(chunk.push_sparse(&Sparse::new(&health::KIND, spacecraft, time_us), 7));
        }
        let [mut came, mut turned] = [CopyBuffer::new(), CopyBuffer::new()];
        chunk.records().for_each(|record| came.push(&record, "GS-01"));
        let records: Vec<_> = chunk.records().collect();
        [4, 1, 2, 0, 3].into_iter().for_each(|place| turned.push(&records[place], "GS-01"));
        let mut rows = came.by_satellite();
        rows.newest_first();
        assert_eq!(rows.pieces().collect::<Vec<_>>().concat(), turned.octets());
        assert_eq!((mixed.times_us(), CopyBuffer::new().times_us()), (Some((0, 59)), None));
    }
}
