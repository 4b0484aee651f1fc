//! What comes in from neighbours.

use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};

use super::confirm::{Deferred, Reply};
use super::message::{
    Announce, CONFIRM_WINDOW, Entry, EntryId, Message, Neighbour, NodeId, PATH_NODES,
};
use super::peer::{Entries, Peer, Rib};
use super::select::Difference;
use super::{Change, Interest, InterestError, send};

impl Interest {
    /// Takes a message from a neighbour.
    ///
    /// # Errors
    ///
    /// [`InterestError`] when the neighbour is not up or breaks the protocol; nothing was changed then. In the
    /// second case the caller closes the link and reports [`neighbour_down`](Self::neighbour_down).
    pub fn handle(
        &mut self,
        neighbour: Neighbour,
        message: Message,
        now: Time,
    ) -> Result<(), InterestError> {
        let peer = self.peers.get_mut(&neighbour).filter(|peer| peer.up);
        let Some(peer) = peer else {
            return Err(InterestError::UnknownNeighbour { neighbour });
        };
        match message {
            Message::Announce(announce) => {
                check(self.me, peer, &announce)?;
                self.announced(neighbour, announce);
            }
            Message::Withdraw { origin } => {
                peer.staging.remove(&origin);
                if peer.ribs.contains_key(&origin) {
                    self.replace(neighbour, origin, None);
                }
            }
            Message::SyncDone => {
                // The neighbour may itself still be hearing of origins that it lost: they get their time.
                let stale = peer.ribs.values().any(|rib| rib.stale_here);
                peer.sweep_at = stale.then(|| now + self.limits.hold);
                self.changes.push_back(Change::Synced { neighbour });
            }
            Message::Confirm { token, refused } => match peer.confirmed(token) {
                Some(confirmed) => {
                    send::make_ready(&mut self.ready, neighbour, peer);
                    for obligation in confirmed.obligations {
                        self.discharge(obligation, refused);
                    }
                }
                None => self.refused.confirmations += 1,
            },
        }
        Ok(())
    }

    fn announced(&mut self, neighbour: Neighbour, announce: Announce) {
        let (origin, token) = (announce.origin, announce.token);
        let refused = self.apply(neighbour, announce);
        let Some(token) = token else { return };
        let Some(peer) = self.peers.get_mut(&neighbour) else {
            return;
        };
        *peer.asked.entry(origin).or_insert(0) += 1;
        let reply = Reply::Peer {
            neighbour,
            origin,
            token,
        };
        if self.next_hop(origin) == Some(neighbour) && !planted(Fault::ConfirmedEarly) {
            self.owe(origin, reply, refused);
        } else if !refused && self.is_behind(origin, neighbour) {
            // The path in use is slower, or over a link that is down: what is not used yet is not confirmed.
            self.deferred.push(Deferred {
                neighbour,
                origin,
                token,
                refused,
            });
        } else {
            // What is not used is not passed on.
            self.answer(reply, refused);
        }
    }

    /// Whether a neighbour knows of an entry of this origin that the path in use does not.
    fn is_behind(&self, origin: NodeId, neighbour: Neighbour) -> bool {
        let told = self.peers.get(&neighbour);
        let Some(rib) = told.and_then(|peer| peer.ribs.get(&origin)) else {
            return false;
        };
        let used = self.entries_of(origin);
        let known = |id: &EntryId| used.is_some_and(|used| used.contains_key(id));
        self.epoch(origin) == Some(rib.epoch) && !rib.entries.keys().all(known)
    }

    /// Confirms what is used by now.
    pub(super) fn answer_deferred(&mut self, origin: NodeId) {
        if self.deferred.is_empty() {
            return;
        }
        let (of_origin, rest) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|deferred| deferred.origin == origin);
        self.deferred = rest;
        let of_origin: Vec<Deferred> = of_origin;
        for deferred in of_origin {
            let (neighbour, token) = (deferred.neighbour, deferred.token);
            let reply = Reply::Peer {
                neighbour,
                origin,
                token,
            };
            if self.next_hop(origin) == Some(neighbour) {
                self.owe(origin, reply, deferred.refused);
            } else if self.is_behind(origin, neighbour) {
                self.deferred.push(deferred);
            } else {
                self.answer(reply, deferred.refused);
            }
        }
    }

    /// Applies an announcement; `true` when a part of it was refused.
    fn apply(&mut self, neighbour: Neighbour, announce: Announce) -> bool {
        let limits = &self.limits;
        let Some(peer) = self.peers.get_mut(&neighbour) else {
            return true;
        };
        let origin = announce.origin;
        if announce.first {
            let known = peer.ribs.contains_key(&origin) || peer.staging.contains_key(&origin);
            if !known && peer.ribs.len() + peer.staging.len() >= limits.origins {
                self.refused.origins += 1;
                return true;
            }
            peer.staging.insert(origin, Rib::empty(&announce));
        }
        if let Some(rib) = peer.staging.get_mut(&origin) {
            let last = announce.last;
            let (refused, _) = change(rib, announce, limits.entries);
            self.refused.entries += refused;
            if last && let Some(rib) = peer.staging.remove(&origin) {
                self.replace(neighbour, origin, Some(rib));
            }
            return refused > 0;
        }
        let in_use = self
            .best
            .get(&origin)
            .is_some_and(|best| best.next_hop == Some(neighbour));
        let Some(rib) = peer.ribs.get_mut(&origin).filter(|rib| !rib.stale_here) else {
            // A change of what was refused for want of room.
            self.refused.origins += 1;
            return true;
        };
        let (refused, differences) = change(rib, announce, limits.entries);
        self.refused.entries += refused;
        if in_use {
            self.publish(origin, &differences);
            let best = self.best.get(&origin).cloned();
            self.pass_on(origin, best.as_ref(), best.as_ref(), &differences);
        }
        self.reselect(origin, None);
        refused > 0
    }
}

impl Rib {
    fn empty(announce: &Announce) -> Self {
        Self {
            epoch: announce.epoch,
            path: announce.path.clone(),
            entries: Entries::new(),
            stale_beyond: announce.stale,
            stale_here: false,
        }
    }
}

fn check(me: NodeId, peer: &Peer, announce: &Announce) -> Result<(), InterestError> {
    let (origin, path) = (announce.origin, &announce.path);
    let twice = |(at, node): (usize, &NodeId)| path[..at].contains(node);
    if path.first() != Some(&peer.node)
        || path.last() != Some(&origin)
        || path.len() > PATH_NODES
        || path.contains(&me)
        || path.iter().enumerate().any(twice)
    {
        return Err(InterestError::Path {
            origin,
            nodes: path.len(),
        });
    }
    let present = peer.staging.get(&origin).or_else(|| peer.ribs.get(&origin));
    if !announce.first && present.is_some_and(|rib| rib.epoch != announce.epoch) {
        return Err(InterestError::Epoch {
            origin,
            epoch: announce.epoch,
        });
    }
    if announce.token.is_some()
        && peer
            .asked
            .get(&origin)
            .is_some_and(|asked| *asked >= CONFIRM_WINDOW)
    {
        return Err(InterestError::ConfirmWindow { origin });
    }
    Ok(())
}

/// Applies an announcement to what the neighbour told before: how many entries found no room, and what differs.
fn change(rib: &mut Rib, announce: Announce, limit: usize) -> (u64, Vec<Difference>) {
    rib.path = announce.path;
    rib.stale_beyond = announce.stale;
    let mut refused = 0;
    let mut differences = Vec::new();
    let mut note = |id: EntryId, before: Option<Entry>, after: Option<Entry>| {
        if before != after {
            differences.push((id, before, after));
        }
    };
    for id in announce.removed {
        note(id, rib.entries.remove(&id), None);
    }
    for (id, entry) in announce.added {
        if rib.entries.len() >= limit && !rib.entries.contains_key(&id) {
            refused += 1;
            continue;
        }
        let before = rib.entries.insert(id, entry.clone());
        note(id, before, Some(entry));
    }
    (refused, differences)
}
