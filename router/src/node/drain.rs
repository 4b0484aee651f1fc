//! Order when the way to a target changes: the new way waits until the old one is empty.
//!
//! A target is reached by one flow at a time. When the mesh changes it may come to be reached by another flow or over
//! another node; messages that are still on the old way would then be overtaken. So each flow from a peer remembers
//! which flows it used before the change, and does not use another one to the same target until those are passed on.

use super::core::NodeCore;
use super::decide::Out;
use super::flow::{Blocked, Chosen, Former, InFlowId};
use super::peer::PeerId;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::Record;
use std::rc::Rc;

impl NodeCore {
    /// The flow that must be passed on before a message may go these ways.
    pub(super) fn still_draining(&mut self, id: InFlowId, outs: &[Out]) -> Option<(PeerId, u32)> {
        let inflow = &mut self.inflows[id];
        if inflow.used.0 != self.version {
            inflow.used.0 = self.version;
            for (peer, flow) in std::mem::take(&mut inflow.used.1) {
                let Some(state) = self.peers.get(peer) else {
                    continue;
                };
                let Some(targets) = state
                    .outgoing
                    .get(&flow)
                    .and_then(|out| out.targets.clone())
                else {
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
                });
            }
        }
        if inflow.former.is_empty() {
            return None;
        }
        let peers = &self.peers;
        inflow.former.retain(|former| {
            peers.get(former.peer).is_some_and(|peer| {
                peer.outgoing.contains_key(&former.flow)
                    && peer.session.sent(former.flow).2 < former.position
            })
        });
        let blocking = inflow.former.iter().find(|former| {
            outs.iter()
                .filter(|out| out.onward && (out.peer, out.flow) != (former.peer, former.flow))
                .any(|out| {
                    let targets = peers
                        .get(out.peer)
                        .and_then(|peer| peer.outgoing.get(&out.flow)?.targets.as_ref());
                    targets.is_some_and(|targets| {
                        targets.iter().any(|target| former.targets.contains(target))
                    })
                })
        });
        blocking
            .filter(|_| !planted(Fault::OrderOnWayChange))
            .map(|former| (former.peer, former.flow))
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
        waiting.map(|since| since + self.config.hold).min()
    }

    /// Flows that have waited too long go on. Messages that came back by a detour may be what they wait for.
    pub(super) fn give_up_draining(&mut self, now: Time) {
        for id in std::mem::take(&mut self.draining) {
            let Some(inflow) = self.inflows.get_mut(id) else {
                continue;
            };
            match inflow.drains_since() {
                Some(since) if now >= since + self.config.hold => {
                    inflow.former.clear();
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
    pub(super) fn note_used(&mut self, id: InFlowId, out: &Out) {
        let used = &mut self.inflows[id].used.1;
        if !used.contains(&(out.peer, out.flow)) {
            used.push((out.peer, out.flow));
        }
    }

    /// A peer counts anew what it is sent.
    pub(super) fn recount_former(&mut self, peer: PeerId) {
        let Some(state) = self.peers.get(peer) else {
            return;
        };
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

    /// A peer is gone, and with it all ways over it.
    pub(super) fn forget_former(&mut self, peer: PeerId) {
        for (_, inflow) in &mut self.inflows {
            inflow.former.retain(|former| former.peer != peer);
            inflow.used.1.retain(|(used, _)| *used != peer);
        }
    }
}
