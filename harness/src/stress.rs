//! The packet-loss stress tests: cases, how one is run, and the table at the end.
//!
//! Each [`Case`] is a flight with its own faults, or over a network with faults of its own; each
//! gets a fresh ground station on one private database, where the rows of earlier cases stay and
//! must not disturb, and ends in `satsim verify`. `make stress` runs the matrix, the end-to-end
//! tests a slice of it.

mod case;
mod matrix;
mod range;
mod scoreboard;

pub use case::{Case, Fault, Way};
pub use matrix::{Extent, matrix, network_matrix};
pub use range::{Outcome, Range};
pub use scoreboard::Scoreboard;
