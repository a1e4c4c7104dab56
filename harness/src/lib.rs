//! What the demo, the benchmarks and the end-to-end tests stand on: a private PostgreSQL that
//! leaves nothing behind, programs that are ended with their owner, and the ledger they are checked
//! against.
//!
//! Nothing of `receiver` or `satsim` depends on this crate.

#![forbid(unsafe_code)]

pub mod chaos;
pub mod cluster;
pub mod figures;
pub mod foreign;
pub mod generate;
pub mod grafana;
pub mod instructions;
pub mod interrupt;
pub mod judges;
pub mod ledger;
pub mod machine;
pub mod network;
pub mod output;
pub mod pgbouncer;
pub mod program;
pub mod proxy;
pub mod relay;
pub mod small_disk;
pub mod stand_in;
pub mod station;
pub mod stress;
pub mod tap;
pub mod tiers;
pub mod verification;
pub mod watchdog;
pub mod yamcs;

pub use cluster::{Cluster, ClusterOptions, StopMode};
pub use foreign::Foreign;
pub use grafana::Grafana;
pub use interrupt::Interrupt;
pub use ledger::{Counters, Truth};
pub use pgbouncer::Pgbouncer;
pub use program::Program;
pub use proxy::Proxy;
pub use stand_in::StandIn;
pub use station::{Constellation, Station};
pub use tiers::Tier;
pub use verification::{Reports, Verification};
