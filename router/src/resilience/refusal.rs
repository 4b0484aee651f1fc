//! Why a message does not go on, and when to come back.

use super::ErrorClass;
use std::fmt;
use std::time::Duration;

/// Why a guard refuses a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// More messages than the limit allows.
    RateLimited,
    /// The circuit breaker of the destination is open.
    CircuitOpen,
    /// The destination has as many messages in flight as it may.
    BulkheadFull,
    /// Load is shed so that the rest gets through.
    Overloaded,
    /// The destination is ejected for a time because it failed too often.
    Ejected,
    /// The deadline of the message has passed, or what remains is too short.
    Expired,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RateLimited,
        Self::CircuitOpen,
        Self::BulkheadFull,
        Self::Overloaded,
        Self::Ejected,
        Self::Expired,
    ];

    /// The stable name in ledgers, metrics, logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::CircuitOpen => "circuit_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::Overloaded => "overloaded",
            Self::Ejected => "ejected",
            Self::Expired => "expired",
        }
    }

    /// The reason with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<RefusalReason> for ErrorClass {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::RateLimited => Self::Quota,
            RefusalReason::CircuitOpen | RefusalReason::Ejected => Self::Unavailable,
            RefusalReason::BulkheadFull | RefusalReason::Overloaded => Self::Overloaded,
            RefusalReason::Expired => Self::Expired,
        }
    }
}

/// A message does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// After which time it is worth coming back; `None` where nobody can say, or where it never is.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal of which nobody can say when it ends.
    #[must_use]
    pub const fn new(reason: RefusalReason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }

    /// A refusal that ends after this time.
    #[must_use]
    pub const fn after(reason: RefusalReason, retry_after: Duration) -> Self {
        Self {
            reason,
            retry_after: Some(retry_after),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            RefusalReason::RateLimited => "more messages than the limit allows",
            RefusalReason::CircuitOpen => "the destination failed too often",
            RefusalReason::BulkheadFull => "the destination has as many in flight as it may",
            RefusalReason::Overloaded => "load is shed",
            RefusalReason::Ejected => "the destination is ejected for a time",
            RefusalReason::Expired => "its deadline passed, or what remains is too short",
        };
        write!(f, "{}: {what}", self.reason)?;
        match self.retry_after {
            Some(after) => write!(f, "; come back after {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_a_refusal_says_when_to_come_back() {
        for reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(
            Refusal::after(RefusalReason::CircuitOpen, Duration::from_secs(5)).to_string(),
            "circuit_open: the destination failed too often; come back after 5s"
        );
    }
}
