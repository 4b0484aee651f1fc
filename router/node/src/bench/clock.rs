//! The clocks of measurements: one that all processes of a machine share, and the CPU time of this process.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds on the machine's monotonic clock, the same in every process of the machine. Nobody sets that clock, so a
/// time that one process writes down can be compared with one that another reads. Between machines it means nothing.
pub fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time of all threads of this process so far, in user and kernel mode.
pub fn cpu_time() -> Duration {
    Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ProcessCPUTime)))
}

fn nanoseconds(time: Timespec) -> u64 {
    // Neither clock counts from before its origin.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Lets pauses of this thread end when they are due, not up to 50 µs later, which the system does to save wake-ups.
pub fn pause_exactly() {
    if let Err(error) = set_current_timer_slack(NonZeroU64::new(1)) {
        tracing::debug!(%error, "pauses may be 50 µs longer");
    }
}

/// Blocks the thread until this time on the clock of [`now`].
pub fn sleep_until(time: u64) {
    while now() < time {
        let until = Timespec {
            tv_sec: i64::try_from(time / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(time % 1_000_000_000).unwrap_or(0),
        };
        // A signal may end it early; the loop looks at the clock again.
        let _ended_early = clock_nanosleep_absolute(ClockId::Monotonic, &until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_never_too_short_and_work_takes_cpu_time() {
        pause_exactly();
        let (until, cpu) = (now() + 3_000_000, cpu_time());
        sleep_until(until);
        assert!(now() >= until);
        let mut number = 1_u64;
        while cpu_time() < cpu + Duration::from_millis(2) {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(cpu_time() > cpu);
    }
}
