//! Batch frames: many records of one flow.
//!
//! ```text
//! flags u8 | flow | first sequence | count | heads | head references | records
//! ```
//!
//! All numbers without a size are varints. A head reference is `0` and a whole head (which the reader
//! appends to the lane's table) or `n + 1` for entry `n` of the table; the producer sequence of the head's
//! first record in this frame follows it. A record is a control byte, the optional fields that it
//! announces, the length of its body, its body.

use super::cursor::{Cursor, WireError, put_blob, put_varint};
use super::frame::{FrameKind, begin_frame, end_frame};
use super::labels::Labels;
use super::record::{
    AckLevel, EXTRA_MAX, Extra, Head, ProducerId, Record, ReplyAddress, SUBJECT_MAX,
};
use bytes::{BufMut, Bytes, BytesMut};
use foldhash::HashMap;
use mcpbus_actors::{Key, Time};
use std::sync::Arc;
use std::time::Duration;

/// Most heads in a lane's table; when it is full, both ends empty it together.
pub const HEADS_MAX: usize = 4096;
/// Most records in one frame.
pub const RECORDS_MAX: usize = 1024;

const FLAG_RESET_HEADS: u8 = 1;

const KEY_MASK: u8 = 0b11;
const KEY_NONE: u8 = 0;
const KEY_SAME: u8 = 1;
const KEY_VALUE: u8 = 2;
const OTHER_HEAD: u8 = 1 << 2;
const OTHER_SEQUENCE: u8 = 1 << 3;
const DEADLINE_MASK: u8 = 0b11 << 4;
const DEADLINE_SAME: u8 = 1 << 4;
const DEADLINE_VALUE: u8 = 2 << 4;
const EXTENSION: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;

const HEAD_ACK_MASK: u8 = 0b11;
const HEAD_KIND: u8 = 1 << 2;

const EXTRA_EVENT_TIME: u8 = 1;
const EXTRA_ATTEMPT: u8 = 2;
const EXTRA_PRIORITY: u8 = 3;
const EXTRA_TRACE: u8 = 4;
const EXTRA_REPLY: u8 = 5;
const EXTRA_REPEAT: u8 = 6;
const EXTRA_LABELS: u8 = 7;

/// Most bytes of a record beside its body, head and what only some carry: control, sequence, key, length.
const RECORD_FIELDS: usize = 24;
/// Most bytes of a deadline.
const DEADLINE_FIELD: usize = 10;
/// Most bytes of an extension that is written here, beside its labels.
const EXTENSION_FIELD: usize = 96;
/// Most bytes for naming a head: its reference, its first sequence, its index.
const REFERENCE_FIELDS: usize = 20;
/// Most bytes of a whole head beside its subject.
const HEAD_FIELDS: usize = 40;

/// What stands before the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The flow they belong to.
    pub flow: u32,
    /// The sequence of the first; the others follow without gaps.
    pub first: u64,
    /// How many there are.
    pub count: usize,
}

/// Writes batch frames onto one lane of one link. Start a new one with each link.
#[derive(Debug, Default)]
pub struct BatchEncoder {
    // The table holds each head, so that an address cannot come to mean another head while it is a key.
    table: HashMap<usize, u32>,
    heads: Vec<Arc<Head>>,
    reset: bool,
    // The heads of the frame being written, in the frame's order, with the next sequence of each.
    frame_heads: Vec<(usize, u64)>,
    frame_index: HashMap<usize, usize>,
}

impl BatchEncoder {
    /// An encoder with an empty table of heads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one frame with as many of `records` as fit `budget` bytes, at least one and at most
    /// [`RECORDS_MAX`]; returns how many.
    pub fn encode<'a>(
        &mut self,
        out: &mut BytesMut,
        flow: u32,
        first: u64,
        records: impl Iterator<Item = &'a Record> + Clone,
        budget: usize,
        now: Time,
    ) -> usize {
        let count = self.make_room(records.clone(), budget);
        let start = begin_frame(out, FrameKind::Batch);
        self.encode_payload(out, flow, first, records.take(count), count, now);
        end_frame(out, start);
        count
    }

    /// How many of the records go into one frame; afterwards their heads fit the table.
    pub(super) fn make_room<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record> + Clone,
        budget: usize,
    ) -> usize {
        let (count, new_heads) = self.plan(records.clone(), budget);
        if self.heads.len() + new_heads <= HEADS_MAX {
            return count;
        }
        self.table.clear();
        self.heads.clear();
        self.reset = true;
        // Heads that were known must be written again and take room in the frame.
        self.plan(records, budget).0
    }

    /// Appends the fields of a batch.
    pub(super) fn encode_payload<'a>(
        &mut self,
        out: &mut BytesMut,
        flow: u32,
        first: u64,
        records: impl Iterator<Item = &'a Record> + Clone,
        count: usize,
        now: Time,
    ) {
        out.put_u8(if std::mem::take(&mut self.reset) {
            FLAG_RESET_HEADS
        } else {
            0
        });
        put_varint(out, u64::from(flow));
        put_varint(out, first);
        put_varint(out, count as u64);
        self.encode_heads(out, records.clone());
        self.encode_records(out, records, now);
    }

    /// How many records fit, by an upper bound of what each takes, and an upper bound of the heads they may add to
    /// the table.
    fn plan<'a>(&self, records: impl Iterator<Item = &'a Record>, budget: usize) -> (usize, usize) {
        let mut size = 0;
        let mut count = 0;
        let mut new_heads = 0;
        let mut previous: *const Head = std::ptr::null();
        for record in records.take(RECORDS_MAX) {
            size += record.body.len() + RECORD_FIELDS;
            if record.deadline.is_some() {
                size += DEADLINE_FIELD;
            }
            if let Some(extra) = &record.extra {
                size += EXTENSION_FIELD + extra.labels.weight() as usize;
            }
            let head = Arc::as_ptr(&record.head);
            let mut new_head = false;
            if head != previous {
                previous = head;
                size += REFERENCE_FIELDS;
                new_head = !self.table.contains_key(&(head as usize));
                if new_head {
                    size += HEAD_FIELDS + record.head.subject.len();
                }
            }
            if count > 0 && size > budget {
                break;
            }
            count += 1;
            new_heads += usize::from(new_head);
        }
        (count, new_heads)
    }

    fn encode_heads<'a>(&mut self, out: &mut BytesMut, records: impl Iterator<Item = &'a Record>) {
        self.frame_heads.clear();
        self.frame_index.clear();
        // The number of heads is not known before they are written; the records of most frames share one.
        let mut references = BytesMut::new();
        let mut previous = 0;
        for record in records {
            let address = Arc::as_ptr(&record.head) as usize;
            if address == previous || self.frame_index.contains_key(&address) {
                continue;
            }
            previous = address;
            self.frame_index.insert(address, self.frame_heads.len());
            self.frame_heads.push((address, record.sequence));
            match self.table.get(&address) {
                Some(index) => put_varint(&mut references, u64::from(*index) + 1),
                None => {
                    self.table.insert(address, self.heads.len() as u32);
                    self.heads.push(record.head.clone());
                    references.put_u8(0);
                    encode_head(&mut references, &record.head);
                }
            }
            put_varint(&mut references, record.sequence);
        }
        put_varint(out, self.frame_heads.len() as u64);
        out.put_slice(&references);
    }

    fn encode_records<'a>(
        &mut self,
        out: &mut BytesMut,
        records: impl Iterator<Item = &'a Record>,
        now: Time,
    ) {
        let mut current = 0;
        let mut key = None;
        let mut deadline = None;
        for record in records {
            let mut control = match record.key {
                None => KEY_NONE,
                same if same == key => KEY_SAME,
                Some(_) => KEY_VALUE,
            };
            let address = Arc::as_ptr(&record.head) as usize;
            let mut head = current;
            if self.frame_heads[current].0 != address {
                head = self.frame_index.get(&address).copied().unwrap_or(0);
                control |= OTHER_HEAD;
            }
            let expected = &mut self.frame_heads[head].1;
            if *expected != record.sequence {
                control |= OTHER_SEQUENCE;
            }
            *expected = record.sequence.wrapping_add(1);
            if record.deadline.is_some() {
                control |= if record.deadline == deadline {
                    DEADLINE_SAME
                } else {
                    DEADLINE_VALUE
                };
            }
            if record.extra.is_some() {
                control |= EXTENSION;
            }

            out.put_u8(control);
            if control & OTHER_HEAD != 0 {
                put_varint(out, head as u64);
                current = head;
            }
            if control & OTHER_SEQUENCE != 0 {
                put_varint(out, record.sequence);
            }
            if control & KEY_MASK == KEY_VALUE {
                key = record.key;
                out.put_u64_le(record.key.map_or(0, Key::value));
            }
            if control & DEADLINE_MASK == DEADLINE_VALUE {
                deadline = record.deadline;
                let left = record
                    .deadline
                    .map_or(Duration::ZERO, |at| at.saturating_since(now));
                put_varint(out, left.as_micros() as u64);
            }
            if let Some(extra) = &record.extra {
                encode_extra(out, extra);
            }
            put_varint(out, record.body.len() as u64);
            out.put_slice(&record.body);
        }
    }
}

pub(crate) fn encode_head(out: &mut BytesMut, head: &Head) {
    out.put_u8(head.ack as u8 | if head.kind == 0 { 0 } else { HEAD_KIND });
    out.put_u8(head.hops);
    out.put_u128_le(head.producer.id);
    put_varint(out, head.producer.epoch);
    if head.kind != 0 {
        out.put_u64_le(head.kind);
    }
    put_blob(out, head.subject.as_bytes());
}

pub(crate) fn encode_extra(out: &mut BytesMut, extra: &Extra) {
    let mut fields = BytesMut::new();
    let mut field = |tag: u8, value: &[u8]| {
        fields.put_u8(tag);
        put_blob(&mut fields, value);
    };
    if let Some(time) = extra.event_time {
        field(EXTRA_EVENT_TIME, &time.to_le_bytes());
    }
    if extra.attempt != 0 {
        field(EXTRA_ATTEMPT, &extra.attempt.to_le_bytes());
    }
    if extra.priority != 0 {
        field(EXTRA_PRIORITY, &[extra.priority]);
    }
    if let Some((trace, span, flags)) = extra.trace {
        let mut value = [0; 25];
        value[..16].copy_from_slice(&trace.to_le_bytes());
        value[16..24].copy_from_slice(&span.to_le_bytes());
        value[24] = flags;
        field(EXTRA_TRACE, &value);
    }
    if let Some(reply) = extra.reply {
        let mut value = [0; 32];
        value[..16].copy_from_slice(&reply.node.to_le_bytes());
        value[16..24].copy_from_slice(&reply.session.to_le_bytes());
        value[24..].copy_from_slice(&reply.correlation.to_le_bytes());
        field(EXTRA_REPLY, &value);
    }
    if extra.repeat {
        field(EXTRA_REPEAT, &[]);
    }
    if !extra.labels.is_empty() {
        field(EXTRA_LABELS, extra.labels.encoded());
    }
    put_blob(out, &fields);
}

/// Reads batch frames of one lane of one link. Start a new one with each link.
#[derive(Debug, Default)]
pub struct BatchDecoder {
    heads: Vec<Arc<Head>>,
    frame_heads: Vec<(Arc<Head>, u64)>,
}

impl BatchDecoder {
    /// A decoder with an empty table of heads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a frame and appends its records to `records`. Bodies are slices of `payload`. After an error
    /// the lane cannot be read on, and `records` may hold the records before the damaged one.
    pub fn decode(
        &mut self,
        payload: Bytes,
        message_max: u64,
        now: Time,
        records: &mut Vec<Record>,
    ) -> Result<BatchHeader, WireError> {
        let mut cursor = Cursor::new(payload);
        let flags = cursor.u8("batch flags")?;
        if flags & !FLAG_RESET_HEADS != 0 {
            return Err(WireError::Invalid {
                field: "batch flags",
                value: u64::from(flags),
            });
        }
        if flags & FLAG_RESET_HEADS != 0 {
            self.heads.clear();
        }
        let flow = cursor.varint32("flow")?;
        let first = cursor.varint("first sequence")?;
        let count = cursor.bounded("count", RECORDS_MAX as u64)? as usize;
        if count == 0 {
            return Err(WireError::Invalid {
                field: "count",
                value: 0,
            });
        }
        if first.checked_add(count as u64).is_none() {
            return Err(WireError::Invalid {
                field: "first sequence",
                value: first,
            });
        }
        self.decode_heads(&mut cursor, count)?;
        self.decode_records(&mut cursor, count, message_max, now, records)?;
        cursor.finish()?;
        Ok(BatchHeader { flow, first, count })
    }

    fn decode_heads(&mut self, cursor: &mut Cursor, count: usize) -> Result<(), WireError> {
        let heads = cursor.bounded("heads", count as u64)?;
        if heads == 0 {
            return Err(WireError::Invalid {
                field: "heads",
                value: 0,
            });
        }
        self.frame_heads.clear();
        for _ in 0..heads {
            let head = match cursor.varint("head reference")? {
                0 => {
                    if self.heads.len() >= HEADS_MAX {
                        return Err(WireError::TooLarge {
                            field: "table of heads",
                            value: self.heads.len() as u64 + 1,
                            limit: HEADS_MAX as u64,
                        });
                    }
                    let head = Arc::new(decode_head(cursor)?);
                    self.heads.push(head.clone());
                    head
                }
                reference => usize::try_from(reference - 1)
                    .ok()
                    .and_then(|index| self.heads.get(index))
                    .ok_or(WireError::Invalid {
                        field: "head reference",
                        value: reference,
                    })?
                    .clone(),
            };
            let sequence = cursor.varint("producer sequence")?;
            self.frame_heads.push((head, sequence));
        }
        Ok(())
    }

    fn decode_records(
        &mut self,
        cursor: &mut Cursor,
        count: usize,
        message_max: u64,
        now: Time,
        records: &mut Vec<Record>,
    ) -> Result<(), WireError> {
        let mut current = 0;
        let mut last_key = None;
        let mut last_deadline = None;
        records.reserve(count);
        for _ in 0..count {
            let control = cursor.u8("record control")?;
            if control & RESERVED != 0 {
                return Err(WireError::Invalid {
                    field: "record control",
                    value: u64::from(control),
                });
            }
            if control & OTHER_HEAD != 0 {
                let index = cursor.varint("head index")?;
                if index >= self.frame_heads.len() as u64 {
                    return Err(WireError::Invalid {
                        field: "head index",
                        value: index,
                    });
                }
                current = index as usize;
            }
            let (head, next) = &mut self.frame_heads[current];
            if control & OTHER_SEQUENCE != 0 {
                *next = cursor.varint("producer sequence")?;
            }
            let sequence = *next;
            *next = next.wrapping_add(1);
            let key = match control & KEY_MASK {
                KEY_NONE => None,
                KEY_SAME if last_key.is_some() => last_key,
                KEY_VALUE => {
                    last_key = Some(Key::from(cursor.u64("key")?));
                    last_key
                }
                other => {
                    return Err(WireError::Invalid {
                        field: "key mode",
                        value: u64::from(other),
                    });
                }
            };
            let deadline = match control & DEADLINE_MASK {
                0 => None,
                DEADLINE_SAME if last_deadline.is_some() => last_deadline,
                DEADLINE_VALUE => {
                    let left = Duration::from_micros(cursor.varint("deadline")?);
                    last_deadline = Some(now + left);
                    last_deadline
                }
                other => {
                    return Err(WireError::Invalid {
                        field: "deadline mode",
                        value: u64::from(other),
                    });
                }
            };
            let extra = if control & EXTENSION == 0 {
                None
            } else {
                Some(decode_extra(cursor)?)
            };
            let length = cursor.bounded("body length", message_max)? as usize;
            let body = cursor.take("body", length)?;
            records.push(Record {
                head: head.clone(),
                sequence,
                key,
                deadline,
                extra,
                body,
            });
        }
        Ok(())
    }
}

pub(crate) fn decode_head(cursor: &mut Cursor) -> Result<Head, WireError> {
    let flags = cursor.u8("head flags")?;
    if flags & !(HEAD_ACK_MASK | HEAD_KIND) != 0 {
        return Err(WireError::Invalid {
            field: "head flags",
            value: u64::from(flags),
        });
    }
    let hops = cursor.u8("hops")?;
    let producer = ProducerId {
        id: cursor.u128("producer")?,
        epoch: cursor.varint("producer epoch")?,
    };
    let kind = if flags & HEAD_KIND == 0 {
        0
    } else {
        cursor.u64("kind")?
    };
    let subject = cursor.blob("subject", SUBJECT_MAX)?;
    let subject = std::str::from_utf8(&subject).map_err(|error| WireError::Invalid {
        field: "subject (UTF-8)",
        value: error.valid_up_to() as u64,
    })?;
    Ok(Head {
        producer,
        subject: Arc::from(subject),
        kind,
        // Two bits have four values, and each is a level.
        ack: AckLevel::from_u8(flags & HEAD_ACK_MASK).unwrap_or_default(),
        hops,
    })
}

pub(crate) fn decode_extra(cursor: &mut Cursor) -> Result<Box<Extra>, WireError> {
    let mut fields = Cursor::new(cursor.blob("extension", EXTRA_MAX)?);
    let mut extra = Box::<Extra>::default();
    while fields.remaining() > 0 {
        let tag = fields.u8("extension tag")?;
        let value = fields.blob("extension value", EXTRA_MAX)?;
        let mut value = Cursor::new(value);
        match tag {
            EXTRA_EVENT_TIME => extra.event_time = Some(value.u64("event time")? as i64),
            EXTRA_ATTEMPT => {
                let low = value.u8("attempt")?;
                extra.attempt = u16::from_le_bytes([low, value.u8("attempt")?]);
            }
            EXTRA_PRIORITY => extra.priority = value.u8("priority")?,
            EXTRA_TRACE => {
                extra.trace = Some((
                    value.u128("trace")?,
                    value.u64("span")?,
                    value.u8("trace flags")?,
                ));
            }
            EXTRA_REPLY => {
                extra.reply = Some(ReplyAddress {
                    node: value.u128("reply node")?,
                    session: value.u64("reply session")?,
                    correlation: value.u64("reply correlation")?,
                });
            }
            EXTRA_REPEAT => extra.repeat = true,
            EXTRA_LABELS => {
                extra.labels = Labels::decode(value.take("labels", value.remaining())?)?;
            }
            // A newer peer may say more; what is not known does not concern this node.
            _ => continue,
        }
        value.finish()?;
    }
    Ok(extra)
}
