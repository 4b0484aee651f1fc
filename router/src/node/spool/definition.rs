//! Queues, and the durable interest of other nodes, as the bytes that a store keeps.

use crate::protocol::Target;
use crate::routing::Pattern;
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_transport::wire::cursor::{put_blob, put_varint};
use mcpbus_transport::wire::record::SUBJECT_MAX;
use mcpbus_transport::wire::{Cursor, Failure, WireError};
use std::sync::Arc;

/// First byte of the key of a remembered entry of another node.
pub(super) const INTEREST_KEY: u8 = b'i';
/// Longest name of a durable subscription, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Most targets of one stored message at one node, and so most durable subscriptions of a node.
pub(super) const ENTRIES_MAX: usize = 512;

/// What a queue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueKind {
    /// Messages for a durable subscription of this node.
    Subscription {
        /// Its name.
        name: Arc<str>,
        /// Which subjects.
        pattern: Pattern,
    },
    /// Messages for durable subscriptions of another node, until it has stored them.
    Node {
        /// The node.
        origin: u128,
    },
    /// Dead letters.
    Dead,
}

impl QueueKind {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Subscription { name, pattern } => {
                out.put_u8(1);
                put_blob(&mut out, name.as_bytes());
                put_blob(&mut out, pattern.as_str().as_bytes());
            }
            Self::Node { origin } => {
                out.put_u8(2);
                out.put_u128_le(*origin);
            }
            Self::Dead => out.put_u8(3),
        }
        out.freeze()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let kind = match cursor.u8("queue kind")? {
            1 => Self::Subscription {
                name: text(&mut cursor, "name", NAME_MAX)?.into(),
                pattern: pattern(&mut cursor)?,
            },
            2 => Self::Node {
                origin: cursor.u128("origin")?,
            },
            3 => Self::Dead,
            other => {
                return Err(WireError::Invalid {
                    field: "queue kind",
                    value: u64::from(other),
                });
            }
        };
        cursor.finish()?;
        Ok(kind)
    }
}

/// The key and the value under which a durable entry of another node is remembered.
pub(super) fn interest(target: Target, pattern: &Pattern) -> (Bytes, Bytes) {
    (
        interest_key(target),
        Bytes::copy_from_slice(pattern.as_str().as_bytes()),
    )
}

pub(super) fn interest_key(target: Target) -> Bytes {
    let mut key = BytesMut::with_capacity(21);
    key.put_u8(INTEREST_KEY);
    key.put_u128(target.origin);
    key.put_u32(target.entry);
    key.freeze()
}

/// The entry that a remembered key and value stand for.
pub(super) fn recover_interest(key: &Bytes, value: &Bytes) -> Option<(Target, Pattern)> {
    let mut cursor = Cursor::new(key.clone());
    if cursor.u8("kind").ok()? != INTEREST_KEY || key.len() != 21 {
        return None;
    }
    let origin = u128::from_be_bytes(key[1..17].try_into().ok()?);
    let entry = u32::from_be_bytes(key[17..21].try_into().ok()?);
    let pattern = Pattern::new(std::str::from_utf8(value).ok()?).ok()?;
    Some((Target { origin, entry }, pattern))
}

/// The tag of a message for another node: which of its entries it is for.
pub(super) fn entries(entries: &[u32]) -> Bytes {
    let mut out = BytesMut::new();
    put_varint(&mut out, entries.len() as u64);
    for entry in entries {
        put_varint(&mut out, u64::from(*entry));
    }
    out.freeze()
}

pub(super) fn recover_entries(tag: Bytes) -> Result<Vec<u32>, WireError> {
    let mut cursor = Cursor::new(tag);
    let count = cursor.bounded("entries", ENTRIES_MAX as u64)?;
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        entries.push(cursor.varint32("entry")?);
    }
    cursor.finish()?;
    Ok(entries)
}

/// The tag of a dead letter: why, after how many attempts, and where.
pub(super) fn dead(failure: Failure, attempts: u16, queue: &str, node: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(failure.number());
    out.put_u16_le(attempts);
    put_blob(&mut out, queue.as_bytes());
    put_blob(&mut out, &node.as_bytes()[..node.len().min(1024)]);
    out.freeze()
}

/// What the tag of a dead letter says.
pub(super) fn recover_dead(tag: Bytes) -> Result<(Failure, u16, String, String), WireError> {
    let mut cursor = Cursor::new(tag);
    let number = cursor.u8("failure")?;
    let failure = Failure::from_u8(number).ok_or(WireError::Invalid {
        field: "failure",
        value: u64::from(number),
    })?;
    let attempts = u16::from_le_bytes([cursor.u8("attempts")?, cursor.u8("attempts")?]);
    let queue = text(&mut cursor, "queue", NAME_MAX)?;
    let node = text(&mut cursor, "node", 1024)?;
    Ok((failure, attempts, queue, node))
}

fn pattern(cursor: &mut Cursor) -> Result<Pattern, WireError> {
    let text = text(cursor, "pattern", SUBJECT_MAX)?;
    Pattern::new(&text).map_err(|_| WireError::Invalid {
        field: "pattern",
        value: text.len() as u64,
    })
}

fn text(cursor: &mut Cursor, field: &'static str, limit: usize) -> Result<String, WireError> {
    let bytes = cursor.blob(field, limit)?;
    String::from_utf8(bytes.to_vec()).map_err(|error| WireError::Invalid {
        field,
        value: error.utf8_error().valid_up_to() as u64,
    })
}
