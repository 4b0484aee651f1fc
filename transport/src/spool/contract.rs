//! What a store does for the spool of a node.

use crate::wire::Record;
use bytes::Bytes;
use mcpbus_actors::Time;
use std::fmt;
use std::sync::Arc;

/// Names a queue within a store. Chosen by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u32);

/// A place in the log of a store. Rises with each message appended, over all queues, and is never used again.
pub type Position = u64;

/// Longest definition of a queue, and longest value, in bytes.
pub const VALUE_MAX: usize = 64 * 1024;
/// Longest key of a value, in bytes.
pub const KEY_MAX: usize = 256;
/// Longest tag of a message in a queue, in bytes.
pub const TAG_MAX: usize = 4 * 1024;
/// Most messages of one [`Operation::Append`].
pub const BATCH_MAX: usize = 1024;

/// One instant on the clock of the process and on that of the wall, so that deadlines survive a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// On the clock of the process.
    pub now: Time,
    /// In microseconds since 1970 (UTC).
    pub unix_micros: i64,
}

/// One change. The changes of one [`Store::commit`] happen together or not at all.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Makes a queue, or changes what is known of it.
    PutQueue {
        /// Which.
        queue: QueueId,
        /// What its owner wants to know of it after a restart. At most [`VALUE_MAX`] bytes.
        definition: Bytes,
    },
    /// Removes a queue and all that only it still needs.
    RemoveQueue {
        /// Which.
        queue: QueueId,
    },
    /// Appends messages, each of them to every one of these queues. The body is stored once.
    Append {
        /// The position of the first one; the others follow without gaps. Above every position before.
        first: Position,
        /// 1 to [`BATCH_MAX`] messages.
        records: Vec<Record>,
        /// The queues, each with a tag that comes back when the messages are read from it (at most [`TAG_MAX`]
        /// bytes). Not empty, no queue twice.
        queues: Arc<[(QueueId, Bytes)]>,
    },
    /// Messages are no longer needed by a queue. Those that are not in it are passed over.
    Settle {
        /// The queue.
        queue: QueueId,
        /// Where they lie, ascending.
        positions: Vec<Position>,
    },
    /// Keeps a small value under a key.
    Put {
        /// At most [`KEY_MAX`] bytes.
        key: Bytes,
        /// At most [`VALUE_MAX`] bytes.
        value: Bytes,
    },
    /// Removes a value.
    Delete {
        /// Its key.
        key: Bytes,
    },
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages that at least one queue still needs.
    pub messages: u64,
    /// What counts against the limit of the store, in bytes.
    pub bytes: u64,
}

/// What a store knew when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Its queues, by ascending id.
    pub queues: Vec<RecoveredQueue>,
    /// Its values, by ascending key.
    pub values: Vec<(Bytes, Bytes)>,
    /// Above every position that was ever used and could still be known to somebody.
    pub next: Position,
    /// What it holds.
    pub usage: Usage,
}

/// A queue of a store that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredQueue {
    /// Which.
    pub queue: QueueId,
    /// As it was put.
    pub definition: Bytes,
    /// Messages that are not settled.
    pub messages: u64,
}

/// A message as it is read from a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it lies.
    pub position: Position,
    /// The tag it has in this queue.
    pub tag: Bytes,
    /// The message. Its deadline is on the clock of this process. `Err` where its checksum does not agree: the message
    /// is lost, its place in the queue is not, and it can be settled.
    pub record: Result<Record, CorruptRecord>,
}

/// A stored message whose bytes have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptRecord;

impl fmt::Display for CorruptRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored message does not agree with its checksum")
    }
}

impl std::error::Error for CorruptRecord {}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The limit of the store is reached, or the disk is full. Nothing of the commit was done. Settling makes room; the
    /// store goes on by itself.
    Full,
    /// The disk failed. Nothing of the commit may be relied on. The store has opened itself anew, or will at the next
    /// call; what was committed with `sync` before is still there, what was not may be forgotten.
    Failed {
        /// What the system said.
        reason: String,
    },
    /// A sync has failed, so nobody knows what is on the disk. Nothing more is promised from this store: it refuses
    /// every commit until it is opened by a new process.
    SyncFailed {
        /// What the system said.
        reason: String,
    },
    /// The commit breaks the contract: a position that was used, a queue that is not there, a field that is too long.
    /// Nothing of it was done. Its owner has a defect.
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not a store, or one of a version that is not known.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the spool is full"),
            Self::Failed { reason } => write!(f, "the spool cannot write: {reason}"),
            Self::SyncFailed { reason } => write!(
                f,
                "the disk failed to sync the spool, nothing more is stored until the node is started again: {reason}"
            ),
            Self::Invalid { reason } => write!(f, "the spool cannot do this: {reason}"),
            Self::Unreadable { reason } => write!(f, "the spool cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Keeps messages of queues, and small values, on a disk.
///
/// All methods may block: a store has a thread of its own. Laws, which [`laws`](super::laws) tests:
/// - what a `commit` with `sync` returned Ok for survives whatever happens to the process or the machine, unless it is
///   removed by a later commit;
/// - a commit is there as a whole or not at all, and never before an earlier one;
/// - a commit without `sync` may be forgotten with the process, together with all that came after it without `sync`;
///   it is visible at once, and the next commit with `sync` makes it durable;
/// - `read` gives what is not settled in ascending order of positions, the same each time; reading changes nothing;
/// - a message that cannot be read any more is told of in its place, and harms no other;
/// - the space of a message is free once every queue it was for has settled it.
pub trait Store: Send + 'static {
    /// What the store knew when it was opened. Called once, first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn recover(&mut self) -> Result<Recovered, StoreError>;

    /// Carries changes out, together. Settlements and removals are possible when the store is full.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn commit(
        &mut self,
        operations: &[Operation],
        clock: WallClock,
        sync: bool,
    ) -> Result<Usage, StoreError>;

    /// The messages of a queue behind `after` (0: from the start): at most `messages` of them, and not more than one
    /// beyond `bytes` bytes of bodies.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn read(
        &mut self,
        queue: QueueId,
        after: Position,
        messages: usize,
        bytes: u64,
        clock: WallClock,
    ) -> Result<Vec<Stored>, StoreError>;
}
