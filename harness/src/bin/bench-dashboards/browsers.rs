//! Browsers that refresh, with a Grafana between them and the database.
//!
//! Each dashboard is open in a browser of its own, which starts a round each second, with the time
//! range ending then, and has six requests on their way at most. All share the connections of one
//! datasource. A query's time is what its panel waits for: from the request to the last row, the wait
//! for a free connection included. A round that is not over when the next one is due takes that one's
//! place, and is counted.
//!
//! Not in it: Grafana's own work, the network, and the drawing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::runtime::Builder;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Client, NoTls};

/// `maxOpenConns` of `grafana/provisioning/datasources/orbitstream.yaml`.
const CONNECTIONS: usize = 10;
/// Requests that a browser has on their way to one server by HTTP/1.1.
const REQUESTS: usize = 6;
const REFRESH: Duration = Duration::from_secs(1);

/// A dashboard as `check_dashboards.py --print` gives it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dashboard {
    #[serde(rename = "dashboard")]
    pub(crate) name: String,
    pub(crate) range_s: u64,
    pub(crate) queries: Vec<Query>,
}

/// One query of it; `@from@` and `@to@` stand for the ends of the time range.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    pub(crate) panel: String,
    sql: String,
}

/// How one dashboard fared.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    pub(crate) rounds: u32,
    /// Rounds that took longer than [`REFRESH`].
    pub(crate) rounds_late: u32,
    /// Every query: its place in the dashboard, and its time.
    pub(crate) queries: Vec<(usize, Duration)>,
}

/// Refreshes all of `dashboards` for `duration`.
pub(crate) fn refresh(
    url: &str,
    dashboards: &[Arc<Dashboard>],
    duration: Duration,
) -> Result<Vec<Visit>> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pool = Arc::new(Pool::connect(url).await?);
        let visits: Vec<_> = dashboards
            .iter()
            .map(|dashboard| tokio::spawn(visit(pool.clone(), dashboard.clone(), duration)))
            .collect();
        let mut done = Vec::new();
        for visit in visits {
            done.push(visit.await??);
        }
        Ok(done)
    })
}

async fn visit(pool: Arc<Pool>, dashboard: Arc<Dashboard>, duration: Duration) -> Result<Visit> {
    let mut visit = Visit::default();
    let requests = Arc::new(Semaphore::new(REQUESTS));
    let mut rounds = interval(REFRESH);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let start = Instant::now();
    while start.elapsed() < duration {
        rounds.tick().await;
        let round = Instant::now();
        // The range that ends now, as Grafana writes it.
        let now = Timestamp::now();
        let to = now.to_string();
        let from = (now - Duration::from_secs(dashboard.range_s)).to_string();
        let mut asked = JoinSet::new();
        for (place, query) in dashboard.queries.iter().enumerate() {
            let sql = query.sql.replace("@from@", &from).replace("@to@", &to);
            let context = format!("{}, panel {:?}", dashboard.name, query.panel);
            let (pool, requests) = (pool.clone(), requests.clone());
            asked.spawn(async move {
                let _permit = requests.acquire().await?;
                let start = Instant::now();
                pool.ask(&sql).await.context(context)?;
                anyhow::Ok((place, start.elapsed()))
            });
        }
        while let Some(time) = asked.join_next().await {
            visit.queries.push(time??);
        }
        visit.rounds += 1;
        visit.rounds_late += u32::from(round.elapsed() > REFRESH);
    }
    Ok(visit)
}

/// The connections of a datasource.
struct Pool {
    free: Semaphore,
    clients: Mutex<Vec<Client>>,
}

impl Pool {
    async fn connect(url: &str) -> Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            clients.push(client);
        }
        Ok(Self { free: Semaphore::new(CONNECTIONS), clients: Mutex::new(clients) })
    }

    /// As Grafana asks: text, nothing prepared, all rows.
    async fn ask(&self, sql: &str) -> Result<()> {
        let _permit = self.free.acquire().await?;
        let client = self.clients.lock().await.pop().context("a permit for each connection")?;
        let answer = client.simple_query(sql).await;
        self.clients.lock().await.push(client);
        answer?;
        Ok(())
    }
}
