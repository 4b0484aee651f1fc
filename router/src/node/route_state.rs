//! What a node keeps of one route, and what becomes of it when the route is replaced.
//!
//! A route that is replaced is kept as long as messages are under way for it: those that were sent to a destination by it, and
//! those that other nodes have sent to it. What its successor has taken over hears of the former there.

use super::core::NodeCore;
use super::route_guards::Guards;
use crate::policy::{Load, Policy};
use crate::resilience::{MessageGuards, Permit};
use crate::routing::Route;
use mcpbus_actors::Time;

/// A route's place among those that a node keeps.
pub(super) type RouteId = usize;

/// What a node keeps of one route.
pub(super) struct RouteState {
    pub(super) route: Route,
    pub(super) policy: Box<dyn Policy>,
    /// Messages that each group was given; for the mirror copies.
    pub(super) given: Vec<u64>,
    /// Copies for the mirror that were dropped.
    pub(super) dropped: u64,
    /// Whether the policy reads the load.
    pub(super) reads_load: bool,
    /// By group; empty where nobody is to hear how messages end.
    pub(super) loads: Vec<Load>,
    pub(super) guards: Guards,
    /// The number under which other nodes know it.
    pub(super) entry: Option<u32>,
    /// Messages at destinations that are to be heard of.
    pub(super) tracked: u64,
    pub(super) replaced: Option<Replaced>,
}

/// A route that is not in use any more.
pub(super) struct Replaced {
    pub(super) at: Time,
    pub(super) by: Option<Successor>,
}

/// What came in place of a route.
pub(super) struct Successor {
    pub(super) route: RouteId,
    /// By group: its place there.
    groups: Vec<Option<usize>>,
    /// Whether it has the guards of the destinations.
    has_guards: bool,
}

impl RouteState {
    pub(super) fn new(route: &Route) -> Self {
        let policy = route.effective_policy().build();
        let groups = route.groups().count();
        let guards = Guards::new(route);
        let reads_load = policy.reads_load();
        let keeps_load = reads_load || guards.guard_destinations();
        Self {
            loads: vec![Load::new(); if keeps_load { groups } else { 0 }],
            reads_load,
            guards,
            policy,
            given: vec![0; groups],
            dropped: 0,
            route: route.clone(),
            entry: None,
            tracked: 0,
            replaced: None,
        }
    }

    pub(super) fn keeps_load(&self) -> bool {
        !self.loads.is_empty()
    }

    /// Takes over from the route that this one replaces what is the same: the policy, guards with the same settings, and of
    /// each group that remains its counts and load. Says whether it has the guards of messages, and what there is to know of it.
    pub(super) fn take_over(&mut self, old: &mut Self, id: RouteId) -> (bool, Successor) {
        let places = |group: &str| self.route.groups().position(|known| known == group);
        let groups: Vec<Option<usize>> = old.route.groups().map(places).collect();
        if self.route.effective_policy() == old.route.effective_policy() {
            std::mem::swap(&mut self.policy, &mut old.policy);
        }
        let moved = groups.iter().enumerate();
        let moved: Vec<(usize, usize)> = moved.filter_map(|(at, to)| Some((at, (*to)?))).collect();
        for &(from, to) in &moved {
            self.given[to] = old.given[from];
            if let (Some(load), Some(known)) = (self.loads.get_mut(to), old.loads.get_mut(from)) {
                std::mem::swap(load, known);
            }
        }
        self.dropped = old.dropped;
        let same = (&self.route.guards, &old.route.guards);
        let for_messages = (same.0.deadline, same.0.shed, same.0.limit)
            == (same.1.deadline, same.1.shed, same.1.limit);
        if for_messages {
            std::mem::swap(&mut self.guards.message, &mut old.guards.message);
        }
        let has_guards = same.0.destination == same.1.destination;
        self.guards
            .take_over(&mut old.guards, (&self.route, &old.route), &moved);
        let successor = Successor {
            route: id,
            groups,
            has_guards,
        };
        (for_messages, successor)
    }
}

impl RouteState {
    /// It is not in use any more. What is under way for it passes without the guards of messages, whose tables may be large.
    pub(super) fn end(&mut self, replaced: Replaced) {
        self.replaced = Some(replaced);
        self.guards.message = MessageGuards::default();
        self.guards.delays = false;
    }

    /// The route that came in place of this one is forgotten: what came in place of that is its successor.
    pub(super) fn skip_successor(&mut self, forgotten: RouteId, next: Option<&Successor>) {
        let Some(replaced) = &mut self.replaced else {
            return;
        };
        let Some(by) = replaced.by.as_mut().filter(|by| by.route == forgotten) else {
            return;
        };
        let Some(next) = next else {
            replaced.by = None;
            return;
        };
        by.route = next.route;
        by.has_guards &= next.has_guards;
        for place in &mut by.groups {
            *place = place.and_then(|place| next.groups.get(place).copied().flatten());
        }
    }
}

impl NodeCore {
    /// The states of the routes in use, in the order of the table.
    pub(super) fn current_states(&self) -> impl Iterator<Item = &RouteState> {
        let ids = self.current_routes.iter();
        ids.filter_map(|id| self.route_states.get(*id))
    }

    /// Where a message is heard of that a route has sent to a destination: there, or at what came in its place.
    pub(super) fn present_place(
        &self,
        (mut route, mut destination, mut permit): (RouteId, usize, Option<Permit>),
    ) -> (RouteId, usize, Option<Permit>) {
        while let Some(successor) = self
            .route_states
            .get(route)
            .and_then(|state| state.replaced.as_ref()?.by.as_ref())
            && let Some(Some(place)) = successor.groups.get(destination)
        {
            if !successor.has_guards {
                permit = None;
            }
            (route, destination) = (successor.route, *place);
        }
        (route, destination, permit)
    }
}
