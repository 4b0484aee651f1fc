//! How much more retries may make of what is sent.

use crate::resilience::config_error::{ConfigError, within};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`RetryBudget`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries for each message, in percent: above 0, up to 100 (default 10).
    pub percentage: f64,
    /// Retries per second that are always allowed, so that little traffic is retried too: 0.001 to 1,000,000 (default
    /// 1). They are not added to the share: the larger of the two counts.
    pub minimum_per_second: f64,
    /// Retries that may be saved up: 1 to 1,000,000 (default 10). They may come at once.
    pub saved: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            percentage: 10.0,
            minimum_per_second: 1.0,
            saved: 10,
        }
    }
}

/// Parts of one retry in which shares are counted.
const RETRY: u64 = 1 << 32;

/// How many more messages retries may make of what is sent: a share of the messages, at least a few per second.
///
/// Each message pays in its share, less a 64th; a retry costs 1. So when everything fails, what was saved before
/// included, retries are at most the share of the messages as soon as those are `64 * saved / share`
/// (6,400 by default), or `minimum_per_second` if that is more. Its state is the shard's.
///
/// The idea is that of Finagle's `RetryBudget`.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    share: u64,
    saved: u64,
    balance: u64,
    /// With no retry for so long, one is allowed.
    longest_pause: Duration,
    allowed_at: Time,
}

impl RetryBudget {
    /// A budget into which nothing was paid yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] where a number cannot be.
    pub fn new(config: &RetryBudgetConfig) -> Result<Self, ConfigError> {
        let share = within("percentage", config.percentage, 0.001, 100.0, "percent")?;
        let minimum = within(
            "minimum_per_second",
            config.minimum_per_second,
            0.001,
            1e6,
            "retries per second",
        )?;
        within("saved", f64::from(config.saved), 1.0, 1e6, "retries")?;
        Ok(Self {
            share: (share / 100.0 * 63.0 / 64.0 * RETRY as f64) as u64,
            saved: u64::from(config.saved) * RETRY,
            balance: 0,
            longest_pause: Duration::from_secs_f64(1.0 / minimum),
            allowed_at: Time::ZERO,
        })
    }

    /// A message is sent for the first time.
    #[inline]
    pub fn deposit(&mut self) {
        self.balance = (self.balance + self.share).min(self.saved);
    }

    /// Pays for one retry if there is enough.
    pub fn withdraw(&mut self, now: Time) -> bool {
        if self.balance >= RETRY {
            self.balance -= RETRY;
        } else if now < self.allowed_at {
            return false;
        }
        // Whoever paid for it: the larger of share and minimum counts, not the sum.
        self.allowed_at = now + self.longest_pause;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    proptest! {
        /// The plain model: fractions, and the time of the last retry.
        #[test]
        fn the_budget_is_the_larger_of_share_and_minimum(
            steps in proptest::collection::vec((any::<bool>(), 1u32..20, 0u64..1500), 1..300),
        ) {
            let mut budget = RetryBudget::new(&RetryBudgetConfig::default()).unwrap();
            let (mut balance, mut last, mut now) = (0.0f64, None::<u64>, 0);
            for (deposit, times, pause) in steps {
                now += pause;
                for _ in 0..times {
                    if deposit {
                        budget.deposit();
                        balance = (balance + 0.1 * 63.0 / 64.0).min(10.0);
                        continue;
                    }
                    prop_assume!((balance - 1.0).abs() > 1e-6);
                    let expected = balance > 1.0 || last.is_none_or(|last| now >= last + 1000);
                    prop_assert_eq!(budget.withdraw(at(now)), expected);
                    if expected {
                        balance = if balance > 1.0 { balance - 1.0 } else { balance };
                        last = Some(now);
                    }
                }
            }
        }
    }
}
