//! The station's name, which one running station of a database has: a lock of the connection that
//! probes the database, so that it goes with the process.
//!
//! A second station of the name is not kept from storing, since what it has received would be lost,
//! but it says so for as long as that lasts, and leaves the events of the first one alone.

use std::time::{Duration, Instant};

use crate::{
    readiness::Readiness,
    store::{
        run_lock::Occupied,
        schema::{self, Lookout},
    },
};

/// The lock of a station's name, through all connections of a run.
pub(super) struct NameLock<'a> {
    station: &'a str,
    readiness: &'a Readiness,
    /// The session that has, or last had, the lock.
    session: Option<i32>,
    /// Whether the connection of this moment has it.
    is_held: bool,
    warned: Option<Instant>,
}

impl<'a> NameLock<'a> {
    /// Not taken yet.
    pub(super) fn new(station: &'a str, readiness: &'a Readiness) -> Self {
        Self { station, readiness, session: None, is_held: false, warned: None }
    }

    /// Takes the lock, waiting a little: the session of a run that was killed may still end. False if
    /// another station has it.
    pub(super) async fn take_patiently(
        &mut self,
        lookout: &Lookout,
    ) -> Result<bool, schema::Error> {
        let start = Instant::now();
        let mut has_said_so = false;
        loop {
            let Some(holder) = self.try_take(lookout).await? else { return Ok(true) };
            if start.elapsed() >= WAIT_MAX {
                self.warn(&holder);
                return Ok(false);
            }
            if !has_said_so {
                tracing::warn!(
                    "the name {} is in use ({holder}): waiting up to {} s, in case that is an \
                     earlier run that has not ended yet",
                    self.station,
                    WAIT_MAX.as_secs()
                );
                has_said_so = true;
            }
            tokio::time::sleep(WAIT_MAX / 10).await;
        }
    }

    /// There is another connection, which does not have the lock.
    pub(super) fn connected_again(&mut self) {
        self.is_held = false;
    }

    /// Takes the lock unless this connection has it, and says so as long as another station does.
    pub(super) async fn keep(&mut self, lookout: &Lookout) -> Result<(), schema::Error> {
        if !self.is_held
            && let Some(holder) = self.try_take(lookout).await?
        {
            self.warn(&holder);
        }
        Ok(())
    }

    /// The other station that has the lock, if one has. An earlier session of this run may: it ends
    /// when the server notices that it was left.
    async fn try_take(&mut self, lookout: &Lookout) -> Result<Option<Occupied>, schema::Error> {
        match lookout.take_name(self.station).await? {
            Ok(()) => {
                self.session = Some(lookout.session().await?);
                self.is_held = true;
                self.readiness.set_warning(WARNING, None);
                Ok(None)
            }
            Err(holder) if self.session.is_some_and(|own| holder.is_session(own)) => Ok(None),
            Err(holder) => Ok(Some(holder)),
        }
    }

    fn warn(&mut self, holder: &Occupied) {
        let line = format!(
            "another station with the name {} stores in this database ({holder}): rows and events of \
             both cannot be told apart; give one of them another --station",
            self.station
        );
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_PERIOD) {
            tracing::warn!("{line}");
            self.warned = Some(Instant::now());
        }
        self.readiness.set_warning(WARNING, Some(line));
    }
}

const WARNING: &str = "station_name";
/// How long the session of a run that was killed may take to end.
const WAIT_MAX: Duration = Duration::from_secs(5);
const WARN_PERIOD: Duration = Duration::from_secs(60);
