//! The detectors as a run begins: what to look for, and what an earlier run has learned.

use std::sync::Arc;

use crate::{config::RunOptions, detect::Watch, queue::SHARDS, socket::now_us, state::StateFolder};

/// A watch for each writer, with what an earlier run has left, and where that is kept.
pub(super) fn start(
    options: &RunOptions,
    writers: usize,
) -> anyhow::Result<(Vec<Option<Watch>>, Option<Arc<StateFolder>>)> {
    if !options.detect {
        return Ok(((0..writers).map(|_| None).collect(), None));
    }
    let settings = &options.detection;
    let new = |_| Watch::new(settings.clone(), &options.station, writers);
    let mut watches: Vec<_> = (0..writers).map(new).collect();
    let Some(path) = &options.state else {
        tracing::info!("what the detectors learn is not kept: there is no --state");
        return Ok((watches.into_iter().map(Some).collect(), None));
    };
    let folder = StateFolder::open(path, settings.snapshot_octets_max())?;
    for shard in 0..SHARDS {
        let watch = &mut watches[shard % writers];
        folder.load(shard, |octets| watch.restore(octets, shard, now_us()));
    }
    Ok((watches.into_iter().map(Some).collect(), Some(Arc::new(folder))))
}
