//! Publishing: from a user's task into the queue of a flow.

use super::error::{PublishError, ReceiptError};
use super::outbox::{NoRoom, Notify, record};
use super::shared::{ClientStatus, Shared, State};
use crate::routing::{Subject, SubjectError};
use bytes::Bytes;
use foldhash::HashMap;
use mcpbus_actors::Key;
use mcpbus_transport::wire::{AckLevel, Extra, Head, Labels, ProducerId, Record};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most subjects that a publisher remembers.
const SUBJECTS_MAX: usize = 8192;

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
    addresses: Mutex<Addresses>,
}

/// What a publisher knows of its subjects.
struct Addresses {
    next_sequence: u64,
    known: HashMap<Arc<str>, (Arc<Head>, usize)>,
}

/// How a message is sent to a subject.
pub(super) struct Address {
    pub(super) head: Arc<Head>,
    pub(super) sequence: u64,
    /// Its slot of the outbox.
    pub(super) slot: usize,
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
                addresses: Mutex::new(Addresses {
                    next_sequence: 1,
                    known: HashMap::default(),
                }),
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
        let (record, slot) = self.record(message)?;
        // Most messages find room, and are moved once.
        match self.inner.shared.attempt(record, slot, Notify::Count) {
            Ok(()) => Ok(()),
            Err((PublishError::Full(record), notify)) => self
                .queue(record, slot, notify)
                .await
                .map_err(|error| error.map(publication)),
            Err((error, _)) => Err(error.map(publication)),
        }
    }

    /// Queues a message like [`publish`](Self::publish) and returns its receipt, which resolves when the ack came.
    pub async fn publish_with_receipt(
        &self,
        message: Publication,
    ) -> Result<Receipt, PublishError<Publication>> {
        let (record, slot) = self.record(message)?;
        let (sender, receiver) = oneshot::channel();
        self.queue(record, slot, Notify::Receipt(sender))
            .await
            .map_err(|error| error.map(publication))?;
        Ok(Receipt { receiver })
    }

    /// Queues a message if there is room now.
    pub fn try_publish(&self, message: Publication) -> Result<(), PublishError<Publication>> {
        let (record, slot) = self.record(message)?;
        let queued = self.inner.shared.attempt(record, slot, Notify::Count);
        queued.map_err(|(error, _)| error.map(publication))
    }

    /// Queues a message, blocking the thread while its flow is full. Not for async tasks.
    pub fn publish_blocking(&self, message: Publication) -> Result<(), PublishError<Publication>> {
        crate::reactor::block_on(self.publish(message))
    }

    /// How the next message is sent to a subject.
    pub(super) fn address(&self, subject: &str) -> Result<Address, SubjectError> {
        let inner = &self.inner;
        let mut addresses = inner
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sequence = addresses.next_sequence;
        addresses.next_sequence += 1;
        if let Some((head, slot)) = addresses.known.get(subject) {
            return Ok(Address {
                head: head.clone(),
                sequence,
                slot: *slot,
            });
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
        let slot = inner.shared.lock().outbox.slot(&subject);
        if addresses.known.len() >= SUBJECTS_MAX {
            addresses.known.clear();
        }
        addresses.known.insert(subject, (head.clone(), slot));
        Ok(Address {
            head,
            sequence,
            slot,
        })
    }

    /// The record of a message, and its slot of the outbox.
    fn record(&self, message: Publication) -> Result<(Record, usize), PublishError<Publication>> {
        let address = match self.address(&message.subject) {
            Ok(address) => address,
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
        let (head, sequence) = (address.head, address.sequence);
        let (key, body) = (message.key, message.body);
        let record = record(head, sequence, key, deadline, extra, body);
        Ok((record, address.slot))
    }

    pub(super) fn queue(&self, record: Record, slot: usize, notify: Notify) -> Queue<'_> {
        Queue {
            shared: &self.inner.shared,
            record: Some((record, notify)),
            slot,
            waiting: None,
        }
    }
}

impl Shared {
    /// Queues a record, or gives it back with the reason.
    fn attempt(
        &self,
        record: Record,
        slot: usize,
        notify: Notify,
    ) -> Result<(), (PublishError<Record>, Notify)> {
        self.act(|state| state.attempt(record, slot, notify))
    }
}

impl State {
    fn attempt(
        &mut self,
        record: Record,
        slot: usize,
        notify: Notify,
    ) -> Result<(), (PublishError<Record>, Notify)> {
        if self.status == ClientStatus::Closed {
            return Err((PublishError::Closed(record), notify));
        }
        if record.body.len() as u64 > self.message_max {
            let error = PublishError::TooLarge {
                size: record.body.len(),
                limit: self.message_max,
                message: record,
            };
            return Err((error, notify));
        }
        let queued = self.outbox.push(slot, record, notify);
        queued.map_err(|(NoRoom(record), notify)| (PublishError::Full(record), notify))?;
        self.stats.published += 1;
        Ok(())
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
    record: Option<(Record, Notify)>,
    slot: usize,
    /// As what it waits for room.
    waiting: Option<u64>,
}

impl Future for Queue<'_> {
    type Output = Result<(), PublishError<Record>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some((record, notify)) = this.record.take() else {
            return Poll::Ready(Ok(()));
        };
        let outcome = this.shared.act(|state| {
            let outcome = state.attempt(record, this.slot, notify);
            // Under the same lock, so that room that comes in between is not missed.
            if let Err((PublishError::Full(_), _)) = &outcome {
                let number = state.outbox.wait(this.slot, this.waiting, cx.waker());
                this.waiting = Some(number);
            }
            outcome
        });
        match outcome {
            Err((PublishError::Full(record), notify)) => {
                this.record = Some((record, notify));
                Poll::Pending
            }
            Err((error, _)) => {
                this.waiting = None;
                Poll::Ready(Err(error))
            }
            Ok(()) => {
                this.waiting = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // One that was woken and goes away passes the wake-up on.
        if let Some(number) = self.waiting {
            let next = self.shared.lock().outbox.cancel(self.slot, number);
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
