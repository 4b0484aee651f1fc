//! Flows from peers, and the credit they are given.

use super::core::NodeCore;
use super::flow::{IN_FLOWS_MAX, InFlow, InFlowId, Purpose};
use super::peer::PeerId;
use crate::protocol::Definition;
use bytes::Bytes;
use mcpbus_actors::Time;
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

    /// Lets a new flow wait for what remains of the same flow's earlier life, so that order is kept.
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
            if old.flow.is_some() || !left_behind || old.queue.is_empty() {
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

    pub(super) fn break_off(&mut self, id: PeerId, reason: &str) {
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
    pub(super) fn return_credit(&mut self, id: InFlowId, kept: (u64, u64)) {
        let credit = &mut self.inflows[id].credit;
        let kept = (kept.0.min(credit.0), kept.1.min(credit.1));
        self.credit.0 += credit.0 - kept.0;
        self.credit.1 += credit.1 - kept.1;
        *credit = kept;
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
}
