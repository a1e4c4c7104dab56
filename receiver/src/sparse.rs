//! A sample that carries some channels of a kind, in engineering units, and no frame: what comes
//! by HTTP.

use protocol::{Apid, KINDS, Kind, SpacecraftId, channel::Column};

/// Some columns of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparse {
    kind: usize,
    /// Who it is about.
    pub spacecraft: SpacecraftId,
    /// When it was generated, in µs since 1970.
    pub time_us: i64,
    /// By place among [`Kind::columns`]; booleans are 0 and 1.
    values: [Option<f64>; COLUMNS_MAX],
}

impl Sparse {
    /// A sample of `kind` without any value yet.
    #[must_use]
    pub fn new(kind: &Kind, spacecraft: SpacecraftId, time_us: i64) -> Self {
        let kind = KINDS.iter().position(|k| k.apid == kind.apid).unwrap_or_default();
        Self { kind, spacecraft, time_us, values: [None; COLUMNS_MAX] }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        KINDS[self.kind]
    }

    /// Gives the column at `place` a value.
    pub fn set(&mut self, place: usize, value: f64) {
        if let Some(slot) = self.values.get_mut(place) {
            *slot = Some(value);
        }
    }

    /// The values of all columns, in table order.
    pub fn columns(&self) -> impl Iterator<Item = (Column, Option<f64>)> {
        self.kind().columns().zip(self.values).map(|((_, column), value)| (column, value))
    }

    /// The values of the channels, in wire order.
    pub fn channels(&self) -> impl Iterator<Item = Option<f64>> {
        self.columns().filter(|(column, _)| *column != Column::Boolean).map(|(_, value)| value)
    }

    /// As it could have been sent.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("satellite_id".into(), self.spacecraft.to_string().into());
        let time = jiff::Timestamp::from_microsecond(self.time_us);
        object.insert("time".into(), time.map_or(self.time_us.into(), |t| t.to_string().into()));
        for ((name, column), value) in self.kind().columns().zip(self.values) {
            let Some(value) = value else { continue };
            let value = match column {
                Column::Boolean => (value != 0.0).into(),
                _ => value.into(),
            };
            object.insert(name.into(), value);
        }
        object.into()
    }

    /// As it lies in a chunk: APID (u16), spacecraft (u16), time (i64), one bit for each column
    /// that has a value (u32), the values (f64); little-endian.
    pub(crate) fn to_octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEAD_OCTETS + 8 * COLUMNS_MAX);
        octets.extend(self.kind().apid.number().to_le_bytes());
        octets.extend(self.spacecraft.number().to_le_bytes());
        octets.extend(self.time_us.to_le_bytes());
        let present = |(place, value): (usize, &Option<f64>)| u32::from(value.is_some()) << place;
        let mask: u32 = self.values.iter().enumerate().map(present).sum();
        octets.extend(mask.to_le_bytes());
        octets.extend(self.values.iter().flatten().flat_map(|value| value.to_le_bytes()));
        octets
    }

    /// The kind of the sample that lies in these octets.
    pub(crate) fn apid_of(octets: &[u8]) -> Option<Apid> {
        octets.first_chunk().map(|apid| Apid::new(u16::from_le_bytes(*apid)))
    }

    /// Reads [`Self::to_octets`]; none when the octets are not exactly a sample of a kind.
    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let (apid, rest) = octets.split_first_chunk()?;
        let (spacecraft, rest) = rest.split_first_chunk()?;
        let (time_us, rest) = rest.split_first_chunk()?;
        let (mask, mut rest) = rest.split_first_chunk()?;
        let apid = Apid::new(u16::from_le_bytes(*apid));
        let kind = KINDS.iter().find(|kind| kind.apid == apid)?;
        let spacecraft = SpacecraftId::new(u16::from_le_bytes(*spacecraft))?;
        let mut sample = Self::new(kind, spacecraft, i64::from_le_bytes(*time_us));
        let mask = u32::from_le_bytes(*mask);
        for (place, slot) in sample.values.iter_mut().enumerate() {
            if mask >> place & 1 == 1 {
                let (value, tail) = rest.split_first_chunk()?;
                *slot = Some(f64::from_le_bytes(*value));
                rest = tail;
            }
        }
        let has_columns = mask.checked_shr(kind.column_count as u32).unwrap_or_default() == 0;
        (has_columns && rest.is_empty()).then_some(sample)
    }
}

/// Columns that the mask has bits for; more than any kind has, which a test shows.
const COLUMNS_MAX: usize = 32;
const HEAD_OCTETS: usize = 2 + 2 + 8 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_fits_and_reads_back() {
        for kind in KINDS {
            let columns = kind.columns().count();
            assert!(columns <= COLUMNS_MAX);
            assert_eq!(columns, kind.column_count);
            let mut sample = Sparse::new(kind, SpacecraftId::new(65_535).unwrap(), i64::MIN);
            for place in (0..columns).step_by(3) {
                sample.set(place, place as f64 / 7.0);
            }
            assert_eq!(Sparse::from_octets(&sample.to_octets()), Some(sample.clone()));
            assert_eq!(sample.columns().count(), columns);
        }
    }
}
