//! From a flow into the next commit.

use super::commit::Appended;
use super::definition;
use super::producers::Source;
use super::state::{DEAD, Set};
use crate::node::core::NodeCore;
use crate::node::flow::{InFlowId, Purpose};
use crate::protocol::Target;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::spool::{BATCH_MAX, Operation};
use mcpbus_transport::wire::{AckLevel, Failure, Record};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// The token of what nobody waits for.
pub(super) const NO_TOKEN: u64 = u64::MAX;

/// What is to be done with a message whose publisher asked for it to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Storable {
    /// Store it, for whoever is durable.
    Yes,
    /// It is stored already, or will be with the commits that are to come.
    Repeat,
    /// This node cannot store.
    No,
}

/// The scope of what another node hands over; never 0, which is what enters the bus here.
fn scope_of(targets: &[Target], hops: u8) -> u128 {
    let mut bytes: SmallVec<[u8; 64]> = SmallVec::new();
    bytes.push(hops);
    for target in targets {
        bytes.extend_from_slice(&target.origin.to_le_bytes());
        bytes.extend_from_slice(&target.entry.to_le_bytes());
    }
    xxhash_rust::xxh3::xxh3_128(&bytes).max(1)
}

impl NodeCore {
    /// Looks at a message that is to be stored.
    pub(in crate::node) fn storable(&self, id: InFlowId, record: &Record) -> Storable {
        match &self.spool {
            Some(spool) if !spool.is_broken() => {
                if !record.extra.as_ref().is_some_and(|extra| extra.repeat) {
                    return Storable::Yes;
                }
                let source = Source {
                    producer: record.head.producer,
                    scope: self.scope(id, record),
                };
                let off = u64::from(planted(Fault::RepeatOffByOne));
                let sequence = record.sequence.saturating_sub(off);
                if spool.producers.contains(source, sequence) {
                    Storable::Repeat
                } else {
                    Storable::Yes
                }
            }
            _ => Storable::No,
        }
    }

    /// What tells repeats of a message from its copies for others, and from the message itself when it comes back: it
    /// may pass a node once for each node behind it, and again, after more hops, where the way has changed meanwhile.
    fn scope(&self, id: InFlowId, record: &Record) -> u128 {
        match self.inflows.get(id).map(|inflow| &inflow.purpose) {
            Some(Purpose::Forward { targets }) if planted(Fault::DetourIsRepeat) => {
                scope_of(targets, 0)
            }
            Some(Purpose::Forward { targets }) => scope_of(targets, record.head.hops),
            _ => 0,
        }
    }

    /// A repeat is answered when everything up to now is on the disk.
    pub(in crate::node) fn await_commit(&mut self, record: Record, token: u64) {
        if let Some(spool) = &mut self.spool {
            spool.ledger.repeats += 1;
            spool.pending.waiting.push((record, token));
        }
    }

    /// Puts a message into the next commit. `token` ends when that is on the disk, or, for each queue, when the message
    /// was processed, if that was asked for.
    pub(in crate::node) fn append(&mut self, id: InFlowId, record: Record, set: u32, token: u64) {
        let asks = record.head.ack == AckLevel::Stored;
        let scope = if asks { self.scope(id, &record) } else { 0 };
        let Some(spool) = &mut self.spool else { return };
        let Some(set) = spool.set(set).cloned() else {
            debug_assert!(false, "a set is used in the version that made it");
            return;
        };
        if asks {
            let source = Source {
                producer: record.head.producer,
                scope,
            };
            if let Some(key) = spool.producers.insert(source, record.sequence) {
                spool.pending.before.push(Operation::Delete { key });
            }
            if !spool.pending.producers.contains(&source) {
                spool.pending.producers.push(source);
            }
        }
        self.append_to(record, set, scope, token);
    }

    pub(super) fn append_to(&mut self, record: Record, set: Set, scope: u128, token: u64) {
        let Some(spool) = &mut self.spool else { return };
        let position = spool.next;
        spool.next += 1;
        spool.pending.bytes += record.cost();
        match spool.pending.appended.last_mut() {
            Some(last)
                if last.records.len() < BATCH_MAX
                    && Arc::ptr_eq(&last.set.queues, &set.queues)
                    && last.scope == scope
                    && (last.tokens[0] == NO_TOKEN) == (token == NO_TOKEN) =>
            {
                last.records.push(record);
                last.tokens.push(token);
            }
            _ => spool.pending.appended.push(Appended {
                first: position,
                records: vec![record],
                tokens: vec![token],
                scope,
                set,
            }),
        }
    }

    /// Keeps a message that ended badly, in the commit that settles it.
    pub(super) fn append_dead(
        &mut self,
        record: Record,
        failure: Failure,
        attempts: u16,
        queue: &str,
    ) {
        let tag = definition::dead(failure, attempts, queue, &self.config.name);
        let set = Set {
            queues: Arc::from([(DEAD, tag)]),
            targets: Rc::from([]),
        };
        self.append_to(record, set, 0, NO_TOKEN);
    }
}
