//! The shared inside of a channel: one inbox, its edges, one lock. Senders and receiver are thin handles on it.
//!
//! The lock is held for the time of a push or a swap, once per batch; wakers are called and dropped messages are
//! dropped after it is released.

use std::task::{Context, Poll};

use super::edge::Edge;
use super::queue::Queue;
use super::state::State;
use super::wakers::Wakers;
use super::{Capacity, Closed, EdgeStats, Overflow, Settlement};
use crate::message::{Batch, Message, Reason};
use crate::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Core<M> {
    state: Mutex<State<M>>,
}

impl<M: Message> Core<M> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<M>> {
        // A panic under the lock can only come from a message's own `weight`; the counters stay usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_edge(&self, capacity: Capacity, overflow: Overflow) -> usize {
        let mut state = self.lock();
        state.edges.push(Edge::new(capacity, overflow));
        state.open_edges += 1;
        state.edges.len() - 1
    }

    pub(super) fn edge_count(&self) -> usize {
        self.lock().edges.len()
    }

    pub(super) fn add_sender(&self, edge: usize) {
        self.lock().edges[edge].senders += 1;
    }

    pub(super) fn drop_sender(&self, edge: usize) {
        let waker = {
            let mut state = self.lock();
            let slot = &mut state.edges[edge];
            slot.senders -= 1;
            if slot.senders > 0 || slot.ended {
                return;
            }
            state.open_edges -= 1;
            state.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_closed(&self, edge: usize) -> bool {
        let state = self.lock();
        state.closed || state.edges[edge].ended
    }

    /// Whether an edge is empty and nobody can send into it any more.
    pub(super) fn is_over(&self, edge: usize) -> bool {
        let mut state = self.lock();
        let closed = state.closed;
        let slot = &mut state.edges[edge];
        (closed || slot.ended || slot.senders == 0) && slot.queued().messages == 0
    }

    /// Ends one edge: its senders learn that it is closed, what is queued stays to be taken.
    pub(super) fn end_edge(&self, edge: usize) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let slot = &mut state.edges[edge];
            if slot.ended {
                return;
            }
            slot.ended = true;
            slot.wake_all(&mut wakers);
            if slot.senders > 0 {
                state.open_edges -= 1;
            }
            wakers.add(state.receiver.take());
        }
        wakers.wake();
    }

    pub(super) fn room(&self, edge: usize) -> (usize, usize) {
        self.lock().edges[edge].free()
    }

    pub(super) fn stats(&self, edge: usize) -> EdgeStats {
        let mut state = self.lock();
        let slot = &mut state.edges[edge];
        let queued = slot.queued();
        EdgeStats {
            counts: slot.account(),
            queued_messages: queued.messages,
            queued_bytes: queued.bytes,
            peak_messages: slot.peak,
            capacity: slot.capacity,
            overflow: slot.overflow,
            senders: if slot.ended { 0 } else { slot.senders },
        }
    }

    /// Moves as much of `batch` as the edge takes now; how many were moved or, by policy, dropped.
    pub(super) fn offer(&self, edge: usize, batch: &mut Batch<M>) -> Result<usize, Closed> {
        match self.poll_send_batch(edge, batch, &mut None, None) {
            (_, Err(Closed)) => Err(Closed),
            (count, Ok(_)) => Ok(count),
        }
    }

    /// Moves `batch` into the edge as room comes. `Ok(true)`: everything was moved, or the policy forbids to wait for
    /// the rest, which then remains in the batch (`Fail`). With a context, a wait is registered in `ticket`.
    pub(super) fn poll_send_batch(
        &self,
        edge: usize,
        batch: &mut Batch<M>,
        ticket: &mut Option<u64>,
        cx: Option<&mut Context<'_>>,
    ) -> (usize, Result<bool, Closed>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let slot = &mut state.edges[edge];
        if ticket.is_none()
            && !(batch.is_empty() || state.closed || slot.ended)
            && slot.admits_all(batch)
        {
            let count = batch.len();
            slot.append(batch);
            state.queued += count;
            let waker = state.list(edge);
            drop(guard);
            if let Some(waker) = waker {
                waker.wake();
            }
            return (count, Ok(true));
        }
        let (mut dropped, mut wakers) = (Batch::new(), Wakers::new());
        let result = state.send_batch(edge, batch, ticket, cx, &mut dropped, &mut wakers);
        drop(guard);
        wakers.wake();
        if !dropped.is_empty() {
            dropped.clear();
            if batch.is_empty() {
                // Its memory is the sender's again.
                batch.append(&mut dropped);
            }
        }
        result
    }

    /// Gives up a wait: its place, or the room it had been granted, goes to the next.
    pub(super) fn cancel(&self, edge: usize, ticket: u64) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let slot = &mut state.edges[edge];
            slot.leave(ticket);
            slot.grant(&mut wakers);
        }
        wakers.wake();
    }

    /// Takes up to `max` messages of one ready edge into `batch` (which keeps what it has). Edges take turns.
    /// `None`: nothing will come any more. Those not delivered by this are counted as in hand until they are settled, and
    /// come as they lie in the queue, one batch of it at a time, so that only pointers move.
    pub(super) fn poll_take(
        &self,
        batch: &mut Batch<M>,
        max: usize,
        deliver: bool,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Option<usize>> {
        let mut wakers = Wakers::new();
        let mut state = self.lock();
        let edge = match state.poll_ready(cx) {
            Poll::Ready(Some(edge)) => edge,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let slot = &mut state.edges[edge];
        let mut taken = slot.queue.take(batch, max.max(1));
        if deliver {
            while taken < max && !slot.queue.is_empty() {
                taken += slot.queue.take(batch, max - taken);
            }
            slot.delivered += taken as u64;
        } else {
            slot.in_hand += taken as u64;
        }
        slot.grant(&mut wakers);
        state.queued -= taken;
        state.relist(edge);
        drop(state);
        wakers.wake();
        Poll::Ready(Some(edge))
    }

    /// As [`Core::settle`], when all of them were delivered.
    pub(super) fn settle_delivered(&self, edge: usize, delivered: u64, in_hand: u64) {
        let mut state = self.lock();
        let slot = &mut state.edges[edge];
        slot.delivered += delivered;
        slot.in_hand = in_hand;
    }

    /// Counts outcomes of messages taken before, and notes how many of this edge the receiver still has in hand.
    pub(super) fn settle(&self, edge: usize, settlement: &Settlement, in_hand: u64) {
        let mut state = self.lock();
        let slot = &mut state.edges[edge];
        slot.delivered += settlement.delivered;
        slot.counts.dead.merge(&settlement.dead);
        slot.counts.expired += settlement.expired;
        slot.counts.shed.merge(&settlement.shed);
        slot.counts.cancelled += settlement.cancelled;
        slot.counts.lost += settlement.lost;
        slot.in_hand = in_hand;
    }

    /// Counts messages that were not let in, as accepted and dead by `quota`: their sender gave them up.
    pub(super) fn count_refused(&self, edge: usize, count: u64) {
        let mut state = self.lock();
        let slot = &mut state.edges[edge];
        slot.accepted += count;
        slot.counts.dead.add(Reason::Quota, count);
    }

    pub(super) fn set_paused(&self, edge: usize, paused: bool) {
        let waker = {
            let mut state = self.lock();
            state.edges[edge].paused = paused;
            if state.ahead_of == Some(edge) {
                state.edges[edge].recall();
            }
            state.list(edge)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// No more sends; what is queued stays to be taken.
    pub(super) fn close(&self) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            state.closed = true;
            for edge in &mut state.edges {
                edge.wake_all(&mut wakers);
            }
            wakers.add(state.receiver.take());
        }
        wakers.wake();
    }

    /// The receiver is gone: what is queued is given up and counted as cancelled.
    pub(super) fn abandon(&self) {
        self.close();
        let mut given_up = Vec::new();
        {
            let mut state = self.lock();
            state.queued = 0;
            state.ready.clear();
            for edge in &mut state.edges {
                edge.counts.cancelled += edge.queue.len() as u64;
                given_up.push(std::mem::replace(
                    &mut edge.queue,
                    Queue::new(edge.capacity),
                ));
            }
        }
    }

    /// Makes one queued message disappear without a trace, to prove that the ledger notices.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn forget_one(&self, edge: usize) -> bool {
        let mut state = self.lock();
        let forgotten = state.edges[edge].queue.pop().is_some();
        if forgotten {
            state.queued -= 1;
        }
        forgotten
    }
}

impl<M: Message> super::probe::ProbeSource for Core<M> {
    fn edge_stats(&self, edge: usize) -> EdgeStats {
        self.stats(edge)
    }

    fn end_edge(&self, edge: usize) {
        Core::end_edge(self, edge);
    }
}
