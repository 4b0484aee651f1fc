//! A sender that collects: for loops that want batches without writing them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::budget::poll_share;
use super::state::Lent;
use super::tail::Tail;
use super::{Closed, SendError, Sender, block};
use crate::message::Message;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Collects up to [`Buffered::LIMIT`] messages and sends them together.
///
/// It sends when it is full, on [`Buffered::flush`], on drop, and whenever the receiver has nothing else: the receiver
/// knows of the buffer from its first message on and empties it itself, so that nothing hides while the task sleeps.
/// What is in the buffer is not accepted yet.
pub struct Buffered<M: Message> {
    sender: Sender<M>,
    loan: Arc<Lent<M>>,
    ticket: Option<u64>,
}

impl<M: Message> Buffered<M> {
    /// The most messages it collects.
    pub const LIMIT: usize = 256;

    pub(super) fn new(sender: Sender<M>) -> Self {
        // The handle's place is given back by hand in `drop`, so that a filled buffer can outlive it.
        let loan = Arc::new(Lent {
            buffer: Mutex::default(),
            orphaned: AtomicBool::new(false),
        });
        Self {
            sender,
            loan,
            ticket: None,
        }
    }

    /// Adds a message; when the buffer is full, waits until it is sent.
    ///
    /// Cancel safe: dropped before it is ready, the message is in the buffer or was dropped with the future before
    /// it ran at all.
    ///
    /// # Errors
    /// [`SendError::Closed`], with the message: the receiver is gone.
    #[inline]
    pub fn send(&mut self, message: M) -> BufferedSend<'_, M> {
        BufferedSend {
            buffered: self,
            message: Some(message),
        }
    }

    /// As [`Buffered::send`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Buffered::send`].
    pub fn blocking_send(&mut self, message: M) -> Result<(), SendError<M>> {
        if self.push(&mut Some(message))? && self.blocking_flush().is_err() {
            return self.take_back();
        }
        Ok(())
    }

    /// Sends everything collected.
    ///
    /// Cancel safe: what was not sent stays collected.
    ///
    /// # Errors
    /// [`Closed`]: the receiver is gone.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// As [`Buffered::flush`], on a thread that may block.
    ///
    /// # Errors
    /// As [`Buffered::flush`].
    pub fn blocking_flush(&mut self) -> Result<(), Closed> {
        block::wait(|cx| self.poll_flush(cx))
    }

    /// As [`Buffered::flush`], for a driver that polls.
    ///
    /// # Errors
    /// As [`Buffered::flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self
            .sender
            .core()
            .poll_flush(self.sender.edge(), &self.loan, &mut self.ticket, cx)
        {
            Err(Closed) => Poll::Ready(Err(Closed)),
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
        }
    }

    /// Sends what has filled the buffer.
    #[cold]
    fn poll_full(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<M>>> {
        ready!(poll_share(cx));
        match ready!(self.poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Closed) => Poll::Ready(self.take_back()),
        }
    }

    /// Adds to the buffer; whether it is full now. Whether the receiver is gone is asked with the first message of a
    /// buffer and when it is flushed.
    #[inline]
    fn push(&mut self, message: &mut Option<M>) -> Result<bool, SendError<M>> {
        let Some(body) = message else {
            return Ok(false);
        };
        let (key, weight) = (body.key(), body.weight());
        let length = {
            let mut buffer = self.buffer();
            buffer.push_plain(key, message, weight);
            buffer.len()
        };
        if length == 1
            && self
                .sender
                .core()
                .lend(self.sender.edge(), &self.loan)
                .is_err()
        {
            return self.take_back().map(|()| false);
        }
        Ok(length >= Self::LIMIT)
    }

    /// The receiver is gone: the last message goes back to its sender.
    fn take_back(&mut self) -> Result<(), SendError<M>> {
        let last = self.buffer().batch().pop_back();
        last.map_or(Ok(()), |envelope| Err(SendError::Closed(envelope.body)))
    }

    fn buffer(&self) -> MutexGuard<'_, Tail<M>> {
        self.loan
            .buffer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future of [`Buffered::send`].
#[must_use = "nothing is collected until it is awaited"]
pub struct BufferedSend<'a, M: Message> {
    buffered: &'a mut Buffered<M>,
    /// The message, until it is in the buffer.
    message: Option<M>,
}

// Nothing in it is self-referential.
impl<M: Message> Unpin for BufferedSend<'_, M> {}

impl<M: Message> Future for BufferedSend<'_, M> {
    type Output = Result<(), SendError<M>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { buffered, message } = self.get_mut();
        if message.is_some() {
            match buffered.push(message) {
                Ok(false) => return Poll::Ready(Ok(())),
                Ok(true) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        buffered.poll_full(cx)
    }
}

impl<M: Message> Drop for Buffered<M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.sender.core().cancel(self.sender.edge(), ticket);
        }
        // The buffer keeps a place of its own among the edge's senders until it is empty.
        self.sender.core().add_sender(self.sender.edge());
        self.sender.core().orphan(self.sender.edge(), &self.loan);
    }
}
