//! Messages that go the same way, handed on together, and their ends, counted together.
//!
//! Most messages need no look of their own: neither route nor group chooses for each of them, nothing of them was taken back, and
//! no guard watches them. For those the flows that they go to are kept with their head, credit is asked for once,
//! and one entry of a peer's flow is looked up once. All others go the way of [`step`](NodeCore::step), one by one, with the
//! same result.

use super::core::NodeCore;
use super::decide::{CachedDecision, Out};
use super::flow::{
    InFlow, InFlowId, from_token, full_sequence, is_tracked, is_unasked, number_without_flow, token,
};
use super::spool::SPOOL;
use super::switch::visit;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::session::PushError;
use mcpbus_transport::wire::{AckLevel, Head, Record};
use std::rc::Rc;
use std::sync::Arc;

impl InFlow {
    /// Whether nothing is noted that concerns single messages of the flow, or the ways that they go by.
    fn is_plain(&self, version: u64) -> bool {
        self.spool.is_none()
            && self.only.is_empty()
            && self.unasked.is_empty()
            && self.skipped.is_none()
            && self.admitted.is_none()
            && self.chosen_destination.is_none()
            && self.parked.is_none()
            && self.place.is_none()
            && self.waits_since.is_none()
            && self.former.is_empty()
            && self.used.0 == version
            && self.decided_again != version
    }

    /// What is known of a head, if each of its messages goes to the same flows.
    fn alike(&self, head: &Arc<Head>, version: u64) -> Option<(&CachedDecision, &Rc<[Out]>)> {
        let cached = self.decisions.get(&(Arc::as_ptr(head) as usize))?;
        let outs = cached.outs_of_all.get()?;
        (cached.version == version).then_some((cached, outs))
    }
}

/// Whether who handed a message on has to remember it by itself, or it is to go no further.
fn needs_a_look(record: &Record, now: Time) -> bool {
    record.expired(now)
        || record
            .extra
            .as_ref()
            .is_some_and(|extra| extra.reply.is_some())
}

impl NodeCore {
    /// Hands on messages from the front of a flow that all go to the same flows, as far as credit reaches and at most so many.
    /// How many; 0 where the first one needs a look of its own.
    pub(super) fn hand_on_alike(&mut self, id: InFlowId, most: usize, now: Time) -> usize {
        let inflow = &self.inflows[id];
        if !inflow.is_plain(self.version) || planted(Fault::SettledAtHandOut) {
            return 0;
        }
        let (Some(flow), Some((_, front))) = (inflow.flow, inflow.queue.front()) else {
            return 0;
        };
        let head = front.head.clone();
        let Some((cached, outs)) = inflow.alike(&head, self.version) else {
            return 0;
        };
        let (heads, outs) = (cached.heads.clone(), outs.clone());
        debug_assert!(!outs.is_empty(), "a message that goes nowhere has ended");
        let count = self.count_alike(id, &head, &outs, most, now);
        if count == 0 {
            return 0;
        }
        for out in outs.iter().filter(|out| out.onward) {
            let address = Arc::as_ptr(&head) as usize;
            self.note_used(id, address, &head.subject, out);
        }
        let (inflow, peers) = (&mut self.inflows[id], &mut self.peers);
        let copies = outs.len() as u32;
        inflow.copies_out += count as u64 * u64::from(copies);
        if copies > 1 {
            let session = &mut peers[inflow.peer].session;
            for (sequence, _) in inflow.queue.iter().take(count) {
                session.hold(flow, *sequence, copies);
            }
        }
        for (index, out) in outs.iter().enumerate() {
            visit(&mut inflow.visited, out.peer, out.flow, true);
            let Some(peer) = peers.get_mut(out.peer) else {
                continue;
            };
            self.touched.extend(peer.link);
            let Some(mut pushing) = peer.session.pushing(out.flow) else {
                continue;
            };
            let mut push = |sequence: u64, mut record: Record| {
                if out.onward {
                    record.head = heads.of(out).clone();
                }
                let pushed = pushing.push(record, token(id, sequence));
                debug_assert!(pushed.is_ok(), "room was counted");
            };
            if index + 1 < outs.len() {
                for (sequence, record) in inflow.queue.iter().take(count) {
                    push(*sequence, record.clone());
                }
            } else {
                for (sequence, record) in inflow.queue.drain(..count) {
                    push(sequence, record);
                }
            }
        }
        count
    }

    /// How many messages from the front of a flow go to these flows and need no look of their own, as far as credit reaches.
    fn count_alike(
        &self,
        id: InFlowId,
        head: &Arc<Head>,
        outs: &Rc<[Out]>,
        most: usize,
        now: Time,
    ) -> usize {
        let (mut messages, mut bytes) = (most as u64, u64::MAX);
        for out in outs.iter() {
            let room = self
                .peers
                .get(out.peer)
                .map_or((0, 0), |peer| peer.session.room(out.flow));
            (messages, bytes) = (messages.min(room.0), bytes.min(room.1));
        }
        let inflow = &self.inflows[id];
        // The ways to other nodes are noted by head.
        let one_head = outs.iter().any(|out| out.onward);
        let mut known = Arc::as_ptr(head);
        let mut goes = |record: &Record| {
            let address = Arc::as_ptr(&record.head);
            if address == known {
                return true;
            }
            let other = inflow.alike(&record.head, self.version);
            let same = !one_head && other.is_some_and(|(_, other)| Rc::ptr_eq(other, outs));
            if same {
                known = address;
            }
            same
        };
        let waiting = inflow.queue.iter().take(messages as usize);
        waiting
            .take_while(|(_, record)| {
                let left = bytes.checked_sub(record.cost());
                let fits = left.is_some() && !needs_a_look(record, now) && goes(record);
                bytes = left.unwrap_or(0);
                fits
            })
            .count()
    }

    /// Hands a message on that goes to one client and needs nothing beside that, if there is credit. Otherwise nothing has
    /// happened.
    pub(super) fn push_plainly(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: Record,
        outs: &[Out],
    ) -> Result<(), Record> {
        let (inflow, [out]) = (&mut self.inflows[id], outs) else {
            return Err(record);
        };
        let by_itself = out.onward || out.durable || out.peer == SPOOL || inflow.flow.is_none();
        if by_itself
            || record.head.ack == AckLevel::Stored
            || record.extra.is_some()
            || !inflow.is_plain(self.version)
            || planted(Fault::SettledAtHandOut)
        {
            return Err(record);
        }
        let Some(peer) = self.peers.get_mut(out.peer) else {
            return Err(record);
        };
        let Some(mut pushing) = peer.session.pushing(out.flow) else {
            return Err(record);
        };
        pushing
            .push(record, token(id, sequence))
            .map_err(PushError::into_record)?;
        inflow.copies_out += 1;
        visit(&mut inflow.visited, out.peer, out.flow, true);
        self.touched.extend(peer.link);
        Ok(())
    }

    /// Copies with tokens in a row were taken over by their next owner. `false` where each must be looked at by itself; then
    /// nothing has happened.
    pub(super) fn copies_delivered(&mut self, first: u64, count: u64, now: Time) -> bool {
        let (id, low) = from_token(first);
        let (last_id, last_low) = from_token(first.saturating_add(count - 1));
        let one_flow = last_id == id && last_low == low + count - 1;
        if !one_flow
            || is_tracked(first)
            || is_unasked(first)
            || number_without_flow(first).is_some()
            || planted(Fault::CopyCountedTwice)
        {
            return false;
        }
        let Some(inflow) = self.inflows.get_mut(id) else {
            return true;
        };
        let Some(flow) = inflow.flow.filter(|_| inflow.spool.is_none()) else {
            return false;
        };
        if !inflow.failed.is_empty() {
            return false;
        }
        inflow.copies_out = inflow.copies_out.saturating_sub(count);
        let peer = inflow.peer;
        let session = &mut self.peers[peer].session;
        let sequence = full_sequence(low, session.settled(flow));
        self.ledger.delivered += session.done_all(flow, sequence, count, now);
        self.touch(peer);
        self.finish_run(id);
        true
    }
}
