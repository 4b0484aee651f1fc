//! The client's session, sans-IO.

use super::error::ReceiptError;
use super::outbox::{Notify, REPLIES};
use super::request;
use super::shared::{ClientStatus, Command, Progress, Settlement, Shared};
use super::subscription::{Delivery, Settle};
use crate::protocol::{Definition, Signal, decode_reply};
use bytes::{Bytes, BytesMut};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::{Event, Local, Session, SessionState};
use mcpbus_transport::wire::{Failure, GoodbyeCode, Record};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a client that was dropped goes on sending what its user has published.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);
/// Window for answers to requests, in messages and bytes.
const REPLY_WINDOW: (u64, u64) = (1024, 4 << 20);

/// The session of a client, sans-IO. See the [module](super).
pub struct ClientCore {
    shared: Arc<Shared>,
    session: Session,
    link: Option<LinkHandle>,
    touched: Option<LinkHandle>,
    /// The flow of each slot of the outbox.
    flows: Vec<Option<u32>>,
    /// The slot of each flow.
    slots: BTreeMap<u32, usize>,
    /// Who waits for a message's outcome, by token.
    notifies: Slab<Notify>,
    /// What comes on which flow.
    incoming: BTreeMap<u32, Incoming>,
    /// Rises when the node forgets: settlements of before are void.
    generation: u64,
    /// Deliveries that were given back, by when they are due.
    retries: BTreeSet<(Time, u32, Option<u64>)>,
    /// Why the link is to be closed.
    closing: Option<String>,
    closed: bool,
    /// The user is done: goodbye is said when everything is taken over, or at this time.
    leave_by: Option<Time>,
    /// What the node said when it said goodbye.
    goodbye: Option<(GoodbyeCode, String)>,
}

#[derive(Clone, Copy)]
enum Incoming {
    Subscription(u32),
    Replies,
}

impl std::fmt::Debug for ClientCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCore")
            .field("state", &self.session.state())
            .finish_non_exhaustive()
    }
}

impl ClientCore {
    pub(super) fn new(shared: Arc<Shared>, local: Local, number: u64) -> Self {
        let session = Session::new(shared.config.session.clone(), local, number, 0);
        Self {
            shared,
            session,
            link: None,
            touched: None,
            flows: Vec::new(),
            slots: BTreeMap::new(),
            notifies: Slab::new(),
            incoming: BTreeMap::new(),
            generation: 1,
            retries: BTreeSet::new(),
            closing: None,
            closed: false,
            leave_by: None,
            goodbye: None,
        }
    }

    /// A link to the node is up.
    pub fn link_dialed(&mut self, link: LinkHandle, now: Time) {
        self.link = Some(link);
        self.closing = None;
        self.session.link_up(now);
        self.touch();
    }

    /// Whether the client is done: goodbye was said, or nobody uses it any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What the node said when it turned the client away, if it did since the last call.
    pub fn take_goodbye(&mut self) -> Option<(GoodbyeCode, String)> {
        self.goodbye.take()
    }

    /// Takes over what users have asked for since the last call.
    pub fn pump(&mut self, now: Time) {
        let shared = self.shared.clone();
        let (commands, settlements, retries) = {
            let mut state = shared.arrived();
            (
                std::mem::take(&mut state.commands),
                std::mem::take(&mut state.settlements),
                std::mem::take(&mut state.retries),
            )
        };
        // What was settled before a subscription ended is told before its end.
        self.settle(settlements, now);
        self.retries.extend(retries);
        for command in commands {
            self.command(command, now);
        }
        self.send();
        self.after(now);
    }

    fn touch(&mut self) {
        self.touched = self.link;
    }

    fn command(&mut self, command: Command, now: Time) {
        let signal = match command {
            Command::Subscribe {
                subscription,
                pattern,
                group,
                durable,
            } => Signal::Subscribe {
                subscription,
                pattern,
                group,
                durable,
            },
            Command::Unsubscribe { subscription } => Signal::Unsubscribe { subscription },
            Command::Count { question, subject } => Signal::Count { question, subject },
            Command::Delete { question, durable } => Signal::Delete { question, durable },
            Command::Close => {
                self.leave_by.get_or_insert(now + LINGER);
                return;
            }
        };
        self.tell(&signal);
    }

    fn tell(&mut self, signal: &Signal) {
        // Before the first connection and after a reset everything is told anew, so what is full here is told then.
        if let Err(error) = self.session.signal(signal.encode()) {
            tracing::warn!(%error, "control message not queued");
        }
        self.touch();
    }

    fn settle(&mut self, settlements: Vec<Settlement>, now: Time) {
        for (generation, flow, sequence, failure) in settlements {
            if generation != self.generation {
                continue;
            }
            if let Some(failure) = failure {
                self.session.fail(flow, sequence, failure, now);
            }
            self.session.done(flow, sequence, now);
            self.touch();
        }
    }

    /// Moves what is queued into the session, as far as credit reaches.
    fn send(&mut self) {
        let shared = self.shared.clone();
        let mut wake = Vec::new();
        {
            let mut state = shared.lock();
            while let Some(slot) = state.outbox.next_dirty() {
                let Some(flow) = self.flow_of(slot) else {
                    continue;
                };
                while let Some((cost, waiting)) = state.outbox.front(slot) {
                    if !self.session.admits(flow, cost) {
                        self.session.want(flow, waiting, waiting * cost, cost);
                        break;
                    }
                    let Some(queued) = state.outbox.pop(slot, &mut wake) else {
                        break;
                    };
                    let token = match queued.notify {
                        Notify::Count => u64::MAX,
                        notify => self.notifies.insert(notify) as u64,
                    };
                    let pushed = self.session.push(flow, queued.record, token);
                    debug_assert!(pushed.is_ok(), "room was checked");
                }
                self.touched = self.link;
            }
        }
        wake.into_iter().for_each(std::task::Waker::wake);
    }

    fn flow_of(&mut self, slot: usize) -> Option<u32> {
        if self.flows.len() <= slot {
            self.flows.resize(slot + 1, None);
        }
        if self.flows[slot].is_none() {
            let definition = if slot == REPLIES {
                Definition::Replies
            } else {
                Definition::Publish
            };
            let flow = self.session.open_flow(definition.encode())?;
            self.flows[slot] = Some(flow);
            self.slots.insert(flow, slot);
        }
        self.flows[slot]
    }

    fn after(&mut self, now: Time) {
        let mut moved = false;
        loop {
            if let Some(release) = self.session.poll_release() {
                moved = true;
                self.released(release.token, release.result.err());
                continue;
            }
            let Some(event) = self.session.poll_event() else {
                break;
            };
            self.handle(event, now);
        }
        if moved {
            self.shared.progress.notify_waiters();
        }
        self.leave_when_done(now);
        self.touch();
    }

    /// Says goodbye once the user is done and nothing is left to send.
    fn leave_when_done(&mut self, now: Time) {
        let Some(at) = self.leave_by.filter(|_| !self.closed) else {
            return;
        };
        let done = self.session.is_taken_over() && self.shared.lock().outbox.waiting() == 0;
        if done || now >= at {
            self.session.leave(GoodbyeCode::Done, "the client closes");
            self.closed = true;
            self.shared.progress.notify_waiters();
        }
    }

    fn released(&mut self, token: u64, failure: Option<Failure>) {
        let notify = usize::try_from(token)
            .ok()
            .and_then(|token| self.notifies.try_remove(token));
        let mut state = self.shared.lock();
        match failure {
            None => state.stats.acknowledged += 1,
            Some(failure) => *state.stats.failed.entry(failure.name()).or_default() += 1,
        }
        match notify {
            Some(Notify::Receipt(receipt)) => {
                let _ = receipt
                    .send(failure.map_or(Ok(()), |failure| Err(ReceiptError::Failed(failure))));
            }
            Some(Notify::Request(correlation)) => {
                if let Some(failure) = failure
                    && let Some(pending) = state.requests.remove(&correlation)
                {
                    let _ = pending.send(Err(request::failed(failure)));
                }
            }
            Some(Notify::Count) | None => {}
        }
    }

    fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Up { resumed } => {
                let message_max = self.session.message_max();
                let mut state = self.shared.lock();
                state.message_max = message_max;
                if state.status == ClientStatus::Reconnecting {
                    state.stats.reconnects += 1;
                }
                state.status = ClientStatus::Live;
                drop(state);
                tracing::debug!(resumed, "connected");
                self.shared.progress.notify_waiters();
            }
            Event::Reset { died, lost, .. } => {
                self.forgotten(died, lost.iter().map(|(_, count)| count).sum())
            }
            Event::Opened { flow, definition } => self.opened(flow, definition, now),
            Event::Closed { flow, .. } => {
                self.incoming.remove(&flow);
            }
            Event::Records {
                flow,
                first,
                mut records,
            } => {
                self.arrived(flow, first, &mut records, now);
                self.session.recycle(records);
            }
            Event::Credit { flow } => {
                if let Some(slot) = self.slots.get(&flow) {
                    self.shared.lock().outbox.mark(*slot);
                }
                self.send();
            }
            Event::Signal { payload } => self.signalled(payload),
            Event::Goodbye { code, reason } => {
                if !self.closed {
                    tracing::info!(%code, reason, "the node says goodbye");
                }
                self.goodbye = Some((code, reason));
                self.closing = Some(String::from("the node said goodbye"));
            }
            Event::Silent => {
                tracing::warn!("the node is silent");
                self.closing = Some(String::from("the node is silent"));
            }
            _ => {}
        }
    }

    /// The node has no memory of this session: subscribe again.
    fn forgotten(&mut self, died: bool, lost: u64) {
        self.generation += 1;
        self.incoming.clear();
        self.retries.clear();
        let mut signals = Vec::new();
        {
            let mut state = self.shared.lock();
            state.stats.resets += 1;
            state.stats.lost += lost;
            for (number, subscription) in &state.subscriptions {
                subscription.retries.clear();
                subscription.state.send_if_modified(|progress| {
                    let ready = *progress == Progress::Ready;
                    if ready {
                        *progress = Progress::Asked;
                    }
                    ready
                });
                signals.push(Signal::Subscribe {
                    subscription: *number,
                    pattern: subscription.pattern.clone(),
                    group: subscription.group.clone(),
                    durable: subscription.durable.clone(),
                });
            }
        }
        tracing::warn!(died, lost, "the node has no memory of this session");
        for signal in signals {
            self.tell(&signal);
        }
    }

    fn opened(&mut self, flow: u32, definition: Bytes, now: Time) {
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

    fn arrived(&mut self, flow: u32, first: u64, records: &mut Vec<Record>, now: Time) {
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
        let (sender, durable, max_deliver, retries) = {
            let mut state = shared.lock();
            state.stats.received += records.len() as u64;
            match state.subscriptions.get(&number) {
                Some(subscription) => (
                    Some(subscription.sender.clone()),
                    subscription.durable.is_some(),
                    subscription.max_deliver,
                    subscription.retries.clone(),
                ),
                None => (None, false, 1, Arc::default()),
            }
        };
        for (index, record) in records.drain(..).enumerate() {
            let sequence = first + index as u64;
            let settle = Settle {
                shared: shared.clone(),
                generation: self.generation,
                flow,
                sequence,
                subscription: number,
                durable,
                max_deliver,
                retries: retries.clone(),
            };
            let delivery = Delivery {
                record,
                settle: Some(settle),
            };
            let (mut delivery, failure) = match &sender {
                _ if delivery.record.expired(now) => (delivery, Failure::Expired),
                None => (delivery, Failure::Cancelled),
                // The channel is as large as the window that was granted, so there is room; it can only be closed.
                Some(sender) => match sender.try_send(delivery) {
                    Ok(()) => continue,
                    Err(error) => (error.into_message(), Failure::Cancelled),
                },
            };
            delivery.settle = None;
            self.session.fail(flow, sequence, failure, now);
            self.session.done(flow, sequence, now);
        }
    }

    /// Sends deliveries that are due to their consumers again.
    fn try_again(&mut self, now: Time) {
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
                // It still counts against the window, so there is room; the channel can only be closed.
                && let Err(error) = sender.try_send(delivery)
            {
                error.into_message().forget();
            }
        }
    }

    fn signalled(&mut self, payload: Bytes) {
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

impl Owner for ClientCore {
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time) {
        if self.link != Some(link) {
            return;
        }
        if let Err(error) = self.session.receive(lane, bytes, now) {
            tracing::warn!(%error, "the node broke the protocol");
            self.session.leave(error.code(), &error.to_string());
            self.closed = true;
        }
        self.after(now);
    }

    fn reads_data(&self, link: LinkHandle) -> bool {
        self.link == Some(link) && self.session.is_live()
    }

    fn wants_transmit(&self, link: LinkHandle, lane: LaneId, now: Time) -> bool {
        self.link == Some(link) && self.closing.is_none() && self.session.wants_transmit(lane, now)
    }

    fn transmit(
        &mut self,
        link: LinkHandle,
        lane: LaneId,
        budget: usize,
        now: Time,
        out: &mut BytesMut,
    ) {
        if self.link == Some(link) {
            self.session.transmit(lane, budget, now, out);
            self.touch();
        }
    }

    fn wants_close(&self, link: LinkHandle) -> Option<String> {
        if self.link != Some(link) {
            return Some(String::from("a newer link is up"));
        }
        if self.session.state() == SessionState::Leaving {
            return Some(String::from("goodbye"));
        }
        self.closing.clone()
    }

    fn link_down(&mut self, link: LinkHandle, reason: &str, _now: Time) {
        if self.link != Some(link) {
            return;
        }
        tracing::debug!(reason, "link down");
        self.link = None;
        self.session.link_down();
        let mut state = self.shared.lock();
        if state.status == ClientStatus::Live {
            state.status = ClientStatus::Reconnecting;
        }
        drop(state);
        self.shared.progress.notify_waiters();
    }

    fn poll_touched(&mut self) -> Option<LinkHandle> {
        self.touched.take()
    }

    fn next_timeout(&self) -> Option<Time> {
        let leave = self.leave_by.filter(|_| !self.closed);
        let retry = self.retries.first().map(|(due, ..)| *due);
        self.session
            .next_timeout()
            .into_iter()
            .chain(leave)
            .chain(retry)
            .min()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
        self.try_again(now);
        self.after(now);
    }
}
