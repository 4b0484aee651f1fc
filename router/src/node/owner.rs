//! The node as the bridge sees it.

use super::core::{LinkState, NodeCore};
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::SessionState;

impl Owner for NodeCore {
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time) {
        let id = match self.links.get(&link) {
            Some(LinkState::Session(id)) => *id,
            Some(LinkState::Greeting { .. }) if lane.is_control() => {
                return self.receive_greeting(link, bytes, now);
            }
            _ => return,
        };
        if self.peers[id].link != Some(link) {
            return;
        }
        if let Err(error) = self.peers[id].session.receive(lane, bytes, now) {
            tracing::warn!(peer = self.peers[id].name(), %error, "the peer broke the protocol");
            self.peers[id]
                .session
                .leave(error.code(), &error.to_string());
        }
        self.after(id, now);
        self.settle(now);
    }

    fn reads_data(&self, link: LinkHandle) -> bool {
        matches!(self.links.get(&link), Some(LinkState::Session(id)) if self.peers[*id].session.is_live())
    }

    fn wants_transmit(&self, link: LinkHandle, lane: LaneId, now: Time) -> bool {
        match self.links.get(&link) {
            Some(LinkState::Session(id)) => self.peers[*id].session.wants_transmit(lane, now),
            Some(LinkState::Refused { goodbye, .. }) => lane.is_control() && !goodbye.is_empty(),
            _ => false,
        }
    }

    fn transmit(
        &mut self,
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    ) {
        match self.links.get_mut(&link) {
            Some(LinkState::Session(id)) => {
                self.peers[*id].session.transmit(lane, budget, now, out);
            }
            Some(LinkState::Refused { goodbye, .. }) if lane.is_control() => {
                out.unsplit(goodbye.split())
            }
            _ => {}
        }
    }

    fn wants_close(&self, link: LinkHandle) -> Option<String> {
        match self.links.get(&link) {
            Some(LinkState::Refused { reason, .. }) => Some(reason.clone()),
            Some(LinkState::Session(id)) => (self.peers[*id].session.state()
                == SessionState::Leaving)
                .then(|| String::from("goodbye")),
            _ => None,
        }
    }

    fn link_down(&mut self, link: LinkHandle, reason: &str, now: Time) {
        self.link_ended(link, reason, now);
    }

    fn poll_touched(&mut self) -> Option<LinkHandle> {
        self.touched.pop()
    }

    fn hand_out(&mut self) {
        while self.carrier.is_some() {
            let Some(request) = self.poll_store() else {
                return;
            };
            if let Some(carrier) = &mut self.carrier
                && let Err(request) = carrier.carry(request)
            {
                return self.ask_store_later(request);
            }
        }
    }

    fn next_timeout(&self) -> Option<Time> {
        NodeCore::next_timeout(self)
    }

    fn handle_timeout(&mut self, now: Time) {
        NodeCore::handle_timeout(self, now);
    }
}
