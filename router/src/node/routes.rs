//! The routes of a node: what the mesh is told of them, and how they are changed while messages flow.
//!
//! - What was sent by a route, here or by another node, is decided by that route, also when it was replaced since; what comes
//!   after the change is decided by the new one. So no group gets a message twice or misses it.
//! - A message that waits here is decided anew.
//! - What is the same before and after keeps its state: a policy its place, a limit its tokens, a breaker what it knows.

use super::core::NodeCore;
use super::decide::{EntryRoute, EntryState};
use super::flow::{Admitted, InFlowId, Purpose};
use super::route_state::{Replaced, RouteId, RouteState};
use crate::interest::{Entry, EntryId, ROUTE_GROUPS, RoutedGroups};
use crate::policy::MemberChooser;
use crate::protocol::Target;
use crate::routing::{Pattern, Route, RouteTable};
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// Most replaced routes that a node keeps for what is under way; while there are more, routes are not changed.
pub const REPLACED_ROUTES: usize = 4096;

/// What a change of routes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutesChanged {
    /// Routes for patterns that had none.
    pub added: usize,
    /// Routes that are different.
    pub changed: usize,
    /// Routes that are gone.
    pub removed: usize,
    /// Routes that are as they were.
    pub same: usize,
}

impl fmt::Display for RoutesChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            changed,
            removed,
            same,
        } = self;
        write!(
            f,
            "{added} added, {changed} changed, {removed} removed, {same} as before"
        )
    }
}

/// The routes of a node were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetRoutesError {
    /// Too many replaced routes are kept for messages under way: try again when those have ended.
    TooManyReplaced {
        /// Most that are kept.
        limit: usize,
    },
    /// The node has ended.
    Gone,
}

impl fmt::Display for SetRoutesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyReplaced { limit } => write!(
                f,
                "{limit} replaced routes are kept for messages under way: change the routes again when those have ended"
            ),
            Self::Gone => f.write_str("the node has ended"),
        }
    }
}

impl std::error::Error for SetRoutesError {}

impl NodeCore {
    /// Replaces all routes of the node, while messages flow.
    ///
    /// # Errors
    ///
    /// [`SetRoutesError::TooManyReplaced`]: the routes are as they were.
    pub fn set_routes(
        &mut self,
        routes: RouteTable,
        now: Time,
    ) -> Result<RoutesChanged, SetRoutesError> {
        self.forget_replaced(now);
        if self.route_states.len() - self.current_routes.len() > REPLACED_ROUTES {
            let limit = REPLACED_ROUTES;
            return Err(SetRoutesError::TooManyReplaced { limit });
        }
        let mut waiting = Vec::new();
        let mut changed = RoutesChanged::default();
        let former = std::mem::take(&mut self.current_routes).into_iter();
        let by_pattern = former.map(|id| (self.route_states[id].route.pattern.clone(), id));
        let mut former: HashMap<Pattern, RouteId> = by_pattern.collect();
        let mut ids = Vec::with_capacity(routes.routes().len());
        for route in routes.routes() {
            ids.push(match former.remove(&route.pattern) {
                Some(id) if self.route_states[id].route == *route => {
                    changed.same += 1;
                    id
                }
                Some(id) => {
                    changed.changed += 1;
                    waiting.extend(self.leave_places(id));
                    self.replace_route(id, route, now)
                }
                None => {
                    changed.added += 1;
                    let id = self.route_states.insert(RouteState::new(route));
                    self.announce_route(id);
                    id
                }
            });
        }
        let mut removed: Vec<RouteId> = former.into_values().collect();
        removed.sort_unstable();
        for id in removed {
            changed.removed += 1;
            waiting.extend(self.leave_places(id));
            self.withdraw_route(id);
            self.route_states[id].end(Replaced { at: now, by: None });
            self.admitted_by(id, None);
        }
        self.current_routes = ids;
        self.notes_arrivals = routes.need_arrivals();
        self.config.routes = routes;
        self.time_guards();
        self.version += 1;
        // Those that waited longest are the first to find room, or a place, again.
        waiting.into_iter().for_each(|id| self.schedule(id));
        self.choose_anew();
        if planted(Fault::ReplacedForgotten) {
            self.forget_replaced(now);
        }
        self.settle(now);
        Ok(changed)
    }

    fn replace_route(&mut self, old: RouteId, route: &Route, now: Time) -> RouteId {
        let id = self.route_states.insert(RouteState::new(route));
        let mut kept = None;
        if let Some((former, state)) = self.route_states.get2_mut(old, id) {
            let (has_message_guards, successor) = state.take_over(former, id);
            former.end(Replaced {
                at: now,
                by: Some(successor),
            });
            let same_groups = former.route.groups().eq(route.groups());
            if same_groups && former.route.exclusive == route.exclusive {
                state.entry = former.entry.take();
                kept = state.entry;
            }
            self.admitted_by(old, has_message_guards.then_some(id));
        }
        match kept {
            Some(entry) => {
                if let Some(&index) = self.local_entries.get(&entry) {
                    self.entries[index as usize].route = Some(EntryRoute::Here(id));
                }
            }
            None => {
                self.withdraw_route(old);
                self.announce_route(id);
            }
        }
        id
    }

    /// What the guards of a route have let through, another route has let through, or nobody has.
    fn admitted_by(&mut self, old: RouteId, new: Option<RouteId>) {
        for (_, inflow) in &mut self.inflows {
            let parked = inflow.parked.iter_mut();
            let parked = parked.flat_map(|parked| parked.decided.values_mut());
            let parked = parked.map(|decided| &mut decided.admitted);
            for known in parked.chain([&mut inflow.admitted]) {
                if let Some(admitted) = known.filter(|admitted| admitted.route == old) {
                    *known = new.map(|route| Admitted { route, ..admitted });
                }
            }
        }
    }

    /// Notes which routes have guards that change with time.
    pub(super) fn time_guards(&mut self) {
        let ids = self.current_routes.iter().copied();
        let timed = ids.filter(|id| {
            let state = self.route_states.get(*id);
            state.is_some_and(|state| state.guards.guard_destinations())
        });
        self.timed_routes = timed.collect();
    }

    /// What waits for a destination of a route, or for its turn, is decided by the routes as they are now.
    fn choose_anew(&mut self) {
        let flows: Vec<InFlowId> = self.inflows.iter().map(|(id, _)| id).collect();
        for id in flows {
            // Whoever still has to wait for its turn, or for room, says so again.
            self.unpark_all(id);
            self.forget_replaced_choices(id);
            let inflow = &self.inflows[id];
            let chosen = inflow.chosen_destination.map(|chosen| chosen.route);
            let is_replaced = |route| {
                let state = self.route_states.get(route);
                state.is_none_or(|state| state.replaced.is_some())
            };
            if chosen.is_some_and(is_replaced) {
                self.unchoose(id);
            }
            let routed = matches!(
                self.inflows[id].purpose,
                Purpose::Publish | Purpose::Forward { .. }
            );
            if routed && self.inflows[id].blocked.is_some() {
                self.schedule(id);
            }
        }
    }

    /// Forgets routes that were replaced and that nothing is under way for any more.
    fn forget_replaced(&mut self, now: Time) {
        let used: BTreeSet<u32> = self
            .inflows
            .iter()
            .filter_map(|(_, inflow)| match &inflow.purpose {
                Purpose::Forward { targets } => Some(targets),
                _ => None,
            })
            .flat_map(|targets| targets.iter())
            .filter(|target| target.origin == self.config.id)
            .map(|target| target.entry)
            .collect();
        let hold = self.config.hold;
        let over = |state: &RouteState| {
            // Other nodes may not have heard yet that it is gone.
            let replaced = state.replaced.as_ref();
            let known = state.entry.is_none_or(|entry| !used.contains(&entry));
            let heard = |replaced: &Replaced| state.entry.is_none() || now >= replaced.at + hold;
            let forgets = replaced.is_some() && planted(Fault::ReplacedForgotten);
            let heard = forgets || known && replaced.is_some_and(heard);
            state.tracked == 0 && heard
        };
        let states = self.route_states.iter();
        let ids: Vec<RouteId> = states
            .filter(|(_, state)| over(state))
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            let state = self.route_states.remove(id);
            let by = state.replaced.and_then(|replaced| replaced.by);
            for (_, other) in &mut self.route_states {
                other.skip_successor(id, by.as_ref());
            }
            if let Some(index) = state
                .entry
                .and_then(|entry| self.local_entries.remove(&entry))
            {
                self.entries.remove(index as usize);
            }
        }
    }

    /// Tells the mesh of this node's routes, so that nodes without a route for a subject send its messages here, once,
    /// instead of to the groups of the route.
    pub(super) fn announce_routes(&mut self) {
        for id in self.current_routes.clone() {
            self.announce_route(id);
        }
    }

    fn announce_route(&mut self, id: RouteId) {
        let route = &self.route_states[id].route;
        if route.groups().count() > ROUTE_GROUPS {
            tracing::warn!(
                pattern = %route.pattern,
                limit = ROUTE_GROUPS,
                "a route with more groups is followed for what is published at this node only"
            );
            return;
        }
        let pattern = route.pattern.clone();
        let number = self.next_entry;
        let entry = Entry {
            pattern: pattern.clone(),
            group: None,
            members: 0,
            route: Some(Arc::new(RoutedGroups {
                groups: route.groups().map(Arc::from).collect(),
                exclusive: route.exclusive,
            })),
        };
        if let Err(error) = self.interest.local_set(EntryId(number), entry) {
            tracing::warn!(%error, "a route is not announced");
            return;
        }
        self.next_entry = self.next_entry.wrapping_add(1) & !super::spool::DURABLE;
        let entry = self.entries.insert(EntryState {
            target: Target {
                origin: self.config.id,
                entry: number,
            },
            pattern,
            group: None,
            members: 0,
            route: Some(EntryRoute::Here(id)),
            local: Vec::new(),
            chooser: MemberChooser::new(),
        });
        self.local_entries.insert(number, entry as u32);
        self.route_states[id].entry = Some(number);
    }

    /// Tells the mesh that a route is gone. What was sent to it before that is known is still decided by it.
    fn withdraw_route(&mut self, id: RouteId) {
        if let Some(entry) = self.route_states[id].entry {
            self.interest.local_remove(EntryId(entry));
        }
    }
}
