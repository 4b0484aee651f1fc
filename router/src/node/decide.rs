//! Where messages go: from a subject to the entries that want it, from entries to flows.
//!
//! A decision is made once per head and kept until anything that it depends on changes; the version of the node
//! says when.

use super::core::NodeCore;
use super::flow::{Forwarded, InFlowId, Purpose};
use super::guarded::Held;
use super::heads::Heads;
use super::peer::PeerId;
use super::route_state::RouteId;
use super::spool::{SPOOL, is_durable};
use crate::interest::RoutedGroups;
use crate::policy::{Choice, Destination, MemberChooser, destination_id};
use crate::protocol::Target;
use crate::routing::{Pattern, Subject};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::{AckLevel, Head, Record};
use smallvec::SmallVec;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// An entry's place in the node.
pub(super) type EntryIndex = u32;

/// What one node wants: its own entries, and those of others.
pub(super) struct EntryState {
    pub(super) target: Target,
    pub(super) pattern: Pattern,
    pub(super) group: Option<Arc<str>>,
    pub(super) members: u32,
    /// Set where the entry stands for a route, not for subscribers.
    pub(super) route: Option<EntryRoute>,
    /// The subscriptions behind an entry of this node.
    pub(super) local: Vec<Member>,
    pub(super) chooser: MemberChooser,
}

/// A route that an entry stands for.
#[derive(Clone, Debug)]
pub(super) enum EntryRoute {
    /// A route of this node.
    Here(RouteId),
    /// A route of the entry's origin.
    There(Arc<RoutedGroups>),
}

/// A local subscription, as an entry sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    pub(super) subscription: u32,
    pub(super) flow: u32,
    /// Stable while the subscription lasts.
    pub(super) id: u64,
}

/// One flow that a message is handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) peer: PeerId,
    pub(super) flow: u32,
    /// Whether it leads to another node.
    pub(super) onward: bool,
    /// Whether it leads to durable subscriptions: who asked for a message to be stored waits for them only.
    pub(super) durable: bool,
}

/// What a head's messages come to.
pub(super) struct CachedDecision {
    /// Keeps the address of the head its own.
    head: Arc<Head>,
    pub(super) heads: Rc<Heads>,
    pub(super) version: u64,
    pub(super) decision: Rc<Decision>,
    /// The flows that each of its messages goes to, once that is known, where it does not depend on the message.
    pub(super) outs_of_all: OnceCell<Rc<[Out]>>,
}

impl CachedDecision {
    /// One message goes to these flows, and others would, too.
    fn all_go(&self, outs: &Rc<[Out]>) {
        // What is stored is kept by each for itself, and the way to a durable subscription is not only the version's.
        let each_by_itself = |out: &Out| out.peer == SPOOL || out.durable;
        if self.head.ack != AckLevel::Stored && !outs.iter().any(each_by_itself) {
            let _ = self.outs_of_all.set(outs.clone());
        }
    }
}

/// The flows of selections, apart for messages whose publishers wait until they are processed.
type Known = HashMap<(Selection, bool), Rc<[Out]>, FixedState>;

/// Who wants the messages of one subject, and who chooses among them.
pub(super) struct Decision {
    /// Entries outside groups: each gets a copy.
    pub(super) plain: Vec<EntryIndex>,
    /// Groups outside the route: one member of each gets a copy.
    pub(super) groups: Vec<GroupMembers>,
    pub(super) route: Option<RouteChoice>,
    /// What each selection comes to, as flows.
    pub(super) outs: RefCell<Known>,
}

pub(super) struct GroupMembers {
    pub(super) entries: Vec<EntryIndex>,
    candidates: Vec<Destination>,
    chooser: RefCell<MemberChooser>,
}

pub(super) struct RouteChoice {
    /// The route.
    pub(super) route: RouteId,
    pub(super) destinations: Vec<Destination>,
    /// The members of each destination, where it has any.
    pub(super) groups: Vec<Option<GroupMembers>>,
}

/// Entries, each with the index of the member chosen in it (or none).
pub(super) type Selection = SmallVec<[(EntryIndex, u32); 4]>;
pub(super) const NO_MEMBER: u32 = u32::MAX;
/// Most selections a decision remembers.
const SELECTIONS_MAX: usize = 1024;

/// What is to be done with a message now.
pub(super) enum Verdict {
    /// Hand it to these flows.
    Go(Rc<[Out]>),
    /// Nobody wants it.
    Nobody,
    /// Wait for a destination: it is known but cannot be reached now.
    Wait,
    /// Wait for credit on one of these flows.
    Starved(SmallVec<[Out; 4]>),
    /// It passed too many nodes.
    TooFar,
    /// The guards of its route do not let it go on now.
    Held(Held),
}

/// Most nodes a message may pass.
const HOPS_MAX: u8 = 16;

impl NodeCore {
    /// What to do with the message at the front of a flow.
    pub(super) fn decide(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        now: Time,
    ) -> Verdict {
        if let Some(takers) = self.inflows[id].only.get(&sequence).cloned()
            && !self.is_decided_anew(id, sequence, &takers)
        {
            self.inflows[id].decided_again = self.version;
            return match self.decision(id, &record.head) {
                None => Verdict::TooFar,
                Some(_) => self.decide_again(id, sequence, &takers, record),
            };
        }
        match self.inflows[id].purpose.clone() {
            Purpose::Replies => self.decide_reply(record),
            Purpose::Spooled { queue } => match self.decision(id, &record.head) {
                None => Verdict::TooFar,
                Some(_) => self.decide_spooled(id, queue, sequence, record),
            },
            Purpose::Publish => match self.decision(id, &record.head) {
                None => Verdict::TooFar,
                Some(cached) => {
                    let decision = &cached.decision;
                    let verdict = self.select(id, sequence, decision, record, now);
                    if let Verdict::Go(outs) = &verdict
                        && decision.route.is_none()
                        && decision.groups.is_empty()
                    {
                        cached.all_go(outs);
                    }
                    verdict
                }
            },
            Purpose::Forward { targets } => {
                let Some(cached) = self.decision(id, &record.head) else {
                    return Verdict::TooFar;
                };
                if self.own_route(&targets).is_some() {
                    return match self.select(id, sequence, &cached.decision, record, now) {
                        // The route's groups may be on their way back.
                        Verdict::Nobody => Verdict::Wait,
                        verdict => verdict,
                    };
                }
                let verdict = self.decide_forward(id, sequence, &targets, record);
                if let Some(known) = &self.inflows[id].forwarded
                    && let Verdict::Go(outs) = &verdict
                    && known.version == self.version
                    && Rc::ptr_eq(&known.outs, outs)
                {
                    cached.all_go(outs);
                }
                verdict
            }
        }
    }

    /// As [`decide_targets`](Self::decide_targets), once for all messages of a flow where it does not depend on the message.
    fn decide_forward(
        &mut self,
        id: InFlowId,
        sequence: u64,
        targets: &[Target],
        record: &Record,
    ) -> Verdict {
        let (version, receipts) = (self.version, record.head.ack == AckLevel::Processed);
        if let Some(known) = &self.inflows[id].forwarded
            && (known.version, known.receipts) == (version, receipts)
        {
            return Verdict::Go(known.outs.clone());
        }
        let verdict = self.decide_targets(id, sequence, targets, record);
        // A group's member is chosen for each message, and the way to a durable subscription is not only the version's.
        let is_same_for_all = |target: &Target| {
            let entry = (target.origin == self.config.id)
                .then(|| self.local_entries.get(&target.entry))
                .flatten();
            let entry = entry.and_then(|entry| self.entries.get(*entry as usize));
            !is_durable(target.entry) && entry.is_none_or(|entry| entry.group.is_none())
        };
        let whole = self.inflows[id].skipped.is_none() && targets.iter().all(is_same_for_all);
        if let Verdict::Go(outs) = &verdict
            && whole
        {
            let outs = outs.clone();
            self.inflows[id].forwarded = Some(Forwarded {
                version,
                receipts,
                outs,
            });
        }
        verdict
    }

    /// The decision for a head, made now if what is known is out of date. `None` beyond the hop limit.
    pub(super) fn decision(
        &mut self,
        id: InFlowId,
        head: &Arc<Head>,
    ) -> Option<Rc<CachedDecision>> {
        let address = Arc::as_ptr(head) as usize;
        let known = self.inflows[id].decisions.get(&address);
        if let Some(cached) = known
            && cached.version == self.version
        {
            return Some(cached.clone());
        }
        if head.hops >= HOPS_MAX {
            return None;
        }
        let from_spool = self.inflows[id].spool.is_some();
        let heads = known.map_or_else(
            || Rc::new(Heads::new(head, from_spool)),
            |cached| cached.heads.clone(),
        );
        let decision = match self.inflows[id].purpose.clone() {
            Purpose::Publish => self.decision_for(&head.subject),
            Purpose::Forward { targets } => match self.own_route(&targets) {
                Some(route) => Rc::new(self.route_decision(&head.subject, route)),
                None => self.nothing.clone(),
            },
            Purpose::Replies | Purpose::Spooled { .. } => self.nothing.clone(),
        };
        let cached = Rc::new(CachedDecision {
            head: head.clone(),
            heads,
            version: self.version,
            decision,
            outs_of_all: OnceCell::new(),
        });
        self.inflows[id].remember(address, cached.clone());
        Some(cached)
    }

    /// The decision for a subject; subjects with the same takers share one.
    pub(super) fn decision_for(&mut self, subject: &str) -> Rc<Decision> {
        if self.decisions_version != self.version {
            self.decisions_version = self.version;
            self.decisions.clear();
        }
        let Ok(subject) = Subject::new(subject) else {
            return self.nothing.clone();
        };
        let mut entries: Vec<EntryIndex> = Vec::new();
        self.table
            .for_each_match(&subject, |entry| entries.push(*entry));
        entries.sort_unstable();
        entries.dedup();
        let route = self.config.routes.find(&subject);
        let route = route.and_then(|(index, _)| self.current_routes.get(index).copied());
        if let Some(known) = self.decisions.get(&(route, entries.clone())) {
            return known.clone();
        }
        let decision = Rc::new(self.make_decision(route, &entries));
        self.decisions.insert((route, entries), decision.clone());
        decision
    }

    pub(super) fn make_decision(&self, route: Option<RouteId>, entries: &[EntryIndex]) -> Decision {
        let mut plain = Vec::new();
        let mut groups: Vec<(Arc<str>, Vec<EntryIndex>)> = Vec::new();
        for &index in entries {
            let Some(entry) = self.entries.get(index as usize) else {
                continue;
            };
            match &entry.group {
                // A route is followed below, at one node only.
                None if entry.route.is_some() => {}
                None => plain.push(index),
                Some(name) => match groups.iter_mut().find(|(known, _)| known == name) {
                    Some((_, members)) => members.push(index),
                    None => groups.push((name.clone(), vec![index])),
                },
            }
        }
        let mut take = |name: &str| {
            let position = groups.iter().position(|(known, _)| &**known == name)?;
            Some(self.group_members(groups.remove(position).1))
        };
        let choice = route.and_then(|id| Some((id, &self.route_states.get(id)?.route)));
        let route = choice.map(|(index, route)| {
            let groups: Vec<_> = route.groups().map(&mut take).collect();
            let destinations = route
                .policy_destinations()
                .zip(&groups)
                .map(|(destination, group)| Destination {
                    ready: group.is_some(),
                    members: group.as_ref().map_or(0, |group| {
                        group.candidates.iter().map(|member| member.weight).sum()
                    }),
                    ..destination
                })
                .collect();
            RouteChoice {
                route: index,
                destinations,
                groups,
            }
        });
        if choice.is_some_and(|(_, route)| route.exclusive) {
            plain.clear();
            groups.clear();
        }
        if choice.is_none()
            && let Some((entry, routed)) = self.route_elsewhere(entries)
        {
            if routed.exclusive {
                plain.clear();
                groups.clear();
            }
            groups.retain(|(name, _)| !routed.groups.contains(name));
            plain.push(entry);
        }
        Decision {
            plain,
            groups: groups
                .into_iter()
                .map(|(_, entries)| self.group_members(entries))
                .collect(),
            route,
            outs: RefCell::default(),
        }
    }

    pub(super) fn group_members(&self, entries: Vec<EntryIndex>) -> GroupMembers {
        let candidates = entries
            .iter()
            .filter_map(|index| self.entries.get(*index as usize))
            .map(|entry| {
                let mut id = [0; 20];
                id[..16].copy_from_slice(&entry.target.origin.to_le_bytes());
                id[16..].copy_from_slice(&entry.target.entry.to_le_bytes());
                Destination::new(xxhash_rust::xxh3::xxh3_64(&id), entry.members.max(1))
            })
            .collect();
        GroupMembers {
            entries,
            candidates,
            chooser: RefCell::default(),
        }
    }

    /// Selects entries for one message and turns them into flows.
    pub(super) fn select(
        &mut self,
        id: InFlowId,
        sequence: u64,
        decision: &Decision,
        record: &Record,
        now: Time,
    ) -> Verdict {
        let key = record.key.map(|key| key.value());
        let mut selection: Selection = decision
            .plain
            .iter()
            .map(|entry| (*entry, NO_MEMBER))
            .collect();
        for group in &decision.groups {
            match group.choose(key) {
                Some(entry) => {
                    selection.push((entry, NO_MEMBER));
                    let other = group.entries.iter().find(|other| **other != entry);
                    if let Some(other) = other.filter(|_| planted(Fault::GroupTwice)) {
                        selection.push((*other, NO_MEMBER));
                    }
                }
                None => return Verdict::Wait,
            }
        }
        if let Some(route) = &decision.route {
            let choice = match self.choose_destination(id, sequence, record, route, now) {
                Ok(choice) => choice,
                Err(held) => return Verdict::Held(held),
            };
            match choice {
                Choice::One(index) | Choice::Copied { to: index, .. } => {
                    let member = route.groups[index]
                        .as_ref()
                        .and_then(|group| group.choose(key));
                    let Some(entry) = member else {
                        return Verdict::Wait;
                    };
                    selection.push((entry, NO_MEMBER));
                }
                Choice::All => {
                    for (index, group) in route.groups.iter().enumerate() {
                        if route.destinations[index].weight > 0
                            && let Some(entry) = group.as_ref().and_then(|group| group.choose(key))
                        {
                            self.count_route(route.route, index);
                            selection.push((entry, NO_MEMBER));
                        }
                    }
                    if selection.is_empty() {
                        return Verdict::Wait;
                    }
                }
                Choice::None => return Verdict::Wait,
            }
        }
        if selection.is_empty() {
            return Verdict::Nobody;
        }
        if let Err(starved) = self.choose_members(&mut selection, key) {
            return Verdict::Starved(starved);
        }
        if let Some(route) = &decision.route
            && self.note_out(id, route.route, &selection).is_none()
        {
            return Verdict::Wait;
        }
        let receipts = record.head.ack == AckLevel::Processed;
        let selection = (selection, receipts);
        if let Some(outs) = decision.outs.borrow().get(&selection) {
            return Verdict::Go(outs.clone());
        }
        match self.flows_for(&selection.0, receipts) {
            Some(outs) => {
                let mut known = decision.outs.borrow_mut();
                if known.len() >= SELECTIONS_MAX {
                    known.clear();
                }
                known.insert(selection, outs.clone());
                Verdict::Go(outs)
            }
            None => Verdict::Wait,
        }
    }

    /// Fills in the member of each local group with several members. Fails with the flows to wait for.
    pub(super) fn choose_members(
        &mut self,
        selection: &mut Selection,
        key: Option<u64>,
    ) -> Result<(), SmallVec<[Out; 4]>> {
        for (entry, member) in selection.iter_mut() {
            let Some(state) = self.entries.get_mut(*entry as usize) else {
                continue;
            };
            if state.group.is_none() || state.local.is_empty() {
                continue;
            }
            *member = 0;
            if state.local.len() > 1 {
                let peers = &self.peers;
                let local = &state.local;
                let is_ready = |index: usize| {
                    let peer = peers.get(local[index].peer);
                    peer.is_some_and(|peer| peer.session.room(local[index].flow).0 > 0)
                };
                let id = |index: usize| local[index].id;
                match state.chooser.choose_equal(key, local.len(), id, is_ready) {
                    Some(index) => *member = index as u32,
                    None => {
                        return Err(state
                            .local
                            .iter()
                            .map(|member| Out {
                                peer: member.peer,
                                flow: member.flow,
                                onward: false,
                                durable: false,
                            })
                            .collect());
                    }
                }
            }
        }
        Ok(())
    }

    /// A decision that nobody wants the message.
    pub(super) fn no_decision() -> Rc<Decision> {
        Rc::new(Decision {
            plain: Vec::new(),
            groups: Vec::new(),
            route: None,
            outs: RefCell::default(),
        })
    }
}

impl GroupMembers {
    pub(super) fn choose(&self, key: Option<u64>) -> Option<EntryIndex> {
        if let [only] = self.entries[..] {
            return Some(only);
        }
        let index = self.chooser.borrow_mut().choose(key, &self.candidates)?;
        self.entries.get(index).copied()
    }
}

/// The id of a member of a local group: stable while its client stays.
pub(super) fn member_id(client: u128, subscription: u32) -> u64 {
    destination_id(&format!("{client:032x}/{subscription}"))
}
