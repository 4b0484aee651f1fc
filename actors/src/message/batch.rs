//! Messages that travel together.
//!
//! Most messages of a batch come from one producer and agree in all of their header but sequence and key. A batch holds
//! what they agree in once; as soon as one differs, it holds it once per message, until the batch is empty again.

use std::collections::VecDeque;
use std::iter;

use super::buffer::{Body, Buffer, Row, Then, Visit};
use super::header::Common;
use super::{Envelope, Header, Message, Time};

/// Messages that travel together, in order, with what they share kept once.
///
/// Emptied batches keep their allocation: at steady state queues, hands and outputs swap the same few batches.
pub struct Batch<M> {
    rows: Buffer<M>,
    bytes: usize,
    /// Behind a pointer, since it is looked at once a batch, and batches change hands often.
    heads: Option<Box<Heads>>,
}

/// What of the headers does not stand with each message.
#[derive(Clone, Default)]
struct Heads {
    /// What all headers have in common, while `each` is empty.
    common: Common,
    /// What would be common, per message: as many as there are, or none.
    each: VecDeque<Common>,
    earliest_deadline: Option<Time>,
}

impl Heads {
    fn note_deadline(&mut self, deadline: Option<Time>) {
        self.earliest_deadline = match (self.earliest_deadline, deadline) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Notes what the message after the first `before` has in common with them, or not.
    fn note_common(&mut self, common: Common, before: usize) {
        if self.each.is_empty() && before > 0 && common == self.common {
            return;
        }
        self.note_deadline(common.deadline());
        if before == 0 && common.is_plain() {
            self.common = common;
        } else {
            self.tell_apart(before);
            self.each.push_back(common);
        }
    }

    /// From here on what `count` messages have in common is held per message.
    fn tell_apart(&mut self, count: usize) {
        if self.each.is_empty() {
            let copies = iter::repeat_with(|| self.common.clone()).take(count);
            self.each.extend(copies);
        }
    }

    /// What would be common, of the first message, which leaves.
    fn take_first(&mut self) -> Common {
        self.each.pop_front().unwrap_or_else(|| self.common.clone())
    }

    /// What would be common, of the last message, which leaves.
    fn take_last(&mut self) -> Common {
        self.each.pop_back().unwrap_or_else(|| self.common.clone())
    }

    fn of(&self, index: usize) -> &Common {
        self.each.get(index).unwrap_or(&self.common)
    }
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            rows: Buffer::default(),
            bytes: 0,
            heads: None,
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
        self.rows.len()
    }

    /// Whether it holds none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Sum of the weights of its messages, in bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages it has memory for.
    pub(crate) fn allocated(&self) -> usize {
        self.rows.allocated()
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
        self.bytes += weight;
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
        self.bytes += header.common.heap_size();
        let before = self.rows.len();
        let heads = self.heads();
        heads.note_common(header.common, before);
        heads.each.is_empty()
    }

    /// Appends a message that was announced, or agrees with the last one in what is common.
    #[inline]
    pub(crate) fn push_row(&mut self, sequence: u64, key: u64, body: M, weight: usize) {
        self.bytes += Header::WEIGHT + weight;
        self.rows.push(sequence, key, body);
    }

    /// As [`Batch::push_row`], with a body that is moved from where it lies.
    #[inline]
    pub(crate) fn push_moved(
        &mut self,
        (sequence, key): (u64, u64),
        body: Body<'_, M>,
        weight: usize,
    ) {
        self.bytes += Header::WEIGHT + weight;
        self.rows.push_moved(sequence, key, body);
    }

    /// Puts a message before all others: for one that is to be handled again.
    pub fn push_front(&mut self, envelope: Envelope<M>) {
        if self.is_empty() {
            self.push(envelope);
            return;
        }
        self.bytes += envelope.weight();
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
    pub fn pop(&mut self) -> Option<Envelope<M>> {
        let (sequence, key, Some(body)) = self.rows.take_first()? else {
            unreachable!("bodies are only taken from a hand, which is never popped");
        };
        let header = Header {
            sequence,
            key,
            common: self.heads().take_first(),
            run: 0,
        };
        let envelope = Envelope { header, body };
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        self.reset_if_empty();
        Some(envelope)
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
        self.bytes = self.bytes.saturating_sub(envelope.weight());
        self.reset_if_empty();
        Some(envelope)
    }

    #[inline]
    fn reset_if_empty(&mut self) {
        if self.rows.len() == 0 {
            self.bytes = 0;
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
            self.take_from(other, other.len(), other.bytes);
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
        let moved = self.rows.as_slice()[..count].iter();
        let bodies: usize = moved.map(|row| row.body.weight()).sum();
        let heads = self.heads.iter().flat_map(|heads| heads.each.iter());
        let rests: usize = heads.take(count).map(Common::heap_size).sum();
        to.take_from(self, count, count * Header::WEIGHT + bodies + rests);
        count
    }

    /// Takes the first `count` messages of `other`, of so many bytes. Both keep the lower bound of the deadlines: which
    /// messages set it is not worth finding out.
    fn take_from(&mut self, other: &mut Self, count: usize, bytes: usize) {
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
        self.bytes += bytes;
        other.bytes = other.bytes.saturating_sub(bytes);
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

/// Whoever handles messages one by one. A trait and not a closure, so that the compiler can be told to build it into each
/// loop.
pub(crate) trait Handle<M> {
    fn handle(&mut self, header: &Header, body: Body<'_, M>) -> Then;
}

/// Puts headers together that differ in sequence and key only.
struct Uniform<'a, H> {
    header: Header,
    handler: &'a mut H,
}

impl<M, H: Handle<M>> Visit<M> for Uniform<'_, H> {
    #[inline(always)]
    fn visit(&mut self, sequence: u64, key: u64, body: Body<'_, M>) -> Then {
        self.header.sequence = sequence;
        self.header.key = key;
        self.handler.handle(&self.header, body)
    }
}

/// Puts headers together that are held one by one.
struct Apart<'a, H> {
    header: Header,
    each: &'a mut VecDeque<Common>,
    /// What is held of the first message is in `header` now.
    lent: bool,
    handler: &'a mut H,
}

impl<M, H: Handle<M>> Visit<M> for Apart<'_, H> {
    #[inline(always)]
    fn visit(&mut self, sequence: u64, key: u64, body: Body<'_, M>) -> Then {
        self.lend(sequence, key);
        let then = self.handler.handle(&self.header, body);
        self.give_back(then);
        then
    }
}

impl<H> Apart<'_, H> {
    fn lend(&mut self, sequence: u64, key: u64) {
        self.header.sequence = sequence;
        self.header.key = key;
        if let Some(first) = self.each.front_mut() {
            self.header.common = std::mem::take(first);
            self.lent = true;
        }
    }

    fn give_back(&mut self, then: Then) {
        self.lent = false;
        if then != Then::Stay {
            self.each.pop_front();
        } else if let Some(first) = self.each.front_mut() {
            *first = std::mem::take(&mut self.header.common);
        }
    }
}

impl<H> Drop for Apart<'_, H> {
    fn drop(&mut self) {
        // The handler has panicked: its message stays the first one, whole.
        if self.lent {
            self.give_back(Then::Stay);
        }
    }
}

impl<M: Message + Clone> Clone for Batch<M> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            bytes: self.bytes,
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Key;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        PushFront(u8),
        Pop,
        PopBack,
        Move(usize),
        Append,
        Handle { most: usize, stay_at: usize },
        Retry,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Mostly of one kind, so that batches stay uniform for a while.
        let kind = prop_oneof![6 => Just(0_u8), 1 => 0..5_u8];
        let step = prop_oneof![
            8 => kind.clone().prop_map(Step::Push),
            1 => kind.prop_map(Step::PushFront),
            2 => Just(Step::Pop),
            1 => Just(Step::PopBack),
            1 => (0..6_usize).prop_map(Step::Move),
            1 => Just(Step::Append),
            2 => (0..6_usize, 0..6_usize).prop_map(|(most, stay_at)| Step::Handle { most, stay_at }),
            1 => Just(Step::Retry),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 0..80)
    }

    /// An envelope of one of five kinds of header.
    fn envelope(number: u64, kind: u8) -> Envelope<String> {
        let mut header = Header::new();
        header.set_identity(u32::from(kind / 2), 0, number);
        match kind {
            1 => header.set_key(Some(Key(number))),
            2 => header.set_deadline(Some(Time::from_nanos(1_000 + number))),
            3 => header.set_event_time(Some(-5)),
            4 => header.rest_mut().reply_to = Some(Box::from(&b"here"[..])),
            _ => {}
        }
        Envelope {
            header,
            body: "x".repeat((number % 9) as usize),
        }
    }

    /// Looks at messages, and lets one stay.
    struct Look {
        seen: Vec<(Header, String)>,
        stay_at: usize,
    }

    impl Handle<String> for Look {
        fn handle(&mut self, header: &Header, body: Body<'_, String>) -> Then {
            self.seen.push((header.clone(), body.clone()));
            if self.seen.len() > self.stay_at {
                Then::Stay
            } else {
                Then::Next
            }
        }
    }

    proptest! {
        /// Against a deque of whole envelopes: headers come out as they went in, whatever they have in common.
        #[test]
        fn it_behaves_as_a_deque_of_envelopes(steps in steps()) {
            let (mut batch, mut other) = (Batch::<String>::new(), Batch::<String>::new());
            let (mut model, mut model_other) = (VecDeque::new(), VecDeque::new());
            for (number, step) in (1_u64..).zip(steps) {
                match step {
                    Step::Push(kind) => {
                        batch.push(envelope(number, kind));
                        model.push_back(envelope(number, kind));
                    }
                    Step::PushFront(kind) => {
                        batch.push_front(envelope(number, kind));
                        model.push_front(envelope(number, kind));
                    }
                    Step::Pop => prop_assert_eq!(batch.pop(), model.pop_front()),
                    Step::PopBack => prop_assert_eq!(batch.pop_back(), model.pop_back()),
                    Step::Move(count) => {
                        let moved = batch.move_to(&mut other, count);
                        prop_assert_eq!(moved, count.min(model.len()));
                        model_other.extend(model.drain(..moved));
                    }
                    Step::Append => {
                        batch.append(&mut other);
                        model.append(&mut model_other);
                    }
                    Step::Handle { most, stay_at } => {
                        let mut look = Look { seen: Vec::new(), stay_at };
                        batch.handle_each(number, most, &mut look);
                        let count = most.min(model.len());
                        prop_assert_eq!(look.seen.len(), count.min(stay_at + 1));
                        for (header, body) in look.seen.iter().take(stay_at) {
                            let expected = model.pop_front();
                            prop_assert_eq!(expected, Some(Envelope { header: header.clone(), body: body.clone() }));
                        }
                    }
                    Step::Retry => {
                        if let Some(first) = model.front_mut() {
                            first.header.set_attempt(first.header.attempt() + 1);
                            prop_assert_eq!(batch.count_attempt(), first.header.attempt());
                        }
                    }
                    Step::Clear => {
                        batch.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(batch.len(), model.len());
                prop_assert_eq!(batch.first_weight(), model.front().map(Envelope::weight));
                let seen = batch.iter().map(|(header, body)| Envelope { header, body: body.clone() });
                prop_assert!(seen.eq(model.iter().cloned()));
                let earliest = model.iter().filter_map(|envelope| envelope.header.deadline()).min();
                prop_assert!(earliest.is_none_or(|time| batch.may_hold_expired(time)));
            }
        }
    }

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
