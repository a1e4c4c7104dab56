//! Loads the month into all three databases at once: rows are made and encoded once, and the same
//! batch is stored in each by the receiver's own transactions.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::Cluster;
use harness::outln;
use receiver::batch::Batch;
use receiver::store::{Identity, Store};
use serde::Serialize;

use crate::month::{Month, STATION};
use crate::target::{self, TARGETS};

/// How the load went.
#[derive(Debug, Serialize)]
pub(crate) struct Loaded {
    /// Samples, each stored three times.
    samples: u64,
    /// Until all three databases had all rows.
    copy_seconds: f64,
    /// Refreshing aggregates, moving chunks to the columnstore, vacuum and statistics.
    settle_seconds: BTreeMap<&'static str, f64>,
}

/// Makes the databases and fills them.
pub(crate) fn load(cluster: &Cluster, month: Month) -> Result<Loaded> {
    for target in TARGETS {
        target.make(cluster)?;
    }
    outln!("Loading {} into three databases ...", month.span())?;
    let start = Instant::now();
    let samples = copy(cluster, month)?;
    let copy_seconds = start.elapsed().as_secs_f64();
    outln!("{samples} samples stored in each, in {copy_seconds:.0} s")?;
    let mut settle_seconds = BTreeMap::new();
    for target in TARGETS {
        let start = Instant::now();
        target.settle(cluster)?;
        settle_seconds.insert(target.name(), start.elapsed().as_secs_f64());
    }
    outln!("Settled in {settle_seconds:.0?} s")?;
    target::finish(cluster)?;
    Ok(Loaded { samples, copy_seconds, settle_seconds })
}

/// Two batches are under way, one being filled while the other is stored; each has a numbering of
/// its own, as a writer has.
fn copy(cluster: &Cluster, mut month: Month) -> Result<u64> {
    let (to_store, filled) = sync_channel::<(Batch, i64)>(1);
    let (give_back, free) = sync_channel::<(Batch, i64)>(BATCHES);
    for journal in 0..BATCHES {
        give_back.send((Batch::new(u64::MAX), journal as i64))?;
    }
    let maker = thread::spawn(move || -> Result<()> {
        for (mut batch, journal) in free {
            if !month.fill(&mut batch, BATCH_ROWS)? || to_store.send((batch, journal)).is_err() {
                break;
            }
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let samples = runtime.block_on(async {
        let mut stores = Vec::new();
        for target in TARGETS {
            stores.push(Store::connect(&cluster.url(target.name()).parse()?).await?);
        }
        let [plain, hypertable, shipped] = &mut stores[..] else {
            anyhow::bail!("three databases");
        };
        let mut samples = 0;
        for (mut batch, journal) in filled {
            let who = Identity { station: STATION.to_owned(), journal };
            tokio::try_join!(
                plain.commit(&batch, &[], &who),
                hypertable.commit(&batch, &[], &who),
                shipped.commit(&batch, &[], &who)
            )?;
            samples += batch.samples();
            batch.advance();
            // The maker may have made its last.
            let _over = give_back.send((batch, journal));
        }
        Ok(samples)
    })?;
    maker.join().map_err(|_| anyhow::anyhow!("the maker panicked"))??;
    Some(samples).filter(|&samples| samples > 0).context("nothing was made")
}

/// Dense enough that a transaction's own cost vanishes.
const BATCH_ROWS: u64 = 20_000;
const BATCHES: usize = 2;
