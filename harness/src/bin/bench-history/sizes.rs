//! How much disk each database takes.

use std::collections::BTreeMap;

use anyhow::Result;
use harness::Cluster;
use serde::Serialize;

use crate::target::{TABLES, Target};

/// Octets, with indexes and TOAST.
#[derive(Debug, Serialize)]
pub(crate) struct Sizes {
    /// All tables of raw data.
    pub(crate) raw: u64,
    /// Each of them.
    tables: BTreeMap<String, u64>,
    /// The aggregates made from them.
    aggregates: BTreeMap<String, u64>,
}

/// Asks for them.
pub(crate) fn sizes(cluster: &Cluster, target: Target) -> Result<Sizes> {
    let size = if target == Target::Plain { "pg_total_relation_size" } else { "hypertable_size" };
    let list = |names: &str, column: &str| -> Result<BTreeMap<String, u64>> {
        let text = cluster.sql(
            target.name(),
            &format!("SELECT {column}, {size}({column}::regclass) FROM {names}"),
        )?;
        let parse = |line: &str| {
            let (name, octets) = line.split_once('|').unwrap_or_default();
            Ok((name.to_owned(), octets.parse()?))
        };
        text.lines().map(parse).collect()
    };
    let tables = list(&format!("unnest(ARRAY['{}']) AS name", TABLES.join("', '")), "name")?;
    let aggregates = match target {
        Target::Plain => BTreeMap::new(),
        _ => list("timescaledb_information.continuous_aggregates", "view_name::text")?,
    };
    Ok(Sizes { raw: tables.values().sum(), tables, aggregates })
}
