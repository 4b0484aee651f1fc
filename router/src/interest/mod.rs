//! Who in the mesh wants which messages, and over which neighbour each of them is reached.
//!
//! A path-vector protocol without I/O: each origin node has entries, neighbours tell each other what they know
//! of each origin and over which path, and every node uses, and passes on, the best path only. [`Interest`] is
//! the state of one node. The caller carries messages between neighbours in order, supplies the time, and acts on
//! [`Change`]s. [`encode`] and [`decode`] turn messages into bytes.
//!
//! Invariants:
//! - the best path has the highest epoch; among those a path whose links are all up; among those the fewest
//!   nodes; the path in use stays on ties, else the smallest neighbour wins;
//! - a path never passes a node twice and has at most [`PATH_NODES`] nodes, so a withdrawn origin is forgotten;
//! - a neighbour on the path never hears of the origin from us (split horizon);
//! - what is still to be sent is derived from state when it is sent: a slow neighbour gets the newest state in
//!   fewer messages, and nothing queues without bound;
//! - a whole state replaces the earlier one at once when its last part has come, never by halves.

mod change;
mod confirm;
mod error;
mod message;
mod peer;
mod receive;
mod select;
mod send;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mcpbus_actors::Time;

use self::confirm::{Deferred, ObligationId, Obligations, Reply};
use self::peer::{Best, Entries, Item, Peer, Told};

pub use self::change::{Change, Limits, Refused};
pub use self::error::InterestError;
pub use self::message::{
    Announce, CONFIRM_WINDOW, Entry, EntryId, GROUP_BYTES, MESSAGE_ENTRIES, Message, Neighbour,
    NodeId, PATH_NODES, ROUTE_GROUPS, RoutedGroups,
};
pub use self::wire::{MESSAGE_BYTES, WIRE_VERSION, WireError, decode, encode};

/// The state of one node. See the module's documentation.
///
/// After each call the caller takes all of [`poll_change`](Self::poll_change), and takes from
/// [`poll_send`](Self::poll_send) as much as the links have room for.
#[derive(Debug)]
pub struct Interest {
    me: NodeId,
    limits: Limits,
    /// Most entries of one announcement; tests make it small.
    chunk: usize,
    /// The "path" to this node itself, as it is announced.
    own: Best,
    local: Entries,
    /// Local entries that are not confirmed yet.
    unconfirmed: BTreeMap<EntryId, ObligationId>,
    peers: BTreeMap<Neighbour, Peer>,
    /// The path in use for each remote origin that can be reached.
    best: BTreeMap<NodeId, Best>,
    obligations: Obligations,
    /// Confirmations that wait until what they confirm is used here.
    deferred: Vec<Deferred>,
    /// Whether confirmations wait until the caller has kept what they are for.
    confirms_held: bool,
    /// Neighbours that have something to send, in turn.
    ready: VecDeque<Neighbour>,
    changes: VecDeque<Change>,
    refused: Refused,
}

impl Interest {
    /// A node without entries and neighbours. `epoch` is greater than at any earlier start of `me`.
    #[must_use]
    pub fn new(me: NodeId, epoch: u64, limits: Limits) -> Self {
        Self {
            me,
            limits,
            chunk: MESSAGE_ENTRIES,
            own: Best {
                next_hop: None,
                epoch,
                path: Arc::from([me]),
                stale: false,
            },
            local: Entries::new(),
            unconfirmed: BTreeMap::new(),
            peers: BTreeMap::new(),
            best: BTreeMap::new(),
            obligations: Obligations::default(),
            confirms_held: false,
            deferred: Vec::new(),
            ready: VecDeque::new(),
            changes: VecDeque::new(),
            refused: Refused::default(),
        }
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Adds a local entry or gives it a new value; [`Change::Confirmed`] follows when all nodes know it. Setting an
    /// equal value changes nothing and brings no second confirmation.
    ///
    /// # Errors
    ///
    /// [`InterestError::TooManyEntries`] and [`InterestError::Group`]: the subscription is refused.
    pub fn local_set(&mut self, id: EntryId, entry: Entry) -> Result<(), InterestError> {
        let valid = |group: &str| {
            (1..=GROUP_BYTES).contains(&group.len()) && !group.chars().any(char::is_control)
        };
        if !entry.group.as_deref().is_none_or(valid) {
            return Err(InterestError::Group);
        }
        if self.local.get(&id) == Some(&entry) {
            return Ok(());
        }
        if self.local.len() >= self.limits.entries && !self.local.contains_key(&id) {
            return Err(InterestError::TooManyEntries {
                limit: self.limits.entries,
            });
        }
        self.local.insert(id, entry);
        self.local_changed(id);
        let obligation = self.owe(self.me, Reply::Local { id }, false);
        if let Some(obligation) = obligation {
            self.unconfirmed.insert(id, obligation);
        }
        Ok(())
    }

    /// Removes a local entry; one that does not exist is ignored.
    pub fn local_remove(&mut self, id: EntryId) {
        if self.local.remove(&id).is_some() {
            self.local_changed(id);
        }
    }

    /// Holds confirmations back while the caller has not kept what it learned, or lets them go on. Everything else is
    /// sent as before.
    pub fn hold_confirms(&mut self, hold: bool) {
        self.confirms_held = hold;
    }

    /// Whether nodes are still to confirm a local entry.
    #[must_use]
    pub fn is_unconfirmed(&self, id: EntryId) -> bool {
        self.unconfirmed.contains_key(&id)
    }

    fn local_changed(&mut self, id: EntryId) {
        if let Some(obligation) = self.unconfirmed.remove(&id) {
            self.cancel(obligation, self.me);
        }
        for (neighbour, peer) in &mut self.peers {
            if let Some(told) = peer.told.get_mut(&self.me) {
                told.mark(id);
                peer.push(Item::About(self.me));
                send::make_ready(&mut self.ready, *neighbour, peer);
            }
        }
    }

    /// A link to `node` came up, or came up anew.
    ///
    /// # Errors
    ///
    /// [`InterestError::LinkToSelf`] and [`InterestError::TooManyNeighbours`]: the caller closes the link.
    pub fn neighbour_up(
        &mut self,
        neighbour: Neighbour,
        node: NodeId,
        now: Time,
    ) -> Result<(), InterestError> {
        if node == self.me {
            return Err(InterestError::LinkToSelf { neighbour });
        }
        self.neighbour_down(neighbour, now);
        if self
            .peers
            .get(&neighbour)
            .is_some_and(|peer| peer.node != node)
        {
            // The number now names another node: what its former holder told has no way back.
            self.sweep(neighbour);
        }
        self.adopt(neighbour, node);
        if self.peers.len() >= self.limits.neighbours && !self.peers.contains_key(&neighbour) {
            return Err(InterestError::TooManyNeighbours {
                limit: self.limits.neighbours,
            });
        }
        let peer = self
            .peers
            .entry(neighbour)
            .or_insert_with(|| Peer::new(node));
        peer.up = true;
        peer.silent = false;
        peer.sweep_at = (!peer.ribs.is_empty()).then(|| now + self.limits.hold);
        for (origin, best) in self.best.iter().chain([(&self.me, &self.own)]) {
            if peer.hears(best) {
                peer.told.insert(*origin, Told::fresh());
                peer.push(Item::About(*origin));
            }
        }
        peer.push(Item::SyncDone);
        send::make_ready(&mut self.ready, neighbour, peer);
        Ok(())
    }

    /// The state that `node` left under another number when its link went down passes to its new link.
    fn adopt(&mut self, neighbour: Neighbour, node: NodeId) {
        if self.peers.contains_key(&neighbour) {
            return;
        }
        let former = self
            .peers
            .iter()
            .find(|(_, peer)| peer.node == node && !peer.up)
            .map(|(former, _)| *former);
        let Some((former, peer)) =
            former.and_then(|former| Some((former, self.peers.remove(&former)?)))
        else {
            return;
        };
        self.peers.insert(neighbour, peer);
        for (origin, best) in self
            .best
            .iter_mut()
            .filter(|(_, best)| best.next_hop == Some(former))
        {
            best.next_hop = Some(neighbour);
            let stale = best.stale;
            self.changes.push_back(Change::NextHopChanged {
                origin: *origin,
                next_hop: best.next_hop,
                stale,
            });
        }
    }

    /// The link to a neighbour went down. Paths over it are stale: another path is used where one exists, else they
    /// stay in use for `hold`.
    pub fn neighbour_down(&mut self, neighbour: Neighbour, now: Time) {
        let Some(peer) = self.peers.get_mut(&neighbour).filter(|peer| peer.up) else {
            return;
        };
        peer.sweep_at = Some(now + self.limits.hold);
        peer.ribs.values_mut().for_each(|rib| rib.stale_here = true);
        let waiting = peer.disconnect();
        let origins: Vec<NodeId> = peer.ribs.keys().copied().collect();
        if origins.is_empty() {
            self.peers.remove(&neighbour);
        }
        self.ready.retain(|held| *held != neighbour);
        if let Some(peer) = self.peers.get_mut(&neighbour) {
            peer.ready = false;
        }
        // What it owed us counts as confirmed, what we owe it is void.
        self.deferred
            .retain(|deferred| deferred.neighbour != neighbour);
        for (obligation, origin) in self.obligations.towards(neighbour) {
            self.cancel(obligation, origin);
        }
        for obligation in waiting {
            self.discharge(obligation, false);
        }
        for origin in origins {
            self.reselect(origin, None);
        }
    }

    /// The link to a neighbour is down, but what was sent is kept and its session may go on: it stays on the paths in
    /// use. Its confirmations are waited for as long as [`Limits::patience`] says, and then no more until it
    /// [is back](Self::neighbour_back).
    pub fn neighbour_silent(&mut self, neighbour: Neighbour, now: Time) {
        if let Some(peer) = self.peers.get_mut(&neighbour).filter(|peer| peer.up) {
            peer.excuse_at = Some(now + self.limits.patience);
        }
    }

    /// A neighbour that was silent has come back to its session.
    pub fn neighbour_back(&mut self, neighbour: Neighbour) {
        if let Some(peer) = self.peers.get_mut(&neighbour) {
            peer.silent = false;
            peer.excuse_at = None;
        }
    }

    /// The next change, `None` when there is none.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// The neighbour that leads to `origin`.
    #[must_use]
    pub fn next_hop(&self, origin: NodeId) -> Option<Neighbour> {
        self.best.get(&origin).and_then(|best| best.next_hop)
    }

    /// The path in use, from this node to `origin`, both included.
    #[must_use]
    pub fn path(&self, origin: NodeId) -> Option<&[NodeId]> {
        self.best.get(&origin).map(|best| &*best.path)
    }

    /// The epoch in which `origin` made its entries.
    #[must_use]
    pub fn epoch(&self, origin: NodeId) -> Option<u64> {
        self.best.get(&origin).map(|best| best.epoch)
    }

    /// Whether the path to `origin` leads over a link that is down at present.
    #[must_use]
    pub fn is_stale(&self, origin: NodeId) -> bool {
        self.best.get(&origin).is_some_and(|best| best.stale)
    }

    /// The remote origins that can be reached.
    pub fn origins(&self) -> impl Iterator<Item = NodeId> {
        self.best.keys().copied()
    }

    /// The entries of a remote origin, or of this node.
    pub fn entries(&self, origin: NodeId) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries_of(origin)
            .into_iter()
            .flatten()
            .map(|(id, entry)| (*id, entry))
    }

    /// What was refused or ignored since the start.
    #[must_use]
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing comes before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let timers = |peer: &Peer| peer.sweep_at.into_iter().chain(peer.excuse_at);
        self.peers.values().flat_map(timers).min()
    }

    /// Gives up paths that have been stale for too long, and confirmations of those who have been silent for too long.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let neighbours: Vec<Neighbour> = self.peers.keys().copied().collect();
        for neighbour in neighbours {
            let Some(peer) = self.peers.get_mut(&neighbour) else {
                continue;
            };
            let sweeps = due(peer.sweep_at);
            let waiting = if due(peer.excuse_at) {
                peer.excuse()
            } else {
                Vec::new()
            };
            for obligation in waiting {
                self.discharge(obligation, false);
            }
            if sweeps {
                self.sweep(neighbour);
            }
        }
    }

    /// Forgets what the neighbour told before its link last went down, and a neighbour that is down with it.
    fn sweep(&mut self, neighbour: Neighbour) {
        let Some(peer) = self.peers.get_mut(&neighbour) else {
            return;
        };
        peer.sweep_at = None;
        let stale = |(origin, rib): (&NodeId, &peer::Rib)| rib.stale_here.then_some(*origin);
        let stale: Vec<NodeId> = peer.ribs.iter().filter_map(stale).collect();
        let down = !peer.up;
        for origin in stale {
            self.replace(neighbour, origin, None);
        }
        if down {
            self.peers.remove(&neighbour);
        }
    }
}
