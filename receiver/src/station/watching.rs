//! The detectors as a run begins: what to look for, and what an earlier run has learned.

use std::sync::Arc;

use crate::{config::RunOptions, detect::Watch, queue::SHARDS, socket::now_us, state::StateFolder};

/// What the writers get.
pub(super) struct Watching {
    /// One for each writer; none when detection is switched off.
    pub(super) watches: Vec<Option<Watch>>,
    /// Where what they learn is kept, if it is.
    pub(super) folder: Option<Arc<StateFolder>>,
}

/// A watch for each writer, with what an earlier run has left.
pub(super) fn start(options: &RunOptions, writers: usize) -> anyhow::Result<Watching> {
    if !options.detect {
        return Ok(Watching { watches: (0..writers).map(|_| None).collect(), folder: None });
    }
    let settings = &options.detection;
    let new = |_| Watch::new(settings.clone(), &options.station, writers);
    let mut watches: Vec<_> = (0..writers).map(new).collect();
    let Some(path) = &options.state else {
        tracing::info!("what the detectors learn is not kept: there is no --state");
        return Ok(Watching { watches: watches.into_iter().map(Some).collect(), folder: None });
    };
    let folder = StateFolder::open(path, settings.snapshot_octets_max())?;
    for shard in 0..SHARDS {
        let watch = &mut watches[shard % writers];
        folder.load(shard, |octets| watch.restore(octets, shard, now_us()));
    }
    let folder = Some(Arc::new(folder));
    Ok(Watching { watches: watches.into_iter().map(Some).collect(), folder })
}
