//! Which time the criterion benches measure: that of the wall, or that of the CPU.

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Set to `cpu`, this environment variable chooses [`Clock::Cpu`].
pub const VARIABLE: &str = "MCPBUS_BENCH_CLOCK";

/// What one iteration is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Time that passes. What users wait for, and what other programs on the machine disturb.
    Wall,
    /// CPU time of all threads of this process, in user and kernel mode. What the work costs, also on a busy machine;
    /// threads that run side by side add up.
    Cpu,
}

impl Clock {
    /// What the environment chooses: [`Clock::Cpu`] for `cpu`, [`Clock::Wall`] otherwise.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Ok("cpu") => Self::Cpu,
            _ => Self::Wall,
        }
    }

    /// Time on this clock since an arbitrary origin.
    #[must_use]
    pub fn now(self) -> Duration {
        let time = clock_gettime(match self {
            Self::Wall => ClockId::Monotonic,
            Self::Cpu => ClockId::ProcessCPUTime,
        });
        // Neither clock counts from before its origin.
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Criterion with the clock that the environment chooses.
#[must_use]
pub fn criterion() -> Criterion<Clock> {
    Criterion::default().with_measurement(Clock::from_environment())
}

impl Measurement for Clock {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        self.now()
    }

    fn end(&self, start: Duration) -> Duration {
        self.now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        // Both are nanoseconds.
        WallTime.formatter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn both_clocks_grow_with_work() {
        for clock in [Clock::Wall, Clock::Cpu] {
            let start = clock.start();
            let mut number = 1_u64;
            while clock.end(start) < Duration::from_millis(2) {
                number = black_box(number.wrapping_mul(3));
            }
        }
    }
}
