//! What an edge tells about itself.

use super::{Capacity, Overflow};
use crate::message::EdgeCounts;

/// A look at one edge: its account and its filling now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeStats {
    /// Accepted, outcomes, held.
    pub counts: EdgeCounts,
    /// Messages in the queue now (`counts.held` also counts those in the receiver's hands).
    pub queued_messages: usize,
    /// Bytes in the queue now.
    pub queued_bytes: usize,
    /// The most messages the queue ever held.
    pub peak_messages: usize,
    /// Its bound.
    pub capacity: Capacity,
    /// What it does when full.
    pub overflow: Overflow,
    /// How many sender handles there are; none counts once the edge was ended from outside.
    pub senders: usize,
}
