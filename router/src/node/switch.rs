//! The switch: moves messages from the flows they came on to the flows they go to, as far as credit reaches.

use super::core::NodeCore;
use super::decide::{Out, Verdict};
use super::flow::{
    Blocked, Chosen, InFlow, InFlowId, Purpose, from_token, token, tracked, unasked,
};
use super::guarded::Held;
use super::ledger::Outcome;
use super::peer::PeerId;
use super::spool::{SPOOL, Storable};
use crate::cancelled::request_key;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::{AckLevel, Failure, Record, Role};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// Messages a flow may hand on before others get their turn.
const TURN: usize = 256;

impl NodeCore {
    /// Records came on a flow.
    pub(super) fn arrived(
        &mut self,
        id: PeerId,
        flow: u32,
        first: u64,
        records: &mut Vec<Record>,
        now: Time,
    ) {
        let Some(&inflow) = self.peers[id].incoming.get(&flow) else {
            return;
        };
        self.ledger.accepted += records.len() as u64;
        let serial = self.peers[id].serial;
        let client = self.peers[id].role == Role::Client;
        let node = self.config.id;
        let state = &mut self.inflows[inflow];
        let replies = matches!(state.purpose, Purpose::Replies);
        if self.notes_arrivals && matches!(state.purpose, Purpose::Publish) {
            let waiting = state.first_waiting().unwrap_or(first);
            let last = first + (records.len() as u64).saturating_sub(1);
            state.arrivals.note(last, waiting, now);
        }
        state.share.given_for = 0;
        for (index, mut record) in records.drain(..).enumerate() {
            if let Some(reply) = record.extra.as_mut().and_then(|extra| extra.reply.as_mut()) {
                if replies {
                    self.requests.over(request_key(reply));
                } else if client {
                    // The requester does not know how this node calls it.
                    reply.node = node;
                    reply.session = serial;
                }
            }
            if index == 2 && planted(Fault::BatchSplitForgets) {
                continue;
            }
            state.queue.push_back((first + index as u64, record));
        }
        self.schedule(inflow);
    }

    pub(super) fn schedule(&mut self, id: InFlowId) {
        if let Some(inflow) = self.inflows.get_mut(id)
            && !inflow.scheduled
        {
            inflow.scheduled = true;
            self.runnable.push_back(id);
        }
    }

    /// Runs flows until none can go on, and tells neighbours what changed.
    pub(super) fn settle(&mut self, now: Time) {
        loop {
            self.pump_interest(now);
            if self.homeless_version != self.version {
                self.homeless_version = self.version;
                for id in std::mem::take(&mut self.homeless) {
                    self.schedule(id);
                }
            }
            let version = self.version;
            while let Some(id) = self.runnable.pop_front() {
                self.run(id, now);
                if self.version != version {
                    break;
                }
            }
            if self.version == version {
                break;
            }
        }
        self.telemetry.record(&self.ledger);
    }

    pub(super) fn run(&mut self, id: InFlowId, now: Time) {
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        inflow.scheduled = false;
        if inflow.asked.is_some() {
            self.answer_drain(id);
        }
        let inflow = &self.inflows[id];
        let mut earlier = inflow.predecessors.iter();
        let waits = earlier.any(|earlier| {
            let earlier = self.inflows.get(*earlier);
            earlier.is_some_and(InFlow::has_waiting)
        });
        let inflow = &mut self.inflows[id];
        let since = match inflow.blocked.take() {
            Some(Blocked::Destination { since } | Blocked::Drain { since }) => since,
            _ => now,
        };
        if waits {
            inflow.blocked = Some(Blocked::Predecessor);
            return;
        }
        let (mut more, mut left) = (true, TURN);
        while left > 0 {
            let together = self.hand_on_alike(id, left, now);
            if together == 0 && !self.step(id, since, now) {
                more = false;
                break;
            }
            left -= together.max(1);
        }
        self.pass_on_turn(id);
        if more {
            self.schedule(id);
        } else {
            self.finish_run(id);
        }
    }

    /// Lets the next flow have what this one has left of the credit it was woken for.
    pub(super) fn pass_on_turn(&mut self, id: InFlowId) {
        let visited = std::mem::take(&mut self.inflows[id].visited);
        for (peer, flow, moved) in visited {
            if moved {
                self.renew_attempts(peer, flow);
            }
            if !planted(Fault::StarvedFlow) {
                self.wake_next(peer, flow);
            }
        }
    }

    /// There is news of a flow's credit: each that waits for it may be tried again.
    pub(super) fn renew_attempts(&mut self, peer: PeerId, flow: u32) {
        if let Some(out) = self
            .peers
            .get_mut(peer)
            .and_then(|peer| peer.outgoing.get_mut(&flow))
        {
            out.attempts = out.waiters.len();
        }
    }

    /// Wakes the one that has waited longest for a flow's credit, if there is credit. One at a time, so that all have
    /// their turn and nobody is woken in vain.
    pub(super) fn wake_next(&mut self, peer: PeerId, flow: u32) {
        let Some(state) = self.peers.get_mut(peer) else {
            return;
        };
        if state.session.room(flow).0 == 0 {
            return;
        }
        let Some(out) = state.outgoing.get_mut(&flow) else {
            return;
        };
        while out.attempts > 0 {
            out.attempts -= 1;
            let Some(waiter) = out.waiters.pop_front() else {
                return;
            };
            if let Some(inflow) = self.inflows.get_mut(waiter) {
                visit(&mut inflow.visited, peer, flow, false);
                self.schedule(waiter);
                return;
            }
        }
    }

    /// Moves the message at the front of a flow; `false` if there is none or it has to wait.
    pub(super) fn step(&mut self, id: InFlowId, since: Time, now: Time) -> bool {
        let Some((sequence, mut record)) = self.inflows[id].queue.pop_front() else {
            return false;
        };
        self.take_up(id, sequence);
        self.assign_deadline(id, sequence, &mut record);
        if record.expired(now) {
            self.end(
                id,
                sequence,
                &record,
                Outcome::Failed(Failure::Expired),
                now,
            );
            return true;
        }
        if self.requests.is_cancelled(&record) {
            let is_reply = matches!(self.inflows[id].purpose, Purpose::Replies);
            let outcome = match is_reply {
                true => Outcome::Shed("late_reply"),
                false => Outcome::Failed(Failure::Cancelled),
            };
            self.end(id, sequence, &record, outcome, now);
            return true;
        }
        let asks = record.head.ack == AckLevel::Stored;
        let asks_to_store = asks && matches!(self.inflows[id].purpose, Purpose::Publish);
        if asks && self.inflows[id].spool.is_none() {
            match self.storable(id, &record) {
                Storable::Yes => {}
                Storable::No if !asks_to_store => {}
                Storable::Repeat => {
                    self.inflows[id].copies_out += 1;
                    self.await_commit(record, token(id, sequence));
                    self.gone_on(id, sequence);
                    return true;
                }
                Storable::No => {
                    let outcome = Outcome::Failed(Failure::NoSpool);
                    self.end(id, sequence, &record, outcome, now);
                    return true;
                }
            }
        }
        if let Some(classes) = self.follows(id, sequence, &record) {
            return self.park_behind(id, (sequence, record), classes, now);
        }
        let outs = match &self.inflows[id].chosen {
            Some(chosen) if chosen.sequence == sequence && chosen.version == self.version => {
                chosen.outs.clone()
            }
            _ => match self.decide(id, sequence, &record, now) {
                Verdict::Go(outs) => outs,
                Verdict::Nobody => {
                    let outcome = if matches!(self.inflows[id].purpose, Purpose::Replies) {
                        Outcome::Shed("late_reply")
                    } else if Self::is_asked(&record)
                        || record.extra.as_ref().is_some_and(|e| e.reply.is_some())
                    {
                        Outcome::Failed(Self::NOBODY)
                    } else {
                        Outcome::Shed("no_subscriber")
                    };
                    self.end(id, sequence, &record, outcome, now);
                    return true;
                }
                Verdict::TooFar => {
                    self.end(
                        id,
                        sequence,
                        &record,
                        Outcome::Failed(Failure::HopLimit),
                        now,
                    );
                    return true;
                }
                Verdict::Held(Held::Refused(failure)) => {
                    self.end(id, sequence, &record, Outcome::Failed(failure), now);
                    return true;
                }
                Verdict::Held(Held::Until(turn)) => {
                    return self.wait_until(id, (sequence, record), turn);
                }
                Verdict::Wait => {
                    let inflow = &mut self.inflows[id];
                    inflow.queue.push_front((sequence, record));
                    inflow.blocked = Some(Blocked::Destination { since });
                    self.homeless.insert(id);
                    return false;
                }
                Verdict::Starved(outs) => {
                    self.starve(id, sequence, record, &outs);
                    return false;
                }
            },
        };
        let mut record = match self.push_plainly(id, sequence, record, &outs) {
            Ok(()) => return true,
            Err(record) => record,
        };
        self.assign_deadline(id, sequence, &mut record);
        if let Some(former) = self.still_draining(id, &record, &outs) {
            self.wait_for_drain(id, (sequence, record), outs, former, since);
            return false;
        }
        if outs.iter().any(|out| !self.admits(out, &record)) {
            let full = |out: &Out| out.peer == SPOOL && !self.admits(out, &record);
            if asks_to_store && outs.iter().any(full) {
                let outcome = Outcome::Failed(Failure::SpoolFull);
                self.end(id, sequence, &record, outcome, now);
                return true;
            }
            self.inflows[id].chosen = Some(Chosen {
                sequence,
                version: self.version,
                outs: outs.clone(),
            });
            self.starve(id, sequence, record, &outs);
            return false;
        }
        let tracked = match self.chosen_goes(id, sequence, &record, now) {
            Ok(tracked) => tracked,
            Err(refusal) => {
                // Those let no more through since it was chosen: it waits there, or is chosen anew.
                self.inflows[id].chosen = None;
                if !self.may_wait_there(id, refusal) {
                    self.unchoose(id);
                }
                self.inflows[id].queue.push_front((sequence, record));
                return true;
            }
        };
        if let Some((_, failure)) = self.inflows[id]
            .skipped
            .take()
            .filter(|(skipped, _)| *skipped == sequence)
        {
            self.partly_failed(id, sequence, failure, now);
        }
        if planted(Fault::SettledAtHandOut) {
            self.settle_early(id, sequence);
        }
        self.hand_on(id, (sequence, record), &outs, tracked, now);
        self.gone_on(id, sequence);
        true
    }

    /// Whether there is room for a message where it is to go.
    fn admits(&self, out: &Out, record: &Record) -> bool {
        let cost = record.cost();
        if out.peer == SPOOL {
            return self
                .spool
                .as_ref()
                .is_some_and(|spool| spool.has_room(cost, record.head.hops));
        }
        self.peers
            .get(out.peer)
            .is_some_and(|peer| peer.session.admits(out.flow, cost))
    }

    /// Lets the front of a flow wait for credit, and tells who is to give it.
    pub(super) fn starve(&mut self, id: InFlowId, sequence: u64, record: Record, outs: &[Out]) {
        let cost = record.cost();
        let inflow = &mut self.inflows[id];
        inflow.queue.push_front((sequence, record));
        inflow.blocked = Some(Blocked::Credit);
        let messages = inflow.queue.len() as u64;
        for out in outs {
            if out.peer == SPOOL
                && let Some(spool) = &mut self.spool
            {
                spool.wait(id);
            }
            let Some(peer) = self.peers.get_mut(out.peer) else {
                continue;
            };
            if peer.session.admits(out.flow, cost) {
                continue;
            }
            if let Some(flow) = peer.outgoing.get_mut(&out.flow)
                && !flow.waiters.contains(&id)
            {
                flow.waiters.push_back(id);
            }
            peer.session.want(out.flow, messages, messages * cost, cost);
            self.touch(out.peer);
        }
    }

    pub(super) fn hand_on(
        &mut self,
        id: InFlowId,
        (sequence, record): (u64, Record),
        outs: &Rc<[Out]>,
        tracked_out: Option<Out>,
        now: Time,
    ) {
        // Where a publisher waits until it is processed, each queue of the spool answers for itself.
        let processed = record.head.ack == AckLevel::Processed;
        let asks_for_disk = record.head.ack == AckLevel::Stored;
        let copies = match (&self.spool, outs.iter().find(|out| out.peer == SPOOL)) {
            (Some(spool), Some(out)) if processed => {
                outs.len() as u32 - 1 + spool.set_size(out.flow)
            }
            _ => outs.len() as u32,
        };
        let token = token(id, sequence);
        let plain = |out: &Out| !out.onward && !asks_for_disk;
        let heads = (self.inflows[id].spool.is_some() || !outs.iter().all(plain))
            .then(|| self.heads(id, &record.head));
        let elsewhere = self.copies_elsewhere(&self.inflows[id], sequence);
        let inflow = &mut self.inflows[id];
        inflow.copies_out += u64::from(copies);
        inflow.only.remove(&sequence);
        let all_unasked = inflow.unasked.remove(&sequence);
        if elsewhere + copies > 1 {
            match (inflow.flow, &mut inflow.window) {
                (Some(flow), _) => {
                    self.peers[inflow.peer]
                        .session
                        .hold(flow, sequence, elsewhere + copies);
                }
                (None, Some(window)) => window.hold(sequence, elsewhere + copies),
                (None, None) => {}
            }
        }
        let head = Arc::as_ptr(&record.head) as usize;
        let record_is_stored = asks_for_disk && outs.iter().any(|out| out.durable);
        let is_reply = matches!(self.inflows[id].purpose, Purpose::Replies);
        let mut record = Some(record);
        for (index, out) in outs.iter().enumerate() {
            let last = index + 1 == outs.len();
            let Some(mut copy) = (if last { record.take() } else { record.clone() }) else {
                continue;
            };
            if out.peer == SPOOL {
                self.append(id, copy, out.flow, token);
                continue;
            }
            if let Some(heads) = &heads {
                copy.head = heads.of(out).clone();
            }
            if out.onward {
                self.note_used(id, head, &copy.head.subject, out);
            }
            if !is_reply && copy.extra.is_some() {
                self.follow_request(&copy, out.peer, now);
            }
            let Some(peer) = self.peers.get_mut(out.peer) else {
                continue;
            };
            visit(&mut self.inflows[id].visited, out.peer, out.flow, true);
            // Admission was checked for every flow before the first copy was handed on.
            let token = if all_unasked || record_is_stored && !out.durable {
                unasked(token)
            } else {
                token
            };
            let token = if tracked_out == Some(*out) {
                tracked(token)
            } else {
                token
            };
            let pushed = peer.session.push(out.flow, copy, token);
            debug_assert!(pushed.is_ok());
            let low = from_token(token).1;
            if tracked_out == Some(*out)
                && let Some(known) = self.inflows[id].tracked.get_mut(&low)
            {
                known.position = peer.session.sent(out.flow).0;
            }
            if let Some(link) = peer.link {
                self.touched.insert(link);
            }
        }
    }
}

/// Notes that a flow was there in its turn, and whether it moved a message.
pub(super) fn visit(
    visited: &mut SmallVec<[(PeerId, u32, bool); 4]>,
    peer: PeerId,
    flow: u32,
    moved: bool,
) {
    match visited
        .iter_mut()
        .find(|(known, out, _)| (*known, *out) == (peer, flow))
    {
        Some((_, _, before)) => *before |= moved,
        None => visited.push((peer, flow, moved)),
    }
}
