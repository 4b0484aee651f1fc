//! The receiving end of one flow: what came, what is still held, what was granted.

use super::error::ProtocolError;
use super::window::Window;
use crate::link::LaneId;
use crate::wire::{Failure, FlowAck};
use bytes::Bytes;

/// The receiving end of a flow.
#[derive(Debug)]
pub(super) struct ReceiveFlow {
    pub(super) definition: Bytes,
    pub(super) lane: LaneId,
    received: u64,
    received_bytes: u64,
    pub(super) window: Window,
    window_messages: u64,
    window_bytes: u64,
    grant_messages: u64,
    grant_bytes: u64,
    /// What the last ack said.
    acked: FlowAck,
    /// Whether it stands in the session's list of flows to ack.
    pub(super) dirty: bool,
    /// Failures to report before the next ack.
    pub(super) failures: Vec<(u64, Failure)>,
}

impl ReceiveFlow {
    pub(super) fn new(definition: Bytes, lane: LaneId) -> Self {
        Self {
            definition,
            lane,
            received: 0,
            received_bytes: 0,
            window: Window::default(),
            window_messages: 0,
            window_bytes: 0,
            grant_messages: 0,
            grant_bytes: 0,
            acked: FlowAck::default(),
            dirty: false,
            failures: Vec::new(),
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes a record of this cost in; refuses what was not granted.
    pub(super) fn receive(&mut self, flow: u32, cost: u64) -> Result<u64, ProtocolError> {
        self.received += 1;
        self.received_bytes += cost;
        if self.received > self.grant_messages || self.received_bytes > self.grant_bytes {
            return Err(ProtocolError::CreditExceeded { flow });
        }
        self.window.receive(cost);
        Ok(self.received)
    }

    /// One copy is passed on or ended. Whether it was the last.
    pub(super) fn done(&mut self, sequence: u64) -> bool {
        let last = self.window.done(sequence);
        if last {
            self.regrant();
        }
        last
    }

    pub(super) fn set_window(&mut self, messages: u64, bytes: u64) {
        self.window_messages = messages;
        self.window_bytes = bytes;
        self.regrant();
    }

    /// What may still come or is held, in messages and bytes: what this flow costs the receiver's budget.
    pub(super) fn exposure(&self) -> (u64, u64) {
        (
            self.grant_messages - self.window.settled(),
            self.grant_bytes - self.window.settled_bytes(),
        )
    }

    /// Messages and bytes held here.
    pub(super) fn held(&self) -> (u64, u64) {
        (
            self.received - self.window.settled(),
            self.received_bytes - self.window.settled_bytes(),
        )
    }

    fn regrant(&mut self) {
        self.grant_messages = self
            .grant_messages
            .max(self.window.settled() + self.window_messages);
        self.grant_bytes = self
            .grant_bytes
            .max(self.window.settled_bytes() + self.window_bytes);
    }

    /// The positions to tell the peer.
    pub(super) fn positions(&self, flow: u32) -> FlowAck {
        FlowAck {
            flow,
            received: self.received,
            settled: self.window.settled(),
            grant_messages: self.grant_messages,
            grant_bytes: self.grant_bytes,
        }
    }

    pub(super) fn acked(&mut self, ack: FlowAck) {
        self.acked = ack;
    }

    /// Whether the sender runs short of credit and there is more to give.
    pub(super) fn is_short(&self) -> bool {
        let known = self.acked.grant_messages.saturating_sub(self.received);
        let known_bytes = self.acked.grant_bytes.saturating_sub(self.received_bytes);
        (self.grant_messages > self.acked.grant_messages && known <= self.window_messages / 2)
            || (self.grant_bytes > self.acked.grant_bytes && known_bytes <= self.window_bytes / 2)
    }
}
