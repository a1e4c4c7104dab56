//! A journal on its way to the database, without a station that receives.

use std::{path::Path, sync::Arc, time::Duration};

use super::{QUEUE_OCTETS, database::watch_locks, default_writers, start_writers};
use anyhow::Context as _;

use crate::{
    address::Address,
    batch::{self, Form, Limits},
    config::StationOptions,
    feed::Feed,
    journal::{self, Journal, Options, files::Disk},
    ledger::{Counters, Ledger},
    queue::queues,
    readiness::Readiness,
    shutdown::running,
    store::{COLUMNSTORE_FROM, Identity, schema},
    writer::Setup,
};

/// Stores what a journal holds, as the station that its segments name, until nothing is left or `stop`
/// ends.
pub async fn drain(
    folder: &Path,
    station: &StationOptions,
    database: &Address,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Ledger> {
    schema::check(database).await?;
    let name = journal::station_of(&Disk, folder)
        .with_context(|| format!("there is no segment in {} that can be read", folder.display()))?;
    let writers = default_writers();
    let counters = Counters::new(writers);
    let options = Options {
        folder: folder.to_owned(),
        octets_max: u64::MAX,
        sync_period: Duration::ZERO,
        station: name.clone(),
        writers,
    };
    let mut journal = Journal::open(&options, Arc::new(Disk), Arc::clone(counters.journal()))?;
    // Nothing is appended, and so nothing comes through the queues.
    let (outlets, inlets) = queues(writers, QUEUE_OCTETS, &counters);
    drop(outlets);
    journal.close();
    let readers = journal.readers();
    let feeds = inlets.into_iter().zip(readers);
    let feeds = feeds.map(|(inlet, reader)| Feed::of_journal(inlet, reader)).collect();
    let (stopper, drain) = running(Duration::ZERO);
    let readiness = Arc::new(Readiness::default());
    readiness.set_checked();
    let setup = Setup {
        database: database.clone(),
        identity: Identity { station: name.clone(), journal: journal.run_identity() },
        limits: Limits::new(batch::ROWS_MAX, Duration::from_millis(500)),
        columnstore_from: Some(COLUMNSTORE_FROM),
        form: Form { station: name.clone(), window: station.window() },
        definitions: Arc::new(journal::known_definitions(&Disk, folder)),
        counters: Arc::clone(&counters),
        readiness,
        drain,
        state: None,
        skip_stored: None,
    };
    let _logged = watch_locks(database);
    let threads = start_writers(&setup, feeds, (0..writers).map(|_| None).collect())?;
    let joined = tokio::task::spawn_blocking(move || {
        threads.into_iter().for_each(|thread| drop(thread.join()));
    });
    tokio::pin!(stop, joined);
    tokio::select! {
        ended = &mut joined => ended?,
        reason = &mut stop => {
            tracing::info!("Stopping: {reason}");
            stopper.stop();
            joined.await?;
        }
    }
    let ledger = counters.ledger();
    journal.finish();
    Ok(ledger)
}
