//! The switch: moves messages from the flows they came on to the flows they go to, as far as credit reaches.

use super::core::NodeCore;
use super::decide::{Out, Verdict};
use super::flow::{
    Blocked, Chosen, IN_FLOWS_MAX, InFlow, InFlowId, Purpose, from_token, full_sequence, token,
};
use super::ledger::Outcome;
use super::peer::{PeerId, reply_key};
use crate::protocol::Definition;
use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::session::Window;
use mcpbus_transport::wire::record::RECORD_OVERHEAD;
use mcpbus_transport::wire::{AckLevel, Failure, GoodbyeCode, Record, ReplyAddress, Role};
use smallvec::SmallVec;
use std::rc::Rc;

/// Messages a flow may hand on before others get their turn.
const TURN: usize = 256;
/// First window of a flow, in messages and bytes.
const FIRST_WINDOW: (u64, u64) = (64, 16 * 1024);

impl NodeCore {
    /// A peer opened a flow.
    pub(super) fn opened(&mut self, id: PeerId, flow: u32, definition: Bytes, now: Time) {
        let purpose = match Definition::decode(definition) {
            Ok(Definition::Publish) => Purpose::Publish,
            Ok(Definition::Replies) => Purpose::Replies,
            Ok(Definition::Forward { targets }) if self.peers[id].role == Role::Node => {
                Purpose::Forward {
                    targets: targets.into(),
                }
            }
            Ok(_) => return self.break_off(id, "a flow of this kind does not lead to a node"),
            Err(error) => return self.break_off(id, &error.to_string()),
        };
        if self.inflows.len() >= IN_FLOWS_MAX {
            return self.break_off(id, "the node has too many flows");
        }
        let inflow = self.inflows.insert(InFlow::new(id, flow, purpose));
        self.peers[id].incoming.insert(flow, inflow);
        self.follow(id, inflow);
        self.widen(inflow, FIRST_WINDOW.0, 0, now);
    }

    /// Lets a new flow wait for what remains of the same flow's earlier life, so that order is kept.
    fn follow(&mut self, id: PeerId, inflow: InFlowId) {
        let detached = std::mem::take(&mut self.peers[id].detached);
        let mut rest = Vec::new();
        for earlier in detached {
            let Some(old) = self.inflows.get(earlier) else {
                continue;
            };
            if old.peer != id || old.queue.is_empty() {
                continue;
            }
            rest.push(earlier);
            let same = match (&old.purpose, &self.inflows[inflow].purpose) {
                (Purpose::Forward { targets: old }, Purpose::Forward { targets: new }) => {
                    old == new
                }
                (Purpose::Publish, Purpose::Publish) => true,
                _ => false,
            };
            if same {
                self.inflows[earlier].successors.push(inflow);
                self.inflows[inflow].predecessors.push(earlier);
            }
        }
        self.peers[id].detached = rest;
    }

    fn break_off(&mut self, id: PeerId, reason: &str) {
        self.peers[id].session.leave(GoodbyeCode::Protocol, reason);
        self.touch(id);
    }

    /// Widens a flow's window, as far as the budget reaches, so that `messages` of `next` bytes can come.
    pub(super) fn widen(&mut self, id: InFlowId, messages: u64, next: u64, now: Time) {
        let limits = &self.config.limits;
        let largest = self.config.session.message_max + RECORD_OVERHEAD;
        let inflow = &mut self.inflows[id];
        let Some(flow) = inflow.flow else { return };
        let (current, current_bytes) = inflow.credit;
        // What a flow needs in order to move at all.
        let need = FIRST_WINDOW.0.min(limits.flow_messages.max(1));
        let need_bytes = FIRST_WINDOW.1.min(limits.flow_bytes).max(next.min(largest));
        let goal = (current * 2)
            .min(current + messages)
            .clamp(need, limits.flow_messages.max(need));
        let goal_bytes = (current_bytes * 2).clamp(need_bytes, limits.flow_bytes.max(need_bytes));
        // Windows do not shrink, so those that grow leave half of the budget to flows that are still to come.
        let spare = self.credit.0.saturating_sub(limits.credit_messages / 2);
        let spare_bytes = self.credit.1.saturating_sub(limits.credit_bytes / 2);
        let more = goal
            .saturating_sub(current)
            .min(spare.max(need.saturating_sub(current)))
            .min(self.credit.0);
        let more_bytes = goal_bytes
            .saturating_sub(current_bytes)
            .min(spare_bytes.max(need_bytes.saturating_sub(current_bytes)))
            .min(self.credit.1);
        if ((more == 0 && current == 0) || current_bytes + more_bytes < need_bytes)
            && !inflow.hungry
        {
            inflow.hungry = true;
            self.hungry.push_back((id, next));
        }
        if more == 0 && more_bytes == 0 {
            return;
        }
        self.credit.0 -= more;
        self.credit.1 -= more_bytes;
        inflow.credit = (current + more, current_bytes + more_bytes);
        let (messages, bytes) = inflow.credit;
        let peer = inflow.peer;
        self.peers[peer]
            .session
            .set_window(flow, messages, bytes, now);
        self.touch(peer);
    }

    /// Returns what a flow does not need beyond `kept`.
    fn return_credit(&mut self, id: InFlowId, kept: (u64, u64)) {
        let credit = &mut self.inflows[id].credit;
        let kept = (kept.0.min(credit.0), kept.1.min(credit.1));
        self.credit.0 += credit.0 - kept.0;
        self.credit.1 += credit.1 - kept.1;
        *credit = kept;
    }

    /// Records came on a flow.
    pub(super) fn arrived(&mut self, id: PeerId, flow: u32, first: u64, records: &mut Vec<Record>) {
        let Some(&inflow) = self.peers[id].incoming.get(&flow) else {
            return;
        };
        self.ledger.accepted += records.len() as u64;
        let serial = self.peers[id].serial;
        let client = self.peers[id].role == Role::Client;
        let node = self.config.id;
        let state = &mut self.inflows[inflow];
        let replies = matches!(state.purpose, Purpose::Replies);
        for (index, mut record) in records.drain(..).enumerate() {
            if let Some(reply) = record.extra.as_mut().and_then(|extra| extra.reply.as_mut()) {
                if replies {
                    self.peers[id].unanswered.remove(&reply_key(reply));
                } else if client {
                    // The requester does not know how this node calls it.
                    reply.node = node;
                    reply.session = serial;
                }
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

    fn run(&mut self, id: InFlowId, now: Time) {
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        inflow.scheduled = false;
        let since = match inflow.blocked.take() {
            Some(Blocked::Destination { since } | Blocked::Drain { since }) => since,
            _ => now,
        };
        if !inflow.predecessors.is_empty() {
            inflow.blocked = Some(Blocked::Predecessor);
            return;
        }
        let mut more = true;
        for _ in 0..TURN {
            if !self.step(id, since, now) {
                more = false;
                break;
            }
        }
        self.pass_on_turn(id);
        if more {
            self.schedule(id);
        } else {
            self.finish_run(id);
        }
    }

    /// Lets the next flow have what this one has left of the credit it was woken for.
    fn pass_on_turn(&mut self, id: InFlowId) {
        let visited = std::mem::take(&mut self.inflows[id].visited);
        for (peer, flow, moved) in visited {
            if moved {
                self.renew_attempts(peer, flow);
            }
            self.wake_next(peer, flow);
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
    fn step(&mut self, id: InFlowId, since: Time, now: Time) -> bool {
        let Some((sequence, record)) = self.inflows[id].queue.pop_front() else {
            return false;
        };
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
        if record.head.ack == AckLevel::Stored {
            self.end(
                id,
                sequence,
                &record,
                Outcome::Failed(Failure::NoSpool),
                now,
            );
            return true;
        }
        let outs = match &self.inflows[id].chosen {
            Some(chosen) if chosen.sequence == sequence && chosen.version == self.version => {
                chosen.outs.clone()
            }
            _ => match self.decide(id, sequence, &record) {
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
        if let Some(former) = self.still_draining(id, &outs) {
            self.wait_for_drain(id, (sequence, record), outs, former, since);
            return false;
        }
        let cost = record.cost();
        let starved = outs.iter().any(|out| {
            self.peers
                .get(out.peer)
                .is_none_or(|peer| !peer.session.admits(out.flow, cost))
        });
        if starved {
            self.inflows[id].chosen = Some(Chosen {
                sequence,
                version: self.version,
                outs: outs.clone(),
            });
            self.starve(id, sequence, record, &outs);
            return false;
        }
        if let Some((_, failure)) = self.inflows[id]
            .skipped
            .take()
            .filter(|(skipped, _)| *skipped == sequence)
        {
            self.partly_failed(id, sequence, failure, now);
        }
        self.hand_on(id, sequence, record, &outs);
        true
    }

    /// Lets the front of a flow wait for credit, and tells who is to give it.
    fn starve(&mut self, id: InFlowId, sequence: u64, record: Record, outs: &[Out]) {
        let cost = record.cost();
        let inflow = &mut self.inflows[id];
        inflow.queue.push_front((sequence, record));
        inflow.blocked = Some(Blocked::Credit);
        let messages = inflow.queue.len() as u64;
        for out in outs {
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

    /// A message goes on without some of its targets.
    fn partly_failed(&mut self, id: InFlowId, sequence: u64, failure: Failure, now: Time) {
        let inflow = &mut self.inflows[id];
        inflow.failed.insert(sequence, failure);
        if let Some(flow) = inflow.flow {
            self.peers[inflow.peer]
                .session
                .fail(flow, sequence, failure, now);
        }
    }

    fn hand_on(&mut self, id: InFlowId, sequence: u64, record: Record, outs: &Rc<[Out]>) {
        let copies = outs.len() as u32;
        let token = token(id, sequence);
        let onward = if outs.iter().any(|out| out.onward) {
            Some(self.onward_head(id, &record.head))
        } else {
            None
        };
        let elsewhere = self.copies_elsewhere(&self.inflows[id], sequence);
        let inflow = &mut self.inflows[id];
        inflow.copies_out += u64::from(copies);
        inflow.only.remove(&sequence);
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
        let mut record = Some(record);
        for (index, out) in outs.iter().enumerate() {
            let last = index + 1 == outs.len();
            let Some(mut copy) = (if last { record.take() } else { record.clone() }) else {
                continue;
            };
            if out.onward {
                if let Some(head) = &onward {
                    copy.head = head.clone();
                }
                self.note_used(id, out);
            }
            let Some(peer) = self.peers.get_mut(out.peer) else {
                continue;
            };
            if peer.role == Role::Client
                && let Some(reply) = copy.extra.as_ref().and_then(|extra| extra.reply)
                && peer.unanswered.len() < self.config.limits.requests
                && peer
                    .outgoing
                    .get(&out.flow)
                    .is_some_and(|flow| flow.subscription.is_some())
            {
                peer.unanswered.insert(reply_key(&reply));
            }
            visit(&mut self.inflows[id].visited, out.peer, out.flow, true);
            // Admission was checked for every flow before the first copy was handed on.
            let pushed = peer.session.push(out.flow, copy, token);
            debug_assert!(pushed.is_ok());
            if let Some(link) = peer.link {
                self.touched.insert(link);
            }
        }
    }

    /// A message ends here, or the one copy of it that was still to be handed on.
    fn end(&mut self, id: InFlowId, sequence: u64, record: &Record, outcome: Outcome, now: Time) {
        let failure = match outcome {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        };
        let request = record
            .extra
            .as_ref()
            .is_some_and(|extra| extra.reply.is_some());
        let asks = Self::is_asked(record) || request;
        let inflow = &mut self.inflows[id];
        inflow.only.remove(&sequence);
        let last = match (inflow.flow, &mut inflow.window) {
            (Some(flow), _) => {
                let peer = inflow.peer;
                let session = &mut self.peers[peer].session;
                if let Some(failure) = failure.filter(|_| asks) {
                    session.fail(flow, sequence, failure, now);
                }
                let last = session.done(flow, sequence, now);
                self.touch(peer);
                last
            }
            (None, Some(window)) => window.done(sequence),
            (None, None) => true,
        };
        let failed = &mut self.inflows[id].failed;
        if last {
            let outcome = failed.remove(&sequence).map_or(outcome, Outcome::Failed);
            self.count(outcome);
        } else if let Some(failure) = failure {
            failed.insert(sequence, failure);
        }
    }

    /// A copy was taken over by its next owner, or has failed.
    pub(super) fn copy_ended(&mut self, token: u64, failure: Option<Failure>, now: Time) {
        let (id, low) = from_token(token);
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        inflow.copies_out = inflow.copies_out.saturating_sub(1);
        let peer = inflow.peer;
        let (sequence, last) = match (inflow.flow, &mut inflow.window) {
            (Some(flow), _) => {
                let session = &mut self.peers[peer].session;
                let sequence = full_sequence(low, session.settled(flow));
                if let Some(failure) = failure {
                    session.fail(flow, sequence, failure, now);
                }
                (sequence, session.done(flow, sequence, now))
            }
            (None, Some(window)) => {
                let sequence = full_sequence(low, window.settled());
                (sequence, window.done(sequence))
            }
            (None, None) => return,
        };
        if let Some(failure) = failure {
            inflow.failed.insert(sequence, failure);
        }
        if last {
            let outcome = inflow
                .failed
                .remove(&sequence)
                .map_or(Outcome::Delivered, Outcome::Failed);
            self.count(outcome);
        }
        self.touch(peer);
        self.finish_run(id);
    }

    /// A copy is dropped because its taker is gone.
    pub(super) fn copy_shed(&mut self, token: u64, reason: &'static str, now: Time) {
        let (id, low) = from_token(token);
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        inflow.copies_out = inflow.copies_out.saturating_sub(1);
        let peer = inflow.peer;
        let (sequence, last) = match (inflow.flow, &mut inflow.window) {
            (Some(flow), _) => {
                let session = &mut self.peers[peer].session;
                let sequence = full_sequence(low, session.settled(flow));
                // Who waits for it to be processed must not take this for success.
                session.fail(flow, sequence, Failure::Cancelled, now);
                (sequence, session.done(flow, sequence, now))
            }
            (None, Some(window)) => {
                let sequence = full_sequence(low, window.settled());
                (sequence, window.done(sequence))
            }
            (None, None) => return,
        };
        if last {
            let outcome = inflow
                .failed
                .remove(&sequence)
                .map_or(Outcome::Shed(reason), Outcome::Failed);
            self.count(outcome);
        }
        self.touch(peer);
        self.finish_run(id);
    }

    /// Flows of a peer have ended; what came on them is still here.
    pub(super) fn detach(&mut self, id: PeerId, windows: Vec<(u32, Window)>) {
        for (flow, window) in windows {
            let Some(inflow) = self.peers[id].incoming.remove(&flow) else {
                continue;
            };
            // What came is still here, and still costs.
            self.return_credit(inflow, window.held());
            let state = &mut self.inflows[inflow];
            state.flow = None;
            state.window = Some(window);
            if !state.queue.is_empty() {
                self.peers[id].detached.push(inflow);
            }
            self.finish_run(inflow);
        }
    }

    /// After a flow has moved: removes it if it is over, and lets those behind it go on.
    fn finish_run(&mut self, id: InFlowId) {
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        if inflow.queue.is_empty() && !inflow.successors.is_empty() {
            for successor in std::mem::take(&mut inflow.successors) {
                // It may be gone, and another flow in its place; that one does not wait for this.
                if let Some(waiting) = self.inflows.get_mut(successor) {
                    waiting.predecessors.retain(|earlier| *earlier != id);
                }
                self.schedule(successor);
            }
        }
        if self.inflows[id].is_over() && !self.inflows[id].scheduled {
            self.homeless.remove(&id);
            self.return_credit(id, (0, 0));
            self.inflows.remove(id);
        }
    }

    /// Messages that have waited too long for a target that is out of reach go on without it.
    pub(super) fn give_up_waiting(&mut self, now: Time) {
        let late: Vec<InFlowId> = self
            .homeless
            .iter()
            .copied()
            .filter(|id| {
                self.inflows
                    .get(*id)
                    .and_then(|inflow| inflow.gives_up_at(self.config.hold))
                    .is_some_and(|at| now >= at)
            })
            .collect();
        for id in late {
            self.inflows[id].impatient = true;
            self.homeless.remove(&id);
            self.schedule(id);
        }
    }

    /// Gives freed credit to the flows that were refused some.
    pub(super) fn feed_hungry(&mut self, now: Time) {
        for _ in 0..self.hungry.len() {
            if self.credit.0 == 0 || self.credit.1 == 0 {
                return;
            }
            if let Some((id, next)) = self.hungry.pop_front()
                && let Some(inflow) = self.inflows.get_mut(id)
                && std::mem::take(&mut inflow.hungry)
            {
                self.widen(id, FIRST_WINDOW.0, next, now);
            }
        }
    }

    /// A client that had a request is gone: its requester is told at once.
    pub(super) fn responder_lost(&mut self, address: (u128, u64, u64), now: Time) {
        let reply = ReplyAddress {
            node: address.0,
            session: address.1,
            correlation: address.2,
        };
        let record = crate::protocol::responder_lost(reply);
        if let Verdict::Go(outs) = self.decide_reply(&record) {
            for out in outs.iter() {
                if let Some(peer) = self.peers.get_mut(out.peer) {
                    // Without credit the requester learns it from its deadline.
                    let _ = peer.session.push(out.flow, record.clone(), u64::MAX);
                }
                self.touch(out.peer);
            }
        }
        let _ = now;
    }
}

/// Notes that a flow was there in its turn, and whether it moved a message.
fn visit(visited: &mut SmallVec<[(PeerId, u32, bool); 4]>, peer: PeerId, flow: u32, moved: bool) {
    match visited
        .iter_mut()
        .find(|(known, out, _)| (*known, *out) == (peer, flow))
    {
        Some((_, _, before)) => *before |= moved,
        None => visited.push((peer, flow, moved)),
    }
}
