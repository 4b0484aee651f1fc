//! What kind of error something is, and what follows from it: one table for channels, nodes, clients and the command line.

use super::{Reason, RetryClass, ShedReason};
use std::fmt;

/// The kind of an error. Every cause belongs to exactly one; [`ErrorClass::handling`] says what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// One attempt took too long. The message itself may still have time.
    Timeout,
    /// The deadline of the message has passed: nobody waits for it any more.
    Expired,
    /// Whoever should handle it has too much to do.
    Overloaded,
    /// Whoever should handle it is not there, or cannot at present.
    Unavailable,
    /// The message is wrong: it cannot be read, or its handler refused it.
    Validation,
    /// Whoever wanted it, or had it, gave it up.
    Cancelled,
    /// Its producer may not do this.
    Access,
    /// It exceeds a limit that is set for its producer: too many messages, or too many bytes.
    Quota,
    /// A defect: a handler panicked, bytes were damaged, nodes send in a circle.
    Internal,
    /// It was tried as often as allowed, each time without success.
    Exhausted,
}

/// Whether an error of a class is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Never: another attempt would end the same way, or nobody waits for it.
    Never,
    /// While the deadline and the retry budget allow.
    InBudget,
}

impl Repeat {
    /// The words in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::InBudget => "in budget",
        }
    }
}

/// How loud the log is about an error of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For whoever looks for it.
    Debug,
    /// Part of ordinary work.
    Info,
    /// Somebody should look at it when there is time.
    Warn,
    /// Somebody should look at it.
    Error,
}

impl Severity {
    /// The name in logs and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What follows from an error of a class: one row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// Whether it is tried again.
    pub repeat: Repeat,
    /// Whether it counts against the destination, in its circuit breaker and in outlier detection. Where it does not,
    /// it says nothing about the destination and is not counted as a success either.
    pub counts: bool,
    /// How loud the log is.
    pub severity: Severity,
    /// Whether it raises an alert.
    pub alert: bool,
    /// What the producer is told.
    pub told: &'static str,
}

impl ErrorClass {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Timeout,
        Self::Expired,
        Self::Overloaded,
        Self::Unavailable,
        Self::Validation,
        Self::Cancelled,
        Self::Access,
        Self::Quota,
        Self::Internal,
        Self::Exhausted,
    ];

    /// The stable name in logs, metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Expired => "expired",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Validation => "validation",
            Self::Cancelled => "cancelled",
            Self::Access => "access",
            Self::Quota => "quota",
            Self::Internal => "internal",
            Self::Exhausted => "exhausted",
        }
    }

    /// The class with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// What follows from an error of this class. This is the one table; the book's page of it is held to it by a test.
    #[must_use]
    pub const fn handling(self) -> Handling {
        use Repeat::{InBudget, Never};
        use Severity::{Debug, Error, Info, Warn};
        #[rustfmt::skip]
        let (repeat, counts, severity, alert, told) = match self {
            Self::Timeout     => (InBudget, true,  Error, true,  "it took too long: ask later whether it was done, or send it again with the same id"),
            Self::Expired     => (Never,    false, Warn,  false, "its deadline passed: give it more time, or send less"),
            Self::Overloaded  => (InBudget, true,  Warn,  false, "too much to do: come back after the time that the refusal names"),
            Self::Unavailable => (InBudget, true,  Error, true,  "nobody can take it at present: send it again with the same id"),
            Self::Validation  => (Never,    false, Info,  false, "what is wrong with it: correct it, sending it again unchanged cannot help"),
            Self::Cancelled   => (Never,    false, Debug, false, "it was given up: nothing more happens to it"),
            Self::Access      => (Never,    false, Warn,  false, "it may not be sent there: ask whoever grants access"),
            Self::Quota       => (Never,    false, Info,  false, "which limit it exceeds: send less, or smaller"),
            Self::Internal    => (Never,    true,  Error, true,  "a defect on our side: it lies with the dead letters"),
            Self::Exhausted   => (Never,    true,  Error, true,  "it was tried as often as allowed: it lies with the dead letters"),
        };
        Handling {
            repeat,
            counts,
            severity,
            alert,
            told,
        }
    }

    /// Whether another attempt may be made while deadline and budget allow.
    #[must_use]
    pub const fn may_repeat(self) -> bool {
        matches!(self.handling().repeat, Repeat::InBudget)
    }

    /// Whether it counts against the destination where it happened.
    #[must_use]
    pub const fn counts(self) -> bool {
        self.handling().counts
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<RetryClass> for ErrorClass {
    fn from(class: RetryClass) -> Self {
        match class {
            RetryClass::Transient => Self::Unavailable,
            RetryClass::Overloaded => Self::Overloaded,
        }
    }
}

impl From<Reason> for ErrorClass {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::MaxDeliver => Self::Exhausted,
            Reason::Panic | Reason::HopLimit | Reason::Corrupt => Self::Internal,
            Reason::Expired => Self::Expired,
            Reason::NoRoute => Self::Unavailable,
            Reason::Decode | Reason::Rejected => Self::Validation,
            Reason::Access => Self::Access,
            Reason::Quota => Self::Quota,
        }
    }
}

impl From<ShedReason> for ErrorClass {
    fn from(reason: ShedReason) -> Self {
        match reason {
            ShedReason::Overflow | ShedReason::DeadLetterFull | ShedReason::Overload => {
                Self::Overloaded
            }
            ShedReason::NoSubscriber => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_read_back() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_name(class.name()), Some(class));
            assert!(!class.handling().told.is_empty());
        }
        assert_eq!(ErrorClass::from_name("nonsense"), None);
    }

    #[test]
    fn causes_with_the_name_of_a_class_belong_to_it() {
        let reasons = Reason::ALL.iter().map(|r| (r.name(), ErrorClass::from(*r)));
        let sheds = ShedReason::ALL
            .iter()
            .map(|r| (r.name(), ErrorClass::from(*r)));
        for (name, class) in reasons.chain(sheds) {
            if let Some(expected) = ErrorClass::from_name(name) {
                assert_eq!(class, expected, "{name}");
            }
        }
    }

    #[test]
    fn timeouts_are_repeated_and_neither_mistakes_nor_cancels_are() {
        assert!(ErrorClass::Timeout.may_repeat());
        for class in [
            ErrorClass::Validation,
            ErrorClass::Cancelled,
            ErrorClass::Expired,
            ErrorClass::Access,
        ] {
            assert!(!class.may_repeat(), "{class}");
            assert!(!class.counts(), "{class}");
        }
    }
}
