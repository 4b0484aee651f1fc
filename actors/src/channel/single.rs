//! Messages that are sent one by one.

use std::task::{Context, Poll};

use super::inbox::Core;
use super::line::Need;
use super::{Overflow, SendError, TrySendError};
use crate::message::{Batch, Envelope, Header, Message};

impl<M: Message> Core<M> {
    /// Sends a body now, with a header that says nothing but its key; whether it was sent. This is the way of most
    /// messages; what does not fit stays where it is, whatever the edge's policy says about it.
    #[inline]
    pub(super) fn send_now(&self, edge: usize, message: &mut Option<M>) -> bool {
        let Some(body) = message else { return false };
        let key = body.key();
        let body_weight = body.weight();
        let weight = Header::new().weight() + body_weight;
        let waker = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let slot = &mut state.edges[edge];
            if state.closed || slot.ended || !slot.admits(weight) {
                return false;
            }
            slot.push_plain(key, message, body_weight, weight);
            state.queued += 1;
            state.list(edge)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Sends now or not at all.
    pub(super) fn try_send(
        &self,
        edge: usize,
        envelope: Envelope<M>,
    ) -> Result<(), TrySendError<Envelope<M>>> {
        let weight = envelope.weight();
        let mut dropped = Batch::new();
        let mut state = self.lock();
        if state.closed || state.edges[edge].ended {
            return Err(TrySendError::Closed(envelope));
        }
        let slot = &mut state.edges[edge];
        if !slot.admits(weight) {
            match slot.overflow {
                Overflow::Wait | Overflow::Fail => return Err(TrySendError::Full(envelope)),
                Overflow::DropNewest => {
                    slot.refuse_newest(1);
                    drop(state);
                    drop(envelope);
                    return Ok(());
                }
                Overflow::DropOldest => {
                    let need = Need {
                        messages: 1,
                        bytes: weight,
                    };
                    slot.make_room(need, &mut dropped);
                }
            }
        }
        slot.push(envelope, weight);
        state.queued = state.queued + 1 - dropped.len();
        let waker = state.list(edge);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Sends, or waits for room by the edge's policy. The message is in `slot` until it is sent; the wait is in
    /// `ticket` and must be given to [`Core::cancel`] when it is given up.
    pub(super) fn poll_send(
        &self,
        edge: usize,
        message: &mut Option<Envelope<M>>,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<Envelope<M>>>> {
        let Some(envelope) = message.take() else {
            return Poll::Ready(Ok(()));
        };
        if ticket.is_none() {
            let returned = match self.try_send(edge, envelope) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(TrySendError::Closed(envelope)) => {
                    return Poll::Ready(Err(SendError::Closed(envelope)));
                }
                Err(TrySendError::Full(envelope)) => envelope,
            };
            return self.poll_wait(edge, returned, message, ticket, cx);
        }
        self.poll_wait(edge, envelope, message, ticket, cx)
    }

    fn poll_wait(
        &self,
        edge: usize,
        envelope: Envelope<M>,
        message: &mut Option<Envelope<M>>,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<Envelope<M>>>> {
        let weight = envelope.weight();
        let mut state = self.lock();
        if state.closed || state.edges[edge].ended {
            *ticket = None;
            return Poll::Ready(Err(SendError::Closed(envelope)));
        }
        let slot = &mut state.edges[edge];
        if slot.overflow != Overflow::Wait {
            return Poll::Ready(Err(SendError::Full(envelope)));
        }
        let may_enter = match *ticket {
            // Room may have come between the first attempt and this one.
            None => slot.admits(weight),
            Some(number) if slot.is_waiting(number) => false,
            Some(number) => {
                slot.leave(number);
                *ticket = None;
                true
            }
        };
        if !may_enter {
            slot.wait(
                ticket,
                Need {
                    messages: 1,
                    bytes: weight,
                },
                cx.waker(),
            );
            *message = Some(envelope);
            return Poll::Pending;
        }
        slot.push(envelope, weight);
        state.queued += 1;
        let waker = state.list(edge);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}
