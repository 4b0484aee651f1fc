//! Reading: frames into records.

use super::*;
use crate::wire::cursor::{Cursor, WireError};
use crate::wire::labels::Labels;
use crate::wire::record::{
    AckLevel, EXTRA_MAX, Extra, Head, ProducerId, Record, ReplyAddress, SUBJECT_MAX,
};
use bytes::Bytes;
use mcpbus_actors::{Key, Time};
use std::sync::Arc;
use std::time::Duration;

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
