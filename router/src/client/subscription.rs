//! Subscribing: deliveries, and what a user says of them.

use super::cancel::Asked;
use super::error::{SettleError, SubscribeError};
use super::inbox::InboxReceiver;
use super::outbox::{Notify, REPLIES, record};
use super::retry::{Retries, Sorted, pause};
use super::shared::{Command, Progress, Shared};
use crate::protocol::{ReplyStatus, encode_reply};
use bytes::Bytes;
use mcpbus_actors::{Key, Kind, Message, Time};
use mcpbus_transport::wire::{AckLevel, Extra, Failure, Head, ProducerId, Record};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;

/// Largest answer to a request, in bytes.
pub(super) const REPLY_MAX: usize = 64 * 1024;
/// How often a message is handed to its consumer at most, unless said otherwise.
pub(super) const MAX_DELIVER: u16 = 5;

/// How to subscribe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The group whose members share the messages.
    pub group: Option<String>,
    /// Messages held or granted; the client's default otherwise.
    pub window_messages: Option<u64>,
    /// The name under which the node keeps the messages while nobody takes them.
    pub durable: Option<String>,
    /// How often a message is handed to the consumer at most; 5 otherwise.
    pub max_deliver: Option<u16>,
}

impl SubscribeOptions {
    /// As a member of this group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Durable under this name: from then on the client's node keeps every message on its disk until it is settled,
    /// over restarts of the node and of the consumer, until [`Client::delete_durable`](super::Client::delete_durable).
    /// It has one subscriber at a time: a newer one takes it over. Connect to the same node again.
    #[must_use]
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable = Some(name.into());
        self
    }

    /// Hands each message to the consumer at most so often (at least once); then it is a dead letter (`max_deliver`).
    #[must_use]
    pub fn max_deliver(mut self, deliveries: u16) -> Self {
        self.max_deliver = Some(deliveries.max(1));
        self
    }

    /// With a window of so many messages, at least 1.
    #[must_use]
    pub fn window_messages(mut self, messages: u64) -> Self {
        self.window_messages = Some(messages.max(1));
        self
    }
}

/// Messages of one subscription. Dropping it unsubscribes.
pub struct Subscription {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u32,
    pub(super) receiver: InboxReceiver,
    pub(super) retries: Arc<Retries>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Waits until every reachable node knows of the subscription: from then on nothing published anywhere
    /// passes it by.
    ///
    /// # Errors
    ///
    /// The node refused it, or did not confirm it within `timeout`. Cancel safe.
    pub async fn ready(&mut self, timeout: Duration) -> Result<(), SubscribeError> {
        let outcome = tokio::time::timeout(timeout, async {
            let state = self
                .progress
                .wait_for(|progress| *progress != Progress::Asked)
                .await;
            match state.as_deref() {
                Ok(Progress::Refused(refusal, reason)) => Err(SubscribeError::Refused {
                    refusal: *refusal,
                    reason: reason.clone(),
                }),
                Ok(_) => Ok(()),
                Err(_) => Err(SubscribeError::Closed),
            }
        });
        outcome.await.unwrap_or(Err(SubscribeError::TimedOut))
    }

    /// Why the node ended the subscription, if it did: it refused it, or somebody else has taken it over.
    pub fn ended_by(&self) -> Option<SubscribeError> {
        match &*self.progress.borrow() {
            Progress::Refused(refusal, reason) => Some(SubscribeError::Refused {
                refusal: *refusal,
                reason: reason.clone(),
            }),
            _ => None,
        }
    }

    /// The next message; `None` once the client is closed or the subscription was refused. One whose deadline has passed while it
    /// waited here is not given out, nor is a request that its requester has given up; their publishers are told. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        // A task that always finds something here lets others run now and then all the same.
        let budget = ready!(tokio::task::coop::poll_proceed(context));
        loop {
            if let Some(delivery) = self.try_next() {
                budget.made_progress();
                return Poll::Ready(Some(delivery));
            }
            if !ready!(self.receiver.poll_more(context)) {
                budget.made_progress();
                return Poll::Ready(None);
            }
        }
    }

    /// The next message if one is here, as [`next`](Self::next) gives it.
    pub fn try_next(&mut self) -> Option<Delivery> {
        loop {
            if self.retries.is_used()
                && let Some(delivery) = self.retries.next_ready()
            {
                if let Some(delivery) = self.in_time(delivery) {
                    return Some(delivery);
                }
                continue;
            }
            let delivery = self.receiver.take()?;
            if !self.retries.is_used() && !delivery.may_be_over() {
                return Some(delivery);
            }
            if let Sorted::Now(delivery) = self.retries.sort(delivery)
                && let Some(delivery) = self.in_time(delivery)
            {
                return Some(delivery);
            }
        }
    }

    /// The next message, as [`next`](Self::next) gives it, blocking the thread. Not for async tasks.
    pub fn next_blocking(&mut self) -> Option<Delivery> {
        // Nobody else is kept waiting by a thread that is blocked anyway.
        crate::reactor::block_on(tokio::task::coop::unconstrained(self.next()))
    }

    /// A message that may be worked on; nobody waits for one whose time is over.
    fn in_time(&self, mut delivery: Delivery) -> Option<Delivery> {
        let deadline = delivery.record.deadline;
        // The clock is asked only where there is something to compare it with.
        let end = if deadline.is_some_and(|deadline| deadline <= self.shared.now()) {
            Failure::Expired
        } else if delivery.is_given_up() {
            Failure::Cancelled
        } else {
            return Some(delivery);
        };
        delivery.settle_as(Some(end));
        None
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let number = self.number;
        let retries = self.retries.clone();
        self.shared.act(|state| {
            if state.subscriptions.remove(&number).is_some() {
                state.commands.push(Command::Unsubscribe {
                    subscription: number,
                });
            }
            retries.clear();
        });
    }
}

/// A message that was delivered. Its credit returns when it is settled or dropped.
///
/// A delivery that is dropped counts as processed, unless its publisher waits for exactly that: then it must be
/// [`ack`](Self::ack)nowledged, and dropping it says that its consumer gave up. One of a durable subscription that is
/// dropped comes again, as with [`retry`](Self::retry).
pub struct Delivery {
    pub(super) record: Record,
    pub(super) settle: Option<Settle>,
}

/// Where deliveries that came together come from, and where their outcomes go.
pub(super) struct Origin {
    pub(super) shared: Arc<Shared>,
    pub(super) generation: u64,
    pub(super) flow: u32,
    pub(super) subscription: u32,
    pub(super) durable: bool,
    pub(super) max_deliver: u16,
    pub(super) retries: Arc<Retries>,
}

/// Where the outcome of a delivery goes.
pub(super) struct Settle {
    pub(super) origin: Arc<Origin>,
    /// Its number on the flow it came by.
    pub(super) sequence: u64,
    /// How often its consumer gave it back.
    pub(super) tries: u16,
    /// Whether its requester has given up, where it is a request.
    pub(super) asked: Option<Box<Asked>>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Message for Delivery {
    const KIND: Kind = Kind::new("mcpbus.delivery", 1, "");

    fn weight(&self) -> usize {
        self.record.cost() as usize
    }

    fn key(&self) -> Option<Key> {
        self.record.key
    }
}

impl Delivery {
    /// Whether its deadline may have passed, or its requester given up.
    fn may_be_over(&self) -> bool {
        let asked = |settle: &Settle| settle.asked.is_some();
        self.record.deadline.is_some() || self.settle.as_ref().is_some_and(asked)
    }

    /// Where it was published.
    pub fn subject(&self) -> &str {
        &self.record.head.subject
    }

    /// Its key.
    pub fn key(&self) -> Option<Key> {
        self.record.key
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.record.body
    }

    /// Who published it.
    pub fn producer(&self) -> ProducerId {
        self.record.head.producer
    }

    /// Its number at its producer.
    pub fn sequence(&self) -> u64 {
        self.record.sequence
    }

    /// Fingerprint of the type of its body; 0 says "just bytes".
    pub fn kind(&self) -> u64 {
        self.record.head.kind
    }

    /// What its publisher waits for.
    pub fn ack_level(&self) -> AckLevel {
        self.record.head.ack
    }

    /// When it stops being worth anything, on the client's clock.
    pub fn deadline(&self) -> Option<Time> {
        self.record.deadline
    }

    /// When the event happened, in microseconds since 1970 (UTC).
    pub fn event_time(&self) -> Option<i64> {
        self.record
            .extra
            .as_ref()
            .and_then(|extra| extra.event_time)
    }

    /// The value of a label that its publisher gave it.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.record.extra.as_ref()?.labels.get(name)
    }

    /// Whether somebody waits for an answer.
    pub fn is_request(&self) -> bool {
        self.record
            .extra
            .as_ref()
            .is_some_and(|extra| extra.reply.is_some())
    }

    /// It was processed.
    pub fn ack(mut self) {
        self.settle_as(None);
    }

    /// It cannot be processed and must not come again.
    pub fn reject(mut self) {
        self.settle_as(Some(Failure::Rejected));
    }

    /// How often it was handed out before, as far as that is known.
    pub fn attempt(&self) -> u16 {
        self.record.extra.as_ref().map_or(0, |extra| extra.attempt)
    }

    /// It cannot be processed now: it comes again after a pause (full jitter, 100 ms to 30 s), and later messages of its
    /// key behind it. After [`max_deliver`](SubscribeOptions::max_deliver) times it is a dead letter.
    pub fn retry(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        let Some(settle) = &mut self.settle else {
            return;
        };
        // What the node handed out anew because a consumer died is not held against the message.
        settle.tries = settle.tries.saturating_add(1);
        let tries = settle.tries;
        if tries >= settle.origin.max_deliver {
            return self.settle_as(Some(Failure::MaxDeliver));
        }
        let mut record = self.record.clone();
        let extra = record.extra.get_or_insert_default();
        extra.attempt = extra.attempt.saturating_add(1);
        let Some(settle) = self.settle.take() else {
            return;
        };
        let origin = settle.origin.clone();
        let (shared, subscription) = (&origin.shared, origin.subscription);
        let mut returned = Some(Delivery {
            record,
            settle: Some(settle),
        });
        let due = shared.now() + pause(tries, crate::random::u64());
        shared.act(|state| {
            // The node delivers anew what it has forgotten, with other numbers: those do not go together.
            if state.generation == origin.generation
                && state.subscriptions.contains_key(&subscription)
                && let Some(key) = returned.take().and_then(|it| origin.retries.give_back(it))
            {
                state.retries.push((due, subscription, key));
            }
        });
        // Nobody will take it here any more: the node is told.
        if let Some(returned) = &mut returned {
            returned.settle_as(Some(Failure::Cancelled));
        }
    }

    /// Its number on the flow it came by.
    pub(super) fn flow_sequence(&self) -> u64 {
        self.settle.as_ref().map_or(0, |settle| settle.sequence)
    }

    /// Nobody is told of it any more.
    pub(super) fn forget(&mut self) {
        self.settle = None;
    }

    /// Answers a request and acknowledges it.
    ///
    /// # Errors
    ///
    /// [`SettleError`]; the delivery is dropped.
    pub fn reply(mut self, body: &[u8]) -> Result<(), SettleError> {
        self.answer(ReplyStatus::Ok, body)?;
        self.settle_as(None);
        Ok(())
    }

    /// Answers a request with a failure in words.
    ///
    /// # Errors
    ///
    /// [`SettleError`]; the delivery is dropped.
    pub fn reply_failed(mut self, reason: &str) -> Result<(), SettleError> {
        self.answer(ReplyStatus::Failed, reason.as_bytes())?;
        self.settle_as(None);
        Ok(())
    }

    fn answer(&mut self, status: ReplyStatus, body: &[u8]) -> Result<(), SettleError> {
        let reply = self.record.extra.as_ref().and_then(|extra| extra.reply);
        let (Some(reply), Some(settle)) = (reply, &self.settle) else {
            return Err(SettleError::NotARequest);
        };
        if body.len() > REPLY_MAX {
            return Err(SettleError::TooLarge { limit: REPLY_MAX });
        }
        let head = Arc::new(Head {
            producer: ProducerId { id: 0, epoch: 0 },
            subject: Arc::from(""),
            kind: 0,
            ack: AckLevel::None,
            hops: 0,
        });
        let extra = Box::new(Extra {
            reply: Some(reply),
            ..Extra::default()
        });
        let answer = record(
            head,
            0,
            None,
            self.record.deadline,
            Some(extra),
            encode_reply(status, body),
        );
        settle.origin.shared.act(|state| {
            state
                .outbox
                .push(REPLIES, answer, Notify::Count)
                .map_err(|_| SettleError::Full)?;
            state.stats.published += 1;
            Ok(())
        })
    }

    fn settle_as(&mut self, failure: Option<Failure>) {
        if let Some(settle) = self.settle.take() {
            let origin = &settle.origin;
            let shared = &origin.shared;
            shared.act(|state| {
                let place = (origin.generation, origin.flow);
                state.settlements.push(place, settle.sequence, failure)
            });
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self
            .settle
            .as_ref()
            .is_some_and(|settle| settle.origin.durable)
        {
            return self.give_back();
        }
        let failure = (self.record.head.ack == AckLevel::Processed).then_some(Failure::Cancelled);
        self.settle_as(failure);
    }
}
