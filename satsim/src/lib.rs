//! The OrbitStream constellation: satellites that fly, and the packets they send.
//!
//! Data flows one way: [`constellation`] (simulated time to frames, [`anomaly`] in the readings) →
//! [`fault`] (what becomes of them) → [`datagram`] (frames to datagrams) → [`sink`] (the network, a pcap file), driven by
//! [`flight`] along the [`itinerary`] at the [`schedule`]'s pace. Everything up to the sink is a
//! function of the [`plan`]: no clock, no I/O, so the same plan makes the same bytes. What was sent is
//! summed up in the [`report`], its values in [`digest`]s. [`signals`] end a flight.
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod constellation;
pub mod datagram;
pub mod digest;
pub mod fault;
pub mod flight;
pub mod itinerary;
pub mod options;
pub mod orbit;
pub mod output;
pub mod plan;
pub mod progress;
pub mod report;
pub mod satellite;
pub mod scenario;
pub mod schedule;
pub mod signals;
pub mod sink;
pub mod verify;
