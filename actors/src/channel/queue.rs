//! What lies in an edge: messages in order, in the batches they came in.

use std::collections::VecDeque;

use super::Capacity;
use super::capacity::TURN_BYTES;
use super::tail::Tail;
use crate::message::{Batch, Envelope, Header, Key, Message};

/// A batch of the queue holds at most this many messages that came one by one or in small batches.
const BATCH: usize = 256;

/// Batches of up to this many messages are copied to the end of the last one, so that the queue stays short.
const SMALL: usize = 32;

/// Messages in order. Whole batches come and go as pointers; emptied ones are kept for the next sender, so that at
/// steady state nothing is allocated.
// In this order: what a short queue needs comes first.
#[repr(C)]
pub(super) struct Queue<M> {
    messages: usize,
    bytes: usize,
    /// The last batch, to which messages are added. As long as it is the only one, nothing else is touched.
    tail: Tail<M>,
    /// Those before the last: none of them empty.
    before: VecDeque<Batch<M>>,
    emptied: Vec<Batch<M>>,
    /// Bytes that the emptied ones take.
    emptied_bytes: usize,
    /// Bytes that those before the last take, beside what their messages own.
    allocated: usize,
    capacity: Capacity,
}

impl<M: Message> Queue<M> {
    /// An empty queue of an edge of this capacity.
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            messages: 0,
            bytes: 0,
            tail: Tail::default(),
            before: VecDeque::new(),
            emptied: Vec::new(),
            emptied_bytes: 0,
            allocated: 0,
            capacity,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Appends one message.
    pub(super) fn push(&mut self, envelope: Envelope<M>, weight: usize) {
        self.messages += 1;
        self.bytes += weight;
        if self.tail.len() >= BATCH {
            self.begin_batch();
        }
        self.tail.batch().push_weighed(envelope, weight);
    }

    /// Appends one message whose header says nothing but its key; `body_weight` of its `weight` is that of the body.
    #[inline(always)]
    pub(super) fn push_plain(
        &mut self,
        key: Option<Key>,
        body: &mut Option<M>,
        body_weight: usize,
        weight: usize,
    ) {
        self.messages += 1;
        self.bytes += weight;
        if self.tail.len() >= BATCH {
            self.begin_batch();
        }
        self.tail.push_plain(key, body, body_weight);
    }

    #[cold]
    fn begin_batch(&mut self) {
        let emptied = self.reuse();
        let full = std::mem::replace(self.tail.batch(), emptied);
        self.push_before(full);
    }

    /// Appends all of `batch`, which is left empty: with the memory of one that was emptied, if there is one.
    pub(super) fn append(&mut self, batch: &mut Batch<M>) {
        self.messages += batch.len();
        self.bytes += batch.bytes();
        let length = self.tail.len();
        if length == 0 {
            std::mem::swap(self.tail.batch(), batch);
        } else if batch.len() <= SMALL && length + batch.len() <= BATCH {
            self.tail.batch().append(batch);
        } else {
            let emptied = self.reuse();
            let whole = std::mem::replace(batch, emptied);
            let last = std::mem::replace(self.tail.batch(), whole);
            self.push_before(last);
        }
    }

    /// Puts a batch that was the last one behind the others. If it has more places without messages than the edge allows, its
    /// messages move to where they just fit.
    fn push_before(&mut self, mut batch: Batch<M>) {
        let allocated = batch.allocated_bytes();
        let each = Header::WEIGHT + size_of::<M>();
        let most = self.messages * each + self.capacity.unused_bytes();
        if allocated > batch.len() * each && self.allocated + allocated > most {
            let fitting = batch.take_fitting();
            self.keep(std::mem::replace(&mut batch, fitting));
        }
        self.allocated += batch.allocated_bytes();
        self.before.push_back(batch);
    }

    /// Moves up to `max` messages of the first batch, and of a heavy one about [`TURN_BYTES`], to the end of `to`; gives how many.
    /// An empty `to` gives its memory in exchange.
    pub(super) fn take(&mut self, to: &mut Batch<M>, max: usize) -> usize {
        let (first, is_last) = match self.before.front_mut() {
            Some(first) => (first, false),
            None => (self.tail.batch(), true),
        };
        let (before, allocated) = (first.bytes(), first.allocated_bytes());
        let max = if before > TURN_BYTES {
            max.min(first.count_within(TURN_BYTES))
        } else {
            max
        };
        let taken = first.move_to(to, max);
        if !is_last {
            self.allocated = self.allocated - allocated + first.allocated_bytes();
        }
        self.bytes -= before - first.bytes();
        self.messages -= taken;
        self.pass_emptied();
        taken
    }

    /// Takes the first message.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn pop(&mut self) -> Option<Envelope<M>> {
        self.pop_as(Batch::pop)
    }

    /// Takes the first message, as `pop` takes it from its batch.
    #[inline]
    pub(super) fn pop_as<T>(&mut self, pop: impl FnOnce(&mut Batch<M>) -> Option<T>) -> Option<T> {
        let first = match self.before.front_mut() {
            Some(first) => first,
            None => self.tail.batch(),
        };
        let before = first.bytes();
        let message = pop(first)?;
        self.bytes -= before - first.bytes();
        self.messages -= 1;
        self.pass_emptied();
        Some(message)
    }

    /// Puts messages back that were taken last, before all others; `batch` is left empty.
    pub(super) fn put_back(&mut self, batch: &mut Batch<M>) {
        if batch.is_empty() {
            return;
        }
        let whole = std::mem::replace(batch, self.reuse());
        self.messages += whole.len();
        self.bytes += whole.bytes();
        self.allocated += whole.allocated_bytes();
        self.before.push_front(whole);
    }

    /// Keeps the first batch for later if it is empty. The last one stays where it is.
    #[inline]
    fn pass_emptied(&mut self) {
        if self.before.front().is_some_and(Batch::is_empty)
            && let Some(emptied) = self.before.pop_front()
        {
            self.allocated -= emptied.allocated_bytes();
            self.keep(emptied);
        }
    }

    /// An empty batch, with memory if one was kept.
    fn reuse(&mut self) -> Batch<M> {
        let batch = self.emptied.pop().unwrap_or_default();
        self.emptied_bytes -= batch.allocated_bytes();
        batch
    }

    /// Keeps the memory of a batch for later, as far as that is allowed.
    fn keep(&mut self, emptied: Batch<M>) {
        let bytes = emptied.allocated_bytes();
        if bytes > 0 && self.emptied_bytes + bytes <= self.capacity.emptied_bytes() {
            self.emptied_bytes += bytes;
            self.emptied.push(emptied);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a deque of messages, with the bytes of what is in it.
        #[test]
        fn it_keeps_order_and_bytes(steps in prop::collection::vec((0..6_u8, 1..300_usize), 0..80)) {
            let mut queue = Queue::<Vec<u8>>::new(Capacity::default());
            let mut model = VecDeque::<usize>::new();
            let mut next = 0;
            let mut message = || {
                next += 1;
                (next % 50, Envelope::new(vec![0; next % 50]))
            };
            for (kind, size) in steps {
                match kind {
                    0 => {
                        let (number, envelope) = message();
                        let weight = envelope.weight();
                        queue.push(envelope, weight);
                        model.push_back(number);
                    }
                    1 => {
                        let mut batch = Batch::new();
                        for _ in 0..size {
                            let (number, envelope) = message();
                            batch.push(envelope);
                            model.push_back(number);
                        }
                        queue.append(&mut batch);
                        prop_assert!(batch.is_empty());
                    }
                    2 => {
                        let mut batch = Batch::new();
                        let taken = queue.take(&mut batch, size);
                        prop_assert!(taken == batch.len() && taken <= size);
                        prop_assert_eq!(taken == 0, model.is_empty());
                        for envelope in batch.drain() {
                            prop_assert_eq!(Some(envelope.body.len()), model.pop_front());
                        }
                    }
                    3 => {
                        let (number, Envelope { header, body }) = message();
                        let weight = body.weight();
                        queue.push_plain(None, &mut Some(body), weight, header.weight() + weight);
                        model.push_back(number);
                    }
                    4 => {
                        let mut batch = Batch::new();
                        queue.take(&mut batch, size);
                        queue.put_back(&mut batch);
                        prop_assert!(batch.is_empty());
                    }
                    _ => {
                        let popped = queue.pop().map(|envelope| envelope.body.len());
                        prop_assert_eq!(popped, model.pop_front());
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                let bytes: usize = model.iter().map(|size| Envelope::new(vec![0_u8; *size]).weight()).sum();
                prop_assert_eq!(queue.bytes(), bytes);
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let mut queue = Queue::<u128>::new(Capacity::default().bytes(256 << 10));
        let (mut out, mut hand) = (Batch::new(), Batch::new());
        for _ in 0..20 {
            out.extend((0..200).map(|_| Envelope::new(0)));
            queue.append(&mut out);
        }
        while queue.take(&mut hand, 1024) > 0 {
            hand.clear();
        }
        let kept: usize = queue.emptied.iter().map(Batch::allocated_bytes).sum();
        assert_eq!(kept, queue.emptied_bytes);
        assert!(kept <= 64 << 10, "{kept} bytes");
    }

    #[test]
    fn places_without_messages_take_a_share_of_the_bytes_and_no_more() {
        let capacity = Capacity::messages(usize::MAX).bytes(1 << 20);
        let mut queue = Queue::<u64>::new(capacity);
        let mut out = Batch::new();
        let each = Header::WEIGHT + size_of::<u64>();
        while queue.bytes() < capacity.max_bytes() {
            // Few messages in a batch that has had many.
            out.extend((0..2000).map(|_| Envelope::new(0)));
            out.truncate(SMALL + 1);
            queue.append(&mut out);
            let allocated: usize = queue.before.iter().map(Batch::allocated_bytes).sum();
            assert_eq!(queue.allocated, allocated);
            assert!(allocated <= queue.len() * each + capacity.unused_bytes());
        }
        let mut hand = Batch::new();
        while queue.take(&mut hand, 20) > 0 {
            hand.clear();
        }
        assert_eq!((queue.allocated, queue.len()), (0, 0));
    }

    #[test]
    fn of_a_heavy_batch_a_part_is_taken() {
        let mut queue = Queue::<String>::new(Capacity::default());
        let mut out: Batch<String> = (0..100).map(|_| "x".repeat(10_000)).collect();
        queue.append(&mut out);
        let mut hand = Batch::new();
        let taken = queue.take(&mut hand, 1024);
        assert!((20..=26).contains(&taken) && hand.bytes() <= TURN_BYTES);
        // One that is heavier by itself is taken all the same.
        let mut heavy = Queue::<String>::new(Capacity::default());
        heavy.push(Envelope::new("x".repeat(400_000)), 400_064);
        hand.clear();
        assert_eq!(heavy.take(&mut hand, 1024), 1);
    }

    #[test]
    fn at_steady_state_the_same_memory_goes_round() {
        let mut queue = Queue::<u64>::new(Capacity::default());
        let (mut out, mut hand) = (Batch::new(), Batch::new());
        for round in 0..100 {
            for _ in 0..4 {
                for number in 0..BATCH as u64 {
                    out.push(Envelope::new(number));
                }
                queue.append(&mut out);
                assert!(
                    round < 2 || out.allocated_bytes() >= BATCH * size_of::<u64>(),
                    "round {round}"
                );
            }
            while queue.take(&mut hand, 1024) > 0 {
                hand.clear();
            }
        }
    }
}
