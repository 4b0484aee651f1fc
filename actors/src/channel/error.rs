//! Why something could not be sent or received. What could not be sent comes back.

use std::error::Error;
use std::fmt;

/// Why [`Sender::send`](super::Sender::send) did not send.
#[derive(Clone, PartialEq, Eq)]
pub enum SendError<M> {
    /// The receiver is gone or closed. Nobody can recover on this channel; the message is here.
    Closed(M),
    /// The edge is full and its policy is to fail. The sender may try again later; the message is here.
    Full(M),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Closed(message) | Self::Full(message) => message,
        }
    }

    pub(crate) fn map<N>(self, f: impl FnOnce(M) -> N) -> SendError<N> {
        match self {
            Self::Closed(message) => SendError::Closed(f(message)),
            Self::Full(message) => SendError::Full(f(message)),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed(..)",
            Self::Full(_) => "Full(..)",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "the receiver of this channel is gone; the message was not sent",
            Self::Full(_) => "the edge is full and its overflow policy is `fail`; try again later",
        })
    }
}

impl<M> Error for SendError<M> {}

/// Why [`Sender::try_send`](super::Sender::try_send) did not send.
#[derive(Clone, PartialEq, Eq)]
pub enum TrySendError<M> {
    /// No room now, or others wait for it already. Try again later, or wait with `send`.
    Full(M),
    /// The receiver is gone or closed.
    Closed(M),
}

impl<M> TrySendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }

    pub(crate) fn map<N>(self, f: impl FnOnce(M) -> N) -> TrySendError<N> {
        match self {
            Self::Closed(message) => TrySendError::Closed(f(message)),
            Self::Full(message) => TrySendError::Full(f(message)),
        }
    }
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<M> fmt::Display for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the edge is full; wait with `send`, or try again later",
            Self::Closed(_) => "the receiver of this channel is gone; the message was not sent",
        })
    }
}

impl<M> Error for TrySendError<M> {}

/// Why [`Sender::send_timeout`](super::Sender::send_timeout) did not send.
#[derive(Clone, PartialEq, Eq)]
pub enum SendTimeoutError<M> {
    /// There was no room in that time. The sender may try again.
    Timeout(M),
    /// As in [`SendError`].
    Refused(SendError<M>),
}

impl<M> SendTimeoutError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Timeout(message) => message,
            Self::Refused(error) => error.into_message(),
        }
    }

    pub(crate) fn map<N>(self, f: impl FnOnce(M) -> N) -> SendTimeoutError<N> {
        match self {
            Self::Timeout(message) => SendTimeoutError::Timeout(f(message)),
            Self::Refused(error) => SendTimeoutError::Refused(error.map(f)),
        }
    }
}

impl<M> fmt::Debug for SendTimeoutError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(_) => f.write_str("Timeout(..)"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<M> fmt::Display for SendTimeoutError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(_) => {
                f.write_str("the edge stayed full until the time ran out; the message was not sent")
            }
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<M> Error for SendTimeoutError<M> {}

/// The receiver is gone or closed; what was not sent is still where the caller put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the receiver of this channel is gone; what was not sent remains with the sender",
        )
    }
}

impl Error for Closed {}

/// Why [`Receiver::try_recv`](super::Receiver::try_recv) gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryReceiveError {
    /// Nothing there now. Wait with `recv`, or try again.
    Empty,
    /// Nothing there, and no sender left: nothing will come any more.
    Closed,
}

impl fmt::Display for TryReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no message is there now",
            Self::Closed => "all senders are gone and everything they sent has been received",
        })
    }
}

impl Error for TryReceiveError {}
