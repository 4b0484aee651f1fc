//! Messages of one flow that wait for their turn, or for room at their destination, while others of the flow go on.

use super::flow::{Admitted, ChosenDestination};
use super::places::Place;
use super::route_state::RouteId;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::wire::Record;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What messages have in common that must stay in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Producer, subject and key: so they are delivered.
    Order(u64),
    /// The limit of a route that lets messages wait: an earlier turn is not for a later message.
    Limit(RouteId, u64),
}

/// The classes of a message.
pub(super) type Classes = SmallVec<[Class; 2]>;

/// Parked messages that can go on.
pub(super) type Next = SmallVec<[u64; 2]>;

/// What was decided for a message that waits.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) admitted: Option<Admitted>,
    pub(super) chosen: Option<ChosenDestination>,
    pub(super) place: Option<Place>,
    pub(super) waits_since: Option<Time>,
}

/// The parked messages of a flow.
#[derive(Default)]
pub(super) struct Parked {
    records: BTreeMap<u64, Record>,
    /// Those of them that are woken by a time, or by room; the others by the one before them.
    timed: BTreeSet<u64>,
    /// What was decided for messages of the flow that wait, here or in its queue, but not for the one in hand.
    pub(super) decided: BTreeMap<u64, Decided>,
    /// Of those that were parked and have not gone on yet, also where they are back in the queue.
    classes: BTreeMap<u64, Classes>,
    members: HashMap<Class, BTreeSet<u64>, FixedState>,
}

impl Parked {
    /// How many are parked.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is known of any message.
    pub(super) fn is_over(&self) -> bool {
        self.records.is_empty() && self.decided.is_empty() && self.classes.is_empty()
    }

    /// The parked messages in their order.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.records
            .iter()
            .map(|(sequence, record)| (*sequence, record))
    }

    /// The first message of a class that was parked and has not gone on.
    pub(super) fn first(&self, class: Class) -> Option<u64> {
        self.members.get(&class)?.first().copied()
    }

    /// Parks a message. Those behind it that wait for nothing else any more: it may wait for something else than before.
    pub(super) fn park(
        &mut self,
        (sequence, record): (u64, Record),
        classes: Classes,
        timed: bool,
    ) -> Next {
        let before = self.unregister(sequence);
        for class in &classes {
            self.members.entry(*class).or_default().insert(sequence);
        }
        self.classes.insert(sequence, classes);
        self.records.insert(sequence, record);
        if timed {
            self.timed.insert(sequence);
        }
        self.next(&before)
    }

    /// Takes a parked message. It keeps its place before others of its classes until it has gone on.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Record> {
        self.timed.remove(&sequence);
        self.records.remove(&sequence)
    }

    /// A message has gone on: those behind it that wait for nothing else.
    pub(super) fn gone(&mut self, sequence: u64) -> Next {
        self.decided.remove(&sequence);
        let before = self.unregister(sequence);
        self.next(&before)
    }

    /// The first messages of these classes, where they wait for nothing.
    fn next(&self, classes: &Classes) -> Next {
        let firsts = classes.iter().filter_map(|class| self.first(*class));
        let mut next: Next = firsts
            .filter(|first| self.waits_for_nothing(*first))
            .collect();
        next.dedup();
        next
    }

    /// Whether a parked message has no time of its own, and is the first of each of its classes.
    pub(super) fn waits_for_nothing(&self, sequence: u64) -> bool {
        let classes = self.classes.get(&sequence);
        self.records.contains_key(&sequence)
            && !self.timed.contains(&sequence)
            && classes.is_some_and(|classes| {
                let mut all = classes.iter();
                all.all(|class| self.first(*class) == Some(sequence))
            })
    }

    /// Whether a parked message is woken by a time, or by room.
    pub(super) fn is_timed(&self, sequence: u64) -> bool {
        self.timed.contains(&sequence)
    }

    fn unregister(&mut self, sequence: u64) -> Classes {
        let classes = self.classes.remove(&sequence).unwrap_or_default();
        for class in &classes {
            if let Some(members) = self.members.get_mut(class) {
                members.remove(&sequence);
                if members.is_empty() {
                    self.members.remove(class);
                }
            }
        }
        classes
    }
}
