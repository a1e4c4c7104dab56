//! The signals that end a program: SIGINT, SIGTERM, and SIGHUP of a terminal that was closed.
//!
//! A SIGHUP that was ignored when the program was started stays ignored: that is what nohup(1) is
//! for. SIGINT is always taken, although a shell without job control starts background jobs with it
//! ignored: it does so to spare them Ctrl-C, and a station that drains and ends loses nothing by it,
//! while `kill -INT` without effect would surprise whoever sends it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the program.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored.
    hangup: Option<Signal>,
}

impl EndSignals {
    /// Takes them from now on.
    pub fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        let is_ignored = ignored_at_start(hangup);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_ignored { None } else { Some(signal(hangup)?) },
        })
    }

    /// Waits for one of them; what has happened, in a word.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = hangup => "hung up: the terminal was closed",
        }
    }
}

/// Whether a signal is ignored: by the mask in proc(5), since asking sigaction(2) would take unsafe
/// code. Where there is no such file it is not. To be asked before anything handles the signal.
fn ignored_at_start(kind: SignalKind) -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| is_in_mask(&status, kind.as_raw_value()))
}

fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::is_in_mask;

    #[test]
    fn the_mask_counts_from_one() {
        let status = "Name:\treceiver\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n";
        let ignored: Vec<_> = (1..=64).filter(|&signal| is_in_mask(status, signal)).collect();
        assert_eq!(ignored, [1, 2, 13]);
        for status in ["", "SigIgn:\n", "SigIgn:\tnonsense\n"] {
            assert!(!is_in_mask(status, 1), "{status:?}");
        }
    }
}
