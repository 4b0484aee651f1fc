//! What a node is told at its start, and its limits.

use crate::routing::RouteTable;
use mcpbus_transport::session::SessionConfig;
use std::time::Duration;

/// Bytes that a session's lanes and its entry in the node take besides messages, for the memory bound.
pub const SESSION_OVERHEAD: u64 = 512 * 1024;
/// Bytes of a process that runs a node at rest, for the memory bound.
pub const NODE_OVERHEAD: u64 = 16 * 1024 * 1024;

/// Bytes that a request that is followed takes, and one that was cancelled, for the memory bound.
pub const REQUEST_OVERHEAD: u64 = 512;

/// Limits of a node. All are finite; the credit budget is what bounds its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Most sessions with clients and nodes (default 64).
    pub sessions: usize,
    /// Messages that all peers together may have granted at once (default 262,144).
    pub credit_messages: u64,
    /// Bytes that all peers together may have granted at once (default 64 MiB).
    pub credit_bytes: u64,
    /// Largest window of one flow in messages (default 16,384).
    pub flow_messages: u64,
    /// Largest window of one flow in bytes (default 4 MiB).
    pub flow_bytes: u64,
    /// Most subscriptions of all clients together (default 65,536).
    pub subscriptions: usize,
    /// Most requests without an answer that are followed to who has them, so that they can be cancelled and a requester hears when
    /// its responder is gone; and most cancelled ones that are looked for (default 16,384).
    pub requests: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            sessions: 64,
            credit_messages: 262_144,
            credit_bytes: 64 << 20,
            flow_messages: 16_384,
            flow_bytes: 4 << 20,
            subscriptions: 65_536,
            requests: 16_384,
        }
    }
}

impl NodeLimits {
    /// The memory a node with these limits takes at most, in bytes: each granted byte may stand once in the node's
    /// queues and once in the buffers of the links it came by and leaves by.
    pub fn memory_bound(&self) -> u64 {
        NODE_OVERHEAD
            + 2 * self.credit_bytes
            + SESSION_OVERHEAD * self.sessions as u64
            + REQUEST_OVERHEAD * self.requests as u64
    }
}

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, unique in the mesh.
    pub name: String,
    /// Its identity in the mesh; the same after a restart.
    pub id: u128,
    /// Which life of it this is; rises with each start.
    pub epoch: u64,
    /// A number no other start of any node has: numbers of sessions and entries begin there.
    pub seed: u64,
    /// Limits of its sessions.
    pub session: SessionConfig,
    /// Limits of the node.
    pub limits: NodeLimits,
    /// Its routes.
    pub routes: RouteTable,
    /// How long a client that lost its link may come back to its session (default 10 s: over a rough network a
    /// new handshake alone can take five).
    pub resume: Duration,
    /// How long messages are held for a node that lost its link, or for an origin that is out of reach
    /// (default 15 s).
    pub hold: Duration,
    /// How long a way that has changed waits for what is on the old one to come to its end; then order is given up and
    /// the new way is used (default 15 s).
    pub reroute: Duration,
}

impl NodeConfig {
    /// The defaults for a node of this name. Its identity follows from its name, so that it is the same node after a
    /// restart; names are unique in a mesh. `seed` differs with each start, `epoch` rises.
    pub fn new(name: &str, seed: u64, epoch: u64) -> Self {
        Self {
            name: name.to_owned(),
            id: xxhash_rust::xxh3::xxh3_128(name.as_bytes()),
            epoch,
            seed,
            session: SessionConfig::default(),
            limits: NodeLimits::default(),
            routes: RouteTable::default(),
            resume: Duration::from_secs(10),
            hold: Duration::from_secs(15),
            reroute: Duration::from_secs(15),
        }
    }
}
