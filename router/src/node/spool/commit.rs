//! The commit under way, its answer, and what was read.

use super::append::NO_TOKEN;
use super::definition::QueueKind;
use super::producers::{PRODUCER_KEY, Source};
use super::state::{DEAD, Set};
use crate::node::core::NodeCore;
use crate::node::flow::{Purpose, from_token};
use crate::node::ledger::Outcome;
use crate::node::take_back::Takers;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::spool::{
    Answer, Operation, Position, QueueId, Request, StoreError, Stored, Usage,
};
use mcpbus_transport::wire::{AckLevel, Failure, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a store that refused is left alone.
const RETRY: Duration = Duration::from_millis(200);

/// Messages that are stored for the same queues.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) first: Position,
    pub(super) records: Vec<Record>,
    pub(super) tokens: Vec<u64>,
    /// Whose they are, where repeats are recognised.
    pub(super) scope: u128,
    pub(super) set: Set,
}

/// Whether the publisher waits for the subscribers, not for the disk.
fn settles_late(record: &Record) -> bool {
    record.head.ack == AckLevel::Processed && !planted(Fault::ProcessedWhenStored)
}

/// Changes that are carried out together.
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Queues and values that what is appended may need.
    pub(super) before: Vec<Operation>,
    pub(super) appended: Vec<Appended>,
    pub(super) settled: BTreeMap<u32, BTreeSet<Position>>,
    /// Queues that are removed, and values.
    pub(super) after: Vec<Operation>,
    /// Whether durable interest of another node is among what comes before.
    pub(super) interest: bool,
    /// Producers of which something is stored.
    pub(super) producers: Vec<Source>,
    /// Repeats: they wait for the commit, which is not before the one that has the message.
    pub(super) waiting: Vec<(Record, u64)>,
    pub(super) bytes: u64,
}

impl Commit {
    fn is_empty(&self) -> bool {
        self.before.is_empty()
            && self.appended.is_empty()
            && self.settled.is_empty()
            && self.after.is_empty()
            && self.waiting.is_empty()
    }

    fn operations(&self) -> Vec<Operation> {
        let appended = self.appended.iter().map(|appended| Operation::Append {
            first: appended.first,
            records: appended.records.clone(),
            queues: appended.set.queues.clone(),
        });
        let settled = self
            .settled
            .iter()
            .map(|(queue, positions)| Operation::Settle {
                queue: QueueId(*queue),
                positions: positions.iter().copied().collect(),
            });
        let before = self.before.iter().cloned();
        before
            .chain(appended)
            .chain(settled)
            .chain(self.after.iter().cloned())
            .collect()
    }
}

impl NodeCore {
    /// What the store is to do next. Requests are carried out in order, and answered with
    /// [`store_answered`](Self::store_answered).
    pub fn poll_store(&mut self) -> Option<Request> {
        self.begin_commit();
        self.spool.as_mut()?.requests.pop_front()
    }

    /// The store has enough to do: the request is the first to be asked again.
    pub(in crate::node) fn ask_store_later(&mut self, request: Request) {
        if let Some(spool) = &mut self.spool {
            spool.requests.push_front(request);
        }
    }

    /// Whether nothing is on its way to the store, and nothing waits for it.
    pub(in crate::node) fn is_store_idle(&mut self) -> bool {
        self.spool.as_ref().is_none_or(|spool| {
            let done = spool.under_way.is_none() && spool.requests.is_empty();
            done && (spool.pending.is_empty() || spool.broken.is_some())
        })
    }

    /// The store is gone: nothing more is stored in this life of the node, and whoever waits for it is told.
    pub(in crate::node) fn store_ended(&mut self, now: Time) {
        let Some(spool) = &mut self.spool else { return };
        let error = StoreError::SyncFailed {
            reason: String::from("the thread of the spool has ended"),
        };
        let commit = spool.under_way.take().unwrap_or_default();
        self.not_stored(commit, &error, now);
        self.settle(now);
    }

    /// The store has answered a request.
    pub fn store_answered(&mut self, answer: Answer, now: Time) {
        match answer {
            Answer::Committed { ticket, result } => self.committed(ticket, result, now),
            Answer::Read { queue, result, .. } => self.was_read(queue, result, now),
        }
        self.settle(now);
    }

    fn begin_commit(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        let idle = spool.under_way.is_none() && spool.retry_at.is_none() && spool.broken.is_none();
        if !idle || spool.pending.is_empty() {
            return;
        }
        let mut commit = std::mem::take(&mut spool.pending);
        for producer in &commit.producers {
            if let Some((key, value)) = spool.producers.value(*producer) {
                commit.before.push(Operation::Put { key, value });
            }
        }
        spool.ticket += 1;
        spool.requests.push_back(Request::Commit {
            ticket: spool.ticket,
            operations: commit.operations(),
            // Settlements too: what is settled and not on the disk is delivered again after a death.
            sync: !planted(Fault::AckBeforeSync),
        });
        spool.under_way = Some(commit);
    }

    fn committed(&mut self, ticket: u64, result: Result<Usage, StoreError>, now: Time) {
        let Some(spool) = self.spool.as_mut().filter(|spool| spool.ticket == ticket) else {
            return;
        };
        let Some(commit) = spool.under_way.take() else {
            return;
        };
        match result {
            Ok(usage) => {
                spool.usage = usage;
                self.stored(commit, now);
            }
            Err(_) if planted(Fault::CommitFailureIsSuccess) => self.stored(commit, now),
            Err(error) => self.not_stored(commit, &error, now),
        }
        self.wake_store_waiters();
    }

    /// What was committed is owned by the disk now.
    fn stored(&mut self, commit: Commit, now: Time) {
        for operation in &commit.before {
            if let Operation::PutQueue { queue, .. } = operation {
                self.queue_committed(queue.0);
            }
        }
        let mut gone: Vec<u64> = Vec::new();
        let mut ended: Vec<u64> = commit.waiting.iter().map(|(_, token)| *token).collect();
        for appended in commit.appended {
            let Some(spool) = &mut self.spool else { return };
            let mut touched = Vec::new();
            for (id, tag) in appended.set.queues.iter() {
                let Some(queue) = spool.queues.get_mut(&id.0) else {
                    // It was removed meanwhile: nobody is left to process what was for it.
                    let late = appended.records.iter().zip(&appended.tokens);
                    gone.extend(
                        late.filter(|(record, _)| settles_late(record))
                            .map(|(_, token)| *token),
                    );
                    continue;
                };
                if *id == DEAD {
                    queue.behind += appended.records.len() as u64;
                    continue;
                }
                spool.ledger.stored += appended.records.len() as u64;
                touched.push(queue.inflow);
                for (offset, record) in appended.records.iter().enumerate() {
                    let position = appended.first + offset as u64;
                    if settles_late(record) {
                        queue.receipts.insert(position, appended.tokens[offset]);
                    }
                    if !queue.takes_live(spool.in_memory) {
                        queue.behind += 1;
                        continue;
                    }
                    spool.in_memory += record.cost();
                    let sequence = queue.push(position, tag.clone(), record.clone());
                    if let Some(inflow) = self.inflows.get_mut(queue.inflow) {
                        inflow.came_from_spool(sequence, record.clone());
                    }
                }
            }
            for (token, record) in appended.tokens.into_iter().zip(&appended.records) {
                if !settles_late(record) {
                    ended.push(token);
                }
            }
            for inflow in touched {
                self.schedule(inflow);
            }
        }
        for token in ended {
            self.copy_ended(token, Outcome::Delivered, now);
        }
        for token in gone {
            self.copy_ended(token, Outcome::Shed("unsubscribed"), now);
        }
    }

    /// The store refused. What can be offered again is; who asked for a message to be stored is told that it is not.
    fn not_stored(&mut self, commit: Commit, error: &StoreError, now: Time) {
        let Some(spool) = &mut self.spool else { return };
        let broken = matches!(
            error,
            // The last is a mistake of the node's own: tried again it would be refused again, for ever.
            StoreError::SyncFailed { .. }
                | StoreError::Unreadable { .. }
                | StoreError::Invalid { .. }
        );
        if broken {
            tracing::error!(%error, "nothing more is stored");
            spool.broken = Some(error.to_string());
        } else {
            tracing::warn!(%error, "not stored; tried again");
            spool.retry_at = Some(now + RETRY);
        }
        let Commit {
            mut before,
            appended,
            settled,
            mut after,
            mut waiting,
            interest,
            ..
        } = commit;
        spool.pending.interest |= interest;
        // Repeats that came since may be of what was not stored now: they are looked at again.
        waiting.append(&mut spool.pending.waiting);
        before.retain(|operation| !matches!(operation, Operation::Put { key, .. } if key.first() == Some(&PRODUCER_KEY)));
        before.append(&mut spool.pending.before);
        spool.pending.before = before;
        after.append(&mut spool.pending.after);
        spool.pending.after = after;
        for (queue, positions) in settled {
            spool
                .pending
                .settled
                .entry(queue)
                .or_default()
                .extend(positions);
        }
        let mut kept = Vec::new();
        let mut returned = Vec::new();
        // What came since goes back too, or it would come before what was refused.
        let since = std::mem::take(&mut spool.pending.appended);
        spool.pending.bytes = 0;
        for appended in appended.into_iter().chain(since) {
            if appended.tokens[0] == NO_TOKEN {
                if planted(Fault::DeadLetterLost) {
                    continue;
                }
                spool.pending.bytes += appended.records.iter().map(Record::cost).sum::<u64>();
                kept.push(appended);
            } else {
                for record in appended
                    .records
                    .iter()
                    .filter(|record| record.head.ack == AckLevel::Stored)
                {
                    let source = Source {
                        producer: record.head.producer,
                        scope: appended.scope,
                    };
                    spool.producers.remove(source, record.sequence);
                }
                returned.push(appended);
            }
        }
        spool.pending.appended = kept;
        let failure = if broken {
            Failure::NoSpool
        } else {
            Failure::SpoolFull
        };
        // The last first, so that each goes back to the front of its flow.
        for appended in returned.into_iter().rev() {
            let messages: Vec<_> = appended.records.into_iter().zip(appended.tokens).collect();
            for (record, token) in messages.into_iter().rev() {
                if record.head.ack == AckLevel::Processed {
                    for _ in 1..appended.set.queues.len() {
                        self.copy_ended(token, Outcome::Delivered, now);
                    }
                }
                let asked = record.head.ack == AckLevel::Stored
                    && self
                        .inflows
                        .get(from_token(token).0)
                        .is_some_and(|inflow| matches!(inflow.purpose, Purpose::Publish));
                if asked {
                    self.copy_ended(token, Outcome::Failed(failure), now);
                } else {
                    let takers = Takers::Targets(appended.set.targets.clone());
                    self.take_back(vec![(record, token)], Some(takers), now);
                }
            }
        }
        for (record, token) in waiting.into_iter().rev() {
            let purpose = self.inflows.get(from_token(token).0);
            match purpose.map(|inflow| inflow.purpose.clone()) {
                Some(Purpose::Forward { targets }) => {
                    let takers = Takers::Targets(targets);
                    self.take_back(vec![(record, token)], Some(takers), now);
                }
                _ => self.copy_ended(token, Outcome::Failed(failure), now),
            }
        }
    }

    /// Lets flows go on that wait for room, if there may be some.
    fn wake_store_waiters(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        if !spool.has_room(1, u8::MAX) {
            return;
        }
        for waiter in std::mem::take(&mut spool.waiters) {
            self.schedule(waiter);
        }
    }

    /// Asks the store for what of a queue has room in memory.
    pub(super) fn read_on(&mut self, queue: u32) {
        let Some(spool) = &mut self.spool else { return };
        let Some(state) = spool.queues.get_mut(&queue) else {
            return;
        };
        if state.kind == QueueKind::Dead || spool.retry_at.is_some() {
            return;
        }
        if let Some((messages, bytes)) = state.to_read(spool.in_memory) {
            state.reading = true;
            spool.requests.push_back(Request::Read {
                queue: state.id,
                after: state.loaded,
                messages,
                bytes,
            });
        }
    }

    fn was_read(&mut self, id: QueueId, result: Result<Vec<Stored>, StoreError>, now: Time) {
        if id == DEAD {
            return self.dead_letters_read(result.unwrap_or_default());
        }
        let Some(spool) = &mut self.spool else { return };
        let Some(queue) = spool.queues.get_mut(&id.0) else {
            return;
        };
        queue.reading = false;
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, queue = queue.name(), "not read; tried again");
                spool.retry_at = Some(now + RETRY);
                return;
            }
        };
        if stored.is_empty() && queue.behind > 0 {
            tracing::error!(
                queue = queue.name(),
                missing = queue.behind,
                "the store has fewer messages than it said"
            );
            *spool
                .ledger
                .dead
                .entry(Failure::Corrupt.name())
                .or_default() += queue.behind;
            queue.behind = 0;
        }
        let inflow = queue.inflow;
        let skipped = usize::from(stored.len() > 1 && planted(Fault::ReadSkipsOne));
        for stored in stored.into_iter().skip(skipped) {
            queue.behind = queue.behind.saturating_sub(1);
            match stored.record {
                Ok(mut record) => {
                    queue.came_back(&mut record);
                    spool.in_memory += record.cost();
                    let sequence = queue.push(stored.position, stored.tag, record.clone());
                    if let Some(inflow) = self.inflows.get_mut(inflow) {
                        inflow.came_from_spool(sequence, record);
                    }
                }
                Err(_) if planted(Fault::CorruptStopsQueue) => return,
                Err(error) => {
                    tracing::error!(%error, queue = queue.name(), position = stored.position, "a stored message is lost");
                    queue.loaded = queue.loaded.max(stored.position);
                    *spool
                        .ledger
                        .dead
                        .entry(Failure::Corrupt.name())
                        .or_default() += 1;
                    let settled = spool.pending.settled.entry(id.0).or_default();
                    settled.insert(stored.position);
                }
            }
        }
        self.schedule(inflow);
        self.read_on(id.0);
    }

    /// When the store is to be tried again.
    pub(in crate::node) fn store_timeout(&self) -> Option<Time> {
        self.spool.as_ref()?.retry_at
    }

    /// The time to try the store again has come, if it has.
    pub(in crate::node) fn retry_store(&mut self, now: Time) {
        let Some(spool) = self
            .spool
            .as_mut()
            .filter(|spool| spool.retry_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        spool.retry_at = None;
        let queues: Vec<u32> = spool.queues.keys().copied().collect();
        for queue in queues {
            self.read_on(queue);
        }
        self.wake_store_waiters();
    }
}
