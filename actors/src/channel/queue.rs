//! What lies in an edge: messages in order, in the batches they came in.

use std::collections::VecDeque;

use crate::message::{Batch, Envelope, Message};

/// A batch of the queue holds at most this many messages that came one by one or in small batches.
const BATCH: usize = 256;

/// Batches of up to this many messages are copied to the end of the last one, so that the queue stays short.
const SMALL: usize = 32;

/// Messages in order. Whole batches come and go as pointers; emptied ones are kept for the next sender, so that at
/// steady state nothing is allocated.
pub(super) struct Queue<M> {
    batches: VecDeque<Batch<M>>,
    messages: usize,
    bytes: usize,
    emptied: Vec<Batch<M>>,
}

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            messages: 0,
            bytes: 0,
            emptied: Vec::new(),
        }
    }
}

impl<M: Message> Queue<M> {
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Appends one message.
    pub(super) fn push(&mut self, envelope: Envelope<M>, weight: usize) {
        self.messages += 1;
        self.bytes += weight;
        match self.batches.back_mut() {
            Some(last) if last.len() < BATCH => last.push_weighed(envelope, weight),
            _ => {
                let mut batch = self.emptied.pop().unwrap_or_default();
                batch.push_weighed(envelope, weight);
                self.batches.push_back(batch);
            }
        }
    }

    /// Appends all of `batch`, which is left empty: with the memory of one that was emptied, if there is one.
    pub(super) fn append(&mut self, batch: &mut Batch<M>) {
        self.messages += batch.len();
        self.bytes += batch.bytes();
        if batch.len() <= SMALL
            && let Some(last) = self.batches.back_mut()
            && last.len() + batch.len() <= BATCH
        {
            last.append(batch);
            return;
        }
        let emptied = self.emptied.pop().unwrap_or_default();
        self.batches.push_back(std::mem::replace(batch, emptied));
    }

    /// Moves up to `max` messages of the first batch to the end of `to`; gives how many. An empty `to` gives its memory in
    /// exchange.
    pub(super) fn take(&mut self, to: &mut Batch<M>, max: usize) -> usize {
        let Some(first) = self.batches.front_mut() else {
            return 0;
        };
        let before = first.bytes();
        let taken = first.move_to(to, max);
        self.messages -= taken;
        self.bytes -= before - first.bytes();
        if first.is_empty()
            && let Some(emptied) = self.batches.pop_front()
        {
            self.keep(emptied);
        }
        taken
    }

    /// Takes the first message.
    pub(super) fn pop(&mut self) -> Option<Envelope<M>> {
        let first = self.batches.front_mut()?;
        let before = first.bytes();
        let envelope = first.pop()?;
        self.messages -= 1;
        self.bytes -= before - first.bytes();
        if first.is_empty()
            && let Some(emptied) = self.batches.pop_front()
        {
            self.keep(emptied);
        }
        Some(envelope)
    }

    /// Keeps the memory of a batch for later, unless it has none, or is larger than a turn needs.
    fn keep(&mut self, emptied: Batch<M>) {
        if (1..=2 * BATCH).contains(&emptied.allocated()) && self.emptied.len() <= self.most_kept()
        {
            self.emptied.push(emptied);
        }
    }

    /// As many as the queue had batches at once: that many may be needed again.
    fn most_kept(&self) -> usize {
        self.batches.capacity()
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
        fn it_keeps_order_and_bytes(steps in prop::collection::vec((0..4_u8, 1..300_usize), 0..80)) {
            let mut queue = Queue::<Vec<u8>>::default();
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
    fn at_steady_state_the_same_memory_goes_round() {
        let mut queue = Queue::<u64>::default();
        let (mut out, mut hand) = (Batch::new(), Batch::new());
        for round in 0..100 {
            for _ in 0..4 {
                for number in 0..BATCH as u64 {
                    out.push(Envelope::new(number));
                }
                queue.append(&mut out);
                assert!(round < 2 || out.allocated() >= BATCH, "round {round}");
            }
            while queue.take(&mut hand, 1024) > 0 {
                hand.clear();
            }
        }
    }
}
