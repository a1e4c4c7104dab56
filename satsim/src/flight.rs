//! The loop that drives the constellation: frames that are due are made and sent, then it sleeps.
//!
//! A clock that was held up is caught up with: what is due is sent at once, never more. With a
//! schedule, what is made does not depend on the clock, only when it leaves does.
//!
//! However a flight ends, every stream ends with a frame that was sent clean and in order. Where
//! the end is planned, by count, duration or scenario, that is the stream's last planned frame.
//! Where it is not (a signal, or a duration at full speed), and some stream's newest frame suffered
//! a fault or frames of it are still held back, these are sent, and one more frame of the stream is
//! made and sent clean, also by a satellite that is silent: the flight then makes up to two frames
//! a satellite more than it would have. Without faults nothing is added.

mod clock;

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{
    constellation::Constellation,
    datagram::Packer,
    digest::Digests,
    fault::{APIDS, Injector},
    itinerary::{Itinerary, Pace, Phase},
    schedule::Schedule,
    sink::{Sink, SinkError},
};
pub use clock::{Clock, NoWaiting, WallClock};

/// One flight, from the first frame to the last.
pub struct Flight<'a, S, C> {
    /// Who flies.
    pub constellation: &'a mut Constellation,
    /// What becomes of frames on their way, if anything.
    pub faults: Option<&'a mut Injector>,
    /// What was sent, if anybody wants to know.
    pub digests: Option<&'a mut Digests>,
    /// How frames are put together.
    pub packer: Packer,
    /// Where datagrams go.
    pub sink: &'a mut S,
    /// What time it is.
    pub clock: C,
    /// Set by a signal: end early.
    pub stop: &'a AtomicBool,
    /// Called now and then with the frames made so far.
    pub watch: &'a mut dyn FnMut(u64),
}

/// A phase, and who sends in it.
struct Leg<'a> {
    phase: &'a Phase,
    active: Vec<usize>,
}

impl<S: Sink, C: Clock> Flight<'_, S, C> {
    /// Flies to the end of `itinerary` or until it is stopped. Whatever was made has left when it
    /// returns without an error.
    pub fn fly(&mut self, itinerary: &Itinerary) -> Result<(), SinkError> {
        let satellites = self.constellation.satellites();
        if let Some(faults) = &mut self.faults {
            for index in 0..satellites {
                faults.plan(index, itinerary.frames_of_boot(0, index));
            }
        }
        let mut made = 0;
        for (number, phase) in itinerary.phases().iter().enumerate() {
            self.wait_until(phase.start);
            if self.is_stopped() {
                break;
            }
            for &index in &phase.reboot {
                self.reboot(index, itinerary.frames_of_boot(number, index))?;
            }
            if let Some(faults) = &mut self.faults {
                faults.set_rates(phase.rates);
            }
            self.constellation.set_anomalies(phase.anomalies);
            let leg = Leg { phase, active: phase.active(satellites) };
            made = match phase.pace {
                Pace::Scheduled { schedule, frames } => {
                    self.scheduled(&leg, &schedule, frames, made)?
                }
                Pace::Unlimited { speed, frames, duration } => {
                    self.unlimited(&leg, speed, frames, duration, made)?
                }
            };
            self.leave()?;
        }
        for index in 0..satellites {
            self.end_streams(index)?;
        }
        self.leave()
    }

    /// Flies a phase by schedule; `before` frames were made before it. Returns those made after it.
    fn scheduled(
        &mut self,
        leg: &Leg<'_>,
        schedule: &Schedule,
        frames: u64,
        before: u64,
    ) -> Result<u64, SinkError> {
        let (mut next, mut tick) = (0, Duration::ZERO);
        while next < frames && !self.is_stopped() {
            let now = self.clock.elapsed().saturating_sub(leg.phase.start);
            if now < tick {
                self.clock.sleep(tick.saturating_sub(now));
                continue;
            }
            let due = schedule.due(now).min(frames);
            if due <= next {
                let wait = schedule.instant(next).saturating_sub(now);
                self.clock.sleep(wait.clamp(TICK, STOP_LATENCY));
                continue;
            }
            let batch_end = due.min(next + BATCH_FRAMES);
            for number in next..batch_end {
                let offset_us = leg.phase.start_us.saturating_add(schedule.simulated_us(number));
                self.make(leg, number, offset_us)?;
            }
            next = batch_end;
            self.sink.flush()?;
            if next == due {
                tick = now.saturating_add(TICK);
            }
            (self.watch)(before + next);
        }
        Ok(before + next)
    }

    /// The same at full speed. The frames of a batch are dated evenly over the time the batch
    /// before it took.
    fn unlimited(
        &mut self,
        leg: &Leg<'_>,
        speed: f64,
        frames: u64,
        duration: Duration,
        before: u64,
    ) -> Result<u64, SinkError> {
        // With nobody to send, there is nothing but time to pass.
        let frames = if leg.active.is_empty() { 0 } else { frames };
        let mut next = 0;
        let mut from_us = 0.0;
        while next < frames && !self.is_stopped() {
            let now = self.clock.elapsed().saturating_sub(leg.phase.start);
            if now >= duration {
                break;
            }
            let until_us = now.as_secs_f64() * 1e6 * speed;
            let batch = BATCH_FRAMES.min(frames - next);
            for place in 0..batch {
                let share = place as f64 / batch as f64;
                let offset_us = (from_us + (until_us - from_us) * share) as i64;
                self.make(leg, next + place, leg.phase.start_us.saturating_add(offset_us))?;
            }
            from_us = until_us;
            next += batch;
            (self.watch)(before + next);
        }
        Ok(before + next)
    }

    fn make(&mut self, leg: &Leg<'_>, number: u64, offset_us: i64) -> Result<(), SinkError> {
        let index = leg.active[(number % leg.active.len() as u64) as usize];
        let frame = self.constellation.frame(index, offset_us);
        let comes = match &mut self.faults {
            None => {
                self.packer.push(frame.octets(), None, offset_us, self.sink)?;
                true
            }
            Some(faults) => faults.pass(index, &frame, |frame, damage| {
                self.packer.push(frame.octets(), damage, offset_us, self.sink)
            })?,
        };
        if !comes {
            self.constellation.lost(index, frame.apid);
        } else if let Some(digests) = &mut self.digests {
            digests.add(&frame);
        }
        Ok(())
    }

    fn reboot(&mut self, index: usize, frames: u64) -> Result<(), SinkError> {
        self.end_streams(index)?;
        let ended = self.constellation.reboot(index);
        if let Some(faults) = &mut self.faults {
            faults.reboot(index, &ended, frames);
        }
        Ok(())
    }

    /// Ends the streams of a satellite with a clean frame each, where they do not end so already.
    fn end_streams(&mut self, index: usize) -> Result<(), SinkError> {
        let Some(faults) = &mut self.faults else {
            return Ok(());
        };
        for apid in APIDS {
            if faults.may_end(index, apid) {
                continue;
            }
            let frame = self.constellation.extra_frame(index, apid);
            faults.pass_last(index, &frame, |sent, damage| {
                self.packer.push(sent.octets(), damage, frame.offset_us, self.sink)
            })?;
            if let Some(digests) = &mut self.digests {
                digests.add(&frame);
            }
        }
        Ok(())
    }

    /// Lets everything leave that was made.
    fn leave(&mut self) -> Result<(), SinkError> {
        self.packer.flush(self.sink)?;
        self.sink.flush()
    }

    fn wait_until(&mut self, start: Duration) {
        while !self.is_stopped() {
            let rest = start.saturating_sub(self.clock.elapsed());
            if rest.is_zero() {
                break;
            }
            self.clock.sleep(rest.clamp(TICK, STOP_LATENCY));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Shorter waits cost more in wake-ups and system calls than they gain: frames due within it leave
/// together, unless more than that are late.
const TICK: Duration = Duration::from_millis(1);
/// Longest sleep, so that a signal is heeded soon.
const STOP_LATENCY: Duration = Duration::from_millis(100);
/// Frames between two looks at the clock and the stop flag.
const BATCH_FRAMES: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::{BATCH_FRAMES, Clock, Flight, Itinerary, Pace, TICK};
    use crate::{
        constellation::{Constellation, Origin},
        datagram::Packer,
        fault::Rates,
        orbit::walker,
        schedule::Schedule,
        sink::{Datagram, Sink, SinkError},
    };
    use core::{cell::Cell, sync::atomic::AtomicBool, time::Duration};
    use std::rc::Rc;

    /// Advances when somebody sleeps, later than asked by `late`.
    struct FakeClock {
        now: Rc<Cell<Duration>>,
        late: Duration,
    }

    impl Clock for FakeClock {
        fn elapsed(&self) -> Duration {
            self.now.get()
        }

        fn sleep(&mut self, duration: Duration) {
            self.now.set(self.now.get() + duration + self.late);
        }
    }

    /// Notes when each datagram came; each costs `cost`.
    struct Log {
        now: Rc<Cell<Duration>>,
        cost: Duration,
        came: Vec<(Duration, i64)>,
        flushes: u32,
    }

    impl Sink for Log {
        fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SinkError> {
            self.came.push((self.now.get(), datagram.offset_us));
            self.now.set(self.now.get() + self.cost);
            Ok(())
        }

        fn flush(&mut self) -> Result<(), SinkError> {
            self.flushes += 1;
            Ok(())
        }

        fn frames_sent(&self) -> u64 {
            self.came.len() as u64
        }
    }

    fn fly(pace: &Pace, late_us: u64, cost_us: u64) -> Log {
        let origin = Origin { start_unix_us: 0, seed: 1, boot_count: 0 };
        let orbits = (0..3).map(|i| walker::orbit(i, 3, 0).unwrap()).collect();
        let mut constellation = Constellation::new(origin, orbits).unwrap();
        let now = Rc::new(Cell::new(Duration::ZERO));
        let cost = Duration::from_micros(cost_us);
        let mut log = Log { now: now.clone(), cost, came: Vec::new(), flushes: 0 };
        let late = Duration::from_micros(late_us);
        Flight {
            constellation: &mut constellation,
            faults: None,
            digests: None,
            packer: Packer::new(1),
            sink: &mut log,
            clock: FakeClock { now, late },
            stop: &AtomicBool::new(false),
            watch: &mut |_| {},
        }
        .fly(&Itinerary::of_one(3, *pace, Rates::default()))
        .unwrap();
        log
    }

    #[test]
    fn nothing_leaves_early_and_little_late() {
        for frames_per_s in [1.0, 30.0, 999.0, 10_000.0, 100_000.0] {
            let schedule = Schedule::new(3, frames_per_s / 3.0, 1.0);
            let came = fly(&Pace::Scheduled { schedule, frames: 3_000 }, 60, 0).came;
            assert_eq!(came.len(), 3_000);
            for (number, (at, _)) in came.iter().enumerate() {
                let instant = schedule.instant(number as u64);
                // Instants are rounded to the nanosecond, due frames within the schedule's bound.
                let early = instant.saturating_sub(*at);
                assert!(early.as_secs_f64() * frames_per_s < 1e-3, "early by {early:?}");
                let late = at.saturating_sub(instant);
                assert!(late <= TICK + Duration::from_micros(61), "late by {late:?}");
            }
        }
    }

    #[test]
    fn frames_of_a_tick_leave_together_though_sending_takes_nearly_as_long_as_they_are_apart() {
        // 10 µs apart, 8 µs each: looked at again at once, one or two would be due each time.
        let schedule = Schedule::new(3, 100_000.0 / 3.0, 1.0);
        let log = fly(&Pace::Scheduled { schedule, frames: 30_000 }, 0, 8);
        assert_eq!(log.came.len(), 30_000);
        assert!((250..=310).contains(&log.flushes), "{} flushes in 300 ms", log.flushes);
    }

    #[test]
    fn a_slow_sink_is_caught_up_with_to_the_frame() {
        // 1,000 frames a second due, 900 can leave: it ends late, with every frame sent.
        let schedule = Schedule::new(3, 1_000.0 / 3.0, 1.0);
        let came = fly(&Pace::Scheduled { schedule, frames: 9_000 }, 0, 1_111).came;
        assert_eq!(came.len(), 9_000);
        let simulated: Vec<i64> = came.iter().map(|&(_, offset_us)| offset_us).collect();
        let expected: Vec<i64> = (0..9_000).map(|n| schedule.simulated_us(n)).collect();
        assert_eq!(simulated, expected, "the delay does not show in the frames");
    }

    #[test]
    fn unlimited_time_follows_the_clock() {
        let frames = 20 * BATCH_FRAMES + 7;
        let pace = Pace::Unlimited { speed: 60.0, frames, duration: Duration::MAX };
        let came = fly(&pace, 0, 1).came;
        assert_eq!(came.len() as u64, frames);
        assert!(came.is_sorted_by_key(|&(_, offset_us)| offset_us));
        for (at, offset_us) in came {
            assert!(offset_us as f64 <= at.as_secs_f64() * 60e6 + 1.0);
        }
        let pace =
            Pace::Unlimited { speed: 1.0, frames: u64::MAX, duration: Duration::from_millis(10) };
        let came = fly(&pace, 0, 1).came.len() as u64;
        assert!((10_000..10_000 + BATCH_FRAMES).contains(&came), "{came}");
    }
}
