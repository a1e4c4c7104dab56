//! Which cases there are.

use std::time::Duration;

use super::case::{Case, Fault, Way};
use crate::network::Weather;
use crate::relay::Impairment;

/// How much of the matrix is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every fault at every rate with every number of satellites, the frames a datagram taking
    /// turns, so that every pair of the four occurs.
    Covering,
    /// The full cross product.
    Full,
}

const RATES: [f64; 4] = [0.001, 0.01, 0.05, 0.2];
const FRAMES_PER_DATAGRAM: [u16; 3] = [1, 7, 20];
const SATELLITES: [u16; 3] = [1, 100, 5_000];
const REORDER_DEPTHS: [u16; 3] = [1, 8, 64];

/// Cases in which satsim itself is at fault.
pub fn matrix(extent: Extent) -> Vec<Case> {
    let mut cases = Vec::new();
    for (turn, fault) in faults().into_iter().enumerate() {
        for (place, satellites) in SATELLITES.into_iter().enumerate() {
            for (other, frames_per_datagram) in FRAMES_PER_DATAGRAM.into_iter().enumerate() {
                let is_its_turn = (turn + place) % FRAMES_PER_DATAGRAM.len() == other;
                if is_its_turn || extent == Extent::Full {
                    let way = Way::Loopback;
                    cases.push(Case { satellites, frames_per_datagram, fault, way });
                }
            }
        }
    }
    cases
}

fn faults() -> Vec<Fault> {
    let mut faults = vec![Fault::None];
    let kinds: [fn(f64) -> Fault; 6] = [
        Fault::Drop,
        Fault::BurstLoss,
        Fault::Corrupt,
        Fault::Truncate,
        Fault::Duplicate,
        Fault::All,
    ];
    for kind in kinds {
        faults.extend(RATES.map(kind));
    }
    for depth in REORDER_DEPTHS {
        faults.extend(RATES.map(|rate| Fault::Reorder { rate, depth }));
    }
    faults
}

/// Cases in which only the way is at fault.
pub fn network_matrix(extent: Extent, has_netem: bool) -> Vec<Case> {
    let ms = Duration::from_millis;
    let mut ways: Vec<Way> =
        [1, 10, 50, 200].map(|per_mille| Way::Cable(Weather::Loss { per_mille })).into();
    ways.extend([500, 1_500].map(|kbit| Way::Cable(Weather::Congestion { kbit })));
    if has_netem {
        ways.push(Way::Cable(Weather::Netem));
    }
    let nothing = Impairment::default();
    let relays = [
        Impairment { duplicate: 0.05, ..nothing },
        Impairment { jitter: ms(20), ..nothing },
        Impairment { delay: ms(200), ..nothing },
        Impairment { drop: 0.05, duplicate: 0.05, delay: ms(50), jitter: ms(50) },
    ];
    ways.extend(relays.map(Way::RelayAndCable));
    ways.push(Way::Relay(relays[3]));
    let shapes: &[(u16, u16)] = match extent {
        Extent::Covering => &[(20, 1), (20, 7)],
        Extent::Full => &[(1, 1), (1, 7), (1, 20), (100, 1), (100, 7), (100, 20)],
    };
    let cases = ways.into_iter().enumerate().flat_map(|(turn, way)| {
        let taken = match extent {
            Extent::Covering => &shapes[turn % shapes.len()..][..1],
            Extent::Full => shapes,
        };
        taken.iter().map(move |&(satellites, frames_per_datagram)| Case {
            satellites,
            frames_per_datagram,
            fault: Fault::None,
            way,
        })
    });
    cases.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_covering_cases_hold_every_pair() {
        let (some, all) = (matrix(Extent::Covering), matrix(Extent::Full));
        assert_eq!(all.len(), faults().len() * 9);
        for case in &all {
            let has = |agree: &dyn Fn(&Case) -> bool| some.iter().any(agree);
            assert!(has(&|c| c.fault == case.fault && c.satellites == case.satellites));
            assert!(has(
                &|c| c.fault == case.fault && c.frames_per_datagram == case.frames_per_datagram
            ));
            assert!(has(&|c| c.satellites == case.satellites
                && c.frames_per_datagram == case.frames_per_datagram));
        }
    }
}
