//! The signals that end a flight: SIGINT, SIGTERM, and SIGHUP of a terminal that was closed.
//!
//! A SIGHUP that was ignored when the program was started stays ignored: that is what nohup(1) is
//! for. SIGINT is always taken: a shell without job control starts background jobs with it ignored,
//! to spare them Ctrl-C, but `kill -INT` without effect would surprise whoever sends it, and the
//! report is written all the same.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// A flag that a signal sets. A second signal ends the program at once; one that comes within a
/// moment is the first one still: timeout(1), for one, sends it to the program and to its group.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let (stop, is_second) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }
        flag::register_conditional_shutdown(signal, EXIT_KILLED, is_second.clone())?;
        flag::register(signal, stop.clone())?;
    }
    let stopped = stop.clone();
    thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            thread::sleep(SAME_SIGNAL / 10);
        }
        thread::sleep(SAME_SIGNAL);
        is_second.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// Whether a signal is ignored: by the mask in proc(5), since asking sigaction(2) would take unsafe
/// code. Where there is no such file it is not.
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_in_mask(&status, signal))
}

fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// What shells report for Ctrl-C.
const EXIT_KILLED: i32 = 130;
const SAME_SIGNAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::is_in_mask;

    #[test]
    fn the_mask_counts_from_one() {
        let status = "Name:\tsatsim\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n";
        let ignored: Vec<_> = (1..=64).filter(|&signal| is_in_mask(status, signal)).collect();
        assert_eq!(ignored, [1, 2, 13]);
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn:\tnonsense\n", 1));
    }
}
