//! Digests of what a flight sent, and of what a database holds of it: equal exactly when times,
//! counters and values are.
//!
//! Definition. The *row* of a frame is the fields `time`, `sequence` and the columns of its kind in
//! table order, each as in PostgreSQL's binary COPY format: its length as a 32-bit big-endian
//! integer, −1 for NULL and nothing after it, then the value in network byte order (`timestamptz` as
//! µs since 2000-01-01T00:00:00Z, 64 bits; `integer`, 32; `smallint`, 16; `real` and `double
//! precision` as their IEEE 754 bits, a NaN's included; `boolean`, 8). The hash of a row is XXH3-64
//! of these octets with seed 0. The digest of a slice is the sum of its rows' hashes modulo 2^64:
//! the order of rows does not matter, and none of them need be kept. `station` and `received_at` are
//! no part of it.
//!
//! A stream's slice n holds the sequence counters from n × [`SLICE_FRAMES`] on. So a difference is
//! found to within a slice, and slices of which nothing was lost can still be compared when others
//! have lost frames.
//!
//! Both sides call [`row_hash`] and [`Slices::add`]; a flight makes its fields with [`RowFields`], a
//! database answers with them.
//!
//! Bound: 16 octets a slice, of which a stream has at most 2^22.

use core::fmt;
use std::str::FromStr;

use protocol::{Apid, Telemetry, channel::ColumnSink};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::constellation::{Frame, Stream};

/// Sequence counters in a slice.
pub const SLICE_FRAMES: u32 = 256;

/// How digests are made, as reports say it: the hash and the width of a slice.
pub const DIGEST_FORM: &str = "xxh3-64/256";
const _: () = assert!(SLICE_FRAMES == 256);

/// The rows of one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slice {
    /// How many there are.
    pub rows: u64,
    /// The sum of their hashes, modulo 2^64.
    pub sum: u64,
}

/// The slices of one stream, from counter 0 on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slices(pub Vec<Slice>);

/// The fields of a row.
#[derive(Clone, Debug, Default)]
pub struct RowFields {
    octets: Vec<u8>,
}

/// Digests of a flight under way.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// By number of the spacecraft.
    satellites: Vec<Vec<Digested>>,
    fields: RowFields,
}

/// One stream in one boot.
#[derive(Clone, Debug)]
struct Digested {
    apid: Apid,
    boot_count: u16,
    slices: Slices,
}

/// The hash of a row.
pub fn row_hash(fields: &RowFields) -> u64 {
    XxHash3_64::oneshot(&fields.octets)
}

impl Slices {
    /// Adds a row.
    pub fn add(&mut self, sequence: u32, hash: u64) {
        let place = (sequence / SLICE_FRAMES) as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, Slice::default());
        }
        let slice = &mut self.0[place];
        slice.rows += 1;
        slice.sum = slice.sum.wrapping_add(hash);
    }
}

impl Digests {
    /// Adds a frame that comes to the ground whole.
    pub fn add(&mut self, frame: &Frame) {
        // Satellites send frames that can be read; one that cannot would be missed at the station.
        let Some(frame) = Telemetry::from_checked(frame.octets()) else { return };
        self.fields.clear();
        self.fields.timestamp(frame.time().unix_us());
        self.fields.integer(frame.sequence().value().cast_signed());
        frame.body().columns(&mut self.fields);
        let hash = row_hash(&self.fields);
        let place = usize::from(frame.spacecraft().number());
        if place >= self.satellites.len() {
            self.satellites.resize_with(place + 1, Vec::new);
        }
        let streams = &mut self.satellites[place];
        let (apid, boot_count) = (frame.apid(), frame.boot_count());
        // Few, and the latest boot is last.
        let known =
            streams.iter().rposition(|one| one.apid == apid && one.boot_count == boot_count);
        let known = known.unwrap_or_else(|| {
            streams.push(Digested { apid, boot_count, slices: Slices::default() });
            streams.len() - 1
        });
        streams[known].slices.add(frame.sequence().value(), hash);
    }

    /// Those of a stream.
    pub fn of(&self, stream: &Stream) -> Slices {
        let streams = self.satellites.get(usize::from(stream.spacecraft.number()));
        let mut streams = streams.into_iter().flatten();
        let is_it =
            |one: &&Digested| one.apid == stream.apid && one.boot_count == stream.boot_count;
        streams.find(is_it).map(|one| one.slices.clone()).unwrap_or_default()
    }
}

impl RowFields {
    /// Begins another row.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// A field as the database has sent it; none is NULL.
    pub fn raw(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(-1, |value| value.len() as i32);
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(value.unwrap_or_default());
    }

    /// A `timestamptz`, from µs since 1970.
    pub fn timestamp(&mut self, unix_us: i64) {
        self.field(unix_us.wrapping_sub(POSTGRES_EPOCH_US).to_be_bytes());
    }

    /// An `integer`.
    pub fn integer(&mut self, value: i32) {
        self.field(value.to_be_bytes());
    }

    #[inline]
    fn field<const N: usize>(&mut self, value: [u8; N]) {
        const { assert!(N <= 8) };
        let mut field = [0; 4 + 8];
        field[..4].copy_from_slice(&(N as i32).to_be_bytes());
        field[4..4 + N].copy_from_slice(&value);
        self.octets.extend_from_slice(&field[..4 + N]);
    }
}

impl ColumnSink for RowFields {
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

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.rows, self.sum)
    }
}

impl FromStr for Slice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rows, sum) = text.split_once(' ').ok_or(SLICE_EXPECTED)?;
        let rows = rows.parse().map_err(|_| SLICE_EXPECTED)?;
        let sum = u64::from_str_radix(sum, 16).map_err(|_| SLICE_EXPECTED)?;
        Ok(Self { rows, sum })
    }
}

impl TryFrom<String> for Slice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Slice> for String {
    fn from(slice: Slice) -> Self {
        slice.to_string()
    }
}

const SLICE_EXPECTED: &str = "expected the rows of a slice and their digest, such as `256 \
                              9f86d081884c7d65`";
/// 2000-01-01T00:00:00Z.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(build: impl FnOnce(&mut RowFields)) -> u64 {
        let mut fields = RowFields::default();
        build(&mut fields);
        row_hash(&fields)
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // By python-xxhash: xxh3_64_intdigest of the octets as `struct` packs them.
        assert_eq!(row_hash(&RowFields::default()), 0x2D06_8005_38D3_94C2);
        let row = hash(|fields| {
            fields.timestamp(1_767_225_600_000_001);
            fields.integer(17);
            fields.small_int(-1);
            fields.real(21.5);
            fields.double(-0.125);
            fields.boolean(true);
            fields.raw(None);
        });
        assert_eq!(row, 0x53C4_0088_86DB_0DBB);
    }

    #[test]
    fn a_field_from_the_database_is_the_same_as_one_that_was_sent() {
        let sent = hash(|fields| {
            fields.real(f32::NAN);
            fields.double(-0.0);
            fields.boolean(false);
        });
        let stored = hash(|fields| {
            fields.raw(Some(&f32::NAN.to_be_bytes()));
            fields.raw(Some(&(-0.0_f64).to_be_bytes()));
            fields.raw(Some(&[0]));
        });
        assert_eq!(sent, stored);
        assert_ne!(hash(|fields| fields.raw(None)), hash(|fields| fields.raw(Some(&[]))));
        assert_ne!(hash(|fields| fields.double(0.0)), hash(|fields| fields.double(-0.0)));
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let rows = [(0, 5), (255, 6), (256, u64::MAX), (300, 9)];
        let (mut forward, mut back) = (Slices::default(), Slices::default());
        for &(sequence, hash) in &rows {
            forward.add(sequence, hash);
        }
        rows.iter().rev().for_each(|&(sequence, hash)| back.add(sequence, hash));
        assert_eq!(forward, back);
        assert_eq!(forward.0, [Slice { rows: 2, sum: 11 }, Slice { rows: 2, sum: 8 }]);
        let text = serde_json::to_string(&forward).unwrap();
        assert_eq!(text, r#"["2 000000000000000b","2 0000000000000008"]"#);
        assert_eq!(serde_json::from_str::<Slices>(&text).unwrap(), forward);
        for wrong in [r#"["2"]"#, r#"["x 0"]"#, r#"["2 g"]"#] {
            assert!(serde_json::from_str::<Slices>(wrong).is_err(), "{wrong}");
        }
    }
}
