//! Messages that travel together.
//!
//! Most messages of a batch come from one producer and agree in all of their header but sequence and key. A batch holds
//! what they agree in once; as soon as one differs, it holds it once per message, until the batch is empty again.
//!
//! - [`heads`]: what they agree in, or not
//! - [`handle`]: messages at their handler, where they lie
//!
//! Invariant: what is held per message is as many as there are messages, or nothing.

mod handle;
mod heads;

use std::iter;

use super::buffer::{Body, Buffer, Mark, Row};
use super::header::Common;
use super::{Envelope, Header, Message, Time};
pub(crate) use handle::Handle;
use handle::{Apart, Uniform};
use heads::Heads;

/// Messages that travel together, in order, with what they share kept once.
///
/// Emptied batches keep their allocation: at steady state queues, hands and outputs swap the same few batches.
pub struct Batch<M> {
    rows: Buffer<M>,
    /// Bytes beyond those that every message of this type has.
    varying: usize,
    /// Behind a pointer, since it is looked at once a batch, and batches change hands often.
    heads: Option<Box<Heads>>,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            rows: Buffer::default(),
            varying: 0,
            heads: None,
        }
    }
}

impl<M: Message> Batch<M> {
    /// Bytes that every message of this type has, where all bodies weigh the same.
    pub(crate) const EACH: usize = match M::FIXED_WEIGHT {
        Some(weight) => Header::WEIGHT + weight,
        None => 0,
    };

    /// What of a message's weight, header included, its type does not tell.
    #[inline]
    fn varying_of(weight: usize) -> usize {
        weight.saturating_sub(Self::EACH)
    }

    /// An empty batch; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for so many messages.
    pub(crate) fn with_capacity(messages: usize) -> Self {
        Self {
            rows: Buffer::with_capacity(messages),
            ..Self::default()
        }
    }

    /// How many messages it holds.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sum of the weights of its messages, in bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.varying + self.rows.len() * Self::EACH
    }

    /// How many messages fit into its memory.
    pub(crate) fn room(&self) -> usize {
        self.rows.allocated()
    }

    /// Bytes of the memory that its messages lie in, beside what they own themselves.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let heads = self.heads.as_ref();
        let each = heads.map_or(0, |heads| heads.each.capacity());
        self.rows.allocated() * size_of::<Row<M>>() + each * size_of::<Common>()
    }

    /// How many of the first messages weigh at most so much; at least one.
    pub(crate) fn count_within(&self, bytes: usize) -> usize {
        let mut sum = 0;
        let rows = self.rows.as_slice().iter();
        let within = rows.take_while(|row| {
            sum += Header::WEIGHT + row.body.weight();
            sum <= bytes
        });
        within.count().max(1)
    }

    /// Moves everything into a batch with no more places than it needs.
    pub(crate) fn take_fitting(&mut self) -> Self {
        let mut fitting = Self::new();
        fitting.take_from(self, self.len(), self.varying);
        self.reset_if_empty();
        fitting
    }

    /// No message in it expires before this point. A lower bound: it may be earlier than the earliest still inside.
    #[must_use]
    pub fn earliest_deadline(&self) -> Option<Time> {
        self.heads.as_ref()?.earliest_deadline
    }

    /// Whether some message in it may have expired at `now`: one comparison for the whole batch.
    #[must_use]
    pub fn may_hold_expired(&self, now: Time) -> bool {
        self.earliest_deadline()
            .is_some_and(|deadline| deadline <= now)
    }

    /// Whether all messages have one deadline, and it has passed at `now`.
    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.heads.as_ref().is_some_and(|heads| {
            let common = heads.common.deadline();
            heads.each.is_empty() && common.is_some_and(|deadline| deadline <= now)
        })
    }

    // ---- in

    /// Appends a message.
    #[inline]
    pub fn push(&mut self, envelope: Envelope<M>) {
        let weight = envelope.weight();
        self.push_weighed(envelope, weight);
    }

    #[inline]
    pub(crate) fn push_weighed(&mut self, envelope: Envelope<M>, weight: usize) {
        let Envelope { header, body } = envelope;
        let (sequence, key) = (header.sequence, header.key);
        self.varying += Self::varying_of(weight);
        let before = self.rows.len();
        self.heads().note_common(header.common, before);
        self.rows.push(sequence, key, body);
    }

    fn heads(&mut self) -> &mut Heads {
        self.heads.get_or_insert_default()
    }

    /// Says what the next message has in common with others or not: the first half of adding it. Whether all agree now, so
    /// that what agrees with this one agrees with all.
    pub(crate) fn announce(&mut self, header: Header) -> bool {
        self.varying += header.common.heap_size();
        let before = self.rows.len();
        let heads = self.heads();
        heads.note_common(header.common, before);
        heads.each.is_empty()
    }

    /// Appends a message that was announced, or agrees with the last one in what is common.
    #[inline]
    pub(crate) fn push_row(&mut self, sequence: u64, key: u64, body: M, weight: usize) {
        self.varying += Self::varying_of(Header::WEIGHT + weight);
        self.rows.push(sequence, key, body);
    }

    /// As [`Batch::push_row`], for what `next` gives, up to `most` messages with key and weight; numbers them from the one
    /// after `sequence` on.
    #[inline]
    pub(crate) fn fill(
        &mut self,
        sequence: &mut u64,
        most: usize,
        mut next: impl FnMut() -> Option<(u64, M, usize)>,
    ) {
        let varying = &mut self.varying;
        self.rows.fill(sequence, most, || {
            let (key, body, weight) = next()?;
            *varying += Self::varying_of(Header::WEIGHT + weight);
            Some((key, body))
        });
    }

    /// As [`Batch::push_row`], with a body that goes straight from its holder into its row. There must be one.
    #[inline(always)]
    pub(crate) fn push_from(&mut self, key: u64, body: &mut Option<M>, weight: usize) {
        debug_assert!(body.is_some(), "a message has a body");
        self.varying += Self::varying_of(Header::WEIGHT + weight);
        self.rows.push_from(0, key, body);
    }

    /// As [`Batch::push_row`], with a body that is moved from where it lies.
    #[inline]
    pub(crate) fn push_moved(
        &mut self,
        (sequence, key): (u64, u64),
        body: Body<'_, M>,
        weight: usize,
    ) {
        self.varying += Self::varying_of(Header::WEIGHT + weight);
        self.rows.push_moved(sequence, key, body);
    }

    /// Puts a message before all others: for one that is to be handled again.
    pub fn push_front(&mut self, envelope: Envelope<M>) {
        if self.is_empty() {
            self.push(envelope);
            return;
        }
        self.varying += Self::varying_of(envelope.weight());
        let Envelope { header, body } = envelope;
        let (sequence, key) = (header.sequence, header.key);
        let count = self.rows.len();
        let heads = self.heads();
        heads.note_deadline(header.common.deadline());
        if !heads.each.is_empty() || header.common != heads.common {
            heads.tell_apart(count);
            heads.each.push_front(header.common);
        }
        let row = Row {
            sequence,
            key,
            body,
        };
        self.rows.push_front(row);
    }

    // ---- out

    /// Takes the first message.
    #[inline]
    pub fn pop(&mut self) -> Option<Envelope<M>> {
        let (sequence, key, Some(body)) = self.rows.take_first()? else {
            unreachable!("bodies are only taken from a hand, which is never popped");
        };
        let common = match &mut self.heads {
            Some(heads) => heads.take_first(),
            None => Common::default(),
        };
        let header = Header {
            sequence,
            key,
            common,
            run: 0,
        };
        let envelope = Envelope { header, body };
        let varying = Self::varying_of(envelope.weight());
        self.varying = self.varying.saturating_sub(varying);
        self.reset_if_empty();
        Some(envelope)
    }

    /// Takes the body of the first message, without its header.
    #[inline(always)]
    pub(crate) fn pop_body(&mut self) -> Option<M> {
        let (_, _, Some(body)) = self.rows.take_first()? else {
            unreachable!("bodies are only taken from a hand, which is never popped");
        };
        let mut weight = Header::WEIGHT + body.weight();
        if let Some(heads) = &mut self.heads
            && let Some(common) = heads.each.pop_front()
        {
            weight += common.heap_size();
        }
        self.varying = self.varying.saturating_sub(Self::varying_of(weight));
        self.reset_if_empty();
        Some(body)
    }

    /// Takes the last message.
    pub fn pop_back(&mut self) -> Option<Envelope<M>> {
        let row = self.rows.pop_back()?;
        let header = Header {
            sequence: row.sequence,
            key: row.key,
            common: self.heads().take_last(),
            run: 0,
        };
        let envelope = Envelope {
            header,
            body: row.body,
        };
        let varying = Self::varying_of(envelope.weight());
        self.varying = self.varying.saturating_sub(varying);
        self.reset_if_empty();
        Some(envelope)
    }

    #[inline]
    fn reset_if_empty(&mut self) {
        if self.rows.is_empty() {
            self.varying = 0;
            if let Some(heads) = &mut self.heads {
                heads.earliest_deadline = None;
            }
        }
    }

    /// The weight of the first message.
    pub(crate) fn first_weight(&self) -> Option<usize> {
        let row = self.rows.as_slice().first()?;
        let heads = self.heads.as_ref();
        let rest = heads.map_or(0, |heads| heads.of(0).heap_size());
        Some(Header::WEIGHT + rest + row.body.weight())
    }

    // ---- for a hand: messages are handled where they lie, and nobody asks for the bytes of what is left

    /// Gives each of the first `most` messages to `handler`, until one stays or says stop. What of a message was not taken
    /// is dropped once it is done with; a panic leaves its message the first one. `run` names this run of messages: no
    /// other run that the same outputs see has the same name.
    #[inline]
    pub(crate) fn handle_each(&mut self, run: u64, most: usize, handler: &mut impl Handle<M>) {
        let heads = self.heads.get_or_insert_default();
        if heads.each.is_empty() {
            let header = Header {
                sequence: 0,
                key: 0,
                common: heads.common.clone(),
                run,
            };
            let mut uniform = Uniform { header, handler };
            self.rows.visit_each(most, &mut uniform);
        } else {
            let header = Header::new();
            let each = &mut heads.each;
            let mut apart = Apart {
                header,
                each,
                lent: false,
                handler,
            };
            self.rows.visit_each(most, &mut apart);
        }
        self.reset_if_empty();
    }

    /// As [`Buffer::take_at_handler`].
    pub(crate) fn take_at_handler(&mut self) -> bool {
        self.rows.take_at_handler()
    }

    /// One more attempt at the first message has failed: how many have.
    pub(crate) fn count_attempt(&mut self) -> u8 {
        let count = self.rows.len();
        let heads = self.heads();
        heads.tell_apart(count);
        let Some(first) = heads.each.front_mut() else {
            return 0;
        };
        first.count_attempt()
    }

    /// Whether the body of the first message was taken.
    pub(crate) fn is_first_hollow(&self) -> bool {
        self.rows.is_hollow()
    }

    /// Takes the first message, without its body if that was taken before.
    pub(crate) fn take_first(&mut self) -> Option<(Header, Option<M>)> {
        let (sequence, key, body) = self.rows.take_first()?;
        let header = Header {
            sequence,
            key,
            common: self.heads().take_first(),
            run: 0,
        };
        self.reset_if_empty();
        Some((header, body))
    }

    // ---- between batches

    /// Moves everything from `other` to the end of this batch; when this one is empty, only pointers move.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.take_from(other, other.len(), other.varying);
            other.reset_if_empty();
        }
    }

    /// Moves up to `max` messages to the end of `to`; when everything goes into an empty batch, only pointers move.
    pub fn move_to(&mut self, to: &mut Self, max: usize) -> usize {
        let count = self.len().min(max);
        if count == self.len() {
            to.append(self);
            return count;
        }
        let bodies = if M::FIXED_WEIGHT.is_some() {
            0
        } else {
            let moved = self.rows.as_slice()[..count].iter();
            moved.map(|row| Header::WEIGHT + row.body.weight()).sum()
        };
        let heads = self.heads.iter().flat_map(|heads| heads.each.iter());
        let rests: usize = heads.take(count).map(Common::heap_size).sum();
        to.take_from(self, count, bodies + rests);
        count
    }

    /// Takes the first `count` messages of `other`, of so many bytes beyond those that all have. Both keep the lower bound of the deadlines: which
    /// messages set it is not worth finding out.
    fn take_from(&mut self, other: &mut Self, count: usize, varying: usize) {
        let (mine, theirs) = (self.rows.len(), other.rows.len());
        let (heads, from) = (self.heads(), other.heads());
        if mine == 0 {
            heads.common = from.common.clone();
        }
        if !heads.each.is_empty() || !from.each.is_empty() || heads.common != from.common {
            heads.tell_apart(mine);
            from.tell_apart(theirs);
            heads.each.extend(from.each.drain(..count));
        }
        heads.note_deadline(from.earliest_deadline);
        other.rows.move_to(&mut self.rows, count);
        self.varying += varying;
        other.varying = other.varying.saturating_sub(varying);
    }

    /// How far it is filled now. Good until a message leaves its front.
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        self.rows.mark()
    }

    /// The mark of a batch with so many messages.
    pub(crate) const fn mark_of(length: usize) -> Mark {
        Buffer::<M>::mark_of(length)
    }

    /// Drops what was added since a mark.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        while self.rows.mark() > mark {
            self.pop_back();
        }
    }

    /// Keeps the first `length` messages and drops the others.
    pub fn truncate(&mut self, length: usize) {
        while self.len() > length {
            self.pop_back();
        }
    }

    /// Drops all messages, keeps the allocation.
    pub fn clear(&mut self) {
        if let Some(heads) = &mut self.heads {
            heads.each.clear();
        }
        self.rows.clear();
        self.reset_if_empty();
    }

    /// Takes all messages out, in order. Those that the iterator has not given stay.
    pub fn drain(&mut self) -> impl Iterator<Item = Envelope<M>> + '_ {
        iter::from_fn(|| self.pop())
    }

    /// Takes all bodies out, in order, without their headers. Those that the iterator has not given stay.
    pub fn drain_bodies(&mut self) -> impl Iterator<Item = M> + '_ {
        iter::from_fn(|| self.pop_body())
    }

    /// The messages in order, with headers put together for this look.
    pub fn iter(&self) -> impl Iterator<Item = (Header, &M)> {
        let heads = self.heads.as_deref();
        let rows = self.rows.as_slice().iter().enumerate();
        rows.map(move |(index, row)| {
            let header = Header {
                sequence: row.sequence,
                key: row.key,
                common: heads.map_or_else(Common::default, |heads| heads.of(index).clone()),
                run: 0,
            };
            (header, &row.body)
        })
    }

    /// Gives all messages the identity of one producer, with rising sequence.
    pub(crate) fn identify(&mut self, producer: u32, first: u64) {
        for (sequence, row) in (first..).zip(self.rows.as_mut_slice()) {
            row.sequence = sequence;
        }
        let heads = self.heads();
        for common in heads.each.iter_mut().chain([&mut heads.common]) {
            common.set_producer(producer);
        }
    }
}

impl<M: Message + Clone> Clone for Batch<M> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            varying: self.varying,
            heads: self.heads.clone(),
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
mod tests;
