//! The database: one connection, one transaction a batch, each stored exactly once.
//!
//! A batch claims the ranges of its shards in `ingest_batch` and copies its rows in the same
//! transaction. When the outcome of a commit is unknown the batch is simply stored again: if the
//! first attempt did commit, the claims no longer fit and nothing is copied. Events go with the
//! batch of the samples that they were found in.
//!
//! What is committed is found by a query from then on (`tables`), and there are no more connections
//! than writers and one (`connection`).

pub mod anomalies;
mod columnstore;
mod connection;
mod lock_wait;
mod migrate;
mod pooler;
pub mod presence;
pub mod run_lock;
pub mod schema;
mod tables;
mod timescaledb;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, future::try_join};
use protocol::KINDS;
use tokio::time::timeout;
use tokio_postgres::{Client, GenericClient, Statement};

pub use crate::address::explain;
pub use lock_wait::LockWait;
pub use tables::Obstacle;

use columnstore::Columnstore;
use connection::{Connection, connect, connect_writer};
use presence::Check;
use tables::{Guard, Tables};

use crate::{
    address::{Address, ConnectError},
    batch::{Batch, Rows},
    copy::{CopyBuffer, side},
    detect::Event,
    journal::JOURNAL_LOW_BITS,
    queue::SHARDS,
};

/// A connection that is ready to store batches.
pub struct Store {
    /// Rows of one satellite, on average, from which on a table's rows go into the columnstore at
    /// once, where the server can do that.
    pub columnstore_from: Option<usize>,
    /// What is needed for that, if the server can.
    columnstore: Option<Columnstore>,
    guard: Guard,
    claim: Statement,
    positions: Statement,
    name_satellites: Statement,
    upsert_anomalies: Statement,
    /// What is stored already: the question, and the statement once it was asked.
    stored_frames: (String, Option<Statement>),
    /// One for each table of a batch, in its order.
    copies: Vec<Statement>,
    client: Client,
    /// There once the session is set up.
    connection: Option<Connection>,
}

/// A batch, and whether it is looked for in the database first.
enum Given<'a> {
    Whole(&'a Batch),
    Checked(&'a mut Batch, &'a Check),
}

impl Given<'_> {
    fn batch(&self) -> &Batch {
        match self {
            Self::Whole(batch) => batch,
            Self::Checked(batch, _) => batch,
        }
    }
}

/// Whose positions the ranges are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The station's name.
    pub station: String,
    /// One numbering of chunks, drawn at random when it begins: that of one run of the station.
    pub journal: i64,
}

/// Up to where each shard of one numbering is stored; none where the database has no row of it.
pub type Positions = [Option<i64>; SHARDS];

/// Why a batch was not stored, for all that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or the connection.
    #[error("{}", explain(.0))]
    Database(#[from] tokio_postgres::Error),
    /// Nobody answers where the database should be.
    #[error(transparent)]
    Unreachable(ConnectError),
    /// The server refused the connection, or did not answer in time.
    #[error(transparent)]
    NotConnected(ConnectError),
    /// The database does not stand where this run has stored to: it was restored from a backup, or
    /// somebody else writes with this identity. Only a restart asks it where it stands.
    #[error(
        "the database does not stand where this station has stored to: was it restored, or does \
         another receiver write as this station and journal? Restart the station, it then goes on \
         from where the database stands ({claimed} of {wanted} claims fit)"
    )]
    Conflict {
        /// Claims that fitted.
        claimed: u64,
        /// Claims made.
        wanted: u64,
    },
    /// The server answers, and nothing is to be stored all the same.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// There are no tables.
    #[error("the database has no OrbitStream tables")]
    NoTables,
    /// COPY has succeeded, and not all rows are in the table.
    #[error(
        "{table} took {stored} of {sent} rows without an error: a trigger swallows the others; remove \
         it, or let it return the row"
    )]
    Swallowed {
        /// Whose rows they were.
        table: &'static str,
        /// Rows that are in it.
        stored: u64,
        /// Rows that were sent.
        sent: u64,
    },
    /// The server accepted the connection or the request, and then said nothing.
    #[error("the database does not answer")]
    Silent,
    /// The schema has not been looked at yet.
    #[error("the database has not been checked yet")]
    Unchecked,
    /// The station was stopped, and its time to drain is over.
    #[error("the database did not answer before the time to drain was over")]
    OutOfTime,
}

/// What kind of error it is, and so what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The server or the way to it has a problem that may pass: to be tried again.
    Passing,
    /// It is about a row: without that the others can be stored.
    Row,
    /// Tables, rights or the like are not what they should be: to be mended by people, and tried
    /// again until then.
    Refusal,
}

impl Error {
    /// By the class of SQLSTATE, never by the text.
    #[must_use]
    pub fn class(&self) -> Class {
        if matches!(
            self,
            Self::Conflict { .. } | Self::Obstacle(_) | Self::NoTables | Self::Swallowed { .. }
        ) {
            return Class::Refusal;
        }
        match self.sqlstate().and_then(|code| code.get(..2)) {
            Some(class) if ROW_CLASSES.contains(&class) => Class::Row,
            Some(class) if REFUSAL_CLASSES.contains(&class) => Class::Refusal,
            _ => Class::Passing,
        }
    }

    /// Whether it is one that may be gone at the next attempt, and nothing to alarm anybody with
    /// before: the connection, a server that stops or starts, transactions in each other's way.
    #[must_use]
    pub fn is_brief(&self) -> bool {
        match self {
            Self::Database(_) | Self::NotConnected(_) => self
                .sqlstate()
                .is_none_or(|code| BRIEF_CLASSES.iter().any(|class| code.starts_with(class))),
            Self::Unreachable(_) | Self::Silent | Self::Unchecked | Self::OutOfTime => true,
            _ => false,
        }
    }

    /// The server's code, if the error is the server's.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database(error) => Some(error.code()?.code()),
            Self::NotConnected(error) => Some(error.as_db_error()?.code().code()),
            _ => None,
        }
    }
}

impl Store {
    /// Connects, finds out whether rows that are stored are found, and prepares all statements.
    pub async fn connect(config: &Address) -> Result<Self, Error> {
        let (client, connection) = connect_writer(config).await?;
        let prepared = timeout(PREPARE_MAX, Self::prepare(client)).await;
        match prepared.unwrap_or(Err(Error::Silent)) {
            Ok(mut store) => {
                store.connection = Some(connection);
                Ok(store)
            }
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(client: Client) -> Result<Self, Error> {
        client.batch_execute(KEEP_HEAP).await?;
        let tables = tables_of(&client).await?;
        let oids = tables.check(&client).await??;
        let mut copies = Vec::new();
        for copy in tables.copies() {
            copies.push(client.prepare(&copy).await?);
        }
        let version = if schema::has_timescaledb(&client, &tables).await? {
            client.query_opt(TIMESCALEDB_VERSION, &[]).await?
        } else {
            None
        };
        let columnstore = match version {
            Some(version) if has_direct_compress(version.get(0)) => {
                Some(Columnstore::new(&client, &tables.schema, KINDS.len()).await?)
            }
            _ => None,
        };
        Ok(Self {
            columnstore_from: None,
            columnstore,
            guard: tables.guard(&client, oids).await?,
            claim: client.prepare(&tables.qualify(CLAIM)).await?,
            positions: client.prepare(&tables.qualify(POSITIONS)).await?,
            name_satellites: client.prepare(&tables.qualify(NAME_SATELLITES)).await?,
            upsert_anomalies: client.prepare(&tables.qualify(anomalies::UPSERT)).await?,
            stored_frames: (tables.qualify(presence::STORED_FRAMES), None),
            copies,
            client,
            connection: None,
        })
    }

    /// Ends the connection; what the server is still doing for it is cancelled. Returns when it has
    /// ended, within a few seconds.
    pub async fn close(self) {
        let Self { client, connection, .. } = self;
        drop(client);
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    /// Stores a batch with the events that its samples have changed, whole or not at all; only events
    /// that the server refuses for what they are stay out, and their number is returned. After an
    /// error the connection is of no more use.
    pub async fn commit(
        &mut self,
        batch: &Batch,
        events: &[&Event],
        who: &Identity,
    ) -> Result<u64, Error> {
        self.commit_in_time(Given::Whole(batch), events, who).await
    }

    /// The same, but the samples that the database has already are left out of the batch first, as
    /// far as the `check` is about them.
    pub async fn commit_new(
        &mut self,
        batch: &mut Batch,
        check: &Check,
        events: &[&Event],
        who: &Identity,
    ) -> Result<u64, Error> {
        self.commit_in_time(Given::Checked(batch, check), events, who).await
    }

    async fn commit_in_time(
        &mut self,
        batch: Given<'_>,
        events: &[&Event],
        who: &Identity,
    ) -> Result<u64, Error> {
        // To give up here is safe: if the transaction commits all the same, the claims tell, and an
        // event that is stored twice is the same row.
        let stored = timeout(COMMIT_MAX, self.transact(batch, events, who)).await;
        stored.map_err(|_| Error::Silent)?
    }

    async fn transact(
        &mut self,
        mut given: Given<'_>,
        events: &[&Event],
        who: &Identity,
    ) -> Result<u64, Error> {
        let mut transaction = self.client.transaction().await?;
        let batch = given.batch();
        let is_claimed = if batch.ranges().next().is_none() {
            true
        } else {
            // Asked for together: that takes no longer than the claim alone.
            let guard = self.guard.check(&transaction);
            let claim = self::claim(&transaction, &self.claim, batch, who);
            try_join(guard, claim).await?.1
        };
        if !is_claimed {
            // None fits. If an attempt whose answer was lost has stored it, the same events are
            // stored as well.
            transaction.rollback().await?;
            let stored = self::positions(&self.client, &self.positions, who).await?;
            if batch.ranges().all(|(shard, range)| stored[shard] == Some(range.next)) {
                return Ok(0);
            }
            return Err(Error::Conflict { claimed: 0, wanted: batch.ranges().count() as u64 });
        }
        if let Given::Checked(batch, check) = &mut given
            && !batch.is_empty()
        {
            let (question, statement) = &mut self.stored_frames;
            let statement = match statement {
                Some(statement) => statement,
                None => statement.insert(transaction.prepare(question).await?),
            };
            check.mark(&transaction, statement, batch).await?;
        }
        let batch = given.batch();
        if !batch.newcomers.is_empty() {
            let ids: Vec<i32> = batch.newcomers.iter().map(|id| id.number().into()).collect();
            let names: Vec<String> = batch.newcomers.iter().map(ToString::to_string).collect();
            transaction.execute(&self.name_satellites, &[&ids, &names]).await?;
        }
        let columnstore = self.columnstore_from.zip(self.columnstore.as_mut());
        copy_all(&transaction, &self.copies, &batch.rows, columnstore).await?;
        // Each once: one statement cannot change a row twice.
        let known: BTreeMap<i64, &Event> = events.iter().map(|&event| (event.id, event)).collect();
        let of_entries = batch.events().iter().map(|(&id, event)| (id, event));
        let events: Vec<&Event> =
            of_entries.chain(known).collect::<BTreeMap<_, _>>().into_values().collect();
        let refused = if events.is_empty() {
            0
        } else {
            let statement = &self.upsert_anomalies;
            anomalies::store(&mut transaction, statement, &who.station, &events).await?
        };
        transaction.commit().await?;
        Ok(refused)
    }

    /// Whether the database would take these rows; nothing is stored. After an error that is not
    /// about the rows the connection is of no more use.
    pub async fn would_take(&mut self, rows: &Rows) -> Result<(), Error> {
        let tried = timeout(COMMIT_MAX, async {
            let transaction = self.client.transaction().await?;
            copy_all(&transaction, &self.copies, rows, None).await?;
            transaction.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await?;
            Ok(transaction.rollback().await?)
        });
        tried.await.map_err(|_| Error::Silent)?
    }

    /// Up to which place each shard of a journal is stored.
    pub async fn positions(&mut self, who: &Identity) -> Result<Positions, Error> {
        // A statement by itself: what it locks is free again at once, whatever this writer does next.
        let asked = timeout(COMMIT_MAX, positions(&self.client, &self.positions, who));
        Ok(asked.await.map_err(|_| Error::Silent)??)
    }
}

/// Finds out whether the database can be reached, and nothing else.
pub async fn reach(config: &Address) -> Result<(), Error> {
    let (client, connection) = connect_writer(config).await?;
    drop(client);
    connection.close().await;
    Ok(())
}

/// Whether the database knows a journal: something of one of its runs has been stored.
pub async fn knows(config: &Address, who: &Identity) -> Result<bool, Error> {
    let (client, connection) = connect(config).await?;
    let known = tables_of(&client).await?.qualify(KNOWN);
    let (first, last) = (who.journal & !JOURNAL_LOW_BITS, who.journal | JOURNAL_LOW_BITS);
    let known = client.query_one(&known, &[&who.station, &first, &last]).await;
    drop(client);
    connection.close().await;
    Ok(known?.get(0))
}

/// Removes the commit ledger of runs of this station that have stored nothing for `BATCHES_KEPT`;
/// returns how many rows it had.
pub async fn forget_batches(config: &Address, station: &str) -> Result<u64, Error> {
    let (client, connection) = connect(config).await?;
    let forget = tables_of(&client).await?.qualify(FORGET_BATCHES);
    let forgotten = client.query_one(&forget, &[&station, &BATCHES_KEPT]).await;
    drop(client);
    connection.close().await;
    Ok(forgotten?.get::<_, i64>(0).cast_unsigned())
}

/// Where the tables are.
async fn tables_of(client: &Client) -> Result<Tables, Error> {
    let tables = Tables::find(client).await?.transpose()?;
    tables.ok_or(Error::NoTables)
}

async fn positions(
    client: &impl GenericClient,
    statement: &Statement,
    who: &Identity,
) -> Result<Positions, tokio_postgres::Error> {
    let mut positions = [None; SHARDS];
    for row in client.query(statement, &[&who.station, &who.journal]).await? {
        if let Some(position) = positions.get_mut(row.get::<_, i16>(0) as usize) {
            *position = Some(row.get(1));
        }
    }
    Ok(positions)
}

/// Copies all rows, in tables with so many of each satellite straight into the columnstore.
async fn copy_all(
    transaction: &tokio_postgres::Transaction<'_>,
    statements: &[Statement],
    rows: &Rows,
    mut columnstore: Option<(usize, &mut Columnstore)>,
) -> Result<(), Error> {
    let (of_tables, of_sides) = statements.split_at(rows.tables.len());
    for (place, (buffer, statement)) in rows.tables.iter().zip(of_tables).enumerate() {
        let Some(times) = buffer.times_us() else { continue };
        let table = KINDS[place].table;
        let mut rows = buffer.by_satellite();
        let is_dense = match &mut columnstore {
            Some((least, columnstore)) if rows.density() >= *least => {
                columnstore.covers(transaction, (place, table), times).await?
            }
            _ => false,
        };
        if is_dense {
            rows.newest_first();
            transaction.batch_execute(DIRECT_COMPRESS).await?;
        }
        let stored = copy(transaction, statement, rows.pieces()).await?;
        are_all_stored(table, stored, buffer)?;
        if is_dense {
            transaction.batch_execute(NO_DIRECT_COMPRESS).await?;
        }
    }
    let sides = rows.sides.iter().zip(of_sides).zip(side::TABLES);
    for ((buffer, statement), table) in sides.filter(|((rows, _), _)| !rows.is_empty()) {
        let stored = copy(transaction, statement, buffer.pieces()).await?;
        are_all_stored(table, stored, buffer)?;
    }
    Ok(())
}

/// A trigger that returns no row takes it out without an error.
fn are_all_stored(table: &'static str, stored: u64, sent: &CopyBuffer) -> Result<(), Error> {
    let sent = sent.rows();
    if stored == sent { Ok(()) } else { Err(Error::Swallowed { table, stored, sent }) }
}

/// Whether this version of TimescaleDB compresses rows as COPY brings them, under aggregates too.
fn has_direct_compress(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= DIRECT_COMPRESS_SINCE
}

/// Claims the ranges of a batch; false when they have been claimed before.
async fn claim(
    transaction: &tokio_postgres::Transaction<'_>,
    statement: &Statement,
    batch: &Batch,
    who: &Identity,
) -> Result<bool, Error> {
    let ranges: Vec<_> = batch.ranges().collect();
    let shards: Vec<i16> = ranges.iter().map(|(shard, _)| *shard as i16).collect();
    let first: Vec<i64> = ranges.iter().map(|(_, range)| range.first).collect();
    let next: Vec<i64> = ranges.iter().map(|(_, range)| range.next).collect();
    let samples: Vec<i64> = ranges.iter().map(|(_, range)| range.samples).collect();
    let claimed = transaction
        .execute(statement, &[&who.station, &who.journal, &shards, &first, &next, &samples])
        .await?;
    match (claimed, ranges.len() as u64) {
        (0, _) => Ok(false),
        (claimed, wanted) if claimed == wanted => Ok(true),
        (claimed, wanted) => Err(Error::Conflict { claimed, wanted }),
    }
}

/// Copies one table's rows; returns how many the server has stored.
async fn copy(
    transaction: &tokio_postgres::Transaction<'_>,
    statement: &Statement,
    pieces: impl Iterator<Item = Bytes>,
) -> Result<u64, tokio_postgres::Error> {
    let sink = transaction.copy_in(statement).await?;
    tokio::pin!(sink);
    for piece in pieces {
        sink.as_mut().feed(piece).await?;
    }
    sink.feed(Bytes::from_static(COPY_TRAILER)).await?;
    sink.finish().await
}

/// Moves each shard's position from where the range begins to behind its last chunk. A shard whose
/// position is another is left alone, and not counted; so is one without any, unless that is what the
/// writer was told: a position that has gone was taken back with its rows.
const CLAIM: &str = "
    INSERT INTO {schema}.ingest_batch AS ledger (station, journal, shard, next, samples)
    SELECT $1, $2, shard, behind, samples
    FROM unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS claim (shard, first, behind, samples)
    WHERE first = 0 OR EXISTS (
        SELECT FROM {schema}.ingest_batch AS known
        WHERE known.station = $1 AND known.journal = $2 AND known.shard = claim.shard)
    ON CONFLICT (station, journal, shard) DO UPDATE
    SET next = excluded.next,
        samples = ledger.samples + excluded.samples,
        updated_at = now()
    WHERE ledger.next = (
        SELECT first
        FROM unnest($3::smallint[], $4::bigint[]) AS claim (shard, first)
        WHERE claim.shard = ledger.shard)";

const KNOWN: &str = "
    SELECT EXISTS (SELECT FROM {schema}.ingest_batch
                   WHERE station = $1 AND journal BETWEEN $2 AND $3)";

const FORGET_BATCHES: &str = "SELECT {schema}.forget_batches($1, $2::text::interval)";
/// Longer than samples are kept unless somebody wants it otherwise: a journal that is older has nothing
/// that would be stored twice.
const BATCHES_KEPT: &str = "30 days";

const TIMESCALEDB_VERSION: &str =
    "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'";

/// Lets the server's process keep what memory it has had. glibc gives the end of its heap back
/// whenever 128 KiB are free there, until a larger piece was freed once, after which that may be twice
/// as much as the piece (mallopt(3), `M_MMAP_THRESHOLD`). The columnstore takes and frees some of that
/// for every segment, and finding new pages for it cost as much as a sixth of all its time.
pub const KEEP_HEAP: &str = "SELECT length(repeat('x', 16777216))";
/// For the rest of the transaction. What comes in one COPY is sorted already, so that the server need
/// not do it; that all batches come in order (`client_sorted`) is not claimed, since UDP cannot
/// promise it: the chunk counts as unordered.
pub const DIRECT_COMPRESS: &str = "
    SET LOCAL timescaledb.enable_direct_compress_copy = on;
    SET LOCAL timescaledb.enable_direct_compress_copy_sort_batches = off";
const NO_DIRECT_COMPRESS: &str = "SET LOCAL timescaledb.enable_direct_compress_copy = off";
/// What [`Store::columnstore_from`] is unless somebody says otherwise: with fewer rows a segment, what
/// is gained at once is lost in size, until the chunk is compressed anew.
pub const COLUMNSTORE_FROM: usize = 50;
/// The first version that does it for tables with continuous aggregates.
const DIRECT_COMPRESS_SINCE: (Option<u32>, Option<u32>) = (Some(2), Some(24));

/// A transaction that is under way still, such as that of a run that was killed, is waited for.
const POSITIONS: &str = "
    SELECT shard, next FROM {schema}.ingest_batch WHERE station = $1 AND journal = $2
    ORDER BY shard FOR SHARE";

const NAME_SATELLITES: &str = "
    INSERT INTO {schema}.satellite (spacecraft_id, name)
    SELECT * FROM unnest($1::int[], $2::text[])
    ON CONFLICT DO NOTHING";

/// Data exception, integrity constraint violation.
const ROW_CLASSES: [&str; 2] = ["22", "23"];
/// Feature not supported, invalid authorization, invalid catalogue name, invalid schema name, syntax
/// error or access rule violation.
const REFUSAL_CLASSES: [&str; 5] = ["0A", "28", "3D", "3F", "42"];
/// Connection exception, transaction rollback, and of operator intervention those that stop a server
/// or its process (57P0x); 57014, a statement that was cancelled, is none.
const BRIEF_CLASSES: [&str; 3] = ["08", "40", "57P0"];
/// Ends a binary COPY: a row of −1 fields.
pub const COPY_TRAILER: &[u8] = &[0xFF, 0xFF];
/// Longer than a statement waits for a lock, so that the server says it.
const PREPARE_MAX: Duration = Duration::from_secs(15);
/// Far more than a batch takes, creation of chunks included.
const COMMIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_compress_directly() {
        for version in ["2.24.0", "2.28.3", "2.29.2-dev", "3.0.0", "10.1"] {
            assert!(has_direct_compress(version), "{version}");
        }
        for version in ["2.23.1", "2.9.0", "1.7.5", "", "next", "2"] {
            assert!(!has_direct_compress(version), "{version}");
        }
    }
}
