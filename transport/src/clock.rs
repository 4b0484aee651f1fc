//! The clock of the runtime on which links run.

use mcpbus_actors::{Clock, Time};
use tokio::time::Instant;

/// The clock of the tokio runtime: the machine's, or the virtual one of a runtime whose time is paused.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    origin: Instant,
}

impl RuntimeClock {
    /// A clock whose origin is now. Under paused time it is only right on the thread of its runtime.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The instant at which a timer of the runtime is to fire for a point of this clock.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.origin + time.saturating_since(Time::ZERO)
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }
}
