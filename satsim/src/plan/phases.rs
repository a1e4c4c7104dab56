//! From options to phases: when each begins, and how many frames there are in it.

use std::time::Duration;

use super::PlanError;
use crate::{
    fault::{Rates, options::Probability},
    itinerary::{Itinerary, Pace, Phase},
    options::Options,
    scenario::{self, Named, Scenario},
    schedule::Schedule,
};

/// A flight of one phase, ended by the calendar in `room_us` when the options do not end it before.
pub(super) fn of_options(
    options: &Options,
    satellites: usize,
    room_us: i64,
) -> Result<Itinerary, PlanError> {
    let speed = speed(options);
    let room = room(room_us, speed);
    if options.duration.is_some_and(|duration| duration > room) {
        return Err(PlanError::End);
    }
    // A second less than there is room for, so that no rounding goes beyond it.
    let endless = room.saturating_sub(Duration::from_secs(1));
    let duration = options.duration.unwrap_or(endless);
    let pace = if options.unlimited {
        Pace::Unlimited { speed, frames: options.count.unwrap_or(u64::MAX), duration }
    } else {
        let schedule = Schedule::new(satellites, options.rate.unwrap_or(RATE_DEFAULT), speed);
        let frames = match options.count {
            Some(count) => count,
            None => schedule.count_within(duration).max(1),
        };
        if schedule.simulated_us(frames - 1) >= room_us {
            return Err(PlanError::End);
        }
        Pace::Scheduled { schedule, frames }
    };
    let itinerary = Itinerary::of_one(satellites, pace, options.faults.rates()?);
    Ok(itinerary.with_anomalies(chance(options.anomalies)))
}

/// The phases of a scenario.
pub(super) fn of_scenario(
    scenario: &Scenario,
    options: &Options,
    satellites: usize,
    room_us: i64,
) -> Result<Itinerary, PlanError> {
    let speed = speed(options);
    let room = room(room_us, speed);
    let mut start = Duration::ZERO;
    let mut phases = Vec::with_capacity(scenario.phases.len());
    for phase in &scenario.phases {
        let silent = indices(scenario, &phase.silent, satellites)?;
        let rates = rates(scenario, phase, options)?;
        let pace = if options.unlimited {
            if phase.rate.is_some() {
                let reason = "it has a rate; leave it out, or fly without unlimited";
                return Err(scenario.wrong_phase(phase, reason).into());
            }
            Pace::Unlimited { speed, frames: u64::MAX, duration: phase.duration }
        } else {
            let rate = phase.rate.or(options.rate).unwrap_or(RATE_DEFAULT);
            let schedule = Schedule::new(satellites - silent.len(), rate, speed);
            Pace::Scheduled { schedule, frames: schedule.count_within(phase.duration) }
        };
        phases.push(Phase {
            start,
            start_us: (start.as_secs_f64() * speed * 1e6) as i64,
            pace,
            rates,
            anomalies: chance(phase.anomalies.or(options.anomalies)),
            reboot: indices(scenario, &phase.reboot, satellites)?,
            silent,
        });
        start = start.saturating_add(phase.duration);
        if start > room {
            return Err(PlanError::End);
        }
    }
    Ok(Itinerary::new(satellites, phases))
}

fn rates(
    scenario: &Scenario,
    phase: &scenario::Phase,
    options: &Options,
) -> Result<Rates, PlanError> {
    let faults = phase.faults.or(options.faults);
    faults.rates().map_err(|error| scenario.wrong_phase(phase, &error.to_string()).into())
}

fn chance(asked: Option<Probability>) -> f64 {
    asked.map_or(0.0, Probability::chance)
}

/// Places of satellites that are named, in ascending order, each once.
fn indices(
    scenario: &Scenario,
    names: &[Named],
    satellites: usize,
) -> Result<Vec<usize>, PlanError> {
    let mut indices = Vec::with_capacity(names.len());
    for named in names {
        let index = usize::from(named.spacecraft.number()) - 1;
        if index >= satellites {
            let reason = format!("{} does not fly, {satellites} satellites do", named.spacecraft);
            return Err(scenario.wrong_name(named, &reason).into());
        }
        indices.push(index);
    }
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

/// How long a flight can be, on the clock.
fn room(room_us: i64, speed: f64) -> Duration {
    Duration::from_secs_f64((room_us as f64 / 1e6 / speed).min(FOREVER_S))
}

/// Simulated seconds per second.
fn speed(options: &Options) -> f64 {
    options.speed.unwrap_or(1.0)
}

/// Longer than any flight, and short enough to be computed with: a thousand years.
const FOREVER_S: f64 = 3e10;
const RATE_DEFAULT: f64 = 10.0;
