//! One lane of one link in one direction: ordered bytes that take their time.

use bytes::Bytes;
use mcpbus_actors::Time;
use std::collections::VecDeque;

/// Bytes a lane takes before its writer has to wait, as a stream's flow control has it.
const CAPACITY: usize = 128 * 1024;

/// Bytes under way on one lane.
#[derive(Debug, Default)]
pub struct Pipe {
    chunks: VecDeque<(Time, Bytes)>,
    bytes: usize,
    last: Time,
}

impl Pipe {
    /// Whether the writer may write more.
    pub fn has_room(&self) -> bool {
        self.bytes < CAPACITY
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Puts bytes on their way; they arrive at `at` or behind what is before them. When that is.
    pub fn push(&mut self, bytes: Bytes, at: Time) -> Time {
        self.last = self.last.max(at);
        self.bytes += bytes.len();
        self.chunks.push_back((self.last, bytes));
        self.last
    }

    /// Takes at most `most` bytes that have arrived, from one chunk.
    pub fn take(&mut self, now: Time, most: usize) -> Option<Bytes> {
        let (at, bytes) = self.chunks.front_mut()?;
        if *at > now {
            return None;
        }
        let part = bytes.split_to(most.clamp(1, bytes.len()));
        if bytes.is_empty() {
            self.chunks.pop_front();
        }
        self.bytes -= part.len();
        Some(part)
    }

    /// The link is cut: of what is under way only a first part arrives, right now.
    pub fn cut(&mut self, most: usize) -> Option<Bytes> {
        let (_, first) = std::mem::take(&mut self.chunks).into_iter().next()?;
        self.bytes = 0;
        (most > 0).then(|| first.slice(..most.min(first.len())))
    }
}
