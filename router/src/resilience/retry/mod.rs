//! Whether, where and when a failed message is tried again.

mod budget;

pub use self::budget::{RetryBudget, RetryBudgetConfig};

use super::config_error::{ConfigError, HOUR, duration, nanoseconds, within};
use super::random::scale;
use super::{ErrorClass, Repeat};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`Retry`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Attempts of one message, the first included: 1 to 100 (default 5).
    pub max_attempts: u32,
    /// The longest pause before the second attempt; it doubles with each: 1 ms to an hour (default 100 ms).
    pub base_pause: Duration,
    /// The longest pause of all: not below the base, up to an hour (default 30 s).
    pub max_pause: Duration,
    /// How many retries there may be.
    pub budget: RetryBudgetConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(30),
            budget: RetryBudgetConfig::default(),
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Which one, from 1.
    pub attempt: u32,
    /// How it failed.
    pub class: ErrorClass,
    /// When nobody waits for the message any more.
    pub deadline: Option<Time>,
    /// Whether the message may go to another destination, and one is ready that it has not been to.
    pub another_ready: bool,
    /// After which time it is worth coming back, where the destination said so.
    pub retry_after: Option<Duration>,
}

/// What happens after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// At another destination, at once.
    Elsewhere,
    /// At the same destination, at this time.
    Again {
        /// Later than now, before the deadline.
        at: Time,
    },
    /// Not again.
    GiveUp(GiveUp),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Another attempt cannot help: the table of classes says so.
    Class,
    /// It was tried as often as allowed.
    Attempts,
    /// The next attempt would come after the deadline.
    Deadline,
    /// Too many messages are being tried again already.
    Budget,
}

impl GiveUp {
    /// The stable name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// Decides about retries for one route. Its state, the budget, is the shard's.
///
/// The pause is chosen by chance between nothing and a bound that doubles with each attempt up to a cap ("full jitter",
/// Brooker, Amazon 2015), so that those that failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Retry {
    max_attempts: u32,
    base: u64,
    cap: u64,
    budget: RetryBudget,
}

impl Retry {
    /// With these settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: &RetryConfig) -> Result<Self, ConfigError> {
        within(
            "max_attempts",
            f64::from(config.max_attempts),
            1.0,
            100.0,
            "attempts",
        )?;
        let base = duration("base_pause", config.base_pause, 1.0, HOUR)?;
        let cap = duration("max_pause", config.max_pause, 1.0, HOUR)?;
        if base > cap {
            return Err(ConfigError::Contradiction {
                larger: "base_pause",
                smaller: "max_pause",
                advice: "the first pause cannot be longer than the longest; raise max_pause",
            });
        }
        Ok(Self {
            max_attempts: config.max_attempts,
            base,
            cap,
            budget: RetryBudget::new(&config.budget)?,
        })
    }

    /// A message is sent for the first time: it pays its share into the budget.
    #[inline]
    pub fn first_attempt(&mut self) {
        self.budget.deposit();
    }

    /// Decides about a failed attempt, with a random number of the caller's. `Elsewhere` and `Again` are paid for.
    pub fn decide(&mut self, failed: &FailedAttempt, random: u64, now: Time) -> RetryDecision {
        if failed.class.handling().repeat == Repeat::Never {
            return RetryDecision::GiveUp(GiveUp::Class);
        }
        if failed.attempt >= self.max_attempts {
            return RetryDecision::GiveUp(GiveUp::Attempts);
        }
        let at = if failed.another_ready {
            now
        } else {
            let asked = failed
                .retry_after
                .map_or(1, |after| nanoseconds(after).max(1));
            now + Duration::from_nanos(scale(random, self.bound(failed.attempt)).max(asked))
        };
        if failed.deadline.is_some_and(|deadline| at >= deadline) {
            return RetryDecision::GiveUp(GiveUp::Deadline);
        }
        if !self.budget.withdraw(now) {
            return RetryDecision::GiveUp(GiveUp::Budget);
        }
        if failed.another_ready {
            RetryDecision::Elsewhere
        } else {
            RetryDecision::Again { at }
        }
    }

    /// The longest pause after this attempt, in nanoseconds.
    fn bound(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(40);
        // An hour of nanoseconds has 42 bits: the product fits into 128.
        (u128::from(self.base) << doublings).min(u128::from(self.cap)) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::Random;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn failed(class: ErrorClass) -> FailedAttempt {
        FailedAttempt {
            attempt: 1,
            class,
            deadline: None,
            another_ready: false,
            retry_after: None,
        }
    }

    /// A retry whose budget is not what is tested.
    fn rich() -> Retry {
        let budget = RetryBudgetConfig {
            percentage: 100.0,
            saved: 1_000_000,
            ..RetryBudgetConfig::default()
        };
        let config = RetryConfig {
            budget,
            ..RetryConfig::default()
        };
        let mut retry = Retry::new(&config).unwrap();
        (0..100_000).for_each(|_| retry.first_attempt());
        retry
    }

    /// Attempts for each message in 60 s in which every attempt fails, after 60 s in which all went well.
    fn amplification(per_second: u64, config: RetryConfig) -> f64 {
        let mut retry = Retry::new(&config).unwrap();
        let mut random = Random::new(3);
        // Attempts by the time at which they are made; each fails at once.
        let mut due = std::collections::BinaryHeap::new();
        let (mut attempts, messages) = (0_u64, 60 * per_second);
        for message in 0..2 * messages {
            let now = Time::from_nanos(message * 1_000_000_000 / per_second);
            while let Some(std::cmp::Reverse((at, attempt))) = due.pop() {
                if at > now {
                    due.push(std::cmp::Reverse((at, attempt)));
                    break;
                }
                attempts += 1;
                let failure = FailedAttempt {
                    attempt,
                    ..failed(ErrorClass::Unavailable)
                };
                let decision = retry.decide(&failure, random.next_u64(), at);
                if let RetryDecision::Again { at } = decision {
                    due.push(std::cmp::Reverse((at, attempt + 1)));
                }
            }
            retry.first_attempt();
            if message >= messages {
                due.push(std::cmp::Reverse((now, 1)));
            }
        }
        // What is due after the end was paid for before it.
        (attempts + due.len() as u64) as f64 / messages as f64
    }

    #[test]
    fn sixty_seconds_of_total_failure_make_at_most_a_tenth_more() {
        for per_second in [200, 1000, 5000] {
            let factor = amplification(per_second, RetryConfig::default());
            assert!(factor <= 1.1, "{per_second} per second: {factor}");
            assert!(
                factor >= 1.09,
                "{per_second} per second: the budget is not used: {factor}"
            );
        }
    }

    #[test]
    fn little_traffic_is_retried_too() {
        let factor = amplification(2, RetryConfig::default());
        assert!(
            (1.4..=1.6).contains(&factor),
            "one retry a second: {factor}"
        );
    }

    #[test]
    fn only_what_the_table_says_is_tried_again() {
        let mut retry = rich();
        for class in ErrorClass::ALL {
            let decision = retry.decide(&failed(class), 0, at(0));
            if class.may_repeat() {
                assert!(matches!(decision, RetryDecision::Again { .. }), "{class}");
            } else {
                assert_eq!(decision, RetryDecision::GiveUp(GiveUp::Class), "{class}");
            }
        }
    }

    #[test]
    fn never_after_the_deadline_and_it_costs_nothing_to_be_told_so() {
        let mut retry = Retry::new(&RetryConfig::default()).unwrap();
        (0..11).for_each(|_| retry.first_attempt());
        let late = FailedAttempt {
            deadline: Some(at(50)),
            retry_after: Some(Duration::from_millis(50)),
            ..failed(ErrorClass::Timeout)
        };
        for _ in 0..100 {
            assert_eq!(
                retry.decide(&late, 0, at(0)),
                RetryDecision::GiveUp(GiveUp::Deadline)
            );
        }
        let just = FailedAttempt {
            deadline: Some(at(51)),
            ..late
        };
        assert_eq!(
            retry.decide(&just, 0, at(0)),
            RetryDecision::Again { at: at(50) }
        );
    }

    #[test]
    fn another_destination_is_tried_first_and_at_once() {
        let elsewhere = FailedAttempt {
            another_ready: true,
            deadline: Some(at(1)),
            retry_after: Some(Duration::from_secs(9)),
            ..failed(ErrorClass::Overloaded)
        };
        assert_eq!(
            rich().decide(&elsewhere, u64::MAX, at(0)),
            RetryDecision::Elsewhere
        );
    }

    #[test]
    fn the_fifth_attempt_is_the_last() {
        let mut retry = rich();
        let mut attempt = failed(ErrorClass::Timeout);
        attempt.attempt = 4;
        assert!(matches!(
            retry.decide(&attempt, 0, at(0)),
            RetryDecision::Again { .. }
        ));
        attempt.attempt = 5;
        assert_eq!(
            retry.decide(&attempt, 0, at(0)),
            RetryDecision::GiveUp(GiveUp::Attempts)
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ok = RetryConfig::default();
        let budget = RetryBudgetConfig::default();
        for wrong in [
            RetryConfig {
                max_attempts: 0,
                ..ok
            },
            RetryConfig {
                base_pause: Duration::ZERO,
                ..ok
            },
            RetryConfig {
                max_pause: Duration::from_millis(99),
                ..ok
            },
            RetryConfig {
                budget: RetryBudgetConfig {
                    percentage: f64::NAN,
                    ..budget
                },
                ..ok
            },
            RetryConfig {
                budget: RetryBudgetConfig {
                    minimum_per_second: -1.0,
                    ..budget
                },
                ..ok
            },
            RetryConfig {
                budget: RetryBudgetConfig { saved: 0, ..budget },
                ..ok
            },
        ] {
            assert!(Retry::new(&wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn pauses_lie_within_their_bound_and_doubling_ends_at_the_cap(
            attempt in 1u32..99, random in any::<u64>(), start in 0u64..1_000_000,
        ) {
            let mut retry = Retry { max_attempts: 100, ..rich() };
            let attempt = FailedAttempt { attempt, ..failed(ErrorClass::Timeout) };
            let RetryDecision::Again { at: then } = retry.decide(&attempt, random, at(start)) else {
                return Err(TestCaseError::fail("it was given up"));
            };
            let bound = 100.0 * 2f64.powi(attempt.attempt as i32 - 1);
            let pause = then.saturating_since(at(start)).as_secs_f64() * 1000.0;
            prop_assert!(then > at(start) && pause <= bound.min(30_000.0), "{} > {}", pause, bound);
        }
    }
}
