//! What time it is, so that tests can say.

use core::time::Duration;

/// What time it is.
pub trait Clock {
    /// Time since the start of the flight.
    fn elapsed(&self) -> Duration;
    /// Waits so long.
    fn sleep(&mut self, duration: Duration);
}

/// The wall clock.
#[derive(Debug)]
pub struct WallClock(std::time::Instant);

impl WallClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Clock for WallClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock for which everything is due: nobody waits for what goes to a file.
#[derive(Debug)]
pub struct NoWaiting;

impl Clock for NoWaiting {
    fn elapsed(&self) -> Duration {
        Duration::MAX
    }

    fn sleep(&mut self, _: Duration) {}
}
