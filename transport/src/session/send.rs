//! The sending end of one flow: what is queued, what is on its way, what the peer has taken over.

use super::event::Release;
use super::releases::ReleaseQueue;
use super::schedule::Turn;
use crate::link::LaneId;
use crate::planted::{Fault, planted};
use crate::wire::{AckLevel, Failure, FlowAck, Record};
use bytes::Bytes;
use std::collections::VecDeque;

/// A record between push and release. Positions are absolute since the flow began.
#[derive(Debug)]
struct Retained {
    /// Gone once its token is released.
    record: Option<Record>,
    token: u64,
    /// The flow's bytes up to and with this record.
    end_bytes: u64,
}

/// The sending end of a flow.
#[derive(Debug)]
pub(super) struct SendFlow {
    pub(super) definition: Bytes,
    pub(super) lane: LaneId,
    retained: VecDeque<Retained>,
    /// Sequence of the first retained record.
    base: u64,
    /// Sequence of the next record to write.
    next: u64,
    /// How much of the body of that record is written, where it goes in parts.
    begun: usize,
    /// Bytes of all records ever pushed.
    bytes: u64,
    received: u64,
    settled: u64,
    grant_messages: u64,
    grant_bytes: u64,
    /// Whether the peer was told of the flow in this incarnation.
    pub(super) opened: bool,
    /// Whether it stands in its lane's ready queue.
    pub(super) ready: bool,
    /// Its share of its lane.
    pub(super) turn: Turn,
    /// What waits with the owner beyond what is queued here, as it last said: messages, bytes, next.
    pub(super) wanted: Option<(u64, u64, u64)>,
    /// What the peer was last told that waits, until it grants more.
    pub(super) asked: Option<(u64, u64, u64)>,
}

impl SendFlow {
    pub(super) fn new(definition: Bytes, lane: LaneId) -> Self {
        Self {
            definition,
            lane,
            retained: VecDeque::new(),
            base: 1,
            next: 1,
            begun: 0,
            bytes: 0,
            received: 0,
            settled: 0,
            grant_messages: 0,
            grant_bytes: 0,
            opened: false,
            ready: false,
            turn: Turn::default(),
            wanted: None,
            asked: None,
        }
    }

    /// Sequence of the last record pushed.
    fn last(&self) -> u64 {
        self.base + self.retained.len() as u64 - 1
    }

    /// Pushed, received by the peer, settled by the peer.
    pub(super) fn positions(&self) -> (u64, u64, u64) {
        (self.last(), self.received, self.settled)
    }

    /// What was granted, in messages and bytes.
    #[cfg(test)]
    pub(super) fn grant(&self) -> (u64, u64) {
        (self.grant_messages, self.grant_bytes)
    }

    /// Sequence of the last record written.
    pub(super) fn written(&self) -> u64 {
        self.next - 1
    }

    /// Room in messages and in bytes.
    pub(super) fn room(&self) -> (u64, u64) {
        (
            self.grant_messages.saturating_sub(self.last()),
            self.grant_bytes.saturating_sub(self.bytes),
        )
    }

    pub(super) fn push(&mut self, record: Record, token: u64) -> Result<(), Record> {
        let cost = record.cost();
        let (messages, bytes) = self.room();
        if messages == 0 || bytes < cost {
            return Err(record);
        }
        self.bytes += cost;
        self.retained.push_back(Retained {
            record: Some(record),
            token,
            end_bytes: self.bytes,
        });
        Ok(())
    }

    /// The records from the next one to write that the grant covers and that go whole: none behind one whose body is
    /// longer than `whole`.
    pub(super) fn sendable(&self, whole: usize) -> impl Iterator<Item = &Record> + Clone {
        let skip = (self.next - self.base) as usize;
        let allowed = (self.grant_messages + 1).saturating_sub(self.next) as usize;
        let grant_bytes = self.grant_bytes;
        let last = self.retained.len().min(skip.saturating_add(allowed));
        self.retained
            .range(skip.min(last)..last)
            .take_while(move |retained| retained.end_bytes <= grant_bytes)
            .map_while(move |retained| {
                let record = retained.record.as_ref();
                record.filter(|record| record.body.len() <= whole)
            })
    }

    /// The next so many records to write, of those that are [`sendable`](Self::sendable).
    pub(super) fn to_send(&self, count: usize) -> impl Iterator<Item = &Record> + Clone {
        let skip = (self.next - self.base) as usize;
        let last = self.retained.len().min(skip + count);
        let records = self.retained.range(skip..last);
        records.filter_map(|retained| retained.record.as_ref())
    }

    /// The next record to write, where it goes in parts: its sequence, and how much of its body is written.
    pub(super) fn sendable_large(&self, whole: usize) -> Option<(u64, &Record, usize)> {
        let retained = self.front_sendable()?;
        let record = retained.record.as_ref()?;
        (record.body.len() > whole).then_some((self.next, record, self.begun))
    }

    fn front_sendable(&self) -> Option<&Retained> {
        let index = (self.next - self.base) as usize;
        let retained = self.retained.get(index)?;
        (self.next <= self.grant_messages && retained.end_bytes <= self.grant_bytes)
            .then_some(retained)
    }

    pub(super) fn has_sendable(&self) -> bool {
        self.front_sendable()
            .is_some_and(|retained| retained.record.is_some())
    }

    /// What is queued here and not covered by the grant, where that begins with the next record: messages, bytes, bytes
    /// of the first. What was pushed was granted once; by a peer that has forgotten it since.
    pub(super) fn uncovered(&self) -> Option<(u64, u64, u64)> {
        let index = (self.next - self.base) as usize;
        let first = self.retained.get(index)?;
        let cost = first.record.as_ref()?.cost();
        let waiting = (self.retained.len() - index) as u64;
        let bytes = self.bytes - (first.end_bytes - cost);
        (!self.has_sendable()).then_some((waiting, bytes, cost))
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.next += count as u64;
        self.assert_granted();
    }

    /// What is on its way was granted, in messages and in bytes (I1), in release builds too: a peer that gets more has
    /// no room for it and must cut the link.
    fn assert_granted(&self) {
        let last = self.next.checked_sub(1 + self.base);
        let written = last.and_then(|index| self.retained.get(index as usize));
        assert!(
            self.next <= self.grant_messages + 1
                && written.is_none_or(|written| written.end_bytes <= self.grant_bytes),
            "I1: a record was written that was not granted"
        );
    }

    /// `piece` more bytes of the body of the next record are written.
    pub(super) fn sent_piece(&mut self, piece: usize) {
        self.begun += piece;
        let index = (self.next - self.base) as usize;
        let record = self.retained.get(index).and_then(|r| r.record.as_ref());
        if record.is_none_or(|record| self.begun >= record.body.len()) {
            self.begun = 0;
            self.next += 1;
        }
        self.assert_granted();
    }

    /// How much is written of the body of the record behind the last whole one.
    pub(super) fn begun(&self) -> u64 {
        self.begun as u64
    }

    /// Applies positions from the peer. `None` if they cannot be true; otherwise whether there is more credit, or
    /// more is passed on.
    pub(super) fn ack(
        &mut self,
        flow: u32,
        ack: &FlowAck,
        releases: &mut ReleaseQueue,
    ) -> Option<bool> {
        if ack.received >= self.next || ack.settled > ack.received {
            return None;
        }
        if ack.received > self.received {
            let from = self.received.max(self.base - 1) + 1;
            self.received = ack.received;
            self.release_range(
                flow,
                from,
                ack.received,
                |level| level <= AckLevel::Accepted,
                releases,
            );
        }
        let passed_on = ack.settled > self.settled;
        if passed_on {
            let from = self.settled.max(self.base - 1) + 1;
            self.settled = ack.settled;
            self.release_range(flow, from, ack.settled, |_| true, releases);
        }
        let received = (self.received + 1).saturating_sub(self.base) as usize;
        let ended = self.retained.iter().take(received);
        let ended = ended.take_while(|retained| retained.record.is_none());
        let ended = ended.count();
        self.retained.drain(..ended);
        self.base += ended as u64;
        let granted =
            ack.grant_messages > self.grant_messages || ack.grant_bytes > self.grant_bytes;
        if granted {
            self.asked = None;
        }
        let more = granted || passed_on;
        if planted(Fault::LostGrant) && ack.grant_messages.is_multiple_of(5) {
            return Some(more);
        }
        self.grant_messages = self.grant_messages.max(ack.grant_messages);
        self.grant_bytes = self.grant_bytes.max(ack.grant_bytes);
        Some(more)
    }

    /// The peer takes back what was granted beyond these positions. What was pushed is kept: where that leaves the
    /// grant, in messages and in bytes. A repetition finds nothing left to take.
    pub(super) fn revoke(&mut self, messages: u64, bytes: u64) -> (u64, u64) {
        self.grant_messages = self.grant_messages.min(messages.max(self.last()));
        self.grant_bytes = self.grant_bytes.min(bytes.max(self.bytes));
        (self.grant_messages, self.grant_bytes)
    }

    fn release_range(
        &mut self,
        flow: u32,
        from: u64,
        to: u64,
        due: impl Fn(AckLevel) -> bool,
        releases: &mut ReleaseQueue,
    ) {
        if to < from {
            return;
        }
        let start = (from - self.base) as usize;
        let end = (to + 1 - self.base) as usize;
        for retained in self.retained.range_mut(start..end) {
            if retained
                .record
                .as_ref()
                .is_some_and(|record| due(record.head.ack))
            {
                retained.record = None;
                releases.push(Release {
                    flow,
                    token: retained.token,
                    result: Ok(()),
                });
            }
        }
    }

    /// The peer says that one message ended badly.
    pub(super) fn failed(
        &mut self,
        flow: u32,
        sequence: u64,
        failure: Failure,
        releases: &mut ReleaseQueue,
    ) {
        if sequence < self.base || sequence >= self.next {
            return;
        }
        let index = (sequence - self.base) as usize;
        if let Some(retained) = self.retained.get_mut(index)
            && retained.record.take().is_some()
        {
            releases.push(Release {
                flow,
                token: retained.token,
                result: Err(failure),
            });
        }
    }

    /// The owner does not wait for the end of a record any more: it is dropped here, and nothing is released. `false` if it is not
    /// here, or the peer has not received it: then it may have to be written again.
    pub(super) fn give_up(&mut self, sequence: u64, token: u64) -> bool {
        if sequence < self.base || sequence > self.received {
            return false;
        }
        // Sequences are others since the peer forgot the flow; tokens are not.
        let retained = self.retained.get_mut((sequence - self.base) as usize);
        retained
            .filter(|retained| retained.token == token)
            .is_some_and(|retained| retained.record.take().is_some())
    }

    /// The link is back: go on behind what the peer has received. Nothing is released yet: failures that were cut
    /// off come again first. `false` if the positions cannot be true.
    pub(super) fn resume(&mut self, ack: &FlowAck) -> bool {
        if ack.received >= self.next || ack.received < self.received {
            return false;
        }
        self.opened = true;
        self.next = ack.received + 1;
        if planted(Fault::ResumeOffByOne) && self.next > self.base {
            self.next -= 1;
        }
        // Of a record that went in parts the peer has kept nothing: it begins again.
        self.begun = 0;
        self.grant_messages = self.grant_messages.max(ack.grant_messages);
        self.grant_bytes = self.grant_bytes.max(ack.grant_bytes);
        true
    }

    /// The peer never learned of the flow: begin again, with everything still here.
    pub(super) fn rewind(&mut self) {
        self.opened = false;
        self.next = self.received + 1;
        self.begun = 0;
    }

    /// Whether nothing is queued, on its way, or held by the peer.
    pub(super) fn is_idle(&self) -> bool {
        self.retained.is_empty() && self.settled == self.received && self.received + 1 == self.next
    }

    /// How many records are retained.
    pub(super) fn retained(&self) -> usize {
        self.retained
            .iter()
            .filter(|retained| retained.record.is_some())
            .count()
    }

    /// The peer forgot the flow. Returns how many messages it had taken over without passing them on; what it
    /// had not taken over stays queued under new sequences, except what must not be sent twice.
    pub(super) fn restart(&mut self, flow: u32, releases: &mut ReleaseQueue) -> u64 {
        let received = self.received;
        let written = self.next;
        let first = self.base;
        let mut lost = received - self.settled;
        let mut kept = VecDeque::new();
        let mut bytes = 0;
        for (index, mut retained) in self.retained.drain(..).enumerate() {
            let sequence = first + index as u64;
            let Some(record) = retained.record.take() else {
                continue;
            };
            if sequence <= received {
                // Still owned here: its publisher waits for more than the peer's memory.
                lost -= u64::from(sequence > self.settled);
            } else if sequence < written && record.head.ack == AckLevel::None {
                lost += 1;
                releases.push(Release {
                    flow,
                    token: retained.token,
                    result: Err(Failure::PeerDied),
                });
                continue;
            }
            let record = if sequence < written {
                repeated(record)
            } else {
                record
            };
            bytes += record.cost();
            kept.push_back(Retained {
                record: Some(record),
                token: retained.token,
                end_bytes: bytes,
            });
        }
        let definition = std::mem::take(&mut self.definition);
        *self = Self {
            retained: kept,
            bytes,
            turn: self.turn.restarted(),
            wanted: self.wanted.or(self.asked),
            ..Self::new(definition, self.lane)
        };
        lost
    }

    /// Ends the flow: what the peer never took over, and how many messages it took over without passing on. What
    /// was written and must not come twice counts as lost too: nobody knows whether it arrived.
    pub(super) fn abandon(
        mut self,
        flow: u32,
        releases: &mut ReleaseQueue,
    ) -> (Vec<(Record, u64)>, u64) {
        let mut lost = self.received - self.settled;
        let mut records = Vec::new();
        for (index, mut retained) in self.retained.drain(..).enumerate() {
            let Some(record) = retained.record.take() else {
                continue;
            };
            let sequence = self.base + index as u64;
            lost -= u64::from(sequence <= self.received && sequence > self.settled);
            if record.head.ack == AckLevel::None && sequence < self.next {
                lost += 1;
                releases.push(Release {
                    flow,
                    token: retained.token,
                    result: Err(Failure::PeerDied),
                });
            } else if sequence < self.next {
                records.push((repeated(record), retained.token));
            } else {
                records.push((record, retained.token));
            }
        }
        (records, lost)
    }
}

/// A record that the peer may have stored: who stores it next can look whether it has.
fn repeated(mut record: Record) -> Record {
    if record.head.ack == AckLevel::Stored {
        record.extra.get_or_insert_default().repeat = true;
    }
    record
}
