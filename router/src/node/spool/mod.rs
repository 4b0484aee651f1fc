//! What a node keeps on its disk, sans-IO: the node decides what is stored, delivered again and settled; a store
//! carries it out and answers.
//!
//! A *queue* of the spool is, to the rest of the node, one more flow that messages come on: an `InFlow` without a peer.
//! There is one for each durable subscription of this node, one for each other node that has some (what is kept until
//! that node has stored it), and one for dead letters.
//!
//! | file | subject |
//! | --- | --- |
//! | `state` | the state, its queues and sets of queues |
//! | `append` | from a flow into the next commit |
//! | `commit` | the commit under way, its answer, and what was read |
//! | `queue` | what of a queue is in memory |
//! | `settle` | how stored messages end, and how they come back |
//! | `durable` | durable subscriptions, here and at other nodes |
//! | `dead` | dead letters: to look at, to discard, to try again |
//! | `producers` | what of which producer is stored already |
//! | `definition` | queues and remembered interest as bytes |
//! | `ledger` | the account of what was stored |
//!
//! Invariants:
//! - a message is acknowledged as stored after the commit that has it was synced, never before;
//! - a commit is under way or there is none: what comes meanwhile goes into the next one, together;
//! - a queue's messages are handed on in the order of their positions; one that is tried again holds back those of its key;
//! - what is in memory of a queue is bounded; the rest is read when there is room;
//! - a message leaves its queue when its next owner has settled it, when it is a dead letter, or when it has expired.

mod append;
mod commit;
mod dead;
mod definition;
mod durable;
mod ledger;
mod producers;
mod queue;
mod settle;
mod state;

pub(super) use append::Storable;
pub use dead::DeadLetter;
pub use ledger::SpoolLedger;
pub(super) use queue::Attached;
pub use queue::SPOOL_MEMORY;
pub(super) use state::{DURABLE, SPOOL, Spool, is_durable};
