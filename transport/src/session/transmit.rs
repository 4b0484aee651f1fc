//! What a session writes, and when it wants to be called.

use super::core::{Session, SessionState};
use super::event::Event;
use super::receive::ReceiveFlow;
use crate::link::LaneId;
use crate::planted::{Fault, planted};
use crate::wire::control::ENTRIES_MAX;
use crate::wire::{Control, FlowAck};
use bytes::BytesMut;
use mcpbus_actors::Time;

impl Session {
    /// Appends frames for a lane to `out`, about `budget` bytes at most. Whether anything was written; call again
    /// until nothing is.
    pub fn transmit(&mut self, lane: LaneId, budget: usize, now: Time, out: &mut BytesMut) -> bool {
        let before = out.len();
        if lane.is_control() {
            self.transmit_control(budget, now, out);
        } else {
            self.transmit_data(lane, budget, now, out);
        }
        out.len() > before
    }

    /// Whether there is something to write on a lane now.
    pub fn wants_transmit(&self, lane: LaneId, now: Time) -> bool {
        if !lane.is_control() {
            return self.state == SessionState::Live
                && self
                    .ready
                    .get(usize::from(lane.number()) - 1)
                    .is_some_and(|ready| !ready.is_empty());
        }
        match self.state {
            SessionState::Down => false,
            SessionState::Leaving => self.goodbye.is_some(),
            SessionState::Greeting => self.hello.is_some(),
            SessionState::Resuming => {
                self.hello.is_some() || self.resume || self.pong.is_some() || self.ping_due
            }
            SessionState::Live => {
                self.hello.is_some()
                    || self.resume
                    || self.pong.is_some()
                    || self.ping_due
                    || !self.to_open.is_empty()
                    || !self.to_close.is_empty()
                    || !self.to_want.is_empty()
                    || !self.to_revoke.is_empty()
                    || !self.to_confirm.is_empty()
                    || self.ack_due
                    || self.ack_at.is_some_and(|at| at <= now)
                    || self.signals.has_next()
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if a link is up.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.state {
            SessionState::Down | SessionState::Leaving => None,
            _ => {
                let dead = self.last_heard + self.config.dead_after;
                let mut next = if self.silent {
                    None
                } else {
                    Some(self.next_ping.min(dead))
                };
                // Acks are written on a live session only; once due they wait for the lane, not for the clock.
                if let Some(at) = self
                    .ack_at
                    .filter(|_| self.state == SessionState::Live && !self.ack_due)
                {
                    next = Some(next.map_or(at, |earlier| earlier.min(at)));
                }
                next
            }
        }
    }

    /// The time of [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if matches!(self.state, SessionState::Down | SessionState::Leaving) {
            return;
        }
        if now >= self.last_heard + self.config.dead_after && !self.silent {
            self.silent = true;
            self.events.push_back(Event::Silent);
        }
        self.ack_due |= self.ack_at.is_some_and(|at| at <= now);
        if now >= self.next_ping {
            self.ping_due = self.state != SessionState::Greeting;
            self.next_ping = now + self.config.heartbeat;
        }
    }

    fn transmit_control(&mut self, budget: usize, now: Time, out: &mut BytesMut) {
        let version = self.version;
        if self.state == SessionState::Leaving {
            // The peer must know who leaves.
            if let Some(hello) = self.hello.take() {
                write(version, &Control::Hello(hello), out);
            }
            // What was settled before the goodbye is known before it.
            if std::mem::take(&mut self.ack_due) {
                self.encode_acks(out);
            }
            if let Some((code, reason)) = self.goodbye.take() {
                write(version, &Control::Goodbye { code, reason }, out);
            }
            return;
        }
        if self.state == SessionState::Down {
            return;
        }
        if let Some(hello) = self.hello.take() {
            write(version, &Control::Hello(hello), out);
        }
        if self.state == SessionState::Greeting {
            return;
        }
        if std::mem::take(&mut self.resume) {
            self.encode_resume(out);
        }
        if let Some(nonce) = self.pong.take() {
            write(version, &Control::Pong { nonce }, out);
        }
        if std::mem::take(&mut self.ping_due) {
            write(
                version,
                &Control::Ping {
                    nonce: self.round_trip.ping(now),
                },
                out,
            );
        }
        #[cfg(test)]
        if std::mem::take(&mut self.newer) {
            write(version, &Control::Newer, out);
        }
        if self.state == SessionState::Live {
            // A signal overtakes no ack: what was settled before the end of a subscription is known before it.
            self.ack_due |= self.ack_at.is_some() && self.signals.has_next();
            self.transmit_flows(now, out);
            while out.len() < budget {
                let Some((sequence, payload)) = self.signals.next() else {
                    break;
                };
                write(version, &Control::Signal { sequence, payload }, out);
            }
        }
    }

    fn encode_resume(&mut self, out: &mut BytesMut) {
        let (version, link) = (self.version, self.link);
        let mut flows: Vec<FlowAck> = self
            .receive_flows
            .iter()
            .map(|(&id, flow)| flow.positions(id))
            .collect();
        flows.sort_unstable_by_key(|ack| ack.flow);
        if planted(Fault::AckOfUnreceived) {
            flows.iter_mut().for_each(|ack| ack.received += 1);
        }
        let (signals, failures) = (self.signals.received, self.failures.received);
        let mut parts = flows.chunks(ENTRIES_MAX as usize).peekable();
        if parts.peek().is_none() {
            write(
                version,
                &Control::Resume {
                    link,
                    flows: Vec::new(),
                    signals,
                    failures,
                    last: true,
                },
                out,
            );
        }
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            write(
                version,
                &Control::Resume {
                    link,
                    flows: part.to_vec(),
                    signals,
                    failures,
                    last,
                },
                out,
            );
        }
        for ack in flows {
            if let Some(flow) = self.receive_flows.get_mut(&ack.flow) {
                flow.acked(ack);
            }
        }
    }

    fn transmit_flows(&mut self, now: Time, out: &mut BytesMut) {
        let (version, link) = (self.version, self.link);
        while let Some(id) = self.to_open.pop_front() {
            if let Some(flow) = self.send_flows.get_mut(&id) {
                flow.opened = true;
                write(
                    version,
                    &Control::Open {
                        flow: id,
                        definition: flow.definition.clone(),
                    },
                    out,
                );
            }
        }
        while let Some((flow, last, begun)) = self.to_close.pop_front() {
            write(version, &Control::Close { flow, last, begun }, out);
        }
        if self.ack_due || self.ack_at.is_some_and(|at| at <= now) {
            self.encode_acks(out);
        }
        self.encode_revokes(out);
        while let Some(id) = self.to_want.pop_front() {
            if let Some(flow) = self.send_flows.get_mut(&id)
                && let Some((mut messages, mut bytes, mut next)) = flow.wanted.take()
            {
                flow.asked = Some((messages, bytes, next));
                // What is queued here goes before what waits with the owner.
                if let Some((queued, queued_bytes, first)) = flow.uncovered() {
                    messages += queued;
                    bytes += queued_bytes;
                    next = first;
                }
                write(
                    version,
                    &Control::Pending {
                        link,
                        flow: id,
                        messages,
                        bytes,
                        next,
                    },
                    out,
                );
            }
        }
    }

    fn encode_acks(&mut self, out: &mut BytesMut) {
        let (version, link) = (self.version, self.link);
        self.ack_at = None;
        self.ack_due = false;
        let mut acks = Vec::with_capacity(self.dirty.len());
        while let Some(id) = self.dirty.pop_front() {
            let Some(flow) = self.receive_flows.get_mut(&id) else {
                continue;
            };
            if !flow.failures.is_empty() {
                if self.failures.len() >= self.config.signals_max {
                    // The peer does not take failures; what they belong to stays unacked and bounded by credit.
                    self.dirty.push_front(id);
                    break;
                }
                for messages in flow.failures.chunks(ENTRIES_MAX as usize) {
                    self.failures.push((id, messages.to_vec()));
                }
                flow.failures.clear();
            }
            flow.dirty = false;
            let ack = flow.positions(id);
            flow.acked(ack);
            acks.push(ack);
        }
        while let Some((sequence, (flow, messages))) = self.failures.next() {
            write(
                version,
                &Control::Failed {
                    sequence,
                    flow,
                    messages,
                },
                out,
            );
        }
        let (signals, failures) = (self.signals.received, self.failures.received);
        if acks.is_empty() && (signals > self.signals.acked || failures > self.failures.acked) {
            write(
                version,
                &Control::Ack {
                    link,
                    signals,
                    failures,
                    flows: Vec::new(),
                },
                out,
            );
        }
        for part in acks.chunks(ENTRIES_MAX as usize) {
            write(
                version,
                &Control::Ack {
                    link,
                    signals,
                    failures,
                    flows: part.to_vec(),
                },
                out,
            );
        }
        self.signals.acked = signals;
        self.failures.acked = failures;
    }

    fn encode_revokes(&mut self, out: &mut BytesMut) {
        let (version, link) = (self.version, self.link);
        while let Some((flow, messages, bytes)) = self.to_confirm.pop_front() {
            let revoked = Control::Revoked {
                link,
                flow,
                messages,
                bytes,
            };
            write(version, &revoked, out);
        }
        while let Some(flow) = self.to_revoke.pop_front() {
            let receive = self.receive_flows.get(&flow);
            if let Some((messages, bytes)) = receive.and_then(ReceiveFlow::revoking) {
                let revoke = Control::Revoke {
                    link,
                    flow,
                    messages,
                    bytes,
                };
                write(version, &revoke, out);
            }
        }
    }
}

/// Appends a control frame, unless the version in use does not know its kind.
fn write(version: u8, control: &Control, out: &mut BytesMut) {
    if control.kind().since() <= version {
        control.encode(out);
    }
}
