//! What a node asks of its store, and what it hears.

use super::contract::{Operation, Position, QueueId, Store, StoreError, Stored, Usage, WallClock};

/// Asks something of a store.
#[derive(Debug)]
pub enum Request {
    /// Carry changes out, together.
    Commit {
        /// Comes back with the answer.
        ticket: u64,
        /// The changes.
        operations: Vec<Operation>,
        /// Whether the answer waits until they are on the disk.
        sync: bool,
    },
    /// Read from a queue.
    Read {
        /// The queue.
        queue: QueueId,
        /// Behind this position.
        after: Position,
        /// Most messages.
        messages: usize,
        /// Most bytes of bodies; one message may exceed it.
        bytes: u64,
    },
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// Of [`Request::Commit`].
    Committed {
        /// As in the request.
        ticket: u64,
        /// What the store holds now, or why nothing was done.
        result: Result<Usage, StoreError>,
    },
    /// Of [`Request::Read`].
    Read {
        /// The queue.
        queue: QueueId,
        /// As in the request.
        after: Position,
        /// The messages in order; fewer than asked for where the queue ends.
        result: Result<Vec<Stored>, StoreError>,
    },
}

/// Carries one request out. Blocks as long as the store does.
pub fn carry_out(store: &mut dyn Store, request: Request, clock: WallClock) -> Answer {
    match request {
        Request::Commit {
            ticket,
            operations,
            sync,
        } => Answer::Committed {
            ticket,
            result: store.commit(&operations, clock, sync),
        },
        Request::Read {
            queue,
            after,
            messages,
            bytes,
        } => Answer::Read {
            queue,
            after,
            result: store.read(queue, after, messages, bytes, clock),
        },
    }
}
