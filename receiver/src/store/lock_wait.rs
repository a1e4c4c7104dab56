//! Who holds what a session waits for: a wait for a lock is never silent.

use std::{convert::Infallible, fmt, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Row};

use super::{
    Error,
    connection::{APPLICATION, Connection, dial},
};
use crate::address::Address;

/// A session that waits for a lock, and one that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// Process of the session that waits.
    pub pid: i32,
    waited: Duration,
    lock: String,
    /// Process 0 is a prepared transaction.
    holder: i32,
    application: Option<String>,
    user: Option<String>,
    state: Option<String>,
    since: Option<String>,
}

impl LockWait {
    fn from_row(row: &Row) -> Self {
        Self {
            pid: row.get("pid"),
            waited: Duration::from_secs(row.get::<_, i64>("waited_s").unsigned_abs()),
            lock: row.get("lock"),
            holder: row.get("holder"),
            application: row.get("application"),
            user: row.get("holder_user"),
            state: row.get("state"),
            since: row.get("since"),
        }
    }
}

impl fmt::Display for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waited, lock, holder, .. } = self;
        write!(f, "waits for a lock on {lock}, for {} s so far; ", waited.as_secs())?;
        if *holder == 0 {
            return f.write_str("a prepared transaction holds it (see pg_prepared_xacts)");
        }
        write!(f, "session {holder} holds it (application {:?}", self.name())?;
        if let Some(user) = &self.user {
            write!(f, ", user {user:?}")?;
        }
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        if let Some(since) = &self.since {
            write!(f, ", since {since}")?;
        }
        f.write_str(")")
    }
}

impl LockWait {
    fn name(&self) -> &str {
        self.application.as_deref().unwrap_or_default()
    }
}

/// Does `work`, and says every few seconds who holds the lock that its session `pid` waits for. A
/// connection of its own asks, as soon as there is something to ask.
pub(super) async fn watched<T>(
    address: &Address,
    pid: i32,
    what: &str,
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        done = work => done,
        never = watch(address, pid, what) => match never {},
    }
}

async fn watch(address: &Address, pid: i32, what: &str) -> Infallible {
    let start = Instant::now();
    let mut kept = None;
    loop {
        sleep(PERIOD).await;
        let seen = timeout(ASK_MAX, look(address, pid, &mut kept)).await;
        match seen.unwrap_or(Err(Error::Silent)) {
            Ok(waits) => {
                for wait in waits {
                    tracing::warn!("{what} {wait}");
                }
            }
            Err(error) => {
                kept = None;
                let waited = start.elapsed().as_secs();
                tracing::warn!(
                    "{what} has run for {waited} s; whether it waits for a lock cannot be found out: \
                     {error}"
                );
            }
        }
    }
}

async fn look(
    address: &Address,
    pid: i32,
    kept: &mut Option<(Client, Connection)>,
) -> Result<Vec<LockWait>, Error> {
    if kept.is_none() {
        *kept = Some(dial(address, None).await?);
    }
    match kept {
        Some((client, _)) => Ok(of_session(client, pid).await?),
        None => Ok(Vec::new()),
    }
}

/// What one session waits for.
async fn of_session(client: &Client, pid: i32) -> Result<Vec<LockWait>, tokio_postgres::Error> {
    ask(client, Some(pid)).await
}

/// What this user's sessions of this program wait for in this database, the longest wait first.
pub(super) async fn of_stations(client: &Client) -> Result<Vec<LockWait>, tokio_postgres::Error> {
    ask(client, None).await
}

async fn ask(client: &Client, pid: Option<i32>) -> Result<Vec<LockWait>, tokio_postgres::Error> {
    let rows = client.query(WAITS, &[&pid, &APPLICATION]).await?;
    Ok(rows.iter().map(LockWait::from_row).collect())
}

/// Of sessions of other users, only process, user and application may be seen.
const WAITS: &str = "
    SELECT waiting.pid,
           coalesce(extract(epoch FROM clock_timestamp()
                            - coalesce(lock.waitstart, waiting.query_start)), 0)::bigint
               AS waited_s,
           CASE lock.locktype
               WHEN 'relation' THEN lock.relation::regclass::text
               WHEN 'advisory' THEN 'an advisory key'
               ELSE coalesce('a ' || lock.locktype, 'something')
           END AS lock,
           blocking.pid AS holder,
           holder.application_name AS application,
           holder.usename::text AS holder_user,
           holder.state AS state,
           to_char(coalesce(holder.xact_start, holder.backend_start) AT TIME ZONE 'UTC',
                   'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since
    FROM pg_catalog.pg_stat_activity AS waiting
        CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(waiting.pid)) AS blocking (pid)
        LEFT JOIN pg_catalog.pg_stat_activity AS holder ON holder.pid = blocking.pid
        LEFT JOIN LATERAL (
            SELECT * FROM pg_catalog.pg_locks AS asked
            WHERE asked.pid = waiting.pid AND NOT asked.granted LIMIT 1) AS lock ON true
    WHERE CASE
              WHEN $1::int IS NOT NULL THEN waiting.pid = $1
              ELSE waiting.datname = current_database() AND waiting.usename = current_user
                   AND waiting.application_name = $2::text AND waiting.wait_event_type = 'Lock'
          END
    ORDER BY waited_s DESC, waiting.pid, blocking.pid
    LIMIT 20";

const PERIOD: Duration = Duration::from_secs(3);
const ASK_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_who_holds_the_lock_as_far_as_that_may_be_seen() {
        let wait = LockWait {
            pid: 7,
            waited: Duration::from_secs(6),
            lock: "telemetry".into(),
            holder: 9,
            application: Some("psql".into()),
            user: Some("Operator".into()),
            state: Some("idle in transaction".into()),
            since: Some("2026-01-01T00:00:00Z".into()),
        };
        assert_eq!(
            wait.to_string(),
            "waits for a lock on telemetry, for 6 s so far; session 9 holds it (application \
             \"psql\", user \"Operator\", idle in transaction, since 2026-01-01T00:00:00Z)"
        );
        let unseen = LockWait { state: None, since: None, ..wait.clone() };
        assert!(unseen.to_string().ends_with("user \"Operator\")"), "{unseen}");
        let prepared = LockWait { holder: 0, ..wait };
        assert!(prepared.to_string().ends_with("(see pg_prepared_xacts)"), "{prepared}");
    }
}
