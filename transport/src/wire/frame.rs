//! Frames: `length: u32 LE` (of what follows), `kind: u8`, payload. The reader cuts a lane's bytes into
//! frames; a frame that lies whole in one chunk is a slice of it, never a copy.

use super::cursor::WireError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a frame is. The numbers are the wire's; they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum FrameKind {
    /// First frame of a link, in both directions.
    Hello = 1,
    /// How far each receiving flow has come, sent once after a resumed hello.
    Resume = 2,
    /// A flow begins.
    Open = 3,
    /// A flow ends; everything on it has been settled.
    Close = 4,
    /// Received, settled and granted positions of flows.
    Ack = 5,
    /// Messages that ended other than well, before the ack that covers them.
    Failed = 6,
    /// What waits at the sender for credit.
    Pending = 7,
    /// An ordered control message of the floor above.
    Signal = 8,
    /// Are you there?
    Ping = 9,
    /// I am.
    Pong = 10,
    /// The sender leaves, and why.
    Goodbye = 11,
    /// The receiver of a flow takes back what it granted and the sender has not used.
    Revoke = 12,
    /// How far the sender of a flow may go after a revoke.
    Revoked = 13,
    /// A batch of records of one flow.
    Batch = 32,
    /// The beginning of a record whose body goes on in parts.
    Large = 33,
    /// The next part of the body of a large record.
    Part = 34,
    /// A kind that only the next version knows, so that tests can see that it is kept from older peers.
    #[cfg(test)]
    Newer = 250,
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_u8(value: u8) -> Result<Self, WireError> {
        Ok(match value {
            1 => Self::Hello,
            2 => Self::Resume,
            3 => Self::Open,
            4 => Self::Close,
            5 => Self::Ack,
            6 => Self::Failed,
            7 => Self::Pending,
            8 => Self::Signal,
            9 => Self::Ping,
            10 => Self::Pong,
            11 => Self::Goodbye,
            12 => Self::Revoke,
            13 => Self::Revoked,
            32 => Self::Batch,
            33 => Self::Large,
            34 => Self::Part,
            #[cfg(test)]
            250 => Self::Newer,
            other => {
                return Err(WireError::Invalid {
                    field: "frame kind",
                    value: u64::from(other),
                });
            }
        })
    }
}

impl FrameKind {
    /// The wire version in which this kind first appeared. It is never sent to a peer of an older one.
    pub fn since(self) -> u8 {
        match self {
            #[cfg(test)]
            Self::Newer => 2,
            _ => 1,
        }
    }
}

/// Bytes before a frame's payload: its length and its kind.
pub const FRAME_OVERHEAD: usize = 5;
/// Longest frame on a data lane, in bytes, whatever bodies may weigh: larger ones travel in parts.
pub const DATA_FRAME_MAX: usize = 128 * 1024;
/// Most bytes of records that a data frame is filled with; what is left to [`DATA_FRAME_MAX`] is for the fields of
/// one record beside its body: head, key, deadline and extension.
pub const FRAME_TARGET_MAX: usize = DATA_FRAME_MAX - 8 * 1024;

/// Starts a frame; [`end_frame`] fills in its length.
pub fn begin_frame(out: &mut BytesMut, kind: FrameKind) -> usize {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(kind as u8);
    start
}

/// Ends the frame that began at `start`.
pub fn end_frame(out: &mut BytesMut, start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Cuts the bytes of one lane into frames. Holds at most one unfinished frame, of at most the limit.
#[derive(Debug)]
pub struct FrameReader {
    chunk: Bytes,
    partial: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            limit,
        }
    }

    /// Hands the next bytes of the lane in. Call [`FrameReader::next`] until it returns `None` before the
    /// next chunk.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "frames of the last chunk are still to be taken"
        );
        self.chunk = chunk;
    }

    /// What of the last chunk has not been taken as frames, for another reader to go on with.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.chunk)
    }

    /// The next whole frame: its kind and payload.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(FrameKind, Bytes)>, WireError> {
        if !self.partial.is_empty() {
            return self.finish_partial();
        }
        if self.chunk.len() < 4 {
            self.partial.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        }
        let length = self.check(&self.chunk[..4])?;
        if self.chunk.len() < 4 + length {
            self.partial.reserve(4 + length);
            self.partial.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        }
        self.chunk.advance(4);
        let frame = self.chunk.split_to(length);
        Self::split(frame).map(Some)
    }

    fn finish_partial(&mut self) -> Result<Option<(FrameKind, Bytes)>, WireError> {
        if self.partial.len() < 4 {
            let take = (4 - self.partial.len()).min(self.chunk.len());
            self.partial.extend_from_slice(&self.chunk.split_to(take));
            if self.partial.len() < 4 {
                return Ok(None);
            }
        }
        let length = self.check(&self.partial[..4])?;
        let missing = 4 + length - self.partial.len();
        let take = missing.min(self.chunk.len());
        self.partial.reserve(missing);
        self.partial.extend_from_slice(&self.chunk.split_to(take));
        if take < missing {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.partial).freeze();
        frame.advance(4);
        Self::split(frame).map(Some)
    }

    fn check(&self, length: &[u8]) -> Result<usize, WireError> {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > self.limit {
            return Err(WireError::TooLarge {
                field: "frame length",
                value: length as u64,
                limit: self.limit as u64,
            });
        }
        if length == 0 {
            return Err(WireError::Truncated {
                field: "frame kind",
            });
        }
        Ok(length)
    }

    fn split(mut frame: Bytes) -> Result<(FrameKind, Bytes), WireError> {
        let kind = FrameKind::from_u8(frame.get_u8())?;
        Ok((kind, frame))
    }
}
