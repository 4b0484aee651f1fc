//! Messages at a guarded destination whose deadline has passed: its guards hear of a timeout, and do not wait for a consumer that may
//! never say anything.
//!
//! The message itself stays where it is, and its load with it, until its consumer settles it or is gone.

use super::core::NodeCore;
use super::flow::{InFlowId, Tracked};
use super::route_state::RouteId;
use crate::resilience::{Ended, ErrorClass};
use mcpbus_actors::Time;
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
        }
        told.retain(|&(route, destination)| {
            let state = self.route_states.get(route);
            state.is_some_and(|state| state.guards.check(destination, now).is_err())
        });
        if !told.is_empty() {
            self.choose_others(&told);
        }
    }

    /// What was chosen for destinations that let nothing through any more, and still waits for credit, is chosen anew.
    fn choose_others(&mut self, closed: &BTreeSet<(RouteId, usize)>) {
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
