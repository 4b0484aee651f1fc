//! A bound on what is in flight at a destination that finds itself.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::{Ended, ErrorClass, Permit, Refusal, RefusalReason, RouteGuard};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of an [`Adaptive`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// The limit at the start: between the least and the most (default 20 messages).
    pub initial: u32,
    /// The least: 1 to 1,000,000 (default 4).
    pub least: u32,
    /// The most: 1 to 1,000,000 (default 1,000).
    pub most: u32,
    /// How much longer than without load a message may take before the limit falls: 1 to 10 (default 1.5).
    pub tolerance: f64,
    /// How much of what is found at the end of a window is taken over: above 0, up to 1 (default 0.2).
    pub smoothing: f64,
    /// Over which time latencies are averaged: 1 ms to an hour (default 100 ms). A window has at least ten of them.
    pub window: Duration,
    /// How often the latency without load is measured again: 100 ms to an hour (default 30 s).
    pub measure_every: Duration,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            initial: 20,
            least: 4,
            most: 1000,
            tolerance: 1.5,
            smoothing: 0.2,
            window: Duration::from_millis(100),
            measure_every: Duration::from_secs(30),
        }
    }
}

impl AdaptiveConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("least", f64::from(self.least), 1.0, 1e6, "messages")?;
        within("most", f64::from(self.most), 1.0, 1e6, "messages")?;
        if self.least > self.most {
            return Err(ConfigError::Contradiction {
                larger: "least",
                smaller: "most",
                advice: "there is no limit between them; raise the most",
            });
        }
        let (least, most) = (f64::from(self.least), f64::from(self.most));
        within("initial", f64::from(self.initial), least, most, "messages")?;
        within(
            "tolerance",
            self.tolerance,
            1.0,
            10.0,
            "times the latency without load",
        )?;
        within("smoothing", self.smoothing, 0.01, 1.0, "of the change")?;
        duration("window", self.window, 1.0, HOUR)?;
        duration("measure_every", self.measure_every, 100.0, HOUR)?;
        Ok(())
    }
}

/// Latencies that a window has at least, and that a measurement of the base has.
const SAMPLES: u32 = 10;
/// Measurements after which their numbers begin anew: a permit of one has long been settled by then.
pub(super) const PERIODS: u64 = 1 << 24;
/// What a limit falls to when messages timed out or were refused for overload.
const BACK_OFF: f64 = 0.9;

/// Adaptive concurrency for one destination.
///
/// First, and then each `measure_every`, the *base* is measured: the mean latency of ten messages while no more than the
/// least are in flight, so that none waits for another. At the end of each window its mean latency is compared with the
/// base. While the ratio stays within the tolerance the limit grows by its square root: that is the queue it allows
/// itself. Above, it falls with the ratio, at most to a half. A window with timeouts or refusals for overload takes a
/// tenth off. While less than half of the limit is used nothing is learned and it stays.
///
/// The step is that of Gradient2 in Netflix's concurrency-limits; measuring the base is Envoy's, because the slow average
/// that Gradient2 compares with rises with the queue that the limit itself makes. Its state is the shard's.
#[derive(Clone, Debug)]
pub struct Adaptive {
    config: AdaptiveConfig,
    limit: f64,
    in_flight: u32,
    /// Mean latency in nanoseconds of messages that wait for no other.
    base: f64,
    measuring: bool,
    measure_at: Time,
    /// Rises with each measurement: messages of the time before say nothing about it.
    period: u64,
    window_ends: Option<Time>,
    sum: f64,
    count: u32,
    /// Most in flight within the window.
    peak: u32,
    overloaded: bool,
}

impl Adaptive {
    /// One that begins by measuring, and then has the initial limit.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: AdaptiveConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            limit: f64::from(config.initial),
            in_flight: 0,
            base: 0.0,
            measuring: true,
            measure_at: Time::ZERO,
            period: 0,
            window_ends: None,
            sum: 0.0,
            count: 0,
            peak: 0,
            overloaded: false,
        })
    }

    /// Messages that may be in flight at present.
    #[must_use]
    #[inline]
    pub fn limit(&self) -> u32 {
        if self.measuring {
            self.config.least
        } else {
            self.limit as u32
        }
    }

    #[cold]
    fn end_window(&mut self, now: Time) {
        let (least, most) = (f64::from(self.config.least), f64::from(self.config.most));
        let latency = self.sum / f64::from(self.count.max(1));
        if self.measuring {
            self.base = latency;
            self.measuring = false;
            self.measure_at = now + self.config.measure_every;
        } else if self.overloaded {
            self.limit = (self.limit * BACK_OFF).max(least);
        } else if f64::from(self.peak) * 2.0 >= self.limit && latency > 0.0 {
            let gradient = (self.config.tolerance * self.base / latency).clamp(0.5, 1.0);
            let found = self.limit * gradient + self.limit.sqrt();
            let smoothing = self.config.smoothing;
            self.limit = (self.limit * (1.0 - smoothing) + found * smoothing).clamp(least, most);
        }
        if !self.measuring && now >= self.measure_at {
            self.measuring = true;
            self.period = (self.period + 1) % PERIODS;
        }
        (self.sum, self.count, self.overloaded) = (0.0, 0, false);
        self.peak = self.in_flight;
        self.window_ends = None;
    }
}

impl RouteGuard for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    #[inline]
    fn check(&self, _now: Time) -> Result<(), Refusal> {
        if self.in_flight < self.limit() {
            Ok(())
        } else {
            Err(Refusal::new(RefusalReason::Overloaded))
        }
    }

    #[inline]
    fn admit(&mut self, now: Time) -> Result<Permit, Refusal> {
        self.check(now)?;
        self.in_flight += 1;
        Ok(Permit(self.period))
    }

    #[inline]
    fn ended(&mut self, permit: Permit, ended: Ended, now: Time) {
        self.peak = self.peak.max(self.in_flight);
        let current = permit.0 == self.period;
        self.give_back(permit, now);
        // The base is of messages that began with the measurement and did well.
        if self.measuring && (!current || ended.class.is_some()) {
            return;
        }
        match ended.class {
            None => {
                self.sum += ended.latency.as_nanos() as f64;
                self.count += 1;
            }
            Some(ErrorClass::Timeout | ErrorClass::Overloaded) => {
                self.overloaded = true;
                self.count += 1;
                self.sum += ended.latency.as_nanos() as f64;
            }
            // How long it takes to fail otherwise says nothing about the load.
            Some(_) => return,
        }
        let ends = *self.window_ends.get_or_insert(now + self.config.window);
        if self.count >= SAMPLES && (self.measuring || now >= ends) {
            self.end_window(now);
        }
    }

    #[inline]
    fn give_back(&mut self, _permit: Permit, _now: Time) {
        debug_assert!(self.in_flight > 0, "a permit was settled twice");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn in_flight(&self) -> u64 {
        u64::from(self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::laws;
    use proptest::prelude::*;

    fn adaptive() -> Adaptive {
        Adaptive::new(AdaptiveConfig::default()).unwrap()
    }

    /// A destination that does `width` messages at a time in 10 ms each, kept as full as the limit allows for `seconds`.
    /// Messages are answered in their order.
    fn drive(guard: &mut Adaptive, width: usize, start: Time, seconds: u64) -> Time {
        let work = Duration::from_millis(10);
        let mut lines = vec![start; width];
        let mut flying = std::collections::VecDeque::new();
        let mut now = start;
        while now < start + Duration::from_secs(seconds) {
            while let Ok(permit) = guard.admit(now) {
                let line = lines.iter_mut().min().unwrap();
                *line = (*line).max(now) + work;
                flying.push_back((*line, now, permit));
            }
            let (then, since, permit) = flying.pop_front().unwrap();
            now = now.max(then);
            guard.ended(permit, Ended::success(then.saturating_since(since)), now);
        }
        for (then, since, permit) in flying {
            now = now.max(then);
            guard.ended(permit, Ended::success(then.saturating_since(since)), now);
        }
        now
    }

    #[test]
    fn the_limit_grows_to_what_the_destination_can_do_and_not_far_beyond() {
        for seconds in [10, 70] {
            let mut guard = adaptive();
            drive(&mut guard, 100, Time::ZERO, seconds);
            assert!((100.0..=200.0).contains(&guard.limit), "{}", guard.limit);
        }
    }

    #[test]
    fn a_destination_that_gets_slower_gets_less() {
        let mut guard = adaptive();
        let now = drive(&mut guard, 100, Time::ZERO, 10);
        let before = guard.limit();
        drive(&mut guard, 20, now, 2);
        assert!(guard.limit() * 2 < before, "{before} -> {}", guard.limit());
    }

    #[test]
    fn timeouts_take_a_tenth_off_each_window_and_the_least_remains() {
        let mut guard = adaptive();
        let mut now = drive(&mut guard, 100, Time::ZERO, 5);
        for window in 0..60 {
            let before = guard.limit;
            for _ in 0..11 {
                now += Duration::from_millis(10);
                let permit = guard.admit(now).unwrap();
                let class = ErrorClass::Timeout;
                guard.ended(permit, Ended::failure(class, Duration::from_millis(5)), now);
            }
            assert!(
                guard.limit == (before * 0.9).max(4.0),
                "window {window}: {}",
                guard.limit
            );
        }
        assert_eq!(guard.limit(), 4);
    }

    #[test]
    fn an_idle_destination_teaches_nothing() {
        let mut guard = adaptive();
        let mut now = Time::ZERO;
        for _ in 0..1000 {
            now += Duration::from_millis(50);
            let permit = guard.admit(now).unwrap();
            guard.ended(permit, Ended::success(Duration::from_millis(1)), now);
        }
        assert_eq!(guard.limit(), 20);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ok = AdaptiveConfig::default();
        for wrong in [
            AdaptiveConfig { least: 0, ..ok },
            AdaptiveConfig { initial: 3, ..ok },
            AdaptiveConfig { most: 3, ..ok },
            AdaptiveConfig {
                tolerance: 0.5,
                ..ok
            },
            AdaptiveConfig {
                smoothing: f64::NAN,
                ..ok
            },
            AdaptiveConfig {
                window: Duration::ZERO,
                ..ok
            },
        ] {
            assert!(Adaptive::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn it_keeps_the_laws() {
        laws::check_route_guard(|| Box::new(adaptive()));
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds_and_is_never_exceeded(
            steps in proptest::collection::vec((0u64..20, any::<bool>(), 0u64..1_000_000_000, 0u8..4), 1..500),
        ) {
            let mut guard = adaptive();
            let (mut now, mut flying) = (Time::ZERO, Vec::new());
            for (step, admit, latency, kind) in steps {
                now += Duration::from_millis(step);
                if admit {
                    let fits = flying.len() < guard.limit() as usize;
                    let answer = guard.admit(now);
                    prop_assert_eq!(answer.is_ok(), fits);
                    flying.extend(answer);
                } else if let Some(permit) = flying.pop() {
                    let latency = Duration::from_nanos(latency);
                    let ended = match kind {
                        0 => Ended::failure(ErrorClass::Timeout, latency),
                        1 => Ended::failure(ErrorClass::Validation, latency),
                        _ => Ended::success(latency),
                    };
                    guard.ended(permit, ended, now);
                }
                prop_assert!((4..=1000).contains(&guard.limit()));
                prop_assert_eq!(guard.in_flight(), flying.len() as u64);
            }
        }
    }
}
