//! The peer's frames and what they change.

use super::core::{Session, SessionState};
use super::error::ProtocolError;
use super::event::Event;
use super::receive::ReceiveFlow;
use crate::link::LaneId;
use crate::wire::{Control, FlowAck};
use bytes::Bytes;
use mcpbus_actors::Time;

impl Session {
    /// Bytes came on a lane. After an error the link must be closed. Data lanes are read only while the session
    /// [is live](Self::is_live): a peer that is live first may be quick, and the link holds its bytes meanwhile.
    pub fn receive(&mut self, lane: LaneId, chunk: Bytes, now: Time) -> Result<(), ProtocolError> {
        if self.readers.is_empty() {
            return Ok(());
        }
        let result = self.receive_frames(lane, chunk, now);
        if result.is_err() {
            // What is still under way on this link has no meaning any more.
            self.readers.clear();
        }
        result
    }

    fn receive_frames(
        &mut self,
        lane: LaneId,
        chunk: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        self.last_heard = now;
        let index = usize::from(lane.number());
        if index >= self.readers.len() {
            return Err(ProtocolError::Unexpected {
                what: "a lane beyond the agreed number",
            });
        }
        self.readers[index].push(chunk);
        loop {
            let frame = self.readers[index]
                .next()
                .map_err(|error| ProtocolError::Wire { lane, error })?;
            let Some((kind, payload)) = frame else {
                return Ok(());
            };
            if kind.since() > self.version && self.state != SessionState::Greeting {
                return Err(ProtocolError::Unexpected {
                    what: "a kind that the agreed version does not know",
                });
            }
            self.confirmed |= self.state != SessionState::Greeting;
            if lane.is_control() {
                let control = Control::decode(kind, payload)
                    .map_err(|error| ProtocolError::Wire { lane, error })?;
                self.handle_control(control, now)?;
            } else {
                self.handle_data(lane, kind, payload, now)?;
            }
        }
    }

    pub(super) fn handle_control(
        &mut self,
        control: Control,
        now: Time,
    ) -> Result<(), ProtocolError> {
        if let Some(link) = control.link().filter(|link| *link != self.link) {
            return self.other_link(link, control, now);
        }
        self.handle_current(control, now)
    }

    /// A frame that tells positions for another link: they are not true any more, or not yet.
    fn other_link(&mut self, link: u64, control: Control, now: Time) -> Result<(), ProtocolError> {
        #[cfg(test)]
        if self.planted == Some(super::tests::Fault::NoLinkCheck) {
            return self.handle_current(control, now);
        }
        let _ = (control, now);
        if link > self.link {
            return Err(ProtocolError::Unexpected {
                what: "positions for a link that does not exist",
            });
        }
        self.stale += 1;
        Ok(())
    }

    fn handle_current(&mut self, control: Control, now: Time) -> Result<(), ProtocolError> {
        match (self.state, control) {
            (SessionState::Greeting, Control::Hello(hello)) => self.handle_hello(&hello),
            (
                SessionState::Resuming,
                Control::Resume {
                    flows,
                    signals,
                    failures,
                    last,
                    ..
                },
            ) => {
                self.ack_control(signals, failures)?;
                self.handle_resume(&flows, last, now)
            }
            (_, Control::Goodbye { code, reason }) => {
                self.events.push_back(Event::Goodbye { code, reason });
                Ok(())
            }
            (SessionState::Leaving | SessionState::Down, _) => Ok(()),
            (SessionState::Greeting, _) => Err(ProtocolError::Unexpected {
                what: "a frame before the hello",
            }),
            (_, Control::Ping { nonce }) => {
                self.pong = Some(nonce);
                Ok(())
            }
            (_, Control::Pong { nonce }) => {
                self.round_trip.pong(nonce, now);
                Ok(())
            }
            (SessionState::Resuming, _) => Err(ProtocolError::Unexpected {
                what: "a frame before the resume is complete",
            }),
            (SessionState::Live, control) => self.handle_live(control, now),
        }
    }

    pub(super) fn handle_live(&mut self, control: Control, now: Time) -> Result<(), ProtocolError> {
        match control {
            Control::Hello(_) => Err(ProtocolError::Unexpected {
                what: "a second hello",
            }),
            Control::Resume { .. } => Err(ProtocolError::Unexpected {
                what: "a resume of a new session",
            }),
            Control::Open { flow, definition } => {
                if self.receive_flows.len() >= self.config.flows_max as usize {
                    return Err(ProtocolError::Flow {
                        what: "one more than the limit",
                        flow,
                    });
                }
                let lane = self.lane_of(flow);
                if self.receive_flows.contains_key(&flow) {
                    return Err(ProtocolError::Flow {
                        what: "opened twice",
                        flow,
                    });
                }
                self.receive_flows
                    .insert(flow, ReceiveFlow::new(definition.clone(), lane));
                self.events.push_back(Event::Opened { flow, definition });
                Ok(())
            }
            Control::Close { flow, last, begun } => self.handle_close(flow, (last, begun)),
            Control::Ack {
                signals,
                failures,
                flows,
                ..
            } => {
                self.ack_control(signals, failures)?;
                flows.iter().try_for_each(|ack| self.handle_ack(ack))
            }
            Control::Failed {
                sequence,
                flow,
                messages,
            } => {
                let new = self
                    .failures
                    .receive(sequence)
                    .ok_or(ProtocolError::Unexpected {
                        what: "a frame of failures that leaves a gap",
                    })?;
                self.ack_within(self.config.ack_delay, now);
                if let Some(send) = self.send_flows.get_mut(&flow)
                    && new
                {
                    for (sequence, failure) in messages {
                        send.failed(flow, sequence, failure, &mut self.releases);
                    }
                }
                Ok(())
            }
            Control::Pending {
                flow,
                messages,
                bytes,
                next,
                ..
            } => {
                self.events.push_back(Event::Pending {
                    flow,
                    messages,
                    bytes,
                    next,
                });
                Ok(())
            }
            Control::Signal { sequence, payload } => {
                let new = self
                    .signals
                    .receive(sequence)
                    .ok_or(ProtocolError::Unexpected {
                        what: "a signal that leaves a gap",
                    })?;
                self.ack_within(self.config.ack_delay, now);
                if new {
                    self.events.push_back(Event::Signal { payload });
                }
                Ok(())
            }
            Control::Revoke {
                flow,
                messages,
                bytes,
                ..
            } => {
                // It may cross the close of its flow.
                if let Some(send) = self.send_flows.get_mut(&flow) {
                    let (messages, bytes) = send.revoke(messages, bytes);
                    self.to_confirm.push_back((flow, messages, bytes));
                    self.want_uncovered(flow);
                    self.events.push_back(Event::Reduced { flow });
                }
                Ok(())
            }
            Control::Revoked {
                flow,
                messages,
                bytes,
                ..
            } => self.handle_revoked(flow, messages, bytes, now),
            #[cfg(test)]
            Control::Newer => Ok(()),
            // Handled in every state before.
            Control::Ping { .. } | Control::Pong { .. } | Control::Goodbye { .. } => Ok(()),
        }
    }

    fn handle_revoked(
        &mut self,
        flow: u32,
        messages: u64,
        bytes: u64,
        now: Time,
    ) -> Result<(), ProtocolError> {
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return Ok(());
        };
        match receive.revoked(messages, bytes) {
            None => Err(ProtocolError::Flow {
                what: "confirms a revoke with a position that cannot be its own",
                flow,
            }),
            Some(false) => Ok(()),
            Some(true) => {
                let short = receive.is_short();
                self.mark(flow, short, now);
                self.events.push_back(Event::Revoked { flow });
                Ok(())
            }
        }
    }

    pub(super) fn handle_ack(&mut self, ack: &FlowAck) -> Result<(), ProtocolError> {
        // An ack may cross the close of its flow.
        let Some(flow) = self.send_flows.get_mut(&ack.flow) else {
            return Ok(());
        };
        let Some(more) = flow.ack(ack.flow, ack, &mut self.releases) else {
            return Err(ProtocolError::Flow {
                what: "acks what was never sent",
                flow: ack.flow,
            });
        };
        if more {
            self.make_ready(ack.flow);
            self.want_uncovered(ack.flow);
            self.events.push_back(Event::Credit { flow: ack.flow });
        }
        Ok(())
    }
}
