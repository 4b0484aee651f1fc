//! From entries and targets to the flows that lead there.

use super::core::NodeCore;
use super::decide::{EntryIndex, NO_MEMBER, Out, Selection, Verdict};
use super::flow::{InFlow, InFlowId};
use super::peer::{OutFlow, PeerId};
use super::spool::{DURABLE, SPOOL, is_durable};
use crate::interest::NodeId;
use crate::protocol::{Definition, TARGETS_MAX, Target};
use mcpbus_transport::wire::{AckLevel, Failure, Record};
use std::rc::Rc;

impl NodeCore {
    /// The flows that a selection comes to; `None` while a node of it is out of reach. `receipts` says that the publisher
    /// waits until the message is processed.
    pub(super) fn flows_for(&mut self, selection: &Selection, receipts: bool) -> Option<Rc<[Out]>> {
        let mut outs: Vec<Out> = Vec::new();
        let mut remote: Vec<(PeerId, Vec<Target>)> = Vec::new();
        let mut alone: Vec<(PeerId, Target)> = Vec::new();
        let mut durable: Vec<(PeerId, Vec<Target>)> = Vec::new();
        let mut stored: Vec<Target> = Vec::new();
        for &(index, member) in selection {
            let Some(entry) = self.entries.get(index as usize) else {
                continue;
            };
            if is_durable(entry.target.entry) && self.stores_for(entry.target, receipts) {
                stored.push(entry.target);
                continue;
            }
            if entry.target.origin != self.config.id {
                let hop = self.hop(entry.target.origin)?;
                if is_durable(entry.target.entry) {
                    // Apart from others, whom nobody waits for who asked for a message to be stored.
                    match durable.iter_mut().find(|(peer, _)| *peer == hop) {
                        Some((_, targets)) => targets.push(entry.target),
                        None => durable.push((hop, vec![entry.target])),
                    }
                    continue;
                }
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
                    durable: false,
                }));
            } else if let Some(member) = entry.local.get(member as usize) {
                outs.push(Out {
                    peer: member.peer,
                    flow: member.flow,
                    onward: false,
                    durable: false,
                });
            }
        }
        for (peer, target) in alone {
            outs.push(Out {
                peer,
                flow: self.forward_flow(peer, &[target], false)?,
                onward: true,
                durable: false,
            });
        }
        let remote = remote.into_iter().map(|remote| (remote, false));
        let durable = durable.into_iter().map(|durable| (durable, true));
        for ((peer, mut targets), durable) in remote.chain(durable) {
            targets.sort_unstable();
            for part in targets.chunks(TARGETS_MAX) {
                outs.push(Out {
                    peer,
                    flow: self.forward_flow(peer, part, durable && receipts)?,
                    onward: true,
                    durable,
                });
            }
        }
        if !stored.is_empty() {
            let (me, version) = (self.config.id, self.version);
            let spool = self.spool.as_mut()?;
            outs.push(Out {
                peer: SPOOL,
                flow: spool.set_for(&stored, me, version)?,
                onward: false,
                durable: true,
            });
        }
        Some(outs.into())
    }

    /// Whether this node stores what is for a durable entry. What is settled only when it was processed goes on to the
    /// node of the subscription: stored on the way it would hold back what is settled at once.
    fn stores_for(&self, target: Target, receipts: bool) -> bool {
        target.origin == self.config.id
            || !receipts
                && self
                    .spool
                    .as_ref()
                    .is_some_and(|spool| spool.has_queue_for(target.origin))
    }

    /// The peer that leads to an origin.
    pub(super) fn hop(&self, origin: u128) -> Option<PeerId> {
        let neighbour = self.interest.next_hop(NodeId(origin))?;
        self.serials.get(&u64::from(neighbour.0)).copied()
    }

    /// The flow to a node for these targets, opened if there is none.
    pub(super) fn forward_flow(
        &mut self,
        peer: PeerId,
        targets: &[Target],
        receipts: bool,
    ) -> Option<u32> {
        let state = self.peers.get_mut(peer)?;
        let key: (Rc<[Target]>, bool) = (targets.into(), receipts);
        if let Some(flow) = state.forwards.get(&key) {
            return Some(*flow);
        }
        let definition = Definition::Forward {
            targets: targets.to_vec(),
            receipts,
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
        let targets = key.0.clone();
        let routed = targets.iter().any(|target| self.is_route(target));
        let state = self.peers.get_mut(peer)?;
        state.forwards.insert(key, flow);
        state.outgoing.insert(
            flow,
            OutFlow {
                targets: Some(targets),
                routed,
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
        let InFlow {
            impatient,
            peer: from,
            ..
        } = self.inflows[id];
        let mut skipped = None;
        let key = record.key.map(|key| key.value());
        let receipts = record.head.ack == AckLevel::Processed;
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
            } else if from != SPOOL
                && is_durable(target.entry)
                && self.stores_for(*target, receipts)
                && let Some(entry) = self.remote_entries.get(&(target.origin, target.entry))
            {
                selection.push((*entry, NO_MEMBER));
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
        let Some(local) = self.flows_for(&selection, receipts) else {
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
            let durable = targets.iter().any(|target| is_durable(target.entry));
            match self.forward_flow(peer, &targets, durable && receipts) {
                Some(flow) => outs.push(Out {
                    peer,
                    flow,
                    onward: true,
                    durable,
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
        let receipts = record.head.ack == AckLevel::Processed;
        self.flows_for(&selection, receipts)
            .map_or(Verdict::Wait, Verdict::Go)
    }

    /// Whether an entry's number was given in this life of the node.
    pub(super) fn is_own_entry(&self, number: u32) -> bool {
        let first = self.config.seed as u32 & !DURABLE;
        // A durable entry that is not there any more was given up.
        is_durable(number)
            || number.wrapping_sub(first) & !DURABLE
                < self.next_entry.wrapping_sub(first) & !DURABLE
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
                durable: false,
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
}
