//! Bounded channels: one inbox, many edges, many senders.
//!
//! An [`channel`] has one [`Sender`] (clone it) and one [`Receiver`]. An [`inbox`] has a receiver to which edges are
//! added; each edge has its own bound in messages and bytes, its own overflow policy, its own order and its own account.
//!
//! Invariants:
//! * an edge never holds more than its [`Capacity`]; a message heavier than the byte bound enters only an empty edge;
//! * what is sent by one sender is received in that order; senders that wait get room in the order of their arrival;
//! * `send` is cancel safe: what was not accepted comes back or stays with the caller;
//! * who sends or receives in a loop lets other tasks run;
//! * one lock and at most one wake-up per batch; the lock is never held while foreign code runs.

mod ahead;
mod block;
mod budget;
mod buffered;
mod capacity;
mod edge;
mod ends;
mod error;
mod inbox;
#[cfg(all(test, shuttle))]
mod interleavings;
mod latest;
mod lending;
mod line;
mod probe;
mod queue;
mod receiver;
mod reserve;
mod sender;
mod sending;
mod settlement;
mod single;
mod state;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod thread;
mod thread_wait;
mod turns;
mod wakers;

pub use buffered::{Buffered, BufferedSend};
pub(crate) use capacity::TURN_BYTES;
pub use capacity::{Capacity, Overflow};
pub(crate) use ends::{EdgeSender, Inlet};
pub use error::{Closed, SendError, SendTimeoutError, TryReceiveError, TrySendError};
pub use latest::{LatestReader, LatestWriter, latest};
pub use probe::Probe;
pub use receiver::{EdgeId, Receiver};
pub(crate) use sender::PollSender;
pub use sender::{Permit, Sender};
pub use sending::{SendBody, SendFuture};
pub use settlement::Settlement;
pub use stats::EdgeStats;
pub(crate) use thread::{ThreadInbox, ThreadSender};
#[doc(hidden)]
pub use thread_wait::Waits;
pub(crate) use thread_wait::WakeChannel;

use std::sync::Arc;

use crate::message::Message;

/// A channel with one edge, whose overflow policy is [`Overflow::Wait`].
#[must_use]
pub fn channel<M: Message>(capacity: Capacity) -> (Sender<M>, Receiver<M>) {
    let receiver = inbox();
    let (_, sender) = receiver.add_edge(capacity, Overflow::Wait);
    (sender, receiver)
}

/// An inbox without edges; add them with [`Receiver::add_edge`]. Until the first is added it reads as finished.
#[must_use]
pub fn inbox<M: Message>() -> Receiver<M> {
    Receiver::new(Arc::new(inbox::Core::new()))
}
