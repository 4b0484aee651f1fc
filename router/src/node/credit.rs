//! Flows from peers, and the credit they are given.

use super::core::NodeCore;
use super::flow::{IN_FLOWS_MAX, InFlow, InFlowId, Purpose};
use super::peer::PeerId;
use super::spool::Spool;
use crate::protocol::Definition;
use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::record::RECORD_OVERHEAD;
use mcpbus_transport::wire::{GoodbyeCode, Role};

/// First window of a flow, in messages and bytes.
const FIRST_WINDOW: (u64, u64) = (64, 16 * 1024);

impl NodeCore {
    /// A peer opened a flow.
    pub(super) fn opened(&mut self, id: PeerId, flow: u32, definition: Bytes, now: Time) {
        let purpose = match Definition::decode(definition) {
            Ok(Definition::Publish) => Purpose::Publish,
            Ok(Definition::Replies) => Purpose::Replies,
            Ok(Definition::Forward { targets, .. }) if self.peers[id].role == Role::Node => {
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

    /// Lets a new flow wait for what remains of an earlier life of flows to the same targets, so that order is kept: the
    /// mesh may have changed since, and what was one flow then may be several now.
    pub(super) fn follow(&mut self, id: PeerId, inflow: InFlowId) {
        let mut detached = std::mem::take(&mut self.peers[id].detached);
        let node = self.peers[id].session.peer().map(|known| known.id);
        detached.extend(
            node.and_then(|node| self.orphans.remove(&node))
                .into_iter()
                .flatten(),
        );
        let mut rest = Vec::new();
        for earlier in detached {
            let Some(old) = self.inflows.get(earlier) else {
                continue;
            };
            // A flow that is over may have left its place to another one.
            let left_behind = old.peer == id || old.orphan_of.is_some() && old.orphan_of == node;
            if old.flow.is_some() || !left_behind || old.is_over() {
                continue;
            }
            rest.push(earlier);
            let same = match (&old.purpose, &self.inflows[inflow].purpose) {
                (Purpose::Forward { targets: old }, Purpose::Forward { targets: new }) => {
                    old.iter().any(|target| new.contains(target))
                }
                (Purpose::Publish, Purpose::Publish) => true,
                _ => false,
            };
            if same && !planted(Fault::OrphanOrder) {
                self.inflows[earlier].successors.push(inflow);
                self.inflows[inflow].predecessors.push(earlier);
            }
        }
        self.peers[id].detached = rest;
    }

    pub(super) fn break_off(&mut self, id: PeerId, reason: &str) {
        self.peers[id].session.leave(GoodbyeCode::Protocol, reason);
        self.touch(id);
    }

    /// The sender of a flow has `messages` that wait, the first of them `next` bytes.
    pub(super) fn asked(&mut self, id: InFlowId, messages: u64, next: u64, now: Time) {
        // Where messages wait here, the next node is what holds the flow back: a wider window would only make the
        // queue longer. Where most of them are parked, their limit is.
        let state = &mut self.inflows[id];
        state.share.asked = next;
        let parked = state
            .parked
            .as_ref()
            .map_or(0, |parked| parked.len() as u64);
        let goes_on = state.queue.is_empty() && 2 * parked < state.share.window.0.max(1);
        if goes_on || !moves(state.share.window, next) {
            self.widen(id, messages, next, now);
        }
    }

    /// Widens a flow's window, as far as the budget reaches, so that `messages` of `next` bytes can come.
    pub(super) fn widen(&mut self, id: InFlowId, messages: u64, next: u64, now: Time) {
        self.release(id);
        // Who waits in line comes first: others neither grow nor take what is too little for themselves.
        if !self.hungry.is_empty() {
            return self.stand_in_line(id, next, now);
        }
        let least = self.least(next);
        let bound = self.growth_bound(id, now);
        let limits = &self.config.limits;
        let (window, reserved) = (self.inflows[id].share.window, self.inflows[id].credit);
        let goal = |current: u64, wanted: u64, bound: u64, most: u64, least: u64| {
            (current * 2)
                .min(wanted)
                .min(bound.max(current))
                .min(most)
                .max(least)
                .max(current)
        };
        let (bound, bound_bytes) = bound.unwrap_or((u64::MAX, u64::MAX));
        let goal = (
            goal(
                window.0,
                window.0.saturating_add(messages),
                bound,
                limits.flow_messages,
                least.0,
            ),
            goal(window.1, u64::MAX, bound_bytes, limits.flow_bytes, least.1),
        );
        // What grows leaves half of the budget to flows that are still to come: they need not wait until others have
        // given something back.
        let spare = (
            self.credit.0.saturating_sub(limits.credit_messages / 2),
            self.credit.1.saturating_sub(limits.credit_bytes / 2),
        );
        let reach = |goal: u64, reserved: u64, least: u64, spare: u64, left: u64| {
            let more = spare.max(least.saturating_sub(reserved)).min(left);
            goal.min(reserved + more)
        };
        let reached = (
            reach(goal.0, reserved.0, least.0, spare.0, self.credit.0),
            reach(goal.1, reserved.1, least.1, spare.1, self.credit.1),
        );
        if next > 0 && !moves(reached, next) {
            return self.stand_in_line(id, next, now);
        }
        self.give(id, reached, now);
    }

    /// Lets a flow wait for credit, if its window is too small for its next message. A flow that has nothing to send
    /// yet does not.
    pub(super) fn stand_in_line(&mut self, id: InFlowId, next: u64, now: Time) {
        let inflow = &mut self.inflows[id];
        if next > 0 && !moves(inflow.share.window, next) && !inflow.hungry {
            inflow.hungry = true;
            self.hungry.push_back((id, next));
            self.reclaim.begin(now);
        }
    }

    /// What a flow whose next message weighs `next` bytes needs in order to move, in messages and bytes: more where
    /// there is enough for all.
    pub(super) fn least(&self, next: u64) -> (u64, u64) {
        let limits = &self.config.limits;
        let largest = self.config.session.message_max + RECORD_OVERHEAD;
        let share = self.fair_share();
        (
            FIRST_WINDOW.0.min(limits.flow_messages).min(share.0).max(1),
            FIRST_WINDOW
                .1
                .min(limits.flow_bytes)
                .min(share.1)
                .max(next.min(largest))
                .max(RECORD_OVERHEAD),
        )
    }

    /// Every flow's part of the budget if it is shared by all, in messages and bytes.
    pub(super) fn fair_share(&self) -> (u64, u64) {
        let limits = &self.config.limits;
        let queues = self.spool.as_ref().map_or(0, Spool::flows);
        let flows = self.inflows.len().saturating_sub(queues).max(1) as u64;
        (limits.credit_messages / flows, limits.credit_bytes / flows)
    }

    fn growth_bound(&mut self, id: InFlowId, now: Time) -> Option<(u64, u64)> {
        let inflow = &mut self.inflows[id];
        let session = &self.peers[inflow.peer].session;
        let flow = inflow.flow?;
        let delivered = (session.settled(flow), session.settled_bytes(flow));
        let share = &mut inflow.share;
        let round_trip = session.smoothed_rtt();
        share.growth.bound(now, delivered, share.window, round_trip)
    }

    /// Gives a flow this window, of which the budget has what is not reserved for it already.
    pub(super) fn give(&mut self, id: InFlowId, window: (u64, u64), now: Time) {
        let inflow = &mut self.inflows[id];
        let Some(flow) = inflow.flow.filter(|_| inflow.share.window != window) else {
            return;
        };
        let reserved = (inflow.credit.0.max(window.0), inflow.credit.1.max(window.1));
        self.credit.0 -= reserved.0 - inflow.credit.0;
        self.credit.1 -= reserved.1 - inflow.credit.1;
        inflow.credit = reserved;
        inflow.share.window = window;
        // With more credit the sender goes on, and asks again if it is not enough.
        inflow.share.given_for = std::mem::take(&mut inflow.share.asked);
        let peer = inflow.peer;
        self.peers[peer]
            .session
            .set_window(flow, window.0, window.1, now);
        self.touch(peer);
    }

    /// Returns what is reserved for a flow and that it cannot come to use: beyond its window, and beyond what its peer
    /// may still send and what is held.
    pub(super) fn release(&mut self, id: InFlowId) {
        let inflow = &self.inflows[id];
        let Some(flow) = inflow.flow else { return };
        let exposure = self.peers[inflow.peer].session.exposure(flow);
        let window = inflow.share.window;
        self.return_credit(id, (exposure.0.max(window.0), exposure.1.max(window.1)));
    }

    /// Returns what a flow does not need beyond `kept`.
    pub(super) fn return_credit(&mut self, id: InFlowId, kept: (u64, u64)) {
        let credit = &mut self.inflows[id].credit;
        let kept = (kept.0.min(credit.0), kept.1.min(credit.1));
        self.credit.0 += credit.0 - kept.0;
        self.credit.1 += credit.1 - kept.1;
        *credit = kept;
    }

    /// Whether every flow's use of credit is reserved and the budget has the rest (I2): what peers may still send, what
    /// is being taken back and what is held, in messages and in bytes.
    ///
    /// # Errors
    /// Says what does not add up.
    pub fn check_credit(&self) -> Result<(), String> {
        let mut reserved = self.credit;
        // What is in memory of the spool's queues has bounds of its own.
        let inflows = self.inflows.iter();
        for (id, inflow) in inflows.filter(|(_, inflow)| inflow.spool.is_none()) {
            let used = match (inflow.flow, &inflow.window) {
                (Some(flow), _) => self.peers[inflow.peer].session.exposure(flow),
                (None, Some(window)) => window.held(),
                (None, None) => (0, 0),
            };
            if used.0 > inflow.credit.0 || used.1 > inflow.credit.1 {
                let credit = inflow.credit;
                return Err(format!(
                    "flow {id} uses {used:?} of the budget, {credit:?} are reserved for it"
                ));
            }
            reserved.0 += inflow.credit.0;
            reserved.1 += inflow.credit.1;
        }
        let limits = &self.config.limits;
        let budget = (limits.credit_messages, limits.credit_bytes);
        if reserved != budget {
            return Err(format!("{reserved:?} of a credit budget of {budget:?}"));
        }
        Ok(())
    }
}

/// Whether a window is enough for a message of `next` bytes.
pub(super) fn moves(window: (u64, u64), next: u64) -> bool {
    window.0 > 0 && window.1 >= next.max(RECORD_OVERHEAD)
}
