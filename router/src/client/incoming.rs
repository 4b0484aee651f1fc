//! What comes from the node: flows, deliveries, answers and signals; and deliveries that are tried again.

use super::core::{ClientCore, Incoming, REPLY_WINDOW};
use super::inbox::{Arrival, InboxSender, Item};
use super::request;
use super::shared::Progress;
use super::subscription::{Delivery, Origin};
use crate::protocol::{Definition, Signal, decode_reply};
use bytes::Bytes;
use mcpbus_actors::Time;
use mcpbus_transport::wire::{Failure, GoodbyeCode, Record};
use std::sync::Arc;

impl ClientCore {
    pub(super) fn opened(&mut self, flow: u32, definition: Bytes, now: Time) {
        match Definition::decode(definition) {
            Ok(Definition::Deliver { subscription }) => {
                let window = self
                    .shared
                    .lock()
                    .subscriptions
                    .get(&subscription)
                    .map(|state| state.window);
                self.incoming
                    .insert(flow, Incoming::Subscription(subscription));
                if let Some((messages, bytes)) = window {
                    self.session.set_window(flow, messages, bytes, now);
                }
            }
            Ok(Definition::Replies) => {
                self.incoming.insert(flow, Incoming::Replies);
                self.session
                    .set_window(flow, REPLY_WINDOW.0, REPLY_WINDOW.1, now);
            }
            Ok(_) => self.break_off("a flow of this kind does not lead to a client"),
            Err(error) => self.break_off(&error.to_string()),
        }
    }

    fn break_off(&mut self, reason: &str) {
        tracing::warn!(reason, "the node broke the protocol");
        self.session.leave(GoodbyeCode::Protocol, reason);
        self.closed = true;
    }

    pub(super) fn arrived(&mut self, flow: u32, first: u64, records: &mut Vec<Record>, now: Time) {
        let Some(incoming) = self.incoming.get(&flow).copied() else {
            for index in 0..records.len() as u64 {
                self.session.done(flow, first + index, now);
            }
            return;
        };
        match incoming {
            Incoming::Replies => {
                for (index, record) in records.drain(..).enumerate() {
                    self.answered(record);
                    self.session.done(flow, first + index as u64, now);
                }
            }
            Incoming::Subscription(number) => self.deliver(number, flow, first, records, now),
        }
    }

    fn answered(&self, record: Record) {
        let Some(reply) = record.extra.as_ref().and_then(|extra| extra.reply) else {
            return;
        };
        let Some(pending) = self.shared.lock().requests.remove(&reply.correlation) else {
            return;
        };
        if let Ok((status, body)) = decode_reply(record.body) {
            let _ = pending.send(request::answered(status, body));
        }
    }

    fn deliver(
        &mut self,
        number: u32,
        flow: u32,
        first: u64,
        records: &mut Vec<Record>,
        now: Time,
    ) {
        let shared = self.shared.clone();
        let (sender, origin) = {
            let mut state = shared.lock();
            state.stats.received += records.len() as u64;
            let subscription = state.subscriptions.get(&number);
            let origin = Origin {
                shared: shared.clone(),
                generation: self.generation,
                flow,
                subscription: number,
                durable: subscription.is_some_and(|known| known.durable.is_some()),
                max_deliver: subscription.map_or(1, |known| known.max_deliver),
                retries: subscription.map_or_else(Arc::default, |known| known.retries.clone()),
            };
            (subscription.map(|known| known.sender.clone()), origin)
        };
        let arrival = Arrival {
            origin: Arc::new(origin),
            next: first,
            records: std::mem::take(records).into_iter(),
        };
        // Whether nobody waits for it any more is looked at before it waits here, and a request is to hear of its cancel.
        let needs_a_look = |record: &Record| {
            let extra = record.extra.as_ref();
            record.expired(now) || extra.is_some_and(|extra| extra.reply.is_some())
        };
        if !arrival.records.as_slice().iter().any(needs_a_look) {
            return self.put(sender.as_ref(), Item::Batch(arrival), now);
        }
        for mut delivery in arrival {
            if delivery.record.expired(now) {
                self.refuse(delivery, Failure::Expired, now);
                continue;
            }
            let asked = shared.answering.begin(&delivery.record);
            if let Some(settle) = &mut delivery.settle {
                settle.asked = asked.map(Box::new);
            }
            self.put(sender.as_ref(), Item::One(Box::new(delivery)), now);
        }
    }

    /// Hands deliveries to their subscription. There is room for what was granted; only nobody may be there any more.
    fn put(&mut self, sender: Option<&InboxSender>, item: Item, now: Time) {
        let refused = match sender {
            Some(sender) => sender.put(item).err(),
            None => Some(item),
        };
        for delivery in refused.into_iter().flat_map(Item::into_deliveries) {
            self.refuse(delivery, Failure::Cancelled, now);
        }
    }

    /// A delivery ends before anybody has seen it.
    fn refuse(&mut self, mut delivery: Delivery, failure: Failure, now: Time) {
        let Some(settle) = delivery.settle.take() else {
            return;
        };
        let (flow, sequence) = (settle.origin.flow, settle.sequence);
        self.session.fail(flow, sequence, failure, now);
        self.session.done(flow, sequence, now);
    }

    /// Sends deliveries that are due to their consumers again.
    pub(super) fn try_again(&mut self, now: Time) {
        while let Some((_, number, key)) = self
            .retries
            .first()
            .copied()
            .filter(|(due, ..)| *due <= now)
        {
            self.retries.pop_first();
            let subscription = {
                let state = self.shared.lock();
                state
                    .subscriptions
                    .get(&number)
                    .map(|state| (state.retries.clone(), state.sender.clone()))
            };
            if let Some((retries, sender)) = subscription
                && let Some(delivery) = retries.take_due(key)
                && let Err(item) = sender.put(Item::One(Box::new(delivery)))
            {
                for mut delivery in item.into_deliveries() {
                    delivery.forget();
                }
            }
        }
    }

    pub(super) fn signalled(&mut self, payload: Bytes, now: Time) {
        let mut state = self.shared.lock();
        match Signal::decode(payload) {
            Ok(Signal::Ready { subscription }) => {
                if let Some(known) = state.subscriptions.get(&subscription) {
                    known.state.send_replace(Progress::Ready);
                }
            }
            Ok(Signal::Refused {
                subscription,
                refusal,
                reason,
            }) => {
                if let Some(known) = state.subscriptions.remove(&subscription) {
                    known.state.send_replace(Progress::Refused(refusal, reason));
                }
            }
            Ok(Signal::Counted {
                question,
                subscribers,
            }) => {
                if let Some(answer) = state.questions.remove(&question) {
                    let _ = answer.send(subscribers);
                }
            }
            Ok(Signal::Cancel { requests }) => self.shared.answering.cancel(&requests, now),
            Ok(_) => {
                drop(state);
                self.break_off("a signal that only clients send to nodes");
            }
            Err(error) => {
                drop(state);
                self.break_off(&error.to_string());
            }
        }
    }
}
