//! What lies under the inbox's lock: its edges, which of them are ready, who waits. Decides, and collects the wakers
//! that are to be called when the lock is released.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::edge::Edge;
use super::line::Need;
use super::tail::Tail;
use super::turns::Turns;
use super::wakers::Wakers;
use super::{Closed, Overflow};
use crate::message::{Batch, Message};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, PoisonError};

pub(super) struct State<M> {
    /// Most inboxes have one.
    pub(super) edges: SmallVec<[Edge<M>; 1]>,
    pub(super) ready: Turns,
    pub(super) queued: usize,
    /// The edge from which the receiver has taken messages ahead.
    pub(super) ahead_of: Option<usize>,
    pub(super) open_edges: usize,
    pub(super) receiver: Option<Waker>,
    /// Buffers of buffered senders that hold something: the receiver empties them when it has nothing else.
    pub(super) lent: Vec<(usize, Arc<Lent<M>>)>,
    /// No sender may add anything any more.
    pub(super) closed: bool,
}

/// The buffer of a buffered sender. Its lock is taken after the inbox's, or alone.
pub(super) struct Lent<M> {
    pub(super) buffer: Mutex<Tail<M>>,
    /// Its sender handle is gone; whoever empties it gives the handle's place back.
    pub(super) orphaned: AtomicBool,
}

impl<M> Default for State<M> {
    fn default() -> Self {
        Self {
            edges: SmallVec::new(),
            ready: Turns::default(),
            queued: 0,
            ahead_of: None,
            open_edges: 0,
            receiver: None,
            lent: Vec::new(),
            closed: false,
        }
    }
}

impl<M: Message> State<M> {
    /// Takes what buffered senders hold, as far as it fits: so nothing hides in a buffer while the receiver waits.
    pub(super) fn collect_lent(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        for (edge, loan) in lent {
            let emptied = {
                let mut buffer = loan.buffer.lock().unwrap_or_else(PoisonError::into_inner);
                let batch = buffer.batch();
                self.queued += self.edges[edge].push_batch(batch, None, false);
                batch.is_empty()
            };
            // The receiver itself is looking, so nobody has to be woken.
            self.relist(edge);
            if !emptied {
                self.lent.push((edge, loan));
            } else if loan.orphaned.load(Ordering::Acquire) {
                self.edges[edge].senders -= 1;
                if self.edges[edge].senders == 0 && !self.edges[edge].ended {
                    self.open_edges -= 1;
                }
            }
        }
    }

    pub(super) fn send_batch(
        &mut self,
        edge: usize,
        batch: &mut Batch<M>,
        ticket: &mut Option<u64>,
        cx: Option<&mut Context<'_>>,
        dropped: &mut Batch<M>,
        wakers: &mut Wakers,
    ) -> (usize, Result<bool, Closed>) {
        if self.closed || self.edges[edge].ended {
            *ticket = None;
            return (0, Err(Closed));
        }
        let slot = &mut self.edges[edge];
        let mut grant = None;
        if let Some(number) = *ticket
            && !slot.is_waiting(number)
        {
            grant = slot.leave(number);
            *ticket = None;
        }
        let before = slot.queue.len();
        let mut moved = if ticket.is_none() {
            let wait = cx.is_some() && slot.overflow == Overflow::Wait;
            slot.push_batch(batch, grant, wait)
        } else {
            0
        };
        let mut finished = batch.is_empty();
        if finished {
            if let Some(number) = ticket.take() {
                slot.leave(number);
            }
        } else {
            match slot.overflow {
                Overflow::Wait => {
                    if let Some(cx) = cx {
                        let need = slot.need_for(batch);
                        slot.wait(ticket, need, cx.waker());
                    }
                }
                Overflow::Fail => finished = true,
                Overflow::DropNewest => {
                    slot.refuse_newest(batch.len());
                    moved += batch.len();
                    dropped.append(batch);
                    finished = true;
                }
                Overflow::DropOldest => {
                    let whole = Need {
                        messages: batch.len(),
                        bytes: batch.bytes(),
                    };
                    if slot.may_hold(whole) {
                        slot.make_room(whole, dropped);
                        moved += whole.messages;
                        slot.append(batch);
                    }
                    while let Some(envelope) = batch.pop() {
                        let weight = envelope.weight();
                        let need = Need {
                            messages: 1,
                            bytes: weight,
                        };
                        slot.make_room(need, dropped);
                        slot.push(envelope, weight);
                        moved += 1;
                    }
                    finished = true;
                }
            }
        }
        // What is left of a grant, or came free since, may suffice for those who wait, this one included.
        slot.grant(wakers);
        self.queued = self.queued + slot.queue.len() - before;
        wakers.add(self.list(edge));
        (moved, Ok(finished))
    }

    /// The edge whose turn it is; `None`: nothing will come any more. With a context, a wait is noted.
    pub(super) fn poll_ready(&mut self, cx: Option<&mut Context<'_>>) -> Poll<Option<usize>> {
        loop {
            if self.ready.is_empty() && !self.lent.is_empty() {
                self.collect_lent();
            }
            let Some(edge) = self.ready.pop_front(&mut self.edges) else {
                if self.queued == 0 && (self.open_edges == 0 || self.closed) {
                    return Poll::Ready(None);
                }
                if let Some(cx) = cx {
                    match &mut self.receiver {
                        Some(waker) => waker.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                }
                return Poll::Pending;
            };
            let slot = &self.edges[edge];
            if !slot.paused && !slot.queue.is_empty() {
                return Poll::Ready(Some(edge));
            }
        }
    }

    /// Puts an edge that had its turn behind the others, if there is more in it.
    #[inline]
    pub(super) fn relist(&mut self, edge: usize) {
        self.ready.push_back(&mut self.edges, edge);
    }

    /// Puts an edge before all others, if it is not listed: something came back to it.
    pub(super) fn list_first(&mut self, edge: usize) {
        self.ready.push_front(&mut self.edges, edge);
    }

    /// Notes that an edge has messages; gives the receiver's waker if it waits.
    #[inline]
    pub(super) fn list(&mut self, edge: usize) -> Option<Waker> {
        // The receiver does not wait while an edge is listed.
        if self.edges[edge].place.is_listed() {
            return None;
        }
        self.list_now(edge)
    }

    fn list_now(&mut self, edge: usize) -> Option<Waker> {
        self.relist(edge);
        if !self.edges[edge].place.is_listed() {
            return None;
        }
        if let Some(other) = self.ahead_of
            && other != edge
        {
            // Its turn comes before the rest of what was taken ahead.
            self.edges[other].recall();
        }
        self.receiver.take()
    }
}
