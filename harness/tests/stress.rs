//! A slice of the packet-loss stress tests: one of each fault, and a network with faults of its own.
//! `make stress` runs them all.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use harness::network::Weather;
use harness::relay::Impairment;
use harness::stress::{Case, Fault, Range, Scoreboard, Way};

#[test]
fn a_slice_of_the_matrix() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut range = Range::start(folder.path(), 100)?;
    let ms = Duration::from_millis;
    let bad = Impairment { drop: 0.05, duplicate: 0.05, delay: ms(20), jitter: ms(20) };
    let case = |satellites, frames_per_datagram, fault, way| Case {
        satellites,
        frames_per_datagram,
        fault,
        way,
    };
    let mut cases = vec![
        case(100, 20, Fault::All(0.2), Way::Loopback),
        case(1, 7, Fault::BurstLoss(0.05), Way::Loopback),
        case(1_000, 1, Fault::Corrupt(0.2), Way::Loopback),
        case(100, 7, Fault::Reorder { rate: 0.2, depth: 64 }, Way::Loopback),
        case(20, 1, Fault::None, Way::Relay(bad)),
    ];
    match range.lay_network() {
        Ok(_) => {
            let loss = Way::Cable(Weather::Loss { per_mille: 50 });
            let congestion = Way::Cable(Weather::Congestion { kbit: 1_500 });
            cases.push(case(20, 1, Fault::None, loss));
            cases.push(case(20, 7, Fault::None, congestion));
            cases.push(case(20, 7, Fault::None, Way::RelayAndCable(bad)));
        }
        // Not `eprintln`, which a passing test swallows.
        Err(error) => writeln!(std::io::stderr(), "network cases cannot run here: {error:#}")?,
    }
    let mut scoreboard = Scoreboard::default();
    for (number, case) in (1..).zip(cases) {
        scoreboard.add(range.run(&case, number));
    }
    assert!(scoreboard.is_clean(), "{}", scoreboard.page());
    Ok(())
}
