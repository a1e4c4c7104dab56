//! Standard output and standard error of this crate's programs.
//!
//! Guarantee: no write panics. A reader that goes away (`demo | head`) is the error
//! [`OutputClosed`], which [`exit_code`] turns into a quiet end; other failures are ordinary errors.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};

/// What a shell reports for a program that was ended by `SIGPIPE`.
const EXIT_CODE_OUTPUT_CLOSED: u8 = 141;

/// Whoever read standard output has closed it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// Prints a line to standard output; takes what `println!` takes and gives back a `Result`.
#[macro_export]
macro_rules! outln {
    ($($argument:tt)*) => {
        $crate::output::line(format_args!($($argument)*))
    };
}

/// Prints a line to standard output, for [`outln!`](crate::outln).
pub fn line(arguments: fmt::Arguments<'_>) -> Result<()> {
    text(&format!("{arguments}\n"))
}

/// Writes text to standard output, all of it at once.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Prints a line to standard error. Where that is closed too, there is no place left to say so.
pub fn error_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How a program ends: failure if `outcome` is `false` or an error, which is printed as
/// `PROGRAM: ERROR`. A closed standard output ends it without a word.
pub fn exit_code(program: &str, outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_output_closed(&error) => ExitCode::from(EXIT_CODE_OUTPUT_CLOSED),
        Err(error) => {
            error_line(&format!("{program}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_output_closed(error: &Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<OutputClosed>().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_output_is_recognised_below_its_context() {
        let error = Err::<(), _>(Error::from(OutputClosed)).context("while drawing");
        assert!(is_output_closed(&error.expect_err("an error")));
        assert!(!is_output_closed(&anyhow::anyhow!("standard output was closed")));
    }
}
