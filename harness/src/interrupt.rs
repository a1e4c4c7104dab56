//! Ctrl-C, `kill` and a closed terminal, as something to wait for.

use std::process;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a program that ended on Ctrl-C.
const EXIT_CODE_INTERRUPTED: i32 = 130;

/// Knows when the program is asked to end.
#[derive(Debug)]
pub struct Interrupt(Receiver<()>);

impl Interrupt {
    /// From now on a first signal is noted; a second one ends the program at once.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (sender, receiver) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let outcome = note_signals(&sender, &ready).await;
                // Unless it failed, this was said already.
                let _ = ready.send(outcome);
            });
        })?;
        is_ready.recv()??;
        Ok(Self(receiver))
    }

    /// Waits for a signal, at most for `duration`; true if there was one.
    pub fn came_within(&self, duration: Duration) -> bool {
        self.0.recv_timeout(duration) != Err(RecvTimeoutError::Timeout)
    }
}

async fn note_signals(
    sender: &Sender<()>,
    ready: &Sender<std::io::Result<()>>,
) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _ = ready.send(Ok(()));
    for signals in 1_u32.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if signals > 1 || sender.send(()).is_err() {
            // The watchdogs end what was started.
            process::exit(EXIT_CODE_INTERRUPTED);
        }
    }
    Ok(())
}
