//! Which samples of a batch the database has already, asked before the batch is copied.
//!
//! The commit ledger tells that for samples of one numbering. It cannot for a recording of what was
//! received live, nor for a journal whose rows of `ingest_batch` are gone. Then a frame is
//! recognised by station, spacecraft, APID, boot, counter and time: all copies of a frame are the
//! same frame. A JSON sample has no counter and is recognised by station, satellite and time, each
//! stored row standing for one sample; [`Check`] remembers across batches which rows those are.
//!
//! The question is asked in the batch's transaction, behind its claim and behind one advisory lock a
//! shard: of two transactions that check the same shard, the second sees what the first has stored,
//! whatever their journals. A station that stores live does not check and takes no such lock.
//!
//! Bounds: one round trip a table. A satellite's samples are asked for in spans that end at a gap of
//! `GAP_US_MAX` and after `SPAN_US_MAX`, so at most as many spans as the batch has samples. The
//! server holds the answer to one span at a time. Rows are matched as they arrive and none is kept:
//! memory here grows with the samples of the batch only, some `KEY_OCTETS` octets each.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use futures_util::TryStreamExt as _;
use protocol::{KINDS, SpacecraftId};
use tokio_postgres::{
    Error, Statement, Transaction,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};

use crate::{
    batch::{Batch, Form, Presence},
    chunk::{Entry, Record, Sample},
    copy::POSTGRES_EPOCH_US,
};

/// Whose rows count as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the station that stores.
    ThisStation,
    /// Those of every station.
    AnyStation,
}

/// What is checked before it is stored, and how a writer's rows are made.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whose rows count.
    pub scope: Scope,
    /// The shards whose samples are checked, one bit each.
    pub shards: u64,
    form: Form,
    /// Rows of JSON samples that stand for a sample of an earlier batch.
    taken: HashMap<Moment, u32>,
}

/// One frame of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FrameKey {
    time_us: i64,
    sequence: u32,
    boot_count: u16,
    spacecraft: u16,
}

/// What a JSON sample is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Moment {
    time_us: i64,
    spacecraft: u16,
    table: u8,
}

/// The samples of one table that are looked for.
#[derive(Debug, Default)]
struct Wanted {
    frames: HashMap<FrameKey, bool>,
    /// How many rows there are.
    moments: HashMap<Moment, u32>,
    times: Vec<(u16, i64)>,
}

/// A satellite and the times between which it is asked about, µs since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    spacecraft: u16,
    first_us: i64,
    last_us: i64,
}

impl Check {
    /// Checks the samples of these shards, one bit each, whose rows are made as `form` says.
    #[must_use]
    pub fn new(scope: Scope, shards: u64, form: Form) -> Self {
        Self { scope, shards, form, taken: HashMap::new() }
    }

    /// The batch was stored: the rows of its JSON samples stand for these and for no later ones.
    pub fn settle(&mut self, batch: &Batch) {
        for entry in batch.entries() {
            let Some(record) = self.checked(&entry) else { continue };
            let Some(moment) = moment(record) else { continue };
            if self.taken.len() < TAKEN_MAX || self.taken.contains_key(&moment) {
                *self.taken.entry(moment).or_default() += 1;
            }
        }
    }

    /// Marks in the batch what the database has already. To be called in the transaction that has
    /// claimed the batch.
    pub(super) async fn mark(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let shards = batch.ranges().map(|(shard, _)| shard);
        let shards: Vec<i32> = shards
            .filter(|&shard| self.shards & (1 << shard) != 0)
            .map(|shard| shard as i32)
            .collect();
        if shards.is_empty() {
            return Ok(());
        }
        transaction.execute(LOCK_SHARDS, &[&shards]).await?;
        let mut wanted: Vec<Wanted> = KINDS.iter().map(|_| Wanted::default()).collect();
        for entry in batch.entries() {
            let Some(record) = self.checked(&entry) else { continue };
            let Some(table) = table_of(record) else { continue };
            wanted[table].add(record);
        }
        for (table, wanted) in wanted.iter_mut().enumerate() {
            self.ask(transaction, statement, table, wanted).await?;
        }
        let presence = self.presence(batch, &mut wanted);
        batch.skip_stored(&presence, &self.form);
        Ok(())
    }

    /// One round trip: all spans of a table.
    async fn ask(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
        table: usize,
        wanted: &mut Wanted,
    ) -> Result<(), Error> {
        let spans = spans(std::mem::take(&mut wanted.times));
        if spans.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i32> = spans.iter().map(|span| span.spacecraft.into()).collect();
        let name = |span: &Span| SpacecraftId::new(span.spacecraft).map(|id| id.to_string());
        let names: Vec<Option<String>> = spans.iter().map(name).collect();
        let first: Vec<Micros> = spans.iter().map(|span| Micros(span.first_us)).collect();
        let last: Vec<Micros> = spans.iter().map(|span| Micros(span.last_us)).collect();
        let station = match self.scope {
            Scope::ThisStation => Some(&*self.form.station),
            Scope::AnyStation => None,
        };
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&KINDS[table].table, &numbers, &names, &first, &last, &station];
        let rows = transaction.query_raw(statement, parameters).await?;
        tokio::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            let (spacecraft, Micros(time_us)) = (row.get::<_, i32>(0) as u16, row.get(1));
            let counters = (row.get::<_, Option<i32>>(2), row.get::<_, Option<i32>>(3));
            wanted.found(table, spacecraft, time_us, counters);
        }
        Ok(())
    }

    /// Says of each sample of the batch whether it was found.
    fn presence(&self, batch: &Batch, wanted: &mut [Wanted]) -> Presence {
        for moments in wanted.iter_mut().map(|wanted| &mut wanted.moments) {
            for (moment, rows) in moments {
                *rows = rows.saturating_sub(self.taken.get(moment).copied().unwrap_or_default());
            }
        }
        let mut stored = HashSet::new();
        for (number, entry) in batch.entries().enumerate() {
            let Some(record) = self.checked(&entry) else { continue };
            let Some(table) = table_of(record) else { continue };
            if wanted[table].take(record, self.taken.len() < TAKEN_MAX) {
                stored.insert(number as u32);
            }
        }
        Presence { stored }
    }

    /// The sample that an entry is, if it goes to its table and its shard is checked.
    fn checked<'a>(&self, entry: &'a Entry<'a>) -> Option<&'a Record<'a>> {
        let Entry::Sample(record) = entry else { return None };
        let is_checked = self.shards & (1 << entry.shard()) != 0;
        let (generated_us, received_us) = (record.generated_us(), record.received_us);
        let is_row = self.form.window.refusal(generated_us, received_us).is_none();
        (is_checked && is_row).then_some(record)
    }
}

impl Wanted {
    fn add(&mut self, record: &Record<'_>) {
        self.times.push((record.spacecraft().number(), record.generated_us()));
        if let Some(key) = frame_key(record) {
            self.frames.insert(key, false);
        } else if let Some(moment) = moment(record) {
            self.moments.insert(moment, 0);
        }
    }

    fn found(
        &mut self,
        table: usize,
        spacecraft: u16,
        time_us: i64,
        counters: (Option<i32>, Option<i32>),
    ) {
        match counters {
            (Some(sequence), Some(boot_count)) => {
                let Ok(boot_count) = u16::try_from(boot_count) else { return };
                let sequence = sequence.cast_unsigned();
                let key = FrameKey { time_us, sequence, boot_count, spacecraft };
                if let Some(is_found) = self.frames.get_mut(&key) {
                    *is_found = true;
                }
            }
            (None, None) => {
                let moment = Moment { time_us, spacecraft, table: table as u8 };
                if let Some(rows) = self.moments.get_mut(&moment) {
                    *rows = rows.saturating_add(1);
                }
            }
            _ => {}
        }
    }

    /// Whether a sample is stored. A row stands for one JSON sample, and for none when that could
    /// not be remembered: it is then rather stored twice than lost.
    fn take(&mut self, record: &Record<'_>, is_remembered: bool) -> bool {
        if let Some(key) = frame_key(record) {
            return self.frames.get(&key).copied().unwrap_or_default();
        }
        let rows = moment(record).and_then(|moment| self.moments.get_mut(&moment));
        match rows {
            Some(rows) if *rows > 0 && is_remembered => {
                *rows -= 1;
                true
            }
            _ => false,
        }
    }
}

/// The place of a sample's table among those of a batch.
fn table_of(record: &Record<'_>) -> Option<usize> {
    KINDS.iter().position(|kind| kind.apid == record.apid())
}

fn frame_key(record: &Record<'_>) -> Option<FrameKey> {
    let Sample::Frame(frame) = &record.sample else { return None };
    Some(FrameKey {
        time_us: record.generated_us(),
        sequence: frame.sequence().value(),
        boot_count: frame.boot_count(),
        spacecraft: frame.spacecraft().number(),
    })
}

fn moment(record: &Record<'_>) -> Option<Moment> {
    let Sample::Sparse(sample) = &record.sample else { return None };
    let table = table_of(record)? as u8;
    Some(Moment { time_us: sample.time_us, spacecraft: sample.spacecraft.number(), table })
}

/// Brings times of each satellite together into spans.
fn spans(mut times: Vec<(u16, i64)>) -> Vec<Span> {
    times.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (spacecraft, time_us) in times {
        match spans.last_mut() {
            Some(span)
                if span.spacecraft == spacecraft
                    && time_us.saturating_sub(span.last_us) <= GAP_US_MAX
                    && time_us.saturating_sub(span.first_us) <= SPAN_US_MAX =>
            {
                span.last_us = time_us;
            }
            _ => spans.push(Span { spacecraft, first_us: time_us, last_us: time_us }),
        }
    }
    spans
}

/// A `timestamptz`, in µs since 1970.
#[derive(Clone, Copy, Debug)]
struct Micros(i64);

impl ToSql for Micros {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_i64(self.0.saturating_sub(POSTGRES_EPOCH_US));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Micros {
    fn from_sql(
        type_: &Type,
        octets: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let us = i64::from_be_bytes(octets.try_into().map_err(|_| format!("no {type_}"))?);
        Ok(Self(us.saturating_add(POSTGRES_EPOCH_US)))
    }

    accepts!(TIMESTAMPTZ);
}

/// Spans of several satellites in one statement.
pub(super) const STORED_FRAMES: &str = r#"
    SELECT span.spacecraft, stored."time", stored.sequence, stored.boot_count
    FROM unnest($2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[])
             AS span (spacecraft, satellite, since, until)
    CROSS JOIN LATERAL {schema}.stored_frames($1::text, span.satellite, span.since, span.until) AS stored
    WHERE $6::text IS NULL OR stored.station = $6::text"#;

/// In the order of the shards, so that two transactions never wait for each other.
const LOCK_SHARDS: &str = "
    SELECT pg_advisory_xact_lock(hashtext('orbitstream check'), shard)
    FROM unnest($1::int[]) AS shard";

const US: i64 = 1_000_000;
/// A longer gap between two samples of a satellite ends a span: reading past the rows of a minute
/// costs about as much as another span.
const GAP_US_MAX: i64 = Duration::from_secs(60).as_secs() as i64 * US;
/// No span is longer: at 100 rows a second the server holds 360,000 small rows for one.
const SPAN_US_MAX: i64 = Duration::from_secs(3_600).as_secs() as i64 * US;
/// JSON samples whose rows are remembered, some 48 MB. Of more than that, those that are stored
/// already are stored a second time.
const TAKEN_MAX: usize = 1 << 20;
/// What a sample of a batch takes while it is looked for.
pub const KEY_OCTETS: usize = 64;
const _: () =
    assert!(size_of::<FrameKey>() + size_of::<(u16, i64)>() + size_of::<u32>() < KEY_OCTETS);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{batch::TimeWindow, chunk::Chunk, sparse::Sparse};

    const WINDOW: TimeWindow =
        TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(60) };

    fn check(shards: u64) -> Check {
        Check::new(Scope::ThisStation, shards, Form { station: "GS-01".into(), window: WINDOW })
    }

    /// A batch of JSON samples of these spacecraft at these times.
    fn batch(samples: &[(u16, i64)]) -> Batch {
        let mut chunk = Chunk::new();
        for &(spacecraft, time_us) in samples {
            let spacecraft = SpacecraftId::new(spacecraft).unwrap();
            assert!(chunk.push_sparse(&Sparse::new(KINDS[0], spacecraft, time_us), 0));
        }
        let mut batch = Batch::new(u64::MAX);
        let form = Form { station: "GS-01".into(), window: WINDOW };
        batch.push(&chunk, &form, Instant::now(), |_, _| {});
        batch
    }

    /// Which samples are stored when the database has these rows, of spacecraft 1 at time 5.
    fn stored(check: &Check, batch: &Batch, rows: usize) -> Vec<u32> {
        let mut wanted: Vec<Wanted> = KINDS.iter().map(|_| Wanted::default()).collect();
        for entry in batch.entries() {
            if let Some(record) = check.checked(&entry) {
                wanted[0].add(record);
            }
        }
        for _ in 0..rows {
            wanted[0].found(0, 1, 5, (None, None));
            wanted[0].found(0, 1, 5, (Some(1), Some(1)));
        }
        let mut stored: Vec<_> = check.presence(batch, &mut wanted).stored.into_iter().collect();
        stored.sort_unstable();
        stored
    }

    #[test]
    fn a_row_stands_for_one_json_sample_in_all_batches() {
        let mut check = check(u64::MAX);
        let first = batch(&[(1, 5), (2, 5), (1, 5), (1, 6), (1, 5)]);
        assert_eq!(stored(&check, &first, 0), [0; 0]);
        assert_eq!(stored(&check, &first, 2), [0, 2]);
        assert_eq!(stored(&check, &first, 9), [0, 2, 4]);
        // With two rows it stores the third sample itself: none of the three stands for another.
        check.settle(&first);
        let second = batch(&[(1, 5), (1, 5)]);
        assert_eq!(stored(&check, &second, 3), [0; 0]);
        assert_eq!(stored(&check, &second, 4), [0]);
    }

    #[test]
    fn only_shards_that_are_asked_for_and_rows_that_go_to_their_table() {
        let samples = batch(&[(1, 5), (2, 5), (1, 5)]);
        assert_eq!(stored(&check(0b10), &samples, 9), [0, 2]);
        assert_eq!(stored(&check(0b100), &samples, 9), [0; 0]);
        let late = batch(&[(1, -61_000_000), (1, 5)]);
        assert_eq!(stored(&check(u64::MAX), &late, 9), [1]);
    }

    #[test]
    fn spans_end_at_gaps_and_in_length() {
        let minute = GAP_US_MAX;
        let span = |spacecraft, first_us, last_us| Span { spacecraft, first_us, last_us };
        let times = vec![(2, 5), (1, minute), (1, 0), (1, 2 * minute + 1), (2, 5)];
        let found = spans(times);
        assert_eq!(
            found,
            [span(1, 0, minute), span(1, 2 * minute + 1, 2 * minute + 1), span(2, 5, 5)]
        );
        let day: Vec<_> = (0..24 * 60).map(|number| (1, number * minute)).collect();
        let found = spans(day);
        assert!(
            found.len() == 24
                && found.iter().all(|span| span.last_us - span.first_us <= SPAN_US_MAX)
        );
        assert!(spans(vec![(1, i64::MIN), (1, i64::MAX)]).len() == 2 && spans(vec![]).is_empty());
    }
}
