//! What is done to a running station and its database, one step at a time.

use super::Damage;
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
    /// Kills the station.
    Kill {
        /// What is done to its journal then.
        damage: Option<Damage>,
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
    /// Sends datagrams that carry copies of the journal's own headers.
    Plant,
    /// Sends frames of true satellites that leap ahead, or are of a foreign boot.
    Forge,
    /// Locks `telemetry` against everybody.
    Lock,
    /// Ends that.
    Unlock,
    /// Looks whether the station holds more connections than its writers and one.
    CountConnections,
    /// Makes the database unready for new sessions: restoring, or read-only on plain tables.
    BeginRestoring,
    /// Ends that.
    EndRestoring,
    /// Starts a second station on a copy of the journal, with satellites of its own.
    Clone,
}
