//! Fault tests of the whole path: rounds of random faults while satellites send, and after each the
//! question whether every row is there, once and in order.
//!
//! A round is drawn from its seed ([`Plan`]): who sends, and what breaks when. [`Field`] runs it: a
//! private database behind a [`Proxy`](crate::Proxy), a ground station that may be killed and started
//! again, and satellites that send through a [`Tap`](crate::tap::Tap). [`judge`] compares what went
//! to a station that was there with the rows, without any I/O. `make chaos` runs many of them, the
//! end-to-end tests a few. [`Field::outage`] is one long absence of the database, measured.

mod action;
mod damage;
mod examine;
mod field;
mod figures;
mod flight;
mod forged;
mod judge;
mod kind;
mod outage;
mod person;
mod plan;
mod planted;
mod round;
mod scene;
mod segment;
mod twin;

pub use action::Action;
pub use damage::Damage;
pub use field::{Field, Settings};
pub use figures::{Figures, Outcome};
pub use judge::{Down, Findings, Row, Rules, judge};
pub use kind::Kind;
pub use outage::{Absence, RETURN_DURATION_MAX, Return};
pub use plan::Plan;
