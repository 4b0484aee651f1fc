//! What sessions report, and what the node does about it.

use super::core::NodeCore;
use super::ledger::Outcome;
use super::peer::{PeerId, tell};
use super::registry::PeerEntry;
use crate::interest::Neighbour;
use mcpbus_actors::Time;
use mcpbus_transport::session::{Event, Releases};
use mcpbus_transport::wire::{GoodbyeCode, Role};

impl NodeCore {
    /// Acts on what a session reports. Call [`settle`](Self::settle) when all peers are done.
    pub(super) fn after(&mut self, id: PeerId, now: Time) {
        loop {
            let Some(peer) = self.peers.get_mut(id) else {
                return;
            };
            // What came from a peer that has forgotten it is settled where it stands since, so that is moved there first.
            if !peer.session.reset_is_next()
                && let Some(releases) = peer.session.poll_releases()
            {
                self.released(&releases, now);
                continue;
            }
            let Some(event) = peer.session.poll_event() else {
                break;
            };
            self.handle(id, event, now);
        }
        self.send_cancels(id);
        self.touch(id);
        for id in std::mem::take(&mut self.leaving) {
            self.remove_peer(id, now);
        }
    }

    pub(super) fn handle(&mut self, id: PeerId, event: Event, now: Time) {
        match event {
            Event::Up { resumed } => {
                let peer = &mut self.peers[id];
                peer.role = peer.session.peer().map_or(peer.role, |known| known.role);
                let entry = PeerEntry {
                    name: peer.name().to_owned(),
                    node: peer.role == Role::Node,
                    live: true,
                };
                self.registry.set(peer.serial, entry);
                tell!(peer.role, peer = peer.name(), resumed, "session up");
                if peer.neighbour {
                    self.interest.neighbour_back(Neighbour(peer.serial as u32));
                } else if peer.role == Role::Node {
                    self.neighbour_up(id, now);
                }
                // That they wait may have been lost with the link, or with the peer's memory: they say it again.
                let waiting = self.peers[id].outgoing.values();
                let waiters: Vec<_> = waiting
                    .flat_map(|out| out.waiters.iter().copied())
                    .collect();
                waiters.into_iter().for_each(|waiter| self.schedule(waiter));
                self.version += 1;
            }
            Event::Reset {
                died,
                lost,
                windows,
            } => {
                let total: u64 = lost.iter().map(|(_, count)| count).sum();
                self.ledger.lost += total;
                let peer = &mut self.peers[id];
                tracing::warn!(
                    peer = peer.name(),
                    died,
                    lost = total,
                    "the peer came back without memory"
                );
                let was_neighbour = std::mem::take(&mut peer.neighbour);
                let serial = peer.serial;
                self.detach(id, windows);
                self.recount_former(id);
                if was_neighbour {
                    self.interest.neighbour_down(Neighbour(serial as u32), now);
                }
            }
            Event::Opened { flow, definition } => self.opened(id, flow, definition, now),
            Event::Closed { flow, window } => self.detach(id, vec![(flow, window)]),
            Event::Records {
                flow,
                first,
                mut records,
            } => {
                self.arrived(id, flow, first, &mut records, now);
                self.peers[id].session.recycle(records);
            }
            Event::Credit { flow } => {
                if let Some(out) = self.peers[id].outgoing.get_mut(&flow) {
                    for waiter in std::mem::take(&mut out.drains) {
                        self.schedule(waiter);
                    }
                }
                self.renew_attempts(id, flow);
                self.wake_next(id, flow);
            }
            Event::Reduced { flow } => {
                // What it asked for may have been given and taken back at once.
                let out = self.peers[id].outgoing.get_mut(&flow);
                if let Some(waiter) = out.and_then(|out| out.waiters.pop_front()) {
                    self.schedule(waiter);
                }
            }
            Event::Pending {
                flow,
                messages,
                next,
                ..
            } => {
                if let Some(&inflow) = self.peers[id].incoming.get(&flow) {
                    self.asked(inflow, messages, next, now);
                }
            }
            Event::Revoked { flow } => {
                if let Some(&inflow) = self.peers[id].incoming.get(&flow) {
                    self.revoked(inflow);
                }
            }
            Event::Signal { payload } => self.signalled(id, payload, now),
            Event::Goodbye { code, reason } => {
                let peer = &mut self.peers[id];
                tell!(peer.role, peer = peer.name(), %code, reason, "the peer leaves");
                if let Some(dialed) = peer.dialed {
                    self.refused_dials
                        .insert(dialed, format!("{code}: {reason}"));
                }
                // Only one who is done gives the session up; others come back to it.
                if code == GoodbyeCode::Done {
                    peer.left = true;
                    peer.session.link_down();
                    if let Some(link) = peer.link.take() {
                        self.refuse(link, GoodbyeCode::Done, "goodbye", false);
                    }
                    self.leaving.push(id);
                }
            }
            Event::Silent => {
                if let Some(link) = self.peers[id].link.take() {
                    let name = self.peers[id].name().to_owned();
                    tracing::warn!(peer = name, "the peer is silent");
                    self.peers[id].session.link_down();
                    self.peers[id].down_since = Some(now);
                    self.registry.set_live(self.peers[id].serial, false);
                    if self.peers[id].neighbour {
                        let neighbour = Neighbour(self.peers[id].serial as u32);
                        self.interest.neighbour_silent(neighbour, now);
                    }
                    self.refuse(
                        link,
                        GoodbyeCode::Silent,
                        "nothing was heard for too long",
                        false,
                    );
                    self.reconsider_waiting(id);
                    // Whoever asked it need not wait to see whether it comes back.
                    if self.peers[id].role == Role::Client {
                        self.responder_gone(id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Copies were taken over by their next owner, or failed there.
    pub(super) fn released(&mut self, releases: &Releases, now: Time) {
        let outcome = releases
            .result
            .map_or_else(Outcome::Failed, |()| Outcome::Delivered);
        if outcome == Outcome::Delivered
            && self.copies_delivered(releases.token, releases.count, now)
        {
            return;
        }
        for token in releases.tokens() {
            self.copy_ended(token, outcome, now);
        }
    }
}
