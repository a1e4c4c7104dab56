//! What a flight prints.
//!
//! Guarantee: no write panics, so that a reader that has gone away (`satsim 2>&1 | head`) ends no
//! flight and costs no report.

use core::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// Writes text to standard output.
pub fn text(text: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard error. Where that is closed there is no place left to say so.
pub fn note(line: Arguments<'_>) {
    let _nowhere_to_say_so = writeln!(io::stderr(), "{line}");
}
