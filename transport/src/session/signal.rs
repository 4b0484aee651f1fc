//! Ordered control messages that must survive a cut: kept until the peer has them.

use std::collections::VecDeque;

/// One sequence of control messages in both directions.
#[derive(Debug)]
pub(super) struct Signals<T> {
    retained: VecDeque<T>,
    /// Sequence of the first retained.
    base: u64,
    /// Sequence of the next to write.
    next: u64,
    /// Last one received from the peer.
    pub(super) received: u64,
    /// Last one that the peer knows was received.
    pub(super) acked: u64,
}

impl<T: Clone> Signals<T> {
    pub(super) fn new() -> Self {
        Self {
            retained: VecDeque::new(),
            base: 1,
            next: 1,
            received: 0,
            acked: 0,
        }
    }

    pub(super) fn push(&mut self, message: T) {
        self.retained.push_back(message);
    }

    /// How many wait for their ack.
    pub(super) fn len(&self) -> usize {
        self.retained.len()
    }

    /// One came from the peer: `Some(true)` if it is new, `None` if it leaves a gap.
    pub(super) fn receive(&mut self, sequence: u64) -> Option<bool> {
        if sequence > self.received + 1 {
            return None;
        }
        let new = sequence == self.received + 1;
        self.received = self.received.max(sequence);
        Some(new)
    }

    /// The next one to write.
    pub(super) fn next(&mut self) -> Option<(u64, T)> {
        let message = self.retained.get((self.next - self.base) as usize)?.clone();
        self.next += 1;
        Some((self.next - 1, message))
    }

    pub(super) fn has_next(&self) -> bool {
        ((self.next - self.base) as usize) < self.retained.len()
    }

    /// The peer has everything up to `sequence`. `false` if that was never sent.
    pub(super) fn ack(&mut self, sequence: u64) -> bool {
        if sequence >= self.next {
            return false;
        }
        while self.base <= sequence {
            self.retained.pop_front();
            self.base += 1;
        }
        true
    }

    /// A resumed link: go on behind what the peer has.
    pub(super) fn resume(&mut self) {
        self.next = self.base;
    }

    /// A peer without memory: what it was told is void, the owner tells it anew.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}
