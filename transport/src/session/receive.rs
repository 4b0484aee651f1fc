//! The receiving end of one flow: what came, what is still held, what was granted.

use super::error::ProtocolError;
use super::window::Window;
use crate::link::LaneId;
use crate::planted::{Fault, planted};
use crate::wire::{AckLevel, Failure, FlowAck, Record};
use bytes::Bytes;

/// A large record of which the end has not come. It counts with its whole length against what was granted.
#[derive(Debug)]
struct Begun {
    /// Without its body.
    record: Record,
    length: usize,
    /// Grows as the body comes, never ahead of it by more than its double.
    body: Vec<u8>,
}

/// The receiving end of a flow.
#[derive(Debug)]
pub(super) struct ReceiveFlow {
    pub(super) definition: Bytes,
    pub(super) lane: LaneId,
    received: u64,
    received_bytes: u64,
    /// The last one whose publisher waits until it is settled.
    awaited: u64,
    begun: Option<Begun>,
    pub(super) window: Window,
    window_messages: u64,
    window_bytes: u64,
    grant_messages: u64,
    grant_bytes: u64,
    /// A revoke that the sender has not confirmed: down to which position. Until then what was granted counts.
    revoking: Option<(u64, u64)>,
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
            awaited: 0,
            begun: None,
            window: Window::default(),
            window_messages: 0,
            window_bytes: 0,
            grant_messages: 0,
            grant_bytes: 0,
            revoking: None,
            acked: FlowAck::default(),
            dirty: false,
            failures: Vec::new(),
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the records of one frame in, or none of them where not all were granted: nobody would ever be done with
    /// those that were taken before the refused one.
    pub(super) fn receive(&mut self, flow: u32, records: &[Record]) -> Result<(), ProtocolError> {
        let bytes = records.iter().map(Record::cost).sum::<u64>();
        let received = self.received + records.len() as u64;
        let received_bytes = self.received_bytes + bytes;
        if received > self.grant_messages || received_bytes > self.grant_bytes {
            return Err(ProtocolError::CreditExceeded { flow });
        }
        (self.received, self.received_bytes) = (received, received_bytes);
        for record in records {
            self.window.receive(record.cost());
        }
        let is_awaited = |record: &Record| record.head.ack > AckLevel::Accepted;
        if let Some(last) = records.iter().rposition(is_awaited) {
            self.awaited = received - (records.len() - 1 - last) as u64;
        }
        Ok(())
    }

    /// Whether a large record has begun and not ended.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The link is gone, and with it the rest of a large record.
    pub(super) fn drop_begun(&mut self) {
        self.begun = None;
    }

    /// Memory taken for the body of a large record, in bytes.
    #[cfg(test)]
    pub(super) fn begun_capacity(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.body.capacity())
    }

    /// What counts as granted, in messages and bytes.
    #[cfg(test)]
    pub(super) fn grant(&self) -> (u64, u64) {
        (self.grant_messages, self.grant_bytes)
    }

    /// The last sequence received, and how many bytes of the body of the one after it.
    pub(super) fn place(&self) -> (u64, u64) {
        let begun = self.begun.as_ref();
        (
            self.received,
            begun.map_or(0, |begun| begun.body.len() as u64),
        )
    }

    /// A large record begins; its whole length must have been granted.
    pub(super) fn begin(
        &mut self,
        flow: u32,
        mut record: Record,
        length: u64,
    ) -> Result<(), ProtocolError> {
        if self.begun.is_some() {
            return Err(ProtocolError::Parts {
                flow,
                what: "a large message began before the last one ended",
            });
        }
        let piece = std::mem::take(&mut record.body);
        let needed = self.received_bytes.saturating_add(record.cost() + length);
        if self.received >= self.grant_messages || needed > self.grant_bytes {
            return Err(ProtocolError::CreditExceeded { flow });
        }
        self.begun = Some(Begun {
            record,
            length: length as usize,
            body: piece.to_vec(),
        });
        Ok(())
    }

    /// The next part of a large record; the record once it is whole.
    pub(super) fn go_on(
        &mut self,
        flow: u32,
        offset: u64,
        piece: &[u8],
    ) -> Result<Option<Record>, ProtocolError> {
        let refuse = |what| Err(ProtocolError::Parts { flow, what });
        let Some(begun) = &mut self.begun else {
            return refuse("a part of a message that has not begun");
        };
        let come = begun.body.len();
        if offset != come as u64 {
            return refuse("a part that overlaps the last one or leaves a gap");
        }
        if piece.len() > begun.length - come {
            return refuse("a part beyond the length that the message began with");
        }
        if begun.body.capacity() < come + piece.len() {
            // Memory follows what has come, not what the peer says will come.
            let room = (2 * begun.body.capacity()).clamp(come + piece.len(), begun.length);
            begun.body.reserve_exact(room - come);
        }
        begun.body.extend_from_slice(piece);
        if begun.body.len() < begun.length {
            return Ok(None);
        }
        Ok(self.begun.take().map(|begun| Record {
            body: begun.body.into(),
            ..begun.record
        }))
    }

    /// One copy is passed on or ended. Whether it was the last.
    pub(super) fn done(&mut self, sequence: u64) -> bool {
        let last = self.window.done(sequence);
        if last && !planted(Fault::WindowNotReturned) {
            self.regrant();
        }
        last
    }

    /// The same for `count` messages from `first` on. Of how many it was the last.
    pub(super) fn done_all(&mut self, first: u64, count: u64) -> u64 {
        let last = self.window.done_all(first, count);
        if last > 0 && !planted(Fault::WindowNotReturned) {
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

    /// Makes the window this small and takes back what is granted beyond it and not used. Whether there is something to
    /// be told to the sender.
    pub(super) fn revoke(&mut self, messages: u64, bytes: u64) -> bool {
        self.window_messages = messages;
        self.window_bytes = bytes;
        if self.revoking.is_some() {
            return false;
        }
        let wish = (
            (self.window.settled() + messages).clamp(self.received, self.grant_messages),
            (self.window.settled_bytes() + bytes).clamp(self.received_bytes, self.grant_bytes),
        );
        // What the sender was never told of needs no confirmation. It must not be told of it now either: an ack behind
        // the revoke would give more than was confirmed.
        let known = (
            self.acked
                .grant_messages
                .clamp(self.received, self.grant_messages),
            self.acked
                .grant_bytes
                .clamp(self.received_bytes, self.grant_bytes),
        );
        let target = (wish.0.min(known.0), wish.1.min(known.1));
        if target == known {
            (self.grant_messages, self.grant_bytes) = wish;
            return false;
        }
        (self.grant_messages, self.grant_bytes) = known;
        self.revoking = Some(target);
        true
    }

    /// The revoke that is not confirmed.
    pub(super) fn revoking(&self) -> Option<(u64, u64)> {
        self.revoking
    }

    /// The sender says how far it goes. `None` if it cannot be true, otherwise whether a revoke waited for it.
    pub(super) fn revoked(&mut self, messages: u64, bytes: u64) -> Option<bool> {
        if self.revoking.is_none() {
            return Some(false);
        }
        let received = self.received..=self.grant_messages;
        let received_bytes = self.received_bytes..=self.grant_bytes;
        if !received.contains(&messages) || !received_bytes.contains(&bytes) {
            return None;
        }
        self.revoking = None;
        (self.grant_messages, self.grant_bytes) = (messages, bytes);
        (self.acked.grant_messages, self.acked.grant_bytes) = (messages, bytes);
        self.regrant();
        Some(true)
    }

    /// What the sender is told that it may use: not what is being taken back.
    fn told(&self) -> (u64, u64) {
        self.revoking
            .unwrap_or((self.grant_messages, self.grant_bytes))
    }

    fn regrant(&mut self) {
        // A grant that crosses the revoke would make what the sender confirms mean nothing.
        if self.revoking.is_some() {
            return;
        }
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
            grant_messages: self.told().0,
            grant_bytes: self.told().1,
        }
    }

    pub(super) fn acked(&mut self, ack: FlowAck) {
        self.acked = ack;
    }

    /// Whether more is settled than the peer was told, and somebody may wait for that.
    pub(super) fn settled_is_awaited(&self) -> bool {
        self.window.settled() > self.acked.settled && self.awaited > self.acked.settled
    }

    /// Whether the sender runs short of credit and there is more to give.
    pub(super) fn is_short(&self) -> bool {
        let known = self.acked.grant_messages.saturating_sub(self.received);
        let known_bytes = self.acked.grant_bytes.saturating_sub(self.received_bytes);
        let (messages, bytes) = self.told();
        (messages > self.acked.grant_messages && known <= self.window_messages / 2)
            || (bytes > self.acked.grant_bytes && known_bytes <= self.window_bytes / 2)
    }
}
