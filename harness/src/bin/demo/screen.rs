//! What the demo shows: one screen drawn anew each second, or plain lines where there is none.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use harness::Counters;

/// Without a terminal, a line is printed this often.
const LINE_INTERVAL_S: u64 = 5;

/// One second's figures.
pub(crate) struct Figures<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) frames_per_second: u64,
    /// `None` until there are enough rows to tell.
    pub(crate) values_per_second: Option<u64>,
    pub(crate) counters: &'a Counters,
    pub(crate) newest: &'a [String],
}

/// Where the figures go.
pub(crate) struct Screen {
    is_terminal: bool,
    is_drawn: bool,
    /// Lines that stay the same: what runs where, and how to look oneself.
    notes: Vec<String>,
}

impl Screen {
    pub(crate) fn new(notes: Vec<String>) -> Self {
        let is_terminal = io::stdout().is_terminal();
        if !is_terminal {
            println!("{}", notes.join("\n"));
        }
        Self { is_terminal, is_drawn: false, notes }
    }

    /// Draws the screen, or prints a line if it is time for one.
    pub(crate) fn show(&mut self, figures: &Figures<'_>) -> io::Result<()> {
        if self.is_terminal {
            self.draw(figures)
        } else if figures.elapsed.as_secs().is_multiple_of(LINE_INTERVAL_S) {
            println!("{}", line(figures));
            io::stdout().flush()
        } else {
            Ok(())
        }
    }

    fn draw(&mut self, figures: &Figures<'_>) -> io::Result<()> {
        let clear = if self.is_drawn { "" } else { "\x1b[2J" };
        self.is_drawn = true;
        // Home; each line clears its own rest, the end what is below: nothing flickers.
        let mut text = format!("{clear}\x1b[H");
        for line in screen(figures, &self.notes) {
            text.push_str(&line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

fn screen(figures: &Figures<'_>, notes: &[String]) -> Vec<String> {
    let counters = figures.counters;
    let row = |name: &str, value: String, note: &str| format!("  {name:<18}{value:>14}  {note}");
    let seconds = figures.elapsed.as_secs();
    let mut lines = vec![
        format!("OrbitStream  {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        String::new(),
        row("frames/s", grouped(figures.frames_per_second), "received"),
        row("values/s", rate(figures.values_per_second), "stored, counted in the database"),
        row("lost", grouped(counters.lost), "frames that never came"),
        row("corrupt", grouped(counters.corrupt()), "frames damaged on their way"),
        row("committed", grouped(counters.committed), "samples stored"),
        row("pending", grouped(counters.pending), "samples on their way to the database"),
        row("ledger residual", residual(counters), "frames, samples not accounted for"),
        String::new(),
    ];
    lines.extend(figures.newest.iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    lines.extend(notes.iter().map(|note| format!("  {note}")));
    lines
}

fn line(figures: &Figures<'_>) -> String {
    let counters = figures.counters;
    format!(
        "{:>5} s  {} frames/s  {} values/s stored  lost {}  corrupt {}  committed {}  \
         ledger residual {}",
        figures.elapsed.as_secs(),
        grouped(figures.frames_per_second),
        rate(figures.values_per_second),
        grouped(counters.lost),
        grouped(counters.corrupt()),
        grouped(counters.committed),
        residual(counters),
    )
}

fn rate(values_per_second: Option<u64>) -> String {
    values_per_second.map_or_else(|| "…".into(), grouped)
}

fn residual(counters: &Counters) -> String {
    format!("{}, {}", counters.frame_residual(), counters.sample_residual())
}

/// A number with its thousands apart: 12,345.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 999, 1_000, 16_400, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "16,400", "1,234,567"]);
    }
}
