//! Requests that nobody waits for any more: those that this client gives up, and those that it was given to answer.

use super::core::ClientCore;
use super::shared::Shared;
use super::subscription::Delivery;
use crate::cancelled::{Cancelled, RequestKey, request_key};
use crate::protocol::{CANCELS_MAX, Cancel, Signal};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::wire::{Failure, Record, ReplyAddress};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Cancelled requests that are looked for.
const CANCELLED_MAX: usize = 4096;
/// Signals that may wait before cancels wait for those to be acknowledged, and go together.
const SIGNALS_AHEAD: usize = 16;
/// Requests that were given up and of which the node is not told yet; beyond that they end at their deadlines.
const GIVEN_UP_MAX: usize = 65_536;

/// Whether the requester of a delivery has given up.
#[derive(Debug, Default)]
pub(super) struct Cancellation {
    given_up: AtomicBool,
    changed: Notify,
}

impl Cancellation {
    fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    async fn given_up(&self) {
        loop {
            // Made before the look, so that a change in between wakes it.
            let changed = self.changed.notified();
            if self.is_given_up() {
                return;
            }
            changed.await;
        }
    }
}

/// The requests that a client was given and has not settled, and cancels that came before their requests. As many as the
/// windows of its subscriptions hold, and [`CANCELLED_MAX`].
#[derive(Clone)]
pub(super) struct Answering {
    inner: Arc<Mutex<Requests>>,
}

struct Requests {
    open: HashMap<RequestKey, Arc<Cancellation>, FixedState>,
    cancelled: Cancelled,
}

impl Answering {
    pub(super) fn new() -> Self {
        let requests = Requests {
            open: HashMap::default(),
            cancelled: Cancelled::new(CANCELLED_MAX),
        };
        Self {
            inner: Arc::new(Mutex::new(requests)),
        }
    }

    /// Nothing panics while it is held. The lock of a client's state is never taken inside it.
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a delivery, if it is a request.
    pub(super) fn begin(&self, record: &Record) -> Option<Asked> {
        let reply = record.extra.as_ref()?.reply.as_ref()?;
        let key = request_key(reply);
        let cancellation = Arc::<Cancellation>::default();
        let mut requests = self.lock();
        if requests.cancelled.contains(Some(reply)) {
            cancellation.give_up();
        }
        requests.open.insert(key, cancellation.clone());
        drop(requests);
        Some(Asked {
            answering: self.clone(),
            key,
            cancellation,
        })
    }

    /// Nobody waits for the answers to these requests any more.
    pub(super) fn cancel(&self, cancels: &[Cancel], now: Time) {
        let mut requests = self.lock();
        for cancel in cancels {
            let key = request_key(&cancel.address);
            match requests.open.get(&key) {
                Some(open) => open.give_up(),
                None => requests.cancelled.insert(key, cancel.left, now),
            }
        }
    }
}

/// A delivery that is a request, until it is settled.
pub(super) struct Asked {
    answering: Answering,
    key: RequestKey,
    cancellation: Arc<Cancellation>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut requests = self.answering.lock();
        // It may have come a second time since.
        let open = requests.open.get(&self.key);
        if open.is_some_and(|open| Arc::ptr_eq(open, &self.cancellation)) {
            requests.open.remove(&self.key);
        }
    }
}

/// A request that waits for its answer. Dropped before that, it is cancelled.
pub(super) struct Asking<'a> {
    pub(super) shared: &'a Shared,
    pub(super) subject: &'a str,
    pub(super) correlation: u64,
    pub(super) deadline: Time,
    /// Whether its message was queued: before that there is nothing to cancel.
    pub(super) queued: AtomicBool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let unanswered = self.shared.lock().requests.remove(&self.correlation);
        if unanswered.is_none() || !self.queued.load(Ordering::Relaxed) {
            return;
        }
        let now = self.shared.now();
        let mut wake = Vec::new();
        self.shared.act(|state| {
            let slot = state.outbox.slot(&Arc::from(self.subject));
            let queued = state.outbox.take_request(slot, self.correlation, &mut wake);
            if queued {
                let name = Failure::Cancelled.name();
                *state.stats.failed.entry(name).or_default() += 1;
            } else if now < self.deadline {
                // Whoever has it knows its deadline; only of an earlier end it must be told.
                state.cancels.push((self.correlation, self.deadline));
            }
        });
        wake.into_iter().for_each(std::task::Waker::wake);
    }
}

impl ClientCore {
    /// Requests were given up.
    pub(super) fn give_up(&mut self, requests: Vec<(u64, Time)>) {
        let room = GIVEN_UP_MAX.saturating_sub(self.given_up.len());
        self.given_up.extend(requests.into_iter().take(room));
    }

    /// Tells the node which requests were given up, as far as it keeps up with its signals.
    pub(super) fn send_cancels(&mut self, now: Time) {
        while !self.given_up.is_empty() && self.session.signals_waiting() < SIGNALS_AHEAD {
            let count = self.given_up.len().min(CANCELS_MAX);
            let cancel = |(correlation, deadline): (u64, Time)| Cancel {
                address: ReplyAddress {
                    node: 0,
                    session: 0,
                    correlation,
                },
                left: deadline.saturating_since(now),
            };
            let requests = self.given_up.drain(..count).map(cancel).collect();
            self.tell(&Signal::Cancel { requests });
        }
    }
}

impl Delivery {
    /// Whether nobody waits for it any more: its requester has given up, or its deadline has passed. Its handler may stop; what it
    /// answers is dropped.
    pub fn is_cancelled(&self) -> bool {
        let Some(settle) = &self.settle else {
            return false;
        };
        let deadline = self.record.deadline;
        self.is_given_up()
            || deadline.is_some_and(|deadline| deadline <= settle.origin.shared.now())
    }

    /// Whether it is a request whose requester has given up.
    pub(super) fn is_given_up(&self) -> bool {
        let settle = self.settle.as_ref();
        let asked = settle.and_then(|settle| settle.asked.as_ref());
        asked.is_some_and(|asked| asked.cancellation.is_given_up())
    }

    /// Resolves when nobody waits for it any more, as [`is_cancelled`](Self::is_cancelled) says: to be raced with the work on it.
    /// Never resolves for what is no request and has no deadline. Cancel safe.
    pub async fn cancelled(&self) {
        let Some(settle) = &self.settle else {
            return std::future::pending().await;
        };
        let given_up = async {
            match &settle.asked {
                Some(asked) => asked.cancellation.given_up().await,
                None => std::future::pending().await,
            }
        };
        let expired = async {
            match self.record.deadline {
                Some(deadline) => {
                    tokio::time::sleep(deadline.saturating_since(settle.origin.shared.now())).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = given_up => {}
            () = expired => {}
        }
    }
}
