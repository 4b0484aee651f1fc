//! The peer's data frames: batches, and large records in parts.

use super::core::{Session, SessionState};
use super::error::ProtocolError;
use super::event::Event;
use super::receive::ReceiveFlow;
use crate::link::LaneId;
use crate::wire::large::{Place, decode_part};
use crate::wire::{AckLevel, FrameKind, Record};
use bytes::Bytes;
use mcpbus_actors::Time;

impl Session {
    pub(super) fn handle_data(
        &mut self,
        lane: LaneId,
        kind: FrameKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        match self.state {
            SessionState::Live => {}
            SessionState::Leaving | SessionState::Down => return Ok(()),
            _ => {
                return Err(ProtocolError::Unexpected {
                    what: "data before the hello",
                });
            }
        }
        match kind {
            FrameKind::Batch => self.handle_batch(lane, payload, now),
            FrameKind::Large => self.handle_beginning(lane, payload, now),
            FrameKind::Part => self.handle_part(lane, payload, now),
            _ => Err(ProtocolError::Unexpected {
                what: "a control frame on a data lane",
            }),
        }
    }

    fn handle_batch(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        let mut records = self.spare.pop().unwrap_or_default();
        let header = self.decoders[usize::from(lane.number())]
            .decode(payload, self.config.message_max, now, &mut records)
            .map_err(|error| ProtocolError::Wire { lane, error })?;
        let flow = header.flow;
        let place = Place {
            flow,
            sequence: header.first,
        };
        let receive = self.receiving(lane, place)?;
        if receive.has_begun() {
            return Err(ProtocolError::Parts {
                flow,
                what: "another message in the middle of a large one",
            });
        }
        receive.receive(flow, &records)?;
        let urgent = records
            .iter()
            .any(|record| record.head.ack != AckLevel::None);
        self.arrived(flow, header.first, records, urgent, now);
        Ok(())
    }

    fn handle_beginning(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        let mut records = self.spare.pop().unwrap_or_default();
        let beginning = self.decoders[usize::from(lane.number())]
            .decode_beginning(payload, self.config.message_max, now, &mut records)
            .map_err(|error| ProtocolError::Wire { lane, error })?;
        self.recycle(records);
        let flow = beginning.place.flow;
        self.receiving(lane, beginning.place)?
            .begin(flow, beginning.record, beginning.length)?;
        self.end_if_closed(flow);
        Ok(())
    }

    fn handle_part(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        let part = decode_part(payload).map_err(|error| ProtocolError::Wire { lane, error })?;
        let Place { flow, sequence } = part.place;
        let receive = self.receiving(lane, part.place)?;
        let Some(record) = receive.go_on(flow, part.offset, &part.piece)? else {
            self.end_if_closed(flow);
            return Ok(());
        };
        receive.receive(flow, std::slice::from_ref(&record))?;
        let urgent = record.head.ack != AckLevel::None;
        let mut records = self.spare.pop().unwrap_or_default();
        records.push(record);
        self.arrived(flow, sequence, records, urgent, now);
        Ok(())
    }

    /// The flow that a frame is for, if it comes on the flow's lane and with the sequence that is due.
    fn receiving(&mut self, lane: LaneId, place: Place) -> Result<&mut ReceiveFlow, ProtocolError> {
        let flow = place.flow;
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
        if place.sequence != expected {
            return Err(ProtocolError::Gap {
                flow,
                expected,
                found: place.sequence,
            });
        }
        Ok(receive)
    }

    fn arrived(&mut self, flow: u32, first: u64, records: Vec<Record>, urgent: bool, now: Time) {
        let short = self
            .receive_flows
            .get(&flow)
            .is_some_and(ReceiveFlow::is_short);
        self.events.push_back(Event::Records {
            flow,
            first,
            records,
        });
        self.mark(flow, urgent || short, now);
        self.end_if_closed(flow);
    }

    /// The peer closes a flow behind what it has written: `end` is the last sequence, and how many bytes of the body
    /// of the one after it.
    pub(super) fn handle_close(&mut self, flow: u32, end: (u64, u64)) -> Result<(), ProtocolError> {
        if !self.receive_flows.contains_key(&flow) {
            return Err(ProtocolError::Flow {
                what: "closed but not open",
                flow,
            });
        }
        self.closing.insert(flow, end);
        self.end_if_closed(flow);
        Ok(())
    }

    /// Ends a flow that is closed, once everything that was written on it has come.
    fn end_if_closed(&mut self, flow: u32) {
        let (Some(end), Some(receive)) = (self.closing.get(&flow), self.receive_flows.get(&flow))
        else {
            return;
        };
        if receive.place() < *end {
            return;
        }
        self.closing.remove(&flow);
        self.dirty.retain(|id| *id != flow);
        if let Some(receive) = self.receive_flows.remove(&flow) {
            self.events.push_back(Event::Closed {
                flow,
                window: receive.window,
            });
        }
    }
}
