//! The sending end of an edge.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::budget::Share;
use super::buffered::Buffered;
use super::inbox::Core;
use super::sending::{SendBody, SendFuture, Wait};
use super::{Closed, EdgeStats, SendError, SendTimeoutError, TrySendError, block};
use crate::message::{Batch, Envelope, Message};

/// Sends into one edge of an inbox. Clones send into the same edge; the edge ends when the last one is gone.
pub struct Sender<M: Message> {
    core: Arc<Core<M>>,
    edge: usize,
    share: Share,
}

impl<M: Message> Sender<M> {
    pub(super) fn new(core: Arc<Core<M>>, edge: usize) -> Self {
        Self {
            core,
            edge,
            share: Share::default(),
        }
    }

    /// Counts a send of the task that polls; pending where others have to run first.
    #[inline]
    pub(super) fn poll_share(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.share.poll_next(cx)
    }

    #[inline]
    pub(super) fn core(&self) -> &Arc<Core<M>> {
        &self.core
    }

    #[inline]
    pub(super) fn edge(&self) -> usize {
        self.edge
    }

    /// Sends, waiting for room by the edge's overflow policy. Those who wait get room in their order.
    ///
    /// Cancel safe: dropped before it is ready, nothing was sent (and the message is dropped with it).
    ///
    /// # Errors
    /// [`SendError`], with the message: the receiver is gone, or the policy is `Fail` and the edge is full.
    #[inline]
    pub fn send(&self, message: M) -> SendBody<'_, M> {
        SendBody::new(self, message)
    }

    /// As [`Sender::send`], with a header of the caller's.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send_envelope(&self, envelope: Envelope<M>) -> SendFuture<'_, M> {
        SendFuture::new(self, envelope)
    }

    /// Sends now or not at all. A `Wait` edge that is full, or has senders waiting, answers `Full`.
    ///
    /// # Errors
    /// [`TrySendError`], with the message.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        let mut message = Some(message);
        if self.core.send_now(self.edge, &mut message) {
            return Ok(());
        }
        message.map_or(Ok(()), |message| {
            self.try_send_envelope(Envelope::new(message))
                .map_err(|error| error.map(|envelope| envelope.body))
        })
    }

    /// As [`Sender::try_send`], with a header of the caller's.
    ///
    /// # Errors
    /// [`TrySendError`], with the envelope.
    pub fn try_send_envelope(
        &self,
        envelope: Envelope<M>,
    ) -> Result<(), TrySendError<Envelope<M>>> {
        self.core.try_send(self.edge, envelope)
    }

    /// Sends, waiting for room at most `timeout`. Needs a tokio runtime with time. Cancel safe as [`Sender::send`].
    ///
    /// # Errors
    /// [`SendTimeoutError`], with the message.
    pub async fn send_timeout(
        &self,
        message: M,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<M>> {
        let mut future = self.send_envelope(Envelope::new(message));
        match tokio::time::timeout(timeout, &mut future).await {
            Ok(result) => result
                .map_err(|error| SendTimeoutError::Refused(error.map(|envelope| envelope.body))),
            Err(_) => match future.take() {
                Some(envelope) => Err(SendTimeoutError::Timeout(envelope.body)),
                // The future gives its message away only together with a result, which would have come first.
                None => Ok(()),
            },
        }
    }

    /// Sends from a thread that may block; it parks until there is room. Not for async tasks.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn blocking_send(&self, message: M) -> Result<(), SendError<M>> {
        let mut message = Some(message);
        if self.core.send_now(self.edge, &mut message) {
            return Ok(());
        }
        message.map_or(Ok(()), |message| {
            self.blocking_send_envelope(Envelope::new(message))
                .map_err(|error| error.map(|envelope| envelope.body))
        })
    }

    /// As [`Sender::blocking_send`], with a header of the caller's.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn blocking_send_envelope(
        &self,
        envelope: Envelope<M>,
    ) -> Result<(), SendError<Envelope<M>>> {
        let mut future = self.send_envelope(envelope);
        block::wait(|cx| Pin::new(&mut future).poll(cx))
    }

    /// As [`Sender::blocking_send`], for at most `timeout`.
    ///
    /// # Errors
    /// [`SendTimeoutError`], with the message.
    pub fn blocking_send_timeout(
        &self,
        message: M,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<M>> {
        self.blocking_send_envelope_timeout(Envelope::new(message), timeout)
            .map_err(|error| error.map(|envelope| envelope.body))
    }

    /// As [`Sender::blocking_send_timeout`], with a header of the caller's.
    ///
    /// # Errors
    /// [`SendTimeoutError`], with the envelope.
    pub fn blocking_send_envelope_timeout(
        &self,
        envelope: Envelope<M>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError<Envelope<M>>> {
        let mut future = self.send_envelope(envelope);
        match block::wait_timeout(timeout, |cx| Pin::new(&mut future).poll(cx)) {
            Some(result) => result.map_err(SendTimeoutError::Refused),
            None => match future.take() {
                Some(envelope) => Err(SendTimeoutError::Timeout(envelope)),
                None => Ok(()),
            },
        }
    }

    /// Moves what fits now from the front of `batch` into the edge; gives how many left the batch. One lock and at
    /// most one wake-up for all of them. Under a drop policy everything leaves it.
    ///
    /// # Errors
    /// [`Closed`]: the receiver is gone; the rest stays in the batch.
    pub fn offer_batch(&self, batch: &mut Batch<M>) -> Result<usize, Closed> {
        self.core.offer(self.edge, batch)
    }

    /// Sends the whole batch, in order, waiting for room. With policy `Fail`, what did not fit stays in the batch.
    ///
    /// Cancel safe: what was not sent stays in the batch.
    ///
    /// # Errors
    /// [`Closed`]: the receiver is gone; the rest stays in the batch.
    pub async fn send_batch(&self, batch: &mut Batch<M>) -> Result<(), Closed> {
        let mut wait = Wait::new(self);
        std::future::poll_fn(|cx| wait.poll_send_batch(cx, batch)).await
    }

    /// As [`Sender::send_batch`], from a thread that may block.
    ///
    /// # Errors
    /// As [`Sender::send_batch`].
    pub fn blocking_send_batch(&self, batch: &mut Batch<M>) -> Result<(), Closed> {
        let mut wait = Wait::new(self);
        block::wait(|cx| wait.poll_send_batch(cx, batch))
    }

    /// Waits for room for one message of `bytes` (header included) and keeps it reserved.
    ///
    /// Cancel safe: dropped before it is ready, nothing is reserved.
    ///
    /// # Errors
    /// [`Closed`]: the receiver is gone.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit<'_, M>, Closed> {
        let mut wait = Wait::new(self);
        std::future::poll_fn(|cx| self.core.poll_reserve(self.edge, bytes, wait.ticket(), cx))
            .await?;
        Ok(Permit {
            sender: self,
            bytes,
            used: false,
        })
    }

    /// Free room now: messages and bytes. Zero while others wait for room.
    #[must_use]
    pub fn room(&self) -> (usize, usize) {
        self.core.room(self.edge)
    }

    /// A handle that collects messages and sends them in batches; nothing hides in it.
    #[must_use]
    pub fn buffered(&self) -> Buffered<M> {
        Buffered::new(self.clone())
    }

    /// Whether the receiver is gone or closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed(self.edge)
    }

    /// A look at this edge.
    #[must_use]
    pub fn stats(&self) -> EdgeStats {
        self.core.stats(self.edge)
    }

    pub(crate) fn count_refused(&self, count: u64) {
        self.core.count_refused(self.edge, count);
    }

    /// A look at this edge that outlives both ends.
    #[must_use]
    pub fn probe(&self) -> super::Probe {
        super::Probe::new(
            Arc::clone(&self.core) as Arc<dyn super::probe::ProbeSource>,
            self.edge,
        )
    }

    /// Makes one queued message disappear without a trace, to prove that the ledger notices.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    pub fn forget_one(&self) -> bool {
        self.core.forget_one(self.edge)
    }
}

impl<M: Message> Clone for Sender<M> {
    fn clone(&self) -> Self {
        self.core.add_sender(self.edge);
        Self {
            core: Arc::clone(&self.core),
            edge: self.edge,
            share: Share::default(),
        }
    }
}

impl<M: Message> Drop for Sender<M> {
    fn drop(&mut self) {
        self.core.drop_sender(self.edge);
    }
}

impl<M: Message> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("edge", &self.edge)
            .finish_non_exhaustive()
    }
}

/// A sender that keeps its own place in the line between polls: what a stage's output holds.
pub(crate) struct PollSender<M: Message> {
    sender: Sender<M>,
    ticket: Option<u64>,
}

impl<M: Message> PollSender<M> {
    pub(crate) fn new(sender: Sender<M>) -> Self {
        Self {
            sender,
            ticket: None,
        }
    }

    pub(crate) fn sender(&self) -> &Sender<M> {
        &self.sender
    }

    /// Moves `batch` into the edge as room comes; `(moved or dropped, finished)`.
    pub(crate) fn poll_send_batch(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
    ) -> (usize, Result<bool, Closed>) {
        self.sender
            .core
            .poll_send_batch(self.sender.edge, batch, &mut self.ticket, Some(cx))
    }
}

impl<M: Message> Drop for PollSender<M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.sender.core.cancel(self.sender.edge, ticket);
        }
    }
}

/// Room for one message, held until it is used or dropped.
#[must_use = "a permit that is dropped gives its room back"]
pub struct Permit<'a, M: Message> {
    sender: &'a Sender<M>,
    bytes: usize,
    used: bool,
}

impl<M: Message> Permit<'_, M> {
    /// Sends at once.
    ///
    /// # Errors
    /// [`SendError::Closed`], with the message: the receiver is gone.
    pub fn send(self, message: M) -> Result<(), SendError<M>> {
        self.send_envelope(Envelope::new(message))
            .map_err(|error| error.map(|envelope| envelope.body))
    }

    /// As [`Permit::send`], with a header of the caller's.
    ///
    /// # Errors
    /// As [`Permit::send`].
    pub fn send_envelope(mut self, envelope: Envelope<M>) -> Result<(), SendError<Envelope<M>>> {
        self.used = true;
        self.sender
            .core
            .redeem(self.sender.edge, self.bytes, Some(envelope))
    }
}

impl<M: Message> Drop for Permit<'_, M> {
    fn drop(&mut self) {
        if !self.used {
            // Without a message nothing can be refused.
            let _ = self.sender.core.redeem(self.sender.edge, self.bytes, None);
        }
    }
}
