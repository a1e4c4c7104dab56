//! The journal: what the station has accepted, on disk until the database has it.
//!
//! An appender thread writes chunks as records to segment files; only then may a writer read and
//! store them. So one mechanism serves the ordinary case, an outage of the database and a crash:
//! writers read the journal in order, and what the database's own ledger (`ingest_batch`) says is
//! stored is passed over. A keeper thread synchronises every so often and removes segments that are
//! stored. Those who receive wait for neither.
//!
//! Guarantees: what is in the journal survives the end of the process at any moment, and what was
//! synchronised that of the machine. A torn tail is cut off, damage costs the record that it is in,
//! and a file that is none of this journal's is kept apart: nothing that is found in the folder
//! keeps the station from starting. Nothing that came from outside is ever taken for a header
//! (see `record`). When the disk fails, samples bypass the journal.
//!
//! Each run of the station numbers its records under an identity of its own. So a record that the
//! ledger says is stored was stored from this very record, or from a copy of it: a folder that was
//! copied neither loses nor doubles samples.
//!
//! Limits: `octets_max` on disk; when that is full the appender takes nothing more, so that chunks
//! run out, which is counted. Memory is a window of a file for each writer.

use std::path::{Path, PathBuf};

mod apart;
mod append;
mod checkpoint;
mod described;
pub mod files;
mod keep;
pub mod look;
mod open;
mod read;
mod record;
mod shared;
#[cfg(test)]
mod tests;
mod walk;
mod window;

pub use apart::Apart;
pub use append::Appender;
pub use described::known as known_definitions;
pub use keep::Keeper;
pub use open::{InUse, Journal, Options, is_in_use, station_of};
pub use read::Reader;
pub use shared::{Gauges, RunRange};

pub(crate) use record::{JOURNAL_LOW_BITS, crc32c};

/// The name of the segment whose first record has this number; names sort as numbers do.
fn file_name(first: i64) -> String {
    format!("{first:016x}.{SEGMENT}")
}

/// The segments of a folder, in order.
fn segments_in(files: &dyn files::Files, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = files.list(folder)?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == SEGMENT));
    paths.sort();
    Ok(paths)
}

/// Hexadecimal digits of a number in a name.
const NUMBER_DIGITS: usize = 16;
const SEGMENT: &str = "segment";
/// The ending of files that cannot be read, or not wholly.
const DAMAGED: &str = "damaged";
/// The ending of segments, and of folders of segments, that another journal or station has written.
const FOREIGN: &str = "foreign";
