//! The client as the bridge sees it.

use super::core::ClientCore;
use super::shared::ClientStatus;
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::SessionState;

impl Owner for ClientCore {
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time) {
        if self.link != Some(link) {
            return;
        }
        if let Err(error) = self.session.receive(lane, bytes, now) {
            tracing::warn!(%error, "the node broke the protocol");
            self.session.leave(error.code(), &error.to_string());
            self.closed = true;
        }
        self.after(now);
    }

    fn reads_data(&self, link: LinkHandle) -> bool {
        self.link == Some(link) && self.session.is_live()
    }

    fn wants_transmit(&self, link: LinkHandle, lane: LaneId, now: Time) -> bool {
        self.link == Some(link) && self.closing.is_none() && self.session.wants_transmit(lane, now)
    }

    fn transmit(
        &mut self,
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    ) {
        if self.link == Some(link) {
            self.session.transmit(lane, budget, now, out);
            self.touch();
        }
    }

    fn wants_close(&self, link: LinkHandle) -> Option<String> {
        if self.link != Some(link) {
            return Some(String::from("a newer link is up"));
        }
        if self.session.state() == SessionState::Leaving {
            return Some(String::from("goodbye"));
        }
        self.closing.clone()
    }

    fn link_down(&mut self, link: LinkHandle, reason: &str, _now: Time) {
        if self.link != Some(link) {
            return;
        }
        tracing::debug!(reason, "link down");
        self.link = None;
        self.session.link_down();
        let mut state = self.shared.lock();
        if state.status == ClientStatus::Live {
            state.status = ClientStatus::Reconnecting;
        }
        drop(state);
        self.shared.progress.notify_waiters();
    }

    fn poll_touched(&mut self) -> Option<LinkHandle> {
        self.touched.take()
    }

    fn next_timeout(&self) -> Option<Time> {
        let leave = self.leave_by.filter(|_| !self.closed);
        let retry = self.retries.first().map(|(due, ..)| *due);
        self.session
            .next_timeout()
            .into_iter()
            .chain(leave)
            .chain(retry)
            .min()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
        self.try_again(now);
        self.after(now);
    }
}
