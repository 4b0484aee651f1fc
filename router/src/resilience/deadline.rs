//! How much time a message has, and the end of it.

use super::config_error::{ConfigError, HOUR, duration};
use super::{Admission, Headers, MessageGuard, Refusal, RefusalReason, Scope};
use mcpbus_actors::Time;
use std::time::Duration;

/// The time that remains until a deadline; `None` without one, zero when it has passed.
#[must_use]
pub fn remaining(deadline: Option<Time>, now: Time) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_since(now))
}

/// The setting of a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeadlineConfig {
    /// The time that a message without a deadline gets, from its arrival: 1 ms to an hour; `None`: as long as it takes.
    pub default_ttl: Option<Duration>,
    /// The longest time that a message has from its arrival: 1 ms to an hour; a later deadline is brought forward.
    pub max_ttl: Option<Duration>,
    /// Less remaining time than this is too little to be worth the work: up to an hour (default 0).
    pub min_remaining: Duration,
}

/// Refuses what nobody waits for any more, and gives the messages of a route their deadlines.
///
/// It keeps no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    config: DeadlineConfig,
}

impl Deadline {
    /// A guard with these settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a time cannot be, or the default is longer than the most.
    pub fn new(config: DeadlineConfig) -> Result<Self, ConfigError> {
        for (field, ttl) in [
            ("default_ttl", config.default_ttl),
            ("max_ttl", config.max_ttl),
        ] {
            if let Some(ttl) = ttl {
                duration(field, ttl, 1.0, HOUR)?;
            }
        }
        duration("min_remaining", config.min_remaining, 0.0, HOUR)?;
        let most = config.max_ttl.unwrap_or(Duration::MAX);
        if config.default_ttl.is_some_and(|ttl| ttl > most) {
            return Err(ConfigError::Contradiction {
                larger: "default_ttl",
                smaller: "max_ttl",
                advice: "no message would ever have the default; lower it or raise the most",
            });
        }
        let least = config.default_ttl.map_or(most, |ttl| ttl.min(most));
        if config.min_remaining >= least {
            return Err(ConfigError::Contradiction {
                larger: "min_remaining",
                smaller: "default_ttl or max_ttl",
                advice: "every message would be refused on arrival; lower it",
            });
        }
        Ok(Self { config })
    }

    /// The deadline that the message has on this route: its own or the default, and never later than the most.
    #[must_use]
    #[inline]
    pub fn assign(&self, headers: &Headers, now: Time) -> Option<Time> {
        let start = headers.arrived.unwrap_or(now);
        let after = |ttl: Option<Duration>| ttl.map(|ttl| start + ttl);
        let own = headers.deadline.or_else(|| after(self.config.default_ttl));
        match (own, after(self.config.max_ttl)) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        }
    }
}

impl MessageGuard for Deadline {
    fn name(&self) -> &'static str {
        "deadline"
    }

    #[inline]
    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        match self.assign(headers, now) {
            Some(deadline) if deadline <= now + self.config.min_remaining => {
                Admission::Refuse(Refusal::new(RefusalReason::Expired))
            }
            _ => Admission::Pass,
        }
    }

    fn scope(&self) -> Scope {
        Scope::Stateless
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::laws;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn config() -> DeadlineConfig {
        DeadlineConfig {
            default_ttl: Some(Duration::from_millis(500)),
            max_ttl: Some(Duration::from_millis(2000)),
            min_remaining: Duration::from_millis(10),
        }
    }

    #[test]
    fn a_message_has_its_own_time_or_the_default_and_never_more_than_the_most() {
        let guard = Deadline::new(config()).unwrap();
        let message = Headers::new(at(100));
        assert_eq!(guard.assign(&message, at(300)), Some(at(600)));
        assert_eq!(
            guard.assign(&message.deadline(at(900)), at(300)),
            Some(at(900))
        );
        assert_eq!(
            guard.assign(&message.deadline(at(9000)), at(300)),
            Some(at(2100))
        );
        let none = Deadline::new(DeadlineConfig::default()).unwrap();
        assert_eq!(none.assign(&message, at(300)), None);
    }

    #[test]
    fn nothing_goes_on_for_which_nobody_waits() {
        let mut guard = Deadline::new(config()).unwrap();
        let message = Headers::new(at(0)).deadline(at(100));
        assert_eq!(guard.admit(&message, at(89)), Admission::Pass);
        for now in [90, 99, 100, 5000] {
            let expected = Admission::Refuse(Refusal::new(RefusalReason::Expired));
            assert_eq!(guard.admit(&message, at(now)), expected, "{now}");
        }
        assert_eq!(
            remaining(message.deadline, at(30)),
            Some(Duration::from_millis(70))
        );
        assert_eq!(remaining(message.deadline, at(300)), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let second = Some(Duration::from_secs(1));
        for wrong in [
            DeadlineConfig {
                default_ttl: Some(Duration::ZERO),
                ..config()
            },
            DeadlineConfig {
                max_ttl: Some(Duration::MAX),
                ..config()
            },
            DeadlineConfig {
                default_ttl: Some(Duration::from_secs(3)),
                ..config()
            },
            DeadlineConfig {
                max_ttl: second,
                min_remaining: Duration::from_secs(1),
                ..config()
            },
        ] {
            assert!(Deadline::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn it_keeps_the_laws() {
        laws::check_message_guard(|| Box::new(Deadline::new(config()).unwrap()));
    }
}
