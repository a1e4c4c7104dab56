//! Where a batch may go straight into the columnstore: into chunks that were there before.
//!
//! When two transactions need a new chunk at once, TimescaleDB (2.28.3, 2.29.2) lets the second wait
//! for the first and then takes the chunk for its own, and for empty (`chunk_tuple_routing.c`,
//! `chunk_created`). If it compresses, the chunk is not marked as one that holds rows as well, and the
//! rows of the first are found by no query until other rows come. A chunk that was there before is
//! always marked.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, GenericClient, Statement};

/// What is known of the chunks of each table of a batch.
pub struct Columnstore {
    chunks: Statement,
    are_there: Statement,
    /// The schema of the tables.
    schema: String,
    tables: Vec<Chunks>,
}

#[derive(Default)]
struct Chunks {
    /// In order of time.
    known: Vec<Chunk>,
    asked: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Chunk {
    /// From when until when it is, in µs since 1970.
    times_us: (i64, i64),
    /// The object identifier of its table.
    oid: u32,
}

impl Columnstore {
    /// Nothing known yet of so many tables of a schema. There has to be TimescaleDB.
    pub async fn new(
        client: &Client,
        schema: &str,
        tables: usize,
    ) -> Result<Self, tokio_postgres::Error> {
        let tables = (0..tables).map(|_| Chunks::default()).collect();
        let (chunks, are_there) = (client.prepare(CHUNKS).await?, client.prepare(ARE_THERE).await?);
        Ok(Self { chunks, are_there, schema: schema.to_owned(), tables })
    }

    /// Whether the table at `place` has chunks for all of this time; what others have not committed
    /// yet does not count. While it has not, the server is asked for all of them, ten times a
    /// second at most.
    pub async fn covers(
        &mut self,
        client: &impl GenericClient,
        (place, table): (usize, &str),
        times_us: (i64, i64),
    ) -> Result<bool, tokio_postgres::Error> {
        let Some(chunks) = self.tables.get_mut(place) else { return Ok(false) };
        if let Some(oids) = chunks.covering(times_us) {
            // They may have been dropped since.
            let there: i64 = client.query_one(&self.are_there, &[&oids]).await?.get(0);
            if there == oids.len() as i64 {
                return Ok(true);
            }
        }
        if chunks.asked.is_some_and(|asked| asked.elapsed() < ASK_PERIOD) {
            return Ok(false);
        }
        chunks.asked = Some(Instant::now());
        let rows = client.query(&self.chunks, &[&self.schema, &table]).await?;
        let known = rows.iter();
        let known = known.map(|row| Chunk { times_us: (row.get(0), row.get(1)), oid: row.get(2) });
        chunks.known = known.collect();
        Ok(chunks.covering(times_us).is_some())
    }
}

impl Chunks {
    /// The chunks that have this time between them; none if they lack any of it.
    fn covering(&self, (first, last): (i64, i64)) -> Option<Vec<u32>> {
        let (mut covered, mut oids) = (first, Vec::new());
        for &Chunk { times_us: (start, end), oid } in &self.known {
            if start <= covered && covered < end && covered <= last {
                covered = end;
                oids.push(oid);
            }
        }
        (covered > last).then_some(oids)
    }
}

const CHUNKS: &str = "
    SELECT (extract(epoch FROM range_start) * 1000000)::bigint,
           (extract(epoch FROM range_end) * 1000000)::bigint,
           format('%I.%I', chunk_schema, chunk_name)::regclass::oid
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = $1 AND hypertable_name = $2
    ORDER BY range_start";
const ARE_THERE: &str = "SELECT count(*) FROM pg_class WHERE oid = ANY($1)";
const ASK_PERIOD: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_time_has_to_be_covered() {
        let known = [(0, 6), (6, 12), (18, 24)].into_iter().zip(1..);
        let known = known.map(|(times_us, oid)| Chunk { times_us, oid }).collect();
        let chunks = Chunks { known, asked: None };
        for (times, oids) in [
            ((0, 0), Some(vec![1])),
            ((5, 5), Some(vec![1])),
            ((3, 11), Some(vec![1, 2])),
            ((6, 6), Some(vec![2])),
            ((3, 12), None),
            ((11, 19), None),
            ((18, 23), Some(vec![3])),
            ((-1, 3), None),
            ((24, 24), None),
        ] {
            assert_eq!(chunks.covering(times), oids, "{times:?}");
        }
        assert_eq!(Chunks::default().covering((0, 0)), None);
    }
}
