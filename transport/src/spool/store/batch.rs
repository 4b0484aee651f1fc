//! A batch as bytes: a head that says where each message lies, and the messages one after the other.
//!
//! ```text
//! head:    stored i64 | queues | queue u32 each | heads | head each | messages | length each
//! message: checksum u64 | flags u8 | head | sequence | key u64 | left | extension | body
//! ```
//!
//! Numbers without a size are varints. The flags say which of key, deadline (nanoseconds that were left) and extension
//! are there. The checksum covers the rest of the message, with its position as seed.

use super::super::clock::{Moment, StoredDeadline};
use super::super::contract::{BATCH_MAX, CorruptRecord, Position, QueueId};
use super::rows::{batch_key, seal, unseal};
use crate::wire::batch::{decode_extra, decode_head, encode_extra, encode_head};
use crate::wire::cursor::put_varint;
use crate::wire::{Cursor, Head, Record, WireError};
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_actors::Key;
use std::ops::Range;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const KEY: u8 = 1;
const DEADLINE: u8 = 2;
const EXTRA: u8 = 4;

/// A batch as it is stored.
pub(super) struct Encoded {
    /// Its head, sealed.
    pub(super) head: Vec<u8>,
    /// Its messages, to be cut into pieces.
    pub(super) messages: BytesMut,
}

/// Encodes a batch.
pub(super) fn encode(
    first: Position,
    records: &[Record],
    queues: &[(QueueId, Bytes)],
    at: Moment,
) -> Encoded {
    let size = records.iter().map(|record| record.body.len() + 40).sum();
    let mut messages = BytesMut::with_capacity(size);
    let mut heads: Vec<&Arc<Head>> = Vec::new();
    let mut lengths = Vec::with_capacity(records.len());
    for (position, record) in (first..).zip(records) {
        // Neighbours mostly share their head by pointer; another head of the same content is stored again.
        let known = heads
            .iter()
            .rposition(|head| Arc::ptr_eq(head, &record.head));
        let head = known.unwrap_or_else(|| {
            heads.push(&record.head);
            heads.len() - 1
        });
        let start = messages.len();
        encode_message(&mut messages, head, record, at);
        let sum = xxh3_64_with_seed(&messages[start + 8..], position);
        messages[start..start + 8].copy_from_slice(&sum.to_le_bytes());
        lengths.push(messages.len() - start);
    }
    let mut head = BytesMut::new();
    head.put_i64_le(at.wall);
    put_varint(&mut head, queues.len() as u64);
    queues
        .iter()
        .for_each(|(queue, _)| head.put_u32_le(queue.0));
    put_varint(&mut head, heads.len() as u64);
    heads
        .into_iter()
        .for_each(|shared| encode_head(&mut head, shared));
    put_varint(&mut head, lengths.len() as u64);
    lengths
        .into_iter()
        .for_each(|length| put_varint(&mut head, length as u64));
    Encoded {
        head: seal(&batch_key(first), &head),
        messages,
    }
}

fn encode_message(out: &mut BytesMut, head: usize, record: &Record, at: Moment) {
    // The place of the checksum.
    out.put_u64_le(0);
    let extra = record.extra.as_ref().filter(|extra| !extra.is_empty());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.put_u8(
        flag(record.key.is_some(), KEY)
            | flag(record.deadline.is_some(), DEADLINE)
            | flag(extra.is_some(), EXTRA),
    );
    put_varint(out, head as u64);
    put_varint(out, record.sequence);
    if let Some(key) = record.key {
        out.put_u64_le(key.value());
    }
    if let Some(deadline) = record.deadline {
        put_varint(out, StoredDeadline::new(deadline, at).left);
    }
    if let Some(extra) = extra {
        encode_extra(out, extra);
    }
    out.put_slice(&record.body);
}

/// The head of a stored batch.
#[derive(Debug)]
pub(super) struct BatchHead {
    first: Position,
    stored: i64,
    pub(super) queues: Vec<QueueId>,
    heads: Vec<Arc<Head>>,
    /// Where each message begins, and the end of the last.
    starts: Vec<u64>,
}

impl BatchHead {
    /// Reads a head; none if its bytes have changed.
    pub(super) fn decode(first: Position, sealed: &[u8]) -> Option<Self> {
        let value = unseal(&batch_key(first), sealed)?;
        Self::fields(first, &mut Cursor::new(Bytes::copy_from_slice(value))).ok()
    }

    fn fields(first: Position, cursor: &mut Cursor) -> Result<Self, WireError> {
        let stored = cursor.u64("stored")? as i64;
        let mut queues = Vec::new();
        for _ in 0..cursor.bounded("queues", cursor.remaining() as u64)? {
            let bytes = cursor.take("queue", 4)?;
            let bytes = bytes.as_ref().try_into().unwrap_or_default();
            queues.push(QueueId(u32::from_le_bytes(bytes)));
        }
        let mut heads = Vec::new();
        for _ in 0..cursor.bounded("heads", BATCH_MAX as u64)? {
            heads.push(Arc::new(decode_head(cursor)?));
        }
        let mut starts = vec![0];
        let mut end = 0;
        for _ in 0..cursor.bounded("messages", BATCH_MAX as u64)? {
            end += cursor.bounded("length", u64::from(u32::MAX))?;
            starts.push(end);
        }
        Ok(Self {
            first,
            stored,
            queues,
            heads,
            starts,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many bytes its messages have.
    pub(super) fn bytes(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Where a message lies among the bytes of the batch.
    pub(super) fn place(&self, offset: usize) -> Option<Range<u64>> {
        Some(*self.starts.get(offset)?..*self.starts.get(offset + 1)?)
    }

    /// Which messages have bytes in this range.
    pub(super) fn messages_in(&self, range: Range<u64>) -> Range<usize> {
        let begin = self.starts.partition_point(|start| *start <= range.start);
        let end = self.starts.partition_point(|start| *start < range.end);
        begin.saturating_sub(1)..end.min(self.count())
    }

    /// The message at an offset, from its bytes.
    pub(super) fn decode_message(
        &self,
        offset: usize,
        bytes: Bytes,
        at: Moment,
    ) -> Result<Record, CorruptRecord> {
        let (sum, rest) = bytes.split_first_chunk::<8>().ok_or(CorruptRecord)?;
        let position = self.first.wrapping_add(offset as u64);
        if u64::from_le_bytes(*sum) != xxh3_64_with_seed(rest, position) {
            return Err(CorruptRecord);
        }
        let mut cursor = Cursor::new(bytes.slice(8..));
        self.fields_of(&mut cursor, at).map_err(|_| CorruptRecord)
    }

    fn fields_of(&self, cursor: &mut Cursor, at: Moment) -> Result<Record, WireError> {
        let flags = cursor.u8("flags")?;
        let limit = (self.heads.len() as u64).saturating_sub(1);
        let head = cursor.bounded("head", limit)? as usize;
        let head = self.heads.get(head).cloned();
        let head = head.ok_or(WireError::Truncated { field: "heads" })?;
        let sequence = cursor.varint("sequence")?;
        let key = match flags & KEY {
            0 => None,
            _ => Some(Key::from(cursor.u64("key")?)),
        };
        let deadline = match flags & DEADLINE {
            0 => None,
            _ => {
                let left = cursor.varint("left")?;
                let stored = self.stored;
                Some(StoredDeadline { stored, left }.restore(at))
            }
        };
        let extra = match flags & EXTRA {
            0 => None,
            _ => Some(decode_extra(cursor)?),
        };
        let body = cursor.take("body", cursor.remaining())?;
        Ok(Record {
            head,
            sequence,
            key,
            deadline,
            extra,
            body,
        })
    }
}
