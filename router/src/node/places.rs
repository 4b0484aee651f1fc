//! Places in the queues of bulkheads: a message whose destination has as many in flight as it may waits for room there.
//!
//! It waits where messages wait already, on its flow, and keeps its credit; the queue holds which message it is. A place
//! ends when the message is handed on, ends, goes elsewhere, or has waited as long as it may. Room that comes free is offered to the one that
//! has waited longest, and is kept for it: so nobody overtakes it, also while it waits for credit.

use super::core::NodeCore;
use super::flow::InFlowId;
use super::route_state::RouteId;
use crate::resilience::{Permit, Refusal, RefusalReason, Waiting};
use mcpbus_actors::Time;
use mcpbus_transport::wire::Record;
use std::collections::{BTreeMap, BTreeSet};

/// Those that wait for room at one destination. There are at most as many as its bulkhead lets wait, each on some flow.
#[derive(Default)]
pub(super) struct PlaceQueue {
    /// In the order in which they came.
    waiting: BTreeMap<u64, (InFlowId, u64)>,
    next: u64,
    /// How many more have been offered room and have not gone yet.
    offered: u32,
}

/// Where one stands in such a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    number: u64,
    /// Whether there is room for it.
    offered: bool,
}

/// A message's place in the queue of a destination.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) sequence: u64,
    route: RouteId,
    destination: usize,
    ticket: Ticket,
    waiting: Waiting,
    /// When its flow is woken: when it has waited long enough, or at its deadline.
    wake: Time,
}

/// What a message finds at the destination that was chosen for it.
pub(super) enum Found {
    /// It may go.
    Room,
    /// It has a place, and comes back at this time.
    Place(Time),
    /// It can neither go nor wait.
    Neither(Refusal),
}

impl PlaceQueue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.offered as usize
    }

    /// One more, by its flow and sequence.
    pub(super) fn push(&mut self, message: (InFlowId, u64)) -> Ticket {
        self.next += 1;
        self.waiting.insert(self.next, message);
        Ticket {
            number: self.next,
            offered: false,
        }
    }

    /// The next one that there is room for, if `room` is more than was offered.
    pub(super) fn offer(&mut self, room: u32) -> Option<(InFlowId, u64)> {
        if self.offered >= room {
            return None;
        }
        let (_, message) = self.waiting.pop_first()?;
        self.offered += 1;
        Some(message)
    }

    /// How many of those that wait have not been offered room, and how many have.
    pub(super) fn parts(&self) -> (usize, u32) {
        (self.waiting.len(), self.offered)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        if ticket.offered {
            self.offered = self.offered.saturating_sub(1);
        } else {
            self.waiting.remove(&ticket.number);
        }
    }
}

impl NodeCore {
    /// Since when a message waits for room somewhere on its route; now, if it does not.
    pub(super) fn waits_since(&self, id: InFlowId, sequence: u64, now: Time) -> Time {
        let known = self.inflows[id].waits_since;
        known
            .filter(|(waiting, _)| *waiting == sequence)
            .map_or(now, |(_, since)| since)
    }

    /// Whether a message may go to the destination that was chosen for it, or gives it a place there.
    pub(super) fn find_place(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        (route, destination): (RouteId, usize),
        now: Time,
    ) -> Found {
        let place = self.inflows[id].place.as_ref();
        if let Some(place) = place.filter(|place| !place.is_for(sequence, route, destination)) {
            self.leave_place(id, place.sequence);
        }
        let since = self.waits_since(id, sequence, now);
        let (inflow, state) = (&mut self.inflows[id], &mut self.route_states[route]);
        // Who replaced a route does not know what it sends.
        if state.replaced.is_some() {
            return Found::Room;
        }
        if let Some(place) = &inflow.place {
            return match state.guards.check_waiting(destination, now) {
                Err(refusal) => Found::Neither(refusal),
                Ok(()) if place.ticket.offered => Found::Room,
                Ok(()) => Found::Place(place.wake),
            };
        }
        if !state.guards.must_wait(destination, now) {
            return Found::Room;
        }
        let (ticket, waiting) = match state.guards.wait(destination, (id, sequence), since, now) {
            Ok(place) => place,
            Err(refusal) => return Found::Neither(refusal),
        };
        let admitted = inflow
            .admitted
            .filter(|admitted| admitted.sequence == sequence);
        let deadline = admitted.map_or(record.deadline, |admitted| admitted.deadline);
        let wake = deadline.map_or(waiting.until(), |deadline| deadline.min(waiting.until()));
        inflow.waits_since = Some((sequence, since));
        inflow.place = Some(Place {
            sequence,
            route,
            destination,
            ticket,
            waiting,
            wake,
        });
        Found::Place(wake)
    }

    /// The right to send a message to its destination, for its place if it has one.
    ///
    /// # Errors
    ///
    /// The guards of the destination let no more through since it was chosen.
    pub(super) fn enter_destination(
        &mut self,
        id: InFlowId,
        sequence: u64,
        (route, destination): (RouteId, usize),
        now: Time,
    ) -> Result<Option<Permit>, Refusal> {
        let (inflow, state) = (&mut self.inflows[id], &mut self.route_states[route]);
        let place = &mut inflow.place;
        let Some(place) = place.take_if(|place| place.is_for(sequence, route, destination)) else {
            return state.guards.permit(destination, now);
        };
        let Place {
            ticket,
            waiting,
            wake,
            ..
        } = place;
        match state.guards.enter(destination, ticket, waiting, now) {
            Ok(permit) => {
                self.turns.remove(&(wake, id, sequence));
                Ok(Some(permit))
            }
            Err((waiting, refusal)) => {
                inflow.place = Some(Place { waiting, ..place });
                Err(refusal)
            }
        }
    }

    /// Whether what was chosen for a message stays chosen when its destination refuses: it is full, and the message waits there.
    pub(super) fn may_wait_there(&self, id: InFlowId, refusal: Refusal) -> bool {
        let inflow = &self.inflows[id];
        let chosen = inflow.chosen_destination.as_ref();
        let state = chosen.and_then(|chosen| self.route_states.get(chosen.route));
        let has_queue = chosen
            .zip(state)
            .is_some_and(|(chosen, state)| state.guards.has_queue(chosen.destination));
        refusal.reason == RefusalReason::BulkheadFull && inflow.place.is_none() && has_queue
    }

    /// A message waits no longer where it has a place, if it has one.
    pub(super) fn leave_place(&mut self, id: InFlowId, sequence: u64) {
        if let Some((route, destination)) = self.drop_place(id, sequence) {
            self.offer_places(route, destination);
        }
    }

    /// The same, and what becomes of the room is for the caller to say: where it was.
    fn drop_place(&mut self, id: InFlowId, sequence: u64) -> Option<(RouteId, usize)> {
        let place = self.inflows.get_mut(id)?.take_place(sequence)?;
        self.turns.remove(&(place.wake, id, sequence));
        if let Some(state) = self.route_states.get_mut(place.route) {
            let guards = &mut state.guards;
            guards.leave(place.destination, place.ticket, place.waiting);
        }
        Some((place.route, place.destination))
    }

    /// There may be room at a destination: those that wait for it are offered it, in their order.
    pub(super) fn offer_places(&mut self, route: RouteId, destination: usize) {
        while let Some((id, sequence)) = self
            .route_states
            .get_mut(route)
            .and_then(|state| state.guards.offer(destination))
        {
            let inflow = self.inflows.get_mut(id);
            if let Some(place) = inflow.and_then(|inflow| inflow.place_mut(sequence)) {
                place.ticket.offered = true;
            }
            self.unpark(id, sequence);
            self.schedule(id);
        }
    }

    /// The time has come to wake a message: if it has a place and has waited as long as it may, it leaves that.
    pub(super) fn waited(&mut self, id: InFlowId, sequence: u64, now: Time) {
        let inflow = self.inflows.get_mut(id);
        let Some(place) = inflow.and_then(|inflow| inflow.place_mut(sequence)) else {
            return;
        };
        let until = place.waiting.until();
        if until > now {
            // Its deadline has passed. Where others of its flow are before it by now, that is seen later.
            place.wake = until;
            self.turns.insert((until, id, sequence));
        } else {
            self.leave_place(id, sequence);
        }
    }

    /// Destinations let nothing through any more: those that wait there are tried again, and go elsewhere.
    pub(super) fn wake_places(&mut self, closed: &BTreeSet<(RouteId, usize)>) {
        let mut waiting = Vec::new();
        for (id, inflow) in &self.inflows {
            let there = |place: &&Place| closed.contains(&(place.route, place.destination));
            let places = inflow.places().filter(there);
            waiting.extend(places.map(|place| (place.ticket.number, id, place.sequence)));
        }
        waiting.sort_unstable();
        for (_, id, sequence) in waiting {
            self.unpark(id, sequence);
            self.schedule(id);
        }
    }

    /// Whether every message that waits for room at a destination has one place in its queue, nobody waits while there is room, and
    /// each parked message is woken by something.
    ///
    /// # Errors
    /// Says what does not add up.
    pub fn check_places(&self) -> Result<(), String> {
        let mut places: BTreeMap<(RouteId, usize), usize> = BTreeMap::new();
        let timed = self.turns.iter().map(|(_, id, sequence)| (*id, *sequence));
        let timed: BTreeSet<(InFlowId, u64)> = timed.collect();
        let mut parked = 0;
        for (id, inflow) in &self.inflows {
            for place in inflow.places() {
                *places.entry((place.route, place.destination)).or_default() += 1;
                if !self.turns.contains(&(place.wake, id, place.sequence)) {
                    return Err(format!("flow {id} has {place:?}, and nobody wakes it"));
                }
            }
            for (sequence, _) in inflow.parked.iter().flat_map(|parked| parked.records()) {
                parked += 1;
                if !inflow.waits_for_another(sequence) && !timed.contains(&(id, sequence)) {
                    return Err(format!(
                        "flow {id}: {sequence} is parked, and nobody wakes it"
                    ));
                }
            }
        }
        if parked != self.parked {
            return Err(format!("{parked} are parked, {} are counted", self.parked));
        }
        for (route, state) in &self.route_states {
            for destination in 0..state.route.destinations.len() {
                let known = places.remove(&(route, destination)).unwrap_or(0);
                let guards = &state.guards;
                guards
                    .check_queue(destination, known)
                    .map_err(|wrong| format!("route {route}, group {destination}: {wrong}"))?;
            }
        }
        match places.is_empty() {
            true => Ok(()),
            false => Err(format!("places at no destination: {places:?}")),
        }
    }

    /// A route is about to be replaced: the places at its destinations are left. The flows of those that had one, in their order; each
    /// keeps the time since when it waits.
    pub(super) fn leave_places(&mut self, route: RouteId) -> Vec<InFlowId> {
        let mut waiting = Vec::new();
        for (id, inflow) in &self.inflows {
            let places = inflow.places().filter(|place| place.route == route);
            waiting.extend(places.map(|place| (place.ticket.number, id, place.sequence)));
        }
        waiting.sort_unstable();
        for (_, id, sequence) in &waiting {
            self.drop_place(*id, *sequence);
        }
        waiting.into_iter().map(|(_, id, _)| id).collect()
    }
}

impl Place {
    fn is_for(&self, sequence: u64, route: RouteId, destination: usize) -> bool {
        (self.sequence, self.route, self.destination) == (sequence, route, destination)
    }
}
