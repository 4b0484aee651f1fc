//! What goes out to neighbours, and the confirmations that wait for it.

use std::collections::VecDeque;

use super::confirm::{ObligationId, Reply};
use super::message::{Message, Neighbour, NodeId};
use super::peer::{Item, Peer, Phase};
use super::{Change, Interest};

/// Lists the neighbour among those that have something to send.
pub(super) fn make_ready(ready: &mut VecDeque<Neighbour>, neighbour: Neighbour, peer: &mut Peer) {
    let something = peer.front().is_some() || !peer.confirms.is_empty();
    if peer.up && something && !peer.ready {
        peer.ready = true;
        ready.push_back(neighbour);
    }
}

impl Interest {
    /// The next message for any neighbour; neighbours take turns. `None` when there is nothing to say.
    ///
    /// A message that was taken must reach the neighbour, or its link counts as down.
    pub fn poll_send(&mut self) -> Option<(Neighbour, Message)> {
        loop {
            let neighbour = *self.ready.front()?;
            self.ready.pop_front();
            let message = self.poll_send_to(neighbour);
            let peer = self.peers.get_mut(&neighbour);
            if let Some(message) = message {
                if peer.is_some_and(|peer| peer.ready) {
                    self.ready.push_back(neighbour);
                }
                return Some((neighbour, message));
            }
            if let Some(peer) = peer {
                peer.ready = false;
            }
        }
    }

    /// The next message for this neighbour: for a caller whose links have room one by one.
    pub fn poll_send_to(&mut self, neighbour: Neighbour) -> Option<Message> {
        loop {
            let peer = self.peers.get_mut(&neighbour)?;
            if !self.confirms_held
                && let Some(confirm) = peer.next_confirm()
            {
                return Some(confirm);
            }
            let origin = match peer.front()? {
                Item::SyncDone => {
                    peer.pop();
                    return Some(Message::SyncDone);
                }
                Item::About(origin) => origin,
            };
            match self.next_about(neighbour, origin) {
                Some((message, done)) => {
                    if done && let Some(peer) = self.peers.get_mut(&neighbour) {
                        peer.pop();
                    }
                    return Some(message);
                }
                None => self.peers.get_mut(&neighbour)?.pop(),
            }
        }
    }

    /// The next message about one origin, and whether it says all there is to say at present.
    fn next_about(&mut self, neighbour: Neighbour, origin: NodeId) -> Option<(Message, bool)> {
        let mut told = self.peers.get_mut(&neighbour)?.told.remove(&origin)?;
        if matches!(told.phase, Phase::Retract) {
            return Some((Message::Withdraw { origin }, true));
        }
        let may_ask = self.peers.get(&neighbour)?.may_ask(origin, &told);
        let best = if origin == self.me {
            Some(&self.own)
        } else {
            self.best.get(&origin)
        };
        let announce = match (best, self.entries_of(origin)) {
            (Some(best), Some(entries)) => {
                told.announce(origin, best, entries, (self.chunk, may_ask))
            }
            _ => None,
        };
        let peer = self.peers.get_mut(&neighbour)?;
        let message = announce.map(|mut announce| {
            peer.ask(&mut told, &mut announce);
            let done = announce.last;
            (Message::Announce(announce), done)
        });
        peer.told.insert(origin, told);
        message
    }

    /// Opens an obligation that waits for every reachable neighbour that hears of `origin` from us, and answers at
    /// once when there is none.
    pub(super) fn owe(
        &mut self,
        origin: NodeId,
        reply: Reply,
        refused: bool,
    ) -> Option<ObligationId> {
        let id = self.obligations.reserve();
        let mut outstanding = 0;
        for (neighbour, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.silent) {
            let Some(told) = peer
                .told
                .get_mut(&origin)
                .filter(|told| !matches!(told.phase, Phase::Retract))
            else {
                continue;
            };
            told.owed.insert(id);
            outstanding += 1;
            peer.push(Item::About(origin));
            make_ready(&mut self.ready, *neighbour, peer);
        }
        if outstanding == 0 {
            self.answer(reply, refused);
            return None;
        }
        self.obligations.open(id, reply, outstanding, refused);
        Some(id)
    }

    /// One of those an obligation waits for has confirmed, or is no longer waited for.
    pub(super) fn discharge(&mut self, id: ObligationId, refused: bool) {
        if let Some((reply, refused)) = self.obligations.discharge(id, refused) {
            self.answer(reply, refused);
        }
    }

    /// Nobody waits for this answer any more.
    pub(super) fn cancel(&mut self, id: ObligationId, origin: NodeId) {
        self.obligations.cancel(id);
        for peer in self.peers.values_mut() {
            if let Some(told) = peer.told.get_mut(&origin) {
                told.owed.remove(&id);
            }
        }
    }

    pub(super) fn answer(&mut self, reply: Reply, refused: bool) {
        match reply {
            Reply::Local { id } => {
                self.unconfirmed.remove(&id);
                self.changes.push_back(Change::Confirmed { id, refused });
            }
            Reply::Peer {
                neighbour,
                origin,
                token,
            } => {
                let peer = self.peers.get_mut(&neighbour);
                let Some(peer) = peer.filter(|peer| peer.up) else {
                    return;
                };
                if let Some(asked) = peer.asked.get_mut(&origin) {
                    *asked -= 1;
                    if *asked == 0 {
                        peer.asked.remove(&origin);
                    }
                }
                peer.confirms.push_back((token, refused));
                make_ready(&mut self.ready, neighbour, peer);
            }
        }
    }
}
