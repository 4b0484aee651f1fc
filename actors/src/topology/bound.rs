//! How much memory an edge and the turns at its ends can hold.
//!
//! What is counted: messages by weight, which is header, body and what the body owns; the places in batches that no message
//! uses; and emptied batches that are kept for later. What allocators add to each allocation is not.

use super::plan::{End, Plan, Role};
use crate::channel::{Capacity, TURN_BYTES};
use crate::message::{Header, Message};
use crate::stage::MAX_BATCH;

/// What an edge and the turns at its ends can hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeBound {
    /// In its queue: messages, unused places of their batches, and emptied batches that are kept for later.
    pub queue: usize,
    /// In the hand of the stage behind it, which holds one batch of one of its edges at a time, and as much in the outputs of the
    /// stage before it. What one handler call emits at once comes on top.
    pub turn: usize,
}

impl EdgeBound {
    /// Of an edge of this capacity that carries `M`.
    #[must_use]
    pub fn of<M: Message>(capacity: Capacity) -> Self {
        Self::new(capacity, Header::WEIGHT + size_of::<M>())
    }

    /// Of an edge of this capacity, whose messages take `message_bytes` each without what their bodies own.
    #[must_use]
    pub fn new(capacity: Capacity, message_bytes: usize) -> Self {
        let bytes = capacity.max_bytes();
        // Where messages own much, their number says how much their places can take.
        let places = capacity.max_messages().saturating_mul(message_bytes);
        let spare = capacity.unused_bytes() + capacity.emptied_bytes();
        Self {
            queue: bytes.saturating_add(spare.min(places)),
            turn: bytes.min(TURN_BYTES) + MAX_BATCH.saturating_mul(message_bytes),
        }
    }
}

impl Plan {
    /// The most bytes its messages can hold at once: per edge its queue and one batch of outputs of the stage before it, per
    /// stage one batch in its hand (a merge: one of each input), and the dead letters ([`EdgeBound`] says what is counted).
    ///
    /// What comes on top: a single message heavier than the byte bound of its edge, what one handler call emits at once, and
    /// what stages keep, messages that they deferred included.
    #[must_use]
    pub fn memory_bound(&self) -> usize {
        let bounds: Vec<EdgeBound> = self
            .edges
            .iter()
            .map(|edge| EdgeBound::new(edge.capacity, edge.message_bytes))
            .collect();
        let outputs = self.edges.iter().zip(&bounds).map(|(edge, bound)| {
            // What comes from outside has no outputs here.
            let turn = matches!(edge.from, End::Stage(_)).then_some(bound.turn);
            bound.queue.saturating_add(turn.unwrap_or(0))
        });
        let hands = self.stages.iter().map(|stage| {
            let inputs = stage.inputs.iter().filter_map(|edge| bounds.get(*edge));
            let turns = inputs.map(|bound| bound.turn);
            if stage.role == Role::Merge {
                // It holds what was taken of each input until it may pass.
                turns.fold(0, usize::saturating_add)
            } else {
                turns.max().unwrap_or(0)
            }
        });
        let all = outputs.chain(hands).chain([self.dead_letter_bytes]);
        all.fold(0, usize::saturating_add)
    }
}
