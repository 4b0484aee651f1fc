//! What became of the messages a node took over.

use mcpbus_transport::wire::Failure;
use std::collections::BTreeMap;

/// Counts of one node. Each message that a peer handed over ends in exactly one of the outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLedger {
    /// Messages taken over from peers.
    pub accepted: u64,
    /// Messages that every place they were for has taken over (or processed, where that was asked).
    pub delivered: u64,
    /// Messages that ended badly, by reason.
    pub dead: BTreeMap<FailureName, u64>,
    /// Messages whose deadline passed before they could be handed on.
    pub expired: u64,
    /// Messages dropped with a reason: nobody subscribed, the subscriber left.
    pub shed: BTreeMap<&'static str, u64>,
    /// Messages that were held when they were cancelled.
    pub cancelled: u64,
    /// Messages held now, counted by walking the queues.
    pub held: u64,
    /// Messages that a peer had taken over from this node and held when it died. They were delivered as far as this
    /// node is concerned, so they stand beside the balance.
    pub lost: u64,
}

/// The name of a failure, as in [`Failure::name`].
pub type FailureName = &'static str;

impl NodeLedger {
    /// What was accepted and is neither held nor ended: 0, or a defect.
    pub fn residual(&self) -> i64 {
        let ended = self.delivered
            + self.dead.values().sum::<u64>()
            + self.expired
            + self.shed.values().sum::<u64>()
            + self.cancelled;
        self.accepted as i64 - ended as i64 - self.held as i64
    }

    /// One message ended this way.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Failed(Failure::Expired) => self.expired += 1,
            Outcome::Failed(Failure::Cancelled) => self.cancelled += 1,
            Outcome::Failed(failure) => *self.dead.entry(failure.name()).or_default() += 1,
            Outcome::Shed(reason) => *self.shed.entry(reason).or_default() += 1,
        }
    }
}

/// How a message ended in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    Failed(Failure),
    Shed(&'static str),
}
