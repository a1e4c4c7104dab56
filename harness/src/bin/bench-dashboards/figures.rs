//! What is written to `target/bench/dashboards.json`.

use std::time::Duration;

use serde::Serialize;

use crate::browsers::{Dashboard, Visit};

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) tables: &'static str,
    pub(crate) satellites: u32,
    pub(crate) frames_per_second_each: u32,
    pub(crate) seconds: u32,
    pub(crate) minutes_before: u32,
    pub(crate) days_before: u32,
    pub(crate) frames_generated: u64,
    pub(crate) frames_lost: u64,
    pub(crate) rows_stored: u64,
    pub(crate) queries: Times,
    pub(crate) dashboards: Vec<OfDashboard>,
}

/// How long queries took.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) count: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) max_ms: f64,
}

/// One dashboard.
#[derive(Debug, Serialize)]
pub(crate) struct OfDashboard {
    name: String,
    range_s: u64,
    rounds: u32,
    rounds_late: u32,
    queries: Times,
    panels: Vec<OfPanel>,
}

/// One query of a dashboard.
#[derive(Debug, Serialize)]
struct OfPanel {
    panel: String,
    #[serde(flatten)]
    times: Times,
}

pub(crate) fn of_dashboard((dashboard, visit): (&Dashboard, &Visit)) -> OfDashboard {
    let panels = dashboard.queries.iter().enumerate().map(|(place, query)| OfPanel {
        panel: query.panel.clone(),
        times: times(visit.queries.iter().filter(|(asked, _)| *asked == place)),
    });
    OfDashboard {
        name: dashboard.name.clone(),
        range_s: dashboard.range_s,
        rounds: visit.rounds,
        rounds_late: visit.rounds_late,
        queries: times(&visit.queries),
        panels: panels.collect(),
    }
}

pub(crate) fn times<'a>(queries: impl IntoIterator<Item = &'a (usize, Duration)>) -> Times {
    let mut ms: Vec<f64> =
        queries.into_iter().map(|(_, time)| time.as_secs_f64() * 1_000.0).collect();
    ms.sort_by(f64::total_cmp);
    // The value that so many percent do not exceed.
    let at = |percent: usize| {
        let rank = (ms.len() * percent).div_ceil(100).max(1) - 1;
        ms.get(rank).map_or(0.0, |ms| (ms * 10.0).round() / 10.0)
    };
    Times { count: ms.len(), p50_ms: at(50), p95_ms: at(95), max_ms: at(100) }
}
