//! The OrbitStream ground station, as a library; the `receiver` binary is a thin shell around it.
//!
//! Data flows one way: socket → parse → track → chunk → channel → detect → batch → COPY. [`station`]
//! is the only file that makes threads and channels.
//!
//! | room | does | knows nothing of |
//! |---|---|---|
//! | [`socket`] | takes datagrams | what they mean |
//! | [`intake`] | parses, tracks, fills chunks | SQL, HTTP, locks |
//! | [`source_rate`] | who sends too fast | I/O, clocks |
//! | [`time_window`], [`quarantine_rate`] | frames with implausible dates | I/O, clocks |
//! | [`track`] | loss, repeats, reboots of each stream | I/O, clocks |
//! | [`link`] | how each link did, interval by interval | I/O, clocks |
//! | [`http`] | JSON samples in, figures out | the database |
//! | [`queue`], [`chunk`] | carry samples to the writers | what is in them |
//! | [`definitions`] | which kept octets can still be decoded | I/O |
//! | [`journal`], [`feed`] | keep samples on disk until they are stored | what is in them |
//! | [`writer`], [`poison`] | batches, retries, refused rows | frames |
//! | [`batch`], [`copy`] | rows and ranges | connections |
//! | [`detect`] | anomalies, found as samples pass | SQL, HTTP, locks |
//! | [`state`] | files that outlive a run | what is in them |
//! | [`store`] | transactions | packets, thresholds |
//! | [`signals`], [`logging`], [`output`] | when to end, and what is said | the station |
//! | [`ledger`] | puts every counter together | how it came about |
//! | [`timing`] | how long things take, as histograms | what they are |

/// Where the database is, and TLS to it; a crate of its own, which satsim uses, too.
pub use address;

pub mod batch;
pub mod chunk;
pub mod config;
pub mod copy;
pub mod definitions;
pub mod detect;
pub mod feed;
pub mod http;
pub mod intake;
pub mod journal;
pub mod ledger;
pub mod link;
pub mod logging;
pub mod output;
pub mod poison;
pub mod quarantine_rate;
pub mod queue;
pub mod readiness;
pub mod rejected;
pub mod replay;
pub mod shutdown;
pub mod signals;
pub mod socket;
pub mod source_rate;
pub mod spacecraft;
pub mod sparse;
pub mod state;
pub mod station;
pub mod store;
pub mod time_window;
pub mod timing;
pub mod track;
pub mod writer;
