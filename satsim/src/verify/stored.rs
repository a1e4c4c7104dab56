//! What the database holds of a flight: one grouped query for each table, so that tens of millions
//! of rows cost one pass and the answer has one line a stream.
//!
//! Limits: only the flight's boots, and times from its start to its end with `MARGIN_S` around
//! them; JSON samples have no boot and are left out.

use std::collections::{BTreeSet, HashMap};

use protocol::KINDS;
use tokio_postgres::{Config, NoTls, types::ToSql};

use super::truth::{StreamKey, Truth};

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

/// Why the database could not be asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoredError {
    #[error(
        "--database-url is no address of a database: {0}; its form is \
         postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    )]
    Url(tokio_postgres::Error),
    #[error("cannot reach the database: {}; is --database-url right?", said(.0))]
    Unreachable(tokio_postgres::Error),
    #[error("the database refused to count: {}; is --database-url that of a station?", said(.0))]
    Refused(tokio_postgres::Error),
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

/// Counts the rows of `truth`'s boots and times.
pub fn read(database_url: &str, truth: &Truth) -> Result<Stored, StoredError> {
    let config: Config = database_url.parse().map_err(StoredError::Url)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StoredError::Runtime)?
        .block_on(count(config, truth))
}

async fn count(mut config: Config, truth: &Truth) -> Result<Stored, StoredError> {
    config.application_name("satsim verify");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_DURATION_MAX);
    }
    let (client, connection) = config.connect(NoTls).await.map_err(StoredError::Unreachable)?;
    // Its end, good or bad, shows in the queries.
    let connection = tokio::spawn(connection);
    client.batch_execute(SETTINGS).await.map_err(StoredError::Refused)?;
    let boots: BTreeSet<i32> =
        truth.streams.iter().map(|stream| i32::from(stream.key.boot_count)).collect();
    let boots: Vec<i32> = boots.into_iter().collect();
    let parameters: [&(dyn ToSql + Sync); 3] = [&boots, &truth.start, &truth.end];
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
        let rows = client.query(&query, &parameters).await;
        for row in rows.map_err(StoredError::Refused)? {
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
    drop(client);
    connection.abort();
    Ok(stored)
}

/// What the server said, or why it could not be asked: the driver's own text leaves both out.
fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(source)) => source.to_string(),
        (None, None) => error.to_string(),
    }
}

/// Counting all rows may take longer than a role for dashboards is allowed, and sorts them; times
/// are compared as they stand in the report.
const SETTINGS: &str = "SET statement_timeout = 0; SET work_mem = '128MB'; SET timezone = 'UTC'; \
    SET default_transaction_read_only = on";
/// Frames are dated to the microsecond, reports too; a second is more than any rounding.
const MARGIN_S: u32 = 1;
const CONNECT_DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(10);
