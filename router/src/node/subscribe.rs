//! Subscriptions of clients, and what the nodes of the mesh tell each other about them.

use super::core::NodeCore;
use super::decide::{EntryRoute, EntryState, Member, member_id};
use super::peer::{OutFlow, PeerId, Subscription};
use super::spool::{Attached, DURABLE, Spool, is_durable};
use super::take_back::Takers;
use crate::interest::{Change, Entry, EntryId, Neighbour, NodeId};
use crate::policy::MemberChooser;
use crate::protocol::{Definition, Signal, SubscribeRefusal, Target};
use crate::routing::{Pattern, Subject};
use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::wire::{GoodbyeCode, Role};
use std::sync::Arc;

/// Signals that may wait for a neighbour before interest waits too.
const SIGNALS_AHEAD: usize = 256;

impl NodeCore {
    /// A control message of a peer.
    pub(super) fn signalled(&mut self, id: PeerId, payload: Bytes, now: Time) {
        match Signal::decode(payload) {
            Ok(Signal::Subscribe {
                subscription,
                pattern,
                group,
                durable,
            }) => {
                let subscribed = match durable {
                    None => self.subscribe(id, subscription, &pattern, group),
                    Some(name) => {
                        self.subscribe_durable(id, subscription, &pattern, (&name, group), now)
                    }
                };
                if let Err((refusal, reason)) = subscribed {
                    self.tell(
                        id,
                        &Signal::Refused {
                            subscription,
                            refusal,
                            reason,
                        },
                    );
                }
            }
            Ok(Signal::Unsubscribe { subscription }) => {
                self.end_subscription(id, subscription, false, now)
            }
            Ok(Signal::Delete { question, durable }) => {
                let existed = self.delete_durable(&durable, now);
                let subscribers = u64::from(existed);
                self.tell(
                    id,
                    &Signal::Counted {
                        question,
                        subscribers,
                    },
                );
            }
            Ok(Signal::Count { question, subject }) => {
                let subscribers = self.count_subscribers(&subject);
                self.tell(
                    id,
                    &Signal::Counted {
                        question,
                        subscribers,
                    },
                );
            }
            Ok(Signal::Cancel { requests }) => self.cancel_heard(id, requests, now),
            Ok(Signal::Interest { message }) => self.interest_heard(id, &message, now),
            Ok(Signal::Drain { .. } | Signal::Drained { .. })
                if self.peers[id].role != Role::Node =>
            {
                self.part(id, "a signal that only nodes send to each other");
            }
            Ok(Signal::Drain { flow }) => self.drain_asked(id, flow),
            Ok(Signal::Drained { flow }) => self.drained(id, flow),
            Ok(Signal::Ready { .. } | Signal::Refused { .. } | Signal::Counted { .. }) => {
                self.part(id, "a signal that only nodes send to clients");
            }
            Err(error) => self.part(id, &error.to_string()),
        }
    }

    fn part(&mut self, id: PeerId, reason: &str) {
        self.peers[id].session.leave(GoodbyeCode::Protocol, reason);
        self.touch(id);
    }

    pub(super) fn tell(&mut self, id: PeerId, signal: &Signal) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if let Err(error) = peer.session.signal(signal.encode()) {
            peer.session.leave(GoodbyeCode::Limit, &error.to_string());
        }
        self.touch(id);
    }

    fn subscribe(
        &mut self,
        id: PeerId,
        number: u32,
        pattern: &str,
        group: Option<String>,
    ) -> Result<(), (SubscribeRefusal, String)> {
        let pattern = self.may_subscribe(id, number, pattern)?;
        let group: Option<Arc<str>> = group.map(Arc::from);
        let entry = self.local_entry(&pattern, &group)?;
        let flow = match self.deliver_flow(id, number) {
            Ok(flow) => flow,
            Err(refusal) => {
                self.drop_entry_if_empty(entry);
                return Err(refusal);
            }
        };
        let client = self.peers[id].session.peer().map_or(0, |peer| peer.id);
        let state = &mut self.entries[entry as usize];
        state.local.push(Member {
            peer: id,
            subscription: number,
            flow,
            id: member_id(client, number),
        });
        let target = state.target.entry;
        self.peers[id].subscriptions.insert(
            number,
            Subscription {
                group,
                entry: target,
                flow,
                ready: false,
                durable: None,
            },
        );
        self.subscriptions += 1;
        self.entry_changed(entry);
        self.touch(id);
        Ok(())
    }

    /// A client takes up a durable subscription, or makes it.
    fn subscribe_durable(
        &mut self,
        id: PeerId,
        number: u32,
        pattern: &str,
        (name, group): (&str, Option<String>),
        now: Time,
    ) -> Result<(), (SubscribeRefusal, String)> {
        let pattern = self.may_subscribe(id, number, pattern)?;
        if group.is_some() {
            return Err((
                SubscribeRefusal::Durable,
                String::from(
                    "a durable subscription is in no group: it has one subscriber at a time",
                ),
            ));
        }
        let queue = self.durable_queue(name, &pattern)?;
        let flow = self.deliver_flow(id, number)?;
        self.peers[id].subscriptions.insert(
            number,
            Subscription {
                group: None,
                entry: DURABLE | queue,
                flow,
                ready: false,
                durable: Some(queue),
            },
        );
        self.subscriptions += 1;
        let taker = Attached {
            peer: id,
            subscription: number,
            flow,
        };
        self.attach_taker(queue, taker, now);
        self.tell_durable_ready(queue);
        self.version += 1;
        self.touch(id);
        Ok(())
    }

    /// Tells the subscriber of a queue that it is ready, once it is.
    pub(super) fn tell_durable_ready(&mut self, queue: u32) {
        let Some(taker) = self.taker(queue) else {
            return;
        };
        if !self.is_durable_ready(queue) {
            return;
        }
        let state = self
            .peers
            .get_mut(taker.peer)
            .and_then(|peer| peer.subscriptions.get_mut(&taker.subscription));
        if let Some(state) = state
            && !std::mem::replace(&mut state.ready, true)
        {
            let subscription = taker.subscription;
            self.tell(taker.peer, &Signal::Ready { subscription });
        }
    }

    fn may_subscribe(
        &self,
        id: PeerId,
        number: u32,
        pattern: &str,
    ) -> Result<Pattern, (SubscribeRefusal, String)> {
        let pattern = Pattern::new(pattern)
            .map_err(|error| (SubscribeRefusal::Pattern, error.to_string()))?;
        if self.peers[id].subscriptions.contains_key(&number) {
            return Err((
                SubscribeRefusal::Duplicate,
                format!("subscription {number} exists"),
            ));
        }
        let limit = self.config.limits.subscriptions;
        if self.subscriptions >= limit {
            return Err((
                SubscribeRefusal::Limit,
                format!("the node has {limit} subscriptions, its limit"),
            ));
        }
        Ok(pattern)
    }

    /// Opens the flow of a subscription.
    fn deliver_flow(&mut self, id: PeerId, number: u32) -> Result<u32, (SubscribeRefusal, String)> {
        let definition = Definition::Deliver {
            subscription: number,
        };
        let Some(flow) = self.peers[id].session.open_flow(definition.encode()) else {
            return Err((
                SubscribeRefusal::Limit,
                "the session has too many flows".into(),
            ));
        };
        self.peers[id].outgoing.insert(
            flow,
            OutFlow {
                ..OutFlow::default()
            },
        );
        Ok(flow)
    }

    /// The entry of this node for a pattern and group, made if there is none.
    fn local_entry(
        &mut self,
        pattern: &Pattern,
        group: &Option<Arc<str>>,
    ) -> Result<u32, (SubscribeRefusal, String)> {
        let known = self.local_entries.values().copied().find(|index| {
            let entry = &self.entries[*index as usize];
            entry.route.is_none() && entry.pattern == *pattern && entry.group == *group
        });
        if let Some(index) = known {
            return Ok(index);
        }
        let number = self.next_entry;
        let entry = Entry {
            pattern: pattern.clone(),
            group: group.clone(),
            members: 1,
            route: None,
        };
        self.interest
            .local_set(EntryId(number), entry)
            .map_err(|error| (SubscribeRefusal::Limit, error.to_string()))?;
        self.next_entry = self.next_entry.wrapping_add(1) & !DURABLE;
        let index = self.entries.insert(EntryState {
            target: Target {
                origin: self.config.id,
                entry: number,
            },
            pattern: pattern.clone(),
            group: group.clone(),
            members: 0,
            route: None,
            local: Vec::new(),
            chooser: MemberChooser::new(),
        }) as u32;
        self.local_entries.insert(number, index);
        self.table.insert(pattern, index);
        Ok(index)
    }

    /// The members of an entry of this node changed: tell the others.
    fn entry_changed(&mut self, index: u32) {
        let state = &mut self.entries[index as usize];
        state.members = state.local.len() as u32;
        let entry = Entry {
            pattern: state.pattern.clone(),
            group: state.group.clone(),
            members: state.members,
            route: None,
        };
        // The entry exists, so no limit can refuse it.
        let _ = self.interest.local_set(EntryId(state.target.entry), entry);
        self.version += 1;
    }

    /// Ends a subscription. What its client had not received goes to another member of its group.
    /// `died` says that it may have died of what it had in its hands.
    pub(super) fn end_subscription(&mut self, id: PeerId, number: u32, died: bool, now: Time) {
        let Some(subscription) = self.peers[id].subscriptions.remove(&number) else {
            return;
        };
        self.subscriptions -= 1;
        let (_, received, settled) = self.peers[id].session.sent(subscription.flow);
        if subscription.durable.is_none()
            && let Some(&index) = self.local_entries.get(&subscription.entry)
        {
            self.entries[index as usize]
                .local
                .retain(|member| member.peer != id || member.subscription != number);
            if !self.drop_entry_if_empty(index) {
                self.entry_changed(index);
            }
        }
        let waiters = self.peers[id]
            .outgoing
            .remove(&subscription.flow)
            .map(|out| out.waiters.into_iter().chain(out.drains));
        let abandoned = self.peers[id].session.abandon_flow(subscription.flow);
        for (_, records) in abandoned.records {
            self.take_back(records, subscription.group.clone().map(Takers::Group), now);
        }
        if let Some(queue) = subscription.durable {
            // What it had in its hands when it went away may be why.
            let died_with_some = died && received > settled && !self.peers[id].left;
            self.detach_taker(queue, (id, number), died_with_some, now);
        }
        for waiter in waiters.into_iter().flatten() {
            self.schedule(waiter);
        }
        self.version += 1;
        self.touch(id);
    }

    fn drop_entry_if_empty(&mut self, index: u32) -> bool {
        let state = &self.entries[index as usize];
        if !state.local.is_empty() {
            return false;
        }
        let number = state.target.entry;
        let pattern = state.pattern.clone();
        self.table.remove(&pattern, &index);
        self.local_entries.remove(&number);
        self.entries.remove(index as usize);
        self.interest.local_remove(EntryId(number));
        self.version += 1;
        true
    }

    fn count_subscribers(&self, subject: &str) -> u64 {
        let Ok(subject) = Subject::new(subject) else {
            return 0;
        };
        let mut members = 0;
        self.table.for_each_match(&subject, |index| {
            members += self
                .entries
                .get(*index as usize)
                .map_or(0, |entry| u64::from(entry.members));
        });
        members
    }

    fn interest_heard(&mut self, id: PeerId, message: &[u8], now: Time) {
        let neighbour = Neighbour(self.peers[id].serial as u32);
        let message = match crate::interest::decode(message) {
            Ok(message) => message,
            Err(error) => return self.part(id, &error.to_string()),
        };
        if !self.peers[id].neighbour {
            return;
        }
        if let Err(error) = self.interest.handle(neighbour, message, now) {
            self.part(id, &error.to_string());
        }
    }

    /// Takes over what changed in the mesh, and passes on what neighbours are to hear.
    pub(super) fn pump_interest(&mut self, now: Time) {
        while let Some(change) = self.interest.poll_change() {
            self.changed(change);
        }
        self.forget_withdrawn();
        // Who hears that this node knows of a durable subscription relies on it, also after a death of this node.
        let kept = self.spool.as_ref().is_none_or(Spool::has_kept_interest);
        self.interest.hold_confirms(!kept);
        let neighbours: Vec<(PeerId, Neighbour)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.neighbour && peer.session.signals_waiting() < SIGNALS_AHEAD)
            .map(|(id, peer)| (id, Neighbour(peer.serial as u32)))
            .collect();
        for (id, neighbour) in neighbours {
            while self.peers[id].session.signals_waiting() < SIGNALS_AHEAD {
                let Some(message) = self.interest.poll_send_to(neighbour) else {
                    break;
                };
                let message = Bytes::from(crate::interest::encode(&message));
                self.tell(id, &Signal::Interest { message });
            }
        }
        self.feed_hungry(now);
    }

    fn changed(&mut self, change: Change) {
        tracing::debug!(?change, "interest");
        self.version += 1;
        match change {
            Change::EntryAdded { origin, id, entry } => {
                let target = Target {
                    origin: origin.0,
                    entry: id.0,
                };
                if !self.remember_durable(target, &entry.pattern) {
                    return;
                }
                if self.remote_entries.contains_key(&(origin.0, id.0)) {
                    return;
                }
                let index = self.entries.insert(EntryState {
                    target,
                    pattern: entry.pattern.clone(),
                    group: entry.group,
                    members: entry.members,
                    route: entry.route.map(EntryRoute::There),
                    local: Vec::new(),
                    chooser: MemberChooser::new(),
                }) as u32;
                self.remote_entries.insert((origin.0, id.0), index);
                self.table.insert(&entry.pattern, index);
            }
            Change::MembersChanged { origin, id, entry } => {
                if let Some(&index) = self.remote_entries.get(&(origin.0, id.0)) {
                    self.entries[index as usize].members = entry.members;
                }
            }
            Change::EntryRemoved {
                origin: NodeId(origin),
                id,
                ..
            } => {
                let target = Target {
                    origin,
                    entry: id.0,
                };
                if !self.keeps_durable(target)
                    && let Some(index) = self.remote_entries.remove(&(origin, id.0))
                {
                    let state = self.entries.remove(index as usize);
                    self.table.remove(&state.pattern, &index);
                }
            }
            Change::Confirmed { id, .. } => self.confirmed(id.0),
            Change::NextHopChanged {
                origin,
                next_hop: Some(_),
                ..
            } => self.reconcile_durable(origin.0),
            Change::NextHopChanged { .. } | Change::Synced { .. } => {}
        }
    }

    /// Every reachable node knows an entry: its subscribers are told.
    fn confirmed(&mut self, number: u32) {
        if is_durable(number) {
            return self.tell_durable_ready(number & !DURABLE);
        }
        let Some(&index) = self.local_entries.get(&number) else {
            return;
        };
        let members: Vec<(PeerId, u32)> = self.entries[index as usize]
            .local
            .iter()
            .map(|member| (member.peer, member.subscription))
            .collect();
        for (peer, subscription) in members {
            let state = self
                .peers
                .get_mut(peer)
                .and_then(|peer| peer.subscriptions.get_mut(&subscription));
            if let Some(state) = state
                && !state.ready
            {
                state.ready = true;
                self.tell(peer, &Signal::Ready { subscription });
            }
        }
    }
}
