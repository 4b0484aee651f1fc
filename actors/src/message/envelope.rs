//! A body with its header, and a batch of them.

use std::collections::VecDeque;

use super::{Header, Message, Time};

/// A message on its way: header and body, moved together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<M> {
    /// What travels beside the body.
    pub header: Header,
    /// The body.
    pub body: M,
}

impl<M: Message> Envelope<M> {
    /// Wraps a body; the header takes the body's key.
    #[must_use]
    #[inline]
    pub fn new(body: M) -> Self {
        Self {
            header: Header::with_key(body.key()),
            body,
        }
    }

    /// Bytes it counts for in a bound: header and body.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        self.header.weight() + self.body.weight()
    }
}

impl<M: Message> From<M> for Envelope<M> {
    fn from(body: M) -> Self {
        Self::new(body)
    }
}

/// Messages that travel together, in order, with what they share kept once.
///
/// Emptied batches keep their allocation: at steady state queues, hands and outputs swap the same few vectors.
#[derive(Clone, Debug)]
pub struct Batch<M> {
    items: VecDeque<Envelope<M>>,
    bytes: usize,
    earliest_deadline: Option<Time>,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            earliest_deadline: None,
        }
    }
}

impl<M: Message> Batch<M> {
    /// An empty batch; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages it holds.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Sum of the weights of its messages, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// No message in it expires before this point. A lower bound: it may be earlier than the earliest still inside.
    #[must_use]
    pub fn earliest_deadline(&self) -> Option<Time> {
        self.earliest_deadline
    }

    /// Whether some message in it may have expired at `now`: one comparison for the whole batch.
    #[must_use]
    pub fn may_hold_expired(&self, now: Time) -> bool {
        self.earliest_deadline
            .is_some_and(|deadline| deadline <= now)
    }

    /// Appends a message.
    #[inline]
    pub fn push(&mut self, envelope: Envelope<M>) {
        let weight = envelope.weight();
        self.push_weighed(envelope, weight);
    }

    #[inline]
    pub(crate) fn push_weighed(&mut self, envelope: Envelope<M>, weight: usize) {
        self.bytes += weight;
        if let Some(deadline) = envelope.header.deadline() {
            self.earliest_deadline = Some(
                self.earliest_deadline
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
        self.items.push_back(envelope);
    }

    /// Puts a message before all others: for one that is to be handled again.
    pub fn push_front(&mut self, envelope: Envelope<M>) {
        self.bytes += envelope.weight();
        if let Some(deadline) = envelope.header.deadline() {
            self.earliest_deadline = Some(
                self.earliest_deadline
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
        self.items.push_front(envelope);
    }

    /// Takes the first message.
    #[inline]
    pub fn pop(&mut self) -> Option<Envelope<M>> {
        let envelope = self.items.pop_front()?;
        if self.items.is_empty() {
            self.bytes = 0;
            self.earliest_deadline = None;
        } else {
            self.bytes = self.bytes.saturating_sub(envelope.weight());
        }
        Some(envelope)
    }

    /// As [`Batch::pop`], leaving `bytes` too high until the batch is empty: for a hand, whose bytes nobody asks for.
    #[inline]
    pub(crate) fn pop_unweighed(&mut self) -> Option<Envelope<M>> {
        let envelope = self.items.pop_front();
        if self.items.is_empty() {
            self.bytes = 0;
            self.earliest_deadline = None;
        }
        envelope
    }

    /// Takes the last message.
    pub fn pop_back(&mut self) -> Option<Envelope<M>> {
        let envelope = self.items.pop_back()?;
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        if self.items.is_empty() {
            self.bytes = 0;
            self.earliest_deadline = None;
        }
        Some(envelope)
    }

    /// The first message.
    #[must_use]
    pub fn front(&self) -> Option<&Envelope<M>> {
        self.items.front()
    }

    /// Moves everything from `other` to the end of this batch; when this one is empty, only pointers move.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.bytes += std::mem::take(&mut other.bytes);
        self.earliest_deadline = match (self.earliest_deadline, other.earliest_deadline.take()) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        self.items.append(&mut other.items);
    }

    /// Moves up to `max` messages to the end of `to`; when everything goes into an empty batch, only pointers move.
    pub fn move_to(&mut self, to: &mut Self, max: usize) -> usize {
        let count = self.len().min(max);
        if count == self.len() {
            to.append(self);
        } else {
            let mut bytes = 0;
            to.items.extend(
                self.items
                    .drain(..count)
                    .inspect(|envelope| bytes += envelope.weight()),
            );
            self.bytes = self.bytes.saturating_sub(bytes);
            to.bytes += bytes;
            // Both keep the lower bound: which messages set it is not worth finding out.
            to.earliest_deadline = match (to.earliest_deadline, self.earliest_deadline) {
                (Some(theirs), Some(mine)) => Some(theirs.min(mine)),
                (theirs, mine) => theirs.or(mine),
            };
        }
        count
    }

    /// Keeps the first `length` messages and drops the others.
    pub fn truncate(&mut self, length: usize) {
        while self.len() > length {
            self.pop_back();
        }
    }

    /// Drops all messages, keeps the allocation.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
        self.earliest_deadline = None;
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = &Envelope<M>> {
        self.items.iter()
    }

    /// The headers can be changed in place, the bodies too as long as their weight stays the same.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Envelope<M>> {
        self.items.iter_mut()
    }

    /// Takes all messages out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Envelope<M>> + '_ {
        self.bytes = 0;
        self.earliest_deadline = None;
        self.items.drain(..)
    }
}

impl<M: Message> Extend<Envelope<M>> for Batch<M> {
    fn extend<I: IntoIterator<Item = Envelope<M>>>(&mut self, envelopes: I) {
        for envelope in envelopes {
            self.push(envelope);
        }
    }
}

impl<M: Message> FromIterator<M> for Batch<M> {
    fn from_iter<I: IntoIterator<Item = M>>(bodies: I) -> Self {
        let mut batch = Self::new();
        batch.extend(bodies.into_iter().map(Envelope::new));
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_deadline_follow_the_messages() {
        let mut batch: Batch<u64> = [1, 2, 3].into_iter().collect();
        let one = Envelope::new(1u64).weight();
        assert_eq!(batch.bytes(), 3 * one);
        let mut urgent = Envelope::new(4u64);
        urgent.header.set_deadline(Some(Time::from_nanos(9)));
        batch.push(urgent);
        assert!(batch.may_hold_expired(Time::from_nanos(9)));
        assert!(!batch.may_hold_expired(Time::from_nanos(8)));
        let mut other = Batch::new();
        assert_eq!(batch.move_to(&mut other, 2), 2);
        assert_eq!((batch.len(), other.len(), batch.bytes()), (2, 2, 2 * one));
        other.append(&mut batch);
        let order: Vec<u64> = other.drain().map(|envelope| envelope.body).collect();
        assert_eq!(order, [1, 2, 3, 4]);
        assert_eq!((other.bytes(), other.earliest_deadline()), (0, None));
    }
}
