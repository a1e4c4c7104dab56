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
    ranges: Statement,
    tables: Vec<Chunks>,
}

#[derive(Default)]
struct Chunks {
    /// From when until when each is, µs since 1970, in order.
    ranges: Vec<(i64, i64)>,
    asked: Option<Instant>,
}

impl Columnstore {
    /// Nothing known yet of so many tables. There has to be TimescaleDB.
    pub async fn new(client: &Client, tables: usize) -> Result<Self, tokio_postgres::Error> {
        let tables = (0..tables).map(|_| Chunks::default()).collect();
        Ok(Self { ranges: client.prepare(RANGES).await?, tables })
    }

    /// Whether the table at `place` has chunks for all of this time; what others have not committed
    /// yet does not count. While it has not, the server is asked once a second.
    pub async fn covers(
        &mut self,
        client: &impl GenericClient,
        (place, table): (usize, &str),
        times_us: (i64, i64),
    ) -> Result<bool, tokio_postgres::Error> {
        let Some(chunks) = self.tables.get_mut(place) else { return Ok(false) };
        if chunks.cover(times_us) {
            return Ok(true);
        }
        if chunks.asked.is_some_and(|asked| asked.elapsed() < ASK_PERIOD) {
            return Ok(false);
        }
        chunks.asked = Some(Instant::now());
        let rows = client.query(&self.ranges, &[&table]).await?;
        chunks.ranges = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(chunks.cover(times_us))
    }
}

impl Chunks {
    fn cover(&self, (first, last): (i64, i64)) -> bool {
        let mut covered = first;
        for &(start, end) in &self.ranges {
            if start <= covered && covered < end {
                covered = end;
            }
        }
        covered > last
    }
}

const RANGES: &str = "
    SELECT (extract(epoch FROM range_start) * 1000000)::bigint,
           (extract(epoch FROM range_end) * 1000000)::bigint
    FROM timescaledb_information.chunks
    WHERE hypertable_name = $1
      AND to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass($1)
    ORDER BY range_start";
const ASK_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_time_has_to_be_covered() {
        let chunks = Chunks { ranges: vec![(0, 6), (6, 12), (18, 24)], asked: None };
        for (times, is_covered) in [
            ((0, 0), true),
            ((3, 11), true),
            ((3, 12), false),
            ((11, 19), false),
            ((18, 23), true),
            ((-1, 3), false),
            ((24, 24), false),
        ] {
            assert_eq!(chunks.cover(times), is_covered, "{times:?}");
        }
        assert!(!Chunks::default().cover((0, 0)));
    }
}
