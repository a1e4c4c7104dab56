//! What can go wrong, by name.

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections to the database are cut.
    Cut,
    /// COMMITs never come to the server, and the connection is cut.
    CommitUnsent,
    /// Connections are cut while the server commits.
    CommitRacing,
    /// The server's answers to COMMIT are swallowed, and the connection is cut.
    CommitUnanswered,
    /// Nothing passes between station and database, for less than any timeout.
    Stall,
    /// All passes late.
    Delay,
    /// New connections are refused.
    Refuse,
    /// An administrator ends the station's sessions.
    Terminate,
    /// The database crashes and recovers.
    Crash,
    /// The database is gone for some seconds.
    Gone,
    /// The station stands still for a while.
    Pause,
    /// The station is stopped and started with another number of writers.
    Writers,
    /// The station is killed and started again.
    Kill,
    /// The station is killed and the end of its newest journal segment is lost.
    Torn,
    /// The database is not there when the station starts.
    Absent,
    /// Copies of the journal's own headers lie in refused datagrams when the station is killed, and
    /// its journal is damaged there.
    PlantedHeader,
    /// The database is being restored, or read-only, for some seconds.
    Restoring,
    /// A person holds a lock on a table for some seconds.
    Lock,
    /// Two stations go on with copies of one journal.
    Clone,
    /// Frames are forged for satellites that are there.
    ForgedLeap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Cut,
        Self::CommitUnsent,
        Self::CommitRacing,
        Self::CommitUnanswered,
        Self::Stall,
        Self::Delay,
        Self::Refuse,
        Self::Terminate,
        Self::Crash,
        Self::Gone,
        Self::Pause,
        Self::Writers,
        Self::Kill,
        Self::Torn,
        Self::Absent,
        Self::PlantedHeader,
        Self::Restoring,
        Self::Lock,
        Self::Clone,
        Self::ForgedLeap,
    ];

    /// Whether only a station with a journal can stand it.
    pub fn needs_journal(self) -> bool {
        matches!(self, Self::Absent) || self.ends_station()
    }

    /// Whether a round can have both. What is copied or damaged is the journal of one kill, so there
    /// is no other one beside it.
    pub fn goes_with(self, other: Self) -> bool {
        let is_of_one_kill = |kind| matches!(kind, Self::PlantedHeader | Self::Clone);
        let is_apart = |kind: Self| kind.ends_station() || kind == Self::Pause;
        !(is_of_one_kill(self) && is_apart(other) || is_of_one_kill(other) && is_apart(self))
    }

    fn ends_station(self) -> bool {
        use Kind::{Clone, Kill, PlantedHeader, Torn, Writers};
        matches!(self, Kill | Torn | Writers | PlantedHeader | Clone)
    }

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::CommitUnsent => "commit-unsent",
            Self::CommitRacing => "commit-racing",
            Self::CommitUnanswered => "commit-unanswered",
            Self::Stall => "stall",
            Self::Delay => "delay",
            Self::Refuse => "refuse",
            Self::Terminate => "terminate",
            Self::Crash => "crash",
            Self::Gone => "gone",
            Self::Pause => "pause",
            Self::Writers => "writers",
            Self::Kill => "kill",
            Self::Torn => "torn",
            Self::Absent => "absent",
            Self::PlantedHeader => "planted-header",
            Self::Restoring => "restoring",
            Self::Lock => "lock",
            Self::Clone => "clone",
            Self::ForgedLeap => "forged-leap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no such kind of fault; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "rain".parse::<Kind>().expect_err("no such kind");
        assert!(error.contains("commit-unanswered"), "{error}");
    }
}
