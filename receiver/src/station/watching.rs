//! The detectors as a run begins: what to look for, and what an earlier run has learned.

use std::{path::Path, sync::Arc};

use crate::{
    config::RunOptions,
    detect::{Damage, Watch},
    queue::SHARDS,
    socket::now_us,
    state::StateFolder,
    writer::Watched,
};

/// What the writers get.
pub(super) struct Watching {
    /// One for each writer; none when detection is switched off.
    pub(super) watched: Vec<Option<Watched>>,
    /// Where what they learn is kept, if it is.
    pub(super) folder: Option<Arc<StateFolder>>,
}

/// The journal beside which what is learned is kept.
pub(super) struct Beside<'a> {
    pub(super) folder: &'a Path,
    pub(super) identity: i64,
    /// The place from which on chunks are this run's.
    pub(super) next: i64,
    /// Whether the database knows it.
    pub(super) is_known: bool,
}

/// A watch for each writer, with what an earlier run has left, in a folder of its own or beside the
/// journal. What is not known of is learned from the journal, as far as that goes back.
pub(super) fn start(
    options: &RunOptions,
    writers: usize,
    journal: Option<Beside<'_>>,
) -> anyhow::Result<Watching> {
    if !options.reception.detect {
        return Ok(Watching { watched: (0..writers).map(|_| None).collect(), folder: None });
    }
    let settings = &options.reception.detection;
    let next = journal.as_ref().map_or(0, |journal| journal.next);
    let mut watched: Vec<_> = (0..writers)
        .map(|_| {
            let watch = Watch::new(settings.clone(), &options.reception.station.name, writers);
            // What is not known to be new was seen.
            Watched { watch, seen: [next; SHARDS] }
        })
        .collect();
    let folder = match (&options.state, &journal) {
        (Some(path), _) => Some(StateFolder::open(path, settings.snapshot_octets_max())?),
        (None, Some(journal)) => {
            let folder = StateFolder::open(journal.folder, settings.snapshot_octets_max());
            folder
                .inspect_err(|error| {
                    tracing::warn!("what the detectors learn is not kept: {error:#}")
                })
                .ok()
        }
        (None, None) => {
            tracing::info!("what the detectors learn is not kept: there is no --state");
            None
        }
    };
    let is_of_others = options.state.is_none() && journal.as_ref().is_some_and(|one| !one.is_known);
    if let Some(folder) = folder.as_ref().filter(|_| !is_of_others) {
        for shard in 0..SHARDS {
            let Watched { watch, seen } = &mut watched[shard % writers];
            let since = folder.load(shard, |octets| {
                let skipped = watch.restore(octets, shard, now_us())?;
                if skipped > 0 {
                    tracing::warn!(
                        "{skipped} satellites or events of shard {shard} that the detectors knew \
                         cannot be read by this build: they start without them"
                    );
                }
                Ok::<_, Damage>(())
            });
            let journal = journal.as_ref().map(|journal| journal.identity);
            if let Some(since) = since.filter(|since| Some(since.journal) == journal) {
                seen[shard] = since.number;
            }
        }
    }
    let watched = watched.into_iter().map(Some).collect();
    Ok(Watching { watched, folder: folder.map(Arc::new) })
}
