//! The database that a station stores in: asked, never written to.

use address::{Address, AddressError, ConnectError};
use futures_util::TryStreamExt as _;
use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{Client, Row, types::ToSql};

/// An open connection.
#[derive(Debug)]
pub struct Database {
    runtime: Runtime,
    client: Client,
}

/// What stands for `$1`, `$2`, … in a query.
pub(super) type Parameters<'a> = [&'a (dyn ToSql + Sync)];

/// Why the database could not be asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DatabaseError {
    #[error(
        "--database-url is no address of a database: {0}; its form is \
         postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    )]
    Url(AddressError),
    #[error("{0}; is --database-url right?")]
    Unreachable(ConnectError),
    #[error("the database refused to count: {}; is --database-url that of a station?", said(.0))]
    Refused(tokio_postgres::Error),
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl Database {
    /// Connects, and begins the one transaction in which all is asked: behind a pooler, settings hold
    /// for no longer than that.
    pub fn open(url: &str) -> Result<Self, DatabaseError> {
        let address: Address = url.parse().map_err(DatabaseError::Url)?;
        let mut config = address.config();
        config.application_name("satsim verify");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_DURATION_MAX);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(DatabaseError::Runtime)?;
        let client = runtime.block_on(async {
            let unreachable = |error| DatabaseError::Unreachable(address.connect_error(error));
            let connected = timeout(CONNECT_DURATION_MAX, address.connect(&config)).await;
            let (client, connection) = connected
                .map_err(|_| unreachable(None))?
                .map_err(|error| unreachable(Some(error)))?;
            // Its end, good or bad, shows in the queries.
            tokio::spawn(connection);
            client.batch_execute("BEGIN").await.map_err(|error| unreachable(Some(error)))?;
            let settings = address.transaction_settings().unwrap_or_default();
            client.batch_execute(&(settings + SETTINGS)).await.map_err(DatabaseError::Refused)?;
            Ok::<_, DatabaseError>(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// The answer, all at once.
    pub(super) fn query(
        &self,
        query: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.runtime.block_on(self.client.query(query, parameters));
        rows.map_err(DatabaseError::Refused)
    }

    /// Hands over each row of an answer that is too long to be kept.
    pub(super) fn for_each(
        &self,
        query: &str,
        parameters: &Parameters<'_>,
        mut take: impl FnMut(&Row),
    ) -> Result<(), DatabaseError> {
        let rows = async {
            let parameters = parameters.iter().copied();
            let rows = self.client.query_raw(query, parameters).await?;
            let mut rows = core::pin::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                take(&row);
            }
            Ok(())
        };
        self.runtime.block_on(rows).map_err(DatabaseError::Refused)
    }
}

/// What the server said, or why it could not be asked: the driver's own text leaves both out.
fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(source)) => source.to_string(),
        (None, None) => error.to_string(),
    }
}

/// Frames are dated to the microsecond, reports too; a second is more than any rounding.
pub(super) const MARGIN_S: u32 = 1;
/// Counting all rows may take longer than a role for dashboards is allowed, and sorts them; times
/// are compared as they stand in the report.
const SETTINGS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '128MB'; \
    SET LOCAL timezone = 'UTC'; SET TRANSACTION READ ONLY";
const CONNECT_DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(10);
