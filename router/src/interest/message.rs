//! What neighbours tell each other.

use std::fmt;
use std::sync::Arc;

use crate::routing::Pattern;

/// The most nodes on a path, the origin included: an origin farther away is not reachable.
pub const PATH_NODES: usize = 16;

/// The longest name of a group, in bytes.
pub const GROUP_BYTES: usize = 255;

/// The most groups of a route that other nodes are told of.
pub const ROUTE_GROUPS: usize = 32;

/// At most this many entries are added, and as many removed, by one message.
pub const MESSAGE_ENTRIES: usize = 256;

/// At most this many announcements about one origin may wait for their confirmation on a link.
pub const CONFIRM_WINDOW: u32 = 32;

/// A node of the mesh; every node has a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({:x})", self.0)
    }
}

/// An entry of one origin in one of its epochs; the origin chooses the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u32);

/// A link to a neighbour; the caller chooses the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour(pub u32);

/// What an origin wants: the aggregate of its local subscriptions to one pattern, outside groups or in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The subjects wanted.
    pub pattern: Pattern,
    /// The group whose members share the messages, 1 to [`GROUP_BYTES`] bytes; without one each gets all.
    pub group: Option<Arc<str>>,
    /// How many local subscriptions this entry stands for.
    pub members: u32,
    /// Set where the origin has a route for these subjects: it wants their messages in order to choose among groups.
    pub route: Option<Arc<RoutedGroups>>,
}

/// What a route decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedGroups {
    /// The groups that it chooses among, at most [`ROUTE_GROUPS`].
    pub groups: Vec<Arc<str>>,
    /// Whether nobody else gets the messages.
    pub exclusive: bool,
}

/// What is known of one origin, or how it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The node whose entries these are.
    pub origin: NodeId,
    /// Rises with each start of the origin.
    pub epoch: u64,
    /// From the node that sends this to the origin, both included; at most [`PATH_NODES`].
    pub path: Arc<[NodeId]>,
    /// Forget what you had from me about this origin: what follows replaces it, once `last` has come.
    pub first: bool,
    /// With this message you have what I have; what comes after are changes.
    pub last: bool,
    /// The path leads over a link that is down at present.
    pub stale: bool,
    /// Applied first.
    pub removed: Vec<EntryId>,
    /// New entries, and new values of known ones.
    pub added: Vec<(EntryId, Entry)>,
    /// Asks for a [`Message::Confirm`] with this number.
    pub token: Option<u64>,
}

/// A message between neighbours. The link delivers messages in order and whole, or goes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// See [`Announce`].
    Announce(Announce),
    /// The origin is no longer reachable through the sender.
    Withdraw {
        /// The origin.
        origin: NodeId,
    },
    /// All that the sender knew when the link came up has been sent.
    SyncDone,
    /// The announcement of this number is known to all nodes that hear of its origin through the sender.
    Confirm {
        /// The announcement's number.
        token: u64,
        /// At least one of them had no room for a part of it.
        refused: bool,
    },
}
