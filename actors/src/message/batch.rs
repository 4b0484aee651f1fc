//! Messages that travel together.

use super::buffer::{Body, Buffer, Then};
use super::{Envelope, Header, Message, Time};

/// Messages that travel together, in order, with what they share kept once.
///
/// Emptied batches keep their allocation: at steady state queues, hands and outputs swap the same few batches.
pub struct Batch<M> {
    items: Buffer<M>,
    bytes: usize,
    earliest_deadline: Option<Time>,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            items: Buffer::default(),
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
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    /// Sum of the weights of its messages, in bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages it has memory for.
    pub(crate) fn allocated(&self) -> usize {
        self.items.allocated()
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
        self.push_weighed(envelope.header, envelope.body, weight);
    }

    /// Appends an output that `cause` brings about, whose identity and key are set here.
    #[inline]
    pub(crate) fn push_child(
        &mut self,
        cause: Option<&Header>,
        producer: u32,
        sequence: u64,
        body: M,
    ) {
        let key = body.key();
        let identify = move |header: &mut Header| {
            if key.is_some() {
                header.set_key(key);
            }
            header.set_identity(producer, 0, sequence);
        };
        match cause {
            Some(cause) if cause.owns_memory() => {
                let mut header = cause.child();
                identify(&mut header);
                let weight = header.weight() + body.weight();
                self.push_weighed(header, body, weight);
            }
            Some(cause) => {
                self.note(cause, size_of::<Header>() + body.weight());
                let change = |header: &mut Header| {
                    header.set_attempt(0);
                    identify(header);
                };
                self.items.push_child(cause, change, body);
            }
            None => {
                self.bytes += size_of::<Header>() + body.weight();
                let mut header = Header::new();
                identify(&mut header);
                self.items.push(header, body);
            }
        }
    }

    /// Appends a message as it came to its handler.
    #[inline]
    pub(crate) fn push_forwarded(&mut self, header: &Header, body: Body<'_, M>) {
        if header.owns_memory() {
            self.push_copied(header, body);
        } else {
            self.note(header, size_of::<Header>() + body.weight());
            self.items.push_forwarded(header, body);
        }
    }

    #[cold]
    fn push_copied(&mut self, header: &Header, body: Body<'_, M>) {
        let weight = header.weight() + body.weight();
        self.push_weighed(header.clone(), body.take(), weight);
    }

    #[inline]
    pub(crate) fn push_weighed(&mut self, header: Header, body: M, weight: usize) {
        self.note(&header, weight);
        self.items.push(header, body);
    }

    #[inline]
    fn note(&mut self, header: &Header, weight: usize) {
        self.bytes += weight;
        if let Some(deadline) = header.deadline() {
            self.note_deadline(Some(deadline));
        }
    }

    fn note_deadline(&mut self, deadline: Option<Time>) {
        self.earliest_deadline = match (self.earliest_deadline, deadline) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Puts a message before all others: for one that is to be handled again.
    pub fn push_front(&mut self, envelope: Envelope<M>) {
        self.note(&envelope.header, envelope.weight());
        self.items.push_front(envelope);
    }

    /// Takes the first message.
    #[inline]
    pub fn pop(&mut self) -> Option<Envelope<M>> {
        let (header, Some(body)) = self.items.take_first()? else {
            unreachable!("bodies are only taken from a hand, which is never popped");
        };
        let envelope = Envelope { header, body };
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        self.reset_if_empty();
        Some(envelope)
    }

    /// Takes the last message.
    pub fn pop_back(&mut self) -> Option<Envelope<M>> {
        let envelope = self.items.pop_back()?;
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        self.reset_if_empty();
        Some(envelope)
    }

    #[inline]
    fn reset_if_empty(&mut self) {
        if self.items.len() == 0 {
            self.bytes = 0;
            self.earliest_deadline = None;
        }
    }

    /// The first message.
    #[must_use]
    pub fn front(&self) -> Option<&Envelope<M>> {
        self.items.as_slice().first()
    }

    // ---- for a hand: messages are handled where they lie, and nobody asks for the bytes of what is left

    /// As [`Buffer::handle_each`].
    #[inline]
    pub(crate) fn handle_each(
        &mut self,
        most: usize,
        handle: impl FnMut(&Header, Body<'_, M>) -> Then,
    ) {
        self.items.handle_each(most, handle);
        self.reset_if_empty();
    }

    /// As [`Buffer::take_at_handler`].
    pub(crate) fn take_at_handler(&mut self) -> bool {
        self.items.take_at_handler()
    }

    /// The header of the first message, also when its body was taken.
    pub(crate) fn first_header_mut(&mut self) -> Option<&mut Header> {
        self.items.first_header_mut()
    }

    /// Whether the body of the first message was taken.
    pub(crate) fn is_first_hollow(&self) -> bool {
        self.items.is_hollow()
    }

    /// Takes the first message, without its body if that was taken before.
    pub(crate) fn take_first(&mut self) -> Option<(Header, Option<M>)> {
        let taken = self.items.take_first();
        self.reset_if_empty();
        taken
    }

    /// Moves everything from `other` to the end of this batch; when this one is empty, only pointers move.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        self.bytes += std::mem::take(&mut other.bytes);
        self.note_deadline(other.earliest_deadline.take());
        other.items.move_to(&mut self.items, usize::MAX);
    }

    /// Moves up to `max` messages to the end of `to`; when everything goes into an empty batch, only pointers move.
    pub fn move_to(&mut self, to: &mut Self, max: usize) -> usize {
        let count = self.len().min(max);
        if count == self.len() {
            to.append(self);
            return count;
        }
        let moved = &self.items.as_slice()[..count];
        let bytes: usize = moved.iter().map(Envelope::weight).sum();
        self.items.move_to(&mut to.items, count);
        self.bytes = self.bytes.saturating_sub(bytes);
        to.bytes += bytes;
        // Both keep the lower bound: which messages set it is not worth finding out.
        to.note_deadline(self.earliest_deadline);
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
        self.reset_if_empty();
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = &Envelope<M>> {
        self.items.as_slice().iter()
    }

    /// The headers can be changed in place, the bodies too as long as their weight stays the same.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Envelope<M>> {
        self.items.as_mut_slice().iter_mut()
    }

    /// Takes all messages out, in order. Those that the iterator has not given stay.
    pub fn drain(&mut self) -> impl Iterator<Item = Envelope<M>> + '_ {
        std::iter::from_fn(|| self.pop())
    }
}

impl<M: Message + Clone> Clone for Batch<M> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            bytes: self.bytes,
            earliest_deadline: self.earliest_deadline,
        }
    }
}

impl<M: Message + std::fmt::Debug> std::fmt::Debug for Batch<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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
