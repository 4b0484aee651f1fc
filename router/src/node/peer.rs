//! What a node keeps of one peer.

use super::flow::InFlowId;
use crate::protocol::{Cancel, Target};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::session::Session;
use mcpbus_transport::wire::Role;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A peer's place in the node.
pub(super) type PeerId = usize;

/// One peer: a client, or another node.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) role: Role,
    pub(super) link: Option<LinkHandle>,
    /// The name its certificate carries.
    pub(super) identity: Arc<str>,
    /// Which of the node's own links it is, where this node dials.
    pub(super) dialed: Option<usize>,
    pub(super) down_since: Option<Time>,
    /// What came from the peer, by its flow.
    pub(super) incoming: BTreeMap<u32, InFlowId>,
    /// What goes to the peer, by our flow.
    pub(super) outgoing: BTreeMap<u32, OutFlow>,
    /// A client's subscriptions, by its numbers.
    pub(super) subscriptions: BTreeMap<u32, Subscription>,
    /// Forwarding flows to a node, by their targets, and whether they are for messages that are settled late.
    pub(super) forwards: HashMap<(Rc<[Target]>, bool), u32, FixedState>,
    /// The flow of answers to this peer, once there was one.
    pub(super) replies: Option<u32>,
    /// Cancelled requests that it is still to be told of.
    pub(super) cancels: VecDeque<Cancel>,
    /// What remains of flows from an earlier life of the peer.
    pub(super) detached: Vec<InFlowId>,
    /// Names the peer in reply addresses; never used again.
    pub(super) serial: u64,
    /// Whether the interest of this neighbour is up.
    pub(super) neighbour: bool,
    /// Whether the peer said goodbye: what it does not hold it does not lose.
    pub(super) left: bool,
}

impl Peer {
    pub(super) fn new(session: Session, role: Role, identity: Arc<str>, serial: u64) -> Self {
        Self {
            session,
            role,
            link: None,
            identity,
            dialed: None,
            down_since: None,
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            forwards: HashMap::default(),
            replies: None,
            cancels: VecDeque::new(),
            detached: Vec::new(),
            serial,
            neighbour: false,
            left: false,
        }
    }

    /// What the peer is called in logs and reports.
    pub(super) fn name(&self) -> &str {
        self.session
            .peer()
            .map_or(&self.identity, |peer| &peer.name)
    }
}

/// One flow to a peer.
#[derive(Default)]
pub(super) struct OutFlow {
    /// Flows from peers that wait for credit here.
    pub(super) waiters: VecDeque<InFlowId>,
    /// Flows from peers that wait until what is on its way here is passed on.
    pub(super) drains: BTreeSet<InFlowId>,
    /// How many of the waiters may still be tried before there is news.
    pub(super) attempts: usize,
    /// The targets it leads to, where it leads to a node.
    pub(super) targets: Option<Rc<[Target]>>,
    /// Whether one of them is a route of that node, which passes messages on to whom it chooses.
    pub(super) routed: bool,
    /// Up to here the node has said that everything has come to its end, also beyond it.
    pub(super) drained: u64,
    /// Up to where the node was last asked that, until it has answered.
    pub(super) asked: Option<u64>,
}

/// A client's subscription.
pub(super) struct Subscription {
    pub(super) group: Option<Arc<str>>,
    /// The local entry it belongs to.
    pub(super) entry: u32,
    /// The flow it is served by.
    pub(super) flow: u32,
    /// Whether the client was told that every reachable node knows.
    pub(super) ready: bool,
    /// The queue of the spool that it takes from, where it is durable.
    pub(super) durable: Option<u32>,
}

/// Logs what happens to a peer: nodes come and go rarely, clients often.
macro_rules! tell {
    ($role:expr, $($message:tt)*) => {
        if $role == mcpbus_transport::wire::Role::Node {
            tracing::info!($($message)*);
        } else {
            tracing::debug!($($message)*);
        }
    };
}
pub(super) use tell;
