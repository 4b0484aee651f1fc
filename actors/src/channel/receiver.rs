//! The receiving end: an inbox with one or many edges.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::ahead::Hand;
use super::budget::{Share, poll_share};
use super::inbox::Core;
use super::{Capacity, EdgeStats, Overflow, Sender, Settlement, TryReceiveError, block};
use crate::message::{Batch, Envelope, Message};

/// Names one edge of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub(crate) usize);

/// Receives from all edges of an inbox; edges take turns, so that none starves the others.
///
/// What it gives is counted `delivered` on its edge. When it is dropped, what is still queued is counted `cancelled`
/// and senders learn that it is gone.
pub struct Receiver<M: Message> {
    core: Arc<Core<M>>,
    hand: Hand<M>,
    share: Share,
}

impl<M: Message> Receiver<M> {
    pub(super) fn new(core: Arc<Core<M>>) -> Self {
        Self {
            core,
            hand: Hand::new(),
            share: Share::default(),
        }
    }

    /// Adds an edge with its own bound and its own account; gives its sender.
    #[must_use]
    pub fn add_edge(&self, capacity: Capacity, overflow: Overflow) -> (EdgeId, Sender<M>) {
        let edge = self.core.add_edge(capacity, overflow);
        (EdgeId(edge), Sender::new(Arc::clone(&self.core), edge))
    }

    /// Receives the next message; `None` when all senders are gone and everything was received.
    ///
    /// Cancel safe: dropped before it is ready, nothing was received.
    pub async fn recv(&mut self) -> Option<M> {
        std::future::poll_fn(|cx| self.poll_in_turn(cx, Batch::pop_body)).await
    }

    /// As [`Receiver::recv`], with the header.
    pub async fn recv_envelope(&mut self) -> Option<Envelope<M>> {
        std::future::poll_fn(|cx| self.poll_in_turn(cx, Batch::pop)).await
    }

    /// As [`Receiver::recv_envelope`], for a driver that polls.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Envelope<M>>> {
        self.poll_next(cx, Batch::pop)
    }

    /// As [`Receiver::poll_next`], after others that have to run first.
    #[inline]
    fn poll_in_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        pop: fn(&mut Batch<M>) -> Option<T>,
    ) -> Poll<Option<T>> {
        ready!(self.hand.poll_share(&self.share, cx));
        self.poll_next(cx, pop)
    }

    #[inline]
    fn poll_next<T>(
        &mut self,
        cx: &mut Context<'_>,
        pop: fn(&mut Batch<M>) -> Option<T>,
    ) -> Poll<Option<T>> {
        self.hand.poll_next(&self.core, Some(cx), pop)
    }

    /// Receives what is there now.
    ///
    /// # Errors
    /// [`TryReceiveError`]: nothing there, or nothing will come any more.
    pub fn try_recv(&mut self) -> Result<M, TryReceiveError> {
        match self.hand.poll_next(&self.core, None, Batch::pop_body) {
            Poll::Ready(Some(body)) => Ok(body),
            Poll::Ready(None) => Err(TryReceiveError::Closed),
            Poll::Pending => Err(TryReceiveError::Empty),
        }
    }

    /// Receives the next message on a thread that may block. Not for async tasks.
    pub fn blocking_recv(&mut self) -> Option<M> {
        block::wait(|cx| self.poll_next(cx, Batch::pop_body))
    }

    /// Receives up to `max` messages of one edge into `batch`, as many as are there, at least one.
    /// Gives their edge, or `None` when nothing will come any more. One lock for all of them.
    ///
    /// Cancel safe: dropped before it is ready, nothing was received.
    pub async fn recv_batch(&mut self, batch: &mut Batch<M>, max: usize) -> Option<EdgeId> {
        std::future::poll_fn(|cx| {
            ready!(poll_share(cx));
            self.poll_recv_batch(cx, batch, max)
        })
        .await
    }

    /// As [`Receiver::recv_batch`], for a driver that polls.
    pub fn poll_recv_batch(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
        max: usize,
    ) -> Poll<Option<EdgeId>> {
        self.hand.put_back(&self.core);
        self.core
            .poll_take(batch, max, true, Some(cx))
            .map(|edge| edge.map(EdgeId))
    }

    /// As [`Receiver::recv_batch`], on a thread that may block.
    pub fn blocking_recv_batch(&mut self, batch: &mut Batch<M>, max: usize) -> Option<EdgeId> {
        block::wait(|cx| self.poll_recv_batch(cx, batch, max))
    }

    /// Takes nothing from this edge until [`Receiver::resume`]; other edges go on.
    ///
    /// # Panics
    /// If the edge is not of this inbox.
    pub fn pause(&self, edge: EdgeId) {
        self.core.set_paused(edge.0, true);
    }

    /// Takes from this edge again.
    ///
    /// # Panics
    /// If the edge is not of this inbox.
    pub fn resume(&self, edge: EdgeId) {
        self.core.set_paused(edge.0, false);
    }

    /// Whether this edge is empty and nobody can send into it any more.
    pub(crate) fn is_over(&self, edge: EdgeId) -> bool {
        self.core.is_over(edge.0)
    }

    /// Accepts nothing more; what is queued can still be received.
    pub fn close(&self) {
        self.core.close();
    }

    /// A look at each edge.
    #[must_use]
    pub fn stats(&self) -> Vec<EdgeStats> {
        (0..self.core.edge_count())
            .map(|edge| self.core.stats(edge))
            .collect()
    }

    /// Takes without counting: the caller settles each message later with [`Receiver::settle`].
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
        max: usize,
    ) -> Poll<Option<EdgeId>> {
        self.hand.put_back(&self.core);
        self.core
            .poll_take(batch, max, false, Some(cx))
            .map(|edge| edge.map(EdgeId))
    }

    pub(crate) fn settle_delivered(&self, edge: EdgeId, delivered: u64, in_hand: u64) {
        self.core.settle_delivered(edge.0, delivered, in_hand);
    }

    /// Counts how messages taken with [`Receiver::poll_take`] ended, and how many of this edge the caller still holds
    /// (counted by walking what it holds).
    pub fn settle(&self, edge: EdgeId, settlement: &Settlement, in_hand: u64) {
        self.core.settle(edge.0, settlement, in_hand);
    }
}

impl<M: Message> Drop for Receiver<M> {
    fn drop(&mut self) {
        self.hand.put_back(&self.core);
        self.core.abandon();
    }
}

impl<M: Message> fmt::Debug for Receiver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("edges", &self.core.edge_count())
            .finish_non_exhaustive()
    }
}
