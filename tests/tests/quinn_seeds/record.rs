//! A node whose calls are written down: what its sessions received and sent, lane by lane, and when.

use super::log::{Call, Entry};
use bytes::{Bytes, BytesMut};
use mcpbus::node::{NodeConfig, NodeCore};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;

/// A node and every call that may have changed it.
pub(crate) struct Recorded {
    pub(crate) core: NodeCore,
    pub(crate) log: Vec<Entry>,
}

impl Recorded {
    pub(crate) fn new(config: NodeConfig) -> Self {
        Self {
            core: NodeCore::new(config),
            log: Vec::new(),
        }
    }

    fn note(&mut self, at: Time, call: Call) {
        self.log.push(Entry { at, call });
    }

    pub(crate) fn accepted(&mut self, link: LinkHandle, identity: &str, now: Time) {
        let identity = identity.to_owned();
        self.core.link_accepted(link, &identity, now);
        self.note(now, Call::Accepted { link, identity });
    }

    pub(crate) fn dialed(&mut self, link: LinkHandle, index: usize, identity: &str, now: Time) {
        let identity = identity.to_owned();
        self.core.link_dialed(link, index, &identity, now);
        let call = Call::Dialed {
            link,
            index,
            identity,
        };
        self.note(now, call);
    }

    pub(crate) fn take_refused_dial(&mut self, index: usize, now: Time) -> Option<String> {
        self.note(now, Call::RefusedDial { index });
        self.core.take_refused_dial(index)
    }
}

impl Owner for Recorded {
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time) {
        let call = Call::Received {
            link,
            lane,
            bytes: bytes.clone(),
        };
        self.note(now, call);
        self.core.receive(link, lane, bytes, now);
    }

    fn reads_data(&self, link: LinkHandle) -> bool {
        self.core.reads_data(link)
    }

    fn wants_transmit(&self, link: LinkHandle, lane: LaneId, now: Time) -> bool {
        self.core.wants_transmit(link, lane, now)
    }

    fn transmit(
        &mut self,
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    ) {
        let before = out.len();
        self.core.transmit(link, lane, budget, now, out);
        let call = Call::Sent {
            link,
            lane,
            budget,
            bytes: Bytes::copy_from_slice(&out[before..]),
        };
        self.note(now, call);
    }

    fn wants_close(&self, link: LinkHandle) -> Option<String> {
        self.core.wants_close(link)
    }

    fn link_down(&mut self, link: LinkHandle, reason: &str, now: Time) {
        let call = Call::Down {
            link,
            reason: reason.replace('\n', " "),
        };
        self.note(now, call);
        self.core.link_down(link, reason, now);
    }

    fn poll_touched(&mut self) -> Option<LinkHandle> {
        let touched = self.core.poll_touched();
        if let Some(link) = touched {
            // It has no time of its own: it follows the call before it.
            let at = self.log.last().map_or(Time::ZERO, |entry| entry.at);
            self.note(at, Call::Touched { link });
        }
        touched
    }

    fn next_timeout(&self) -> Option<Time> {
        self.core.next_timeout()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.note(now, Call::Timeout);
        self.core.handle_timeout(now);
    }
}
