//! So many messages per second, and some at once.

use super::config_error::{ConfigError, within};
use super::{Admission, Headers, MessageGuard, Rate, WhenLimited};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`TokenBucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucketConfig {
    pub(super) rate: Rate,
    pub(super) burst: u32,
    pub(super) when_limited: WhenLimited,
}

impl TokenBucketConfig {
    /// `rate` messages per second (0.000001 to 1,000,000,000), and up to `burst` (1 to 1,000,000,000) at once after a
    /// pause.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] where a number cannot be.
    pub fn new(rate: f64, burst: u32, when_limited: WhenLimited) -> Result<Self, ConfigError> {
        let rate = Rate::per_second(rate)?;
        within("burst", f64::from(burst), 1.0, 1e9, "messages")?;
        Ok(Self {
            rate,
            burst,
            when_limited: when_limited.checked()?,
        })
    }

    /// Whether messages that are too early wait for their turn.
    #[must_use]
    pub const fn delays(&self) -> bool {
        matches!(self.when_limited, WhenLimited::Delay { .. })
    }

    /// The part of one of `parts` shards: the rate is divided exactly, the burst with at least 1 for each.
    #[must_use]
    pub fn divided(self, parts: u32) -> Self {
        Self {
            rate: self.rate.divided(parts),
            burst: (self.burst / parts.max(1)).max(1),
            ..self
        }
    }
}

/// What a bucket holds. Apart from its configuration, so that thousands of buckets share one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Units in the bucket; below 0 while messages wait for their turn.
    units: i128,
    /// When that was so.
    at: Time,
}

impl Level {
    /// A full bucket.
    pub(super) fn full(config: &TokenBucketConfig, now: Time) -> Self {
        Self {
            units: capacity(config),
            at: now,
        }
    }

    /// Adds what has come since.
    #[inline]
    fn fill(&mut self, config: &TokenBucketConfig, now: Time) {
        if now > self.at {
            let elapsed = now.as_nanos() - self.at.as_nanos();
            // Both factors have 64 bits; of the sum 2^126 is the most.
            let come =
                (u128::from(elapsed) * u128::from(config.rate.gain)).min(i128::MAX as u128 / 2);
            self.units = (self.units + come as i128).min(capacity(config));
            self.at = now;
        }
    }

    /// Whether it is as good as a bucket that was never used.
    pub(super) fn is_full(&mut self, config: &TokenBucketConfig, now: Time) -> bool {
        self.fill(config, now);
        self.units == capacity(config)
    }

    #[inline]
    pub(super) fn admit(
        &mut self,
        config: &TokenBucketConfig,
        headers: &Headers,
        now: Time,
    ) -> Admission {
        self.fill(config, now);
        let left = self.units - i128::from(config.rate.cost);
        if left >= 0 {
            self.units = left;
            return Admission::Pass;
        }
        self.late(config, left, headers, now)
    }

    #[cold]
    fn late(
        &mut self,
        config: &TokenBucketConfig,
        left: i128,
        headers: &Headers,
        now: Time,
    ) -> Admission {
        // Reckoned from the last look, which a clock that went back does not change.
        let now = now.max(self.at);
        let wait = config.rate.time_for(left.unsigned_abs());
        let turn = now + wait;
        if turn > now && turn <= config.when_limited.patience(headers, now) {
            self.units = left;
            return Admission::Until(turn);
        }
        config
            .when_limited
            .otherwise(Some(match config.when_limited {
                // Whoever comes back may wait again, but no longer than before.
                WhenLimited::Delay { max } if headers.deadline.is_none() => {
                    wait.saturating_sub(max)
                }
                _ => wait,
            }))
    }

    pub(super) fn give_back(&mut self, config: &TokenBucketConfig) {
        self.units = (self.units + i128::from(config.rate.cost)).min(capacity(config));
    }
}

fn capacity(config: &TokenBucketConfig) -> i128 {
    i128::from(config.burst) * i128::from(config.rate.cost)
}

/// The token bucket: tokens come at a steady rate, up to a burst; each message takes one.
///
/// It begins full. Over any time `t` at most `burst + rate * t` messages pass, and as many as come if they are fewer.
/// Tokens are counted in whole units, so nothing drifts. Its state is the shard's; a limit for the node is divided
/// among its shards with [`TokenBucketConfig::divided`].
///
/// The algorithm is that of ITU-T I.371 (the generic cell rate algorithm says the same of cells).
#[derive(Clone, Debug)]
pub struct TokenBucket {
    config: TokenBucketConfig,
    level: Level,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(config: TokenBucketConfig) -> Self {
        Self {
            config,
            level: Level::full(&config, Time::ZERO),
        }
    }

    /// Takes one token if there is one now.
    ///
    /// # Errors
    ///
    /// After which time there will be one, exact to the nanosecond, if nobody else takes it.
    pub fn take(&mut self, now: Time) -> Result<(), Duration> {
        self.level.fill(&self.config, now);
        let left = self.level.units - i128::from(self.config.rate.cost);
        if left < 0 {
            return Err(self.config.rate.time_for(left.unsigned_abs()));
        }
        self.level.units = left;
        Ok(())
    }

    /// New settings take effect at once; what is in the bucket stays, as far as there is room for it.
    pub fn reconfigure(&mut self, config: TokenBucketConfig, now: Time) {
        self.level.fill(&self.config, now);
        // Units of the old rate are other parts of a message than those of the new one.
        let messages = self.level.units as f64 / self.config.rate.cost as f64;
        self.level.units = ((messages * config.rate.cost as f64) as i128).min(capacity(&config));
        self.config = config;
    }
}

impl MessageGuard for TokenBucket {
    fn name(&self) -> &'static str {
        "token_bucket"
    }

    #[inline]
    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        self.level.admit(&self.config, headers, now)
    }

    fn give_back(&mut self, _headers: &Headers, _now: Time) {
        self.level.give_back(&self.config);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::laws;
    use proptest::prelude::*;

    fn config(rate: f64, burst: u32, when_limited: WhenLimited) -> TokenBucketConfig {
        TokenBucketConfig::new(rate, burst, when_limited).unwrap()
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn ten_a_second_within_one_percent_over_sixty_seconds() {
        let mut bucket = TokenBucket::new(config(10.0, 1, WhenLimited::Reject));
        let passed = (0..60_000)
            .filter(|millisecond| bucket.take(at(*millisecond)).is_ok())
            .count();
        assert!((594..=606).contains(&passed), "{passed}");
    }

    #[test]
    fn a_refusal_says_to_the_nanosecond_when_to_come_back() {
        let mut bucket = TokenBucket::new(config(3.0, 2, WhenLimited::Reject));
        assert_eq!((bucket.take(at(0)), bucket.take(at(0))), (Ok(()), Ok(())));
        let after = bucket.take(at(0)).unwrap_err();
        assert_eq!(after, Duration::from_nanos(333_333_334));
        let nearly = Time::ZERO + (after - Duration::from_nanos(1));
        assert_eq!(bucket.take(nearly), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(Time::ZERO + after), Ok(()));
    }

    #[test]
    fn a_rate_that_is_no_whole_number_of_nanoseconds_does_not_drift_in_a_day() {
        let mut bucket = TokenBucket::new(config(3.0, 1, WhenLimited::Reject));
        let (mut now, mut passed) = (Time::ZERO, 0_u64);
        while now < at(86_400_000) {
            match bucket.take(now) {
                Ok(()) => passed += 1,
                Err(after) => {
                    assert!(
                        after > Duration::ZERO,
                        "refused and told to come back at once"
                    );
                    now += after;
                }
            }
        }
        assert_eq!(passed, 3 * 86_400);
    }

    #[test]
    fn delayed_messages_have_their_turns_at_the_rate_and_the_wait_is_bounded() {
        let max = Duration::from_millis(300);
        let mut bucket = TokenBucket::new(config(10.0, 1, WhenLimited::Delay { max }));
        let headers = Headers::new(at(0));
        let turns: Vec<_> = (0..5).map(|_| bucket.admit(&headers, at(0))).collect();
        assert_eq!(turns[0], Admission::Pass);
        assert_eq!(
            turns[1..4],
            [100, 200, 300].map(|turn| Admission::Until(at(turn)))
        );
        let Admission::Refuse(refusal) = turns[4] else {
            panic!("{:?}", turns[4])
        };
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
        bucket.give_back(&headers, at(0));
        let hasty = headers.deadline(at(300));
        assert!(matches!(bucket.admit(&hasty, at(0)), Admission::Refuse(_)));
        assert_eq!(bucket.admit(&headers, at(0)), Admission::Until(at(300)));
    }

    #[test]
    fn diverted_messages_take_no_token() {
        let mut bucket = TokenBucket::new(config(10.0, 1, WhenLimited::Divert));
        let headers = Headers::default();
        assert_eq!(bucket.admit(&headers, at(0)), Admission::Pass);
        for _ in 0..3 {
            assert!(matches!(
                bucket.admit(&headers, at(0)),
                Admission::Divert(_)
            ));
        }
        assert_eq!(bucket.admit(&headers, at(100)), Admission::Pass);
    }

    #[test]
    fn shards_have_the_limit_of_the_node_together() {
        let node = config(10.0, 8, WhenLimited::Reject);
        let mut shards = [(); 4].map(|()| TokenBucket::new(node.divided(4)));
        let mut passed = 0;
        for millisecond in 0..60_000 {
            for shard in &mut shards {
                passed += u32::from(shard.take(at(millisecond)).is_ok());
            }
        }
        assert_eq!(
            passed,
            8 + 600 - 4,
            "the first moment's tokens are not there at its end"
        );
    }

    #[test]
    fn a_new_rate_takes_effect_at_once() {
        let mut bucket = TokenBucket::new(config(1.0, 10, WhenLimited::Reject));
        for _ in 0..10 {
            bucket.take(at(0)).unwrap();
        }
        bucket.reconfigure(config(100.0, 5, WhenLimited::Reject), at(0));
        assert_eq!(bucket.take(at(0)), Err(Duration::from_millis(10)));
        bucket.take(at(10)).unwrap();
    }

    #[test]
    fn it_keeps_the_laws() {
        for when in [
            WhenLimited::Reject,
            WhenLimited::Divert,
            WhenLimited::Delay {
                max: Duration::from_millis(50),
            },
        ] {
            laws::check_message_guard(|| Box::new(TokenBucket::new(config(70.0, 5, when))));
        }
    }

    proptest! {
        /// Another implementation of the same promise, at rates whose messages are whole nanoseconds apart: those are
        /// the ones that it keeps exactly.
        #[test]
        fn it_agrees_with_governor(
            rate in prop::sample::select(vec![1u32, 2, 5, 10, 64, 1000, 50_000]),
            burst in 1u32..20,
            steps in proptest::collection::vec(prop_oneof![0u64..1000, 0u64..2_000_000_000], 1..300),
        ) {
            use governor::clock::{Clock as _, FakeRelativeClock};
            use governor::{Quota, RateLimiter};
            let number = |number| std::num::NonZeroU32::new(number).unwrap();
            let clock = FakeRelativeClock::default();
            let quota = Quota::per_second(number(rate)).allow_burst(number(burst));
            let oracle = RateLimiter::direct_with_clock(quota, clock.clone());
            let mut bucket = TokenBucket::new(config(f64::from(rate), burst, WhenLimited::Reject));
            let mut now = Time::ZERO;
            for step in steps {
                let step = Duration::from_nanos(step);
                now += step;
                clock.advance(step);
                let expected = oracle.check().map_err(|refusal| refusal.wait_time_from(clock.now()));
                prop_assert_eq!(bucket.take(now), expected, "at {}", now);
            }
        }

        /// The plain model: the instants of all messages that passed, looked at through every window.
        #[test]
        fn no_window_has_more_than_burst_and_rate_and_none_is_refused_without_need(
            rate in prop_oneof![1u32..20, 1u32..100_000],
            burst in 1u32..20,
            steps in proptest::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let mut bucket = TokenBucket::new(config(f64::from(rate), burst, WhenLimited::Reject));
            let mut passed: Vec<u64> = Vec::new();
            let mut now = 0;
            for step in steps {
                now += step;
                // A message fits if with it no window that ends now has more than its share.
                let fits = (0..=passed.len()).all(|from| {
                    let count = (passed.len() - from) as u128 + 1;
                    let start = passed.get(from).copied().unwrap_or(now);
                    count.saturating_sub(u128::from(burst)) * 1_000_000_000
                        <= u128::from(rate) * u128::from(now - start)
                });
                let pass = bucket.take(Time::from_nanos(now)).is_ok();
                prop_assert_eq!(pass, fits, "at {} after {:?}", now, passed);
                if pass {
                    passed.push(now);
                }
            }
        }
    }
}
