//! What is done to a running station and its database, one step at a time.

use crate::StopMode;
use crate::proxy::{CommitCut, Cut, Passage, Which};

/// One step of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Ends all connections to the database.
    Cut(Cut),
    /// Cuts connections around COMMITs from now on, or no longer.
    Commits(Option<(CommitCut, Which)>),
    /// How connections get on from now on.
    Passage(Passage),
    /// Ends the station's sessions on the server.
    Terminate,
    /// Lets the server crash and recover.
    Crash,
    /// Stops the server.
    StopDatabase(StopMode),
    /// Starts it again.
    StartDatabase,
    /// Stops the station where it is.
    Pause,
    /// Lets it go on.
    Resume,
    /// Kills the station; then so many octets are cut off the newest segment of its journal.
    Kill {
        /// None where the journal stays as it is.
        torn_octets: Option<u64>,
    },
    /// Stops the station as an operator does.
    Stop,
    /// Starts it again on the same journal.
    Start {
        /// How many writers it has from now on.
        writers: u8,
        /// Whether the satellites repeat what they sent last.
        repeats: bool,
    },
}
