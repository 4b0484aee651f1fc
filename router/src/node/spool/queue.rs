//! What of a queue is in memory.

use super::definition::QueueKind;
use crate::node::flow::InFlowId;
use crate::node::peer::PeerId;
use bytes::Bytes;
use mcpbus_transport::spool::{Position, QueueId};
use mcpbus_transport::wire::Record;
use std::collections::{BTreeMap, VecDeque};

/// Most messages of one queue that are in memory.
const MESSAGES_MAX: usize = 1024;
/// Most bytes of one queue that are in memory; one message may exceed them.
const BYTES_MAX: u64 = 1 << 20;
/// Bytes that a spool takes in memory at most: what of its queues is there, and what its store keeps cached. A queue may
/// have one message beyond it.
pub const SPOOL_MEMORY: u64 = QUEUES_BYTES + 16 * 1024 * 1024;
/// Bytes of all queues that are in memory, beyond one message of each.
pub(super) const QUEUES_BYTES: u64 = 32 << 20;
/// A queue is read again when so much of it is handed on.
const LOW: usize = MESSAGES_MAX / 2;

/// Messages at the front of a recovered queue that an earlier life may have handed out: what was in memory, what was settled
/// in the commit under way, and what was settled for the next.
const HANDED_OUT_MAX: u64 = 3 * MESSAGES_MAX as u64;

/// Who takes the messages of a durable subscription now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Attached {
    pub(in crate::node) peer: PeerId,
    pub(in crate::node) subscription: u32,
    pub(in crate::node) flow: u32,
}

/// A message of a queue that is in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) position: Position,
    pub(super) tag: Bytes,
    /// Gone once the message has ended.
    pub(super) record: Option<Record>,
    /// How often it was handed out in vain.
    pub(super) attempts: u16,
}

/// One queue of the spool.
#[derive(Debug)]
pub(in crate::node) struct Queue {
    pub(super) id: QueueId,
    pub(super) kind: QueueKind,
    /// The flow that its messages come on.
    pub(super) inflow: InFlowId,
    /// What is in memory, in order; the first has the sequence `first` on the flow.
    held: VecDeque<Held>,
    first: u64,
    bytes: u64,
    /// The last position that is or was in memory.
    pub(super) loaded: Position,
    /// How many messages lie behind it on the disk.
    pub(super) behind: u64,
    /// Whether an answer of the store is awaited.
    pub(super) reading: bool,
    pub(super) attached: Option<Attached>,
    /// Whether its definition is on the disk.
    pub(super) committed: bool,
    /// Whose publisher waits until it is processed.
    pub(super) receipts: BTreeMap<Position, u64>,
    /// How many of the next messages on the disk an earlier life of this node may have handed to the queue's node.
    unsure: u64,
}

impl Queue {
    pub(super) fn new(id: QueueId, kind: QueueKind, inflow: InFlowId, behind: u64) -> Self {
        Self {
            id,
            kind,
            inflow,
            held: VecDeque::new(),
            first: 1,
            bytes: 0,
            loaded: 0,
            behind,
            reading: false,
            attached: None,
            committed: false,
            receipts: BTreeMap::new(),
            unsure: 0,
        }
    }

    /// The queue was on the disk when the node started.
    pub(super) fn recovered(mut self) -> Self {
        self.committed = true;
        if matches!(self.kind, QueueKind::Node { .. }) {
            self.unsure = self.behind.min(HANDED_OUT_MAX);
        }
        self
    }

    /// A message comes from the disk. The other node may have stored it in an earlier life of this one: then it is marked,
    /// so that the other looks whether it has.
    pub(super) fn came_back(&mut self, record: &mut Record) {
        if self.unsure > 0 {
            self.unsure -= 1;
            record.extra.get_or_insert_default().repeat = true;
        }
    }

    /// Whether the next message can stay in memory: all before it are there, and there is room. `all` is what all queues
    /// have in memory, in bytes.
    pub(super) fn takes_live(&self, all: u64) -> bool {
        let room = self.held.len() < MESSAGES_MAX && self.bytes < BYTES_MAX;
        let share = all < QUEUES_BYTES || self.held.is_empty();
        self.behind == 0 && !self.reading && room && share
    }

    /// How much is to be read now: messages and bytes. `None` while there is nothing to read or no room.
    pub(super) fn to_read(&self, all: u64) -> Option<(usize, u64)> {
        let wanted = self.behind > 0
            && !self.reading
            && self.held.len() <= LOW
            && self.bytes <= BYTES_MAX / 2;
        // The last message that came may reach beyond the limit.
        let room = BYTES_MAX.saturating_sub(self.bytes);
        let left = QUEUES_BYTES.saturating_sub(all).min(room);
        match (wanted, left) {
            (false, _) => None,
            // Others have all of the memory: one message at a time.
            (true, 0) => self.held.is_empty().then_some((1, 1)),
            (true, left) => Some((MESSAGES_MAX - self.held.len(), left)),
        }
    }

    /// Takes a message into memory. Returns its sequence on the flow.
    pub(super) fn push(&mut self, position: Position, tag: Bytes, record: Record) -> u64 {
        self.loaded = self.loaded.max(position);
        self.bytes += record.cost();
        self.held.push_back(Held {
            position,
            tag,
            record: Some(record),
            attempts: 0,
        });
        self.first + self.held.len() as u64 - 1
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Held> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.held.get(index)
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Held> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.held.get_mut(index)
    }

    /// A message has ended: what it was. `None` if it had ended before.
    pub(super) fn take(&mut self, sequence: u64) -> Option<(Position, Record, u16)> {
        let held = self.get_mut(sequence)?;
        let record = held.record.take()?;
        let (position, attempts) = (held.position, held.attempts);
        self.bytes -= record.cost();
        while self
            .held
            .front()
            .is_some_and(|front| front.record.is_none())
        {
            self.held.pop_front();
            self.first += 1;
        }
        Some((position, record, attempts))
    }

    /// Messages that are not ended, in memory and on the disk, counted by walking.
    pub(super) fn unfinished(&self) -> u64 {
        self.behind
            + self
                .held
                .iter()
                .filter(|held| held.record.is_some())
                .count() as u64
    }

    /// Bytes that are in memory.
    pub(super) fn in_memory(&self) -> u64 {
        self.bytes
    }

    /// The name in logs and dead letters.
    pub(super) fn name(&self) -> String {
        match &self.kind {
            QueueKind::Subscription { name, .. } => name.to_string(),
            QueueKind::Node { origin } => format!("node {origin:032x}"),
            QueueKind::Dead => String::from("dead letters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpbus_transport::wire::{AckLevel, Head, ProducerId};
    use std::sync::Arc;

    fn record(size: usize) -> Record {
        let head = Arc::new(Head {
            producer: ProducerId { id: 1, epoch: 1 },
            subject: Arc::from("a"),
            kind: 0,
            ack: AckLevel::Stored,
            hops: 0,
        });
        Record {
            head,
            sequence: 1,
            key: None,
            deadline: None,
            extra: None,
            body: Bytes::from(vec![0; size]),
        }
    }

    /// How many of so many messages are marked when they come from the disk.
    fn marked(mut queue: Queue, messages: u64) -> usize {
        let repeats = (0..messages).filter(|_| {
            let mut record = record(1);
            queue.came_back(&mut record);
            record.extra.is_some_and(|extra| extra.repeat)
        });
        repeats.count()
    }

    #[test]
    fn what_an_earlier_life_may_have_handed_to_another_node_is_marked() {
        let node = |behind| Queue::new(QueueId(1), QueueKind::Node { origin: 1 }, 0, behind);
        assert_eq!(marked(node(10), 10), 0, "all of this life");
        assert_eq!(marked(node(10).recovered(), 20), 10);
        let many = 2 * HANDED_OUT_MAX;
        assert_eq!(marked(node(many).recovered(), many) as u64, HANDED_OUT_MAX);
    }

    #[test]
    fn a_queue_whose_last_message_reaches_beyond_its_memory_reads_nothing() {
        let mut queue = Queue::new(QueueId(1), QueueKind::Node { origin: 1 }, 0, 1);
        assert!(queue.to_read(0).is_some());
        queue.push(1, Bytes::new(), record(BYTES_MAX as usize + 1));
        assert_eq!(queue.to_read(0), None);
    }
}
