//! Asks questions and takes the time, cold and warm.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harness::{Cluster, StopMode};
use serde::Serialize;
use tokio_postgres::{Client, NoTls};

use crate::Options;
use crate::answer::Answer;
use crate::questions::Question;
use crate::target::{TARGETS, Target};

/// Times of one question on one target.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    repetitions: usize,
}

/// Where questions are asked, as the role that Grafana has.
pub(crate) struct Session<'a> {
    cluster: &'a Cluster,
    runtime: tokio::runtime::Runtime,
    satellites: u32,
    drops_kernel_cache: bool,
    warm_max: u32,
    warm_duration_max: Duration,
}

impl<'a> Session<'a> {
    pub(crate) fn new(cluster: &'a Cluster, options: &Options) -> Result<Self> {
        let password = format!("ALTER ROLE {READER} PASSWORD '{PASSWORD}'");
        cluster.sql("postgres", &password)?;
        let satellites = cluster.sql(Target::Plain.name(), "SELECT count(*) FROM satellite")?;
        Ok(Self {
            cluster,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            satellites: satellites.parse()?,
            drops_kernel_cache: !options.keep_kernel_cache && fs::write(DROP_CACHES, "3").is_ok(),
            warm_max: options.warm,
            warm_duration_max: Duration::from_secs(options.warm_seconds),
        })
    }

    /// Whether cold means that the kernel's cache is cold, too.
    pub(crate) fn drops_kernel_cache(&self) -> bool {
        self.drops_kernel_cache
    }

    /// Fails unless all targets give the same answer, about any satellite; tells its rows.
    pub(crate) fn compare(&self, question: &Question) -> Result<usize> {
        self.runtime.block_on(async {
            let mut rows = 0;
            let numbers = [1, self.satellites.div_ceil(2), self.satellites];
            // What is about no single satellite is the same each time.
            let numbers = if question.has("{satellite}") { &numbers[..] } else { &numbers[..1] };
            for &number in numbers {
                // Where no battery is low there would be nothing to compare.
                let limits = if question.has(LOW) { &[" < 101", LOW][..] } else { &[LOW] };
                for limit in limits {
                    let mut answers = Vec::new();
                    for target in TARGETS {
                        let client = self.connect(target).await?;
                        let sql = question.sql(target, number).replace(LOW, limit);
                        answers.push(ask(&client, &sql).await?.0);
                    }
                    for (answer, target) in answers.iter().zip(TARGETS).skip(1) {
                        answers[0].ensure_same(answer).with_context(|| {
                            format!("{}: plain and {} differ", question.name, target.name())
                        })?;
                    }
                    rows = answers[0].rows();
                }
            }
            Ok(rows)
        })
    }

    /// Asks after a restart of the server, each time.
    pub(crate) fn cold(&self, question: &Question, repetitions: u32) -> Result<[Measured; 3]> {
        let mut times: [Vec<Duration>; 3] = Default::default();
        for repetition in 0..repetitions {
            self.cluster.stop(StopMode::Fast)?;
            if self.drops_kernel_cache {
                nix::unistd::sync();
                fs::write(DROP_CACHES, "3").context("cannot drop the kernel's cache")?;
            }
            self.cluster.start_again()?;
            self.runtime.block_on(async {
                for (target, times) in TARGETS.into_iter().zip(&mut times) {
                    let client = self.connect(target).await?;
                    let sql = question.sql(target, self.satellite(repetition));
                    times.push(ask(&client, &sql).await?.1);
                }
                anyhow::Ok(())
            })?;
        }
        Ok(times.map(measured))
    }

    /// Asks over a connection that has asked before, in turns, at least so often.
    pub(crate) fn warm(&self, question: &Question, least: u32) -> Result<[Measured; 3]> {
        let mut times: [Vec<Duration>; 3] = Default::default();
        self.runtime.block_on(async {
            let mut clients = Vec::new();
            for target in TARGETS {
                let client = self.connect(target).await?;
                for repetition in 0..WARM_UP {
                    ask(&client, &question.sql(target, self.satellite(repetition))).await?;
                }
                clients.push(client);
            }
            let start = Instant::now();
            for repetition in 0..self.warm_max {
                if repetition >= least && start.elapsed() > self.warm_duration_max {
                    break;
                }
                for ((target, client), times) in TARGETS.into_iter().zip(&clients).zip(&mut times) {
                    let sql = question.sql(target, self.satellite(repetition));
                    times.push(ask(client, &sql).await?.1);
                }
            }
            anyhow::Ok(())
        })?;
        Ok(times.map(measured))
    }

    async fn connect(&self, target: Target) -> Result<Client> {
        let url = self.cluster.url_as(READER, Some(PASSWORD), target.name());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        // The plain table may need longer than a dashboard's query may.
        client.batch_execute("SET statement_timeout = 0").await?;
        Ok(client)
    }

    /// Each repetition is about the next satellite.
    fn satellite(&self, repetition: u32) -> u32 {
        repetition % self.satellites + 1
    }
}

/// The answer, and the time from sending the question to having it whole.
async fn ask(client: &Client, sql: &str) -> Result<(Answer, Duration)> {
    let start = Instant::now();
    let messages = client.simple_query(sql).await.with_context(|| sql.to_owned())?;
    let elapsed = start.elapsed();
    Ok((Answer::new(&messages), elapsed))
}

fn measured(mut times: Vec<Duration>) -> Measured {
    times.sort_unstable();
    let ms = |share: f64| {
        let place = (times.len() as f64 * share).ceil() as usize;
        times.get(place.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Measured { p50_ms: ms(0.5), p95_ms: ms(0.95), repetitions: times.len() }
}

const READER: &str = "orbitstream_reader";
const PASSWORD: &str = "only-for-this-benchmark";
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
/// What a low battery is, in the question about it.
const LOW: &str = " < 20";
/// Questions before the first that counts.
const WARM_UP: u32 = 3;
