//! Deadlines that survive a restart.
//!
//! The clock of a process starts anew with it, and that of the wall jumps. A deadline is stored as the time that was
//! left and the wall clock of that moment; when it is read, what has passed by the wall is taken off. So it is never
//! later than the wall clock says, and a wall clock that jumped backwards never gives more than was left at storing.

use super::contract::WallClock;
use mcpbus_actors::Time;
use std::time::Duration;

/// The wall clock may be this far ahead of the clock of the process before it is believed: less is rounding, and
/// following it would move deadlines a little with each reading.
const JUMP_NANOS: i64 = 1_000_000;

/// One instant as a store sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// On the clock of the process.
    pub(super) now: Time,
    /// On the calendar of the store, in nanoseconds since 1970.
    pub(super) wall: i64,
}

/// A deadline as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredDeadline {
    /// Wall clock when it was stored, in nanoseconds since 1970.
    pub(super) stored: i64,
    /// How long it had then, in nanoseconds.
    pub(super) left: u64,
}

impl StoredDeadline {
    /// Of a message that is stored now.
    pub(super) fn new(deadline: Time, at: Moment) -> Self {
        Self {
            stored: at.wall,
            left: deadline.as_nanos().saturating_sub(at.now.as_nanos()),
        }
    }

    /// On the clock of the process that reads it now.
    pub(super) fn restore(self, at: Moment) -> Time {
        // A wall clock behind the moment of storing has jumped: then nothing is known to have passed.
        let passed = at.wall.saturating_sub(self.stored).max(0) as u64;
        match self.left.checked_sub(passed) {
            Some(left) => at.now + Duration::from_nanos(left),
            // It passed before now; how long ago matters only within this process, whose clock may have begun since.
            None => at
                .now
                .saturating_sub(Duration::from_nanos(passed - self.left)),
        }
    }
}

/// A wall clock that goes at least as fast as the clock of the process, for one life of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    anchor: Option<(Time, i64)>,
}

impl Calendar {
    /// What the clocks say, read together.
    pub(super) fn at(&mut self, clock: WallClock) -> Moment {
        let wall = self.wall(clock);
        Moment {
            now: clock.now,
            wall,
        }
    }

    fn wall(&mut self, clock: WallClock) -> i64 {
        let wall = clock.unix_micros.saturating_mul(1000);
        let steady = self.anchor.map(|(then, nanos)| {
            let passed = clock.now.as_nanos().saturating_sub(then.as_nanos());
            nanos.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
        });
        match steady {
            Some(steady) if wall.saturating_sub(steady) < JUMP_NANOS => steady,
            _ => {
                self.anchor = Some((clock.now, wall));
                wall
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(seconds: u64, unix_seconds: i64) -> WallClock {
        WallClock {
            now: Time::from_nanos(seconds * 1_000_000_000),
            unix_micros: unix_seconds * 1_000_000,
        }
    }

    fn seconds(seconds: u64) -> Time {
        clock(seconds, 0).now
    }

    /// A deadline 100 s ahead, stored at `stored` and restored at `read`, in the same life or in the next.
    fn restored(stored: WallClock, read: WallClock, same_life: bool) -> Time {
        let mut calendar = Calendar::default();
        let at = calendar.at(stored);
        let deadline = StoredDeadline::new(at.now + Duration::from_secs(100), at);
        if !same_life {
            calendar = Calendar::default();
        }
        deadline.restore(calendar.at(read))
    }

    #[test]
    fn in_one_life_a_deadline_stays_where_it_is() {
        let at = |nanos: u64| WallClock {
            now: Time::from_nanos(nanos),
            unix_micros: 77 + nanos as i64 / 1000,
        };
        for read in [5_001, 5_999, 6_000, 77_777_777] {
            let expected = Time::from_nanos(5_001 + 100_000_000_000);
            assert_eq!(restored(at(5_001), at(read), true), expected, "{read}");
        }
    }

    #[test]
    fn the_time_of_a_restart_is_taken_off() {
        // The process died at 40 s and the next one began 30 s later.
        assert_eq!(
            restored(clock(10, 1000), clock(0, 1060), false),
            seconds(40)
        );
        assert_eq!(
            restored(clock(10, 1000), clock(500, 1100), false),
            seconds(500)
        );
        assert_eq!(
            restored(clock(10, 1000), clock(500, 1160), false),
            seconds(440)
        );
    }

    #[test]
    fn a_wall_clock_that_jumps_back_gives_no_more_time_than_was_left() {
        assert_eq!(
            restored(clock(10, 1000), clock(0, 100), false),
            seconds(100)
        );
        // Within one life the clock of the process shows what has passed.
        assert_eq!(
            restored(clock(10, 1000), clock(50, 100), true),
            seconds(110)
        );
    }

    #[test]
    fn a_wall_clock_that_jumps_ahead_counts() {
        assert_eq!(
            restored(clock(10, 1000), clock(11, 1090), true),
            seconds(21)
        );
        assert_eq!(restored(clock(10, 1000), clock(11, 9999), true), Time::ZERO);
    }
}
