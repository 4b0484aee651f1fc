//! The peer's frames and what they change.

use super::core::{Session, SessionState};
use super::error::ProtocolError;
use super::event::Event;
use super::receive::ReceiveFlow;
use crate::link::LaneId;
use crate::wire::{Control, FlowAck, FrameKind};
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
            self.confirmed |= self.state != SessionState::Greeting;
            if lane.is_control() {
                let control = Control::decode(kind, payload)
                    .map_err(|error| ProtocolError::Wire { lane, error })?;
                self.handle_control(control, now)?;
            } else if kind == FrameKind::Batch {
                self.handle_batch(lane, payload, now)?;
            } else {
                return Err(ProtocolError::Unexpected {
                    what: "a control frame on a data lane",
                });
            }
        }
    }

    pub(super) fn handle_control(
        &mut self,
        control: Control,
        now: Time,
    ) -> Result<(), ProtocolError> {
        match (self.state, control) {
            (SessionState::Greeting, Control::Hello(hello)) => self.handle_hello(&hello),
            (
                SessionState::Resuming,
                Control::Resume {
                    flows,
                    signals,
                    failures,
                    last,
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
            (_, Control::Pong { .. }) => Ok(()),
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
            Control::Close { flow, last } => self.handle_close(flow, last),
            Control::Ack {
                signals,
                failures,
                flows,
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
            // Handled in every state before.
            Control::Ping { .. } | Control::Pong { .. } | Control::Goodbye { .. } => Ok(()),
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
            if !flow.ready && flow.has_sendable() {
                flow.ready = true;
                self.ready[usize::from(flow.lane.number()) - 1].push_back(ack.flow);
            }
            self.events.push_back(Event::Credit { flow: ack.flow });
        }
        Ok(())
    }

    pub(super) fn handle_close(&mut self, flow: u32, last: u64) -> Result<(), ProtocolError> {
        let Some(receive) = self.receive_flows.get(&flow) else {
            return Err(ProtocolError::Flow {
                what: "closed but not open",
                flow,
            });
        };
        if receive.received() < last {
            self.closing.insert(flow, last);
        } else {
            self.end_receiving(flow);
        }
        Ok(())
    }

    pub(super) fn end_receiving(&mut self, flow: u32) {
        self.closing.remove(&flow);
        self.dirty.retain(|id| *id != flow);
        if let Some(receive) = self.receive_flows.remove(&flow) {
            self.events.push_back(Event::Closed {
                flow,
                window: receive.window,
            });
        }
    }

    pub(super) fn handle_batch(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        if self.state != SessionState::Live {
            return match self.state {
                SessionState::Leaving | SessionState::Down => Ok(()),
                _ => Err(ProtocolError::Unexpected {
                    what: "data before the hello",
                }),
            };
        }
        let mut records = self.spare.pop().unwrap_or_default();
        let header = self.decoders[usize::from(lane.number())]
            .decode(payload, self.config.message_max, now, &mut records)
            .map_err(|error| ProtocolError::Wire { lane, error })?;
        let flow = header.flow;
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return Err(ProtocolError::Flow {
                what: "data on a flow that is not open",
                flow,
            });
        };
        if receive.lane != lane {
            return Err(ProtocolError::Flow {
                what: "data on a lane that is not the flow's",
                flow,
            });
        }
        let expected = receive.received() + 1;
        if header.first != expected {
            return Err(ProtocolError::Gap {
                flow,
                expected,
                found: header.first,
            });
        }
        let mut urgent = false;
        for record in &records {
            receive.receive(flow, record.cost())?;
            urgent |= record.head.ack != crate::wire::AckLevel::None;
        }
        let received = receive.received();
        let urgent = urgent || receive.is_short();
        self.events.push_back(Event::Records {
            flow,
            first: expected,
            records,
        });
        self.mark(flow, urgent, now);
        if self
            .closing
            .get(&flow)
            .is_some_and(|last| *last <= received)
        {
            self.end_receiving(flow);
        }
        Ok(())
    }
}
