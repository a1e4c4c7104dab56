//! Locks of the database for one run at a time, and for one station of a name: held by a session, so
//! that it goes with the process that holds it, wherever that is. When its machine is gone without a
//! word, the server notices that within half a minute.

use std::fmt;

use tokio_postgres::Client;

use super::{Address, Connection, Error, Identity, connect_writer};

/// Held while it lives.
pub struct RunLock {
    _client: Client,
    _connection: Connection,
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Process of the server, if it is there still.
    pid: Option<i32>,
    /// Where its client is, if that may be seen and is no socket of the same machine.
    from: Option<String>,
    /// Since when it is connected.
    since: Option<String>,
}

impl RunLock {
    /// Takes the lock of an identity, or says who has it.
    pub async fn take(address: &Address, who: &Identity) -> Result<Result<Self, Occupied>, Error> {
        // Kept for the whole run, beside those of the writers.
        let (client, connection) = connect_writer(address).await?;
        client.batch_execute(NOTICE_A_LOST_HOLDER).await?;
        let name = format!("orbitstream replay {} {}", who.journal, who.station);
        let taken = try_lock(&client, &name).await?;
        Ok(taken.map(|()| Self { _client: client, _connection: connection }))
    }
}

/// Takes the lock of a station's name for as long as the session lives, or says who has it. The same
/// session may take it again.
pub(super) async fn take_name(
    client: &Client,
    schema: &str,
    station: &str,
) -> Result<Result<(), Occupied>, tokio_postgres::Error> {
    client.batch_execute(NOTICE_A_LOST_HOLDER).await?;
    try_lock(client, &format!("orbitstream station {schema:?} {station:?}")).await
}

async fn try_lock(
    client: &Client,
    name: &str,
) -> Result<Result<(), Occupied>, tokio_postgres::Error> {
    if client.query_one(TAKE, &[&name]).await?.get(0) {
        return Ok(Ok(()));
    }
    let holder = client.query_opt(HOLDER, &[&name]).await?;
    Ok(Err(Occupied {
        pid: holder.as_ref().map(|row| row.get(0)),
        from: holder.as_ref().and_then(|row| row.get(1)),
        since: holder.as_ref().and_then(|row| row.get(2)),
    }))
}

impl Occupied {
    /// Whether the holder is this session of the database.
    #[must_use]
    pub fn is_session(&self, pid: i32) -> bool {
        self.pid == Some(pid)
    }
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pid) = self.pid else { return f.write_str("its session has just ended") };
        write!(f, "session {pid} of the database")?;
        if let Some(from) = &self.from {
            write!(f, ", from {from}")?;
        }
        if let Some(since) = &self.since {
            write!(f, ", since {since}")?;
        }
        Ok(())
    }
}

/// The server's side of the connection; over a Unix socket it has no effect.
const NOTICE_A_LOST_HOLDER: &str = "
    SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

const TAKE: &str = "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))";

/// The session that has it. Of sessions of other roles, address and time are not shown.
const HOLDER: &str = "
    SELECT lock.pid, host(session.client_addr),
           to_char(session.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
    FROM pg_locks AS lock
    LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
    CROSS JOIN hashtextextended($1::text, 0) AS key
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND lock.classid = ((key >> 32) & 4294967295)::oid
      AND lock.objid = (key & 4294967295)::oid
    LIMIT 1";
