//! What has come for one subscription and its user has not taken yet, in the batches in which it came.
//!
//! A batch is handed over whole, for one lock and one wake-up. Its deliveries are made where they are taken: what they share is
//! then counted up and down on one thread. What may be here is bounded by the window that was granted, in messages and bytes.

use super::subscription::{Delivery, Origin, Settle};
use mcpbus_transport::wire::Record;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Records that came together. Those that nobody takes are dropped as deliveries are.
pub(super) struct Arrival {
    pub(super) origin: Arc<Origin>,
    /// The sequence of the next one on its flow.
    pub(super) next: u64,
    pub(super) records: std::vec::IntoIter<Record>,
}

impl Iterator for Arrival {
    type Item = Delivery;

    #[inline]
    fn next(&mut self) -> Option<Delivery> {
        let record = self.records.next()?;
        let sequence = self.next;
        self.next += 1;
        Some(Delivery {
            record,
            settle: Some(Settle {
                origin: self.origin.clone(),
                sequence,
                tries: 0,
                asked: None,
            }),
        })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// What waits for the user.
pub(super) enum Item {
    Batch(Arrival),
    One(Box<Delivery>),
}

impl Item {
    /// Each delivery by itself.
    pub(super) fn into_deliveries(self) -> Vec<Delivery> {
        match self {
            Self::Batch(mut arrival) => arrival.by_ref().collect(),
            Self::One(delivery) => vec![*delivery],
        }
    }
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Nothing more will come.
    ended: bool,
    /// Nobody will take anything any more.
    left: bool,
    waker: Option<Waker>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics while it is held.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end that puts in; once the last is dropped the subscription ends behind what is there.
#[derive(Clone)]
pub(super) struct InboxSender {
    end: Arc<SenderEnd>,
}

struct SenderEnd {
    state: Arc<Mutex<State>>,
}

/// The user's end.
pub(super) struct InboxReceiver {
    state: Arc<Mutex<State>>,
    /// The batch that is being taken.
    current: Option<Arrival>,
}

/// An empty inbox.
pub(super) fn inbox() -> (InboxSender, InboxReceiver) {
    let state = Arc::<Mutex<State>>::default();
    let end = SenderEnd {
        state: state.clone(),
    };
    let sender = InboxSender { end: Arc::new(end) };
    let receiver = InboxReceiver {
        state,
        current: None,
    };
    (sender, receiver)
}

impl InboxSender {
    /// Puts something in, or gives it back where nobody will take it.
    pub(super) fn put(&self, item: Item) -> Result<(), Item> {
        let waker = {
            let mut state = lock(&self.end.state);
            if state.left {
                return Err(item);
            }
            state.items.push_back(item);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Drop for SenderEnd {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.state);
            state.ended = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl InboxReceiver {
    /// Waits until there is something to take; `false` behind the last one.
    pub(super) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.state);
        if state.items.is_empty() && !state.ended {
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(!state.items.is_empty())
    }

    /// The next delivery that is here.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.current.as_mut().and_then(Iterator::next) {
                return Some(delivery);
            }
            let item = lock(&self.state).items.pop_front()?;
            match item {
                Item::Batch(arrival) => self.current = Some(arrival),
                Item::One(delivery) => return Some(*delivery),
            }
        }
    }
}

impl Drop for InboxReceiver {
    fn drop(&mut self) {
        let items = {
            let mut state = lock(&self.state);
            state.left = true;
            std::mem::take(&mut state.items)
        };
        // In order, and outside the lock: a delivery that is dropped tells the client.
        self.current = None;
        drop(items);
    }
}
