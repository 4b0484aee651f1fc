//! What a node is ready to know, and what it tells its owner.

use std::time::Duration;

use super::message::{Entry, EntryId, Neighbour, NodeId};

/// How much of the mesh a node is ready to know, and for how long without proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most neighbours, up or lately gone.
    pub neighbours: usize,
    /// Most origins that one neighbour may tell of; further ones are refused and counted.
    pub origins: usize,
    /// Most entries of one origin; further ones are refused and counted.
    pub entries: usize,
    /// How long the paths over a link that went down stay in use, and how long after its return the neighbour may
    /// take to tell of them anew.
    pub hold: Duration,
    /// How long confirmations of a neighbour are waited for while its link is down and its session may go on.
    pub patience: Duration,
}

impl Default for Limits {
    /// 256 neighbours, 1,024 origins, 262,144 entries, 10 seconds, 3 seconds.
    fn default() -> Self {
        Self {
            neighbours: 256,
            origins: 1024,
            entries: 262_144,
            hold: Duration::from_secs(10),
            patience: Duration::from_secs(3),
        }
    }
}

/// What changed for this node. Applied in order, changes keep a copy of all remote entries and next hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An origin is reached in another way: over another neighbour, over a link that has gone down or come back
    /// (`stale`), or no more. Comes before the first entry of an origin and after the last.
    NextHopChanged {
        /// The origin.
        origin: NodeId,
        /// The neighbour that leads to it, `None` when none does.
        next_hop: Option<Neighbour>,
        /// The path leads over a link that is down: what is sent may have to be held until it is back.
        stale: bool,
    },
    /// A remote origin wants something new.
    EntryAdded {
        /// The origin.
        origin: NodeId,
        /// Its number there.
        id: EntryId,
        /// What it wants.
        entry: Entry,
    },
    /// A remote entry has another number of members; its pattern and group are the same.
    MembersChanged {
        /// The origin.
        origin: NodeId,
        /// Its number there.
        id: EntryId,
        /// The entry as it is now.
        entry: Entry,
    },
    /// A remote origin wants something no more, or cannot be reached.
    EntryRemoved {
        /// The origin.
        origin: NodeId,
        /// Its number there.
        id: EntryId,
        /// What it wanted.
        entry: Entry,
    },
    /// Every node that can be reached knows this local entry, as far as its path did not change meanwhile. A node whose
    /// link is down can be reached until [`Limits::patience`] is over.
    Confirmed {
        /// The local entry.
        id: EntryId,
        /// At least one node had no room for it, or for an entry that was announced with it.
        refused: bool,
    },
    /// The neighbour has told all that it knew when its link came up.
    Synced {
        /// The neighbour.
        neighbour: Neighbour,
    },
}

/// What was refused or ignored since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// Announcements about origins beyond the limit.
    pub origins: u64,
    /// Entries beyond the limit.
    pub entries: u64,
    /// Confirmations that nobody waited for.
    pub confirmations: u64,
}
