//! The journal: what the station has accepted, on disk until the database has it.
//!
//! An appender thread writes chunks as records to segment files; only then may a writer read and
//! store them. So one mechanism serves the ordinary case, an outage of the database and a crash:
//! writers read the journal in order, and what the database's own ledger (`ingest_batch`) says is
//! stored is passed over. A keeper thread synchronises every so often and removes segments that are
//! stored. The doors wait for neither.
//!
//! Guarantees: what is in the journal survives the end of the process at any moment, and what was
//! synchronised that of the machine. A torn end is cut off, damage costs the record that it is in,
//! and a file that is none of this journal's is set aside: nothing that is found in the folder
//! keeps the station from starting. When the disk fails, samples pass the journal by.
//!
//! Limits: `octets_max` on disk; when that is full the appender takes nothing more, so that the
//! doors' chunks run out, which they count. Memory is a window of a file for each writer.

use std::path::Path;

mod append;
mod checkpoint;
pub mod files;
mod keep;
pub mod look;
mod open;
mod read;
mod record;
mod shared;
#[cfg(test)]
mod tests;
mod window;

pub use append::Appender;
pub use keep::Keeper;
pub use open::{Journal, Options};
pub use read::Reader;
pub use shared::Gauges;

pub(crate) use record::crc32c;

/// The name of the segment whose first record has this number; names sort as numbers do.
fn file_name(first: i64) -> String {
    format!("{first:016x}.{SEGMENT}")
}

/// Whether it is the file of a segment that was set aside.
fn is_aside(path: &Path) -> bool {
    let is_segment = path.file_stem().is_some_and(|stem| stem.len() == NUMBER_DIGITS);
    is_segment && path.extension().is_some_and(|ending| ending == DAMAGED || ending == FOREIGN)
}

/// Hexadecimal digits of a number in a name.
const NUMBER_DIGITS: usize = 16;
const SEGMENT: &str = "segment";
/// The ending of files that cannot be read, or not wholly.
const DAMAGED: &str = "damaged";
/// The ending of segments that another journal or station has written.
const FOREIGN: &str = "foreign";
