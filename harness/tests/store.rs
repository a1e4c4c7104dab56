//! Transactions of writers beside each other.

mod support;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use protocol::{SpacecraftId, health};
use receiver::batch::{Batch, Form, TimeWindow};
use receiver::chunk::Chunk;
use receiver::queue::shard_of;
use receiver::sparse::Sparse;
use receiver::store::{Identity, Store};
use support::{Tables, cluster, database};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A writer's thread: what its connection has to say is heard only while something is asked of it.
struct Writer {
    runtime: Runtime,
    store: Store,
}

impl Writer {
    fn start(url: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let address = url.parse().context("a URL")?;
        let store = runtime.block_on(Store::connect(&address))?;
        Ok(Self { runtime, store })
    }

    fn positions(&mut self) -> Result<Vec<i64>> {
        let positions = self.runtime.block_on(self.store.positions(&who()))?;
        Ok(positions.map(Option::unwrap_or_default).into())
    }

    /// Far longer than a batch takes, and shorter than the server lets an idle transaction be.
    fn store(&mut self, batch: &Batch) -> Result<()> {
        let stored = async { timeout(PATIENCE, self.store.commit(batch, &[], &who())).await };
        self.runtime.block_on(stored).context("the other writer's locks are in the way")??;
        Ok(())
    }
}

#[test]
fn a_writer_that_has_nothing_more_to_do_is_in_nobodys_way() -> Result<()> {
    let name = database(Tables::Plain)?;
    let url = cluster().url(&name);
    let (mut idle, mut busy) = (Writer::start(&url)?, Writer::start(&url)?);
    let mut batch = Batch::new(u64::MAX);
    fill(&mut batch, 0);
    busy.store(&batch)?;
    // As after a restart.
    let spacecraft = SpacecraftId::new(1).context("not 0")?;
    assert_eq!(idle.positions()?[shard_of(spacecraft)], 1);
    batch.advance();
    fill(&mut batch, 1);
    busy.store(&batch)?;
    // As after a COMMIT whose answer was lost: all is stored, so nothing is.
    idle.store(&batch)?;
    batch.advance();
    fill(&mut batch, 2);
    busy.store(&batch)?;
    assert_eq!(cluster().sql(&name, "SELECT count(*) FROM telemetry")?, "3");
    Ok(())
}

fn fill(batch: &mut Batch, place: i64) {
    let window = TimeWindow { past: Duration::MAX, future: Duration::MAX };
    let form = Form { station: "GS-01".into(), window };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now_us = now.as_micros() as i64;
    let spacecraft = SpacecraftId::new(1).expect("not 0");
    let mut chunk = Chunk::new();
    assert!(chunk.push_sparse(&Sparse::new(&health::KIND, spacecraft, now_us), now_us));
    chunk.number(place);
    batch.push(&chunk, &form, Instant::now(), |_, _| {});
}

fn who() -> Identity {
    Identity { station: "GS-01".into(), journal: 7 }
}

const PATIENCE: Duration = Duration::from_secs(30);
