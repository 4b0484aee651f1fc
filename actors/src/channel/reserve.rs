//! Room that is kept ahead of its message.

use std::task::{Context, Poll};

use super::inbox::Core;
use super::line::Need;
use super::wakers::Wakers;
use super::{Closed, SendError};
use crate::message::{Envelope, Message};

impl<M: Message> Core<M> {
    /// Reserves room for one message of `bytes`.
    pub(super) fn poll_reserve(
        &self,
        edge: usize,
        bytes: usize,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let need = Need { messages: 1, bytes };
        let mut state = self.lock();
        if state.closed || state.edges[edge].ended {
            *ticket = None;
            return Poll::Ready(Err(Closed));
        }
        let slot = &mut state.edges[edge];
        match *ticket {
            None if slot.try_reserve(need) => Poll::Ready(Ok(())),
            Some(number) if !slot.is_waiting(number) => {
                // Hand the grant over to the permit: release and take again under the same lock.
                if slot.leave(number).is_some() {
                    slot.hold(need);
                }
                *ticket = None;
                Poll::Ready(Ok(()))
            }
            _ => {
                slot.wait(ticket, need, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Uses or returns a reservation made by [`Core::poll_reserve`].
    pub(super) fn redeem(
        &self,
        edge: usize,
        bytes: usize,
        message: Option<Envelope<M>>,
    ) -> Result<(), SendError<Envelope<M>>> {
        let mut wakers = Wakers::new();
        let mut state = self.lock();
        let closed = state.closed || state.edges[edge].ended;
        let slot = &mut state.edges[edge];
        slot.release(Need { messages: 1, bytes });
        let result = match message {
            None => Ok(()),
            Some(envelope) if closed => Err(SendError::Closed(envelope)),
            Some(envelope) => {
                let weight = envelope.weight();
                slot.push(envelope, weight);
                state.queued += 1;
                Ok(())
            }
        };
        state.edges[edge].grant(&mut wakers);
        wakers.add(state.list(edge));
        drop(state);
        wakers.wake();
        result
    }
}
