//! Publishing: from a user's task into the queue of a flow.

use super::error::{PublishError, ReceiptError};
use super::outbox::{NoRoom, Notify, record};
use super::shared::{ClientStatus, Shared};
use crate::routing::Subject;
use bytes::Bytes;
use foldhash::HashMap;
use mcpbus_actors::Key;
use mcpbus_transport::wire::{AckLevel, Extra, Head, Labels, ProducerId, Record};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most subjects whose head a publisher remembers.
const HEADS_MAX: usize = 8192;

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub subject: String,
    /// Its key; messages of one key stay in order.
    pub key: Option<Key>,
    /// Its body.
    pub body: Bytes,
    /// How long it is worth anything.
    pub time_to_live: Option<Duration>,
    /// When the event happened, in microseconds since 1970 (UTC).
    pub event_time: Option<i64>,
    /// What it says of itself beside subject and key, for routes to go by.
    pub labels: Labels,
}

impl Publication {
    /// A message without key, deadline and event time.
    pub fn new(subject: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            subject: subject.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Worth something for this long.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = Some(time);
        self
    }

    /// With these labels.
    #[must_use]
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }
}

/// Publishes messages of one producer with one ack level. Clones are the same producer.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    producer: ProducerId,
    ack: AckLevel,
    kind: u64,
    sequence: AtomicU64,
    heads: Mutex<HashMap<Arc<str>, Arc<Head>>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("ack", &self.inner.ack)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, producer: ProducerId, ack: AckLevel, kind: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared,
                producer,
                ack,
                kind,
                sequence: AtomicU64::new(1),
                heads: Mutex::default(),
            }),
        }
    }

    /// The same producer with bodies of another type.
    pub(crate) fn of_kind(&self, kind: u64) -> Self {
        Self::new(
            self.inner.shared.clone(),
            self.inner.producer,
            self.inner.ack,
            kind,
        )
    }

    /// Queues a message, waiting for room while its flow is full. Its outcome is counted; see
    /// [`Client::flush`](super::Client::flush) and [`Client::stats`](super::Client::stats).
    ///
    /// # Errors
    ///
    /// [`PublishError`] gives the message back. Cancel safe: a dropped future has not queued the message.
    pub async fn publish(&self, message: Publication) -> Result<(), PublishError<Publication>> {
        let record = self.record(message)?;
        self.queue(record, Notify::Count)
            .await
            .map_err(|error| error.map(publication))
    }

    /// Queues a message like [`publish`](Self::publish) and returns its receipt, which resolves when the ack came.
    pub async fn publish_with_receipt(
        &self,
        message: Publication,
    ) -> Result<Receipt, PublishError<Publication>> {
        let record = self.record(message)?;
        let (sender, receiver) = oneshot::channel();
        self.queue(record, Notify::Receipt(sender))
            .await
            .map_err(|error| error.map(publication))?;
        Ok(Receipt { receiver })
    }

    /// Queues a message if there is room now.
    pub fn try_publish(&self, message: Publication) -> Result<(), PublishError<Publication>> {
        let record = self.record(message)?;
        match self.try_queue(record, Notify::Count) {
            Ok(()) => Ok(()),
            Err((error, _)) => Err(error.map(publication)),
        }
    }

    /// Queues a message, blocking the thread while its flow is full. Not for async tasks.
    pub fn publish_blocking(&self, message: Publication) -> Result<(), PublishError<Publication>> {
        crate::reactor::block_on(self.publish(message))
    }

    /// The head of a subject and the next sequence.
    pub(super) fn head(
        &self,
        subject: &str,
    ) -> Result<(Arc<Head>, u64), crate::routing::SubjectError> {
        let inner = &self.inner;
        let mut heads = inner.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = inner.sequence.fetch_add(1, Ordering::Relaxed);
        if let Some(head) = heads.get(subject) {
            return Ok((head.clone(), sequence));
        }
        Subject::new(subject)?;
        let subject: Arc<str> = Arc::from(subject);
        let head = Arc::new(Head {
            producer: inner.producer,
            subject: subject.clone(),
            kind: inner.kind,
            ack: inner.ack,
            hops: 0,
        });
        if heads.len() >= HEADS_MAX {
            heads.clear();
        }
        heads.insert(subject, head.clone());
        Ok((head, sequence))
    }

    fn record(&self, message: Publication) -> Result<Record, PublishError<Publication>> {
        let (head, sequence) = match self.head(&message.subject) {
            Ok(head) => head,
            Err(error) => {
                return Err(PublishError::Subject {
                    message,
                    reason: error.to_string(),
                });
            }
        };
        let deadline = message
            .time_to_live
            .map(|time| self.inner.shared.now() + time);
        let extra = (message.event_time.is_some() || !message.labels.is_empty()).then(|| {
            Box::new(Extra {
                event_time: message.event_time,
                labels: message.labels,
                ..Extra::default()
            })
        });
        Ok(record(
            head,
            sequence,
            message.key,
            deadline,
            extra,
            message.body,
        ))
    }

    pub(super) fn queue(&self, record: Record, notify: Notify) -> Queue<'_> {
        Queue {
            shared: &self.inner.shared,
            record: Some(record),
            notify: Some(notify),
            waiting: None,
        }
    }

    fn try_queue(
        &self,
        record: Record,
        notify: Notify,
    ) -> Result<(), (PublishError<Record>, Notify)> {
        let mut queue = self.queue(record, notify);
        match queue.attempt() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err((error, queue.notify.take().unwrap_or(Notify::Count))),
            None => match queue.record.take() {
                Some(record) => Err((
                    PublishError::Full(record),
                    queue.notify.take().unwrap_or(Notify::Count),
                )),
                None => Ok(()),
            },
        }
    }
}

/// The publication that a record was made from.
fn publication(record: Record) -> Publication {
    let extra = record.extra.unwrap_or_default();
    Publication {
        subject: record.head.subject.to_string(),
        key: record.key,
        body: record.body,
        time_to_live: None,
        event_time: extra.event_time,
        labels: extra.labels,
    }
}

impl<M> PublishError<M> {
    fn map<N>(self, change: impl FnOnce(M) -> N) -> PublishError<N> {
        match self {
            Self::Closed(message) => PublishError::Closed(change(message)),
            Self::Full(message) => PublishError::Full(change(message)),
            Self::Subject { message, reason } => PublishError::Subject {
                message: change(message),
                reason,
            },
            Self::TooLarge {
                message,
                size,
                limit,
            } => PublishError::TooLarge {
                message: change(message),
                size,
                limit,
            },
        }
    }
}

/// Waits until a record is queued.
pub(super) struct Queue<'a> {
    shared: &'a Shared,
    record: Option<Record>,
    notify: Option<Notify>,
    /// Where it waits for room.
    waiting: Option<(usize, u64)>,
}

impl Queue<'_> {
    /// Tries once; `None` when there is no room.
    fn attempt(&mut self) -> Option<Result<(), PublishError<Record>>> {
        self.attempt_or(|_, _| {})
    }

    fn attempt_or(
        &mut self,
        full: impl FnOnce(&mut super::shared::State, usize),
    ) -> Option<Result<(), PublishError<Record>>> {
        let (Some(record), Some(notify)) = (self.record.take(), self.notify.take()) else {
            return Some(Ok(()));
        };
        let shared = self.shared;
        let mut refused = None;
        let result = shared.act(|state| {
            if state.status == ClientStatus::Closed {
                refused = Some((PublishError::Closed(record), notify));
                return None;
            }
            if record.body.len() as u64 > state.message_max {
                let (size, limit) = (record.body.len(), state.message_max);
                refused = Some((
                    PublishError::TooLarge {
                        message: record,
                        size,
                        limit,
                    },
                    notify,
                ));
                return None;
            }
            let slot = state.outbox.slot(&record.head.subject);
            match state.outbox.push(slot, record, notify) {
                Ok(()) => {
                    state.stats.published += 1;
                    None
                }
                Err((NoRoom(record), notify)) => {
                    full(state, slot);
                    Some((record, notify))
                }
            }
        });
        if let Some((error, notify)) = refused {
            self.notify = Some(notify);
            return Some(Err(error));
        }
        match result {
            None => Some(Ok(())),
            Some((record, notify)) => {
                self.record = Some(record);
                self.notify = Some(notify);
                None
            }
        }
    }
}

impl Future for Queue<'_> {
    type Output = Result<(), PublishError<Record>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut waiting = this.waiting;
        let outcome = this.attempt_or(|state, slot| {
            let number = waiting
                .filter(|(known, _)| *known == slot)
                .map(|(_, number)| number);
            waiting = Some((slot, state.outbox.wait(slot, number, cx.waker())));
        });
        this.waiting = waiting;
        match outcome {
            Some(result) => {
                this.waiting = None;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // One that was woken and goes away passes the wake-up on.
        if let Some((slot, number)) = self.waiting {
            let next = self.shared.lock().outbox.cancel(slot, number);
            if let Some(waker) = next {
                waker.wake();
            }
        }
    }
}

/// Resolves when the ack that a message asks for has come.
#[derive(Debug)]
pub struct Receipt {
    receiver: oneshot::Receiver<Result<(), ReceiptError>>,
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(cx)
            .map(|result| result.unwrap_or(Err(ReceiptError::Closed)))
    }
}
