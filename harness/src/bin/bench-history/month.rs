//! The month: what satellites send and a station hears, row by row, without a clock.
//!
//! Frames come from satsim's constellation on real orbits. Some are lost on their way, more of some
//! satellites than of others; what is left goes through the station's door and its tracking, so
//! that `link_health` says what a station would say.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use protocol::{Datagram, Frame};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use receiver::batch::{Batch, Form, TimeWindow};
use receiver::chunk::Chunk;
use receiver::link::Links;
use receiver::track::Tracker;
use satsim::constellation::{Constellation, Origin};
use satsim::orbit::walker;
use satsim::schedule::Schedule;

use crate::Options;

/// A flight from midnight some days ago to the last whole hour.
pub(crate) struct Month {
    constellation: Constellation,
    schedule: Schedule,
    tracker: Tracker,
    links: Links,
    rng: StdRng,
    start_us: i64,
    end_us: i64,
    link_us: i64,
    next_links_us: i64,
    next_frame: u64,
    form: Form,
    chunk: Chunk,
    chunks: i64,
}

/// Name of the station that hears it.
pub(crate) const STATION: &str = "GS-01";

impl Month {
    pub(crate) fn plan(options: &Options) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
        let end_us = (now - now % HOUR) * 1_000_000;
        let start_us = (now - now % DAY - i64::from(options.days) * DAY) * 1_000_000;
        let satellites = usize::from(options.satellites);
        let orbits = (0..satellites)
            .map(|index| walker::orbit(index, satellites, start_us))
            .collect::<Result<_, _>>()?;
        let origin = Origin { start_unix_us: start_us, seed: 1, boot_count: 1 };
        let link_us = i64::from(options.link_seconds) * 1_000_000;
        Ok(Self {
            constellation: Constellation::new(origin, orbits)?,
            schedule: Schedule::new(satellites, 1.0 / f64::from(options.frame_seconds), 1.0),
            tracker: Tracker::new(satellites),
            links: Links::default(),
            rng: StdRng::seed_from_u64(1),
            start_us,
            end_us,
            link_us,
            next_links_us: start_us + link_us,
            next_frame: 0,
            form: Form { station: STATION.into(), window: WINDOW },
            chunk: Chunk::new(),
            chunks: 0,
        })
    }

    /// Fills a batch with about `rows` rows; false when the month is over and nothing was left.
    pub(crate) fn fill(&mut self, batch: &mut Batch, rows: u64) -> Result<bool> {
        while batch.samples() < rows {
            let offset_us = self.schedule.simulated_us(self.next_frame);
            let time_us = self.start_us + offset_us;
            while self.next_links_us <= time_us {
                let mut rows = Vec::new();
                self.links.rows(self.next_links_us, |row| {
                    rows.push(*row);
                    true
                });
                for row in rows {
                    self.put(batch, |chunk| chunk.push_link(&row));
                }
                self.next_links_us += self.link_us;
            }
            if time_us >= self.end_us {
                break;
            }
            self.push_frame(batch, offset_us)?;
        }
        self.flush(batch);
        ensure!(batch.rows.quarantined() == 0, "a sample was set aside");
        Ok(!batch.is_empty())
    }

    /// Appends to the chunk at hand, or to a new one when that is full.
    fn put(&mut self, batch: &mut Batch, append: impl Fn(&mut Chunk) -> bool) {
        if !append(&mut self.chunk) {
            self.flush(batch);
            append(&mut self.chunk);
        }
    }

    fn flush(&mut self, batch: &mut Batch) {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.number(self.chunks);
        self.chunks += 1;
        batch.push(&chunk, &self.form, Instant::now(), |_, _| {});
    }

    fn push_frame(&mut self, batch: &mut Batch, offset_us: i64) -> Result<()> {
        let satellites = self.constellation.satellites() as u64;
        let is_first_round = self.next_frame < satellites;
        let index = (self.next_frame % satellites) as usize;
        self.next_frame += 1;
        let sent = self.constellation.frame(index, offset_us);
        let loss = LOSS_STEP * (index % LOSS_STEPS) as f64;
        let is_lost = self.rng.random_bool(loss);
        let latency_us = self.rng.random_range(LATENCY_US);
        if is_lost && !is_first_round {
            return Ok(());
        }
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(sent.octets()).next(|_| true) else {
            bail!("the station refuses {sent:?}");
        };
        let received_us = self.start_us + offset_us + latency_us;
        let tracked = self.tracker.track(&frame).context("there is no room for a stream")?;
        let stream = (frame.spacecraft(), frame.apid());
        let octets = frame.octets().len();
        self.links.count(
            tracked.stream,
            stream,
            tracked.verdict,
            octets,
            (received_us, latency_us),
        );
        let octets = sent.octets();
        self.put(batch, |chunk| {
            let frame = Datagram::new(octets).next(|_| true);
            matches!(frame, Some(Ok(Frame::Telemetry(frame))) if chunk.push_frame(&frame, received_us))
        });
        Ok(())
    }

    /// What it is, for people.
    pub(crate) fn span(&self) -> String {
        let days = (self.end_us - self.start_us) as f64 / 1e6 / DAY as f64;
        let satellites = self.constellation.satellites();
        format!("{satellites} satellites over {days:.1} days")
    }
}

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Satellites lose from nothing to 2 % of their frames.
const LOSS_STEP: f64 = 0.002;
const LOSS_STEPS: usize = 11;
/// From generation to arrival.
const LATENCY_US: std::ops::Range<i64> = 5_000..60_000;
const WINDOW: TimeWindow =
    TimeWindow { past: Duration::from_secs(60), future: Duration::from_secs(5) };
