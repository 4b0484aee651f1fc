//! The state of a node, and the life of its links, sessions and peers.

use super::config::NodeConfig;
use super::decide::{Decision, EntryIndex, EntryState};
use super::flow::{InFlow, InFlowId};
use super::ledger::{NodeLedger, Outcome};
use super::peer::{Peer, PeerId};
use super::registry::{PeerEntry, PeerRegistry};
use super::take_back::Takers;
use super::telemetry::Telemetry;
use crate::interest::{Interest, Limits, Neighbour, NodeId};
use crate::policy::Policy;
use crate::routing::SubjectTable;
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::session::{Event, Local, Release, Session};
use mcpbus_transport::wire::{
    Control, Failure, FrameReader, GoodbyeCode, Hello, Record, Role, control,
};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// How long a link may take to say hello.
const GREETING_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// A link and what it has come to.
pub(super) enum LinkState {
    /// The peer's hello is awaited.
    Greeting {
        reader: FrameReader,
        identity: Arc<str>,
        since: Time,
    },
    /// It carries the session of a peer.
    Session(PeerId),
    /// It is only told why it is not wanted.
    Refused { goodbye: BytesMut, reason: String },
}

/// A router node, sans-IO: frames in, frames out. See the [module](super).
pub struct NodeCore {
    pub(super) config: NodeConfig,
    pub(super) peers: Slab<Peer>,
    /// Peers by the number that names them in interest and in reply addresses.
    pub(super) serials: BTreeMap<u64, PeerId>,
    next_serial: u64,
    pub(super) links: BTreeMap<LinkHandle, LinkState>,
    pub(super) touched: BTreeSet<LinkHandle>,
    pub(super) inflows: Slab<InFlow>,
    /// Flows that may be able to go on.
    pub(super) runnable: VecDeque<InFlowId>,
    /// Flows that wait for a destination, and the version for which they last looked for one.
    pub(super) homeless: BTreeSet<InFlowId>,
    pub(super) homeless_version: u64,
    /// Flows that wait until a former way is passed on.
    pub(super) draining: BTreeSet<InFlowId>,
    pub(super) interest: Interest,
    pub(super) entries: Slab<EntryState>,
    /// Entries of this node by their number.
    pub(super) local_entries: BTreeMap<u32, EntryIndex>,
    /// Entries of other nodes.
    pub(super) remote_entries: BTreeMap<(u128, u32), EntryIndex>,
    pub(super) next_entry: u32,
    pub(super) table: SubjectTable<EntryIndex>,
    /// Rises with each change that a decision may depend on.
    pub(super) version: u64,
    #[allow(
        clippy::type_complexity,
        reason = "a cache, named by its fields' documentation"
    )]
    pub(super) decisions:
        HashMap<(Option<usize>, Vec<EntryIndex>), Rc<Decision>, foldhash::fast::FixedState>,
    pub(super) decisions_version: u64,
    pub(super) nothing: Rc<Decision>,
    pub(super) policies: Vec<Box<dyn Policy>>,
    /// Messages per route and destination.
    pub(super) routed: Vec<Vec<u64>>,
    pub(super) subscriptions: usize,
    /// What is left of the credit budget, in messages and bytes.
    pub(super) credit: (u64, u64),
    /// Flows that were refused a window because the budget was used up.
    pub(super) hungry: VecDeque<(InFlowId, u64)>,
    pub(super) ledger: NodeLedger,
    pub(super) telemetry: Telemetry,
    registry: PeerRegistry,
    incarnations: u64,
    /// Peers that are done: removed once what they said last has been heard.
    leaving: Vec<PeerId>,
    /// A peer that serves a configured link by a link it dialed itself.
    pub(super) refused_dials: BTreeMap<usize, String>,
}

impl std::fmt::Debug for NodeCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCore")
            .field("name", &self.config.name)
            .field("peers", &self.peers.len())
            .field("flows", &self.inflows.len())
            .finish_non_exhaustive()
    }
}

impl NodeCore {
    /// A node without links.
    pub fn new(config: NodeConfig) -> Self {
        let limits = Limits {
            neighbours: config.limits.sessions,
            hold: config.hold,
            ..Limits::default()
        };
        let policies: Vec<_> = config
            .routes
            .routes()
            .iter()
            .map(|route| route.effective_policy().build())
            .collect();
        let routed = config
            .routes
            .routes()
            .iter()
            .map(|route| vec![0; route.destinations.len()])
            .collect();
        let mut node = Self {
            interest: Interest::new(NodeId(config.id), config.epoch, limits),
            peers: Slab::new(),
            serials: BTreeMap::new(),
            next_serial: 1,
            links: BTreeMap::new(),
            touched: BTreeSet::new(),
            inflows: Slab::new(),
            runnable: VecDeque::new(),
            homeless: BTreeSet::new(),
            homeless_version: 0,
            draining: BTreeSet::new(),
            entries: Slab::new(),
            local_entries: BTreeMap::new(),
            remote_entries: BTreeMap::new(),
            // Entries of an earlier life must not be taken for ours.
            next_entry: config.seed as u32,
            table: SubjectTable::with_seed(config.seed),
            version: 1,
            decisions: HashMap::default(),
            decisions_version: 0,
            nothing: Self::no_decision(),
            policies,
            routed,
            subscriptions: 0,
            credit: (config.limits.credit_messages, config.limits.credit_bytes),
            hungry: VecDeque::new(),
            ledger: NodeLedger::default(),
            telemetry: Telemetry::new(&config.name),
            registry: PeerRegistry::default(),
            incarnations: config.seed | 1,
            leaving: Vec::new(),
            refused_dials: BTreeMap::new(),
            config,
        };
        node.announce_routes();
        node
    }

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

    /// Says goodbye to every peer. The links close once that is written.
    pub fn leave(&mut self, reason: &str) {
        for (_, peer) in &mut self.peers {
            peer.session.leave(GoodbyeCode::Done, reason);
            self.touched.extend(peer.link);
        }
    }

    /// What became of the messages this node took over.
    pub fn ledger(&self) -> NodeLedger {
        let mut ledger = self.ledger.clone();
        for (_, inflow) in &self.inflows {
            ledger.held += match (inflow.flow, &inflow.window) {
                (Some(flow), _) => self
                    .peers
                    .get(inflow.peer)
                    .map_or(0, |peer| peer.session.unfinished(flow)),
                (None, Some(window)) => window.unfinished(),
                (None, None) => 0,
            };
        }
        ledger
    }

    /// Who is connected, readable from any thread.
    pub fn registry(&self) -> &PeerRegistry {
        &self.registry
    }

    /// How many messages each destination of each route was given.
    pub fn routed(&self) -> &[Vec<u64>] {
        &self.routed
    }

    /// The routes of this node.
    pub fn routes(&self) -> &crate::routing::RouteTable {
        &self.config.routes
    }

    /// Why the node closed the configured link at this index, if it did since the last call.
    pub fn take_refused_dial(&mut self, dialed: usize) -> Option<String> {
        self.refused_dials.remove(&dialed)
    }

    fn local(&self) -> Local {
        Local {
            role: Role::Node,
            id: self.config.id,
            epoch: self.config.epoch,
            name: self.config.name.clone(),
        }
    }

    fn add_peer(&mut self, session: Session, role: Role, identity: Arc<str>) -> PeerId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let id = self
            .peers
            .insert(Peer::new(session, role, identity, serial));
        self.serials.insert(serial, id);
        id
    }

    fn attach(&mut self, id: PeerId, link: LinkHandle) {
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

    pub(super) fn touch(&mut self, peer: PeerId) {
        if let Some(link) = self.peers.get(peer).and_then(|peer| peer.link) {
            self.touched.insert(link);
        }
    }

    /// Turns a link away, with its reason.
    fn refuse(&mut self, link: LinkHandle, code: GoodbyeCode, reason: &str, greet: bool) {
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
        match hello {
            Ok(hello) => self.greeted(link, hello, identity, now),
            Err(reason) => self.refuse(link, GoodbyeCode::Protocol, &reason, true),
        }
    }

    fn greeted(&mut self, link: LinkHandle, hello: Hello, identity: Arc<str>, now: Time) {
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
                .leave(GoodbyeCode::Version, &error.to_string());
        }
        self.after(id, now);
        self.settle(now);
    }

    /// A node that says hello in a new life has lost its earlier ones: what waits for those must not wait any longer,
    /// or it would come behind what is sent to the new one.
    fn bury_earlier_lives(&mut self, hello: &Hello, identity: &Arc<str>, now: Time) {
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
        tracing::info!(peer = peer.name(), reason, "link down");
        if left {
            self.remove_peer(id, now);
        }
        self.settle(now);
    }

    /// Acts on what a session reports. Call [`settle`](Self::settle) when all peers are done.
    pub(super) fn after(&mut self, id: PeerId, now: Time) {
        loop {
            let Some(peer) = self.peers.get_mut(id) else {
                return;
            };
            if let Some(release) = peer.session.poll_release() {
                self.released(release, now);
                continue;
            }
            let Some(event) = peer.session.poll_event() else {
                break;
            };
            self.handle(id, event, now);
        }
        self.touch(id);
        for id in std::mem::take(&mut self.leaving) {
            self.remove_peer(id, now);
        }
    }

    fn handle(&mut self, id: PeerId, event: Event, now: Time) {
        match event {
            Event::Up { resumed } => {
                let peer = &mut self.peers[id];
                peer.role = peer.session.peer().map_or(peer.role, |known| known.role);
                let entry = PeerEntry {
                    name: peer.name().to_owned(),
                    node: peer.role == Role::Node,
                    live: true,
                };
                self.registry.set(peer.serial, entry);
                tracing::info!(peer = peer.name(), resumed, "session up");
                if peer.role == Role::Node && !peer.neighbour {
                    self.neighbour_up(id, now);
                }
                self.version += 1;
            }
            Event::Reset {
                died,
                lost,
                windows,
            } => {
                let total: u64 = lost.iter().map(|(_, count)| count).sum();
                self.ledger.lost += total;
                let peer = &mut self.peers[id];
                tracing::warn!(
                    peer = peer.name(),
                    died,
                    lost = total,
                    "the peer came back without memory"
                );
                let was_neighbour = std::mem::take(&mut peer.neighbour);
                let serial = peer.serial;
                self.detach(id, windows);
                self.recount_former(id);
                if was_neighbour {
                    self.interest.neighbour_down(Neighbour(serial as u32), now);
                }
            }
            Event::Opened { flow, definition } => self.opened(id, flow, definition, now),
            Event::Closed { flow, window } => self.detach(id, vec![(flow, window)]),
            Event::Records {
                flow,
                first,
                mut records,
            } => {
                self.arrived(id, flow, first, &mut records);
                self.peers[id].session.recycle(records);
            }
            Event::Credit { flow } => {
                if let Some(out) = self.peers[id].outgoing.get_mut(&flow) {
                    for waiter in std::mem::take(&mut out.drains) {
                        self.schedule(waiter);
                    }
                }
                self.renew_attempts(id, flow);
                self.wake_next(id, flow);
            }
            Event::Pending {
                flow,
                messages,
                next,
                ..
            } => {
                if let Some(&inflow) = self.peers[id].incoming.get(&flow) {
                    // Where messages wait here, the next node is what holds the flow back: a wider window would only
                    // make the queue longer.
                    let state = &self.inflows[inflow];
                    if state.queue.is_empty() || state.credit.1 < next {
                        self.widen(inflow, messages, next, now);
                    }
                }
            }
            Event::Signal { payload } => self.signalled(id, payload, now),
            Event::Goodbye { code, reason } => {
                let peer = &mut self.peers[id];
                tracing::info!(peer = peer.name(), %code, reason, "the peer leaves");
                if let Some(dialed) = peer.dialed {
                    self.refused_dials
                        .insert(dialed, format!("{code}: {reason}"));
                }
                // Only one who is done gives the session up; others come back to it.
                if code == GoodbyeCode::Done {
                    peer.left = true;
                    peer.session.link_down();
                    if let Some(link) = peer.link.take() {
                        self.refuse(link, GoodbyeCode::Done, "goodbye", false);
                    }
                    self.leaving.push(id);
                }
            }
            Event::Silent => {
                if let Some(link) = self.peers[id].link.take() {
                    let name = self.peers[id].name().to_owned();
                    tracing::warn!(peer = name, "the peer is silent");
                    self.peers[id].session.link_down();
                    self.peers[id].down_since = Some(now);
                    self.registry.set_live(self.peers[id].serial, false);
                    self.refuse(
                        link,
                        GoodbyeCode::Silent,
                        "nothing was heard for too long",
                        false,
                    );
                }
            }
            _ => {}
        }
    }

    /// A copy was taken over by its next owner, or failed there.
    fn released(&mut self, release: Release, now: Time) {
        self.copy_ended(release.token, release.result.err(), now);
    }

    /// Ends what a peer that does not come back still has here.
    pub(super) fn remove_peer(&mut self, id: PeerId, now: Time) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let name = peer.name().to_owned();
        let abandoned = peer.session.abandon();
        let left = peer.left;
        let subscriptions: Vec<u32> = peer.subscriptions.keys().copied().collect();
        let outgoing = std::mem::take(&mut peer.outgoing);
        let unanswered = std::mem::take(&mut peer.unanswered);
        let groups: BTreeMap<u32, Arc<str>> = peer
            .subscriptions
            .values()
            .filter_map(|subscription| Some((subscription.flow, subscription.group.clone()?)))
            .collect();
        let neighbour = std::mem::take(&mut peer.neighbour).then_some(peer.serial);
        tracing::info!(peer = name, lost = abandoned.lost, "session given up");
        if !left {
            self.ledger.lost += abandoned.lost;
        }
        // First of all, so that what is settled from here on is settled where it now stands.
        self.detach(id, abandoned.windows);
        for subscription in subscriptions {
            self.end_subscription(id, subscription, now);
        }
        while let Some(release) = self
            .peers
            .get_mut(id)
            .and_then(|peer| peer.session.poll_release())
        {
            self.released(release, now);
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
        if let Some(peer) = self.peers.try_remove(id) {
            self.serials.remove(&peer.serial);
            self.registry.remove(peer.serial);
            if let Some(link) = peer.link {
                self.links.remove(&link);
            }
        }
        self.version += 1;
        for address in unanswered {
            self.responder_lost(address, now);
        }
    }

    fn neighbour_up(&mut self, id: PeerId, now: Time) {
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

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let sessions = self
            .peers
            .iter()
            .filter_map(|(_, peer)| match peer.down_since {
                None => peer.session.next_timeout(),
                Some(since) => Some(
                    since
                        + if peer.role == Role::Node {
                            self.config.hold
                        } else {
                            self.config.resume
                        },
                ),
            });
        let greetings = self.links.values().filter_map(|link| match link {
            LinkState::Greeting { since, .. } => Some(*since + GREETING_WAIT),
            _ => None,
        });
        let homeless = self
            .homeless
            .iter()
            .filter_map(|id| self.inflows.get(*id)?.gives_up_at(self.config.hold));
        sessions
            .chain(greetings)
            .chain(homeless)
            .chain(self.interest.next_timeout())
            .chain(self.next_drain_timeout())
            .min()
    }

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        let ids: Vec<PeerId> = self.peers.iter().map(|(id, _)| id).collect();
        for id in ids {
            let peer = &mut self.peers[id];
            match peer.down_since {
                None => {
                    if peer.session.next_timeout().is_some_and(|at| at <= now) {
                        peer.session.handle_timeout(now);
                        self.after(id, now);
                    }
                }
                Some(since) => {
                    let wait = if peer.role == Role::Node {
                        self.config.hold
                    } else {
                        self.config.resume
                    };
                    if now >= since + wait {
                        self.remove_peer(id, now);
                    }
                }
            }
        }
        let late: Vec<LinkHandle> = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link, LinkState::Greeting { since, .. } if now >= *since + GREETING_WAIT))
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            self.refuse(link, GoodbyeCode::Silent, "no hello came", true);
        }
        self.interest.handle_timeout(now);
        self.settle(now);
        self.give_up_waiting(now);
        self.give_up_draining(now);
        self.settle(now);
    }

    /// The outcome of one message, where it is known at once.
    pub(super) fn count(&mut self, outcome: Outcome) {
        self.ledger.ended(outcome);
    }

    /// A failure that a publisher who asked is told of.
    pub(super) fn is_asked(record: &Record) -> bool {
        record.head.ack != mcpbus_transport::wire::AckLevel::None
    }

    /// The failure for a message that nobody takes.
    pub(super) const NOBODY: Failure = Failure::NoRoute;
}
