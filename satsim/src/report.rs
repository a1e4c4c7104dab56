//! The truth about a flight, as JSON: what was sent, stream by stream, and what was wrong in it.

use jiff::Timestamp;
use serde::Serialize;

pub use crate::fault::Faults;
use crate::{
    anomaly::{self, Event},
    constellation::{Constellation, Origin},
    digest::{DIGEST_FORM, Digests, Slices},
    fault::Injector,
};
use protocol::Sequence;

/// What was sent, and what was done to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What noise and differences were drawn from.
    pub seed: u64,
    /// Simulated time at the start, RFC 3339.
    pub start: String,
    /// Simulated time of the last frame, RFC 3339.
    pub end: String,
    /// Frames made.
    pub generated: u64,
    /// Frames that left: that the kernel took, or the file when nothing was sent.
    pub sent: u64,
    /// Frames in each datagram.
    pub frames_per_datagram: u16,
    /// What was done to frames on purpose, over all streams.
    pub faults: Faults,
    /// How the slices of streams are made: [`DIGEST_FORM`].
    pub digest: &'static str,
    /// Each kind of each satellite, boot after boot.
    pub streams: Vec<StreamReport>,
    /// Events that were put into the readings on purpose, by their beginning.
    pub anomalies: Vec<AnomalyReport>,
}

/// One kind of one satellite in one boot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamReport {
    /// The satellite, as `SAT-01`.
    pub satellite_id: String,
    /// The kind.
    pub apid: u16,
    /// The boot.
    pub boot_count: u16,
    /// Full sequence counter of the first frame.
    pub first: u32,
    /// Full sequence counter of the last frame.
    pub last: u32,
    /// Frames made.
    pub generated: u64,
    /// What was done to them on purpose.
    #[serde(flatten)]
    pub faults: Faults,
    /// Digests of those that came to the ground whole, each once, slice by slice.
    pub slices: Slices,
}

/// What was done to one channel of one satellite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnomalyReport {
    /// The satellite, as `SAT-01`.
    pub satellite_id: String,
    /// The channel.
    pub channel: &'static str,
    /// What went wrong.
    pub kind: anomaly::Kind,
    /// Time of the first sample that was altered, RFC 3339.
    pub start: String,
    /// Time of the last sample that was altered, RFC 3339.
    pub end: String,
    /// Samples that were altered.
    pub samples: u32,
    /// Those of them that came to the ground whole, as far as satsim decides.
    pub sent: u32,
}

impl Report {
    /// The report of what `constellation` has done and `injector` has done to it, of which `sent`
    /// frames have left, with these `digests`.
    pub fn new(
        origin: &Origin,
        constellation: &Constellation,
        injector: Option<&Injector>,
        digests: &Digests,
        sent: u64,
        frames_per_datagram: u16,
    ) -> Self {
        let mut all: Vec<_> = constellation.streams().collect();
        // Stable, so that boots stay in order.
        all.sort_by_key(|stream| (stream.spacecraft, stream.apid));
        let mut faults = Faults::default();
        let mut streams = Vec::with_capacity(all.len());
        for stream in all {
            let done = injector.map(|injector| injector.faults(&stream)).unwrap_or_default();
            faults += done;
            streams.push(StreamReport {
                satellite_id: stream.spacecraft.to_string(),
                apid: stream.apid.number(),
                boot_count: stream.boot_count,
                first: 0,
                last: ((stream.generated - 1) % u64::from(Sequence::MODULUS)) as u32,
                generated: stream.generated,
                faults: done,
                slices: digests.of(&stream),
            });
        }
        let mut anomalies: Vec<_> = constellation.anomalies().collect();
        anomalies.sort_by_key(|event| event.start_us);
        Self {
            seed: origin.seed,
            start: rfc3339(origin.start_unix_us),
            end: rfc3339(origin.start_unix_us.saturating_add(constellation.last_us())),
            generated: constellation.generated(),
            sent,
            frames_per_datagram,
            faults,
            digest: DIGEST_FORM,
            streams,
            anomalies: anomalies
                .into_iter()
                .map(|event| AnomalyReport::of(origin, event))
                .collect(),
        }
    }
}

impl AnomalyReport {
    fn of(origin: &Origin, event: &Event) -> Self {
        let time = |offset_us| rfc3339(origin.start_unix_us.saturating_add(offset_us));
        Self {
            satellite_id: event.spacecraft.to_string(),
            channel: event.channel,
            kind: event.kind,
            start: time(event.start_us),
            end: time(event.end_us),
            samples: event.samples,
            sent: event.sent,
        }
    }
}

/// Empty beyond the year 9999, which no plan reaches.
fn rfc3339(unix_us: i64) -> String {
    Timestamp::from_microsecond(unix_us).map_or_else(|_| String::new(), |time| time.to_string())
}
