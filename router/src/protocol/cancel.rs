//! Requests that nobody waits for any more, as bytes.

use bytes::{BufMut, BytesMut};
use mcpbus_transport::wire::cursor::put_varint;
use mcpbus_transport::wire::{Cursor, ReplyAddress, WireError};
use std::time::Duration;

/// Most requests in one signal.
pub const CANCELS_MAX: usize = 1024;

/// Fewest bytes that one takes.
const SMALLEST: usize = 16 + 8 + 8 + 1;

/// A request that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Where its answer would have gone. A client says its own number only; its node knows the rest.
    pub address: ReplyAddress,
    /// How long it would have been waited for, to microseconds. So long it may still be on its way.
    pub left: Duration,
}

pub(super) fn encode_cancels(requests: &[Cancel], out: &mut BytesMut) {
    put_varint(out, requests.len() as u64);
    for cancel in requests {
        out.put_u128_le(cancel.address.node);
        out.put_u64_le(cancel.address.session);
        out.put_u64_le(cancel.address.correlation);
        let left = u64::try_from(cancel.left.as_micros());
        put_varint(out, left.unwrap_or(u64::MAX));
    }
}

pub(super) fn decode_cancels(cursor: &mut Cursor) -> Result<Vec<Cancel>, WireError> {
    let count = cursor.bounded("cancelled requests", CANCELS_MAX as u64)?;
    // No more than what is there could hold.
    let mut requests = Vec::with_capacity((count as usize).min(cursor.remaining() / SMALLEST));
    for _ in 0..count {
        let address = ReplyAddress {
            node: cursor.u128("requester's node")?,
            session: cursor.u64("requester's session")?,
            correlation: cursor.u64("correlation")?,
        };
        let left = Duration::from_micros(cursor.varint("time left")?);
        requests.push(Cancel { address, left });
    }
    Ok(requests)
}
