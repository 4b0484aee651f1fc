//! How a message ends, with the stable names that reports, metrics and the wire use.

use std::fmt;

/// What a handler says about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled: its outputs are to be sent, then it counts as delivered.
    Done,
    /// Not handled, try again: outputs of this attempt are taken back.
    Retry(RetryClass),
    /// Not handled and never will be: it becomes a dead letter, outputs of this attempt are taken back.
    Reject(Rejection),
    /// Held: the stage keeps a lease and settles it later.
    Defer,
}

impl Outcome {
    /// Rejects with this reason.
    #[must_use]
    pub fn reject(reason: Reason) -> Self {
        Self::Reject(Rejection::from(reason))
    }

    /// Asks for another attempt at once.
    #[must_use]
    pub const fn retry() -> Self {
        Self::Retry(RetryClass::Transient)
    }
}

/// Why a message should be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryClass {
    /// Something passing: the same attempt may succeed now.
    Transient,
    /// What is behind the handler is overloaded.
    Overloaded,
}

/// Why a message cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The class, by which it is counted.
    pub reason: Reason,
    /// What exactly was wrong, for a person.
    pub detail: Option<Box<str>>,
}

impl Rejection {
    /// A rejection with an explanation for a person.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<Box<str>>) -> Self {
        Self {
            reason,
            detail: Some(detail.into()),
        }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for Rejection {}

/// What a handler may return instead of an [`Outcome`].
pub trait IntoOutcome {
    /// The outcome it stands for.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Done
    }
}

impl<E: Into<Rejection>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(()) => Outcome::Done,
            Err(rejection) => Outcome::Reject(rejection.into()),
        }
    }
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All of them, in the order in which reports list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name in reports, metrics and on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The reason with this stable name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

reasons! {
    /// Why a message became a dead letter.
    Reason {
        /// It was tried as often as allowed.
        MaxDeliver = "max_deliver",
        /// Its handler panicked on it.
        Panic = "panic",
        /// Its deadline passed while it was being tried.
        Expired = "expired",
        /// Nobody is there to take it.
        NoRoute = "no_route",
        /// It passed too many nodes.
        HopLimit = "hop_limit",
        /// Its body could not be read.
        Decode = "decode",
        /// Its producer may not send it.
        Access = "access",
        /// A limit of its producer or its edge was used up.
        Quota = "quota",
        /// Its stored bytes are damaged.
        Corrupt = "corrupt",
        /// Its handler refused it.
        Rejected = "rejected",
    }
}

reasons! {
    /// Why a message was dropped on purpose.
    ShedReason {
        /// Its edge was full and drops by its policy.
        Overflow = "overflow",
        /// The store of dead letters was full.
        DeadLetterFull = "dead_letter_full",
        /// Nobody subscribed to it.
        NoSubscriber = "no_subscriber",
        /// Load was shed to protect the rest.
        Overload = "overload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(*reason));
        }
        assert_eq!(Reason::from_name("nonsense"), None);
        assert_eq!(
            ShedReason::from_name("dead_letter_full"),
            Some(ShedReason::DeadLetterFull)
        );
        assert_eq!(
            Rejection::new(Reason::Decode, "no amount").to_string(),
            "decode: no amount"
        );
    }
}
