//! Which path is used towards an origin, and what follows from a change of it.

use std::cmp::Reverse;
use std::sync::Arc;

use super::message::{Entry, EntryId, Neighbour, NodeId};
use super::peer::{Best, Entries, Item, Phase, Rib, Told};
use super::{Change, Interest, send};

/// An entry before and after a change.
pub(super) type Difference = (EntryId, Option<Entry>, Option<Entry>);

impl Interest {
    /// The entries in use for a remote origin, or the local ones.
    pub(super) fn entries_of(&self, origin: NodeId) -> Option<&Entries> {
        if origin == self.me {
            return Some(&self.local);
        }
        let next_hop = self.best.get(&origin)?.next_hop?;
        self.peers
            .get(&next_hop)?
            .ribs
            .get(&origin)
            .map(|rib| &rib.entries)
    }

    /// Puts what a neighbour told about an origin in the place of what it told before.
    pub(super) fn replace(&mut self, neighbour: Neighbour, origin: NodeId, rib: Option<Rib>) {
        let Some(peer) = self.peers.get_mut(&neighbour) else {
            return;
        };
        let former = match rib {
            Some(rib) => peer.ribs.insert(origin, rib),
            None => peer.ribs.remove(&origin),
        };
        let in_use = self.next_hop(origin) == Some(neighbour);
        self.reselect(origin, former.filter(|_| in_use));
    }

    /// Finds the best path anew and tells what changed. `displaced` is what was in use before, where it is no
    /// longer held by its neighbour.
    pub(super) fn reselect(&mut self, origin: NodeId, displaced: Option<Rib>) {
        let before = self.best.get(&origin).cloned();
        let after = self.select(origin, before.as_ref().and_then(|best| best.next_hop));
        let same_rib = displaced.is_none()
            && before.as_ref().map(|best| best.next_hop)
                == after.as_ref().map(|best| best.next_hop);
        let renewed =
            before.as_ref().map(|best| best.epoch) != after.as_ref().map(|best| best.epoch);
        let differences = if same_rib {
            Vec::new()
        } else {
            let none = Entries::new();
            let rib = |best: &Best| {
                best.next_hop
                    .and_then(|hop| self.peers.get(&hop)?.ribs.get(&origin))
            };
            let former = displaced.as_ref().or_else(|| before.as_ref().and_then(rib));
            let present = after.as_ref().and_then(rib);
            difference(
                former.map_or(&none, |rib| &rib.entries),
                present.map_or(&none, |rib| &rib.entries),
                renewed,
            )
        };
        if before.as_ref().map(|best| (best.next_hop, best.stale))
            != after.as_ref().map(|best| (best.next_hop, best.stale))
        {
            let change = Change::NextHopChanged {
                origin,
                next_hop: after.as_ref().and_then(|best| best.next_hop),
                stale: after.as_ref().is_some_and(|best| best.stale),
            };
            if after.is_some() {
                self.changes.push_back(change);
                self.publish(origin, &differences);
            } else {
                self.publish(origin, &differences);
                self.changes.push_back(change);
            }
        } else {
            self.publish(origin, &differences);
        }
        match &after {
            Some(best) => self.best.insert(origin, best.clone()),
            None => self.best.remove(&origin),
        };
        self.pass_on(origin, before.as_ref(), after.as_ref(), &differences);
        self.answer_deferred(origin);
    }

    /// The best path that neighbours offer, as this node would announce it.
    fn select(&self, origin: NodeId, in_use: Option<Neighbour>) -> Option<Best> {
        let offers = self
            .peers
            .iter()
            .filter_map(|(neighbour, peer)| Some((*neighbour, peer.ribs.get(&origin)?)));
        let (neighbour, rib) = offers.min_by_key(|(neighbour, rib)| {
            (
                Reverse(rib.epoch),
                rib.stale(),
                rib.path.len(),
                Some(*neighbour) != in_use,
                *neighbour,
            )
        })?;
        let path: Arc<[NodeId]> = std::iter::once(self.me)
            .chain(rib.path.iter().copied())
            .collect();
        Some(Best {
            next_hop: Some(neighbour),
            epoch: rib.epoch,
            path,
            stale: rib.stale(),
        })
    }

    /// Reports changed entries to the caller.
    pub(super) fn publish(&mut self, origin: NodeId, differences: &[Difference]) {
        for (id, before, after) in differences {
            let (id, kept) = (*id, |before: &Entry, after: &Entry| {
                before.pattern == after.pattern && before.group == after.group
            });
            match (before, after) {
                (Some(before), Some(after)) if kept(before, after) => {
                    self.changes.push_back(Change::MembersChanged {
                        origin,
                        id,
                        entry: after.clone(),
                    });
                }
                (before, after) => {
                    if let Some(entry) = before.clone() {
                        self.changes
                            .push_back(Change::EntryRemoved { origin, id, entry });
                    }
                    if let Some(entry) = after.clone() {
                        self.changes
                            .push_back(Change::EntryAdded { origin, id, entry });
                    }
                }
            }
        }
    }

    /// Notes for each neighbour what it has to hear of a change.
    pub(super) fn pass_on(
        &mut self,
        origin: NodeId,
        before: Option<&Best>,
        after: Option<&Best>,
        differences: &[Difference],
    ) {
        let renewed = before.map(|best| best.epoch) != after.map(|best| best.epoch);
        let moved = before.map(|best| (&best.path, best.stale))
            != after.map(|best| (&best.path, best.stale));
        let mut released = Vec::new();
        for (neighbour, peer) in &mut self.peers {
            if !after.is_some_and(|best| peer.hears(best)) {
                released.extend(peer.retract(origin));
                send::make_ready(&mut self.ready, *neighbour, peer);
                continue;
            }
            let told = peer.told.entry(origin).or_insert_with(Told::fresh);
            if renewed || matches!(told.phase, Phase::Retract) {
                told.restart();
            } else {
                differences.iter().for_each(|(id, ..)| told.mark(*id));
                told.path_changed |= moved;
            }
            if !told.is_clean() {
                peer.push(Item::About(origin));
                send::make_ready(&mut self.ready, *neighbour, peer);
            }
        }
        for obligation in released {
            self.discharge(obligation, false);
        }
    }
}

/// What differs between two states. Numbers of different epochs name different things, so a renewed state
/// takes everything away before it adds anything.
pub(super) fn difference(before: &Entries, after: &Entries, renewed: bool) -> Vec<Difference> {
    if renewed {
        let gone = before
            .iter()
            .map(|(id, entry)| (*id, Some(entry.clone()), None));
        return gone
            .chain(
                after
                    .iter()
                    .map(|(id, entry)| (*id, None, Some(entry.clone()))),
            )
            .collect();
    }
    let gone = before.iter().filter(|(id, _)| !after.contains_key(id));
    let gone = gone.map(|(id, entry)| (*id, Some(entry.clone()), None));
    let changed = after.iter().filter_map(|(id, entry)| match before.get(id) {
        Some(former) if former == entry => None,
        former => Some((*id, former.cloned(), Some(entry.clone()))),
    });
    gone.chain(changed).collect()
}
