//! What the owner of a session can do with its flows.

use super::core::Session;
use super::error::PushError;
use super::receive::ReceiveFlow;
use super::send::SendFlow;
use crate::wire::{Failure, Record};
use bytes::Bytes;
use mcpbus_actors::Time;
use std::collections::VecDeque;

/// A sending flow that takes several records, one after the other.
#[derive(Debug)]
pub struct Pushing<'a> {
    flow: u32,
    send: &'a mut SendFlow,
    ready: &'a mut VecDeque<u32>,
}

impl Pushing<'_> {
    /// As [`Session::room`].
    #[inline]
    pub fn room(&self) -> (u64, u64) {
        self.send.room()
    }

    /// As [`Session::push`].
    #[inline]
    pub fn push(&mut self, record: Record, token: u64) -> Result<(), PushError> {
        self.send.push(record, token).map_err(PushError::NoCredit)?;
        if !self.send.ready {
            self.send.ready = true;
            self.ready.push_back(self.flow);
        }
        Ok(())
    }
}

impl Session {
    /// Opens a sending flow. It has no credit before the peer grants some. `None` at the limit of flows.
    pub fn open_flow(&mut self, definition: Bytes) -> Option<u32> {
        if self.send_flows.len() >= self.config.flows_max.min(self.peer_flows_max) as usize {
            return None;
        }
        let id = self.next_flow;
        self.next_flow = self.next_flow.wrapping_add(1);
        let lane = self.lane_of(id);
        self.send_flows.insert(id, SendFlow::new(definition, lane));
        self.to_open.push_back(id);
        Some(id)
    }

    /// Closes a sending flow of which nothing is under way; otherwise `false` and nothing happens.
    pub fn close_flow(&mut self, flow: u32) -> bool {
        if !self.send_flows.get(&flow).is_some_and(SendFlow::is_idle) {
            return false;
        }
        self.abandon_flow(flow);
        true
    }

    /// Room of a sending flow in messages and bytes.
    #[inline]
    pub fn room(&self, flow: u32) -> (u64, u64) {
        self.send_flows.get(&flow).map_or((0, 0), SendFlow::room)
    }

    /// Whether a sending flow takes a record of this cost now. If not, an
    /// [`Event::Credit`](super::Event::Credit) will follow.
    #[inline]
    pub fn admits(&self, flow: u32, cost: u64) -> bool {
        let (messages, bytes) = self.room(flow);
        messages > 0 && bytes >= cost
    }

    /// Queues a record. `token` comes back in its [`Release`](super::Release).
    #[inline]
    pub fn push(&mut self, flow: u32, record: Record, token: u64) -> Result<(), PushError> {
        let Some(mut pushing) = self.pushing(flow) else {
            return Err(PushError::NoFlow(record));
        };
        pushing.push(record, token)
    }

    /// A sending flow to queue several records on, for less than [`push`](Self::push) takes for each of them.
    #[inline]
    pub fn pushing(&mut self, flow: u32) -> Option<Pushing<'_>> {
        let send = self.send_flows.get_mut(&flow)?;
        let ready = &mut self.ready[usize::from(send.lane.number()) - 1];
        Some(Pushing { flow, send, ready })
    }

    /// Does not wait any more for the end of a record that the peer has received, by its sequence and token: it is dropped, and
    /// there will be no [`Release`](super::Release) for it. `false` if it is not there, or not known to be received; then nothing
    /// happens. The sequence of a record is the first of [`sent`](Self::sent) when it was pushed.
    pub fn give_up(&mut self, flow: u32, sequence: u64, token: u64) -> bool {
        let send = self.send_flows.get_mut(&flow);
        send.is_some_and(|send| send.give_up(sequence, token))
    }

    /// Tells the peer that records wait for credit on a flow: how many, how heavy, and how heavy the first.
    pub fn want(&mut self, flow: u32, messages: u64, bytes: u64, next: u64) {
        if let Some(send) = self.send_flows.get_mut(&flow) {
            if send.wanted.is_none() {
                self.to_want.push_back(flow);
            }
            send.wanted = Some((messages, bytes, next));
        }
    }

    /// Asks for credit for what is queued here without any: its owner has handed it over and does not ask.
    pub(super) fn want_uncovered(&mut self, flow: u32) {
        if let Some(send) = self.send_flows.get_mut(&flow)
            && send.wanted.is_none()
            && send.uncovered().is_some()
        {
            // How much is seen when it is written.
            self.want(flow, 0, 0, 0);
        }
    }

    /// How many records are retained on a sending flow, for the ledger's walk.
    pub fn retained(&self, flow: u32) -> usize {
        self.send_flows.get(&flow).map_or(0, SendFlow::retained)
    }

    /// Whether every record pushed on every flow has been taken over and passed on by the peer.
    pub fn is_settled(&self) -> bool {
        self.send_flows.values().all(SendFlow::is_idle)
    }

    /// Whether every record pushed on every flow has been taken over by the peer, or has ended.
    pub fn is_taken_over(&self) -> bool {
        self.send_flows.values().all(|flow| flow.retained() == 0)
    }

    /// Sets the window of a receiving flow: what may be held or on its way, in messages and bytes.
    pub fn set_window(&mut self, flow: u32, messages: u64, bytes: u64, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.set_window(messages, bytes);
            let short = receive.is_short();
            self.mark(flow, short, now);
        }
    }

    /// Makes the window of a receiving flow this small, and takes back what was granted beyond it and is not used. What
    /// was granted counts until the peer confirms, with [`Event::Revoked`](super::Event::Revoked). Whether it is asked
    /// to: not if there is nothing to take back, or an earlier revoke is not confirmed.
    pub fn revoke(&mut self, flow: u32, messages: u64, bytes: u64) -> bool {
        let receive = self.receive_flows.get_mut(&flow);
        let begun = receive.is_some_and(|receive| receive.revoke(messages, bytes));
        if begun {
            self.to_revoke.push_back(flow);
        }
        begun
    }

    /// Whether the peer has not confirmed yet what was revoked of a receiving flow.
    pub fn is_revoking(&self, flow: u32) -> bool {
        let receive = self.receive_flows.get(&flow);
        receive.is_some_and(|receive| receive.revoking().is_some())
    }

    /// What a receiving flow may hold at most from here: granted and not settled, in messages and bytes.
    pub fn exposure(&self, flow: u32) -> (u64, u64) {
        self.receive_flows
            .get(&flow)
            .map_or((0, 0), ReceiveFlow::exposure)
    }

    /// Messages and bytes that are held of a receiving flow.
    pub fn held(&self, flow: u32) -> (u64, u64) {
        self.receive_flows
            .get(&flow)
            .map_or((0, 0), ReceiveFlow::held)
    }

    /// The definition of a receiving flow.
    pub fn definition(&self, flow: u32) -> Option<&Bytes> {
        self.receive_flows
            .get(&flow)
            .map(|receive| &receive.definition)
    }

    /// A received message now exists in `copies` places, at least one, each of which must be [`done`](Self::done).
    #[inline]
    pub fn hold(&mut self, flow: u32, sequence: u64, copies: u32) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.window.hold(sequence, copies);
        }
    }

    /// In how many places a received message exists.
    pub fn copies(&self, flow: u32, sequence: u64) -> u32 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.copies(sequence))
    }

    /// Whether a received message ever existed in several places.
    pub fn was_split(&self, flow: u32, sequence: u64) -> bool {
        self.receive_flows
            .get(&flow)
            .is_some_and(|receive| receive.window.was_split(sequence))
    }

    /// One copy of a received message was passed on or has ended. Whether it was the last one.
    #[inline]
    pub fn done(&mut self, flow: u32, sequence: u64, now: Time) -> bool {
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return false;
        };
        let last = receive.done(sequence);
        if last {
            let urgent = receive.settled_is_awaited() || receive.is_short();
            if !std::mem::replace(&mut receive.dirty, true) {
                self.dirty.push_back(flow);
            }
            self.ack_soon(urgent, now);
        }
        last
    }

    /// As [`done`](Self::done) for `count` messages from `first` on, each of which exists. Of how many it was the last copy.
    #[inline]
    pub fn done_all(&mut self, flow: u32, first: u64, count: u64, now: Time) -> u64 {
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return 0;
        };
        let last = receive.done_all(first, count);
        if last > 0 {
            let urgent = receive.settled_is_awaited() || receive.is_short();
            if !std::mem::replace(&mut receive.dirty, true) {
                self.dirty.push_back(flow);
            }
            self.ack_soon(urgent, now);
        }
        last
    }

    /// Up to where all messages of a receiving flow are settled.
    pub fn settled(&self, flow: u32) -> u64 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.settled())
    }

    /// What all settled messages of a receiving flow weighed, in bytes.
    pub fn settled_bytes(&self, flow: u32) -> u64 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.settled_bytes())
    }

    /// How many received messages of a flow still exist here, counted one by one.
    pub fn unfinished(&self, flow: u32) -> u64 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.unfinished())
    }

    /// Positions of a sending flow: pushed, received by the peer, settled by the peer.
    pub fn sent(&self, flow: u32) -> (u64, u64, u64) {
        self.send_flows
            .get(&flow)
            .map_or((0, 0, 0), SendFlow::positions)
    }

    /// A received message ended badly; the peer is told. [`done`](Self::done) is still to be called.
    pub fn fail(&mut self, flow: u32, sequence: u64, failure: Failure, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.failures.push((sequence, failure));
            self.mark(flow, true, now);
        }
    }
}
