//! What a [`MemoryStore`](super::MemoryStore) holds.

use super::super::clock::{Moment, StoredDeadline};
use super::super::contract::{CorruptRecord, Operation, Position, QueueId, Stored, Usage};
use crate::wire::Record;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What a message counts against the limit beyond its body, in bytes.
const MESSAGE_OVERHEAD: u64 = 64;
/// What a message in a queue, a queue and a value count beyond their bytes.
const ENTRY_OVERHEAD: u64 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) queues: BTreeMap<QueueId, Queue>,
    pub(super) messages: BTreeMap<Position, Message>,
    pub(super) values: BTreeMap<Bytes, Bytes>,
    pub(super) next: Position,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) definition: Bytes,
    /// The tag of each message.
    pub(super) messages: BTreeMap<Position, Bytes>,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    record: Record,
    deadline: Option<StoredDeadline>,
    /// How many queues it is in.
    queues: u32,
    pub(super) corrupt: bool,
}

fn message_bytes(record: &Record) -> u64 {
    MESSAGE_OVERHEAD + record.body.len() as u64
}

fn entry_bytes(bytes: &[u8]) -> u64 {
    ENTRY_OVERHEAD + bytes.len() as u64
}

fn value_bytes(key: &[u8], value: &[u8]) -> u64 {
    ENTRY_OVERHEAD + (key.len() + value.len()) as u64
}

impl State {
    pub(super) fn usage(&self) -> Usage {
        Usage {
            messages: self.messages.len() as u64,
            bytes: self.bytes,
        }
    }

    /// How many bytes more it would hold at most.
    pub(super) fn growth(&self, operations: &[Operation]) -> u64 {
        operations
            .iter()
            .map(|operation| match operation {
                Operation::PutQueue { queue, definition } => {
                    let before = self.queues.get(queue);
                    let before = before.map_or(0, |kept| entry_bytes(&kept.definition));
                    entry_bytes(definition).saturating_sub(before)
                }
                Operation::Append {
                    records, queues, ..
                } => {
                    let entries: u64 = queues.iter().map(|(_, tag)| entry_bytes(tag)).sum();
                    let bodies: u64 = records.iter().map(message_bytes).sum();
                    bodies + entries * records.len() as u64
                }
                Operation::Put { key, value } => {
                    let before = self.values.get(key);
                    let before = before.map_or(0, |before| value_bytes(key, before));
                    value_bytes(key, value).saturating_sub(before)
                }
                Operation::RemoveQueue { .. }
                | Operation::Settle { .. }
                | Operation::Delete { .. } => 0,
            })
            .sum()
    }

    pub(super) fn apply(&mut self, operations: &[Operation], at: Moment) {
        for operation in operations {
            self.apply_one(operation, at);
        }
    }

    fn apply_one(&mut self, operation: &Operation, at: Moment) {
        match operation {
            Operation::PutQueue { queue, definition } => {
                self.bytes += entry_bytes(definition);
                match self.queues.entry(*queue) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(Queue {
                            definition: definition.clone(),
                            messages: BTreeMap::new(),
                        });
                    }
                    Entry::Occupied(mut occupied) => {
                        let kept = occupied.get_mut();
                        self.bytes -= entry_bytes(&kept.definition);
                        kept.definition = definition.clone();
                    }
                }
            }
            Operation::RemoveQueue { queue } => {
                if let Some(kept) = self.queues.remove(queue) {
                    self.bytes -= entry_bytes(&kept.definition);
                    for (position, tag) in kept.messages {
                        self.release(position, &tag);
                    }
                }
            }
            Operation::Append {
                first,
                records,
                queues,
            } => self.append(*first, records, queues, at),
            Operation::Settle { queue, positions } => {
                for position in positions {
                    let kept = self.queues.get_mut(queue);
                    if let Some(tag) = kept.and_then(|kept| kept.messages.remove(position)) {
                        self.release(*position, &tag);
                    }
                }
            }
            Operation::Put { key, value } => {
                self.bytes += value_bytes(key, value);
                if let Some(before) = self.values.insert(key.clone(), value.clone()) {
                    self.bytes -= value_bytes(key, &before);
                }
            }
            Operation::Delete { key } => {
                if let Some(before) = self.values.remove(key) {
                    self.bytes -= value_bytes(key, &before);
                }
            }
        }
    }

    fn append(
        &mut self,
        first: Position,
        records: &[Record],
        queues: &[(QueueId, Bytes)],
        at: Moment,
    ) {
        for (position, record) in (first..).zip(records) {
            let mut needed = 0;
            for (queue, tag) in queues {
                if let Some(kept) = self.queues.get_mut(queue) {
                    kept.messages.insert(position, tag.clone());
                    self.bytes += entry_bytes(tag);
                    needed += 1;
                }
            }
            self.bytes += message_bytes(record);
            let message = Message {
                record: record.clone(),
                deadline: record
                    .deadline
                    .map(|deadline| StoredDeadline::new(deadline, at)),
                queues: needed,
                corrupt: false,
            };
            self.messages.insert(position, message);
            self.next = position + 1;
        }
    }

    fn release(&mut self, position: Position, tag: &[u8]) {
        self.bytes -= entry_bytes(tag);
        if let Some(message) = self.messages.get_mut(&position) {
            message.queues -= 1;
            if message.queues == 0 {
                self.bytes -= message_bytes(&message.record);
                self.messages.remove(&position);
            }
        }
    }

    pub(super) fn read(
        &self,
        queue: QueueId,
        after: Position,
        messages: usize,
        bytes: u64,
        at: Moment,
    ) -> Vec<Stored> {
        let Some(kept) = self.queues.get(&queue) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        let mut size = 0;
        for (position, tag) in kept
            .messages
            .range(after.saturating_add(1)..)
            .take(messages)
        {
            if !read.is_empty() && size >= bytes {
                break;
            }
            let Some(message) = self.messages.get(position) else {
                continue;
            };
            let record = if message.corrupt {
                Err(CorruptRecord)
            } else {
                let mut record = message.record.clone();
                record.deadline = message.deadline.map(|deadline| deadline.restore(at));
                Ok(record)
            };
            size += message.record.body.len() as u64;
            read.push(Stored {
                position: *position,
                tag: tag.clone(),
                record,
            });
        }
        read
    }
}
