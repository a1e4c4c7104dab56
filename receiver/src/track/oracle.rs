//! Trackers of streams against one that remembers everything, up to the bounds that are stated.

use std::collections::HashSet;

use proptest::prelude::*;
use protocol::{Apid, SpacecraftId};

use super::*;

/// One boot: every count that ever came, on an unwrapped line, and the runs of those that did not.
struct Oracle {
    boot_count: u32,
    width: CounterWidth,
    came: HashSet<i64>,
    first: i64,
    newest: i64,
    /// First and last count of each run that is remembered, in order.
    runs: Vec<(i64, i64)>,
}

impl Oracle {
    fn new(boot_count: u32, width: CounterWidth) -> Self {
        let (came, runs) = (HashSet::new(), Vec::new());
        Self { boot_count, width, came, first: 0, newest: 0, runs }
    }

    fn take(&mut self, count: u32) -> Verdict {
        let half = i64::from(self.width.half());
        let count = i64::from(count);
        if self.came.is_empty() {
            (self.first, self.newest) = (count, count);
            self.came.insert(count);
            self.runs.push((count - half, count - 1));
            return Verdict::Next;
        }
        // The count that is nearest to the newest; of two as near the one behind.
        let ahead = (count - self.newest).rem_euclid(2 * half);
        let count = self.newest + if ahead < half { ahead } else { ahead - 2 * half };
        if count > self.newest {
            let missed = count - self.newest - 1;
            if missed > 0 {
                self.runs.push((self.newest + 1, count - 1));
            }
            self.newest = count;
            self.came.insert(count);
            self.forget();
            let missed = missed as u32;
            return if missed == 0 { Verdict::Next } else { Verdict::Gap { missed } };
        }
        let is_near = self.newest - count < i64::from(WINDOW_COUNTS);
        let run = self.runs.iter().position(|run| (run.0..=run.1).contains(&count));
        // What came between two runs that were joined is not told from what did not.
        if self.came.contains(&count) && (is_near || run.is_none()) {
            return if is_near { Verdict::Duplicate } else { Verdict::Stale };
        }
        if run.is_none() && !is_near {
            return Verdict::Stale;
        }
        self.came.insert(count);
        if let Some(run) = run {
            let (first, last) = self.runs[run];
            let parts = [(first, count - 1), (count + 1, last)];
            self.runs.splice(run..=run, parts.into_iter().filter(|part| part.0 <= part.1));
            self.forget();
        }
        if count > self.first { Verdict::Late } else { Verdict::Next }
    }

    fn forget(&mut self) {
        let oldest = self.newest - i64::from(self.width.half());
        self.runs.retain(|run| run.1 >= oldest);
        if let Some(run) = self.runs.first_mut() {
            run.0 = run.0.max(oldest);
        }
        while self.runs.len() > RANGES_MAX {
            let length = |run: &(i64, i64)| run.1 - run.0;
            let smallest = self.runs.iter().map(length).min();
            // Those from before the first frame are of another kind.
            let is_missed = |run: &(i64, i64)| run.1 > self.first;
            let between = (0..self.runs.len() - 1).filter_map(|left| {
                let (left_run, right_run) = (self.runs[left], self.runs[left + 1]);
                let is_one_kind = is_missed(&left_run) == is_missed(&right_run);
                is_one_kind.then_some((right_run.0 - left_run.1 - 1, std::cmp::Reverse(left)))
            });
            // A run of n counts has the length n - 1.
            let closest = between.min().filter(|&(between, _)| Some(between) <= smallest);
            if let Some((_, std::cmp::Reverse(left))) = closest {
                self.runs[left].1 = self.runs[left + 1].1;
                self.runs.remove(left + 1);
                continue;
            }
            let place = self.runs.iter().position(|run| Some(length(run)) == smallest);
            self.runs.remove(place.unwrap());
        }
    }
}

/// One stream: its boots, which are told apart by where they stand.
#[derive(Default)]
struct Stream {
    current: Option<Oracle>,
    previous: Option<Oracle>,
    /// With frames of rising times and the latest of these; the one heard last is the last.
    candidates: Vec<(Oracle, u8, i64)>,
}

impl Stream {
    fn take(&mut self, arrival: &Arrival) -> (Verdict, bool) {
        let Arrival { boot_count, count, width, time_us, .. } = *arrival;
        let is_it = |boot: &&mut Oracle| boot.boot_count == boot_count;
        let current = self.current.get_or_insert_with(|| Oracle::new(boot_count, width));
        if let Some(boot) = [current].into_iter().chain(&mut self.previous).find(is_it) {
            return (boot.take(count), false);
        }
        let place = self.candidates.iter().position(|one| one.0.boot_count == boot_count);
        let mut candidate = if let Some(place) = place {
            self.candidates.remove(place)
        } else {
            if self.candidates.len() == CANDIDATES {
                self.candidates.remove(0);
            }
            (Oracle::new(boot_count, width), 0, i64::MIN)
        };
        let verdict = candidate.0.take(count);
        if !verdict.is_accepted() {
            // As if it had not come.
            self.candidates.insert(place.unwrap(), candidate);
            return (verdict, false);
        }
        candidate.1 += u8::from(time_us > candidate.2);
        candidate.2 = time_us;
        if candidate.1 < REBOOT_FRAMES {
            self.candidates.push(candidate);
            return (verdict, false);
        }
        self.previous = self.current.replace(candidate.0);
        (verdict, true)
    }
}

/// What is done to a counter.
#[derive(Clone, Debug)]
enum Step {
    /// One frame, so many counts on.
    Frame(i64),
    /// A frame so far ahead, after which the counter goes on as if there had been none.
    Forged(i64),
    /// A frame of another boot, after which the counter goes on.
    Foreign(u8),
    /// So many are lost, and then all of them come, every so-many-th first; or the last ones first.
    Dump(u16, u8, bool),
    /// The last so many come again.
    Repeat(u8),
    /// The next boot begins.
    Reboot,
    /// The tracker is saved and restored.
    Restart,
}

fn dumps() -> impl Strategy<Value = Step> {
    let dump = (1..3_000_u16, 1..5_u8, any::<bool>());
    dump.prop_map(|(counts, stride, is_reversed)| Step::Dump(counts, stride, is_reversed))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => Just(1_i64),
        8 => -8..8_i64,
        2 => -5_000..5_000_i64,
        2 => 1..3_i64,
        1 => 4_090..4_100_i64,
        1 => -4_100..-4_090_i64,
        1 => 8_185..8_195_i64,
        1 => 16_380..16_390_i64,
        1 => 0..100_000_000_i64,
        1 => any::<i32>().prop_map(i64::from),
    ];
    let step = prop_oneof![
        30 => step.prop_map(Step::Frame),
        2 => any::<i32>().prop_map(|ahead| Step::Forged(ahead.into())),
        1 => (1..200_u8).prop_map(Step::Foreign),
        1 => dumps(),
        1 => any::<u8>().prop_map(Step::Repeat),
        1 => Just(Step::Reboot),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..150)
}

/// Frames of a stream, one after another.
struct Flight {
    tracker: Tracker,
    oracle: Stream,
    total: Counts,
    arrival: Arrival,
    resets: u64,
}

impl Flight {
    fn begin(width: CounterWidth, count: u32) -> Self {
        let arrival = Arrival {
            spacecraft: SpacecraftId::FIRST,
            apid: Apid::new(100),
            width,
            boot_count: 1_000,
            count: width.wrap(count),
            time_us: 0,
        };
        let (tracker, oracle) = (Tracker::new(1), Stream::default());
        Self { tracker, oracle, total: Counts::default(), arrival, resets: 0 }
    }

    /// A frame of the boot at hand.
    fn frame(&mut self, count: u32) -> Result<(), TestCaseError> {
        self.receive(&Arrival { count, ..self.arrival })
    }

    fn receive(&mut self, arrival: &Arrival) -> Result<(), TestCaseError> {
        self.arrival.time_us += 1;
        let arrival = Arrival {
            count: arrival.width.wrap(arrival.count),
            time_us: self.arrival.time_us / 2,
            ..*arrival
        };
        let tracked = self.tracker.arrive(&arrival).unwrap();
        let expected = self.oracle.take(&arrival);
        prop_assert_eq!((tracked.verdict, tracked.is_reset), expected, "{:?}", arrival);
        self.resets += u64::from(tracked.is_reset);
        self.total.accepted += u64::from(tracked.verdict.is_accepted());
        match tracked.verdict {
            Verdict::Next => {}
            Verdict::Gap { missed } => self.total.missed += u64::from(missed),
            Verdict::Late => self.total.late += 1,
            Verdict::Duplicate => self.total.duplicate += 1,
            Verdict::Stale => self.total.stale += 1,
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let Arrival { width, count, boot_count, .. } = self.arrival;
        let plus = |steps: i64| width.wrap((i64::from(count) + steps) as u32);
        match *step {
            Step::Frame(steps) => {
                self.arrival.count = plus(steps);
                self.frame(self.arrival.count)
            }
            Step::Forged(ahead) => self.frame(plus(ahead)),
            Step::Foreign(boot) => {
                self.receive(&Arrival { boot_count: boot.into(), ..self.arrival })
            }
            Step::Dump(counts, stride, is_reversed) => {
                self.arrival.count = plus(i64::from(counts) + 1);
                self.frame(self.arrival.count)?;
                for first in 1..=stride {
                    for steps in (first.into()..=counts).step_by(stride.into()) {
                        let steps = if is_reversed { counts + 1 - steps } else { steps };
                        self.frame(plus(steps.into()))?;
                    }
                }
                Ok(())
            }
            Step::Repeat(frames) => {
                (0..i64::from(frames)).try_for_each(|steps| self.frame(plus(-steps)))
            }
            Step::Reboot => {
                (self.arrival.boot_count, self.arrival.count) = (boot_count + 1, 0);
                self.frame(0)
            }
            Step::Restart => {
                self.balance()?;
                let mut tracker = Tracker::new(1);
                prop_assert!(tracker.restore(&self.tracker.state(), |_| true));
                prop_assert_eq!(tracker.state(), self.tracker.state());
                prop_assert_eq!(tracker.summary(), []);
                self.tracker = tracker;
                Ok(())
            }
        }
    }

    /// What the tracker lists is what it said; counting begins again.
    fn balance(&mut self) -> Result<(), TestCaseError> {
        let mut sum = Counts::default();
        let summary = self.tracker.summary();
        for boot in &summary {
            sum.add(&boot.counts);
        }
        prop_assert_eq!(sum, std::mem::take(&mut self.total));
        self.resets = 0;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn agrees_with_an_oracle_that_remembers_everything(
        bits in prop_oneof![Just(14_u8), Just(30_u8), 14..=31_u8],
        start: u32,
        steps in steps(),
    ) {
        let mut flight = Flight::begin(CounterWidth::new(bits).unwrap(), start);
        flight.frame(start)?;
        for step in steps {
            flight.step(&step)?;
        }
        flight.balance()?;
    }

    /// A few bits flipped, or the end cut off: refused, or a tracker that goes on and can be saved.
    #[test]
    fn damaged_states_harm_nothing(
        start: u32,
        steps in prop::collection::vec((-200..300_i64).prop_map(Step::Frame), 0..100),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 0..4),
        kept in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut flight = Flight::begin(CounterWidth::PRIMARY, start);
        flight.frame(start)?;
        for step in steps.iter().chain([&Step::Reboot, &Step::Foreign(9), &Step::Frame(1)]) {
            flight.step(step)?;
        }
        let mut state = flight.tracker.state();
        for (place, bit) in damage {
            let place = place.index(state.len());
            state[place] ^= 1 << bit;
        }
        if is_cut {
            state.truncate(kept.index(state.len()));
        }
        let mut tracker = Tracker::new(1);
        if tracker.restore(&state, |_| true) {
            for step in -5_000..5_000_i64 {
                let arrival = flight.arrival;
                let count = arrival.width.wrap((i64::from(arrival.count) + 3 * step) as u32);
                tracker.arrive(&Arrival { count, ..arrival });
                let boot_count = step.rem_euclid(5) as u32;
                tracker.arrive(&Arrival { boot_count, ..arrival });
            }
            let again = tracker.state();
            prop_assert!(Tracker::new(1).restore(&again, |_| true));
        }
    }
}
