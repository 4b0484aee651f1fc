//! How messages and their copies end, and what becomes of flows that have ended.

use super::core::NodeCore;
use super::decide::Verdict;
use super::flow::{Blocked, InFlowId, from_token, full_sequence, is_unasked, number_without_flow};
use super::ledger::Outcome;
use super::peer::PeerId;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::session::Window;
use mcpbus_transport::wire::record::RECORD_OVERHEAD;
use mcpbus_transport::wire::{Failure, Record, ReplyAddress};

impl NodeCore {
    /// A message goes on without some of its targets.
    pub(super) fn partly_failed(
        &mut self,
        id: InFlowId,
        sequence: u64,
        failure: Failure,
        now: Time,
    ) {
        let inflow = &mut self.inflows[id];
        inflow.failed.insert(sequence, failure);
        if let Some(flow) = inflow.flow {
            self.peers[inflow.peer]
                .session
                .fail(flow, sequence, failure, now);
        }
    }

    /// A message ends here, or the one copy of it that was still to be handed on.
    pub(super) fn end(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        outcome: Outcome,
        now: Time,
    ) {
        let failure = match outcome {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        };
        self.take_up(id, sequence);
        self.not_admitted(id, sequence, record, now);
        self.leave_place(id, sequence);
        self.gone_on(id, sequence);
        let request = record
            .extra
            .as_ref()
            .is_some_and(|extra| extra.reply.is_some());
        let asks = Self::is_asked(record) || request;
        let inflow = &mut self.inflows[id];
        if let Some(queue) = inflow.spool {
            let outcome = match outcome {
                // Whoever it was for has no subscription any more.
                Outcome::Failed(Failure::NoRoute) => Outcome::Shed("unsubscribed"),
                outcome => outcome,
            };
            return self.spooled_ended(queue, sequence, outcome, now);
        }
        inflow.only.remove(&sequence);
        let (failure, outcome) = if inflow.unasked.remove(&sequence) {
            (None, Outcome::Shed("subscriber_gone"))
        } else {
            (failure, outcome)
        };
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

    /// A copy was taken over by its next owner, has failed, or was dropped because its taker is gone.
    pub(super) fn copy_ended(&mut self, token: u64, outcome: Outcome, now: Time) {
        if let Some(number) = number_without_flow(token) {
            return self.mirrored_ended(number);
        }
        self.destination_done(token, Some(outcome), now);
        let outcome = match outcome {
            Outcome::Failed(_) if is_unasked(token) => Outcome::Shed("subscriber_gone"),
            outcome => outcome,
        };
        let told = match outcome {
            _ if is_unasked(token) => None,
            Outcome::Delivered => None,
            Outcome::Failed(failure) => Some(failure),
            // Who waits for it to be processed must not take this for success.
            Outcome::Shed(_) => Some(Failure::Cancelled),
        };
        let (id, low) = from_token(token);
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        inflow.copies_out = inflow.copies_out.saturating_sub(1);
        let peer = inflow.peer;
        if let (Some(queue), Some(window)) = (inflow.spool, &inflow.window) {
            let sequence = full_sequence(low, window.settled());
            return self.spooled_copy_ended(id, queue, sequence, outcome, now);
        }
        let (sequence, last) = match (inflow.flow, &mut inflow.window) {
            (Some(flow), _) => {
                let session = &mut self.peers[peer].session;
                let sequence = full_sequence(low, session.settled(flow));
                if let Some(failure) = told {
                    session.fail(flow, sequence, failure, now);
                }
                let mut last = session.done(flow, sequence, now);
                if !last && planted(Fault::CopyCountedTwice) {
                    last = session.done(flow, sequence, now);
                }
                (sequence, last)
            }
            (None, Some(window)) => {
                let sequence = full_sequence(low, window.settled());
                (sequence, window.done(sequence))
            }
            (None, None) => return,
        };
        if let Outcome::Failed(failure) = outcome {
            inflow.failed.insert(sequence, failure);
        }
        if last {
            let outcome = inflow
                .failed
                .remove(&sequence)
                .map_or(outcome, Outcome::Failed);
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
            if !state.is_over() {
                self.peers[id].detached.push(inflow);
            }
            self.finish_run(inflow);
        }
    }

    /// After a flow has moved: removes it if it is over, and lets those behind it go on.
    pub(super) fn finish_run(&mut self, id: InFlowId) {
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        let over = inflow.is_over() && !inflow.scheduled;
        if !inflow.has_waiting() && !inflow.successors.is_empty() {
            let successors = std::mem::take(&mut inflow.successors);
            for &successor in &successors {
                // It may be gone, and another flow in its place; that one does not wait for this.
                let Some(waiting) = self.inflows.get_mut(successor) else {
                    continue;
                };
                if over {
                    waiting.predecessors.retain(|earlier| *earlier != id);
                }
                if matches!(waiting.blocked, Some(Blocked::Predecessor)) {
                    self.schedule(successor);
                }
            }
            if !over {
                self.inflows[id].successors = successors;
            }
        }
        if over {
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
            // Where it has to wait all the same it is asked again after as long a time, not at once and for ever.
            self.inflows[id].blocked = Some(Blocked::Destination { since: now });
            self.inflows[id].impatient = true;
            self.homeless.remove(&id);
            self.schedule(id);
        }
    }

    /// Asks for credit towards a requester, so that it can be told at once when its responder is gone.
    pub(super) fn reserve_reply(&mut self, request: &Record) {
        let Verdict::Go(outs) = self.decide_reply(request) else {
            return;
        };
        for out in outs.iter() {
            if let Some(peer) = self.peers.get_mut(out.peer) {
                let cost = RECORD_OVERHEAD + 64;
                if !peer.session.admits(out.flow, cost) {
                    peer.session.want(out.flow, 1, cost, cost);
                }
            }
            self.touch(out.peer);
        }
    }

    /// A client that had a request is gone: its requester is told at once.
    pub(super) fn responder_lost(&mut self, address: (u128, u64, u64)) {
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
    }
}
