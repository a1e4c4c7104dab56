//! Finds out whether an address leads to a connection pooler in transaction mode, where every
//! transaction may run in another session of the server: settings, prepared statements and locks of
//! a session would get lost, or be left behind for others.
//!
//! Two connections ask in turns which process of the server they have. Without a pooler, or with one
//! in session mode, each has its own and keeps it. In transaction mode the second gets the one that
//! the first has just given back, or the first gets another one the next time. That a busy pool hides
//! this in every round is possible, though hardly so: the check before each batch (`tables::Guard`)
//! compares the process again.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::{
    Error, Obstacle,
    connection::{Connection, dial},
};
use crate::address::Address;

/// Fails if it is seen that sessions are shared; connects twice for a moment.
pub(super) async fn check(address: &Address) -> Result<(), Error> {
    let (first, first_connection) = dial(address, None).await?;
    let checked = match timeout(SECOND_MAX, dial(address, None)).await {
        Ok(Ok((second, connection))) => {
            let is_shared = timeout(ASK_MAX, are_shared(&first, &second)).await;
            end(second, connection).await;
            // Where the second has to wait for the first to end, it is not in transaction mode.
            is_shared.unwrap_or(Ok(false))
        }
        // There may be no more connections to be had. That says nothing about a pooler.
        Ok(Err(_)) | Err(_) => Ok(false),
    };
    end(first, first_connection).await;
    match checked {
        Ok(true) => Err(Obstacle::Pooled.into()),
        Ok(false) => Ok(()),
        Err(error) => Err(Error::NotConnected(address.connect_error(Some(error)))),
    }
}

async fn end(client: Client, connection: Connection) {
    drop(client);
    connection.close().await;
}

async fn are_shared(first: &Client, second: &Client) -> Result<bool, tokio_postgres::Error> {
    let process_of_first = process(first).await?;
    for _ in 0..ROUNDS {
        let process_of_second = process(second).await?;
        if process_of_second == process_of_first || process(first).await? != process_of_first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The process of the server that this connection has. Without a prepared statement, which a pooler
/// may not know.
pub(super) async fn process(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let answer = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
    Ok(answer.first().map_or(0, |row| row.get(0)))
}

const ROUNDS: usize = 4;
/// For how long a second connection is waited for.
const SECOND_MAX: Duration = Duration::from_secs(2);
const ASK_MAX: Duration = Duration::from_secs(2);
