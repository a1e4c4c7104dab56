//! No frame costs an allocation on its way from the socket to the queue, once its stream is known
//! and the chunks exist.

use std::sync::Arc;

use protocol::{
    CdsTime, FRAME_OCTETS_MAX, Packet, Sequence, SpacecraftId, Stamp, emit, health::Health,
};
use receiver::{
    intake::{Admission, Intake},
    ledger::Counters,
    queue::queues,
    spacecraft::SpacecraftSet,
    time_window::TimeWindow,
};

const SATELLITES: u16 = 100;

fn datagram(count: u32) -> Vec<u8> {
    (1..=SATELLITES)
        .flat_map(|number| {
            let stamp = Stamp {
                spacecraft: SpacecraftId::new(number).expect("not 0"),
                boot_count: 1,
                // Every tenth is missing, and every twentieth comes twice.
                sequence: Sequence::new(count + count / 9 - count / 20),
                time: CdsTime { day: 24_837, ms: count, us: 0 },
            };
            let mut out = [0; FRAME_OCTETS_MAX];
            emit(&stamp, &Packet::Health(Health::default()), &mut out).to_vec()
        })
        .collect()
}

#[test]
fn the_hot_path_does_not_allocate() {
    let counters = Counters::new(2);
    let (outlets, inlets) = queues(2, 1 << 20, &counters);
    let admission = Admission {
        spacecraft: SpacecraftSet::all(),
        satellites_max: 1_000,
        streams_max: 2_000,
        sources: Vec::new(),
        source_rate: Some(1_000_000),
        rejected_per_second: 0,
        window: TimeWindow::EVERYTHING,
        quarantine_per_second: Some(100),
    };
    let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
    let datagrams: Vec<_> = (0..2_000).map(datagram).collect();
    let receive = |intake: &mut Intake, datagrams: &[Vec<u8>]| {
        for (index, datagram) in datagrams.iter().enumerate() {
            intake.datagram(datagram, None, index as i64);
            intake.datagram(b"\x08\x64 no frame", None, index as i64);
            intake.publish();
            // What the writers do, so that chunks go round.
            for inlet in &inlets {
                for chunk in inlet.chunks.try_iter() {
                    inlet.lane.dequeued(chunk.samples());
                    inlet.lane.give_back(chunk);
                }
            }
        }
    };
    let (warm, measured) = datagrams.split_at(500);
    receive(&mut intake, warm);
    let allocations = allocation_counter::measure(|| receive(&mut intake, measured));
    assert_eq!(allocations.count_total, 0);
    let ledger = counters.ledger();
    assert!(ledger.missed > 0 && ledger.duplicate > 0 && ledger.rejected.total() == 2_000);
    assert_eq!(ledger.frames_residual(), 0);
}

/// Gaps, late frames, leaps, reboots, boots that are no reboot, and spacecraft that make room for each
/// other: none of them costs an allocation either.
#[test]
fn unusual_frames_do_not_allocate() {
    let counters = Counters::new(1);
    let (outlets, inlets) = queues(1, 1 << 20, &counters);
    let admission = Admission {
        spacecraft: SpacecraftSet::all(),
        satellites_max: 50,
        streams_max: 60,
        sources: Vec::new(),
        source_rate: None,
        rejected_per_second: 0,
        quarantine_per_second: None,
        window: TimeWindow::EVERYTHING,
    };
    let mut intake = Intake::new(admission, outlets, Arc::clone(&counters));
    let rounds = |range: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        let round = |round: u32| {
            let boot = 1 + (round / 20) as u16;
            let true_ones = (1..=20).flat_map(move |number| {
                let late = round * 7 + 5_000 - (round % 3) * 400;
                [(number, boot, round * 7 + 5_000), (number, boot, late), (number, 9_000, late)]
            });
            let invented = (0..10).map(move |n| (1_000 + (round * 10 + n) as u16, 1, round));
            let leaps = [(7, boot, 100_000_000 + round * 500_000), (8, 2_000 + round as u16, 1)];
            true_ones.chain(invented).chain(leaps).flat_map(move |(number, boot_count, count)| {
                let stamp = Stamp {
                    spacecraft: SpacecraftId::new(number).expect("not 0"),
                    boot_count,
                    sequence: Sequence::new(count),
                    time: CdsTime { day: 24_837, ms: round * 700, us: 0 },
                };
                let mut out = [0; FRAME_OCTETS_MAX];
                emit(&stamp, &Packet::Health(Health::default()), &mut out).to_vec()
            })
        };
        range.map(|number| round(number).collect()).collect()
    };
    let receive = |intake: &mut Intake, datagrams: &[Vec<u8>]| {
        for datagram in datagrams {
            intake.datagram(datagram, None, 0);
            intake.publish();
            for chunk in inlets[0].chunks.try_iter() {
                inlets[0].lane.dequeued(chunk.samples());
                inlets[0].lane.give_back(chunk);
            }
        }
    };
    receive(&mut intake, &rounds(0..300));
    let measured = rounds(300..900);
    let before = counters.ledger();
    let allocations = allocation_counter::measure(|| receive(&mut intake, &measured));
    assert_eq!(allocations.count_total, 0);
    let after = counters.ledger();
    for (name, grown) in [
        ("missed", after.missed - before.missed),
        ("late", after.late - before.late),
        ("resets", after.resets - before.resets),
        ("accepted", after.accepted - before.accepted),
    ] {
        assert!(grown > 0, "{name}: {after:?}");
    }
    assert!(counters.jumps().seen > 100);
    assert_eq!((after.rejected.unknown_spacecraft, after.frames_residual()), (0, 0));
}
