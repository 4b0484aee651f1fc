//! Parks messages that must wait, so that they hold only what must stay behind them.
//!
//! A message whose turn comes later, or that waits for room at its destination, is put aside until then, and the flow goes on. What must
//! stay behind it is parked too when its turn comes: messages of the same producer, subject and key, and those that wait for the same limit.
//! Parked messages keep the credit of their flow: positions of a flow are settled in order, so as many can come behind one as the
//! window of the flow holds. Where more are parked than a node may have, a message that waits holds its flow.

use super::core::NodeCore;
use super::flow::{Blocked, ChosenDestination, InFlow, InFlowId};
use super::parked::{Class, Classes, Decided};
use super::places::Place;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::wire::Record;
use smallvec::smallvec;
use std::hash::BuildHasher;

/// Most messages that one node parks: what waits for its turn or for room beside its flow, and what must stay behind it.
pub const PARKED_MESSAGES: usize = 8192;
/// What parked messages take besides what their credit counts, for the memory bound of a node with routes whose guards let messages wait.
pub const PARKED_MEMORY: u64 = PARKED_MESSAGES as u64 * 1536;

/// The class of those that are delivered in the order in which they were sent.
fn order(record: &Record) -> Class {
    let key = record.key.map(|key| key.value());
    let all = (record.head.producer, &record.head.subject, key);
    Class::Order(FixedState::default().hash_one(all))
}

impl InFlow {
    /// Whether messages that came have not been handed on.
    pub(super) fn has_waiting(&self) -> bool {
        let parked = self.parked.as_ref();
        !self.queue.is_empty() || parked.is_some_and(|parked| parked.len() > 0)
    }

    /// The first message that was not handed on.
    pub(super) fn first_waiting(&self) -> Option<u64> {
        let parked = self.parked.as_ref();
        let parked = parked.and_then(|parked| Some(parked.records().next()?.0));
        let queued = self.queue.front().map(|(sequence, _)| *sequence);
        queued.into_iter().chain(parked).min()
    }

    /// The place that a message has.
    pub(super) fn place_mut(&mut self, sequence: u64) -> Option<&mut Place> {
        let own = self.place.as_ref();
        if own.is_some_and(|place| place.sequence == sequence) {
            return self.place.as_mut();
        }
        let parked = self.parked.as_mut()?;
        parked.decided.get_mut(&sequence)?.place.as_mut()
    }

    /// Takes the place that a message has.
    pub(super) fn take_place(&mut self, sequence: u64) -> Option<Place> {
        let own = self.place.take_if(|place| place.sequence == sequence);
        own.or_else(|| {
            let parked = self.parked.as_mut()?;
            parked.decided.get_mut(&sequence)?.place.take()
        })
    }

    /// All places of its messages.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let decided = self
            .parked
            .iter()
            .flat_map(|parked| parked.decided.values());
        let places = decided.filter_map(|decided| decided.place.as_ref());
        self.place.iter().chain(places)
    }

    /// Whether a parked message goes on when one before it has gone on.
    pub(super) fn waits_for_another(&self, sequence: u64) -> bool {
        let parked = self.parked.as_ref();
        parked
            .is_some_and(|parked| !parked.is_timed(sequence) && !parked.waits_for_nothing(sequence))
    }

    fn is_queued(&self, sequence: u64) -> bool {
        let queued = self
            .queue
            .binary_search_by_key(&sequence, |(waiting, _)| *waiting);
        queued.is_ok()
    }
}

impl NodeCore {
    /// A message is tried: what was decided for it holds, and what was decided for another that waits is kept for that.
    pub(super) fn take_up(&mut self, id: InFlowId, sequence: u64) {
        let inflow = &mut self.inflows[id];
        if inflow.parked.is_none() {
            return;
        }
        let admitted = inflow
            .admitted
            .take_if(|admitted| admitted.sequence != sequence);
        let chosen = inflow
            .chosen_destination
            .take_if(|chosen| chosen.sequence != sequence);
        let place = inflow.place.take_if(|place| place.sequence != sequence);
        let since = inflow.waits_since.take_if(|(of, _)| *of != sequence);
        let admitted = admitted.filter(|admitted| inflow.is_queued(admitted.sequence));
        let chosen = chosen.filter(|chosen| inflow.is_queued(chosen.sequence));
        let since = since.filter(|(of, _)| inflow.is_queued(*of));
        let Some(parked) = &mut inflow.parked else {
            return;
        };
        let decided = &mut parked.decided;
        if let Some(admitted) = admitted {
            decided.entry(admitted.sequence).or_default().admitted = Some(admitted);
        }
        if let Some(chosen) = chosen {
            decided.entry(chosen.sequence).or_default().chosen = Some(chosen);
        }
        if let Some(place) = place {
            let of = place.sequence;
            decided.entry(of).or_default().place = Some(place);
        }
        if let Some((of, since)) = since {
            decided.entry(of).or_default().waits_since = Some(since);
        }
        if let Some(known) = decided.remove(&sequence) {
            inflow.admitted = known.admitted.or(inflow.admitted);
            inflow.chosen_destination = known.chosen.or(inflow.chosen_destination);
            inflow.place = known.place.or(inflow.place.take());
            let since = known.waits_since.map(|since| (sequence, since));
            inflow.waits_since = since.or(inflow.waits_since);
        }
    }

    /// The classes in which a message must stay behind one that is parked; `None` if there is none.
    pub(super) fn follows(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
    ) -> Option<Classes> {
        self.inflows[id].parked.as_ref()?;
        let limit = self.limit_class(id, record);
        let parked = self.inflows[id].parked.as_ref()?;
        let is_behind = |class: &Class| parked.first(*class).is_some_and(|first| first < sequence);
        let (order, limit) = (order(record), limit.filter(is_behind));
        if limit.is_none() && !is_behind(&order) {
            return None;
        }
        let mut classes: Classes = smallvec![order];
        classes.extend(limit);
        Some(classes)
    }

    /// The limit that a message may have to wait for.
    fn limit_class(&mut self, id: InFlowId, record: &Record) -> Option<Class> {
        let known = self.decision(id, &record.head)?;
        let route = known.decision.route.as_ref()?.route;
        let guards = &self.route_states.get(route)?.guards;
        guards
            .delays
            .then(|| Class::Limit(route, self.limit_key(id, record, route)))
    }

    /// Parks a message behind one that is parked. Whether its flow goes on.
    pub(super) fn park_behind(
        &mut self,
        id: InFlowId,
        (sequence, record): (u64, Record),
        classes: Classes,
        now: Time,
    ) -> bool {
        let inflow = &mut self.inflows[id];
        let first = classes.first().zip(inflow.parked.as_ref());
        let first = first.and_then(|(class, parked)| {
            let decided = parked.decided.get(&parked.first(*class)?)?;
            decided.place.as_ref()
        });
        // Behind one that waits for room it waits for room too.
        if first.is_some() && inflow.waits_since.is_none_or(|(of, _)| of != sequence) {
            inflow.waits_since = Some((sequence, now));
        }
        self.park(id, (sequence, record), classes, false)
    }

    /// Lets a message wait until its time comes, or until there is room for it. Whether its flow goes on.
    pub(super) fn wait_until(
        &mut self,
        id: InFlowId,
        (sequence, record): (u64, Record),
        wake: Time,
    ) -> bool {
        self.turns.insert((wake, id, sequence));
        let mut classes: Classes = smallvec![order(&record)];
        let place = self.inflows[id].place.as_ref();
        if place.is_none_or(|place| place.sequence != sequence) {
            classes.extend(self.limit_class(id, &record));
        }
        self.park(id, (sequence, record), classes, true)
    }

    fn park(
        &mut self,
        id: InFlowId,
        (sequence, record): (u64, Record),
        classes: Classes,
        timed: bool,
    ) -> bool {
        let inflow = &mut self.inflows[id];
        // Of a message that was taken back there may be more to come.
        if self.parked >= PARKED_MESSAGES || inflow.only.contains_key(&sequence) {
            inflow.queue.push_front((sequence, record));
            inflow.blocked = Some(Blocked::Turn);
            return false;
        }
        let since = inflow.waits_since.take_if(|(of, _)| *of == sequence);
        let decided = Decided {
            admitted: inflow
                .admitted
                .take_if(|admitted| admitted.sequence == sequence),
            chosen: inflow
                .chosen_destination
                .take_if(|chosen| chosen.sequence == sequence),
            place: inflow.place.take_if(|place| place.sequence == sequence),
            waits_since: since.map(|(_, since)| since),
        };
        let parked = inflow.parked.get_or_insert_default();
        parked.decided.insert(sequence, decided);
        let next = parked.park((sequence, record), classes, timed);
        self.parked += 1;
        for next in next {
            self.unpark(id, next);
        }
        true
    }

    /// Puts a parked message back into its flow, where it is before all that came later.
    pub(super) fn unpark(&mut self, id: InFlowId, sequence: u64) {
        let Some(inflow) = self.inflows.get_mut(id) else {
            return;
        };
        let parked = inflow.parked.as_mut();
        let Some(record) = parked.and_then(|parked| parked.take(sequence)) else {
            return;
        };
        self.parked -= 1;
        let queue = &mut inflow.queue;
        let place = queue.partition_point(|(waiting, _)| *waiting < sequence);
        queue.insert(place, (sequence, record));
        inflow.chosen = None;
    }

    /// All parked messages are tried again, in their order.
    pub(super) fn unpark_all(&mut self, id: InFlowId) {
        let parked = self.inflows[id].parked.as_ref();
        let parked: Vec<u64> = parked
            .iter()
            .flat_map(|parked| parked.records())
            .map(|(sequence, _)| sequence)
            .collect();
        // From the last one on each goes to the front of what is there.
        for sequence in parked.iter().rev() {
            self.unpark(id, *sequence);
        }
        if !parked.is_empty() {
            self.schedule(id);
        }
    }

    /// What was chosen by routes that are replaced, for messages of a flow that were parked, is chosen anew.
    pub(super) fn forget_replaced_choices(&mut self, id: InFlowId) {
        let (inflow, states) = (&mut self.inflows[id], &mut self.route_states);
        let parked = inflow.parked.iter_mut();
        for decided in parked.flat_map(|parked| parked.decided.values_mut()) {
            let replaced = |chosen: &mut ChosenDestination| {
                let state = states.get(chosen.route);
                state.is_none_or(|state| state.replaced.is_some())
            };
            let Some(chosen) = decided.chosen.take_if(replaced) else {
                continue;
            };
            let given = states
                .get_mut(chosen.route)
                .and_then(|state| state.given.get_mut(chosen.destination));
            if let Some(given) = given {
                *given = given.saturating_sub(1);
            }
        }
    }

    /// A message was handed on or has ended: those go on that waited for nothing else.
    pub(super) fn gone_on(&mut self, id: InFlowId, sequence: u64) {
        let Some(parked) = self.inflows[id].parked.as_mut() else {
            return;
        };
        for next in parked.gone(sequence) {
            self.unpark(id, next);
        }
        let inflow = &mut self.inflows[id];
        inflow.parked.take_if(|parked| parked.is_over());
        if inflow.blocked.is_some() {
            self.schedule(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::parked::Parked;
    use std::collections::BTreeSet;

    #[test]
    fn what_a_parked_message_takes_is_in_the_memory_bound() {
        // A node of a tree has room for eleven, and five at least are there, besides the way to it.
        let tree = |bytes: usize| (bytes * 11).div_ceil(5) + 16;
        let entries = tree(size_of::<(u64, Record)>())
            + tree(size_of::<(u64, Decided)>())
            + tree(size_of::<(u64, Classes)>())
            + tree(size_of::<u64>());
        // Each class may be its own: half of the table is free, and a set has a node for eleven.
        let class = 2 * (size_of::<(Class, BTreeSet<u64>)>() + 1) + 12 * size_of::<u64>() + 16;
        // When it is woken, and its place in the queue of a destination.
        let node = tree(size_of::<(Time, InFlowId, u64)>()) + tree(size_of::<(u64, u64, u64)>());
        // A flow has at least one of them.
        let flow = size_of::<Parked>();
        let all = (entries + 2 * class + node + flow) as u64;
        assert!(all * PARKED_MESSAGES as u64 <= PARKED_MEMORY, "{all}");
    }
}
