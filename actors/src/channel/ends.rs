//! The ends that stages hold: an edge's kind follows from where its stages run, and stages do not care.

use std::task::{Context, Poll};

use super::thread::{ThreadInbox, ThreadSender};
use super::{Closed, EdgeId, PollSender, Receiver, Settlement, Waits};
use crate::message::{Batch, Message};

/// The sending end that a stage's output holds.
pub(crate) enum EdgeSender<M: Message> {
    /// At least one end is a task, or the policy is not `Wait`.
    Channel(PollSender<M>),
    /// Both ends are threads.
    Thread(ThreadSender<M>),
}

impl<M: Message> EdgeSender<M> {
    /// Moves `batch` into the edge as room comes: how many left the batch, and whether nothing has to be waited for.
    pub(crate) fn poll_send_batch(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
    ) -> (usize, Result<bool, Closed>) {
        match self {
            Self::Channel(sender) => sender.poll_send_batch(cx, batch),
            Self::Thread(sender) => sender.offer(batch),
        }
    }

    /// Counts messages that the edge refused, as accepted and dead by `quota`.
    pub(crate) fn count_refused(&self, count: u64) {
        match self {
            Self::Channel(sender) => sender.sender().count_refused(count),
            Self::Thread(sender) => sender.count_refused(count),
        }
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        if let Self::Thread(sender) = self {
            sender.register(waits);
        }
    }
}

/// The receiving end that a stage holds.
pub(crate) enum Inlet<M: Message> {
    /// At least one input comes from a task.
    Channel(Receiver<M>),
    /// All inputs come from threads.
    Thread(ThreadInbox<M>),
}

impl<M: Message> Inlet<M> {
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
        max: usize,
    ) -> Poll<Option<EdgeId>> {
        match self {
            Self::Channel(receiver) => receiver.poll_take(cx, batch, max),
            Self::Thread(inbox) => inbox.poll_take(batch, max),
        }
    }

    pub(crate) fn settle(&self, edge: EdgeId, settlement: &Settlement, in_hand: u64) {
        match self {
            Self::Channel(receiver) => receiver.settle(edge, settlement, in_hand),
            Self::Thread(inbox) => inbox.settle(edge, settlement, in_hand),
        }
    }

    /// As [`Inlet::settle`], when all of them were delivered, as most are.
    pub(crate) fn settle_delivered(&self, edge: EdgeId, delivered: u64, in_hand: u64) {
        match self {
            Self::Channel(receiver) => receiver.settle_delivered(edge, delivered, in_hand),
            Self::Thread(inbox) => {
                let settlement = Settlement {
                    delivered,
                    ..Settlement::default()
                };
                inbox.settle(edge, &settlement, in_hand);
            }
        }
    }

    /// Takes nothing from this edge, or takes from it again; other edges go on.
    pub(crate) fn set_paused(&mut self, edge: EdgeId, paused: bool) {
        match self {
            Self::Channel(receiver) if paused => receiver.pause(edge),
            Self::Channel(receiver) => receiver.resume(edge),
            Self::Thread(inbox) => inbox.set_paused(edge, paused),
        }
    }

    /// Whether this edge is empty and will stay so. Asked after [`Inlet::poll_take`] had nothing.
    pub(crate) fn is_over(&self, edge: EdgeId) -> bool {
        match self {
            Self::Channel(receiver) => receiver.is_over(edge),
            Self::Thread(inbox) => inbox.is_over(edge),
        }
    }

    /// Nothing more comes in; what is queued can still be taken.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Channel(receiver) => receiver.close(),
            Self::Thread(inbox) => inbox.close(),
        }
    }

    pub(crate) fn register<'a>(&'a self, waits: &mut Waits<'a>) {
        if let Self::Thread(inbox) = self {
            inbox.register(waits);
        }
    }
}
