//! How much an edge may hold, and what happens when it holds that much.

use std::fmt;

/// About the most bytes that a stage takes from an edge at once, and that it collects for one before it sends them: then a large
/// bound is what lies in the edge, and not that much again at each of its ends.
pub(crate) const TURN_BYTES: usize = 256 << 10;

/// The bound of one edge, in messages and in bytes. Both always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    messages: usize,
    bytes: usize,
}

impl Capacity {
    /// The byte bound of a capacity that names none: 1 MiB.
    pub const DEFAULT_BYTES: usize = 1 << 20;

    /// At most this many messages (at least 1), and [`Capacity::DEFAULT_BYTES`].
    #[must_use]
    pub const fn messages(messages: usize) -> Self {
        Self {
            messages: if messages == 0 { 1 } else { messages },
            bytes: Self::DEFAULT_BYTES,
        }
    }

    /// At most this many bytes, headers included. A heavier message is admitted only alone, into an empty edge.
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self {
            messages: self.messages,
            bytes: if bytes == 0 { 1 } else { bytes },
        }
    }

    /// The bound in messages.
    #[must_use]
    pub const fn max_messages(&self) -> usize {
        self.messages
    }

    /// The bound in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that places of queued batches may take without a message in them.
    pub(crate) const fn unused_bytes(&self) -> usize {
        self.bytes / 8
    }

    /// Bytes of emptied batches that may be kept for later. Small edges keep as much as they may hold, so that at steady state
    /// nothing is allocated.
    pub(crate) const fn emptied_bytes(&self) -> usize {
        let quarter = self.bytes / 4;
        let small = if self.bytes < 64 << 10 {
            self.bytes
        } else {
            64 << 10
        };
        if quarter > small { quarter } else { small }
    }
}

impl Default for Capacity {
    /// 1,024 messages, 1 MiB.
    fn default() -> Self {
        Self::messages(1024)
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes", self.messages, self.bytes)
    }
}

/// What a full edge does with one more message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The sender waits for room. Backpressure.
    #[default]
    Wait,
    /// The sender gets the message back at once.
    Fail,
    /// The new message is dropped and counted `shed(overflow)`.
    DropNewest,
    /// The oldest messages are dropped until there is room, and counted `shed(overflow)`.
    DropOldest,
}

impl Overflow {
    /// The stable name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fail => "fail",
            Self::DropNewest => "drop-newest",
            Self::DropOldest => "drop-oldest",
        }
    }

    /// The policy with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Wait, Self::Fail, Self::DropNewest, Self::DropOldest]
            .into_iter()
            .find(|policy| policy.name() == name)
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
