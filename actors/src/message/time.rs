//! Points in time as plain numbers, and the clocks that give them.
//!
//! Decisions take `now: Time` as an argument and never read a clock, so that they can run under virtual time.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A point in time: nanoseconds since an arbitrary origin of this process.
///
/// Two values compare only when they come from the same clock. Sums saturate at [`Time::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// The end of time: later than every point a clock gives.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanoseconds` after the origin.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` before this one, not before the origin.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({:?})", Duration::from_nanos(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Something that knows what time it is.
pub trait Clock: Send + Sync + 'static {
    /// The present point in time; never earlier than one it gave before.
    fn now(&self) -> Time;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Time {
        (**self).now()
    }
}

/// The monotonic clock of the machine. All clones share one origin.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }
}

/// A clock that stands still until it is told to move; clones move together. For tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanoseconds: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.nanoseconds
            .fetch_add(nanos(duration), Ordering::AcqRel);
    }

    /// Moves the clock to `time`, if that is not in its past.
    pub fn set(&self, time: Time) {
        self.nanoseconds
            .fetch_max(time.as_nanos(), Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.nanoseconds.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_differences_never_go_below_zero() {
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(
            Time::ZERO.saturating_since(Time::from_nanos(5)),
            Duration::ZERO
        );
        assert_eq!(
            (Time::ZERO + Duration::from_nanos(7)).saturating_since(Time::from_nanos(3)),
            Duration::from_nanos(4)
        );
        assert_eq!(
            Time::from_nanos(3).saturating_sub(Duration::from_secs(1)),
            Time::ZERO
        );
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_never_back() {
        let clock = ManualClock::new();
        let other = clock.clone();
        clock.advance(Duration::from_nanos(10));
        assert_eq!(other.now(), Time::from_nanos(10));
        other.set(Time::from_nanos(4));
        assert_eq!(clock.now(), Time::from_nanos(10));
    }
}
