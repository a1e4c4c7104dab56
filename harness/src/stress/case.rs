//! One case: who flies, what goes wrong, and on which way.

use std::fmt;
use std::time::Duration;

use crate::network::Weather;
use crate::relay::Impairment;

/// One case of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// How many satellites fly.
    pub satellites: u16,
    /// Frames in each datagram.
    pub frames_per_datagram: u16,
    /// What satsim does to the frames.
    pub fault: Fault,
    /// Where they pass.
    pub way: Way,
}

/// What satsim does to the frames, each a chance per frame.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of satsim's options")]
pub enum Fault {
    None,
    Drop(f64),
    /// The share that is lost in the long run, in bursts of `BURST_FRAMES` on average.
    BurstLoss(f64),
    Corrupt(f64),
    Truncate(f64),
    Duplicate(f64),
    Reorder {
        rate: f64,
        depth: u16,
    },
    /// Each of them but for bursts.
    All(f64),
}

/// Where the datagrams pass between satellites and station.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Straight through loopback.
    Loopback,
    /// Through a relay on loopback.
    Relay(Impairment),
    /// Over a cable between two network namespaces.
    Cable(Weather),
    /// Through a relay and over the cable.
    RelayAndCable(Impairment),
}

/// How long a case with an impaired way flies: the impairment begins after the first frame of the
/// last stream to be heard, and ends before the last frame of the first to fall silent.
pub(super) const IMPAIRED_DURATION: Duration = Duration::from_secs(6);

/// Mean length of a burst.
const BURST_FRAMES: f64 = 4.0;

impl Case {
    /// Whether frames may be lost other than by satsim.
    pub fn is_lossy(&self) -> bool {
        self.way != Way::Loopback
    }

    /// satsim's options, but for seed and boot.
    pub fn options(&self) -> Vec<String> {
        let (rate, frames) = self.load();
        let mut options = vec![
            format!("--satellites={}", self.satellites),
            format!("--frames-per-datagram={}", self.frames_per_datagram),
            format!("--rate={rate}"),
        ];
        options.push(if self.is_lossy() {
            format!("--duration={}s", IMPAIRED_DURATION.as_secs())
        } else {
            format!("--count={frames}")
        });
        options.extend(self.fault.options());
        options
    }

    /// Frames a second of each satellite, and frames in all: well below what a station stores on
    /// two cores, and long enough that every stream has frames between its first and its last.
    fn load(&self) -> (f64, u64) {
        match (self.is_lossy(), self.satellites) {
            (true, satellites) => (f64::max(20.0, 4_000.0 / f64::from(satellites)), 0),
            (false, 1) => (5_000.0, 12_000),
            (false, 2..=999) => (10_000.0 / f64::from(self.satellites), 25_000),
            (false, _) => (15_000.0 / f64::from(self.satellites), 100_000),
        }
    }
}

impl Fault {
    fn options(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Drop(rate) => vec![format!("--drop={rate}")],
            Self::BurstLoss(rate) => {
                let leave = 1.0 / BURST_FRAMES;
                // In the long run the share of time in a burst is enter / (enter + leave).
                let enter = leave * rate / (1.0 - rate);
                vec![format!("--burst-loss={enter:.6},{leave}")]
            }
            Self::Corrupt(rate) => vec![format!("--corrupt={rate}")],
            Self::Truncate(rate) => vec![format!("--truncate={rate}")],
            Self::Duplicate(rate) => vec![format!("--duplicate={rate}")],
            Self::Reorder { rate, depth } => {
                vec![format!("--reorder={rate}"), format!("--reorder-depth={depth}")]
            }
            Self::All(rate) => ["drop", "corrupt", "truncate", "duplicate", "reorder"]
                .map(|name| format!("--{name}={rate}"))
                .into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, rate) = match *self {
            Self::None => return f.pad("clean"),
            Self::Drop(rate) => ("drop", rate),
            Self::BurstLoss(rate) => ("burst-loss", rate),
            Self::Corrupt(rate) => ("corrupt", rate),
            Self::Truncate(rate) => ("truncate", rate),
            Self::Duplicate(rate) => ("duplicate", rate),
            Self::Reorder { rate, depth } => {
                return f.pad(&format!("reorder {} % by {depth}", rate * 100.0));
            }
            Self::All(rate) => ("all", rate),
        };
        f.pad(&format!("{name} {} %", rate * 100.0))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relay = |impairment: &Impairment| {
            let mut parts = Vec::new();
            for (name, rate) in [("drop", impairment.drop), ("duplicate", impairment.duplicate)] {
                if rate > 0.0 {
                    parts.push(format!("{name} {} %", rate * 100.0));
                }
            }
            for (name, time) in [("delay", impairment.delay), ("jitter", impairment.jitter)] {
                if !time.is_zero() {
                    parts.push(format!("{name} {} ms", time.as_millis()));
                }
            }
            parts.join(", ")
        };
        let text = match self {
            Self::Loopback => "loopback".into(),
            Self::Relay(impairment) => format!("relay: {}", relay(impairment)),
            Self::Cable(Weather::Loss { per_mille }) => {
                format!("cable: nftables loss {} %", f64::from(*per_mille) / 10.0)
            }
            Self::Cable(Weather::Congestion { kbit }) => format!("cable: tbf {kbit} kbit/s"),
            Self::Cable(Weather::Netem) => "cable: netem".into(),
            Self::RelayAndCable(impairment) => format!("cable, relay: {}", relay(impairment)),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { satellites, frames_per_datagram, fault, way } = self;
        write!(f, "{fault}, {satellites} satellites, {frames_per_datagram} a datagram, {way}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_satsim_is_asked() {
        let fault = Fault::Reorder { rate: 0.05, depth: 64 };
        let case = Case { satellites: 100, frames_per_datagram: 7, fault, way: Way::Loopback };
        let expected = [
            "--satellites=100",
            "--frames-per-datagram=7",
            "--rate=100",
            "--count=25000",
            "--reorder=0.05",
            "--reorder-depth=64",
        ];
        assert_eq!(case.options(), expected);
        assert_eq!(case.to_string(), "reorder 5 % by 64, 100 satellites, 7 a datagram, loopback");
    }

    #[test]
    fn bursts_have_the_rate_in_the_long_run() {
        let option = &Fault::BurstLoss(0.2).options()[0];
        assert_eq!(option, "--burst-loss=0.062500,0.25");
        let (enter, leave) = (0.0625, 0.25);
        assert!((enter / (enter + leave) - 0.2_f64).abs() < 1e-12);
    }
}
