//! One lane: one unidirectional QUIC stream.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};

use super::refusal::link_error;
use crate::link::contract::{LaneId, LaneReader, LaneWriter, LinkError};

/// The code with which a stream is reset or stopped; the reason is always that its end was dropped.
const DROPPED: VarInt = VarInt::from_u32(0);

/// What a failed write means for a lane.
pub(super) fn write_error(error: WriteError, lane: LaneId) -> LinkError {
    match error {
        WriteError::Stopped(_) => LinkError::LaneStopped { lane },
        WriteError::ConnectionLost(error) => link_error(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::LaneFinished { lane },
    }
}

/// The sending end of a lane of a [`QuicLink`](super::QuicLink).
#[derive(Debug)]
pub struct QuicLaneWriter {
    stream: SendStream,
    lane: LaneId,
    finished: bool,
}

impl QuicLaneWriter {
    pub(super) fn new(stream: SendStream, lane: LaneId) -> Self {
        Self {
            stream,
            lane,
            finished: false,
        }
    }
}

impl LaneWriter for QuicLaneWriter {
    async fn write_chunks(&mut self, chunks: &mut VecDeque<Bytes>) -> Result<usize, LinkError> {
        if self.finished {
            return Err(LinkError::LaneFinished { lane: self.lane });
        }
        while chunks.front().is_some_and(Bytes::is_empty) {
            chunks.pop_front();
        }
        if chunks.is_empty() {
            return Ok(0);
        }
        let written = self.stream.write_chunks(chunks.make_contiguous()).await;
        let written = written.map_err(|error| write_error(error, self.lane))?;
        chunks.drain(..written.chunks);
        Ok(written.bytes)
    }

    fn finish(&mut self) {
        self.finished = true;
        // An error says that the stream has ended already, which the next await reports.
        let _ = self.stream.finish();
    }

    async fn finished(&mut self) -> Result<(), LinkError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(LinkError::LaneStopped { lane: self.lane }),
            Err(StoppedError::ConnectionLost(error)) => Err(link_error(error)),
            Err(StoppedError::ZeroRttRejected) => Err(link_error(ConnectionError::Reset)),
        }
    }
}

impl Drop for QuicLaneWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Without this quinn would finish the stream, and half a record would look like a whole lane.
            let _ = self.stream.reset(DROPPED);
        }
    }
}

/// The receiving end of a lane of a [`QuicLink`](super::QuicLink).
///
/// Its chunks are slices of received datagrams; one that is kept keeps its datagram.
#[derive(Debug)]
pub struct QuicLaneReader {
    stream: RecvStream,
    lane: LaneId,
    /// Empty places for quinn to put chunks into, kept so that reading allocates nothing.
    places: Vec<Bytes>,
}

impl QuicLaneReader {
    pub(super) fn new(stream: RecvStream, lane: LaneId) -> Self {
        Self {
            stream,
            lane,
            places: Vec::new(),
        }
    }

    fn error(lane: LaneId, error: ReadError) -> LinkError {
        match error {
            ReadError::Reset(_) => LinkError::LaneReset { lane },
            ReadError::ConnectionLost(error) => link_error(error),
            // The stream is only read in order and stopped only by dropping this reader.
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => LinkError::Violation {
                problem: format!("{lane} cannot be read: {error}"),
            },
        }
    }
}

impl LaneReader for QuicLaneReader {
    async fn read_chunk(&mut self, max_bytes: usize) -> Result<Option<Bytes>, LinkError> {
        match self.stream.read_chunk(max_bytes, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(error) => Err(Self::error(self.lane, error)),
        }
    }

    async fn read_chunks(
        &mut self,
        into: &mut VecDeque<Bytes>,
        max_chunks: usize,
    ) -> Result<Option<usize>, LinkError> {
        if self.places.len() < max_chunks {
            self.places.resize(max_chunks, Bytes::new());
        }
        match self
            .stream
            .read_chunks(&mut self.places[..max_chunks])
            .await
        {
            Ok(Some(count)) => {
                into.extend(self.places[..count].iter_mut().map(std::mem::take));
                Ok(Some(count))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(Self::error(self.lane, error)),
        }
    }
}
