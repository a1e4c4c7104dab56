//! What the options mean together: everything that decides what is sent, settled before the start.

mod orbits;
mod phases;

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    constellation::Origin,
    fault::options::TooMany,
    itinerary::{Itinerary, Pace},
    options::{Options, Target},
    orbit::{NotAnOrbit, Orbit, tle},
    scenario::{Scenario, ScenarioError},
};

/// A flight that can be flown.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Start, seed and boot.
    pub origin: Origin,
    /// One for each satellite.
    pub orbits: Vec<Orbit>,
    /// How fast, how many frames, and what becomes of them.
    pub itinerary: Itinerary,
    /// Frames in each datagram.
    pub frames_per_datagram: u16,
    /// Where to send, if at all.
    pub target: Option<Target>,
    /// Port of the target, also when nothing is sent there.
    pub port: u16,
    /// Whether the number of frames is known.
    has_count: bool,
    /// Simulated seconds per second.
    speed: f64,
    /// When the scenario ends, on the clock.
    end: Option<Duration>,
}

/// Options that contradict each other, or ask for what is not there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error("--pcap alone never waits and would not end; give --count or --duration")]
    EndlessFile,
    #[error("--unlimited is about sending; give --target besides --pcap, or leave it out")]
    UnlimitedFile,
    #[error("cannot read {0}: {1}; give --tle a file of two-line element sets")]
    TleUnreadable(String, std::io::Error),
    #[error("{0}, {1}")]
    TleMalformed(String, tle::TleError),
    #[error("{0} holds {1} satellites; give --satellites {1} or fewer")]
    TleTooFew(String, usize),
    #[error("{0} holds {1} satellites; give --satellites 65535 or fewer")]
    TleTooMany(String, usize),
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Faults(#[from] TooMany),
    #[error("a satellite's orbit cannot be computed: {0}")]
    Orbit(#[from] NotAnOrbit),
    #[error("--start is outside what frames and captures can date; give one from 1970 to 2105")]
    Start,
    #[error(
        "the flight would end after 2105; give a smaller --speed, --duration or --count, or an \
         earlier --start"
    )]
    End,
}

impl Plan {
    /// What `options` ask for, when it is `now`.
    pub fn new(options: &Options, now: Timestamp) -> Result<Self, PlanError> {
        let Some(path) = &options.scenario else {
            return Self::settle(options, None, now);
        };
        let scenario = Scenario::read(path)?;
        let mut completed = options.clone();
        scenario.complete(&mut completed);
        Self::settle(&completed, Some(&scenario), now)
    }

    fn settle(
        options: &Options,
        scenario: Option<&Scenario>,
        now: Timestamp,
    ) -> Result<Self, PlanError> {
        let is_sending = options.target.is_some() || options.pcap.is_none();
        let has_end = options.count.is_some() || options.duration.is_some() || scenario.is_some();
        if !is_sending && options.unlimited {
            return Err(PlanError::UnlimitedFile);
        }
        if !is_sending && !has_end {
            return Err(PlanError::EndlessFile);
        }
        let start_unix_us = options.start.unwrap_or_default().at(now).as_microsecond();
        if !(0..END_UNIX_US).contains(&start_unix_us) {
            return Err(PlanError::Start);
        }
        let orbits = orbits::orbits(options)?;
        let (satellites, room_us) = (orbits.len(), END_UNIX_US - start_unix_us);
        let itinerary = match scenario {
            Some(scenario) => phases::of_scenario(scenario, options, satellites, room_us)?,
            None => phases::of_options(options, satellites, room_us)?,
        };
        let target = options.target.clone().unwrap_or_default();
        Ok(Self {
            origin: Origin {
                start_unix_us,
                seed: options.seed.unwrap_or(SEED_DEFAULT),
                boot_count: options.boot.unwrap_or(now.as_second().rem_euclid(1 << 16) as u16),
            },
            orbits,
            itinerary,
            frames_per_datagram: options.frames_per_datagram.unwrap_or(1),
            has_count: options.count.is_some() || (has_end && !options.unlimited),
            port: target.port,
            target: is_sending.then_some(target),
            speed: options.speed.unwrap_or(1.0),
            end: scenario.map(|scenario| scenario.phases.iter().map(|p| p.duration).sum()),
        })
    }

    /// How many frames it will be, when that is known.
    pub fn frames(&self) -> Option<u64> {
        self.has_count.then(|| self.itinerary.frames())
    }

    /// How far simulated time will be ahead of the clock at most, µs, when it is `now`; negative
    /// when it stays behind.
    pub fn ahead_us(&self, now: Timestamp) -> i64 {
        let at_start = self.origin.start_unix_us - now.as_microsecond();
        let in_wall = |wall: Duration| (wall, (wall.as_secs_f64() * self.speed * 1e6) as i64);
        let (wall, simulated_us) = match (self.end, self.itinerary.phases()) {
            (Some(end), _) => in_wall(end),
            (None, [phase, ..]) => match phase.pace {
                Pace::Scheduled { schedule, frames } => {
                    (schedule.instant(frames - 1), schedule.simulated_us(frames - 1))
                }
                Pace::Unlimited { duration, .. } => in_wall(duration),
            },
            (None, []) => (Duration::ZERO, 0),
        };
        let gained_us =
            simulated_us.saturating_sub(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX));
        at_start.saturating_add(gained_us.max(0))
    }
}

const SEED_DEFAULT: u64 = 1;
/// 2106-01-01T00:00:00Z: the seconds of a pcap file are 32 bits and end a month later.
const END_UNIX_US: i64 = 4_291_747_200_000_000;

#[cfg(test)]
mod tests {
    use super::{Plan, PlanError};
    use crate::{itinerary::Pace, options::Options};
    use clap::Parser as _;
    use jiff::Timestamp;

    fn plan(arguments: &str) -> Result<Plan, PlanError> {
        let arguments = core::iter::once("satsim").chain(arguments.split_whitespace());
        Plan::new(&Options::parse_from(arguments), now())
    }

    /// 2026-11-23T00:00:00Z.
    fn now() -> Timestamp {
        Timestamp::from_second(1_795_392_000).unwrap()
    }

    #[test]
    fn defaults() {
        let plan = plan("").unwrap();
        assert_eq!(plan.target.as_ref().unwrap().authority, "127.0.0.1:10015");
        assert_eq!(plan.orbits.len(), 100);
        assert_eq!(plan.frames(), None);
        assert_eq!(plan.origin.start_unix_us, now().as_microsecond());
        assert_eq!(i64::from(plan.origin.boot_count), now().as_second() % 65_536);
        let at_now =
            super::Plan::new(&Options::parse_from(["satsim", "--start", "now"]), now()).unwrap();
        assert_eq!(at_now.origin.start_unix_us, now().as_microsecond());
        let Pace::Scheduled { schedule, .. } = plan.itinerary.phases()[0].pace else {
            panic!("not scheduled");
        };
        assert!((schedule.frames_per_s() - 1_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_file_instead_of_or_besides_sending() {
        assert!(plan("--pcap f --count 1").unwrap().target.is_none());
        assert!(plan("--pcap f --target a:1").unwrap().target.is_some());
        assert!(matches!(plan("--pcap f"), Err(PlanError::EndlessFile)));
        let unlimited = plan("--pcap f --unlimited --count 1");
        assert!(matches!(unlimited, Err(PlanError::UnlimitedFile)));
    }

    #[test]
    fn no_flight_goes_beyond_the_calendar() {
        for fits in [
            "--speed 1e300",
            "--speed 1e-300",
            "--rate 1e-300",
            "--rate 1e300",
            "--unlimited --speed 1e300",
        ] {
            let Ok(plan) = plan(&format!("--satellites 1 {fits}")) else {
                panic!("{fits}");
            };
            assert_eq!(plan.frames(), None);
            if let Pace::Scheduled { schedule, frames } = plan.itinerary.phases()[0].pace {
                let last_us = schedule.simulated_us(frames - 1);
                assert!(last_us < super::END_UNIX_US - plan.origin.start_unix_us, "{fits}");
            }
        }
        for beyond in
            ["--duration 80y", "--unlimited --duration 1h --speed 1e9", "--count 9999999999999"]
        {
            assert!(matches!(plan(beyond), Err(PlanError::End)), "{beyond}");
        }
    }

    #[test]
    fn how_far_ahead_of_the_clock() {
        let ahead_s = |options: &str| plan(options).unwrap().ahead_us(now()) / 1_000_000;
        assert_eq!(ahead_s("--duration 1h"), 0);
        assert_eq!(ahead_s(""), 0);
        assert!(ahead_s("--speed 2") > 1_000_000);
        assert_eq!(ahead_s("--speed 600 --duration 10s --unlimited"), 5_990);
        assert_eq!(
            ahead_s("--speed 600 --duration 10s --unlimited --start 2026-11-22T22:20:10Z"),
            0
        );
        assert_eq!(ahead_s("--start 2026-11-23T01:00:00Z"), 3_600);
    }
}
