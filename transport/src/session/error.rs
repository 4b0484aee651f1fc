//! What can go wrong on a session, by operation.

use crate::link::LaneId;
use crate::wire::{GoodbyeCode, Record, WireError};
use std::fmt;

/// The peer broke the protocol. The link must be closed; the session tells the peer why first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Its bytes are no frame.
    Wire {
        /// Where.
        lane: LaneId,
        /// What is wrong with them.
        error: WireError,
    },
    /// A frame that may not come now, or not on this lane.
    Unexpected {
        /// What came.
        what: &'static str,
    },
    /// A flow that does not exist, exists already, or is one too many.
    Flow {
        /// What is wrong.
        what: &'static str,
        /// Its number.
        flow: u32,
    },
    /// The peer sent more than it was granted.
    CreditExceeded {
        /// On which flow.
        flow: u32,
    },
    /// A sequence that leaves a gap.
    Gap {
        /// On which flow.
        flow: u32,
        /// What had to come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Parts of a large message that do not fit together.
    Parts {
        /// On which flow.
        flow: u32,
        /// What is wrong with them.
        what: &'static str,
    },
    /// No wire version that both speak.
    Version {
        /// The peer's oldest and newest.
        peer: (u8, u8),
        /// This end's oldest and newest.
        own: (u8, u8),
    },
    /// A link that is not newer than the session's last one wants to go on with it.
    Stale {
        /// Its number.
        link: u64,
        /// The last one's.
        newest: u64,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire { lane, error } => write!(f, "malformed frame on the {lane}: {error}"),
            Self::Unexpected { what } => write!(f, "unexpected frame: {what}"),
            Self::Flow { what, flow } | Self::Parts { flow, what } => {
                write!(f, "flow {flow}: {what}")
            }
            Self::CreditExceeded { flow } => {
                write!(f, "flow {flow}: more was sent than was granted")
            }
            Self::Gap {
                flow,
                expected,
                found,
            } => {
                write!(
                    f,
                    "flow {flow}: message {found} came where {expected} had to come"
                )
            }
            Self::Version { peer, own } => {
                let older = if peer.1 < own.0 {
                    "the peer"
                } else {
                    "this end"
                };
                write!(
                    f,
                    "the peer speaks wire versions {} to {}, this end {} to {}; upgrade {older}",
                    peer.0, peer.1, own.0, own.1
                )
            }
            Self::Stale { link, newest } => write!(
                f,
                "link {link} of the session cannot follow its link {newest}"
            ),
        }
    }
}

impl std::error::Error for ProtocolError {}

impl ProtocolError {
    /// What the goodbye says to programs.
    pub fn code(&self) -> GoodbyeCode {
        match self {
            Self::Version { .. } => GoodbyeCode::Version,
            Self::Stale { .. } => GoodbyeCode::Duplicate,
            _ => GoodbyeCode::Protocol,
        }
    }
}

/// A record was not taken; it comes back.
#[derive(Debug)]
#[non_exhaustive]
pub enum PushError {
    /// The flow has no credit for it now. An [`Event::Credit`](super::Event::Credit) says when to try again.
    NoCredit(Record),
    /// The flow does not exist (any more).
    NoFlow(Record),
}

impl PushError {
    /// The record that was not queued.
    pub fn into_record(self) -> Record {
        match self {
            Self::NoCredit(record) | Self::NoFlow(record) => record,
        }
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCredit(_) => "the flow has no credit; wait for more",
            Self::NoFlow(_) => "the flow is closed",
        })
    }
}

impl std::error::Error for PushError {}

/// A signal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// Too many wait for their ack; the peer is slow or gone.
    Full,
    /// It is longer than a signal may be.
    TooLarge,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many control messages wait for the peer's ack",
            Self::TooLarge => "the control message is too long",
        })
    }
}

impl std::error::Error for SignalError {}
