//! What a stage has taken and not handled yet.

use std::collections::VecDeque;

use crate::channel::EdgeId;
use crate::message::{Batch, Envelope, Message};

/// Messages of one edge, handled where they lie. Those that are to be handled again come before it.
pub(super) struct Hand<M> {
    /// What is handled now. A message stays its first one until it is done with, so a panic finds it here.
    pub(super) batch: Batch<M>,
    pub(super) edge: EdgeId,
    /// How many there were before messages were handled; a panic leaves the difference to be counted.
    pub(super) before: usize,
    /// Messages of `edge` that were handled and not entered in the books.
    pub(super) done: u64,
    /// Deferred messages that are to be handled again, in their order.
    pub(super) again: VecDeque<(EdgeId, Envelope<M>)>,
    /// What was in hand when those came first.
    aside: Option<(EdgeId, Batch<M>)>,
    repeating: bool,
}

impl<M: Message> Hand<M> {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch::new(),
            edge: EdgeId(0),
            before: 0,
            done: 0,
            again: VecDeque::new(),
            aside: None,
            repeating: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.again.is_empty() && self.aside.is_none()
    }

    /// Counts what was handled of the batch.
    pub(super) fn count_done(&mut self) {
        let left = self.batch.len();
        self.done += std::mem::take(&mut self.before).saturating_sub(left) as u64;
    }

    /// Whether another batch must be turned to before the next message is handled.
    #[inline]
    pub(super) fn must_turn(&self) -> bool {
        self.batch.is_empty() || (!self.again.is_empty() && !self.repeating)
    }

    /// Turns to the next batch; whether there is one. What is done of the last one has been noted.
    #[cold]
    pub(super) fn turn(&mut self) -> bool {
        debug_assert!(self.done == 0, "what is done belongs to the edge in hand");
        self.before = 0;
        if let Some((edge, envelope)) = self.again.pop_front() {
            if !self.batch.is_empty() {
                self.aside = Some((self.edge, std::mem::take(&mut self.batch)));
            }
            self.edge = edge;
            self.batch.push(envelope);
            self.repeating = true;
            return true;
        }
        self.repeating = false;
        if let Some((edge, batch)) = self.aside.take() {
            self.edge = edge;
            self.batch = batch;
        }
        !self.batch.is_empty()
    }

    /// How many messages of this edge are in hand: counted one by one, or by batches.
    pub(super) fn held_of(&self, edge: EdgeId) -> u64 {
        let batch = |of: EdgeId, batch: &Batch<M>| if of == edge { batch.len() } else { 0 };
        let aside = self.aside.as_ref();
        let again = self.again.iter().filter(|(of, _)| *of == edge).count();
        let count = batch(self.edge, &self.batch)
            + aside.map_or(0, |(of, aside)| batch(*of, aside))
            + again;
        count as u64
    }

    /// Gives everything up: how many of which edge.
    pub(super) fn give_up(&mut self) -> Vec<(EdgeId, u64)> {
        let batches = [
            Some((self.edge, std::mem::take(&mut self.batch))),
            self.aside.take(),
        ];
        let batches = batches.into_iter().flatten();
        let counts = batches.map(|(edge, batch)| (edge, batch.len() as u64));
        let again = self.again.drain(..).map(|(edge, _)| (edge, 1));
        counts
            .chain(again)
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}
