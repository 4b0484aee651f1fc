//! How a link begins and ends: hello, positions, live, goodbye.

use super::config::Peer;
use super::core::{Session, SessionState, data_lane};
use super::error::ProtocolError;
use super::event::Event;
use super::round_trip::RoundTrip;
use crate::planted::{Fault, planted};
use crate::wire::control::CONTROL_FRAME_MAX;
use crate::wire::frame::DATA_FRAME_MAX;
use crate::wire::{BatchDecoder, BatchEncoder, FlowAck, FrameReader, GoodbyeCode, Hello};
use mcpbus_actors::Time;

impl Session {
    /// The dialer's link is up: say hello.
    pub fn link_up(&mut self, now: Time) {
        self.start_link(now);
        self.link += 1;
        self.state = SessionState::Greeting;
        self.hello = Some(self.make_hello());
    }

    /// The acceptor's link is up, and the dialer's hello came on it. The owner found this session by it. `incarnation`
    /// is used if the peer does not go on with the session's own: random, not 0.
    pub fn accept(
        &mut self,
        hello: Hello,
        incarnation: u64,
        now: Time,
    ) -> Result<(), ProtocolError> {
        let same_peer = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.id == hello.id && peer.epoch == hello.epoch);
        let resumed = same_peer && hello.incarnation == self.incarnation;
        if resumed && hello.link <= self.link {
            return Err(ProtocolError::Stale {
                link: hello.link,
                newest: self.link,
            });
        }
        self.start_link(now);
        self.link = hello.link;
        let known = self.peer.is_some();
        let died = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.epoch != hello.epoch);
        self.agree(&hello)?;
        if same_peer && hello.incarnation == 0 && !self.confirmed {
            // The answer to its first hello was cut off: neither end has taken anything from the other.
            self.signals.resume();
            self.failures.resume();
            // What was closed meanwhile the peer never heard of.
            self.to_close.clear();
            for flow in self.send_flows.values_mut() {
                flow.rewind();
            }
            self.hello = Some(self.make_hello());
            self.go_live(true);
            return Ok(());
        }
        if !resumed {
            self.incarnation = incarnation;
            self.confirmed = false;
            if known {
                self.reset(died);
            }
        }
        self.hello = Some(self.make_hello());
        self.greeted(resumed);
        Ok(())
    }

    /// The link is gone. What was on its way is kept until the next link says what arrived.
    pub fn link_down(&mut self) {
        if self.state != SessionState::Leaving {
            self.state = SessionState::Down;
        }
        self.ack_at = None;
        self.ack_due = false;
        self.silent = false;
        // The sender begins again with what did not become whole.
        for flow in self.receive_flows.values_mut() {
            flow.drop_begun();
        }
    }

    /// Says goodbye: nothing else is written from here on, and the link can be closed once this is.
    pub fn leave(&mut self, code: GoodbyeCode, reason: &str) {
        self.goodbye = Some((code, reason.to_owned()));
        self.ack_due = self.state == SessionState::Live && !self.dirty.is_empty();
        self.state = SessionState::Leaving;
    }

    pub(super) fn start_link(&mut self, now: Time) {
        self.readers = (0..=self.lanes)
            .map(|lane| {
                FrameReader::new(if lane == 0 {
                    CONTROL_FRAME_MAX
                } else {
                    DATA_FRAME_MAX
                })
            })
            .collect();
        self.decoders = (0..=self.lanes).map(|_| BatchDecoder::new()).collect();
        self.encoders = (0..=self.lanes).map(|_| BatchEncoder::new()).collect();
        self.pong = None;
        self.ping_due = false;
        self.round_trip = RoundTrip::default();
        // What a peer did not confirm it is told again.
        self.to_confirm.clear();
        self.silent = false;
        self.last_heard = now;
        self.next_ping = now + self.config.heartbeat;
    }

    pub(super) fn make_hello(&self) -> Hello {
        Hello {
            versions: self.versions,
            role: self.local.role,
            id: self.local.id,
            epoch: self.local.epoch,
            name: self.local.name.clone(),
            session: self.number,
            incarnation: self.incarnation,
            link: self.link,
            lanes: self.lanes,
            message_max: self.config.message_max,
            flows_max: self.config.flows_max,
        }
    }

    pub(super) fn agree(&mut self, hello: &Hello) -> Result<(), ProtocolError> {
        let newest = self.versions.1.min(hello.versions.1);
        if newest < self.versions.0 || newest < hello.versions.0 {
            return Err(ProtocolError::Version {
                peer: hello.versions,
                own: self.versions,
            });
        }
        self.version = newest;
        // Flows are pinned to lanes for the life of the session, so the number is fixed by the first hello.
        if self.peer.is_none() {
            self.lanes = self.lanes.min(hello.lanes).max(1);
            self.ready.truncate(usize::from(self.lanes));
            let lanes = self.lanes;
            for ready in &mut self.ready {
                ready.clear();
            }
            for (&id, flow) in &mut self.send_flows {
                flow.lane = data_lane(id, lanes);
                flow.ready = false;
            }
        }
        self.peer_message_max = hello.message_max;
        self.peer_flows_max = hello.flows_max;
        self.peer = Some(Peer {
            role: hello.role,
            id: hello.id,
            epoch: hello.epoch,
            name: hello.name.clone(),
        });
        Ok(())
    }

    /// Both hellos are known: wait for positions, or go.
    pub(super) fn greeted(&mut self, resumed: bool) {
        if resumed {
            self.state = SessionState::Resuming;
            self.resume = true;
            // The peer's positions say which of the flows that were closed it still has open.
            self.to_close.clear();
            for flow in self.send_flows.values_mut() {
                flow.opened = false;
            }
        } else {
            self.go_live(false);
        }
    }

    pub(super) fn go_live(&mut self, resumed: bool) {
        self.state = SessionState::Live;
        // How long the way is should be known before the first heartbeat.
        self.ping_due = true;
        self.to_open.clear();
        let mut revoking: Vec<u32> = self.receive_flows.keys().copied().collect();
        revoking.retain(|id| self.is_revoking(*id));
        revoking.sort_unstable();
        self.to_revoke = revoking.into();
        let mut ids: Vec<u32> = self.send_flows.keys().copied().collect();
        ids.sort_unstable();
        for ready in &mut self.ready {
            ready.clear();
        }
        for id in ids {
            let Some(flow) = self.send_flows.get_mut(&id) else {
                continue;
            };
            if !flow.opened {
                self.to_open.push_back(id);
            }
            flow.ready = false;
            flow.turn = flow.turn.restarted();
            // What was asked may have been cut off, and its owner does not ask twice.
            flow.wanted = flow.wanted.or(flow.asked);
            if flow.wanted.is_some() && !self.to_want.contains(&id) {
                self.to_want.push_back(id);
            }
            self.make_ready(id);
            self.want_uncovered(id);
        }
        self.events.push_back(Event::Up { resumed });
    }

    pub(super) fn handle_hello(&mut self, hello: &Hello) -> Result<(), ProtocolError> {
        let died = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.epoch != hello.epoch || peer.id != hello.id);
        let known = self.peer.is_some();
        let lanes = self.lanes;
        if hello.link != self.link {
            return Err(ProtocolError::Unexpected {
                what: "the hello of another link",
            });
        }
        self.agree(hello)?;
        if self.lanes != lanes {
            self.readers.truncate(usize::from(self.lanes) + 1);
        }
        let same = !died && hello.incarnation == self.incarnation;
        let resumed = known && self.incarnation != 0 && (same || planted(Fault::NoEpochCheck));
        self.incarnation = hello.incarnation;
        if known && !resumed {
            self.reset(died);
        }
        self.greeted(resumed);
        Ok(())
    }

    pub(super) fn ack_control(&mut self, signals: u64, failures: u64) -> Result<(), ProtocolError> {
        if !self.signals.ack(signals) || !self.failures.ack(failures) {
            return Err(ProtocolError::Unexpected {
                what: "an ack of a control message that was never sent",
            });
        }
        Ok(())
    }

    pub(super) fn handle_resume(
        &mut self,
        flows: &[FlowAck],
        last: bool,
        now: Time,
    ) -> Result<(), ProtocolError> {
        for ack in flows {
            match self.send_flows.get_mut(&ack.flow) {
                Some(flow) => {
                    if !flow.resume(ack) {
                        return Err(ProtocolError::Flow {
                            what: "resumes what was never sent",
                            flow: ack.flow,
                        });
                    }
                    // The ack that said so may have been cut off, and its repetition will say nothing new.
                    self.events.push_back(Event::Credit { flow: ack.flow });
                }
                // Closed while the peer was away: it must not wait for more.
                None => self.to_close.push_back((ack.flow, ack.received, 0)),
            }
        }
        if last {
            if !planted(Fault::SignalLost) {
                self.signals.resume();
            }
            if !planted(Fault::FailureLost) {
                self.failures.resume();
            }
            let mut ids: Vec<u32> = self.receive_flows.keys().copied().collect();
            ids.sort_unstable();
            for id in ids {
                self.mark(id, true, now);
            }
            self.go_live(true);
        }
        Ok(())
    }
}
