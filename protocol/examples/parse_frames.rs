//! Parses as many health frames as its argument says: the door and all 17 channels of each. A test
//! counts its instructions, with two numbers of frames, so that only what one more frame costs is left.

use std::{hint::black_box, process::ExitCode};

use protocol::{
    Body, CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, Packet, Sequence, SpacecraftId, Stamp, emit,
    health::Health,
};

fn main() -> ExitCode {
    let Some(frames) = std::env::args().nth(1).and_then(|frames| frames.parse::<u64>().ok()) else {
        eprintln!("usage: parse_frames FRAMES");
        return ExitCode::FAILURE;
    };
    let stamp = Stamp {
        spacecraft: SpacecraftId::FIRST,
        boot_count: 1,
        sequence: Sequence::new(1),
        time: CdsTime { day: 24_837, ms: 1, us: 2 },
    };
    let mut out = [0; FRAME_OCTETS_MAX];
    let octets = emit(&stamp, &Packet::Health(Health::default()), &mut out);
    let mut parsed = 0;
    for _ in 0..frames {
        if let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(black_box(octets)).next(|_| true)
            && let Body::Health(health) = frame.body()
        {
            black_box(health.values());
            parsed += 1;
        }
    }
    println!("{parsed} frames parsed");
    if parsed == frames { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
