//! What a caller may ask of a cluster.

use std::path::PathBuf;

/// What a cluster should be like.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Folder to keep it in, made if missing and kept afterwards; a temporary one if `None`.
    pub directory: Option<PathBuf>,
    /// Whether a commit survives a crash of the machine; `false` is faster.
    pub durable: bool,
    /// Whether to preload TimescaleDB where it is installed.
    pub timescaledb: bool,
    /// More settings for `postgresql.conf`, as name and value.
    pub settings: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    /// A temporary one for tests: not durable, with TimescaleDB where it is installed.
    fn default() -> Self {
        Self { directory: None, durable: false, timescaledb: true, settings: Vec::new() }
    }
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the connections and writes everything out.
    Fast,
    /// Ends at once, as after a power cut; the next start recovers.
    Immediate,
}

impl StopMode {
    /// What `pg_ctl` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}
