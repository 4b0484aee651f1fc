//! Order when the way to a target changes: the new way waits until the old one is empty.
//!
//! A target is reached by one flow at a time. When the mesh changes it may come to be reached by another flow or over
//! another node; messages that are still on the old way would then be overtaken. So each flow from a peer remembers
//! which flows it used before the change, and does not use another one to the same target until what was sent on those
//! has come to its end: the next node has settled it, and where it passed it on to further nodes, has said that they have
//! settled it too. The next node is asked that once somebody waits for it, and asks those behind it in turn.

use super::core::NodeCore;
use super::decide::Out;
use super::flow::{Blocked, Chosen, Former, InFlowId, Ways};
use super::peer::{Peer, PeerId};
use crate::protocol::{Signal, Target};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::Record;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

impl NodeCore {
    /// The flow that must be passed on before a message may go these ways.
    pub(super) fn still_draining(
        &mut self,
        id: InFlowId,
        record: &Record,
        outs: &[Out],
    ) -> Option<(PeerId, u32)> {
        let inflow = &self.inflows[id];
        // Whom a stored message is for was decided when it was stored, and whom one that was taken back, when it first came: so
        // the way may change without anything else.
        let decided_before = inflow.spool.is_some() || inflow.decided_again == self.version;
        if inflow.used.0 != self.version || decided_before {
            let head = Arc::as_ptr(&record.head) as usize;
            let ways = inflow.ways.get(&head);
            let known = |out: &Out| {
                let way = (out.peer, out.flow);
                !out.onward || ways.is_some_and(|ways| ways.contains(way, self.version))
            };
            if inflow.used.0 != self.version || !outs.iter().all(known) {
                self.used_before(id);
            }
        }
        let (inflow, peers, version) = (&mut self.inflows[id], &self.peers, self.version);
        if inflow.former.is_empty() {
            return None;
        }
        let ways = inflow.ways.get(&(Arc::as_ptr(&record.head) as usize));
        let is_new = |out: &&Out| {
            out.onward && !ways.is_some_and(|ways| ways.contains((out.peer, out.flow), version))
        };
        let flow = |out: &Out| peers.get(out.peer)?.outgoing.get(&out.flow);
        let routed = |out: &Out| flow(out).is_some_and(|to| to.routed);
        let mut former = inflow.former.iter();
        if !former.any(|former| former.routed) && !outs.iter().any(|out| is_new(&out)) {
            return None;
        }
        inflow.former.retain(|former| {
            peers
                .get(former.peer)
                .is_some_and(|peer| !peer.passed_on(former.flow, former.position))
        });
        let blocking = inflow.former.iter().find(|former| {
            let way = (former.peer, former.flow);
            let others = outs.iter().filter(|out| (out.peer, out.flow) != way);
            // Who else decides now may choose whom that route has chosen.
            let is_left = !planted(Fault::DeciderChangeIsNoChange)
                && others.clone().count() == outs.len()
                && went_before(&inflow.ways, way, &record.head.subject);
            if is_left && former.routed {
                return true;
            }
            if is_left && outs.iter().filter(is_new).any(routed) {
                return true;
            }
            others.filter(is_new).any(|out| {
                let shares = |target: &Target| former.targets.contains(target);
                let targets = flow(out).and_then(|to| to.targets.as_ref());
                targets.is_some_and(|targets| targets.iter().any(shares))
            })
        });
        let (peer, flow, position) = blocking
            .filter(|_| !planted(Fault::OrderOnWayChange))
            .map(|former| (former.peer, former.flow, former.position))?;
        self.ask_to_drain(peer, flow, position);
        Some((peer, flow))
    }

    /// Something has changed: the flows that a flow used until now are its former ones, up to what was sent on them.
    fn used_before(&mut self, id: InFlowId) {
        let inflow = &mut self.inflows[id];
        inflow.used.0 = self.version;
        for (peer, flow) in std::mem::take(&mut inflow.used.1) {
            let Some(state) = self.peers.get(peer) else {
                continue;
            };
            let out = state.outgoing.get(&flow);
            let known = out.and_then(|out| Some((out.targets.clone()?, out.routed)));
            let Some((targets, routed)) = known else {
                continue;
            };
            let (position, ..) = state.session.sent(flow);
            inflow
                .former
                .retain(|former| (former.peer, former.flow) != (peer, flow));
            inflow.former.push(Former {
                peer,
                flow,
                position,
                targets,
                routed,
            });
        }
        let former = &inflow.former;
        let is_former = |way: &mut (PeerId, u32)| {
            let mut former = former.iter();
            former.any(|former| (former.peer, former.flow) == *way)
        };
        for ways in inflow.ways.values_mut() {
            ways.undrained.retain(is_former);
        }
    }

    /// Asks a node whether what went to it on a flow has come to its end, once it has settled all of that itself.
    fn ask_to_drain(&mut self, peer: PeerId, flow: u32, position: u64) {
        let Some(state) = self.peers.get_mut(peer) else {
            return;
        };
        let settled = state.session.sent(flow).2;
        if settled >= position
            && let Some(out) = state.outgoing.get_mut(&flow)
            && out.asked.is_none()
        {
            out.asked = Some(settled);
            self.tell(peer, &Signal::Drain { flow });
        }
    }

    /// A node asks whether what it sent on a flow, all of which is settled here, has come to its end.
    pub(super) fn drain_asked(&mut self, id: PeerId, flow: u32) {
        let Some(&inflow) = self.peers[id].incoming.get(&flow) else {
            // The flow has ended.
            return self.tell(id, &Signal::Drained { flow });
        };
        let state = &self.inflows[inflow];
        let used = state.used.1.iter().filter_map(|&(peer, flow)| {
            let position = self.peers.get(peer)?.session.sent(flow).0;
            Some((peer, flow, position))
        });
        let former = state
            .former
            .iter()
            .map(|former| (former.peer, former.flow, former.position));
        let ways = used.chain(former).collect();
        self.inflows[inflow].asked = Some(ways);
        self.answer_drain(inflow);
    }

    /// Answers a node that has asked whether a flow is drained, or sees to it that it is tried again.
    pub(super) fn answer_drain(&mut self, id: InFlowId) {
        let Some(mut ways) = self.inflows[id].asked.take() else {
            return;
        };
        let (peer, Some(flow)) = (self.inflows[id].peer, self.inflows[id].flow) else {
            return;
        };
        ways.retain(|(peer, flow, position)| {
            self.peers
                .get(*peer)
                .is_some_and(|peer| !peer.passed_on(*flow, *position))
        });
        if ways.is_empty() || planted(Fault::DrainedEarly) {
            return self.tell(peer, &Signal::Drained { flow });
        }
        for &(peer, flow, position) in &ways {
            self.ask_to_drain(peer, flow, position);
            if let Some(out) = self
                .peers
                .get_mut(peer)
                .and_then(|peer| peer.outgoing.get_mut(&flow))
            {
                out.drains.insert(id);
            }
        }
        self.inflows[id].asked = Some(ways);
    }

    /// A node says that what it was asked about has come to its end.
    pub(super) fn drained(&mut self, id: PeerId, flow: u32) {
        let Some(out) = self.peers[id].outgoing.get_mut(&flow) else {
            return;
        };
        if let Some(position) = out.asked.take() {
            out.drained = out.drained.max(position);
        }
        for waiter in std::mem::take(&mut out.drains) {
            self.schedule(waiter);
        }
    }

    /// Lets the front of a flow wait until another flow is passed on.
    pub(super) fn wait_for_drain(
        &mut self,
        id: InFlowId,
        (sequence, record): (u64, Record),
        outs: Rc<[Out]>,
        (peer, flow): (PeerId, u32),
        since: Time,
    ) {
        let version = self.version;
        let inflow = &mut self.inflows[id];
        inflow.chosen = Some(Chosen {
            sequence,
            version,
            outs,
        });
        inflow.queue.push_front((sequence, record));
        inflow.blocked = Some(Blocked::Drain { since });
        self.draining.insert(id);
        if let Some(out) = self
            .peers
            .get_mut(peer)
            .and_then(|peer| peer.outgoing.get_mut(&flow))
        {
            out.drains.insert(id);
        }
    }

    /// When the first flow that waits for a drain goes on without it.
    pub(super) fn next_drain_timeout(&self) -> Option<Time> {
        let waiting = self
            .draining
            .iter()
            .filter_map(|id| self.inflows.get(*id)?.drains_since());
        waiting.map(|since| since + self.config.reroute).min()
    }

    /// Flows that have waited too long go on. Messages that came back by a detour may be what they wait for.
    pub(super) fn give_up_draining(&mut self, now: Time) {
        for id in std::mem::take(&mut self.draining) {
            let Some(inflow) = self.inflows.get_mut(id) else {
                continue;
            };
            match inflow.drains_since() {
                Some(since) if now >= since + self.config.reroute => {
                    // Whoever has not answered by now is asked again when it matters.
                    for former in std::mem::take(&mut inflow.former) {
                        let peer = self.peers.get_mut(former.peer);
                        if let Some(out) = peer.and_then(|peer| peer.outgoing.get_mut(&former.flow))
                        {
                            out.asked = None;
                        }
                    }
                    self.schedule(id);
                }
                Some(_) => {
                    self.draining.insert(id);
                }
                None => {}
            }
        }
    }

    /// A message goes this way.
    pub(super) fn note_used(&mut self, id: InFlowId, head: usize, subject: &str, out: &Out) {
        let (inflow, way) = (&mut self.inflows[id], (out.peer, out.flow));
        if !inflow.used.1.contains(&way) {
            inflow.used.1.push(way);
        }
        let ways = inflow.ways.entry(head);
        let ways = ways.or_insert_with(|| Ways {
            subject: xxh3_64(subject.as_bytes()),
            ..Ways::default()
        });
        ways.note(way, self.version);
    }

    /// A peer counts anew what it is sent.
    pub(super) fn recount_former(&mut self, peer: PeerId) {
        let Some(state) = self.peers.get_mut(peer) else {
            return;
        };
        // It does not know any more what it was asked, nor what it has asked.
        for out in state.outgoing.values_mut() {
            (out.drained, out.asked) = (0, None);
        }
        for inflow in state.incoming.values() {
            self.inflows[*inflow].asked = None;
        }
        for (_, inflow) in &mut self.inflows {
            for former in inflow
                .former
                .iter_mut()
                .filter(|former| former.peer == peer)
            {
                former.position = state.session.sent(former.flow).0;
            }
        }
    }

    /// A peer is gone, and with it all ways over it. Whoever comes in its place has flows of the same numbers.
    pub(super) fn forget_former(&mut self, peer: PeerId) {
        let mut asked = Vec::new();
        for (id, inflow) in &mut self.inflows {
            inflow.former.retain(|former| former.peer != peer);
            inflow.used.1.retain(|(used, _)| *used != peer);
            for ways in inflow.ways.values_mut() {
                ways.forget(peer);
            }
            if let Some(ways) = &mut inflow.asked {
                ways.retain(|(way, ..)| *way != peer);
                asked.push(id);
            }
        }
        for id in asked {
            self.schedule(id);
        }
    }
}

/// Whether messages of a subject went by a way.
fn went_before(ways: &HashMap<usize, Ways, FixedState>, way: (PeerId, u32), subject: &str) -> bool {
    let subject = xxh3_64(subject.as_bytes());
    let mut of_subject = ways.values().filter(|ways| ways.subject == subject);
    of_subject.any(|ways| ways.undrained.contains(&way))
}

impl Peer {
    /// Whether what was sent on a flow up to `position` has come to its end, as far as is known.
    fn passed_on(&self, flow: u32, position: u64) -> bool {
        let Some(out) = self.outgoing.get(&flow) else {
            return true;
        };
        let node = self.session.peer().map(|peer| peer.id);
        let ends_there = |target: &Target| Some(target.origin) == node;
        let last = out
            .targets
            .as_ref()
            .is_none_or(|targets| targets.iter().all(ends_there));
        let settled = self.session.sent(flow).2 >= position;
        settled && (last && !out.routed || out.drained >= position)
    }
}
