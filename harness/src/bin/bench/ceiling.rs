//! What the database can do at most: COPY of the same rows, encoded beforehand, into the same tables
//! over as many connections as the receiver has writers, and nothing else running.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::SinkExt as _;
use protocol::{Datagram, Frame, KINDS};
use receiver::batch::{self, Batch, Form, TimeWindow};
use receiver::chunk::Chunk;
use receiver::copy::{CopyBuffer, telemetry_copy};
use receiver::queue::{SHARDS, shards_of};
use receiver::store::{COPY_TRAILER, DIRECT_COMPRESS, KEEP_HEAP};
use satsim::constellation::{Constellation, Origin};
use satsim::orbit::walker;
use satsim::schedule::Schedule;
use tokio_postgres::NoTls;

use crate::trial::{Server, Tables};

/// Rows that are ready to go.
pub(crate) struct Rows {
    /// For each connection its transactions: the pieces of each table's COPY.
    by_connection: Vec<Vec<Transaction>>,
    frames: u64,
    way: Way,
}

/// How a row gets into its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Rows,
    Columnstore,
}

/// For each kind of packet what is sent, in pieces.
type Transaction = Vec<Vec<Bytes>>;

impl Rows {
    /// Makes them as satsim and the receiver would: so many frames, at so many a second, with as many
    /// rows to a transaction as a writer gathers at most.
    pub(crate) fn make(
        frames: u64,
        rate: u32,
        satellites: u32,
        connections: usize,
        way: Way,
    ) -> Result<Self> {
        let start_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
        let satellites = satellites as usize;
        let orbits = (0..satellites).map(|index| walker::orbit(index, satellites, start_us));
        let origin = Origin { start_unix_us: start_us, seed: 1, boot_count: 1 };
        let mut constellation = Constellation::new(origin, orbits.collect::<Result<_, _>>()?)?;
        let schedule = Schedule::new(satellites, f64::from(rate) / satellites as f64, 1.0);
        let day = Duration::from_secs(86_400);
        let window = TimeWindow { past: day, future: day };
        let form = Form { station: "GS-01".into(), window };
        let mut batches: Vec<Batch> =
            (0..connections).map(|writer| Batch::new(shards_of(writer, connections))).collect();
        let mut by_connection: Vec<Vec<Transaction>> = vec![Vec::new(); connections];
        let mut chunks: Vec<_> = (0..connections).map(|_| Chunk::new()).collect();
        let mut places = 0..;
        let mut flush = |chunk: &mut Chunk, batch: &mut Batch, done: &mut Vec<_>, is_last| {
            chunk.number(places.next().unwrap_or_default());
            batch.push(chunk, &form, Instant::now(), |_, _| {});
            *chunk = Chunk::new();
            if is_last || batch.samples() >= batch::ROWS_MAX.into() {
                done.push(transaction(batch, way));
                batch.advance();
            }
        };
        for number in 0..frames {
            let index = (number % satellites as u64) as usize;
            let offset_us = schedule.simulated_us(number);
            let sent = constellation.frame(index, offset_us);
            let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(sent.octets()).next(|_| true)
            else {
                return Err(anyhow!("the station refuses {sent:?}"));
            };
            let connection = usize::from(frame.spacecraft().number()) % SHARDS % connections;
            let (chunk, batch) = (&mut chunks[connection], &mut batches[connection]);
            if !chunk.push_frame(&frame, start_us + offset_us) {
                flush(chunk, batch, &mut by_connection[connection], false);
                ensure!(chunk.push_frame(&frame, start_us + offset_us), "an empty chunk is full");
            }
        }
        for ((chunk, batch), done) in chunks.iter_mut().zip(&mut batches).zip(&mut by_connection) {
            flush(chunk, batch, done, true);
        }
        Ok(Self { by_connection, frames, way })
    }

    /// Copies all of them, and gives back how many a second.
    pub(crate) fn copy(&self, server: &Server, tables: Tables) -> Result<f64> {
        let database = server.database(tables)?;
        let url = server.cluster.url(&database);
        let ready = Barrier::new(self.by_connection.len() + 1);
        let elapsed = thread::scope(|scope| {
            let connections: Vec<_> = self
                .by_connection
                .iter()
                .map(|transactions| scope.spawn(|| copy_all(&url, transactions, self.way, &ready)))
                .collect();
            ready.wait();
            let start = Instant::now();
            for connection in connections {
                connection.join().map_err(|_| anyhow!("a connection panicked"))??;
            }
            anyhow::Ok(start.elapsed())
        })?;
        let (rows, ..) = server.stored(&database, tables)?;
        ensure!(rows == self.frames, "{rows} rows are there instead of {}", self.frames);
        server.drop(&database)?;
        Ok(self.frames as f64 / elapsed.as_secs_f64())
    }
}

fn transaction(batch: &Batch, way: Way) -> Transaction {
    let pieces = |rows: &CopyBuffer| {
        let mut rows = rows.by_satellite();
        if way == Way::Columnstore {
            rows.newest_first();
        }
        rows.pieces().chain([Bytes::from_static(COPY_TRAILER)]).collect()
    };
    batch.rows.tables.iter().map(pieces).collect()
}

fn copy_all(url: &str, transactions: &[Transaction], way: Way, ready: &Barrier) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connected = connect(url).await;
        // Whatever happened, the others must not wait for ever.
        ready.wait();
        let (mut client, copies) = connected?;
        for pieces in transactions {
            let transaction = client.transaction().await?;
            if way == Way::Columnstore {
                transaction.batch_execute(DIRECT_COMPRESS).await?;
            }
            for (pieces, copy) in pieces.iter().zip(&copies) {
                let sink = transaction.copy_in(copy).await?;
                tokio::pin!(sink);
                for piece in pieces {
                    sink.as_mut().feed(piece.clone()).await?;
                }
                sink.finish().await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    })
}

/// As the receiver does it.
async fn connect(url: &str) -> Result<(tokio_postgres::Client, Vec<tokio_postgres::Statement>)> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("cannot connect")?;
    tokio::spawn(connection);
    client.batch_execute(KEEP_HEAP).await?;
    let mut copies = Vec::new();
    for kind in KINDS {
        copies.push(client.prepare(&telemetry_copy(kind, "public")).await?);
    }
    Ok((client, copies))
}
