//! How often, as an exact number, and what happens to what comes more often.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::{Admission, Headers, Refusal, RefusalReason};
use mcpbus_actors::Time;
use std::time::Duration;

/// Units of one token for each unit that a nanosecond brings, before both are divided by what they have in common:
/// rates are whole numbers of millionths of a message per second.
const TOKEN: u64 = 1_000_000_000 * 1_000_000;

/// A rate in messages per second, kept as a fraction of whole numbers, so that no time is long enough for an error to
/// add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units that one message costs.
    pub(super) cost: u64,
    /// Units that a nanosecond brings.
    pub(super) gain: u64,
}

impl Rate {
    /// So many messages per second, from 0.000001 to 1,000,000,000; 2.5 is five in two seconds. Rounded to
    /// millionths.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for NaN and for what lies outside of the bounds.
    pub fn per_second(rate: f64) -> Result<Self, ConfigError> {
        let rate = within("rate", rate, 1e-6, 1e9, "messages per second")?;
        Ok(Self::of_millionths((rate * 1e6).round() as u64))
    }

    fn of_millionths(millionths: u64) -> Self {
        let divisor = common_divisor(TOKEN, millionths);
        Self {
            cost: TOKEN / divisor,
            gain: millionths / divisor,
        }
    }

    /// The rate in messages per second.
    #[must_use]
    pub fn as_per_second(self) -> f64 {
        self.gain as f64 * 1e9 / self.cost as f64
    }

    /// The part of one of `parts` equal parts, for a limit that is divided among shards; at least the smallest rate.
    #[must_use]
    pub fn divided(self, parts: u32) -> Self {
        let millionths = u128::from(self.gain) * u128::from(TOKEN)
            / u128::from(self.cost)
            / u128::from(parts.max(1));
        Self::of_millionths((millionths as u64).max(1))
    }

    /// The time in which so many units come, rounded up to a nanosecond.
    pub(super) fn time_for(self, units: u128) -> Duration {
        let nanoseconds = units.div_ceil(u128::from(self.gain));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// What happens to a message that comes too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenLimited {
    /// It is refused, and its producer learns when to come back.
    Reject,
    /// It waits for its turn, at most this long and not past its deadline; what would wait longer is refused. So the
    /// queue is bounded: by the rate times this time.
    Delay {
        /// The longest wait, up to an hour.
        max: Duration,
    },
    /// It goes to the route's fallback.
    Divert,
}

impl WhenLimited {
    /// The same, if it can be.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a wait of more than an hour or of less than a microsecond.
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        if let Self::Delay { max } = self {
            duration("max_delay", max, 0.001, HOUR)?;
        }
        Ok(self)
    }

    /// The longest wait for a turn.
    pub(super) const fn longest(self) -> Duration {
        match self {
            Self::Delay { max } => max,
            Self::Reject | Self::Divert => Duration::ZERO,
        }
    }

    /// What is said about a message that cannot have its turn soon enough.
    pub(super) const fn otherwise(self, retry_after: Option<Duration>) -> Admission {
        let refusal = Refusal {
            reason: RefusalReason::RateLimited,
            retry_after,
        };
        match self {
            Self::Divert => Admission::Divert(refusal),
            Self::Reject | Self::Delay { .. } => Admission::Refuse(refusal),
        }
    }

    /// Until when a message that is asked about now may wait for its turn.
    pub(super) fn patience(self, headers: &Headers, now: Time) -> Time {
        let longest = now + self.longest();
        match headers.deadline {
            // At its deadline nobody waits for it any more, so its turn comes before.
            Some(deadline) => longest.min(deadline.saturating_sub(Duration::from_nanos(1))),
            None => longest,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rate_is_a_fraction_of_small_whole_numbers() {
        let rate = |rate| Rate::per_second(rate).unwrap();
        assert_eq!((rate(10.0).cost, rate(10.0).gain), (100_000_000, 1));
        assert_eq!((rate(2.5).cost, rate(2.5).gain), (400_000_000, 1));
        assert_eq!((rate(3.0).cost, rate(3.0).gain), (1_000_000_000, 3));
        assert_eq!(rate(10.0).divided(4), rate(2.5));
        assert_eq!(rate(1e-6).divided(4), rate(1e-6));
        assert!((rate(1e9).as_per_second() - 1e9).abs() < 1.0);
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for wrong in [0.0, -10.0, f64::NAN, f64::INFINITY, 1e10] {
            assert!(Rate::per_second(wrong).is_err(), "{wrong}");
        }
        assert!(
            WhenLimited::Delay {
                max: Duration::ZERO
            }
            .checked()
            .is_err()
        );
        assert!(WhenLimited::Delay { max: Duration::MAX }.checked().is_err());
    }
}
