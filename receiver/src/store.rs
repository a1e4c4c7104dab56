//! The database: one connection, one transaction a batch, each stored exactly once.
//!
//! A batch claims the ranges of its shards in `ingest_batch` and copies its rows in the same
//! transaction. When the outcome of a commit is unknown the batch is simply stored again: if the
//! first attempt did commit, the claims no longer fit and nothing is copied. Events go with the
//! batch of the samples that they were found in.

pub mod anomalies;
mod columnstore;
pub mod presence;
pub mod run_lock;
pub mod schema;

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::SinkExt as _;
use protocol::KINDS;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, GenericClient, Statement};

pub use crate::address::explain;

use columnstore::Columnstore;
use presence::Check;

use crate::{
    address::Address,
    batch::{Batch, Rows},
    copy::{side, telemetry_copy},
    detect::Event,
    queue::SHARDS,
};

/// A connection that is ready to store batches.
pub struct Store {
    /// Rows of one satellite, on average, from which on a table's rows go into the columnstore at
    /// once, where the server can do that.
    pub columnstore_from: Option<usize>,
    /// What is needed for that, if the server can.
    columnstore: Option<Columnstore>,
    client: Client,
    claim: Statement,
    positions: Statement,
    name_satellites: Statement,
    upsert_anomalies: Statement,
    /// What is stored already, once that was asked.
    stored_frames: Option<Statement>,
    /// One for each table of a batch, in its order.
    copies: Vec<Statement>,
    _connection: Connection,
}

/// Drives a connection, and closes it when dropped, even while an answer is outstanding: the driver
/// by itself would wait for that answer for ever.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
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
    /// One numbering of chunks, drawn at random when it begins.
    pub journal: i64,
}

/// Why a batch was not stored, for all that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or the connection.
    #[error("{}", explain(.0))]
    Database(#[from] tokio_postgres::Error),
    /// Nobody answers where the database should be.
    #[error("{}", explain(.0))]
    Unreachable(tokio_postgres::Error),
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
    /// The server accepted the connection or the request, and then said nothing.
    #[error("the database does not answer")]
    Silent,
    /// The schema has not been looked at yet.
    #[error("the database has not been checked yet")]
    Unchecked,
    /// The station was stopped, and its time to drain is over.
    #[error("the database did not answer within --drain-timeout")]
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
        if matches!(self, Self::Conflict { .. }) {
            return Class::Refusal;
        }
        match self.sqlstate().and_then(|code| code.get(..2)) {
            Some(class) if ROW_CLASSES.contains(&class) => Class::Row,
            Some(class) if REFUSAL_CLASSES.contains(&class) => Class::Refusal,
            _ => Class::Passing,
        }
    }

    /// The server's code, if the error is the server's.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database(error) => Some(error.code()?.code()),
            _ => None,
        }
    }
}

impl Store {
    /// Connects, and prepares all statements.
    pub async fn connect(config: &Address) -> Result<Self, Error> {
        let connected = timeout(CONNECT_TIMEOUT, Self::connect_and_prepare(config)).await;
        connected.map_err(|_| Error::Silent)?
    }

    async fn connect_and_prepare(config: &Address) -> Result<Self, Error> {
        let (client, connection) = connect(config).await?;
        client.batch_execute(KEEP_HEAP).await?;
        let mut copies = Vec::new();
        for copy in KINDS.iter().map(|kind| telemetry_copy(kind)).chain(side::copies()) {
            copies.push(client.prepare(&copy).await?);
        }
        let version = client.query_opt(TIMESCALEDB_VERSION, &[]).await?;
        let columnstore = match version {
            Some(version) if has_direct_compress(version.get(0)) => {
                Some(Columnstore::new(&client, KINDS.len()).await?)
            }
            _ => None,
        };
        Ok(Self {
            columnstore_from: None,
            columnstore,
            claim: client.prepare(CLAIM).await?,
            positions: client.prepare(POSITIONS).await?,
            name_satellites: client.prepare(NAME_SATELLITES).await?,
            upsert_anomalies: client.prepare(anomalies::UPSERT).await?,
            stored_frames: None,
            copies,
            client,
            _connection: connection,
        })
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
        if !batch.is_empty() && !self::claim(&transaction, &self.claim, batch, who).await? {
            // None fits. If an attempt whose answer was lost has stored it, the same events are
            // stored as well.
            transaction.rollback().await?;
            let stored = self::positions(&self.client, &self.positions, who).await?;
            if batch.ranges().all(|(shard, range)| stored[shard] == range.next) {
                return Ok(0);
            }
            return Err(Error::Conflict { claimed: 0, wanted: batch.ranges().count() as u64 });
        }
        if let Given::Checked(batch, check) = &mut given
            && !batch.is_empty()
        {
            let statement = match &self.stored_frames {
                Some(statement) => statement,
                None => {
                    self.stored_frames.insert(transaction.prepare(presence::STORED_FRAMES).await?)
                }
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
        let refused = if events.is_empty() {
            0
        } else {
            let statement = &self.upsert_anomalies;
            anomalies::store(&mut transaction, statement, &who.station, events).await?
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
            transaction.rollback().await
        });
        Ok(tried.await.map_err(|_| Error::Silent)??)
    }

    /// Up to which place each shard of a journal is stored.
    pub async fn positions(&mut self, who: &Identity) -> Result<[i64; SHARDS], Error> {
        // A statement by itself: what it locks is free again at once, whatever this writer does next.
        let asked = timeout(COMMIT_MAX, positions(&self.client, &self.positions, who));
        Ok(asked.await.map_err(|_| Error::Silent)??)
    }
}

/// Finds out whether the database can be reached, and nothing else.
pub async fn reach(config: &Address) -> Result<(), Error> {
    connect(config).await.map(drop)
}

/// Whether the database knows a journal: something of it has been stored.
pub async fn knows(config: &Address, who: &Identity) -> Result<bool, Error> {
    let (client, _connection) = connect(config).await?;
    let known = "SELECT EXISTS (SELECT FROM ingest_batch WHERE station = $1 AND journal = $2)";
    Ok(client.query_one(known, &[&who.station, &who.journal]).await?.get(0))
}

async fn positions(
    client: &impl GenericClient,
    statement: &Statement,
    who: &Identity,
) -> Result<[i64; SHARDS], tokio_postgres::Error> {
    let mut positions = [0; SHARDS];
    for row in client.query(statement, &[&who.station, &who.journal]).await? {
        if let Some(position) = positions.get_mut(row.get::<_, i16>(0) as usize) {
            *position = row.get(1);
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
) -> Result<(), tokio_postgres::Error> {
    let (of_tables, of_sides) = statements.split_at(rows.tables.len());
    for (place, (buffer, statement)) in rows.tables.iter().zip(of_tables).enumerate() {
        let Some(times) = buffer.times_us() else { continue };
        let mut rows = buffer.by_satellite();
        let is_dense = match &mut columnstore {
            Some((least, columnstore)) if rows.density() >= *least => {
                columnstore.covers(transaction, (place, KINDS[place].table), times).await?
            }
            _ => false,
        };
        if is_dense {
            rows.newest_first();
            transaction.batch_execute(DIRECT_COMPRESS).await?;
        }
        copy(transaction, statement, rows.pieces()).await?;
        if is_dense {
            transaction.batch_execute(NO_DIRECT_COMPRESS).await?;
        }
    }
    for (rows, statement) in rows.sides.iter().zip(of_sides).filter(|(rows, _)| !rows.is_empty()) {
        copy(transaction, statement, rows.pieces()).await?;
    }
    Ok(())
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

async fn copy(
    transaction: &tokio_postgres::Transaction<'_>,
    statement: &Statement,
    pieces: impl Iterator<Item = Bytes>,
) -> Result<(), tokio_postgres::Error> {
    let sink = transaction.copy_in(statement).await?;
    tokio::pin!(sink);
    for piece in pieces {
        sink.as_mut().feed(piece).await?;
    }
    sink.feed(Bytes::from_static(COPY_TRAILER)).await?;
    sink.finish().await.map(|_| ())
}

/// Connects, and drives the connection on the runtime that this is called in.
async fn connect(address: &Address) -> Result<(Client, Connection), Error> {
    let mut config = address.config();
    config.application_name("orbitstream receiver");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    // A peer that has gone is noticed within half a minute, and a server that lost us ends our
    // transaction, whose claims the retry would otherwise wait for.
    config.tcp_user_timeout(SILENCE_MAX);
    config.keepalives_idle(SILENCE_MAX / 2);
    config.keepalives_interval(SILENCE_MAX / 6);
    config.keepalives_retries(3);
    let options = config.get_options().unwrap_or_default();
    config.options(format!("{options} -c idle_in_transaction_session_timeout=60s").trim());
    let connected = timeout(CONNECT_TIMEOUT, address.connect(&config)).await;
    let (client, connection) = connected.map_err(|_| Error::Silent)?.map_err(unconnected)?;
    let driver = tokio::spawn(async move {
        // Its error reaches whoever waits for an answer, and is told there.
        let _told_elsewhere = connection.await;
    });
    Ok((client, Connection(driver)))
}

/// Why a connection did not come about: the server has said it, it took too long, or there is none.
fn unconnected(error: tokio_postgres::Error) -> Error {
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
    let is_slow = cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut);
    if is_slow {
        Error::Silent
    } else if error.code().is_none() {
        Error::Unreachable(error)
    } else {
        Error::Database(error)
    }
}

/// Moves each shard's position from where the range begins to behind its last chunk. A shard whose
/// position is another is left alone, and not counted; so is one without any, unless that is what the
/// writer was told: a position that has gone was taken back with its rows.
const CLAIM: &str = "
    INSERT INTO ingest_batch AS ledger (station, journal, shard, next, samples)
    SELECT $1, $2, shard, behind, samples
    FROM unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS claim (shard, first, behind, samples)
    WHERE first = 0 OR EXISTS (
        SELECT FROM ingest_batch AS known
        WHERE known.station = $1 AND known.journal = $2 AND known.shard = claim.shard)
    ON CONFLICT (station, journal, shard) DO UPDATE
    SET next = excluded.next,
        samples = ledger.samples + excluded.samples,
        updated_at = now()
    WHERE ledger.next = (
        SELECT first
        FROM unnest($3::smallint[], $4::bigint[]) AS claim (shard, first)
        WHERE claim.shard = ledger.shard)";

const TIMESCALEDB_VERSION: &str =
    "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";

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
    SELECT shard, next FROM ingest_batch WHERE station = $1 AND journal = $2
    ORDER BY shard FOR SHARE";

const NAME_SATELLITES: &str = "
    INSERT INTO satellite (spacecraft_id, name)
    SELECT * FROM unnest($1::int[], $2::text[])
    ON CONFLICT DO NOTHING";

/// Data exception, integrity constraint violation.
const ROW_CLASSES: [&str; 2] = ["22", "23"];
/// Feature not supported, invalid authorization, invalid catalogue name, invalid schema name, syntax
/// error or access rule violation.
const REFUSAL_CLASSES: [&str; 5] = ["0A", "28", "3D", "3F", "42"];
/// Ends a binary COPY: a row of −1 fields.
pub const COPY_TRAILER: &[u8] = &[0xFF, 0xFF];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Far more than a batch takes, creation of a chunk included.
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
