//! Connections: how a session is set up, and how it ends.
//!
//! The station never holds more connections than its writers and one. Each writer owns at most one;
//! everything else, such as the probe behind `/readyz` and one-off queries, takes turns at a single
//! slot ([`connect`]). A connection frees its slot only once it has ended: one whose server process
//! is still working on something that nobody waits for any more is cancelled first, so that a
//! statement that hangs on a lock does not leave a process behind at each attempt.
//!
//! Sessions are set up by `SET` after connecting, the settings in the address included, since poolers
//! refuse the start-up parameter `options`. Before the first one of an address, it is found out
//! whether that leads to a pooler in transaction mode ([`pooler`]).

use std::time::Duration;

use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{CancelToken, Client};

use super::{Error, pooler};
use crate::address::{Address, ConnectError};

/// The lower half of a connection. Dropped or closed after its [`Client`], it ends the session.
pub(crate) struct Connection {
    parts: Option<Parts>,
}

struct Parts {
    driver: Driver,
    cancel: CancelToken,
    address: Address,
    /// Held until the session has ended.
    _slot: Option<SemaphorePermit<'static>>,
}

/// Drives a connection, and closes its socket when dropped, even while an answer is outstanding: the
/// driver by itself would wait for that answer for ever.
struct Driver(JoinHandle<()>);

impl Connection {
    /// Ends the session, whose client has been dropped; returns when it has ended, within
    /// [`END_MAX`].
    pub(crate) async fn close(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.end().await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Outside of a runtime the socket is closed, and the server's process ends when it next
        // reads from it.
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) {
            runtime.spawn(parts.end());
        }
    }
}

impl Parts {
    async fn end(mut self) {
        // Without anything outstanding the driver says goodbye and ends.
        let has_ended = timeout(GOODBYE_MAX, &mut self.driver.0).await.is_ok();
        if !has_ended {
            let Self { driver, cancel, address, .. } = &mut self;
            let cancelled = async {
                // Whether it has reached the server shows in the answer.
                let _sent = address.cancel(cancel).await;
                let _ended = (&mut driver.0).await;
            };
            let _in_time = timeout(CANCEL_MAX, cancelled).await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects in the one slot of all that is no writer, as soon as it is free; the connection is driven
/// by the runtime that this is called in.
pub(crate) async fn connect(address: &Address) -> Result<(Client, Connection), Error> {
    static SLOT: Semaphore = Semaphore::const_new(1);
    let slot = timeout(SLOT_WAIT_MAX, SLOT.acquire()).await;
    let slot = slot.map_err(|_| Error::Silent)?.ok();
    open(address, slot).await
}

/// Connects for a writer, which has no other connection.
pub(super) async fn connect_writer(address: &Address) -> Result<(Client, Connection), Error> {
    open(address, None).await
}

async fn open(
    address: &Address,
    slot: Option<SemaphorePermit<'static>>,
) -> Result<(Client, Connection), Error> {
    address.checked().get_or_try_init(|| pooler::check(address)).await?;
    let (client, connection) = dial(address, slot).await?;
    let set_up = [address.settings().as_deref().unwrap_or_default(), SET_UP].concat();
    let failed = match timeout(CONNECT_TIMEOUT, client.batch_execute(&set_up)).await {
        Ok(Ok(())) => return Ok((client, connection)),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    drop(client);
    connection.close().await;
    // Behind a pooler, only the first statement reaches the server.
    Err(Error::NotConnected(address.connect_error(failed)))
}

/// Connects, and changes nothing of the session.
pub(super) async fn dial(
    address: &Address,
    slot: Option<SemaphorePermit<'static>>,
) -> Result<(Client, Connection), Error> {
    let mut config = address.config();
    config.application_name(APPLICATION);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    // A peer that has gone is noticed within half a minute.
    config.tcp_user_timeout(SILENCE_MAX);
    config.keepalives_idle(SILENCE_MAX / 2);
    config.keepalives_interval(SILENCE_MAX / 6);
    config.keepalives_retries(3);
    let connected = timeout(CONNECT_TIMEOUT, address.connect(&config)).await;
    let (client, driver) = match connected {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(unconnected(address.connect_error(Some(error)))),
        Err(_) => return Err(unconnected(address.connect_error(None))),
    };
    let parts = Parts {
        cancel: client.cancel_token(),
        address: address.clone(),
        driver: Driver(tokio::spawn(async move {
            // Its error reaches whoever waits for an answer.
            let _reported_there = driver.await;
        })),
        _slot: slot,
    };
    Ok((client, Connection { parts: Some(parts) }))
}

/// Why a connection did not come about: the server has said it, it took too long, or there is none.
fn unconnected(error: ConnectError) -> Error {
    if error.is_timeout() || error.as_db_error().is_some() {
        Error::NotConnected(error)
    } else {
        Error::Unreachable(error)
    }
}

/// A wait for a lock ends with an error that says so, well before a statement takes as long as
/// nothing of ours does, and that before the client gives up (`COMMIT_MAX`). A server that has lost
/// us notices it, also while a statement waits, and ends the transaction, whose claims the retry
/// would otherwise wait for; not every platform can do that. What is committed has to survive a crash
/// of the server, whatever the database's setting: the journal forgets it.
const SET_UP: &str = "
    SET lock_timeout = '8s';
    SET statement_timeout = '50s';
    SET idle_in_transaction_session_timeout = '60s';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off';
    DO $$
    BEGIN
        PERFORM set_config(name, '2s', false)
        FROM pg_catalog.pg_settings
        WHERE name = 'client_connection_check_interval';
    EXCEPTION
        WHEN OTHERS THEN
            NULL;
    END
    $$";
/// By this name people see the station's sessions.
pub(super) const APPLICATION: &str = "orbitstream receiver";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// For how long an idle connection is given to end by itself.
const GOODBYE_MAX: Duration = Duration::from_millis(100);
/// For how long one that is busy is given after a request to cancel.
const CANCEL_MAX: Duration = Duration::from_secs(2);
/// Longer than the connection before takes to end.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(5);
