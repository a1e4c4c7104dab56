//! What this process takes of the machine, under the names that Prometheus' own clients give it.
//! Linux tells; where it does not, a metric is left out rather than 0.

use std::fmt;

use procfs::{
    WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// One look at the process.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Of all its threads, in user and in system mode.
    cpu_s: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<i64>,
    /// Since 1970.
    started_s: Option<f64>,
    open_fds: Option<usize>,
    fds_max: Option<u64>,
}

impl Usage {
    /// Reads a few files under `/proc/self`, which takes some tens of microseconds.
    pub(super) fn now() -> Self {
        let Ok(process) = Process::myself() else { return Self::default() };
        let stat = process.stat().ok();
        let stat = stat.as_ref();
        let ticks = procfs::ticks_per_second() as f64;
        let fds_max =
            process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
                LimitValue::Value(value) => Some(value),
                LimitValue::Unlimited => None,
            });
        Self {
            cpu_s: stat.map(|stat| (stat.utime + stat.stime) as f64 / ticks),
            resident_bytes: stat.map(|stat| stat.rss_bytes().get()),
            virtual_bytes: stat.map(|stat| stat.vsize),
            threads: stat.map(|stat| stat.num_threads),
            started_s: stat.and_then(|stat| {
                let booted_s = procfs::boot_time_secs().ok()?;
                Some(booted_s as f64 + stat.starttime as f64 / ticks)
            }),
            open_fds: process.fd_count().ok(),
            fds_max,
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(seconds) = self.cpu_s {
            let help = "User and system CPU time of the process";
            let metric = encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        let whole = |value: u64| value as f64;
        for (name, help, unit, value) in [
            (
                "process_resident_memory",
                "Resident memory of the process",
                Some(Unit::Bytes),
                self.resident_bytes.map(whole),
            ),
            (
                "process_virtual_memory",
                "Virtual memory of the process",
                Some(Unit::Bytes),
                self.virtual_bytes.map(whole),
            ),
            (
                "process_start_time",
                "When the process was started, since 1970",
                Some(Unit::Seconds),
                self.started_s,
            ),
            ("process_threads", "Threads of the process", None, self.threads.map(|n| n as f64)),
            (
                "process_open_fds",
                "Open file descriptors",
                None,
                self.open_fds.map(|count| count as f64),
            ),
            (
                "process_max_fds",
                "How many file descriptors may be open",
                None,
                self.fds_max.map(whole),
            ),
        ] {
            let Some(value) = value else { continue };
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_is_seen() {
        let usage = Usage::now();
        assert!(usage.cpu_s.is_some_and(|seconds| (0.0..1e6).contains(&seconds)), "{usage:?}");
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
        assert!(usage.virtual_bytes > usage.resident_bytes, "{usage:?}");
        assert!(usage.threads.is_some_and(|threads| threads >= 2), "{usage:?}");
        assert!(usage.open_fds.is_some_and(|fds| fds >= 3), "{usage:?}");
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age_s = now_s - usage.started_s.unwrap();
        assert!((-5.0..1e6).contains(&age_s), "{age_s}");
    }
}
