//! Messages at a guarded destination whose deadline has passed: its guards hear of a timeout, and do not wait for a consumer that may
//! never say anything.
//!
//! A publisher that waits until it is processed is told that it has expired: it must not wait, and with it everybody behind it, for a
//! consumer that says nothing. Whether it was handled nobody knows; what the consumer says later is passed over.

use super::core::NodeCore;
use super::flow::{self, InFlowId, Tracked, token};
use super::ledger::Outcome;
use super::route_state::RouteId;
use crate::resilience::{Ended, ErrorClass};
use mcpbus_actors::Time;
use mcpbus_transport::wire::Failure;
use std::collections::BTreeSet;

/// The messages at guarded destinations that have a deadline: when it is, the flow on which each came, the sequence in its token. At
/// most as many as are out at the destinations.
pub(super) type Overdue = BTreeSet<(Time, InFlowId, u64)>;

impl NodeCore {
    /// A message goes to a destination. If that has guards, they hear when its deadline passes.
    pub(super) fn watch_deadline(&mut self, id: InFlowId, low: u64, tracked: &Tracked) {
        let state = self.route_states.get(tracked.route);
        if let Some(deadline) = tracked.deadline
            && state.is_some_and(|state| state.guards.guard_destinations())
        {
            self.overdue.insert((deadline, id, low));
        }
    }

    /// A message has come back from a destination, or has ended.
    pub(super) fn forget_deadline(&mut self, id: InFlowId, low: u64, tracked: &Tracked) {
        if let Some(deadline) = tracked.deadline {
            self.overdue.remove(&(deadline, id, low));
        }
    }

    /// Tells guards of the messages whose deadlines have passed.
    pub(super) fn tell_overdue(&mut self, now: Time) {
        let mut told = BTreeSet::new();
        while let Some(&(deadline, id, low)) = self.overdue.first()
            && deadline <= now
        {
            self.overdue.pop_first();
            let Some(inflow) = self.inflows.get_mut(id) else {
                continue;
            };
            let Some(tracked) = inflow.tracked.get_mut(&low) else {
                continue;
            };
            tracked.told = true;
            let took = now.saturating_since(tracked.since);
            let place = (tracked.route, tracked.destination, tracked.permit.take());
            let (route, destination, permit) = self.present_place(place);
            if let Some(state) = self.route_states.get_mut(route) {
                let ended = Ended::failure(ErrorClass::Timeout, took);
                state.guards.ended(destination, permit, Some(ended), now);
                told.insert((route, destination));
            }
            self.offer_places(route, destination);
            self.expire_at_consumer(id, low, now);
        }
        told.retain(|&(route, destination)| {
            let state = self.route_states.get(route);
            state.is_some_and(|state| state.guards.check_waiting(destination, now).is_err())
        });
        if !told.is_empty() {
            self.choose_others(&told);
        }
    }

    /// The message of a publisher who waits until it is processed ends, if its next owner has it.
    fn expire_at_consumer(&mut self, id: InFlowId, low: u64, now: Time) {
        let tracked = self
            .inflows
            .get(id)
            .and_then(|inflow| inflow.tracked.get(&low));
        let Some((out, position)) = tracked.map(|tracked| (tracked.out, tracked.position)) else {
            return;
        };
        let token = flow::tracked(token(id, low));
        let peer = self.peers.get_mut(out.peer);
        if peer.is_some_and(|peer| peer.session.give_up(out.flow, position, token)) {
            let outcome = Outcome::Failed(Failure::Expired);
            self.copy_ended(token, outcome, now);
        }
    }

    /// What was chosen for destinations that let nothing through any more, and still waits for credit, is chosen anew.
    fn choose_others(&mut self, closed: &BTreeSet<(RouteId, usize)>) {
        self.wake_places(closed);
        let chosen = self.inflows.iter().filter(|(_, inflow)| {
            let chosen = inflow.chosen_destination;
            chosen.is_some_and(|chosen| closed.contains(&(chosen.route, chosen.destination)))
        });
        let flows: Vec<InFlowId> = chosen.map(|(id, _)| id).collect();
        for id in flows {
            self.unchoose(id);
            self.schedule(id);
        }
    }
}
