//! The life of links, sessions and peers.

use super::core::{LinkState, NodeCore};
use super::flow::InFlowId;
use super::peer::{Peer, PeerId, tell};
use super::take_back::Takers;
use crate::interest::{Neighbour, NodeId};
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner as _};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::{Local, Session};
use mcpbus_transport::wire::{Control, FrameReader, GoodbyeCode, Hello, Role, control};
use std::collections::BTreeMap;
use std::sync::Arc;

impl NodeCore {
    /// The node's own link to `dialed` (its index in the configuration) is up.
    pub fn link_dialed(&mut self, link: LinkHandle, dialed: usize, identity: &str, now: Time) {
        let known = self
            .peers
            .iter()
            .find(|(_, peer)| peer.dialed == Some(dialed))
            .map(|(id, _)| id);
        let id = known.unwrap_or_else(|| {
            let number = self.config.seed.wrapping_add(dialed as u64);
            let session = Session::new(self.config.session.clone(), self.local(), number, 0);
            let id = self.add_peer(session, Role::Node, identity.into());
            self.peers[id].dialed = Some(dialed);
            id
        });
        self.attach(id, link);
        self.peers[id].session.link_up(now);
        self.settle(now);
    }

    /// A peer has connected; its hello is awaited.
    pub fn link_accepted(&mut self, link: LinkHandle, identity: &str, now: Time) {
        let reader = FrameReader::new(control::CONTROL_FRAME_MAX);
        self.links.insert(
            link,
            LinkState::Greeting {
                reader,
                identity: identity.into(),
                since: now,
            },
        );
    }

    pub(super) fn local(&self) -> Local {
        Local {
            role: Role::Node,
            id: self.config.id,
            epoch: self.config.epoch,
            name: self.config.name.clone(),
        }
    }

    pub(super) fn add_peer(&mut self, session: Session, role: Role, identity: Arc<str>) -> PeerId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let id = self
            .peers
            .insert(Peer::new(session, role, identity, serial));
        self.serials.insert(serial, id);
        id
    }

    pub(super) fn attach(&mut self, id: PeerId, link: LinkHandle) {
        if let Some(old) = self.peers[id].link.replace(link) {
            self.refuse(
                old,
                GoodbyeCode::Duplicate,
                "a newer link of this session is up",
                false,
            );
            self.peers[id].session.link_down();
        }
        self.peers[id].down_since = None;
        self.peers[id].left = false;
        self.links.insert(link, LinkState::Session(id));
        self.touched.insert(link);
    }

    /// Turns a link away, with its reason.
    pub(super) fn refuse(
        &mut self,
        link: LinkHandle,
        code: GoodbyeCode,
        reason: &str,
        greet: bool,
    ) {
        let mut goodbye = BytesMut::new();
        if greet {
            tracing::info!(reason, "link refused");
        }
        Control::Goodbye {
            code,
            reason: reason.to_owned(),
        }
        .encode(&mut goodbye);
        self.links.insert(
            link,
            LinkState::Refused {
                goodbye,
                reason: reason.to_owned(),
            },
        );
        self.touched.insert(link);
    }

    /// Bytes of a link that has not said hello yet.
    pub(super) fn receive_greeting(&mut self, link: LinkHandle, bytes: Bytes, now: Time) {
        let Some(LinkState::Greeting {
            reader, identity, ..
        }) = self.links.get_mut(&link)
        else {
            return;
        };
        let identity = identity.clone();
        reader.push(bytes);
        let hello = match reader.next() {
            Ok(None) => return,
            Ok(Some((kind, payload))) => match Control::decode(kind, payload) {
                Ok(Control::Hello(hello)) => Ok(hello),
                Ok(_) => Err(String::from("the first frame is not a hello")),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let rest = reader.take_rest();
        match hello {
            Ok(hello) => {
                self.greeted(link, hello, identity, now);
                if !rest.is_empty() {
                    self.receive(link, LaneId::CONTROL, rest, now);
                }
            }
            Err(reason) => self.refuse(link, GoodbyeCode::Protocol, &reason, true),
        }
    }

    pub(super) fn greeted(
        &mut self,
        link: LinkHandle,
        hello: Hello,
        identity: Arc<str>,
        now: Time,
    ) {
        if hello.id == self.config.id {
            self.refuse(
                link,
                GoodbyeCode::Access,
                "the link leads from this node to itself",
                true,
            );
            return;
        }
        self.bury_earlier_lives(&hello, &identity, now);
        let known = self.peers.iter().find(|(_, peer)| {
            peer.dialed.is_none()
                && peer.session.number() == hello.session
                && peer
                    .session
                    .peer()
                    .is_some_and(|known| known.id == hello.id)
        });
        let known = known.map(|(id, _)| id);
        if known.is_none() && hello.role == Role::Node {
            let twin = self.peers.iter().any(|(_, peer)| {
                peer.session.is_live()
                    && peer
                        .session
                        .peer()
                        .is_some_and(|known| known.id == hello.id)
            });
            if twin {
                self.refuse(
                    link,
                    GoodbyeCode::Duplicate,
                    "the two nodes have a link already",
                    true,
                );
                return;
            }
        }
        let id = match known {
            Some(id) => {
                // The same name is not enough to take a session over: the certificate must be the same peer's.
                if self.peers[id].identity != identity {
                    self.refuse(
                        link,
                        GoodbyeCode::Access,
                        "the session belongs to another identity",
                        true,
                    );
                    return;
                }
                id
            }
            None if self.peers.len() >= self.config.limits.sessions => {
                let reason = format!(
                    "the node has {} sessions, its limit",
                    self.config.limits.sessions
                );
                self.refuse(link, GoodbyeCode::Limit, &reason, true);
                return;
            }
            None => {
                let session = Session::new(
                    self.config.session.clone(),
                    self.local(),
                    hello.session,
                    self.incarnations,
                );
                self.add_peer(session, hello.role, identity)
            }
        };
        self.incarnations = self.incarnations.wrapping_add(2);
        self.attach(id, link);
        let incarnation = self.incarnations;
        if let Err(error) = self.peers[id].session.accept(hello, incarnation, now) {
            self.peers[id]
                .session
                .leave(error.code(), &error.to_string());
        }
        self.after(id, now);
        self.settle(now);
    }

    /// A node that says hello in a new life has lost its earlier ones: what waits for those must not wait any longer,
    /// or it would come behind what is sent to the new one.
    pub(super) fn bury_earlier_lives(&mut self, hello: &Hello, identity: &Arc<str>, now: Time) {
        if hello.role != Role::Node {
            return;
        }
        let dead: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| {
                peer.identity == *identity && peer.session.number() != hello.session
            })
            .filter(|(_, peer)| {
                peer.session
                    .peer()
                    .is_some_and(|known| known.id == hello.id && known.epoch < hello.epoch)
            })
            .map(|(id, _)| id)
            .collect();
        for id in dead {
            if let Some(link) = self.peers[id].link.take() {
                self.refuse(
                    link,
                    GoodbyeCode::Duplicate,
                    "the peer has started anew",
                    false,
                );
            }
            self.remove_peer(id, now);
        }
    }

    /// A link has ended.
    pub fn link_ended(&mut self, link: LinkHandle, reason: &str, now: Time) {
        let Some(LinkState::Session(id)) = self.links.remove(&link) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.link != Some(link) {
            return;
        }
        peer.link = None;
        peer.down_since = Some(now);
        peer.session.link_down();
        self.registry.set_live(peer.serial, false);
        let left = peer.left;
        let neighbour = peer.neighbour.then_some(Neighbour(peer.serial as u32));
        tell!(peer.role, peer = peer.name(), reason, "link down");
        if let Some(neighbour) = neighbour {
            self.interest.neighbour_silent(neighbour, now);
        }
        self.reconsider_waiting(id);
        if left {
            self.remove_peer(id, now);
        }
        self.settle(now);
    }

    /// Ends what a peer that does not come back still has here.
    pub(super) fn remove_peer(&mut self, id: PeerId, now: Time) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let name = peer.name().to_owned();
        let abandoned = peer.session.abandon();
        let (left, role, serial) = (peer.left, peer.role, peer.serial);
        let subscriptions: Vec<u32> = peer.subscriptions.keys().copied().collect();
        let outgoing = std::mem::take(&mut peer.outgoing);
        let groups: BTreeMap<u32, Arc<str>> = peer
            .subscriptions
            .values()
            .filter_map(|subscription| Some((subscription.flow, subscription.group.clone()?)))
            .collect();
        let neighbour = std::mem::take(&mut peer.neighbour).then_some(peer.serial);
        // One that said goodbye has passed on what it took over, or has answered for it.
        let lost = if left { 0 } else { abandoned.lost };
        tell!(role, peer = name, lost, "session given up");
        self.ledger.lost += lost;
        // First of all, so that what is settled from here on is settled where it now stands.
        self.detach(id, abandoned.windows);
        for subscription in subscriptions {
            self.end_subscription(id, subscription, true, now);
        }
        while let Some(releases) = self
            .peers
            .get_mut(id)
            .and_then(|peer| peer.session.poll_releases())
        {
            self.released(&releases, now);
        }
        for (flow, records) in abandoned.records {
            let takers = match (groups.get(&flow), outgoing.get(&flow)) {
                (Some(group), _) => Some(Takers::Group(group.clone())),
                (None, Some(out)) => out.targets.clone().map(Takers::Targets),
                (None, None) => None,
            };
            self.take_back(records, takers, now);
        }
        for (_, out) in outgoing {
            for waiter in out.waiters.into_iter().chain(out.drains) {
                self.schedule(waiter);
            }
        }
        if let Some(serial) = neighbour {
            self.interest.neighbour_down(Neighbour(serial as u32), now);
        }
        self.forget_former(id);
        self.leave_orphans(id);
        if let Some(peer) = self.peers.try_remove(id) {
            self.serials.remove(&peer.serial);
            self.registry.remove(peer.serial);
            if let Some(link) = peer.link {
                self.links.remove(&link);
            }
        }
        self.version += 1;
        if role == Role::Client {
            self.responder_gone(id);
            self.requester_gone(serial, now);
        } else {
            self.requests.taker_gone(id);
        }
    }

    /// What came from a node that is gone goes on, and stays before what its next life sends.
    fn leave_orphans(&mut self, id: PeerId) {
        let peer = &mut self.peers[id];
        let Some(node) = peer.session.peer().filter(|_| peer.role == Role::Node) else {
            return;
        };
        let node = node.id;
        let mut orphans: Vec<InFlowId> = std::mem::take(&mut peer.detached);
        orphans.retain(|inflow| {
            self.inflows
                .get_mut(*inflow)
                .filter(|inflow| inflow.peer == id && inflow.flow.is_none())
                .is_some_and(|inflow| {
                    inflow.orphan_of = Some(node);
                    !inflow.is_over()
                })
        });
        if !orphans.is_empty() {
            self.orphans.entry(node).or_default().extend(orphans);
        }
    }

    pub(super) fn neighbour_up(&mut self, id: PeerId, now: Time) {
        let peer = &mut self.peers[id];
        let Some(known) = peer.session.peer() else {
            return;
        };
        let node = NodeId(known.id);
        let neighbour = Neighbour(peer.serial as u32);
        match self.interest.neighbour_up(neighbour, node, now) {
            Ok(()) => self.peers[id].neighbour = true,
            Err(error) => self.peers[id]
                .session
                .leave(GoodbyeCode::Limit, &error.to_string()),
        }
    }
}
