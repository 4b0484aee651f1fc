//! Writing: records into frames.

use super::*;
use crate::wire::cursor::{put_blob, put_varint};
use crate::wire::frame::{FRAME_OVERHEAD, FrameKind, begin_frame, end_frame};
use crate::wire::record::{Extra, Head, Record};
use bytes::{BufMut, BytesMut};
use foldhash::HashMap;
use mcpbus_actors::{Key, Time};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a record beside its body, head and what only some carry: control, sequence, key, length.
const RECORD_FIELDS: usize = 26;
/// Most bytes of a batch before its heads and records: flags, flow, first sequence, count, number of heads.
const BATCH_FIELDS: usize = 24;
/// Most bytes of a deadline.
const DEADLINE_FIELD: usize = 10;
/// Most bytes of an extension that is written here, beside its labels.
const EXTENSION_FIELD: usize = 96;
/// Most bytes for naming a head: its reference, its first sequence, its index.
const REFERENCE_FIELDS: usize = 20;
/// Most bytes of a whole head beside its subject.
const HEAD_FIELDS: usize = 40;

/// What goes into a frame: how many records, and how many bytes they take at most.
pub(crate) struct Plan {
    pub(crate) count: usize,
    size: usize,
    new_heads: usize,
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
        let plan = self.make_room(records.clone(), budget);
        let count = plan.count;
        self.encode_planned(out, (flow, first), records.take(count), plan, now);
        count
    }

    /// Appends the frame of as many records as [`make_room`](Self::make_room) has planned.
    pub(crate) fn encode_planned<'a>(
        &mut self,
        out: &mut BytesMut,
        (flow, first): (u32, u64),
        records: impl Iterator<Item = &'a Record> + Clone,
        plan: Plan,
        now: Time,
    ) {
        out.reserve(FRAME_OVERHEAD + BATCH_FIELDS + plan.size);
        let start = begin_frame(out, FrameKind::Batch);
        self.encode_payload(out, (flow, first), records, &plan, now);
        end_frame(out, start);
    }

    /// How many of the records go into one frame, and how many bytes they take at most; afterwards their heads fit the table.
    pub(crate) fn make_room<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record> + Clone,
        budget: usize,
    ) -> Plan {
        let plan = self.plan(records.clone(), budget);
        if self.heads.len() + plan.new_heads <= HEADS_MAX {
            return plan;
        }
        self.table.clear();
        self.heads.clear();
        self.reset = true;
        // Heads that were known must be written again and take room in the frame.
        self.plan(records, budget)
    }

    /// Appends the fields of a batch.
    pub(crate) fn encode_payload<'a>(
        &mut self,
        out: &mut BytesMut,
        (flow, first): (u32, u64),
        records: impl Iterator<Item = &'a Record> + Clone,
        plan: &Plan,
        now: Time,
    ) {
        out.put_u8(if std::mem::take(&mut self.reset) {
            FLAG_RESET_HEADS
        } else {
            0
        });
        put_varint(out, u64::from(flow));
        put_varint(out, first);
        put_varint(out, plan.count as u64);
        self.encode_heads(out, records.clone());
        self.encode_records(out, records, now);
    }

    /// How many records fit, by an upper bound of what each takes, and an upper bound of the heads they may add to
    /// the table.
    fn plan<'a>(&self, records: impl Iterator<Item = &'a Record>, budget: usize) -> Plan {
        let mut size = 0;
        let mut planned = 0;
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
            planned = size;
            new_heads += usize::from(new_head);
        }
        Plan {
            count,
            size: planned,
            new_heads,
        }
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
