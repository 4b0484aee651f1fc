//! What can go wrong at a client, by operation. Each says what happened and what to do.

use crate::protocol::SubscribeRefusal;
use mcpbus_transport::wire::Failure;
use std::fmt;
use std::time::Duration;

/// The first connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection within the time; try later, or check the address.
    TimedOut {
        /// The address.
        address: String,
        /// The time.
        after: Duration,
        /// What the last attempt said.
        last: String,
    },
    /// The two sides do not trust each other, or the address is wrong: trying again would change nothing until
    /// somebody changes a certificate, an authority or the address.
    Refused {
        /// The address.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The client's own set-up is wrong.
    Setup {
        /// What.
        reason: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut {
                address,
                after,
                last,
            } => write!(
                f,
                "no connection to {address} within {after:?}: {last}; is a node listening there, and do both trust \
                 the same authority?"
            ),
            Self::Refused { address, reason } => {
                write!(f, "no connection to {address}: {reason}")
            }
            Self::Setup { reason } => write!(f, "the client cannot be set up: {reason}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A message was not queued; it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError<M> {
    /// The client is closed.
    Closed(M),
    /// The subject is not valid; correct it.
    Subject {
        /// The message.
        message: M,
        /// What is wrong.
        reason: String,
    },
    /// The body is larger than the node accepts; split it.
    TooLarge {
        /// The message.
        message: M,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: u64,
    },
    /// The queue is full (only from calls that do not wait). Try again later.
    Full(M),
}

impl<M> PublishError<M> {
    /// The message that was not queued.
    pub fn into_message(self) -> M {
        match self {
            Self::Closed(message) | Self::Full(message) => message,
            Self::Subject { message, .. } | Self::TooLarge { message, .. } => message,
        }
    }
}

impl<M> fmt::Display for PublishError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("the client is closed"),
            Self::Subject { reason, .. } => write!(f, "not a subject: {reason}"),
            Self::TooLarge { size, limit, .. } => {
                write!(
                    f,
                    "the body has {size} bytes, the node accepts {limit}; split it"
                )
            }
            Self::Full(_) => f.write_str("the publisher's queue is full; wait for credit"),
        }
    }
}

impl<M: fmt::Debug> std::error::Error for PublishError<M> {}

/// A published message did not reach what its ack level asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It ended otherwise. Whether publishing it again helps depends on the reason.
    Failed(Failure),
    /// The client was closed before an answer came: the message may or may not have arrived.
    Closed,
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Closed => f.write_str(
                "the client was closed before the ack came; the message may have arrived",
            ),
        }
    }
}

impl std::error::Error for ReceiptError {}

/// A subscription did not come about, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The pattern is not valid; correct it.
    Pattern {
        /// What is wrong.
        reason: String,
    },
    /// The node refused it.
    Refused {
        /// Why, for programs.
        refusal: SubscribeRefusal,
        /// Why, for people.
        reason: String,
    },
    /// The node did not confirm it in time; it may come later.
    TimedOut,
    /// The client is closed.
    Closed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { reason } => write!(f, "not a pattern: {reason}"),
            Self::Refused { refusal, reason } => {
                write!(f, "the node refused the subscription: {refusal}: {reason}")
            }
            Self::TimedOut => f.write_str("the subscription was not confirmed in time"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for SubscribeError {}

/// A request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody is subscribed to the subject.
    NoRoute,
    /// The responder died or left before it answered; it may have acted.
    ResponderLost,
    /// The deadline passed; the responder may have acted.
    TimedOut {
        /// The time that was given.
        after: Duration,
    },
    /// The responder could not handle it.
    Failed {
        /// What it says.
        reason: String,
    },
    /// The request was refused on its way.
    Refused(Failure),
    /// Too many requests wait for an answer; wait for one.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The request could not be published.
    Publish(String),
    /// The client is closed.
    Closed,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no_route: nobody answers requests on this subject"),
            Self::ResponderLost => f.write_str(
                "responder_lost: the responder was gone before it answered; it may have acted",
            ),
            Self::TimedOut { after } => write!(
                f,
                "no answer within {after:?}; the responder may have acted"
            ),
            Self::Failed { reason } => write!(f, "the responder failed: {reason}"),
            Self::Refused(failure) => write!(f, "the request ended on its way: {failure}"),
            Self::TooMany { limit } => {
                write!(f, "{limit} requests wait for an answer already, the limit")
            }
            Self::Publish(reason) => write!(f, "the request could not be published: {reason}"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for RequestError {}

/// A question to the node was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// Too many questions wait for an answer; wait for one.
    TooMany,
    /// No answer in time; ask again.
    TimedOut,
    /// The client is closed.
    Closed,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many questions wait for an answer already",
            Self::TimedOut => "the node did not answer in time",
            Self::Closed => "the client is closed",
        })
    }
}

impl std::error::Error for QueryError {}

/// A delivery could not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettleError {
    /// The message is not a request.
    NotARequest,
    /// The answer is larger than an answer may be.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many answers wait to be sent; wait a little.
    Full,
}

impl fmt::Display for SettleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARequest => {
                f.write_str("the message is not a request, nobody waits for an answer")
            }
            Self::TooLarge { limit } => write!(f, "an answer has at most {limit} bytes"),
            Self::Full => f.write_str("too many answers wait to be sent"),
        }
    }
}

impl std::error::Error for SettleError {}
