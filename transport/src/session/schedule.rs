//! Which flow of a lane writes next: deficit round robin in bytes, with a weight for each flow.
//!
//! In its turn a flow may write its share of a frame's bytes: all of it at the greatest weight in use, a part of it at
//! a smaller one. What it writes beyond its share it pays back in its next turns; what it could not use it keeps while
//! it has something to write. A large record goes in pieces of that size, so no turn takes longer than about a frame.

use super::core::{Session, SessionState};
use super::send::SendFlow;
use crate::link::LaneId;
use crate::wire::BatchEncoder;
use crate::wire::large::{Place, encode_part};
use bytes::BytesMut;
use mcpbus_actors::Time;

/// A frame is filled to at least this part of its target, so that a small weight does not mean small frames.
const SMALLEST_FRAME: usize = 16;

/// A flow's place in the round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) weight: u8,
    /// Bytes it may still write; below 0 what it has written too much.
    deficit: i64,
    /// Whether its present turn has begun.
    begun: bool,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            weight: 1,
            deficit: 0,
            begun: false,
        }
    }
}

impl Turn {
    /// The same weight, as if nothing had been written.
    pub(super) fn restarted(self) -> Self {
        Self {
            weight: self.weight,
            ..Self::default()
        }
    }

    /// Nothing is left to write: what was not used is not kept.
    fn rest(&mut self) {
        self.deficit = self.deficit.min(0);
        self.begun = false;
    }
}

impl Session {
    /// Sets a sending flow's weight against the other flows of its lane (default 1; 0 counts as 1): flows that have
    /// something to write and credit for it share the lane's bytes by their weights.
    pub fn set_weight(&mut self, flow: u32, weight: u8) {
        let weight = weight.max(1);
        if let Some(flow) = self.send_flows.get_mut(&flow) {
            flow.turn.weight = weight;
            self.heaviest = self.heaviest.max(weight);
        }
    }

    /// Puts a sending flow into its lane's round, if it has something to write.
    pub(super) fn make_ready(&mut self, id: u32) {
        if let Some(flow) = self.send_flows.get_mut(&id)
            && !flow.ready
            && flow.has_sendable()
        {
            flow.ready = true;
            self.ready[usize::from(flow.lane.number()) - 1].push_back(id);
        }
    }

    /// Writes frames of a lane's flows in turn, about `budget` bytes.
    pub(super) fn transmit_data(
        &mut self,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    ) {
        if self.state != SessionState::Live {
            return;
        }
        let number = usize::from(lane.number());
        let (Some(ready), Some(encoder)) = (
            self.ready.get_mut(number - 1),
            self.encoders.get_mut(number),
        ) else {
            return;
        };
        let target = self.frame_target;
        let quantum =
            |weight: u8| (target * usize::from(weight) / usize::from(self.heaviest)).max(1) as i64;
        let start = out.len();
        while out.len() - start < budget {
            let Some(&id) = ready.front() else {
                return;
            };
            let sendable = self
                .send_flows
                .get_mut(&id)
                .filter(|flow| flow.has_sendable());
            let Some(flow) = sendable else {
                ready.pop_front();
                if let Some(flow) = self.send_flows.get_mut(&id) {
                    flow.ready = false;
                    flow.turn.rest();
                }
                continue;
            };
            if ready.len() == 1 {
                // There is nobody to share with.
                flow.turn.deficit = target as i64;
            } else if !flow.turn.begun {
                flow.turn.begun = true;
                flow.turn.deficit += quantum(flow.turn.weight);
            }
            if flow.turn.deficit <= 0 {
                flow.turn.begun = false;
                ready.rotate_left(1);
                continue;
            }
            let before = out.len();
            let smallest = target / SMALLEST_FRAME + 1;
            let fill = (flow.turn.deficit as usize).clamp(smallest.min(target), target);
            write_frame(encoder, id, flow, (target, fill), now, out);
            flow.turn.deficit -= (out.len() - before) as i64;
        }
    }
}

/// Writes one frame of a flow: a batch, or a piece of a large record. `target` is the longest body that goes whole,
/// `fill` the bytes that the frame is filled to.
fn write_frame(
    encoder: &mut BatchEncoder,
    id: u32,
    flow: &mut SendFlow,
    (target, fill): (usize, usize),
    now: Time,
    out: &mut BytesMut,
) {
    let Some((sequence, record, begun)) = flow.sendable_large(target) else {
        let plan = encoder.make_room(flow.sendable(target), fill);
        let (count, first) = (plan.count, flow.written() + 1);
        encoder.encode_planned(out, (id, first), flow.to_send(count), plan, now);
        flow.sent(count);
        return;
    };
    let place = Place { flow: id, sequence };
    let piece = fill.min(record.body.len() - begun);
    if begun == 0 {
        encoder.encode_beginning(out, place, record, piece, now);
    } else {
        encode_part(out, place, begun, &record.body[begun..begun + piece]);
    }
    flow.sent_piece(piece);
}
