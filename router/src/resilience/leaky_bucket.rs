//! Messages at an even pace.

use super::config_error::{ConfigError, within};
use super::{Admission, Headers, MessageGuard, Rate, WhenLimited};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`LeakyBucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucketConfig {
    rate: Rate,
    when_limited: WhenLimited,
}

impl LeakyBucketConfig {
    /// One message each `1 / rate` seconds; `rate` is 0.000001 to 1,000,000,000 per second.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] where a number cannot be.
    pub fn new(rate: f64, when_limited: WhenLimited) -> Result<Self, ConfigError> {
        within("rate", rate, 1e-6, 1e9, "messages per second")?;
        Ok(Self {
            rate: Rate::per_second(rate)?,
            when_limited: when_limited.checked()?,
        })
    }

    /// Whether messages that are too early wait for their turn.
    #[must_use]
    pub const fn delays(&self) -> bool {
        matches!(self.when_limited, WhenLimited::Delay { .. })
    }

    /// The part of one of `parts` shards.
    #[must_use]
    pub fn divided(self, parts: u32) -> Self {
        Self {
            rate: self.rate.divided(parts),
            ..self
        }
    }
}

/// The leaky bucket as a queue: messages leave one by one, evenly spaced.
///
/// What comes while the outlet is free passes at once; with [`WhenLimited::Delay`] what comes sooner waits for its turn,
/// and the turns are `1 / rate` seconds apart, exactly over any number of messages and to a nanosecond between two.
/// The wait, and with it the queue, is bounded. A pause saves nothing up: after it there is no burst. Its state is the
/// shard's.
///
/// The algorithm is Turner's (1986), as a queue.
#[derive(Clone, Debug)]
pub struct LeakyBucket {
    config: LeakyBucketConfig,
    /// Whole nanoseconds between two turns, and what remains in parts of `gain`.
    step: u64,
    remainder: u64,
    /// The next free turn, and the part of a nanosecond that it is later.
    next: Time,
    part: u64,
}

impl LeakyBucket {
    /// An empty one: the first message passes at once.
    #[must_use]
    pub fn new(config: LeakyBucketConfig) -> Self {
        Self {
            config,
            step: config.rate.cost / config.rate.gain,
            remainder: config.rate.cost % config.rate.gain,
            next: Time::ZERO,
            part: 0,
        }
    }

    /// The next turn is taken by a message that goes at `turn`.
    fn advance(&mut self, turn: Time) {
        if turn > self.next {
            // The outlet stood free: the pace starts anew.
            (self.next, self.part) = (turn, 0);
        }
        self.next += Duration::from_nanos(self.step);
        self.part += self.remainder;
        if self.part >= self.config.rate.gain {
            self.part -= self.config.rate.gain;
            self.next += Duration::from_nanos(1);
        }
    }

    /// The first nanosecond that is not before the next turn.
    fn turn(&self) -> Time {
        self.next + Duration::from_nanos(u64::from(self.part > 0))
    }
}

impl MessageGuard for LeakyBucket {
    fn name(&self) -> &'static str {
        "leaky_bucket"
    }

    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        let turn = self.turn();
        if turn <= now {
            self.advance(now);
            return Admission::Pass;
        }
        if turn <= self.config.when_limited.patience(headers, now) {
            self.advance(turn.min(self.next));
            return Admission::Until(turn);
        }
        let wait = turn.saturating_since(now);
        self.config
            .when_limited
            .otherwise(Some(match headers.deadline {
                None => wait.saturating_sub(self.config.when_limited.longest()),
                Some(_) => wait,
            }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::laws;
    use proptest::prelude::*;

    fn bucket(rate: f64, when_limited: WhenLimited) -> LeakyBucket {
        LeakyBucket::new(LeakyBucketConfig::new(rate, when_limited).unwrap())
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    const PATIENT: WhenLimited = WhenLimited::Delay {
        max: Duration::from_secs(3600),
    };

    #[test]
    fn turns_are_evenly_spaced_within_five_percent_however_messages_come() {
        let mut bucket = bucket(10.0, PATIENT);
        // Bursts of 20 every two seconds: exactly the rate, as unevenly as can be.
        let mut turns = Vec::new();
        for burst in 0..30 {
            for _ in 0..20 {
                let now = at(2000 * burst);
                turns.push(match bucket.admit(&Headers::new(now), now) {
                    Admission::Pass => now,
                    Admission::Until(turn) => turn,
                    other => panic!("{other:?}"),
                });
            }
        }
        assert_eq!(turns.len(), 600);
        for pair in turns.windows(2) {
            let space = pair[1].saturating_since(pair[0]).as_secs_f64();
            assert!((0.095..=0.105).contains(&space), "{space}");
        }
    }

    #[test]
    fn a_million_turns_at_three_a_second_take_exactly_their_time() {
        let mut bucket = bucket(3.0, PATIENT);
        let mut turn = Time::ZERO;
        for _ in 0..1_000_000 {
            if let Admission::Until(next) = bucket.admit(&Headers::default(), turn) {
                assert!((333_333_333..=333_333_334).contains(&(next.as_nanos() - turn.as_nanos())));
                turn = next;
                // What comes at its turn is the message that was promised it.
            }
        }
        assert_eq!(turn.as_nanos(), 999_999_u64 * 1_000_000_000 / 3);
    }

    #[test]
    fn a_pause_saves_nothing_up_and_the_wait_is_bounded() {
        let max = Duration::from_millis(250);
        let mut bucket = bucket(10.0, WhenLimited::Delay { max });
        let mut ask = |now| bucket.admit(&Headers::default(), at(now));
        assert_eq!(ask(60_000), Admission::Pass);
        assert_eq!(ask(60_000), Admission::Until(at(60_100)));
        assert_eq!(ask(60_000), Admission::Until(at(60_200)));
        let Admission::Refuse(refusal) = ask(60_000) else {
            panic!()
        };
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(50)));
        assert_eq!(ask(60_050), Admission::Until(at(60_300)));
    }

    #[test]
    fn it_keeps_the_laws() {
        for when in [WhenLimited::Reject, WhenLimited::Divert, PATIENT] {
            laws::check_message_guard(|| Box::new(bucket(70.0, when)));
        }
    }

    proptest! {
        /// The plain model: the next turn as a fraction, in wide integers.
        #[test]
        fn it_is_the_model(
            rate in prop_oneof![1u64..20, 1u64..1_000_000],
            max in 1u64..500,
            steps in proptest::collection::vec(0u64..200_000_000, 1..200),
        ) {
            let max_wait = Duration::from_millis(max);
            let mut bucket = bucket(rate as f64, WhenLimited::Delay { max: max_wait });
            // In parts of 1 / rate of a nanosecond.
            let (mut next, mut now) = (0u128, 0u64);
            for step in steps {
                now += step;
                let turn = next.div_ceil(u128::from(rate)).max(u128::from(now)) as u64;
                let expected = if turn > now + max * 1_000_000 {
                    None
                } else {
                    next = next.max(u128::from(now) * u128::from(rate)) + 1_000_000_000;
                    Some(turn)
                };
                let answer = match bucket.admit(&Headers::default(), Time::from_nanos(now)) {
                    Admission::Pass => Some(now),
                    Admission::Until(turn) => Some(turn.as_nanos()),
                    _ => None,
                };
                prop_assert_eq!(answer, expected);
            }
        }
    }
}
