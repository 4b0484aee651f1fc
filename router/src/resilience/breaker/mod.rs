//! A destination that fails too often gets a pause.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::random::scale;
use super::window::Window;
use super::{Ended, Permit, Random, Refusal, RefusalReason, RouteGuard};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`Breaker`], with Hystrix's names and defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Outcomes within the rolling window below which it never opens: 1 to 1,000,000 (default 20).
    pub request_volume_threshold: u32,
    /// Share of failures, in percent, at which it opens: above 0, up to 100 (default 50).
    pub error_threshold_percentage: f64,
    /// How long it stays open before a trial: 1 ms to an hour (default 5 s).
    pub sleep_window: Duration,
    /// Up to which share of the sleep window, in percent, is added to it by chance, so that many nodes do not try at the
    /// same moment: 0 to 100 (default 10).
    pub sleep_window_jitter_percentage: f64,
    /// The time that is looked back over, in ten buckets: 10 ms to an hour (default 10 s).
    pub rolling_window: Duration,
    /// From which latency on a call counts as slow; `None`: none does (default).
    pub slow_call_duration: Option<Duration>,
    /// Share of slow calls, in percent, at which it opens: above 0, up to 100 (default 100).
    pub slow_call_rate_percentage: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            request_volume_threshold: 20,
            error_threshold_percentage: 50.0,
            sleep_window: Duration::from_millis(5000),
            sleep_window_jitter_percentage: 10.0,
            rolling_window: Duration::from_secs(10),
            slow_call_duration: None,
            slow_call_rate_percentage: 100.0,
        }
    }
}

/// Changes of state after which periods are numbered anew: a permit of one has long been settled by then.
pub(super) const PERIODS: u64 = 1 << 40;

/// Parts of a whole in which percentages are compared, so that the comparison is exact.
const PARTS: f64 = 10_000.0;

/// What is compared in whole numbers.
#[derive(Clone, Copy, Debug)]
struct Limits {
    volume: u64,
    failed: u64,
    slow: u64,
    slow_from: u64,
    sleep: Duration,
    jitter: u64,
}

impl BreakerConfig {
    fn limits(&self) -> Result<Limits, ConfigError> {
        let percent = |field, given: f64, least| -> Result<u64, ConfigError> {
            let given = within(field, given, least, 100.0, "percent")?;
            Ok((given * PARTS / 100.0).round() as u64)
        };
        let volume = within(
            "request_volume_threshold",
            f64::from(self.request_volume_threshold),
            1.0,
            1e6,
            "calls",
        )?;
        duration("rolling_window", self.rolling_window, 10.0, HOUR)?;
        let sleep = duration("sleep_window", self.sleep_window, 1.0, HOUR)?;
        let jitter = percent(
            "sleep_window_jitter_percentage",
            self.sleep_window_jitter_percentage,
            0.0,
        )?;
        Ok(Limits {
            volume: volume as u64,
            failed: percent(
                "error_threshold_percentage",
                self.error_threshold_percentage,
                0.01,
            )?,
            slow: percent(
                "slow_call_rate_percentage",
                self.slow_call_rate_percentage,
                0.01,
            )?,
            slow_from: match self.slow_call_duration {
                Some(slow) => duration("slow_call_duration", slow, 0.001, HOUR)?,
                None => u64::MAX,
            },
            sleep: self.sleep_window,
            jitter: (u128::from(sleep) * u128::from(jitter) / PARTS as u128) as u64,
        })
    }
}

/// What a [`Breaker`] does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Messages pass, outcomes are counted.
    Closed,
    /// Nothing passes until this time; then one message may try.
    Open {
        /// When the sleep window ends.
        until: Time,
    },
    /// One message is trying; its outcome decides.
    HalfOpen {
        /// When a trial without an outcome counts as failed.
        until: Time,
    },
}

impl BreakerState {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// The circuit breaker of one destination, after Netflix's Hystrix.
///
/// *Closed*: the outcomes of the rolling window are counted, in ten buckets. When there are at least
/// `request_volume_threshold` of them and at least `error_threshold_percentage` failed, it opens; likewise for
/// slow ones, after resilience4j. Errors that say nothing about the destination ([`ErrorClass::counts`]) are not counted.
/// *Open*: nothing passes for the sleep window and its jitter. *Half open*: then one message goes as a trial. Success closes
/// the breaker and forgets the window; failure opens it for another sleep window; an outcome that is not counted, or a
/// permit given back, lets the next message try. A trial without an outcome for a sleep window has failed.
///
/// A permit names the period in which it was given. Outcomes of calls from another period are not counted: those from
/// before the opening say nothing about now. Its state is the shard's.
///
/// [`ErrorClass::counts`]: super::ErrorClass::counts
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    state: BreakerState,
    /// Rises with each change of state and each trial.
    period: u64,
    in_flight: u64,
    window: Window,
    random: Random,
    opened: u64,
    /// Whether the end of the sleep window was already told.
    told: bool,
}

impl Breaker {
    /// A closed one. `seed` is for the jitter.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: &BreakerConfig, seed: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            limits: config.limits()?,
            state: BreakerState::Closed,
            period: 0,
            in_flight: 0,
            window: Window::new(config.rolling_window),
            random: Random::new(seed),
            opened: 0,
            told: false,
        })
    }

    /// What it does at `now`.
    #[must_use]
    pub fn state(&self, now: Time) -> BreakerState {
        match self.state {
            // A trial that never ended has failed at its time; its sleep window begins there.
            BreakerState::HalfOpen { until } if until <= now => BreakerState::Open {
                until: until + self.limits.sleep,
            },
            state => state,
        }
    }

    /// How often it opened.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.told = false;
        self.period = (self.period + 1) % PERIODS;
    }

    fn open(&mut self, now: Time) {
        let jitter = Duration::from_nanos(scale(self.random.next_u64(), self.limits.jitter));
        self.opened += 1;
        self.change(BreakerState::Open {
            until: now + self.limits.sleep + jitter,
        });
    }

    /// Carries out what time alone has decided.
    fn settle_time(&mut self, now: Time) {
        let state = self.state(now);
        if state != self.state {
            self.opened += 1;
            self.change(state);
        }
    }
}

fn refused(until: Time, now: Time) -> Refusal {
    Refusal::after(RefusalReason::CircuitOpen, until.saturating_since(now))
}

impl RouteGuard for Breaker {
    fn name(&self) -> &'static str {
        "breaker"
    }

    fn check(&self, now: Time) -> Result<(), Refusal> {
        match self.state(now) {
            BreakerState::Closed => Ok(()),
            BreakerState::Open { until } if until <= now => Ok(()),
            BreakerState::Open { until } => Err(refused(until, now)),
            // How the trial ends, and when, nobody knows.
            BreakerState::HalfOpen { .. } => Err(Refusal::new(RefusalReason::CircuitOpen)),
        }
    }

    #[inline]
    fn admit(&mut self, now: Time) -> Result<Permit, Refusal> {
        if self.state != BreakerState::Closed {
            self.settle_time(now);
            self.check(now)?;
            self.change(BreakerState::HalfOpen {
                until: now + self.limits.sleep,
            });
        }
        self.in_flight += 1;
        Ok(Permit(self.period))
    }

    #[inline]
    fn ended(&mut self, permit: Permit, ended: Ended, now: Time) {
        debug_assert!(self.in_flight > 0, "a permit was settled twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.settle_time(now);
        if permit.0 != self.period {
            return;
        }
        let slow = super::config_error::nanoseconds(ended.latency) >= self.limits.slow_from;
        match (self.state, ended.counts_as_failure()) {
            (BreakerState::Closed, Some(failed)) => {
                let sums = self.window.record(failed, slow, now);
                let parts = PARTS as u64;
                if sums.all >= self.limits.volume
                    && (sums.failed * parts >= self.limits.failed * sums.all
                        || sums.slow * parts >= self.limits.slow * sums.all)
                {
                    self.open(now);
                }
            }
            (BreakerState::HalfOpen { .. }, Some(failed)) => {
                if failed || slow {
                    self.open(now);
                } else {
                    self.window.clear(now);
                    self.change(BreakerState::Closed);
                }
            }
            (BreakerState::HalfOpen { .. }, None) => self.change(BreakerState::Open { until: now }),
            (BreakerState::Closed, None) | (BreakerState::Open { .. }, _) => {}
        }
    }

    fn give_back(&mut self, permit: Permit, now: Time) {
        debug_assert!(self.in_flight > 0, "a permit was settled twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.settle_time(now);
        if permit.0 == self.period && matches!(self.state, BreakerState::HalfOpen { .. }) {
            self.change(BreakerState::Open { until: now });
        }
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn next_timeout(&self) -> Option<Time> {
        match self.state {
            BreakerState::Closed => None,
            // A message may try: which, and when, is not the breaker's.
            BreakerState::Open { .. } if self.told => None,
            BreakerState::Open { until } | BreakerState::HalfOpen { until } => Some(until),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.settle_time(now);
        if matches!(self.state, BreakerState::Open { until } if until <= now) {
            self.told = true;
        }
    }
}

#[cfg(test)]
mod tests;
