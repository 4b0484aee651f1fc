//! A second copy for those that take unusually long.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::latencies::Latencies;
use super::{Ended, RetryBudget, RetryBudgetConfig};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`Hedge`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeConfig {
    /// A message that takes longer than this share of all, in percent, gets a second copy: 50 to 99.99 (default 95).
    pub percentile: f64,
    /// Second copies for each message, in percent: above 0, up to 50 (default 5).
    pub percentage: f64,
    /// Latencies below which the percentile says nothing, and no copies are sent: 1 to 1,000,000 (default 100).
    pub min_samples: u32,
    /// No copy is sent before this time: 1 ms to an hour (default 1 ms).
    pub min_delay: Duration,
    /// The time that is looked back over: 100 ms to an hour (default 10 s).
    pub window: Duration,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            percentile: 95.0,
            percentage: 5.0,
            min_samples: 100,
            min_delay: Duration::from_millis(1),
            window: Duration::from_secs(10),
        }
    }
}

/// Decides when a message that has no answer yet is sent to a second destination too.
///
/// Only for messages that may be handled twice: requests whose first answer counts. The copy goes when the message has
/// taken longer than most do, so there are few copies; a budget keeps them few when all become slow. Its state is the
/// shard's.
///
/// After Dean and Barroso, "The Tail at Scale", 2013.
#[derive(Clone, Debug)]
pub struct Hedge {
    part: f64,
    min_samples: u64,
    min_delay: Duration,
    latencies: Latencies,
    /// The percentile as it was found last.
    delay: Option<Duration>,
    budget: RetryBudget,
    /// Outcomes until the percentile is looked up again.
    look_in: u32,
}

/// Outcomes between two looks at the percentile, which costs as much as counting many.
const LOOK_EVERY: u32 = 64;

impl Hedge {
    /// One that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: &HedgeConfig) -> Result<Self, ConfigError> {
        within("percentile", config.percentile, 50.0, 99.99, "percent")?;
        within("percentage", config.percentage, 0.001, 50.0, "percent")?;
        within(
            "min_samples",
            f64::from(config.min_samples),
            1.0,
            1e6,
            "latencies",
        )?;
        duration("min_delay", config.min_delay, 1.0, HOUR)?;
        duration("window", config.window, 100.0, HOUR)?;
        Ok(Self {
            part: config.percentile / 100.0,
            min_samples: u64::from(config.min_samples),
            min_delay: config.min_delay,
            latencies: Latencies::new(config.window),
            delay: None,
            budget: RetryBudget::new(&RetryBudgetConfig {
                percentage: config.percentage,
                minimum_per_second: 0.001,
                saved: 10,
            })?,
            look_in: 0,
        })
    }

    /// A message goes out. Gives the time after which a second copy may be asked for with [`copy`](Self::copy); `None` while
    /// too little is known.
    pub fn sent(&mut self) -> Option<Duration> {
        self.budget.deposit();
        self.delay
    }

    /// A message has had no answer for its time. True if its copy may go now; that is paid for. Never at or after its
    /// deadline.
    pub fn copy(&mut self, deadline: Option<Time>, now: Time) -> bool {
        deadline.is_none_or(|deadline| now < deadline) && self.budget.withdraw(now)
    }

    /// The first answer to a message has come; counts if it is a success.
    pub fn ended(&mut self, ended: Ended, now: Time) {
        if ended.class.is_some() {
            return;
        }
        let turned = self.latencies.record(ended.latency, now);
        if self.look_in > 0 && !turned {
            self.look_in -= 1;
            return;
        }
        self.look_in = LOOK_EVERY - 1;
        let enough = self.latencies.count() >= self.min_samples;
        self.delay = enough.then(|| self.latencies.quantile(self.part).max(self.min_delay));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::{ErrorClass, Random};

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn nothing_is_sent_twice_before_enough_is_known() {
        let mut hedge = Hedge::new(&HedgeConfig::default()).unwrap();
        for message in 0..99 {
            assert_eq!(hedge.sent(), None);
            hedge.ended(Ended::success(Duration::from_millis(10)), at(message));
            let failed = Ended::failure(ErrorClass::Timeout, Duration::from_secs(9));
            hedge.ended(failed, at(message));
        }
        for message in 99..200 {
            hedge.ended(Ended::success(Duration::from_millis(10)), at(message));
        }
        let delay = hedge.sent().unwrap();
        assert!(
            delay >= Duration::from_millis(10) && delay <= Duration::from_millis(12),
            "{delay:?}"
        );
    }

    /// Ten thousand messages of 10 ms, of which one in fifty takes a second; the copy takes as long as any message.
    #[test]
    fn the_slowest_become_far_faster_for_a_few_copies() {
        let mut hedge = Hedge::new(&HedgeConfig::default()).unwrap();
        let mut random = Random::new(5);
        let mut latency = || Duration::from_millis(if random.up_to(49) == 0 { 1000 } else { 10 });
        let (mut slow, mut copies) = (0, 0);
        for message in 0..10_000 {
            let (delay, mut took) = (hedge.sent(), latency());
            if let Some(delay) = delay
                && took > delay
                && hedge.copy(None, at(message) + delay)
            {
                copies += 1;
                took = took.min(delay + latency());
            }
            hedge.ended(Ended::success(took), at(message) + took);
            slow += u32::from(took > Duration::from_millis(100));
        }
        assert!(copies <= 500, "{copies} copies");
        assert!(
            slow <= 20,
            "{slow} of 10,000 took long, without copies 200 do"
        );
    }

    #[test]
    fn when_all_become_slow_the_budget_holds() {
        let mut hedge = Hedge::new(&HedgeConfig::default()).unwrap();
        for message in 0..1000 {
            hedge.sent();
            hedge.ended(Ended::success(Duration::from_millis(10)), at(message));
        }
        let copies = (1000..11_000)
            .filter(|message| hedge.sent().is_some() && hedge.copy(None, at(*message)))
            .count();
        assert!((450..=510).contains(&copies), "{copies}");
        (0..1000).for_each(|_| {
            hedge.sent();
        });
        assert!(
            !hedge.copy(Some(at(20_000)), at(20_000)),
            "nobody waits any more"
        );
        assert!(hedge.copy(Some(at(20_001)), at(20_000)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ok = HedgeConfig::default();
        for wrong in [
            HedgeConfig {
                percentile: 49.0,
                ..ok
            },
            HedgeConfig {
                percentage: f64::NAN,
                ..ok
            },
            HedgeConfig {
                min_samples: 0,
                ..ok
            },
            HedgeConfig {
                min_delay: Duration::ZERO,
                ..ok
            },
            HedgeConfig {
                window: Duration::ZERO,
                ..ok
            },
        ] {
            assert!(Hedge::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
