//! Answers to requests: a status, then the body.

use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_transport::wire::{AckLevel, Extra, Head, ProducerId, Record, ReplyAddress, WireError};
use std::sync::Arc;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReplyStatus {
    /// The responder handled it; the body is its answer.
    Ok = 0,
    /// The responder could not; the body says why.
    Failed = 1,
    /// The responder was gone before it answered.
    ResponderLost = 2,
}

/// The body of an answer's record.
pub fn encode_reply(status: ReplyStatus, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 1);
    out.put_u8(status as u8);
    out.put_slice(body);
    out.freeze()
}

/// Reads the body of an answer's record.
pub fn decode_reply(mut body: Bytes) -> Result<(ReplyStatus, Bytes), WireError> {
    let status = match body.first() {
        Some(0) => ReplyStatus::Ok,
        Some(1) => ReplyStatus::Failed,
        Some(2) => ReplyStatus::ResponderLost,
        Some(other) => {
            return Err(WireError::Invalid {
                field: "reply status",
                value: u64::from(*other),
            });
        }
        None => {
            return Err(WireError::Truncated {
                field: "reply status",
            });
        }
    };
    Ok((status, body.split_off(1)))
}

/// The answer of a node in the place of a responder that is gone.
pub fn responder_lost(reply: ReplyAddress) -> Record {
    Record {
        head: Arc::new(Head {
            producer: ProducerId { id: 0, epoch: 0 },
            subject: Arc::from(""),
            kind: 0,
            ack: AckLevel::None,
            hops: 0,
        }),
        sequence: 0,
        key: None,
        deadline: None,
        extra: Some(Box::new(Extra {
            reply: Some(reply),
            ..Extra::default()
        })),
        body: encode_reply(ReplyStatus::ResponderLost, &[]),
    }
}
