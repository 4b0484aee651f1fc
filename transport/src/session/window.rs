//! Which of the received messages are still held, and up to where all are settled.

use std::collections::VecDeque;

/// A message that was received and is not yet settled in order.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// How many copies are still out.
    copies: u32,
    cost: u32,
    /// Whether it ever existed in several places.
    split: bool,
}

/// The received messages of one flow from the first that is not settled. Outlives its flow when the sender is gone
/// and the receiver still owns what came.
#[derive(Debug, Default)]
pub struct Window {
    settled: u64,
    settled_bytes: u64,
    held: VecDeque<Held>,
}

impl Window {
    /// Up to where all messages are settled.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// What all settled messages weighed, in bytes.
    pub fn settled_bytes(&self) -> u64 {
        self.settled_bytes
    }

    /// The next message came; it exists once.
    pub fn receive(&mut self, cost: u64) {
        self.held.push_back(Held {
            copies: 1,
            cost: cost as u32,
            split: false,
        });
    }

    /// The message now exists in `copies` places, at least one.
    pub fn hold(&mut self, sequence: u64, copies: u32) {
        if let Some(held) = self.entry(sequence) {
            held.copies = copies.max(1);
            held.split |= copies > 1;
        }
    }

    /// In how many places the message exists.
    pub fn copies(&self, sequence: u64) -> u32 {
        self.index(sequence)
            .and_then(|index| self.held.get(index))
            .map_or(0, |held| held.copies)
    }

    /// Whether the message ever existed in several places.
    pub fn was_split(&self, sequence: u64) -> bool {
        self.index(sequence)
            .and_then(|index| self.held.get(index))
            .is_some_and(|held| held.split)
    }

    /// One copy is passed on or ended. Whether it was the last.
    pub fn done(&mut self, sequence: u64) -> bool {
        let Some(held) = self.entry(sequence) else {
            return false;
        };
        if held.copies == 0 {
            return false;
        }
        held.copies -= 1;
        if held.copies > 0 {
            return false;
        }
        self.settle_front();
        true
    }

    /// One copy of each of `count` messages from `first` on is passed on or ended. Of how many it was the last.
    pub fn done_all(&mut self, first: u64, count: u64) -> u64 {
        if count == 1 {
            return u64::from(self.done(first));
        }
        let Some(start) = self.index(first) else {
            // Some of them are settled, or all: each is looked at by itself.
            let all = first..first.saturating_add(count);
            return all.map(|sequence| u64::from(self.done(sequence))).sum();
        };
        let end = self.held.len().min(start.saturating_add(count as usize));
        let mut last = 0;
        for held in self.held.range_mut(start.min(end)..end) {
            last += u64::from(held.copies == 1);
            held.copies = held.copies.saturating_sub(1);
        }
        self.settle_front();
        last
    }

    fn settle_front(&mut self) {
        while let Some(front) = self.held.front()
            && front.copies == 0
        {
            self.settled += 1;
            self.settled_bytes += u64::from(front.cost);
            self.held.pop_front();
        }
    }

    /// Messages and bytes from the first that is not settled.
    pub fn held(&self) -> (u64, u64) {
        (
            self.held.len() as u64,
            self.held.iter().map(|held| u64::from(held.cost)).sum(),
        )
    }

    /// How many messages still exist, counted one by one.
    pub fn unfinished(&self) -> u64 {
        self.held.iter().filter(|held| held.copies > 0).count() as u64
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.settled + 1)?).ok()
    }

    fn entry(&mut self, sequence: u64) -> Option<&mut Held> {
        let index = self.index(sequence)?;
        self.held.get_mut(index)
    }
}
