//! What a store should hold, in the plainest form; and random commits.

use super::super::contract::{
    Operation, Position, QueueId, Recovered, Store, StoreError, Usage, WallClock,
};
use super::super::random::Random;
use crate::wire::{AckLevel, Extra, Head, Labels, ProducerId, Record};
use bytes::Bytes;
use mcpbus_actors::{Key, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The queues of a model: their definition, and the tag and message of each position.
type Queues = BTreeMap<QueueId, (Bytes, BTreeMap<Position, (Bytes, Record)>)>;

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    queues: Queues,
    values: BTreeMap<Bytes, Bytes>,
}

impl Model {
    pub(super) fn apply(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::PutQueue { queue, definition } => {
                    self.queues.entry(*queue).or_default().0 = definition.clone();
                }
                Operation::RemoveQueue { queue } => {
                    self.queues.remove(queue);
                }
                Operation::Append {
                    first,
                    records,
                    queues,
                } => {
                    for (queue, tag) in queues.iter() {
                        let messages = &mut self.queues.entry(*queue).or_default().1;
                        messages.extend(
                            (*first..)
                                .zip(records.iter().map(|record| (tag.clone(), record.clone()))),
                        );
                    }
                }
                Operation::Settle { queue, positions } => {
                    if let Some((_, messages)) = self.queues.get_mut(queue) {
                        messages.retain(|position, _| !positions.contains(position));
                    }
                }
                Operation::Put { key, value } => {
                    self.values.insert(key.clone(), value.clone());
                }
                Operation::Delete { key } => {
                    self.values.remove(key);
                }
            }
        }
    }

    /// Messages that a queue needs.
    pub(super) fn messages(&self) -> u64 {
        let queues = self.queues.values();
        let all: BTreeSet<Position> = queues
            .flat_map(|(_, messages)| messages.keys().copied())
            .collect();
        all.len() as u64
    }

    /// What a store holds, read in small pieces. Deadlines must be those of the records as they were appended, so the
    /// clock of all commits and reads is one.
    pub(super) fn of(
        store: &mut dyn Store,
        recovered: &Recovered,
        clock: WallClock,
    ) -> Result<Self, StoreError> {
        let mut model = Self::default();
        for queue in &recovered.queues {
            let mut messages = BTreeMap::new();
            let mut after = 0;
            loop {
                let read = store.read(queue.queue, after, 7, 3000, clock)?;
                let Some(last) = read.last() else { break };
                assert!(
                    read.len() <= 7,
                    "a read gives at most as many messages as asked for"
                );
                assert!(
                    read.is_sorted_by_key(|stored| stored.position) && read[0].position > after,
                    "a read is in ascending order behind its position"
                );
                let before: usize = read[..read.len() - 1]
                    .iter()
                    .filter_map(|stored| stored.record.as_ref().ok())
                    .map(|record| record.body.len())
                    .sum();
                assert!(
                    read.len() == 1 || before < 3000 + 2000,
                    "a read ends with the message that passes its bytes"
                );
                after = last.position;
                for stored in read {
                    match stored.record {
                        Ok(record) => messages.insert(stored.position, (stored.tag, record)),
                        Err(error) => panic!("position {}: {error}", stored.position),
                    };
                }
            }
            assert_eq!(
                messages.len() as u64,
                queue.messages,
                "a queue has as many messages as recovery says"
            );
            model
                .queues
                .insert(queue.queue, (queue.definition.clone(), messages));
        }
        model.values = recovered.values.iter().cloned().collect();
        assert_eq!(
            recovered.usage.messages,
            model.messages(),
            "recovery counts the messages"
        );
        Ok(model)
    }

    /// Whether a usage counts these messages.
    pub(super) fn agrees(&self, usage: Usage) {
        assert_eq!(
            usage.messages,
            self.messages(),
            "the usage counts the messages"
        );
    }

    /// The positions of a queue.
    pub(super) fn positions(&self, queue: QueueId) -> Vec<Position> {
        let messages = self.queues.get(&queue);
        messages.map_or_else(Vec::new, |(_, messages)| messages.keys().copied().collect())
    }

    /// The queues there are.
    pub(super) fn queues(&self) -> Vec<QueueId> {
        self.queues.keys().copied().collect()
    }
}

/// A message with some of the fields that a message can have.
pub(super) fn record(random: &mut Random, sequence: u64) -> Record {
    let length = match random.below(10) {
        0 => 0,
        1 => 20_000,
        2 => 2000,
        _ => random.below(200),
    };
    let fill = random.below(256) as u8;
    let head = Head {
        producer: ProducerId {
            id: u128::from(random.below(3)),
            epoch: 1,
        },
        subject: Arc::from(["orders.created", "a"][random.below(2) as usize]),
        kind: random.below(2) * 77,
        ack: AckLevel::Stored,
        hops: random.below(3) as u8,
    };
    let extra = Extra {
        event_time: Some(-5),
        attempt: 3,
        priority: 1,
        trace: Some((u128::MAX, 2, 1)),
        reply: None,
        repeat: false,
        labels: Labels::new([("version", "v2")]).unwrap_or_default(),
    };
    Record {
        head: Arc::new(head),
        sequence,
        key: random.one_in(2).then(|| Key::from(random.below(5))),
        deadline: random
            .one_in(3)
            .then(|| Time::from_nanos(1_000_000_000_000 + random.below(1 << 40))),
        extra: random.one_in(5).then(|| Box::new(extra)),
        body: Bytes::from(vec![fill; length as usize]),
    }
}

/// The changes of a commit that the contract allows after `model`, and the position after it.
pub(super) fn operations(
    random: &mut Random,
    model: &Model,
    next: &mut Position,
) -> Vec<Operation> {
    let mut queues = model.queues();
    let mut operations = Vec::new();
    for _ in 0..=random.below(3) {
        let queue = QueueId(random.below(4) as u32);
        let text =
            |random: &mut Random, max: u64| Bytes::from(vec![b'x'; random.below(max) as usize]);
        operations.push(match random.below(12) {
            0 => {
                if !queues.contains(&queue) {
                    queues.push(queue);
                }
                let definition = text(random, 100);
                Operation::PutQueue { queue, definition }
            }
            1 if random.one_in(3) => {
                queues.retain(|other| *other != queue);
                Operation::RemoveQueue { queue }
            }
            1..=5 if !queues.is_empty() => {
                let count = if random.one_in(6) {
                    200
                } else {
                    1 + random.below(20)
                };
                let first = *next + random.below(2);
                *next = first + count;
                let skip = random.below(queues.len() as u64) as usize;
                let tagged = queues[skip..]
                    .iter()
                    .map(|queue| (*queue, text(random, 20)));
                let tagged = tagged.collect();
                let records = (0..count).map(|offset| record(random, first + offset));
                Operation::Append {
                    first,
                    records: records.collect(),
                    queues: tagged,
                }
            }
            6..=9 => {
                let lie = model.positions(queue);
                let mut positions: Vec<Position> = match random.below(3) {
                    // From the head, as consumers do; some of them; all of them.
                    0 => lie.into_iter().take(random.below(100) as usize).collect(),
                    1 => lie.into_iter().filter(|_| random.one_in(3)).collect(),
                    _ => lie,
                };
                positions.push(u64::MAX);
                Operation::Settle { queue, positions }
            }
            10 => {
                let key = Bytes::from(vec![b'k'; 1 + random.below(4) as usize]);
                let value = text(random, 300);
                Operation::Put { key, value }
            }
            _ => Operation::Delete {
                key: Bytes::from(vec![b'k'; 1 + random.below(4) as usize]),
            },
        });
    }
    operations
}
