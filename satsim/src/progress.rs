//! What a person sees while it flies: a bar on a terminal, a line every few seconds elsewhere. On
//! standard error, so that it mixes with nothing.

use std::{
    fmt::Write,
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

use crate::output;

/// The progress of one flight.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last: (Instant, u64),
}

impl Progress {
    /// Progress towards `total` frames, or with no end in sight.
    pub fn start(total: Option<u64>) -> Self {
        let now = Instant::now();
        Self { bar: stderr().is_terminal().then(|| bar(total)), started: now, last: (now, 0) }
    }

    /// So many frames have been made.
    pub fn update(&mut self, frames: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(frames);
            return;
        }
        let (since, before) = self.last;
        let passed = since.elapsed();
        if passed >= LINE_EVERY {
            let rate = HumanCount(((frames - before) as f64 / passed.as_secs_f64()) as u64);
            output::note(format_args!("{} frames, {rate} frames/s", HumanCount(frames)));
            self.last = (Instant::now(), frames);
        }
    }

    /// Prints a line, above the bar if there is one.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(format_args!("{line}"))),
            None => output::note(format_args!("{line}")),
        }
    }

    /// Ends the bar and returns how long it all took.
    pub fn finish(self) -> Duration {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{wide_bar} {human_pos}/{human_len}  {rate} frames/s  {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {human_pos} frames  {rate} frames/s  {elapsed}  Ctrl-C ends it",
        ),
    };
    // A template it does not understand leaves the built-in look.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("rate", rate)),
        Err(_) => bar,
    }
}

fn rate(state: &ProgressState, out: &mut dyn Write) {
    // Text that does not fit the bar is only not shown.
    write!(out, "{}", HumanCount(state.per_sec() as u64)).ok();
}

const LINE_EVERY: Duration = Duration::from_secs(5);
