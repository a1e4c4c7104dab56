//! Processor time of one thread.

use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

/// What the calling thread has used so far, its system calls included.
pub(crate) fn of_this_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
