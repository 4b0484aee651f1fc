//! What is too much is shed early, so that the rest is still of use.

use super::config_error::{ConfigError, HOUR, duration};
use super::{Admission, Headers, MessageGuard, Refusal, RefusalReason};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`Shed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedConfig {
    /// The time that an ordinary message may have waited here under overload: 1 ms to an hour (default 20 ms). Each
    /// step of priority doubles it.
    pub target: Duration,
    /// For how long messages must have waited longer than the target before it is overload, and shorter before it is
    /// over: not below the target, up to an hour (default 100 ms).
    pub interval: Duration,
}

impl Default for ShedConfig {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(20),
            interval: Duration::from_millis(100),
        }
    }
}

/// Sheds load by the time that messages have waited, the less urgent first.
///
/// A queue that was once long stays long when no more goes out than comes in: then every message is late, and all the
/// work is for nobody. A wait that is long for a moment is a burst; one that stays long for an interval is overload.
/// Under overload a message that has waited longer than its allowance is refused, so that the others are early. An
/// allowance is the target, doubled for each step of priority. Overload is over when no message waited longer than the
/// target for an interval, or when the queue was empty.
///
/// It is asked when the message's turn has come, not when it arrives: only then is known how long it has waited
/// ([`Headers::arrived`]). Its state is the shard's.
///
/// After CoDel (Nichols and Jacobson, "Controlling Queue Delay", 2012) as servers use it (Maurer, "Fail at Scale", 2015).
#[derive(Clone, Debug)]
pub struct Shed {
    target: Duration,
    interval: Duration,
    overloaded: bool,
    /// Since when waits say the opposite of `overloaded`.
    contrary: Option<Time>,
    /// When it was last asked.
    asked: Time,
}

impl Shed {
    /// One that has seen no overload.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: &ShedConfig) -> Result<Self, ConfigError> {
        duration("target", config.target, 1.0, HOUR)?;
        duration("interval", config.interval, 1.0, HOUR)?;
        if config.target > config.interval {
            return Err(ConfigError::Contradiction {
                larger: "target",
                smaller: "interval",
                advice: "a wait is judged over several of its lengths; raise the interval",
            });
        }
        Ok(Self {
            target: config.target,
            interval: config.interval,
            overloaded: false,
            contrary: None,
            asked: Time::ZERO,
        })
    }

    /// Whether load is being shed.
    #[must_use]
    pub const fn overloaded(&self) -> bool {
        self.overloaded
    }
}

impl MessageGuard for Shed {
    fn name(&self) -> &'static str {
        "shed"
    }

    #[inline]
    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        let now = now.max(self.asked);
        let waited = headers.waited(now);
        if headers.arrived.is_some_and(|arrived| arrived > self.asked) {
            // When the one before it was taken this one was not here: the queue was empty.
            (self.overloaded, self.contrary) = (false, None);
        }
        self.asked = now;
        if (waited > self.target) == self.overloaded {
            self.contrary = None;
        } else {
            let since = *self.contrary.get_or_insert(now);
            if now.saturating_since(since) >= self.interval {
                (self.overloaded, self.contrary) = (!self.overloaded, None);
            }
        }
        if !self.overloaded {
            return Admission::Pass;
        }
        let allowance = self.target.saturating_mul(
            1_u32
                .checked_shl(u32::from(headers.priority))
                .unwrap_or(u32::MAX),
        );
        if waited <= allowance {
            return Admission::Pass;
        }
        Admission::Refuse(Refusal::after(RefusalReason::Overloaded, self.interval))
    }
}

#[cfg(test)]
mod tests;
