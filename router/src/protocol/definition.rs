//! What a flow is for.

use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_transport::wire::cursor::put_varint;
use mcpbus_transport::wire::{Cursor, WireError};

/// Most targets of one forwarding flow.
pub const TARGETS_MAX: usize = 512;

/// A place that a message is for: an interest entry of the node it came from. Decided once, by the first node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The node whose subscribers asked.
    pub origin: u128,
    /// Which of its entries.
    pub entry: u32,
}

/// What a flow is for, told by its sender when it opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// Messages to be routed by the receiver.
    Publish,
    /// Messages whose route is decided: for each target, deliver it here or pass it on.
    Forward {
        /// Where they go, in ascending order.
        targets: Vec<Target>,
        /// Whether their publishers wait until durable subscriptions have processed them. Such messages are settled
        /// late, so they have a flow apart from those that are settled when they are stored.
        receipts: bool,
    },
    /// Messages for one subscription of the receiver.
    Deliver {
        /// The subscriber's number for it.
        subscription: u32,
    },
    /// Answers to requests, each with the address it goes to.
    Replies,
}

impl Definition {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Publish => out.put_u8(1),
            Self::Forward { targets, receipts } => {
                out.put_u8(if *receipts { 5 } else { 2 });
                put_varint(&mut out, targets.len() as u64);
                for target in targets {
                    out.put_u128_le(target.origin);
                    put_varint(&mut out, u64::from(target.entry));
                }
            }
            Self::Deliver { subscription } => {
                out.put_u8(3);
                put_varint(&mut out, u64::from(*subscription));
            }
            Self::Replies => out.put_u8(4),
        }
        out.freeze()
    }

    /// From bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let definition = match cursor.u8("flow kind")? {
            1 => Self::Publish,
            kind @ (2 | 5) => {
                let count = cursor.bounded("targets", TARGETS_MAX as u64)?;
                let mut targets = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    targets.push(Target {
                        origin: cursor.u128("target origin")?,
                        entry: cursor.varint32("target entry")?,
                    });
                }
                Self::Forward {
                    targets,
                    receipts: kind == 5,
                }
            }
            3 => Self::Deliver {
                subscription: cursor.varint32("subscription")?,
            },
            4 => Self::Replies,
            other => {
                return Err(WireError::Invalid {
                    field: "flow kind",
                    value: u64::from(other),
                });
            }
        };
        cursor.finish()?;
        Ok(definition)
    }
}
