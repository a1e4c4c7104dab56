//! OrbitStream's frames: bytes to values and back.
//!
//! One frame is one CCSDS space packet (CCSDS 133.0-B-2) with a CDS time code (CCSDS 301.0-B-4)
//! in its secondary header and a CRC-16 at its end. This crate holds the layout and nothing else:
//! no I/O, no clock, no logging, and no heap on the way in.
//!
//! * [`Datagram`] is the only door for untrusted bytes; what it hands out, a [`Frame`], can be
//!   read without any further failure, in place.
//! * [`emit()`] is the way out.
//! * [`rfc3339`] reads the times of JSON samples and of options.
//! * Each packet kind ([`health`], [`attitude`]) is declared once, with the `packet!` macro.
//!   [`KINDS`] lists the declarations; documents, dissector and SQL are derived from or checked
//!   against it.
#![forbid(unsafe_code)]

pub mod attitude;
pub mod channel;
mod crc;
mod door;
mod emit;
mod fingerprint;
mod frame;
pub mod header;
pub mod health;
mod packet;
pub mod rfc3339;
mod sequence;
mod spacecraft;
mod time;

pub use crc::crc16;
pub use door::{Datagram, Refusal, Rejected};
pub use emit::{FRAME_OCTETS_MAX, Stamp, emit, emit_idle};
pub use fingerprint::fingerprint;
pub use frame::{Frame, IDLE_OCTETS_MAX, Telemetry};
pub use packet::{Apid, Body, KINDS, Kind, Packet};
pub use sequence::Sequence;
pub use spacecraft::{NotASpacecraft, SpacecraftId, SpacecraftName};
pub use time::CdsTime;
