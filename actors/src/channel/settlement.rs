//! How messages ended, as the receiving side tells it to the edge.

use crate::message::{DeadCounts, ShedCounts};

/// Outcomes of messages of one edge, added in one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settlement {
    /// Handled.
    pub delivered: u64,
    /// Dead letters by reason.
    pub dead: DeadCounts,
    /// Expired before a handler saw them.
    pub expired: u64,
    /// Dropped on purpose.
    pub shed: ShedCounts,
    /// Given up.
    pub cancelled: u64,
    /// Owned by a peer that died.
    pub lost: u64,
}

impl Settlement {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Adds all numbers of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.dead.merge(&other.dead);
        self.expired += other.expired;
        self.shed.merge(&other.shed);
        self.cancelled += other.cancelled;
        self.lost += other.lost;
    }

    /// How many messages it settles.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.delivered
            + self.dead.total()
            + self.expired
            + self.shed.total()
            + self.cancelled
            + self.lost
    }
}
