//! Credit for flows that were refused some: windows that others do not use are taken back.
//!
//! Flows that wait stand in line. For the first one the node takes back, in this order, until there is enough: windows
//! beyond a fair share of the budget, windows of flows of which nothing is held, windows of all others. Whoever was
//! given credit keeps it for a while, long enough to use it: so with a budget for fewer flows than there are each has
//! its turn. A flow for which there is not enough even so, because what it would need is held, goes to the end of the
//! line after a while; it does not keep the others waiting.

use super::core::NodeCore;
use super::credit::moves;
use super::flow::{InFlowId, Purpose};
use mcpbus_actors::Time;
use mcpbus_transport::wire::record::RECORD_OVERHEAD;
use std::time::Duration;

/// How long a flow that was given credit keeps it, besides two round trips to its sender.
const LEASE: Duration = Duration::from_millis(50);
/// How long the first in line keeps the others waiting.
const PATIENCE: Duration = Duration::from_millis(250);
/// Shortest and longest pause between two looks for credit that can be taken back.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(80));
/// What a flow of answers keeps, so that a requester is told at once when its responder is gone.
const REPLY_WINDOW: (u64, u64) = (1, RECORD_OVERHEAD + 64);

/// When credit is looked for again.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    next: Option<Time>,
    pause: Duration,
    /// Who is first in line, and since when.
    first: Option<(InFlowId, Time)>,
}

impl Reclaim {
    /// Somebody waits: look at once.
    pub(super) fn begin(&mut self, now: Time) {
        self.pause = PAUSE.0;
        self.next = Some(now);
    }

    /// When credit is to be looked for.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.next
    }
}

impl NodeCore {
    /// The sender of a flow has confirmed what was taken back.
    pub(super) fn revoked(&mut self, id: InFlowId) {
        self.release(id);
        self.reclaim.pause = PAUSE.0;
    }

    /// Gives credit to the flows that were refused some, in their order, and looks for more where there is not enough.
    pub(super) fn feed_hungry(&mut self, now: Time) {
        let mut passed_over = 0;
        while let Some(&(id, next)) = self.hungry.front() {
            if self.serve(id, next, now) {
                self.hungry.pop_front();
                self.reclaim.first = None;
                continue;
            }
            let since = match self.reclaim.first {
                Some((first, since)) if first == id => since,
                _ => {
                    self.reclaim.begin(now);
                    now
                }
            };
            self.reclaim.first = Some((id, since));
            if now < since + PATIENCE || passed_over >= self.hungry.len() {
                break;
            }
            self.hungry.rotate_left(1);
            self.reclaim.first = None;
            passed_over += 1;
        }
        let Some(&(id, next)) = self.hungry.front() else {
            self.reclaim.next = None;
            return;
        };
        if self.reclaim.next.is_none_or(|at| at <= now) {
            let found = self.take_back_credit(id, next, now);
            let pause = &mut self.reclaim.pause;
            *pause = if found {
                PAUSE.0
            } else {
                (*pause * 2).clamp(PAUSE.0, PAUSE.1)
            };
            self.reclaim.next = Some(now + *pause);
        }
    }

    /// Gives one that waits what it needs in order to move. Whether it need not wait any longer.
    fn serve(&mut self, id: InFlowId, next: u64, now: Time) -> bool {
        let Some(inflow) = self.inflows.get(id) else {
            return true;
        };
        if !inflow.hungry {
            return true;
        }
        if inflow.flow.is_none() {
            self.inflows[id].hungry = false;
            return true;
        }
        self.release(id);
        let least = self.least(next);
        let inflow = &self.inflows[id];
        let (reserved, window) = (inflow.credit, inflow.share.window);
        let given = (
            least.0.min(reserved.0 + self.credit.0).max(window.0),
            least.1.min(reserved.1 + self.credit.1).max(window.1),
        );
        if !moves(given, next) {
            return false;
        }
        self.give(id, given, now);
        let inflow = &mut self.inflows[id];
        inflow.hungry = false;
        let way = self.peers[inflow.peer].session.smoothed_rtt();
        inflow.share.kept_until = now + LEASE + 2 * way.unwrap_or_default();
        true
    }

    /// Takes credit back until there would be enough for one flow. Whether there was any to be taken.
    fn take_back_credit(&mut self, hungry: InFlowId, next: u64, now: Time) -> bool {
        let least = self.least(next);
        let reserved = self
            .inflows
            .get(hungry)
            .map_or((0, 0), |inflow| inflow.credit);
        let mut due = Due {
            messages: least.0.saturating_sub(reserved.0 + self.credit.0),
            bytes: least.1.saturating_sub(reserved.1 + self.credit.1),
        };
        let share = self.fair_share();
        // Whoever comes after the one that waits gives first: not always the same.
        let mut givers: Vec<InFlowId> = self.inflows.iter().map(|(id, _)| id).collect();
        let place = givers.partition_point(|id| *id <= hungry);
        givers.rotate_left(place);
        givers.retain(|id| *id != hungry && self.may_give(*id, now));
        // What is on its way back already need not be taken from others.
        for id in &givers {
            if let Some((before, kept)) = self.on_its_way_back(*id) {
                due.less(before, kept);
            }
        }
        let mut found = false;
        for stage in [Stage::Share, Stage::Idle, Stage::All] {
            for id in &givers {
                if due.is_met() {
                    return true;
                }
                let inflow = &self.inflows[*id];
                let kept = match stage {
                    Stage::Share => share,
                    Stage::Idle if inflow.copies_out > 0 || inflow.has_waiting() => continue,
                    _ if matches!(inflow.purpose, Purpose::Replies) => REPLY_WINDOW,
                    _ => (0, 0),
                };
                found |= self.shrink(*id, kept, &mut due, now);
            }
        }
        found
    }

    fn may_give(&self, id: InFlowId, now: Time) -> bool {
        let inflow = &self.inflows[id];
        // What remains of an ended flow, and the flow of a queue of the spool, have no peer to take from.
        if inflow.flow.is_none() {
            return false;
        }
        let live = self.peers[inflow.peer].session.is_live();
        // What is too little for one that waits too is no use to it while it is behind in line.
        live && (inflow.hungry || inflow.share.kept_until <= now)
    }

    fn on_its_way_back(&self, id: InFlowId) -> Option<((u64, u64), (u64, u64))> {
        let inflow = &self.inflows[id];
        let revoking = self.peers[inflow.peer].session.is_revoking(inflow.flow?);
        revoking.then_some((inflow.credit, inflow.share.window))
    }

    /// Makes a flow's window no wider than `kept`. Whether anything came or comes of it.
    fn shrink(&mut self, id: InFlowId, kept: (u64, u64), due: &mut Due, now: Time) -> bool {
        let inflow = &mut self.inflows[id];
        let Some(flow) = inflow.flow else {
            return false;
        };
        let window = inflow.share.window;
        let kept = (window.0.min(kept.0), window.1.min(kept.1));
        let session = &mut self.peers[inflow.peer].session;
        if session.is_revoking(flow) {
            return false;
        }
        inflow.share.window = kept;
        let before = inflow.credit;
        let told = session.revoke(flow, kept.0, kept.1);
        let (peer, mut waits) = (inflow.peer, inflow.share.asked);
        let given_for = inflow.share.given_for;
        if !told && !moves(kept, given_for.max(waits)) {
            // It never heard of what it was given, so it does not ask again.
            waits = waits.max(given_for);
            (inflow.share.asked, inflow.share.given_for) = (waits, 0);
        }
        // Nor does one that asked and was left to wait for what is held.
        self.stand_in_line(id, waits, now);
        if told {
            due.less(before, kept);
            self.touch(peer);
            return true;
        }
        self.release(id);
        let after = self.inflows[id].credit;
        due.less(before, after);
        before != after
    }
}

/// Whose windows are taken back.
#[derive(Clone, Copy)]
enum Stage {
    Share,
    Idle,
    All,
}

/// What is still to be found.
struct Due {
    messages: u64,
    bytes: u64,
}

impl Due {
    fn less(&mut self, before: (u64, u64), kept: (u64, u64)) {
        self.messages = self
            .messages
            .saturating_sub(before.0.saturating_sub(kept.0));
        self.bytes = self.bytes.saturating_sub(before.1.saturating_sub(kept.1));
    }

    fn is_met(&self) -> bool {
        self.messages == 0 && self.bytes == 0
    }
}
