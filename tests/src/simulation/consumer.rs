//! The consuming half of a client: flows to it, what comes on them, when it is settled, answers.

use super::client::{Answer, Client, Delivery, Incoming, Subscribed};
use super::script::{Level, Pace, Reaction};
use bytes::Bytes;
use mcpbus::protocol::{
    Definition, ReplyStatus, Signal, SubscribeRefusal, decode_reply, encode_reply,
};
use mcpbus_actors::Time;
use mcpbus_transport::wire::{Extra, Failure, Head, ProducerId, Record, ReplyAddress};
use std::sync::Arc;

impl Client {
    /// The node opened a flow.
    pub(super) fn opened(&mut self, flow: u32, definition: Bytes, now: Time) {
        match Definition::decode(definition) {
            Ok(Definition::Deliver { subscription }) => {
                let number = subscription as usize;
                let Some(subscribed) = self.subscriptions.get(number) else {
                    return self
                        .violations
                        .push(format!("unknown subscription {number}"));
                };
                let (messages, bytes) = subscribed.wanted.window;
                self.incoming.insert(flow, Incoming::Subscription(number));
                self.session.set_window(flow, messages, bytes, now);
            }
            Ok(Definition::Replies) => {
                self.incoming.insert(flow, Incoming::Replies);
                self.session.set_window(flow, 64, 64 << 10, now);
            }
            other => self
                .violations
                .push(format!("a flow that leads to no client: {other:?}")),
        }
    }

    pub(super) fn arrived(&mut self, flow: u32, sequence: u64, record: Record, now: Time) {
        match self.incoming.get(&flow) {
            None => {
                self.violations
                    .push(format!("records on flow {flow}, which is not open"));
                self.session.done(flow, sequence, now);
            }
            Some(Incoming::Replies) => {
                self.session.done(flow, sequence, now);
                let correlation = record
                    .extra
                    .as_ref()
                    .and_then(|extra| extra.reply)
                    .map(|reply| reply.correlation);
                let sent =
                    correlation.and_then(|correlation| self.sent.get_mut(correlation as usize));
                match (sent, decode_reply(record.body)) {
                    (Some(sent), Ok((status, _))) => sent.answers.push(match status {
                        ReplyStatus::ResponderLost => Answer::Lost,
                        _ => Answer::Reply,
                    }),
                    _ => self.violations.push("an answer to nothing".into()),
                }
            }
            Some(Incoming::Subscription(number)) => {
                let number = *number;
                let part = |range: std::ops::Range<usize>| {
                    let bytes = record
                        .body
                        .get(range)
                        .and_then(|bytes| bytes.try_into().ok());
                    bytes.map_or(usize::MAX, |bytes| u64::from_le_bytes(bytes) as usize)
                };
                let message = (part(0..8), part(8..16));
                if record.sequence != message.1 as u64 + 1 {
                    self.violations.push(format!(
                        "message {message:?} came as number {}",
                        record.sequence
                    ));
                }
                let subscribed = &mut self.subscriptions[number];
                let index = subscribed.deliveries.len();
                subscribed.deliveries.push(Delivery {
                    at: now,
                    message,
                    settled: None,
                });
                subscribed.open.push_back((index, flow, sequence));
                if subscribed.wanted.reaction == Reaction::Reply
                    && let Some(reply) = record.extra.as_ref().and_then(|extra| extra.reply)
                {
                    self.reply(reply, message);
                }
                if subscribed_is_idle(&self.subscriptions[number]) {
                    self.rest(number, now);
                }
            }
        }
    }

    fn reply(&mut self, reply: ReplyAddress, message: (usize, usize)) {
        let flow = match self.replies {
            Some(flow) => Some(flow),
            None => self.session.open_flow(Definition::Replies.encode()),
        };
        self.replies = flow;
        let Some(flow) = flow else {
            return self.violations.push("a flow was refused".into());
        };
        let head = Head {
            producer: ProducerId {
                id: self.id,
                epoch: 1,
            },
            subject: Arc::from(""),
            kind: 0,
            ack: Level::None.wire(),
            hops: 0,
        };
        let record = Record {
            head: Arc::new(head),
            sequence: 0,
            key: None,
            deadline: None,
            extra: Some(Box::new(Extra {
                reply: Some(reply),
                ..Extra::default()
            })),
            body: encode_reply(ReplyStatus::Ok, &(message.1 as u64).to_le_bytes()),
        };
        self.waiting
            .entry(flow)
            .or_default()
            .push_back((record, u64::MAX));
    }

    /// A consumer starts on its next message.
    fn rest(&mut self, number: usize, now: Time) {
        let subscribed = &mut self.subscriptions[number];
        subscribed.free_at = match subscribed.wanted.pace {
            Pace::Immediate => now,
            Pace::Slow(time) => now + time,
            Pace::Stalled => Time::MAX,
        };
    }

    /// Settles what consumers have done.
    pub(super) fn consume(&mut self, now: Time) {
        for number in 0..self.subscriptions.len() {
            while self.subscriptions[number].free_at <= now {
                let subscribed = &mut self.subscriptions[number];
                let Some((index, flow, sequence)) = subscribed.open.pop_front() else {
                    break;
                };
                subscribed.deliveries[index].settled = Some(now);
                if subscribed.wanted.reaction == Reaction::Reject {
                    self.session.fail(flow, sequence, Failure::Rejected, now);
                }
                self.session.done(flow, sequence, now);
                self.rest(number, now);
            }
        }
    }

    pub(super) fn signalled(&mut self, payload: Bytes, now: Time) {
        match Signal::decode(payload) {
            Ok(Signal::Ready { subscription }) => {
                if let Some(subscribed) = self.subscriptions.get_mut(subscription as usize) {
                    subscribed.ready = subscribed.ready.or(Some(now));
                    subscribed.confirmed = Some(now);
                }
            }
            Ok(Signal::Refused {
                subscription,
                refusal: SubscribeRefusal::TakenOver,
                ..
            }) => {
                if let Some(subscribed) = self.subscriptions.get_mut(subscription as usize) {
                    subscribed.taken = Some(now);
                }
            }
            Ok(Signal::Counted { question, .. })
                if self
                    .subscriptions
                    .get(question as usize)
                    .is_some_and(|subscribed| subscribed.ended.is_some()) => {}
            // What it was given it answers all the same.
            Ok(Signal::Cancel { .. }) => {}
            other => self
                .violations
                .push(format!("an unexpected signal: {other:?}")),
        }
    }
}

fn subscribed_is_idle(subscribed: &Subscribed) -> bool {
    subscribed.open.len() == 1
}
