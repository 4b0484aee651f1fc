//! Buffers of buffered senders, which the receiver may empty.

use std::sync::Arc;
use std::task::Context;

use super::Closed;
use super::inbox::Core;
use super::state::Lent;
use super::wakers::Wakers;
use crate::message::{Batch, Message};
use crate::sync::PoisonError;
use crate::sync::atomic::Ordering;

impl<M: Message> Core<M> {
    /// As [`Core::poll_send_batch`], from a buffer that the receiver can empty too.
    pub(super) fn poll_flush(
        &self,
        edge: usize,
        loan: &Lent<M>,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Closed> {
        let mut dropped = Batch::new();
        let mut wakers = Wakers::new();
        let result = {
            let mut state = self.lock();
            let mut buffer = loan.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            let batch = buffer.batch();
            let result = state
                .send_batch(edge, batch, ticket, Some(cx), &mut dropped, &mut wakers)
                .1;
            if batch.is_empty() {
                state
                    .lent
                    .retain(|(_, other)| !std::ptr::eq(&**other, loan));
            }
            result
        };
        wakers.wake();
        result
    }

    /// Tells the receiver that a buffer holds something, unless it is gone.
    pub(super) fn lend(&self, edge: usize, loan: &Arc<Lent<M>>) -> Result<(), Closed> {
        let waker = {
            let mut state = self.lock();
            if state.closed || state.edges[edge].ended {
                return Err(Closed);
            }
            state.lent.push((edge, Arc::clone(loan)));
            state.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Gives a buffer's sender handle up: at once if the buffer is empty, otherwise when it is emptied.
    pub(super) fn orphan(&self, edge: usize, loan: &Lent<M>) {
        let empty = {
            let state = self.lock();
            let empty = loan
                .buffer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len()
                == 0
                || state.closed;
            if !empty {
                loan.orphaned.store(true, Ordering::Release);
            }
            empty
        };
        if empty {
            self.drop_sender(edge);
        }
    }
}
