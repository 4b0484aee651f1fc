//! What a node does at present, for people and programs.

use super::core::NodeCore;
use super::ledger::NodeLedger;
use super::spool::{Spool, SpoolLedger};
use crate::policy::Destination;
use crate::resilience::{CanaryState, RefusalReason};
use mcpbus_actors::Time;
use mcpbus_transport::wire::Role;

/// A picture of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// The node's name.
    pub name: String,
    /// What became of its messages.
    pub ledger: NodeLedger,
    /// Its peers.
    pub peers: Vec<PeerReport>,
    /// Messages per route and destination.
    pub routes: Vec<RouteReport>,
    /// Local and remote entries of interest.
    pub entries: usize,
    /// Requests that were handed on and not answered.
    pub requests: usize,
    /// Messages that wait for their turn, or for room, beside their flows.
    pub parked: usize,
    /// What is left of the credit budget, in messages and bytes.
    pub credit_left: (u64, u64),
    /// What the node keeps on its disk, where it does.
    pub spool: Option<SpoolReport>,
}

/// What a node keeps on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolReport {
    /// The account of its messages.
    pub ledger: SpoolLedger,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// What it may take, in bytes.
    pub limit: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Its queues.
    pub queues: Vec<QueueReport>,
}

/// One queue of a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// The name of the durable subscription, or the node it is for.
    pub name: String,
    /// Messages that wait or are being delivered.
    pub messages: u64,
    /// Of those, how many are in memory.
    pub in_memory: u64,
    /// Whether somebody takes them now.
    pub attached: bool,
}

/// One peer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// Whether it is a node; otherwise a client.
    pub node: bool,
    /// Whether its link is up.
    pub live: bool,
    /// Messages pushed towards it.
    pub sent: u64,
    /// Of those, how many it has passed on.
    pub settled: u64,
    /// Messages held for it here.
    pub queued: u64,
    /// Messages held that came from it.
    pub held: u64,
    /// Its subscriptions.
    pub subscriptions: usize,
}

/// One destination of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteReport {
    /// The pattern of the route.
    pub pattern: String,
    /// The group.
    pub group: String,
    /// Messages that were given to it; for a mirror copies.
    pub messages: u64,
    /// Copies for a mirror that could not go at once.
    pub dropped: u64,
    /// Its weight now: for a canary its share.
    pub weight: u32,
    /// Why its guards let nothing through at present.
    pub refuses: Option<RefusalReason>,
    /// Messages that wait for room there.
    pub waiting: usize,
    /// Where it stands, if it is a canary that has begun.
    pub canary: Option<CanaryState>,
}

impl NodeCore {
    /// A picture of the node now.
    pub fn report(&self, now: Time) -> NodeReport {
        let peers = self.peers.iter().map(|(_, peer)| {
            let mut report = PeerReport {
                name: peer.name().to_owned(),
                node: peer.role == Role::Node,
                live: peer.session.is_live(),
                sent: 0,
                settled: 0,
                queued: 0,
                held: 0,
                subscriptions: peer.subscriptions.len(),
            };
            for flow in peer.outgoing.keys() {
                let (sent, _, settled) = peer.session.sent(*flow);
                report.sent += sent;
                report.settled += settled;
                report.queued += peer.session.retained(*flow) as u64;
            }
            report.held = peer
                .incoming
                .keys()
                .map(|flow| peer.session.unfinished(*flow))
                .sum();
            report
        });
        let routes = self.current_states().flat_map(|state| {
            let route = &state.route;
            let mirror = route.mirror.as_ref().map(|mirror| mirror.group.as_str());
            let known: Vec<Destination> = route.policy_destinations().collect();
            route
                .groups()
                .zip(&state.given)
                .enumerate()
                .map(move |(at, (group, count))| RouteReport {
                    weight: state.guards.weight(at, &known),
                    refuses: state.guards.check(at, now).err().map(|r| r.reason),
                    waiting: state.guards.waiting(at),
                    canary: state.guards.canary(at),
                    pattern: route.pattern.to_string(),
                    group: group.to_string(),
                    messages: *count,
                    dropped: if mirror == Some(group) {
                        state.dropped
                    } else {
                        0
                    },
                })
        });
        NodeReport {
            name: self.config.name.clone(),
            ledger: self.ledger(),
            peers: peers.collect(),
            routes: routes.collect(),
            entries: self.entries.len(),
            requests: self.requests.len(),
            parked: self.parked,
            credit_left: self.credit,
            spool: self.spool.as_ref().map(Spool::report),
        }
    }
}
