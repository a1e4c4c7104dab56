//! What the demo shows: one screen that is redrawn each second and fits the terminal, or plain lines
//! where standard output is none.
//!
//! 80 columns and 24 rows are enough for a part of everything. More rows show more satellites and
//! anomalies, more columns more of each. The terminal is measured each time.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Result;
use harness::{Counters, outln, output};
use terminal_size::{Height, Width, terminal_size};

use crate::anomalies::{self, Anomalies};
use crate::rows;
use crate::table::{self, cut};

/// Without a terminal, a line is printed this often.
const LINE_INTERVAL_S: u64 = 5;

/// What stands left of every line but the first.
const INDENT: &str = "  ";

/// For a terminal that does not tell its size.
const USUAL_SIZE: Size = Size { columns: 80, rows: 24 };

/// One second's figures.
pub(crate) struct Figures<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) frames_per_second: u64,
    /// `None` until there are enough rows to tell.
    pub(crate) values_per_second: Option<u64>,
    pub(crate) counters: &'a Counters,
    /// The newest row of some satellites.
    pub(crate) satellites: &'a [Vec<String>],
    pub(crate) anomalies: &'a Anomalies,
}

/// How many satellites and anomalies can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) satellites: usize,
    pub(crate) anomalies: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    fn of_terminal() -> Self {
        match terminal_size() {
            Some((Width(columns), Height(rows))) if columns > 0 && rows > 0 => {
                Self { columns: columns.into(), rows: rows.into() }
            }
            _ => USUAL_SIZE,
        }
    }
}

/// Where the figures go.
pub(crate) struct Screen {
    is_terminal: bool,
    /// Lines that stay the same: what runs where, and how to look oneself.
    notes: Vec<String>,
    /// The second of the last line, where there is no terminal.
    printed_s: u64,
    /// The size when it was drawn last.
    drawn: Option<Size>,
    size: Size,
}

impl Screen {
    /// Prints the notes if there is no terminal to keep them on.
    pub(crate) fn new(notes: Vec<String>) -> Result<Self> {
        let is_terminal = io::stdout().is_terminal();
        if !is_terminal {
            outln!("{}", notes.join("\n"))?;
        }
        Ok(Self { is_terminal, notes, printed_s: 0, drawn: None, size: USUAL_SIZE })
    }

    /// Measures the terminal: what the next drawing has room for.
    pub(crate) fn measure(&mut self) -> Capacity {
        if !self.is_terminal {
            return Capacity { satellites: 0, anomalies: 0 };
        }
        self.size = Size::of_terminal();
        capacity(self.size, &self.notes)
    }

    /// Draws the screen, or prints a line if it is time for one.
    pub(crate) fn show(&mut self, figures: &Figures<'_>) -> Result<()> {
        if self.is_terminal {
            return self.draw(figures);
        }
        let second = figures.elapsed.as_secs();
        if second / LINE_INTERVAL_S > self.printed_s / LINE_INTERVAL_S {
            self.printed_s = second;
            outln!("{}", line(figures))?;
        }
        Ok(())
    }

    fn draw(&mut self, figures: &Figures<'_>) -> Result<()> {
        let clear = if self.drawn == Some(self.size) { "" } else { "\x1b[2J" };
        self.drawn = Some(self.size);
        // Home; each line clears its own rest, the end what is below: nothing flickers. No newline
        // after the last line, since it would scroll a full screen.
        let lines = screen(figures, &self.notes, self.size);
        output::text(&format!("{clear}\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }
}

/// Rows that a line takes; longer ones wrap, so that what is copied from them is whole.
fn rows_of(line: &str, size: Size) -> usize {
    line.chars().count().div_ceil(size.columns).max(1)
}

/// Rows of all that does not grow: title, figures, two headings, notes, and blank lines between.
fn fixed_rows(notes: &[String], size: Size) -> usize {
    let notes: usize = notes.iter().map(|note| rows_of(&format!("{INDENT}{note}"), size)).sum();
    1 + 1 + FIGURE_ROWS + 1 + 1 + 1 + 1 + 1 + notes
}

/// How to share the free rows where there are `found` anomalies: they get half, the satellites have
/// the rest.
fn share(size: Size, notes: &[String], found: usize) -> Capacity {
    let free = size.rows.saturating_sub(fixed_rows(notes, size));
    let fleet = crate::SATELLITES as usize;
    let anomalies = found.min((free / 2).max(free.saturating_sub(fleet)));
    Capacity { satellites: (free - anomalies).min(fleet), anomalies }
}

/// The most that can be shown of each.
fn capacity(size: Size, notes: &[String]) -> Capacity {
    Capacity {
        satellites: share(size, notes, 0).satellites,
        anomalies: share(size, notes, usize::MAX).anomalies,
    }
}

const FIGURE_ROWS: usize = 8;

fn figure_lines(figures: &Figures<'_>) -> [String; FIGURE_ROWS] {
    let counters = figures.counters;
    let row = |name: &str, value: String, note: &str| format!("{name:<18}{value:>14}  {note}");
    let open = figures.anomalies.open;
    [
        row("frames/s", grouped(figures.frames_per_second), "received"),
        row("values/s", rate(figures.values_per_second), "stored, counted in the database"),
        row("lost", grouped(counters.lost), "frames lost in transit"),
        row("corrupt", grouped(counters.corrupt()), "frames that failed validation"),
        row("committed", grouped(counters.committed), "samples stored"),
        row("pending", grouped(counters.pending), "samples accepted but not yet committed"),
        row("ledger residual", residual(counters), "frames, samples not accounted for"),
        row("anomalies", grouped(figures.anomalies.found), &format!("found, {open} of them open")),
    ]
}

/// The lines of a screen; together with those that wrap they fit `size`.
fn screen(figures: &Figures<'_>, notes: &[String], size: Size) -> Vec<String> {
    let seconds = figures.elapsed.as_secs();
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let share = share(size, notes, figures.anomalies.newest.len());
    let width = size.columns.saturating_sub(INDENT.len());
    let mut lines = vec![format!("OrbitStream  {time}"), String::new()];
    let mut add = |block: Vec<String>| {
        lines.extend(block.iter().map(|line| format!("{INDENT}{line}")));
        lines.push(String::new());
    };
    add(figure_lines(figures).to_vec());
    let satellites = &figures.satellites[..figures.satellites.len().min(share.satellites)];
    add(table::lines(&rows::COLUMNS, satellites, width));
    let newest = &figures.anomalies.newest;
    add(table::lines(&anomalies::COLUMNS, &newest[..newest.len().min(share.anomalies)], width));
    lines = lines.iter().map(|line| cut(line, size.columns)).collect();
    lines.extend(notes.iter().map(|note| format!("{INDENT}{note}")));
    // In a terminal too small for all, the end is missing.
    let mut rows = 0;
    lines.retain(|line| {
        rows += rows_of(line, size);
        rows <= size.rows
    });
    lines
}

fn line(figures: &Figures<'_>) -> String {
    let counters = figures.counters;
    format!(
        "{:>5} s  {} frames/s  {} values/s stored  lost {}  corrupt {}  committed {}  \
         anomalies {}  ledger residual {}",
        figures.elapsed.as_secs(),
        grouped(figures.frames_per_second),
        rate(figures.values_per_second),
        grouped(counters.lost),
        grouped(counters.corrupt()),
        grouped(counters.committed),
        grouped(figures.anomalies.found),
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
    use super::*;

    const COUNTERS: &str = r#"{"datagrams": 0, "bytes": 0, "frames": 9, "idle": 0, "rejected": {},
        "accepted": 9, "json": 0, "recovered": 0, "duplicate": 0, "stale": 0, "missed": 0, "late": 0,
        "lost": 0, "resets": 0, "kernel_dropped": 0, "queue_dropped": 0, "quarantined": 0,
        "quarantine_dropped": 0, "committed": 9, "pending": 0}"#;

    fn notes() -> Vec<String> {
        let psql = "psql -h /tmp/orbitstream-aBcDeF -p 31999 -U orbitstream";
        ["satellites", "station", psql, "Ctrl-C ends it"].map(|text| format!("name  {text}")).into()
    }

    /// A screen with more satellites and anomalies than any terminal has rows.
    fn drawn(columns: usize, rows: usize, notes: &[String]) -> Result<Vec<String>> {
        let counters: Counters = serde_json::from_str(COUNTERS)?;
        let row = || vec!["detumble-and-longer".to_owned(); 20];
        let anomalies = Anomalies { found: 999, open: 99, newest: vec![row(); 500] };
        let figures = Figures {
            elapsed: Duration::from_secs(3_725),
            frames_per_second: 1_000,
            values_per_second: Some(16_400),
            counters: &counters,
            satellites: &vec![row(); 500],
            anomalies: &anomalies,
        };
        Ok(screen(&figures, notes, Size { columns, rows }))
    }

    #[test]
    fn every_terminal_is_filled_and_none_scrolls() -> Result<()> {
        let mut notes = notes();
        for grafana in [false, true] {
            if grafana {
                notes.push("Grafana  http://127.0.0.1:3001".into());
            }
            for (columns, rows) in [(80, 24), (80, 40), (100, 24), (120, 40), (200, 60), (70, 24)] {
                let size = Size { columns, rows };
                let lines = drawn(columns, rows, &notes)?;
                let used: usize = lines.iter().map(|line| rows_of(line, size)).sum();
                assert_eq!(used, rows, "{columns}x{rows}: {lines:#?}");
                assert!(lines.last().is_some_and(|line| line.contains(&notes[notes.len() - 1])));
                let share = share(size, &notes, 500);
                assert!(share.satellites >= 2 && share.anomalies >= 2, "{share:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_small_terminal_shows_the_beginning() -> Result<()> {
        for (columns, rows) in [(80, 10), (40, 24), (20, 5), (1, 1)] {
            let size = Size { columns, rows };
            let lines = drawn(columns, rows, &notes())?;
            let used: usize = lines.iter().map(|line| rows_of(line, size)).sum();
            assert!(used <= rows, "{columns}x{rows}: {lines:#?}");
            assert!(lines[0].starts_with('O'), "{lines:#?}");
        }
        Ok(())
    }

    #[test]
    fn a_larger_terminal_shows_more() {
        let shared = |columns, rows, found| share(Size { columns, rows }, &notes(), found);
        assert_eq!(shared(80, 24, 0), Capacity { satellites: 5, anomalies: 0 });
        assert_eq!(shared(80, 24, 9), Capacity { satellites: 3, anomalies: 2 });
        assert_eq!(shared(80, 60, 99), Capacity { satellites: 21, anomalies: 20 });
        assert_eq!(shared(80, 300, 999), Capacity { satellites: 100, anomalies: 181 });
    }

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 999, 1_000, 16_400, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "16,400", "1,234,567"]);
    }
}
