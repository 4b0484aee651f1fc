//! Sends on their way: futures that hold a message until it is sent, and their place in the line.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Closed, SendError, Sender};
use crate::message::{Batch, Envelope, Message};

/// The future of [`Sender::send_envelope`].
#[must_use = "nothing is sent until it is awaited"]
pub struct SendFuture<'a, M: Message> {
    wait: Wait<'a, M>,
    message: Option<Envelope<M>>,
}

// Nothing in it is self-referential.
impl<M: Message> Unpin for SendFuture<'_, M> {}

impl<'a, M: Message> SendFuture<'a, M> {
    pub(super) fn new(sender: &'a Sender<M>, envelope: Envelope<M>) -> Self {
        Self {
            wait: Wait::new(sender),
            message: Some(envelope),
        }
    }

    /// Gives the wait up and takes the message back, if it was not sent.
    pub fn take(&mut self) -> Option<Envelope<M>> {
        self.wait.give_up();
        self.message.take()
    }
}

impl<M: Message> Future for SendFuture<'_, M> {
    type Output = Result<(), SendError<Envelope<M>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.wait.poll_send(&mut this.message, cx)
    }
}

/// The future of [`Sender::send`].
#[must_use = "nothing is sent until it is awaited"]
pub struct SendBody<'a, M: Message> {
    wait: Wait<'a, M>,
    message: Option<M>,
}

// Nothing in it is self-referential.
impl<M: Message> Unpin for SendBody<'_, M> {}

impl<'a, M: Message> SendBody<'a, M> {
    #[inline]
    pub(super) fn new(sender: &'a Sender<M>, message: M) -> Self {
        Self {
            wait: Wait::new(sender),
            message: Some(message),
        }
    }

    /// For those that cannot be sent at once: there is no room, or somebody waits for it.
    #[cold]
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<M>>> {
        let mut message = self.message.take().map(Envelope::new);
        let sent = self.wait.poll_send(&mut message, cx);
        self.message = message.map(|envelope| envelope.body);
        sent.map_err(|error| error.map(|envelope| envelope.body))
    }
}

impl<M: Message> Future for SendBody<'_, M> {
    type Output = Result<(), SendError<M>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Wait { sender, ticket } = &this.wait;
        // The message goes from here into its row, and nowhere in between.
        if ticket.is_none() {
            ready!(sender.poll_share(cx));
            if sender.core().send_now(sender.edge(), &mut this.message) {
                return Poll::Ready(Ok(()));
            }
        }
        this.poll_slowly(cx)
    }
}

/// A place in the line of those who wait for room, given up when dropped. For drivers that poll.
pub(crate) struct Wait<'a, M: Message> {
    sender: &'a Sender<M>,
    ticket: Option<u64>,
}

impl<'a, M: Message> Wait<'a, M> {
    #[inline]
    pub(super) fn new(sender: &'a Sender<M>) -> Self {
        Self {
            sender,
            ticket: None,
        }
    }

    pub(super) fn ticket(&mut self) -> &mut Option<u64> {
        &mut self.ticket
    }

    fn poll_send(
        &mut self,
        message: &mut Option<Envelope<M>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<Envelope<M>>>> {
        let Self { sender, ticket } = self;
        sender.core().poll_send(sender.edge(), message, ticket, cx)
    }

    fn give_up(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.sender.core().cancel(self.sender.edge(), ticket);
        }
    }

    pub(super) fn poll_send_batch(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch<M>,
    ) -> Poll<Result<(), Closed>> {
        match self.sender.core().poll_send_batch(
            self.sender.edge(),
            batch,
            &mut self.ticket,
            Some(cx),
        ) {
            (_, Err(Closed)) => Poll::Ready(Err(Closed)),
            (_, Ok(true)) => Poll::Ready(Ok(())),
            (_, Ok(false)) => Poll::Pending,
        }
    }
}

impl<M: Message> Drop for Wait<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.give_up();
        }
    }
}
