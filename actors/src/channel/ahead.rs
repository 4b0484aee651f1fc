//! Messages that the receiver has taken ahead: under one lock, to give them out one by one without it.
//!
//! Until they are given out they count as queued, and take their room. The receiver tells how many are left after each; whoever
//! holds the lock and wants to know looks here. Where anything but plain sending and receiving goes on (a sender waits for room,
//! another edge has messages, a pause), the receiver is asked to put them back, before it gives out the next one.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::Overflow;
use super::budget::{Share, poll_share};
use super::inbox::Core;
use super::line::Need;
use super::wakers::Wakers;
use crate::message::{Batch, Message};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is left of the messages that the receiver took ahead. On a cache line of its own, which the receiver writes.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Ahead {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    recalled: AtomicBool,
}

impl Ahead {
    /// What is left now. It only becomes less, except under the lock.
    pub(super) fn left(&self) -> Need {
        // The messages first: the bytes may then be those of a moment later, which is to the receiver's credit.
        let messages = self.messages.load(Ordering::SeqCst);
        let bytes = self.bytes.load(Ordering::Acquire);
        Need { messages, bytes }
    }

    /// Asks for what is left to be put back. Whoever looks at [`Ahead::left`] after this sees all that was given out before
    /// the receiver could notice.
    pub(super) fn recall(&self) {
        self.recalled.store(true, Ordering::SeqCst);
    }

    #[inline]
    fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::SeqCst)
    }

    #[inline]
    fn set<M: Message>(&self, hand: &Batch<M>) {
        self.bytes.store(hand.bytes(), Ordering::Release);
        // Read-modify-write, so that it comes before the next look at `recalled` for everybody.
        self.messages.swap(hand.len(), Ordering::SeqCst);
    }
}

/// The receiver's part: what it took ahead.
pub(super) struct Hand<M> {
    batch: Batch<M>,
    edge: usize,
    left: Arc<Ahead>,
    /// Whether the last take was more than one message.
    several: bool,
}

impl<M: Message> Hand<M> {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch::new(),
            edge: 0,
            left: Arc::default(),
            several: false,
        }
    }

    /// The next message, as `pop` takes it from a batch.
    #[inline]
    pub(super) fn poll_next<T>(
        &mut self,
        core: &Core<M>,
        cx: Option<&mut Context<'_>>,
        pop: fn(&mut Batch<M>) -> Option<T>,
    ) -> Poll<Option<T>> {
        if !self.batch.is_empty() && !self.left.is_recalled() {
            let next = pop(&mut self.batch);
            self.left.set(&self.batch);
            // Somebody may have begun to wait for the room that has just become free.
            if self.left.is_recalled() {
                self.put_back(core);
            }
            return Poll::Ready(next);
        }
        self.put_back(core);
        core.poll_next(self, cx, pop)
    }

    /// Uses up a part of the task's share where several messages were taken at once and are given out now, or every so many
    /// that were taken one by one.
    #[inline]
    pub(super) fn poll_share(&self, share: &Share, cx: &mut Context<'_>) -> Poll<()> {
        if !self.batch.is_empty() {
            Poll::Ready(())
        } else if self.several {
            poll_share(cx)
        } else {
            share.poll_next(cx)
        }
    }

    /// Puts back what is left, to the front of the queue it came from.
    #[inline]
    pub(super) fn put_back(&mut self, core: &Core<M>) {
        if !self.batch.is_empty() || self.left.is_recalled() {
            self.put_back_now(core);
        }
    }

    #[cold]
    fn put_back_now(&mut self, core: &Core<M>) {
        let mut wakers = Wakers::new();
        {
            let mut state = core.lock();
            self.left.recalled.store(false, Ordering::SeqCst);
            state.ahead_of = None;
            let edge = self.edge;
            let count = self.batch.len();
            state.queued += count;
            let slot = &mut state.edges[edge];
            slot.put_back(&mut self.batch);
            self.left.set(&self.batch);
            slot.grant(&mut wakers);
            state.list_first(edge);
        }
        wakers.wake();
    }
}

impl<M: Message> Core<M> {
    /// Gives the first message of a ready edge. If that is the only one, and nobody waits for room in it, those behind it
    /// are taken along.
    fn poll_next<T>(
        &self,
        hand: &mut Hand<M>,
        cx: Option<&mut Context<'_>>,
        pop: fn(&mut Batch<M>) -> Option<T>,
    ) -> Poll<Option<T>> {
        let mut wakers = Wakers::new();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(before) = state.ahead_of.take() {
            // All of it was given out since.
            state.edges[before].look_ahead();
        }
        let edge = match state.poll_ready(cx) {
            Poll::Ready(Some(edge)) => edge,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let alone = state.ready.is_empty();
        let slot = &mut state.edges[edge];
        let before = slot.queue.len();
        let ahead =
            alone && before > 1 && slot.overflow != Overflow::DropOldest && !slot.is_waited_for();
        hand.several = ahead;
        let next = if ahead {
            slot.queue.take(&mut hand.batch, usize::MAX);
            let next = pop(&mut hand.batch);
            hand.edge = edge;
            hand.left.set(&hand.batch);
            slot.lend(&hand.left);
            state.ahead_of = Some(edge);
            next
        } else {
            slot.queue.pop_as(pop)
        };
        slot.delivered += u64::from(next.is_some());
        state.queued -= before - slot.queue.len();
        slot.grant(&mut wakers);
        state.relist(edge);
        drop(guard);
        wakers.wake();
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests;
