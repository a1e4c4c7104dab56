//! The anomalies that the station has found, as the database has them.

use anyhow::{Context, Result};
use harness::Cluster;

use crate::table::Column;

/// What is shown of an event.
pub(crate) const COLUMNS: [Column; 10] = [
    Column::text("opened", 10),
    Column::text("satellite", 10),
    Column::text("channel", 16),
    Column::text("detector", 10),
    Column::text("severity", 9),
    Column::number("peak", 9),
    Column::number("expected", 9),
    Column::text("  state", 12),
    Column::number("samples", 9),
    Column::number("score", 9),
];

/// All events, and the newest of them.
pub(crate) struct Anomalies {
    pub(crate) found: u64,
    pub(crate) open: u64,
    pub(crate) newest: Vec<Vec<String>>,
}

impl Anomalies {
    /// Asks the database; `shown` is how many of the newest are wanted.
    pub(crate) fn ask(cluster: &Cluster, database: &str, shown: usize) -> Result<Self> {
        let answer = cluster.sql(
            database,
            &format!(
                "SELECT count(*), count(*) FILTER (WHERE closed_at IS NULL) FROM anomaly;
                 SELECT to_char(opened_at, 'HH24:MI:SS'), satellite_id, channel, detector, severity,
                        round(coalesce(peak_observed, observed)::numeric, 3), round(expected::numeric, 3),
                        '  ' || coalesce(close_reason, 'open'), samples, round(score::numeric, 1)
                 FROM anomaly ORDER BY opened_at DESC, id DESC LIMIT {shown}"
            ),
        )?;
        let mut lines = answer.lines();
        let counts = lines.next().and_then(|line| line.split_once('|'));
        let (found, open) = counts.with_context(|| format!("not two numbers: {answer}"))?;
        let newest = lines.map(|line| line.split('|').map(str::to_owned).collect());
        Ok(Self { found: found.parse()?, open: open.parse()?, newest: newest.collect() })
    }
}
