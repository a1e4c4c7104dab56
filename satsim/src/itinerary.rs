//! A flight, phase by phase: which satellites send how many frames, when, and what becomes of them.
//!
//! Pure arithmetic. Whatever is known before the start is known here, above all which frame will be
//! the last of its stream and boot.

use core::time::Duration;

use crate::{fault::Rates, schedule::Schedule};

/// How fast frames are made, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// By schedule.
    Scheduled {
        /// When each frame is due.
        schedule: Schedule,
        /// Ends after so many frames.
        frames: u64,
    },
    /// As fast as they can be made and sent. Simulated time follows the clock, so that it does not
    /// run ahead of it however many frames there are; what is made then depends on the machine.
    Unlimited {
        /// Simulated seconds per second.
        speed: f64,
        /// Ends after so many frames.
        frames: u64,
        /// Ends after so long.
        duration: Duration,
    },
}

/// A part of a flight in which the same holds all the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// When it begins, on the clock, from the start of the flight.
    pub start: Duration,
    /// When it begins, in simulated time, µs.
    pub start_us: i64,
    /// How fast, and how many frames.
    pub pace: Pace,
    /// What becomes of the frames.
    pub rates: Rates,
    /// Chance per satellite and simulated second that an event starts in its readings.
    pub anomalies: f64,
    /// Satellites that start again as it begins.
    pub reboot: Vec<usize>,
    /// Satellites that make nothing in it, in ascending order.
    pub silent: Vec<usize>,
}

/// All phases, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Itinerary {
    satellites: usize,
    phases: Vec<Phase>,
}

impl Itinerary {
    /// These phases, flown by so many satellites.
    pub fn new(satellites: usize, phases: Vec<Phase>) -> Self {
        Self { satellites, phases }
    }

    /// A single phase with every satellite.
    pub fn of_one(satellites: usize, pace: Pace, rates: Rates) -> Self {
        let phase = Phase {
            start: Duration::ZERO,
            start_us: 0,
            pace,
            rates,
            anomalies: 0.0,
            reboot: Vec::new(),
            silent: Vec::new(),
        };
        Self::new(satellites, vec![phase])
    }

    /// The same, with this chance of anomalies in all phases.
    #[must_use]
    pub fn with_anomalies(mut self, chance: f64) -> Self {
        for phase in &mut self.phases {
            phase.anomalies = chance;
        }
        self
    }

    /// In order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Whether anything can happen to a frame.
    pub fn has_faults(&self) -> bool {
        self.phases.iter().any(|phase| !phase.rates.is_clean())
    }

    /// Frames of all phases together; more than will come when nobody knows.
    pub fn frames(&self) -> u64 {
        let frames = self.phases.iter().map(|phase| phase.pace.frames());
        frames.fold(0, u64::saturating_add)
    }

    /// Frames of satellite `index` from the start of phase `first` until it starts again or the
    /// flight is over; more than will come when nobody knows.
    pub fn frames_of_boot(&self, first: usize, index: usize) -> u64 {
        self.phases
            .iter()
            .enumerate()
            .skip(first)
            .take_while(|(number, phase)| *number == first || !phase.reboot.contains(&index))
            .map(|(_, phase)| phase.frames_of(index, self.satellites))
            .fold(0, u64::saturating_add)
    }
}

impl Phase {
    /// The satellites that are not silent; the frames go round them in this order.
    pub fn active(&self, satellites: usize) -> Vec<usize> {
        (0..satellites).filter(|index| self.silent.binary_search(index).is_err()).collect()
    }

    fn frames_of(&self, index: usize, satellites: usize) -> u64 {
        let active = (satellites - self.silent.len()) as u64;
        match self.silent.binary_search(&index) {
            Ok(_) => 0,
            Err(silent_before) => {
                let (frames, place) = (self.pace.frames(), (index - silent_before) as u64);
                frames / active + u64::from(place < frames % active)
            }
        }
    }
}

impl Pace {
    fn frames(&self) -> u64 {
        match *self {
            Self::Scheduled { frames, .. } | Self::Unlimited { frames, .. } => frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Itinerary, Pace, Phase};
    use crate::{fault::Rates, schedule::Schedule};
    use core::time::Duration;

    fn phase(active: usize, frames: u64, reboot: &[usize], silent: &[usize]) -> Phase {
        Phase {
            start: Duration::ZERO,
            start_us: 0,
            pace: Pace::Scheduled { schedule: Schedule::new(active, 1.0, 1.0), frames },
            rates: Rates::default(),
            anomalies: 0.0,
            reboot: reboot.to_vec(),
            silent: silent.to_vec(),
        }
    }

    #[test]
    fn every_frame_belongs_to_a_boot() {
        let itinerary = Itinerary::new(
            4,
            vec![
                phase(4, 41, &[], &[]),
                phase(2, 7, &[2], &[0, 3]),
                phase(0, 0, &[], &[0, 1, 2, 3]),
                phase(3, 30, &[1, 2], &[0]),
            ],
        );
        assert_eq!(itinerary.frames(), 78);
        let boots = |index| [0, 1, 3].map(|first| itinerary.frames_of_boot(first, index));
        // Phases in order: 11, 10, 10, 10; then 1 and 2 with 4 and 3; nobody; 1, 2 and 3 with 10.
        assert_eq!(boots(0), [11, 0, 0]);
        assert_eq!(boots(1), [14, 4, 10]);
        assert_eq!(boots(2), [10, 3, 10]);
        assert_eq!(boots(3), [20, 10, 10]);
    }

    #[test]
    fn nobody_knows_how_many() {
        let pace = Pace::Unlimited { speed: 1.0, frames: u64::MAX, duration: Duration::MAX };
        let itinerary = Itinerary::of_one(65_535, pace, Rates::default());
        assert!(itinerary.frames_of_boot(0, 7) > 1 << 40);
        assert!(!itinerary.has_faults());
    }
}
