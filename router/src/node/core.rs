//! The state of a node, its times, and what it tells of itself.

use super::config::NodeConfig;
use super::decide::{Decision, EntryIndex, EntryState};
use super::destinations::Mirrored;
use super::disk::Carrier;
use super::flow::{InFlow, InFlowId};
use super::ledger::{NodeLedger, Outcome};
use super::overdue::Overdue;
use super::peer::{Peer, PeerId};
use super::reclaim::Reclaim;
use super::registry::PeerRegistry;
use super::requests::Requests;
use super::route_state::{RouteId, RouteState};
use super::spool::{DURABLE, Spool, SpoolLedger};
use super::telemetry::Telemetry;
use super::touched::Touched;
use crate::interest::{Interest, Limits, NodeId};
use crate::routing::SubjectTable;
use bytes::BytesMut;
use mcpbus_actors::Time;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::wire::record::RECORD_OVERHEAD;
use mcpbus_transport::wire::{Failure, FrameReader, GoodbyeCode, Record, Role};
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
    pub(super) next_serial: u64,
    pub(super) links: BTreeMap<LinkHandle, LinkState>,
    pub(super) touched: Touched,
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
    /// What is kept of each route: of those in use, and replaced ones that messages are still under way for.
    pub(super) route_states: Slab<RouteState>,
    /// By place in the route table.
    pub(super) current_routes: Vec<RouteId>,
    /// Those whose guards change with time.
    pub(super) timed_routes: Vec<RouteId>,
    pub(super) overdue: Overdue,
    /// Whether a guard goes by when messages came.
    pub(super) notes_arrivals: bool,
    pub(super) mirrored: Mirrored,
    /// When messages are woken that have their turn later, or wait for room at their destination: flow and sequence.
    pub(super) turns: BTreeSet<(Time, InFlowId, u64)>,
    /// How many messages are parked.
    pub(super) parked: usize,
    pub(super) subscriptions: usize,
    /// Those that were handed on and not answered.
    pub(super) requests: Requests,
    /// What is left of the credit budget, in messages and bytes.
    pub(super) credit: (u64, u64),
    /// Flows that were refused a window because the budget was used up.
    pub(super) hungry: VecDeque<(InFlowId, u64)>,
    pub(super) reclaim: Reclaim,
    pub(super) ledger: NodeLedger,
    pub(super) telemetry: Telemetry,
    pub(super) registry: PeerRegistry,
    pub(super) incarnations: u64,
    /// Peers that are done: removed once what they said last has been heard.
    pub(super) leaving: Vec<PeerId>,
    /// A peer that serves a configured link by a link it dialed itself.
    pub(super) refused_dials: BTreeMap<usize, String>,
    /// What earlier lives of nodes have left: it keeps its order before what comes from their next life.
    pub(super) orphans: BTreeMap<u128, Vec<InFlowId>>,
    /// What the node keeps on its disk, if it does.
    pub(super) spool: Option<Spool>,
    /// Who carries out what the spool asks of its store; nobody where the caller does.
    pub(super) carrier: Option<Carrier>,
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
    pub fn new(mut config: NodeConfig) -> Self {
        // What the budget can never hold is refused to its publisher, instead of waiting for ever.
        let largest = config.limits.credit_bytes.saturating_sub(RECORD_OVERHEAD);
        config.session.message_max = config.session.message_max.min(largest);
        let limits = Limits {
            neighbours: config.limits.sessions,
            hold: config.hold,
            ..Limits::default()
        };
        let mut route_states = Slab::new();
        let routes = config.routes.routes().iter();
        let current_routes = routes
            .map(|route| route_states.insert(RouteState::new(route)))
            .collect();
        let notes_arrivals = config.routes.need_arrivals();
        let mut node = Self {
            interest: Interest::new(NodeId(config.id), config.epoch, limits),
            peers: Slab::new(),
            serials: BTreeMap::new(),
            next_serial: 1,
            links: BTreeMap::new(),
            touched: Touched::default(),
            inflows: Slab::new(),
            runnable: VecDeque::new(),
            homeless: BTreeSet::new(),
            homeless_version: 0,
            draining: BTreeSet::new(),
            entries: Slab::new(),
            local_entries: BTreeMap::new(),
            remote_entries: BTreeMap::new(),
            // Entries of an earlier life must not be taken for ours.
            next_entry: config.seed as u32 & !DURABLE,
            table: SubjectTable::with_seed(config.seed),
            version: 1,
            decisions: HashMap::default(),
            decisions_version: 0,
            nothing: Self::no_decision(),
            route_states,
            current_routes,
            timed_routes: Vec::new(),
            overdue: Overdue::new(),
            notes_arrivals,
            mirrored: Mirrored::default(),
            turns: BTreeSet::new(),
            parked: 0,
            subscriptions: 0,
            requests: Requests::new(config.limits.requests),
            credit: (config.limits.credit_messages, config.limits.credit_bytes),
            hungry: VecDeque::new(),
            reclaim: Reclaim::default(),
            ledger: NodeLedger::default(),
            telemetry: Telemetry::new(&config.name),
            registry: PeerRegistry::default(),
            incarnations: config.seed | 1,
            leaving: Vec::new(),
            refused_dials: BTreeMap::new(),
            orphans: BTreeMap::new(),
            spool: None,
            carrier: None,
            config,
        };
        node.announce_routes();
        node.time_guards();
        node
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
        // What is in the spool has an account of its own.
        let inflows = self
            .inflows
            .iter()
            .filter(|(_, inflow)| inflow.spool.is_none());
        for (_, inflow) in inflows {
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

    /// What became of the messages in the spool; `None` without one.
    pub fn spool_ledger(&self) -> Option<SpoolLedger> {
        self.spool.as_ref().map(Spool::ledger)
    }

    /// Who is connected, readable from any thread.
    pub fn registry(&self) -> &PeerRegistry {
        &self.registry
    }

    /// How many messages each group of each route was given; then its mirror and its fallback, where there are any.
    pub fn routed(&self) -> Vec<Vec<u64>> {
        let given = |state: &RouteState| state.given.clone();
        self.current_states().map(given).collect()
    }

    /// The routes of this node.
    pub fn routes(&self) -> &crate::routing::RouteTable {
        &self.config.routes
    }

    /// Why the node closed the configured link at this index, if it did since the last call.
    pub fn take_refused_dial(&mut self, dialed: usize) -> Option<String> {
        self.refused_dials.remove(&dialed)
    }

    pub(super) fn touch(&mut self, peer: PeerId) {
        if let Some(link) = self.peers.get(peer).and_then(|peer| peer.link) {
            self.touched.insert(link);
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
            .chain(self.store_timeout())
            .chain(self.next_guard_timeout())
            .chain(self.reclaim.next_timeout())
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
        self.retry_store(now);
        self.handle_guard_timeout(now);
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
