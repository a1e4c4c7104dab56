//! What the commands print beside the log.
//!
//! Guarantee: no write panics, and a reader that has gone away (`receiver journal ls | head`) ends
//! nothing that the command does.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write as _},
};

/// Writes a line to standard output.
pub fn line(line: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard error. Where that is closed there is no place left to say so.
pub fn error_line(line: Arguments<'_>) {
    let _nowhere_to_say_so = writeln!(io::stderr(), "{line}");
}
