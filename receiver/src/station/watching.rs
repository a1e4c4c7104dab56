//! The detectors as a run begins: what to look for, and what an earlier run has learned.

use std::{path::Path, sync::Arc};

use crate::{
    config::RunOptions,
    detect::Watch,
    queue::SHARDS,
    socket::now_us,
    state::{Since, StateFolder},
    writer::Watched,
};

/// What the writers get.
pub(super) struct Watching {
    /// One for each writer; none when detection is switched off.
    pub(super) watched: Vec<Option<Watched>>,
    /// Where what they learn is kept, if it is.
    pub(super) folder: Option<Arc<StateFolder>>,
}

/// A watch for each writer, with what an earlier run has left, in a folder of its own or beside the
/// journal. What is not known of is learned from the journal, as far as that goes back.
pub(super) fn start(
    options: &RunOptions,
    writers: usize,
    journal: Option<(&Path, i64, i64)>,
) -> anyhow::Result<Watching> {
    if !options.detect {
        return Ok(Watching { watched: (0..writers).map(|_| None).collect(), folder: None });
    }
    let settings = &options.detection;
    let (_, identity, next) = journal.unwrap_or((Path::new(""), 0, 0));
    let mut watched: Vec<_> = (0..writers)
        .map(|_| {
            let watch = Watch::new(settings.clone(), &options.station, writers);
            // What is not known to be new was seen.
            Watched { watch, seen: [next; SHARDS] }
        })
        .collect();
    let folder = match (&options.state, journal) {
        (Some(path), _) => Some(StateFolder::open(path, settings.snapshot_octets_max())?),
        (None, Some((path, ..))) => {
            let folder = StateFolder::open(path, settings.snapshot_octets_max());
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
    if let Some(folder) = &folder {
        for shard in 0..SHARDS {
            let Watched { watch, seen } = &mut watched[shard % writers];
            let since = folder.load(shard, |octets| watch.restore(octets, shard, now_us()));
            if let Some(Since { number, .. }) = since.filter(|since| since.journal == identity) {
                seen[shard] = number;
            }
        }
    }
    let watched = watched.into_iter().map(Some).collect();
    Ok(Watching { watched, folder: folder.map(Arc::new) })
}
