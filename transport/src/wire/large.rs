//! Records whose body is too large for one frame: a beginning, then parts, so that frames of other flows come in
//! between.
//!
//! ```text
//! large:  length of the whole body | a batch of one record, whose body is the first piece
//! part:   flow | sequence | offset in the body | the piece, to the end of the frame
//! ```

use super::batch::{BatchDecoder, BatchEncoder};
use super::cursor::{Cursor, WireError, put_varint};
use super::frame::{FrameKind, begin_frame, end_frame};
use super::record::Record;
use bytes::{BufMut, Bytes, BytesMut};
use mcpbus_actors::Time;

/// Which record a part belongs to, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The flow.
    pub flow: u32,
    /// The record's sequence there.
    pub sequence: u64,
}

/// The beginning of a large record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Which record.
    pub place: Place,
    /// Length of its whole body, in bytes. The peer says so: nothing is allocated for it.
    pub length: u64,
    /// The record, with the first piece of its body.
    pub record: Record,
}

/// The next part of a large record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which record.
    pub place: Place,
    /// Where in its body the piece begins, in bytes.
    pub offset: u64,
    /// The piece.
    pub piece: Bytes,
}

impl BatchEncoder {
    /// Appends the beginning of a large record with the first `piece` bytes of its body.
    pub fn encode_beginning(
        &mut self,
        out: &mut BytesMut,
        place: Place,
        record: &Record,
        piece: usize,
        now: Time,
    ) {
        let mut first = record.clone();
        first.body.truncate(piece);
        let plan = self.make_room(std::iter::once(&first), usize::MAX);
        let start = begin_frame(out, FrameKind::Large);
        put_varint(out, record.body.len() as u64);
        let records = std::iter::once(&first);
        let place = (place.flow, place.sequence);
        self.encode_payload(out, place, records, &plan, now);
        end_frame(out, start);
    }
}

/// Appends a part.
pub fn encode_part(out: &mut BytesMut, place: Place, offset: usize, piece: &[u8]) {
    let start = begin_frame(out, FrameKind::Part);
    put_varint(out, u64::from(place.flow));
    put_varint(out, place.sequence);
    put_varint(out, offset as u64);
    out.put_slice(piece);
    end_frame(out, start);
}

impl BatchDecoder {
    /// Reads the beginning of a large record. Its first piece is a slice of `payload`.
    pub fn decode_beginning(
        &mut self,
        payload: Bytes,
        message_max: u64,
        now: Time,
        records: &mut Vec<Record>,
    ) -> Result<Beginning, WireError> {
        let mut cursor = Cursor::new(payload);
        let length = cursor.bounded("length of a large body", message_max)?;
        let header = self.decode(cursor.into_rest(), message_max, now, records)?;
        let piece = records.last().map_or(0, |record| record.body.len() as u64);
        let field = "first piece of a large body";
        if header.count != 1 || piece == 0 || piece >= length {
            return Err(WireError::Invalid {
                field,
                value: piece,
            });
        }
        let place = Place {
            flow: header.flow,
            sequence: header.first,
        };
        match records.pop() {
            Some(record) => Ok(Beginning {
                place,
                length,
                record,
            }),
            None => Err(WireError::Truncated { field }),
        }
    }
}

/// Reads a part. Its piece is a slice of `payload`.
pub fn decode_part(payload: Bytes) -> Result<Part, WireError> {
    let mut cursor = Cursor::new(payload);
    let place = Place {
        flow: cursor.varint32("flow")?,
        sequence: cursor.varint("sequence")?,
    };
    let offset = cursor.varint("offset")?;
    let piece = cursor.into_rest();
    if piece.is_empty() {
        return Err(WireError::Truncated { field: "piece" });
    }
    Ok(Part {
        place,
        offset,
        piece,
    })
}
