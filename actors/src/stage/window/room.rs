//! How much may be open at once, and what is.

use crate::message::{Message, Reason, Rejection};

/// The folded messages of an open window.
#[derive(Clone, Debug)]
pub(super) struct Open<S> {
    pub(super) state: S,
    pub(super) messages: u64,
    bytes: usize,
}

impl<S: Message> Open<S> {
    /// Adds one message.
    pub(super) fn add(&mut self, room: &mut Room, add: impl FnOnce(&mut S)) {
        add(&mut self.state);
        self.messages += 1;
        self.weigh(room);
    }

    /// Adds what another window holds.
    pub(super) fn merge(&mut self, room: &mut Room, other: Self, merge: impl FnOnce(&mut S, S)) {
        room.close(&other);
        merge(&mut self.state, other.state);
        self.messages += other.messages;
        self.weigh(room);
    }

    fn weigh(&mut self, room: &mut Room) {
        let bytes = self.state.weight();
        room.bytes = room.bytes - self.bytes + bytes;
        self.bytes = bytes;
    }
}

/// Open windows and their bytes, with their limits.
#[derive(Clone, Debug)]
pub(super) struct Room {
    max_windows: usize,
    max_bytes: usize,
    windows: usize,
    bytes: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            max_windows: 10_000,
            max_bytes: 16 << 20,
            windows: 0,
            bytes: 0,
        }
    }

    pub(super) fn max_windows(&self) -> usize {
        self.max_windows
    }

    pub(super) fn limit_windows(&mut self, windows: usize) {
        self.max_windows = windows.max(1);
    }

    pub(super) fn limit_bytes(&mut self, bytes: usize) {
        self.max_bytes = bytes.max(1);
    }

    /// Whether a message may open so many windows while these close.
    pub(super) fn admit<'a, S: 'a>(
        &self,
        opens: usize,
        closing: impl Iterator<Item = &'a Open<S>>,
    ) -> Result<(), Rejection> {
        let (windows, bytes) = closing
            .fold((self.windows, self.bytes), |(windows, bytes), open| {
                (windows - 1, bytes - open.bytes)
            });
        let text = if windows + opens > self.max_windows {
            format!("would open more than {} windows", self.max_windows)
        } else if bytes >= self.max_bytes {
            format!("open windows hold {} bytes already", self.max_bytes)
        } else {
            return Ok(());
        };
        Err(Rejection::new(Reason::Quota, text))
    }

    pub(super) fn open<S: Message>(&mut self, state: S) -> Open<S> {
        self.windows += 1;
        let mut open = Open {
            state,
            messages: 0,
            bytes: 0,
        };
        open.weigh(self);
        open
    }

    pub(super) fn close<S>(&mut self, open: &Open<S>) {
        self.windows -= 1;
        self.bytes -= open.bytes;
    }
}

/// The settings of limits, the same for all windows.
macro_rules! limits {
    () => {
        /// How many windows may be open at once, all keys together; 10,000 if nothing is said, at least 1. What would open one
        /// more is rejected as `quota`.
        #[must_use]
        pub fn max_windows(mut self, windows: usize) -> Self {
            self.room.limit_windows(windows);
            self
        }

        /// How many bytes the states of open windows may weigh together; 16 MiB if nothing is said. Once they weigh so much,
        /// messages are rejected as `quota` until windows are complete; the last one may exceed it by what it adds.
        #[must_use]
        pub fn max_bytes(mut self, bytes: usize) -> Self {
            self.room.limit_bytes(bytes);
            self
        }
    };
}
pub(super) use limits;

/// The most results that are emitted at once at the end.
pub(super) const AT_ONCE: usize = 256;

pub(super) fn late(behind: i64) -> Rejection {
    let text = format!("late: its windows are complete, it is {behind} ns behind the watermark");
    Rejection::new(Reason::Rejected, text)
}

pub(super) fn no_event_time() -> Rejection {
    Rejection::new(
        Reason::Decode,
        "has no event time to be put into a window by",
    )
}
