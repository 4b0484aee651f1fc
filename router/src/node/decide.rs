//! Where messages go: from a subject to the entries that want it, from entries to flows.
//!
//! A decision is made once per head and kept until anything that it depends on changes; the version of the node
//! says when.

use super::core::NodeCore;
use super::flow::{InFlow, InFlowId, Purpose};
use super::peer::{OutFlow, PeerId};
use crate::interest::{NodeId, RoutedGroups};
use crate::policy::{Choice, Destination, MemberChooser, Meta, destination_id};
use crate::protocol::{Definition, TARGETS_MAX, Target};
use crate::routing::{Pattern, Subject};
use foldhash::fast::FixedState;
use mcpbus_transport::wire::{Failure, Head, Record};
use smallvec::SmallVec;
use std::cell::RefCell;
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
    /// A route of this node, by its index.
    Here(usize),
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
}

/// What a head's messages come to.
#[derive(Clone)]
pub(super) struct CachedDecision {
    /// Keeps the address of the head its own.
    _head: Arc<Head>,
    /// The same with one hop more.
    pub(super) onward: Arc<Head>,
    pub(super) version: u64,
    pub(super) decision: Rc<Decision>,
}

/// Who wants the messages of one subject, and who chooses among them.
pub(super) struct Decision {
    /// Entries outside groups: each gets a copy.
    plain: Vec<EntryIndex>,
    /// Groups outside the route: one member of each gets a copy.
    groups: Vec<GroupMembers>,
    route: Option<RouteChoice>,
    /// What each selection comes to, as flows.
    outs: RefCell<HashMap<Selection, Rc<[Out]>, FixedState>>,
}

struct GroupMembers {
    entries: Vec<EntryIndex>,
    candidates: Vec<Destination>,
    chooser: RefCell<MemberChooser>,
}

struct RouteChoice {
    policy: usize,
    destinations: Vec<Destination>,
    groups: Vec<Option<GroupMembers>>,
}

/// Entries, each with the index of the member chosen in it (or none).
type Selection = SmallVec<[(EntryIndex, u32); 4]>;
const NO_MEMBER: u32 = u32::MAX;
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
}

/// Most nodes a message may pass.
const HOPS_MAX: u8 = 16;

impl NodeCore {
    /// What to do with the message at the front of a flow.
    pub(super) fn decide(&mut self, id: InFlowId, sequence: u64, record: &Record) -> Verdict {
        if let Some(takers) = self.inflows[id].only.get(&sequence).cloned() {
            return match self.decision(id, &record.head) {
                None => Verdict::TooFar,
                Some(_) => self.decide_again(id, sequence, &takers, record),
            };
        }
        match self.inflows[id].purpose.clone() {
            Purpose::Replies => self.decide_reply(record),
            Purpose::Publish => match self.decision(id, &record.head) {
                None => Verdict::TooFar,
                Some(cached) => self.select(id, sequence, &cached.decision, record),
            },
            Purpose::Forward { targets } => {
                let Some(cached) = self.decision(id, &record.head) else {
                    return Verdict::TooFar;
                };
                if self.own_route(&targets).is_some() {
                    return match self.select(id, sequence, &cached.decision, record) {
                        // The route's groups may be on their way back.
                        Verdict::Nobody => Verdict::Wait,
                        verdict => verdict,
                    };
                }
                self.decide_targets(id, sequence, &targets, record)
            }
        }
    }

    /// The head to give to other nodes for messages of `head`.
    pub(super) fn onward_head(&self, id: InFlowId, head: &Arc<Head>) -> Arc<Head> {
        let address = Arc::as_ptr(head) as usize;
        self.inflows[id]
            .decisions
            .get(&address)
            .map_or_else(|| head.clone(), |cached| cached.onward.clone())
    }

    /// The decision for a head, made now if what is known is out of date. `None` beyond the hop limit.
    fn decision(&mut self, id: InFlowId, head: &Arc<Head>) -> Option<CachedDecision> {
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
        let onward = known.map_or_else(
            || {
                Arc::new(Head {
                    hops: head.hops + 1,
                    ..Head::clone(head)
                })
            },
            |cached| cached.onward.clone(),
        );
        let decision = match self.inflows[id].purpose.clone() {
            Purpose::Publish => self.decision_for(&head.subject),
            Purpose::Forward { targets } => match self.own_route(&targets) {
                Some(route) => Rc::new(self.route_decision(&head.subject, route)),
                None => self.nothing.clone(),
            },
            Purpose::Replies => self.nothing.clone(),
        };
        let cached = CachedDecision {
            _head: head.clone(),
            onward,
            version: self.version,
            decision,
        };
        self.inflows[id].remember(address, cached.clone());
        Some(cached)
    }

    /// The decision for a subject; subjects with the same takers share one.
    fn decision_for(&mut self, subject: &str) -> Rc<Decision> {
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
        let route = self.config.routes.find(&subject).map(|(index, _)| index);
        if let Some(known) = self.decisions.get(&(route, entries.clone())) {
            return known.clone();
        }
        let decision = Rc::new(self.make_decision(route, &entries));
        self.decisions.insert((route, entries), decision.clone());
        decision
    }

    /// The route of this node that a flow's messages are here for.
    fn own_route(&self, targets: &[Target]) -> Option<usize> {
        let [target] = targets else { return None };
        let entry = (target.origin == self.config.id)
            .then(|| self.local_entries.get(&target.entry))
            .flatten()?;
        match self.entries.get(*entry as usize)?.route {
            Some(EntryRoute::Here(route)) => Some(route),
            _ => None,
        }
    }

    /// What a route of this node decides for messages of another one, which has served everybody else itself.
    fn route_decision(&self, subject: &str, route: usize) -> Decision {
        let mut entries: Vec<EntryIndex> = Vec::new();
        if let Ok(subject) = Subject::new(subject) {
            self.table
                .for_each_match(&subject, |entry| entries.push(*entry));
        }
        entries.sort_unstable();
        entries.dedup();
        let mut decision = self.make_decision(Some(route), &entries);
        decision.plain.clear();
        decision.groups.clear();
        decision
    }

    /// Of the routes that other nodes have for a subject: the most specific one, then the nearest, then that of the
    /// smallest origin.
    fn route_elsewhere(&self, entries: &[EntryIndex]) -> Option<(EntryIndex, Arc<RoutedGroups>)> {
        let hops = |entry: &EntryState| {
            self.interest
                .path(NodeId(entry.target.origin))
                .map_or(usize::MAX, <[NodeId]>::len)
        };
        let routes = entries.iter().filter_map(|index| {
            let entry = self.entries.get(*index as usize)?;
            match &entry.route {
                Some(EntryRoute::There(groups)) => Some((*index, entry, groups.clone())),
                _ => None,
            }
        });
        routes
            .max_by(|(_, one, _), (_, other, _)| {
                one.pattern
                    .compare_specificity(&other.pattern)
                    .then_with(|| hops(other).cmp(&hops(one)))
                    .then_with(|| other.target.origin.cmp(&one.target.origin))
            })
            .map(|(index, _, groups)| (index, groups))
    }

    fn make_decision(&self, route: Option<usize>, entries: &[EntryIndex]) -> Decision {
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
        let choice = route.and_then(|index| {
            self.config
                .routes
                .routes()
                .get(index)
                .map(|route| (index, route))
        });
        let route = choice.map(|(policy, route)| {
            let groups: Vec<_> = route
                .destinations
                .iter()
                .map(|destination| take(&destination.group))
                .collect();
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
                policy,
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

    fn group_members(&self, entries: Vec<EntryIndex>) -> GroupMembers {
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
    fn select(
        &mut self,
        id: InFlowId,
        sequence: u64,
        decision: &Decision,
        record: &Record,
    ) -> Verdict {
        let meta = Meta::new(record.key, record.sequence, record.body.len());
        let key = record.key.map(|key| key.value());
        let mut selection: Selection = decision
            .plain
            .iter()
            .map(|entry| (*entry, NO_MEMBER))
            .collect();
        for group in &decision.groups {
            match group.choose(key) {
                Some(entry) => selection.push((entry, NO_MEMBER)),
                None => return Verdict::Wait,
            }
        }
        if let Some(route) = &decision.route {
            let choice = match self.inflows[id].chosen_destination {
                // A message that has to wait keeps to the first answer, and is counted once.
                Some((chosen, index)) if chosen == sequence && index < route.groups.len() => {
                    Choice::One(index)
                }
                _ => {
                    let choice = self.policies[route.policy].choose(&meta, &route.destinations);
                    if let Choice::One(index) = choice {
                        self.inflows[id].chosen_destination = Some((sequence, index));
                        self.count_route(route.policy, index);
                    }
                    choice
                }
            };
            match choice {
                Choice::One(index) => {
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
                            self.count_route(route.policy, index);
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
        if let Some(outs) = decision.outs.borrow().get(&selection) {
            return Verdict::Go(outs.clone());
        }
        match self.flows_for(&selection) {
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

    fn count_route(&mut self, route: usize, destination: usize) {
        if let Some(count) = self
            .routed
            .get_mut(route)
            .and_then(|counts| counts.get_mut(destination))
        {
            *count += 1;
        }
    }

    /// Fills in the member of each local group with several members. Fails with the flows to wait for.
    fn choose_members(
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
                let destinations: SmallVec<[Destination; 8]> = state
                    .local
                    .iter()
                    .map(|member| Destination {
                        ready: peers
                            .get(member.peer)
                            .is_some_and(|peer| peer.session.room(member.flow).0 > 0),
                        ..Destination::new(member.id, 1)
                    })
                    .collect();
                match state.chooser.choose(key, &destinations) {
                    Some(index) => *member = index as u32,
                    None => {
                        return Err(state
                            .local
                            .iter()
                            .map(|member| Out {
                                peer: member.peer,
                                flow: member.flow,
                                onward: false,
                            })
                            .collect());
                    }
                }
            }
        }
        Ok(())
    }

    /// The flows that a selection comes to; `None` while a node of it is out of reach.
    fn flows_for(&mut self, selection: &Selection) -> Option<Rc<[Out]>> {
        let mut outs: Vec<Out> = Vec::new();
        let mut remote: Vec<(PeerId, Vec<Target>)> = Vec::new();
        let mut alone: Vec<(PeerId, Target)> = Vec::new();
        for &(index, member) in selection {
            let Some(entry) = self.entries.get(index as usize) else {
                continue;
            };
            if entry.target.origin != self.config.id {
                let hop = self.hop(entry.target.origin)?;
                if entry.group.is_some() || entry.route.is_some() {
                    // On a flow of its own: the choice among members must not change the flow of other targets.
                    alone.push((hop, entry.target));
                    continue;
                }
                match remote.iter_mut().find(|(peer, _)| *peer == hop) {
                    Some((_, targets)) => targets.push(entry.target),
                    None => remote.push((hop, vec![entry.target])),
                }
            } else if member == NO_MEMBER {
                outs.extend(entry.local.iter().map(|member| Out {
                    peer: member.peer,
                    flow: member.flow,
                    onward: false,
                }));
            } else if let Some(member) = entry.local.get(member as usize) {
                outs.push(Out {
                    peer: member.peer,
                    flow: member.flow,
                    onward: false,
                });
            }
        }
        for (peer, target) in alone {
            outs.push(Out {
                peer,
                flow: self.forward_flow(peer, &[target])?,
                onward: true,
            });
        }
        for (peer, mut targets) in remote {
            targets.sort_unstable();
            for part in targets.chunks(TARGETS_MAX) {
                outs.push(Out {
                    peer,
                    flow: self.forward_flow(peer, part)?,
                    onward: true,
                });
            }
        }
        Some(outs.into())
    }

    /// The peer that leads to an origin.
    fn hop(&self, origin: u128) -> Option<PeerId> {
        let neighbour = self.interest.next_hop(NodeId(origin))?;
        self.serials.get(&u64::from(neighbour.0)).copied()
    }

    /// The flow to a node for these targets, opened if there is none.
    fn forward_flow(&mut self, peer: PeerId, targets: &[Target]) -> Option<u32> {
        let state = self.peers.get_mut(peer)?;
        if let Some(flow) = state.forwards.get(targets) {
            return Some(*flow);
        }
        let definition = Definition::Forward {
            targets: targets.to_vec(),
        }
        .encode();
        let flow = match state.session.open_flow(definition.clone()) {
            Some(flow) => flow,
            None => {
                // Targets change with the mesh; flows that nothing uses any more make room.
                let idle: Vec<_> = state
                    .forwards
                    .iter()
                    .filter(|(_, flow)| state.session.retained(**flow) == 0)
                    .map(|(targets, flow)| (targets.clone(), *flow))
                    .collect();
                let mut closed = false;
                let mut waiters = Vec::new();
                for (targets, flow) in idle {
                    if state.session.close_flow(flow) {
                        state.forwards.remove(&targets);
                        waiters.extend(
                            state
                                .outgoing
                                .remove(&flow)
                                .into_iter()
                                .flat_map(|out| out.waiters.into_iter().chain(out.drains)),
                        );
                        closed = true;
                    }
                }
                waiters.into_iter().for_each(|waiter| self.schedule(waiter));
                if closed {
                    self.version += 1;
                }
                self.peers.get_mut(peer)?.session.open_flow(definition)?
            }
        };
        let state = self.peers.get_mut(peer)?;
        let targets: Rc<[Target]> = targets.into();
        state.forwards.insert(targets.clone(), flow);
        state.outgoing.insert(
            flow,
            OutFlow {
                targets: Some(targets),
                ..OutFlow::default()
            },
        );
        self.touch(peer);
        Some(flow)
    }

    /// Brings a message whose route was decided elsewhere to its targets.
    pub(super) fn decide_targets(
        &mut self,
        id: InFlowId,
        sequence: u64,
        targets: &[Target],
        record: &Record,
    ) -> Verdict {
        let InFlow { impatient, peer: from, .. } = self.inflows[id];
        let mut skipped = None;
        let key = record.key.map(|key| key.value());
        let mut selection = Selection::new();
        let mut remote: Vec<(PeerId, Vec<Target>)> = Vec::new();
        for target in targets {
            if target.origin == self.config.id {
                if let Some(entry) = self.local_entries.get(&target.entry) {
                    selection.push((*entry, NO_MEMBER));
                } else if !self.is_own_entry(target.entry) {
                    // Its subscribers went down with an earlier life of this node. Otherwise the last of them has
                    // left while the message was on its way, and nothing is owed.
                    skipped = Some(Failure::PeerDied);
                }
            } else {
                // Sent back to where it came from it would wait for itself: there is no way as yet.
                let Some(hop) = self.hop(target.origin).filter(|hop| *hop != from) else {
                    if impatient {
                        skipped = Some(Self::NOBODY);
                        continue;
                    }
                    return Verdict::Wait;
                };
                match remote.iter_mut().find(|(peer, _)| *peer == hop) {
                    Some((_, targets)) => targets.push(*target),
                    None => remote.push((hop, vec![*target])),
                }
            }
        }
        if let Err(starved) = self.choose_members(&mut selection, key) {
            return Verdict::Starved(starved);
        }
        self.inflows[id].impatient = skipped == Some(Self::NOBODY);
        self.inflows[id].skipped = skipped.map(|failure| (sequence, failure));
        let Some(local) = self.flows_for(&selection) else {
            return Verdict::Wait;
        };
        if remote.is_empty() {
            return if local.is_empty() {
                Verdict::Nobody
            } else {
                Verdict::Go(local)
            };
        }
        let mut outs = local.to_vec();
        for (peer, targets) in remote {
            match self.forward_flow(peer, &targets) {
                Some(flow) => outs.push(Out {
                    peer,
                    flow,
                    onward: true,
                }),
                None => return Verdict::Wait,
            }
        }
        Verdict::Go(outs.into())
    }

    /// Brings a message to one member of a group that has these entries.
    pub(super) fn decide_member(&mut self, entries: Vec<EntryIndex>, record: &Record) -> Verdict {
        if entries.is_empty() {
            return Verdict::Nobody;
        }
        let key = record.key.map(|key| key.value());
        let Some(entry) = self.group_members(entries).choose(key) else {
            return Verdict::Wait;
        };
        let mut selection = Selection::new();
        selection.push((entry, NO_MEMBER));
        if let Err(starved) = self.choose_members(&mut selection, key) {
            return Verdict::Starved(starved);
        }
        self.flows_for(&selection)
            .map_or(Verdict::Wait, Verdict::Go)
    }

    /// Whether an entry's number was given in this life of the node.
    fn is_own_entry(&self, number: u32) -> bool {
        let first = self.config.seed as u32;
        number.wrapping_sub(first) < self.next_entry.wrapping_sub(first)
    }

    pub(super) fn decide_reply(&mut self, record: &Record) -> Verdict {
        let Some(address) = record.extra.as_ref().and_then(|extra| extra.reply) else {
            return Verdict::Nobody;
        };
        let peer = if address.node == self.config.id {
            self.serials.get(&address.session).copied()
        } else {
            self.hop(address.node)
        };
        let Some(peer) = peer else {
            return Verdict::Nobody;
        };
        match self.reply_flow(peer) {
            Some(flow) => Verdict::Go(Rc::new([Out {
                peer,
                flow,
                onward: address.node != self.config.id,
            }])),
            None => Verdict::Nobody,
        }
    }

    /// The flow of answers to a peer, opened if there is none.
    pub(super) fn reply_flow(&mut self, peer: PeerId) -> Option<u32> {
        let state = self.peers.get_mut(peer)?;
        if let Some(flow) = state.replies {
            return Some(flow);
        }
        let flow = state.session.open_flow(Definition::Replies.encode())?;
        state.replies = Some(flow);
        state.outgoing.insert(flow, OutFlow::default());
        self.touch(peer);
        Some(flow)
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
    fn choose(&self, key: Option<u64>) -> Option<EntryIndex> {
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
