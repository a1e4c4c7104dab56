//! A datagram of any octets: every octet ends in one item, a frame that comes out can be read, and
//! the intake's books balance.
#![no_main]

use std::{sync::Arc, time::Duration};

use libfuzzer_sys::fuzz_target;
use protocol::{Body, Datagram, Frame, Packet, SpacecraftId};
use receiver::{
    intake::{Admission, Intake},
    ledger::Counters,
    queue::queues,
    spacecraft::SpacecraftSet,
    time_window::TimeWindow,
};

fuzz_target!(|octets: &[u8]| {
    let mut frames = Datagram::new(octets);
    let mut covered = 0;
    while let Some(item) = frames.next(|id: SpacecraftId| id.number() < 40_000) {
        covered += match item {
            Ok(Frame::Telemetry(frame)) => {
                let _values = match frame.body() {
                    Body::Health(health) => health.values().to_vec(),
                    Body::Attitude(attitude) => attitude.values().to_vec(),
                };
                let _all = (frame.time().unix_us(), frame.sequence(), Packet::from(frame.body()));
                frame.octets().len()
            }
            Ok(Frame::Idle(octets)) => octets.len(),
            Err(rejected) => rejected.octets.len(),
        };
    }
    assert_eq!(covered, octets.len());

    let counters = Counters::new(2);
    let (outlets, inlets) = queues(2, 0, &counters);
    let admission = Admission {
        spacecraft: SpacecraftSet::all(),
        satellites_max: 3,
        streams_max: 5,
        sources: Vec::new(),
        source_rate: None,
        rejected_per_second: 100,
        window: TimeWindow { past: Duration::from_secs(3_600), future: Duration::from_secs(300) },
        quarantine_per_second: Some(100),
    };
    let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
    // Twice: the second time everything is a repeat.
    intake.datagram(octets, None, 0);
    intake.datagram(octets, None, 1);
    intake.finish(2_000_000);
    let ledger = counters.ledger();
    assert_eq!((ledger.frames_residual(), ledger.samples_residual()), (0, 0));
    let queued = inlets.iter().flat_map(|inlet| inlet.chunks.try_iter());
    assert_eq!(queued.map(|chunk| chunk.records().count() as u64).sum::<u64>(), ledger.pending);
});
