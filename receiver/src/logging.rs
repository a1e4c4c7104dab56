//! The log: one line an event on standard output, as text or as JSON.
//!
//! Guarantee: an event is one line, and nothing in it can control a terminal, whatever octets of
//! strangers (an error of a server, the name of a file, a value that was posted) its message quotes:
//! control characters, and those that reorder text, are written as escapes. Colours are for a
//! terminal, and only without `NO_COLOR` (<https://no-color.org>).

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write},
    str::FromStr,
};

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    fmt::{MakeWriter, format},
};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Time, level and message
    #[default]
    Text,
    /// A JSON object with `timestamp`, `level`, `target` and `message`
    Json,
}

/// Which events are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self(DEFAULT_FILTER.into())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        match text.parse::<EnvFilter>() {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(format!("{error}; try ORBITSTREAM_LOG=info")),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts the log of this process; a second call has no effect.
pub fn start(format: LogFormat, filter: &LogFilter) {
    let filter = EnvFilter::new(&filter.0);
    // A log that cannot be written must end nothing: the library would say so by `eprintln`, which
    // panics where standard error is closed or its disk is full, too.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let _is_first = match format {
        LogFormat::Text => log
            .with_target(false)
            .with_ansi(has_colours(io::stdout().is_terminal(), std::env::var_os("NO_COLOR")))
            .fmt_fields(format::debug_fn(write_field).delimited(" "))
            .try_init(),
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(Plain(io::stdout))
            .try_init(),
    };
}

/// Whether a stream gets colours.
fn has_colours(is_terminal: bool, no_color: Option<std::ffi::OsString>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

fn write_field(
    writer: &mut format::Writer<'_>,
    field: &Field,
    value: &dyn fmt::Debug,
) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaping(writer), "{value:?}")
}

/// Writes text with escapes in place of characters that could end a line or control a terminal.
struct Escaping<W>(W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (place, character) in text.char_indices().filter(|&(_, c)| is_unsafe(c)) {
            self.0.write_str(&text[plain..place])?;
            write!(self.0, "{}", character.escape_default())?;
            plain = place + character.len_utf8();
        }
        self.0.write_str(&text[plain..])
    }
}

/// Control characters, line and paragraph separators, and what changes the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}')
}

/// A place for lines of JSON, whose strings have escapes for C0 control characters already; it adds
/// those for the rest.
struct Plain<M>(M);

struct PlainWriter<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Plain<M> {
    type Writer = PlainWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PlainWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for PlainWriter<W> {
    /// Takes all of it, which is a whole line.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut line = String::with_capacity(octets.len());
        for character in String::from_utf8_lossy(octets).chars() {
            if character != '\n' && is_unsafe(character) {
                // All of them are in the basic plane.
                let _never_fails = write!(line, "\\u{:04x}", u32::from(character));
            } else {
                line.push(character);
            }
        }
        self.0.write_all(line.as_bytes())?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Libraries speak only of trouble.
pub const DEFAULT_FILTER: &str = "warn,receiver=info";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const HOSTILE: &str =
        "a\nb\r\tc\u{1b}[31md\u{7}e\u{7f}f\u{9b}31mg\u{202e}h\u{2028}i\0j \"k\" \\l 東京";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log_hostile() {
        tracing::warn!("{HOSTILE}");
        tracing::warn!(samples = 1, name = HOSTILE, "Data received");
    }

    #[test]
    fn a_line_of_text_stays_one_line_without_control_characters() {
        let kept = Kept::default();
        let to = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(format::debug_fn(write_field).delimited(" "))
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, log_hostile);
        let text = kept.text();
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        assert!(text.contains(r"a\nb\r\tc\u{1b}[31md"), "{text}");
        assert!(text.contains("東京") && text.contains(r"Data received samples=1 name="), "{text}");
    }

    #[test]
    fn a_line_of_json_is_an_object_with_the_message_as_it_was() {
        let kept = Kept::default();
        let to = kept.clone();
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(Plain(move || to.clone()))
            .finish();
        tracing::subscriber::with_default(log, log_hostile);
        let text = kept.text();
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], HOSTILE);
        assert_eq!((&lines[0]["level"], &lines[1]["samples"]), (&"WARN".into(), &1.into()));
        assert_eq!(lines[1]["message"], "Data received");
    }

    #[test]
    fn colours_are_for_a_terminal_that_wants_them() {
        for (is_terminal, no_color, has) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (true, Some("0"), false),
            (false, None, false),
        ] {
            assert_eq!(has_colours(is_terminal, no_color.map(Into::into)), has, "{no_color:?}");
        }
    }

    #[test]
    fn a_filter_is_checked_and_says_what_to_try() {
        assert_eq!("".parse(), Ok(LogFilter::default()));
        assert!("debug".parse::<LogFilter>().is_ok());
        let error = "receiver=loud".parse::<LogFilter>().unwrap_err();
        assert!(error.contains("try ORBITSTREAM_LOG=info"), "{error}");
    }
}
