//! What a round does: who flies, on which tables, and what breaks when. All of it is drawn from the
//! round's seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::{Action, Damage, Kind};
use crate::StopMode;
use crate::proxy::{CommitCut, Cut, Passage, Which};

/// A round, as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it is drawn from.
    pub seed: u64,
    /// What goes wrong.
    pub kinds: Vec<Kind>,
    /// Whether the tables are hypertables, where there can be some.
    pub has_hypertables: bool,
    /// How many satellites send.
    pub satellites: u16,
    /// Frames a second of all together.
    pub rate: u32,
    /// Frames in each datagram.
    pub frames_per_datagram: u16,
    /// Writers that the station starts with.
    pub writers: u8,
    /// How long the satellites send.
    pub flight: Duration,
    /// What is done when, in order, counted from when they begin.
    pub steps: Vec<(Duration, Action)>,
}

impl Plan {
    /// Draws a round. The first of its kinds follows from the seed alone, so that seeds in a row go
    /// through all of `kinds`, of which there must be one.
    pub fn draw(seed: u64, kinds: &[Kind]) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let first = kinds[(seed % kinds.len() as u64) as usize];
        let mut chosen = vec![first];
        for _ in 0..[0, 0, 1, 1, 2][random.random_range(0..5)] {
            let further = kinds[random.random_range(0..kinds.len())];
            let fits = chosen.iter().all(|&kind| kind != further && kind.goes_with(further));
            if fits {
                chosen.push(further);
            }
        }
        let flight = ms(random.random_range(5_000..=9_000));
        let writers = one_of(&mut random, &[1, 2, 2, 3]);
        let mut plan = Self {
            seed,
            kinds: chosen,
            has_hypertables: random.random(),
            satellites: one_of(&mut random, &[1, 20, 50, 100, 300]),
            rate: random.random_range(2_000..=6_000),
            frames_per_datagram: one_of(&mut random, &[1, 1, 4, 10]),
            writers,
            flight,
            steps: Vec::new(),
        };
        for kind in plan.kinds.clone() {
            plan.add(kind, &mut random);
        }
        // Stable, so that steps of one instant stay in order.
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Whether the database is not there when the station starts.
    pub fn begins_without_database(&self) -> bool {
        self.kinds.contains(&Kind::Absent)
    }

    fn add(&mut self, kind: Kind, random: &mut StdRng) {
        match kind {
            Kind::Cut => {
                let mut at = self.moment(random);
                while at + CALM < self.flight {
                    let how = one_of(random, &[Cut::Reset, Cut::Close]);
                    self.at(at, Action::Cut(how));
                    at += ms(random.random_range(50..=700));
                }
            }
            Kind::CommitUnsent => self.commits(CommitCut::Unsent, random),
            Kind::CommitRacing => self.commits(CommitCut::Racing, random),
            Kind::CommitUnanswered => self.commits(CommitCut::Unanswered, random),
            Kind::Stall => {
                for _ in 0..random.random_range(1..=2) {
                    let (at, length) = (self.moment(random), ms(random.random_range(200..=3_000)));
                    self.at(at, Action::Passage(Passage::Stalled));
                    self.at(at + length, Action::Passage(Passage::Open));
                }
            }
            Kind::Delay => {
                let by = ms(random.random_range(1..=80));
                let jitter = ms(random.random_range(0..=80));
                let (at, length) = (self.moment(random), ms(random.random_range(1_000..=6_000)));
                self.at(at, Action::Passage(Passage::Delayed { by, jitter }));
                self.at(at + length, Action::Passage(Passage::Open));
            }
            Kind::Refuse => {
                let (at, length) = (self.moment(random), ms(random.random_range(200..=3_000)));
                self.at(at, Action::Passage(Passage::Refused));
                self.at(at, Action::Cut(Cut::Reset));
                self.at(at + length, Action::Passage(Passage::Open));
            }
            Kind::Terminate => {
                for _ in 0..random.random_range(3..=12) {
                    let at = self.moment(random);
                    self.at(at, Action::Terminate);
                }
            }
            Kind::Crash => {
                for _ in 0..random.random_range(1..=3) {
                    let at = self.moment(random);
                    self.at(at, Action::Crash);
                }
            }
            Kind::Gone => {
                let at = self.moment(random);
                self.gone(at, ms(random.random_range(1_000..=4_000)), random);
            }
            Kind::Pause => {
                let (at, length) = (self.moment(random), ms(random.random_range(100..=1_500)));
                self.at(at, Action::Pause);
                self.at(at + length, Action::Resume);
            }
            Kind::Writers => {
                let at = self.moment(random);
                let writers = one_of(random, &[1, 2, 3, 4, 7]);
                let end = one_of(random, &[Action::Stop, Action::Kill { damage: None }]);
                self.restart(at, end, writers, random);
            }
            Kind::Kill => {
                for _ in 0..random.random_range(1..=3) {
                    let at = self.moment(random);
                    self.restart(at, Action::Kill { damage: None }, self.writers, random);
                }
            }
            Kind::Torn => {
                let at = self.moment(random);
                let octets = random.random_range(1..=TORN_OCTETS_MAX);
                let damage = Some(Damage::Torn { octets });
                self.restart(at, Action::Kill { damage }, self.writers, random);
            }
            Kind::Absent => {
                let at = ms(random.random_range(500..=3_000));
                self.at(at, Action::StartDatabase);
            }
            Kind::PlantedHeader => self.planted_header(random),
            Kind::Restoring => self.restoring(random),
            Kind::Lock => self.lock(random),
            Kind::Clone => {
                let (at, writers) = (self.moment(random), self.writers);
                self.waiting_kill(at, None, random);
                self.at(at + ms(20), Action::Clone);
                self.at(at + ms(40), Action::Start { writers, repeats: random.random_bool(0.5) });
            }
            Kind::ForgedLeap => {
                for _ in 0..random.random_range(1..=10) {
                    let at = self.moment(random);
                    self.at(at, Action::Forge);
                }
            }
        }
    }

    /// Headers are planted before the database goes, and again while samples wait.
    fn planted_header(&mut self, random: &mut StdRng) {
        let (at, writers) = (self.moment(random).max(3 * CALM), self.writers);
        for before in [ms(1_000), ms(400), ms(random.random_range(60..=300))] {
            self.at(at.saturating_sub(before), Action::Plant);
        }
        let damage = one_of(random, &[Damage::TornWithinPlanted, Damage::FlippedInPlanted]);
        self.waiting_kill(at, Some(damage), random);
        // What lay in the damaged record it does not know, so it could not tell repeats of it.
        let start = Action::Start { writers, repeats: false };
        self.at(at + ms(random.random_range(20..=800)), start);
    }

    /// A kill while samples wait for a database that is gone.
    fn waiting_kill(&mut self, at: Duration, damage: Option<Damage>, random: &mut StdRng) {
        let before = ms(random.random_range(500..=900)).min(at);
        let after = ms(random.random_range(0..=1_500));
        self.gone(at.saturating_sub(before), before + after, random);
        self.at(at, Action::Kill { damage });
    }

    /// Sessions that are made meanwhile must see it: so those that are there are ended.
    fn restoring(&mut self, random: &mut StdRng) {
        let (at, length) = (self.moment(random), random.random_range(1_000..=4_000));
        self.at(at, Action::BeginRestoring);
        for _ in 0..random.random_range(1..=4) {
            let how = one_of(random, &[Action::Cut(Cut::Reset), Action::Terminate]);
            self.at(at + ms(random.random_range(0..length)), how);
        }
        self.at(at + ms(length), Action::EndRestoring);
    }

    /// One time in three for longer than the station waits for a lock.
    fn lock(&mut self, random: &mut StdRng) {
        let is_long = random.random_bool(1.0 / 3.0);
        let length = random.random_range(if is_long { 9_000..=11_000 } else { 500..=4_000 });
        let at = self.moment(random);
        self.at(at, Action::Lock);
        // Whoever cuts a connection leaves the server's side of it waiting for the lock.
        let is_bounded =
            self.kinds.iter().all(|kind| matches!(kind, Kind::Lock | Kind::ForgedLeap));
        if is_bounded {
            for after in (0..=length).step_by(250) {
                self.at(at + ms(after), Action::CountConnections);
            }
        }
        self.at(at + ms(length), Action::Unlock);
    }

    /// A station that ends and begins again, half the time while there is no database: then what is
    /// in the journal is all there is.
    fn restart(&mut self, at: Duration, end: Action, writers: u8, random: &mut StdRng) {
        if random.random_bool(0.5) {
            let before = ms(random.random_range(50..=800));
            self.gone(at.saturating_sub(before), before + ms(500), random);
        }
        self.at(at, end);
        // What a station has heard it knows from its journal: with the end of that torn off, it could
        // not tell repeats of what is stored already.
        let is_torn = matches!(end, Action::Kill { damage: Some(_) });
        let start = Action::Start { writers, repeats: random.random_bool(0.5) && !is_torn };
        self.at(at + ms(random.random_range(20..=800)), start);
    }

    fn gone(&mut self, at: Duration, length: Duration, random: &mut StdRng) {
        let mode = one_of(random, &[StopMode::Fast, StopMode::Immediate]);
        self.at(at, Action::StopDatabase(mode));
        self.at(at + length, Action::StartDatabase);
    }

    fn commits(&mut self, cut: CommitCut, random: &mut StdRng) {
        let chance = random.random_range(0.1..=0.6);
        let at = self.moment(random).min(self.flight / 2);
        self.at(at, Action::Commits(Some((cut, Which::Chance(chance)))));
        self.at(self.flight, Action::Commits(None));
    }

    fn at(&mut self, at: Duration, action: Action) {
        self.steps.push((at, action));
    }

    /// Some time after the beginning and before the end.
    fn moment(&self, random: &mut StdRng) -> Duration {
        random.random_range(CALM..=self.flight.saturating_sub(2 * CALM))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "{}; {} satellites, {}/s, {} a datagram, {} writers",
            kinds.join("+"),
            self.satellites,
            self.rate,
            self.frames_per_datagram,
            self.writers
        )?;
        if self.has_hypertables { write!(f, ", hypertables") } else { Ok(()) }
    }
}

fn one_of<T: Copy>(random: &mut StdRng, choices: &[T]) -> T {
    *choices.choose(random).unwrap_or(&choices[0])
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The satellites send this long before the first fault.
const CALM: Duration = Duration::from_millis(500);
/// What is cut off a segment at most.
pub(super) const TORN_OCTETS_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_seeds_in_a_row_have_every_kind() {
        let mut seen = Vec::new();
        for seed in 100..100 + Kind::ALL.len() as u64 {
            let plan = Plan::draw(seed, &Kind::ALL);
            assert_eq!(plan, Plan::draw(seed, &Kind::ALL));
            seen.push(plan.kinds[0]);
        }
        for kind in Kind::ALL {
            assert!(seen.contains(&kind), "{kind}");
        }
    }

    #[test]
    fn what_was_ended_begins_again() {
        for seed in 0..300 {
            let plan = Plan::draw(seed, &Kind::ALL);
            assert!(plan.steps.is_sorted_by_key(|(at, _)| *at));
            assert!(!plan.steps.is_empty());
            let count = |wanted: fn(&Action) -> bool| {
                plan.steps.iter().filter(|(_, action)| wanted(action)).count()
            };
            let ends = count(|a| matches!(a, Action::Kill { .. } | Action::Stop));
            assert_eq!(ends, count(|a| matches!(a, Action::Start { .. })), "{plan:?}");
            let stops = count(|a| matches!(a, Action::StopDatabase(_)));
            let starts = count(|a| matches!(a, Action::StartDatabase));
            let absent = usize::from(plan.begins_without_database());
            assert_eq!(stops + absent, starts, "{plan:?}");
            let begins = count(|a| matches!(a, Action::Lock | Action::BeginRestoring));
            let ends = count(|a| matches!(a, Action::Unlock | Action::EndRestoring));
            assert_eq!(begins, ends, "{plan:?}");
            for kind in [Kind::PlantedHeader, Kind::Clone] {
                let is_whole = !plan.kinds.contains(&kind)
                    || count(|a| matches!(a, Action::Kill { .. } | Action::Stop)) == 1;
                assert!(is_whole, "{plan:?}");
            }
        }
    }
}
