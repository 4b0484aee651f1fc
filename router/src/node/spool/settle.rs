//! How stored messages end, and how they come back.

use super::definition::QueueKind;
use crate::node::core::NodeCore;
use crate::node::flow::InFlowId;
use crate::node::ledger::Outcome;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::Failure;

/// How often a message is handed to a consumer that dies of it.
const DELIVERIES_MAX: u16 = 5;

impl NodeCore {
    /// What was handed out of a queue was settled, has failed, or comes back because its taker is gone.
    pub(in crate::node) fn spooled_copy_ended(
        &mut self,
        id: InFlowId,
        queue: u32,
        sequence: u64,
        outcome: Outcome,
        now: Time,
    ) {
        let to_node = self
            .spool
            .as_ref()
            .and_then(|spool| spool.queues.get(&queue))
            .is_some_and(|queue| matches!(queue.kind, QueueKind::Node { .. }));
        match outcome {
            // Its taker is gone, or went away before it looked at it.
            Outcome::Shed(_) | Outcome::Failed(Failure::Cancelled) => {
                self.put_back(id, queue, sequence)
            }
            Outcome::Failed(Failure::NoRoute | Failure::PeerDied) if to_node => {
                self.spooled_ended(queue, sequence, Outcome::Shed("unsubscribed"), now);
            }
            outcome => self.spooled_ended(queue, sequence, outcome, now),
        }
    }

    /// The mistake of settling a message on the disk while it is only handed out.
    pub(in crate::node) fn settle_early(&mut self, id: InFlowId, sequence: u64) {
        let queue = self.inflows.get(id).and_then(|inflow| inflow.spool);
        let Some((queue, spool)) = queue.zip(self.spool.as_mut()) else {
            return;
        };
        let held = spool
            .queues
            .get(&queue)
            .and_then(|state| state.get(sequence));
        if let Some(position) = held.map(|held| held.position) {
            let settled = spool.pending.settled.entry(queue).or_default();
            settled.insert(position);
        }
    }

    /// A message of a queue has ended. A second end is a late one, of an earlier attempt, and changes nothing.
    pub(in crate::node) fn spooled_ended(
        &mut self,
        queue: u32,
        sequence: u64,
        outcome: Outcome,
        now: Time,
    ) {
        let Some(spool) = &mut self.spool else { return };
        let Some(state) = spool.queues.get_mut(&queue) else {
            return;
        };
        let Some((position, record, attempts)) = state.take(sequence) else {
            return;
        };
        let (inflow, name) = (state.inflow, state.name());
        spool.in_memory = spool.in_memory.saturating_sub(record.cost());
        let receipt = state.receipts.remove(&position);
        spool
            .pending
            .settled
            .entry(queue)
            .or_default()
            .insert(position);
        let ledger = &mut spool.ledger;
        let mut dead = None;
        match outcome {
            Outcome::Delivered => ledger.delivered += 1,
            Outcome::Failed(Failure::Expired) => ledger.expired += 1,
            Outcome::Failed(failure) => {
                *ledger.dead.entry(failure.name()).or_default() += 1;
                dead = Some(failure);
            }
            Outcome::Shed(reason) => *ledger.shed.entry(reason).or_default() += 1,
        }
        if let Some(window) = self
            .inflows
            .get_mut(inflow)
            .and_then(|inflow| inflow.window.as_mut())
        {
            window.done(sequence);
        }
        if let Some(failure) = dead {
            self.append_dead(record, failure, attempts, &name);
        }
        if let Some(token) = receipt {
            self.copy_ended(token, outcome, now);
        }
        self.read_on(queue);
    }

    /// A message that was handed out is to be handed out again, in its place.
    fn put_back(&mut self, id: InFlowId, queue: u32, sequence: u64) {
        let Some(spool) = &mut self.spool else { return };
        let Some(record) = spool
            .queues
            .get(&queue)
            .and_then(|queue| queue.get(sequence)?.record.clone())
        else {
            return;
        };
        spool.ledger.redelivered += 1;
        let mut record = record;
        let extra = record.extra.get_or_insert_default();
        extra.attempt = extra.attempt.saturating_add(1);
        extra.repeat = true;
        if let Some(held) = spool
            .queues
            .get_mut(&queue)
            .and_then(|queue| queue.get_mut(sequence))
        {
            held.record = Some(record.clone());
        }
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        let place = inflow
            .queue
            .partition_point(|(waiting, _)| *waiting < sequence);
        let place = if planted(Fault::RedeliveryAtTheEnd) {
            inflow.queue.len()
        } else {
            place
        };
        inflow.queue.insert(place, (sequence, record));
        inflow.chosen = None;
        self.schedule(id);
    }

    /// The consumer of a queue died with messages in its hands. The oldest of them may be what it died of: after some
    /// times it is a dead letter.
    pub(super) fn suspect_oldest(&mut self, queue: u32, now: Time) {
        let Some(state) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.queues.get_mut(&queue))
        else {
            return;
        };
        let Some((sequence, _)) = self
            .inflows
            .get(state.inflow)
            .and_then(|inflow| inflow.queue.front())
        else {
            return;
        };
        let (sequence, inflow) = (*sequence, state.inflow);
        let Some(held) = state.get_mut(sequence) else {
            return;
        };
        held.attempts += 1;
        if held.attempts >= DELIVERIES_MAX {
            self.inflows[inflow].queue.pop_front();
            let outcome = Outcome::Failed(Failure::MaxDeliver);
            self.spooled_ended(queue, sequence, outcome, now);
        }
    }
}
