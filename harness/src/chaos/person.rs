//! What people do to a database that the station uses: a table is locked, the whole of it is being
//! restored or read-only.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::field::{Field, HYPER, PLAIN};

/// A person's session that holds a lock until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(Child);

impl Lock {
    /// Locks `telemetry` against everybody; none if others hold it for too long, or the server does
    /// not answer.
    pub(super) fn take(field: &Field, database: &str) -> Result<Option<Self>> {
        let mut psql = field.cluster.psql(&field.cluster.url(database));
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut lock = Self(psql.spawn().context("cannot run psql")?);
        let input = lock.0.stdin.as_mut().context("psql has no input")?;
        // A server that refuses ends psql, and the line below is empty.
        let _ = input.write_all(LOCK.as_bytes()).and_then(|()| input.flush());
        let output = lock.0.stdout.take().context("psql has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok((line.trim() == TAKEN).then_some(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The end of its input ends it, and its transaction.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Field {
    /// Makes a database unready: it is being restored where it has TimescaleDB, else read-only.
    /// Sessions from now on see it.
    pub(super) fn begin_restoring(&self, database: &'static str) -> Result<()> {
        if self.is_up.get() && self.restoring.replace(Some(database)).is_none() {
            if self.has_hypertables(database) {
                self.sql(database, "SELECT timescaledb_pre_restore()")?;
            } else {
                let set = format!("ALTER DATABASE {database} SET {READ_ONLY} = on");
                self.sql(other(database), &set)?;
            }
        }
        Ok(())
    }

    /// Makes it ready again, if the server is there.
    pub(super) fn end_restoring(&self) -> Result<()> {
        if !self.is_up.get() {
            return Ok(());
        }
        if let Some(database) = self.restoring.take() {
            if self.has_hypertables(database) {
                self.sql(database, "SELECT timescaledb_post_restore()")?;
            } else {
                self.sql(other(database), &format!("ALTER DATABASE {database} RESET {READ_ONLY}"))?;
            }
        }
        Ok(())
    }

    fn has_hypertables(&self, database: &str) -> bool {
        database == HYPER && self.cluster.has_timescaledb()
    }
}

/// A read-only database cannot be changed from within.
fn other(database: &str) -> &'static str {
    if database == PLAIN { HYPER } else { PLAIN }
}

const LOCK: &str = "
    SET lock_timeout = '2s';
    BEGIN;
    LOCK telemetry IN ACCESS EXCLUSIVE MODE;
    SELECT 'taken';
";
const TAKEN: &str = "taken";
const READ_ONLY: &str = "default_transaction_read_only";
