//! The client's session, sans-IO.

use super::error::ReceiptError;
use super::outbox::{Notify, Queued, REPLIES};
use super::request;
use super::shared::{ClientStatus, Command, FIRST_GENERATION, Progress, Settlement, Shared};
use crate::protocol::{Definition, Signal};
use mcpbus_actors::Time;
use mcpbus_transport::bridge::LinkHandle;
use mcpbus_transport::session::{Event, Local, Releases, Session};
use mcpbus_transport::wire::GoodbyeCode;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long a client that was dropped goes on sending what its user has published.
const LINGER: std::time::Duration = std::time::Duration::from_secs(5);
/// The token of messages whose end nobody is told of.
const UNTOLD: u64 = u64::MAX;
/// Window for answers to requests, in messages and bytes.
pub(super) const REPLY_WINDOW: (u64, u64) = (1024, 4 << 20);

/// The session of a client, sans-IO. See the [module](super).
pub struct ClientCore {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    pub(super) link: Option<LinkHandle>,
    pub(super) touched: Option<LinkHandle>,
    /// The flow of each slot of the outbox.
    pub(super) flows: Vec<Option<u32>>,
    /// The slots of each flow: one, unless the node takes fewer flows than there are slots.
    pub(super) slots: BTreeMap<u32, Vec<usize>>,
    /// What is on its way from the outbox into the session, within one call.
    taken: VecDeque<Queued>,
    /// Who waits for a message's outcome, by token.
    pub(super) notifies: Slab<Notify>,
    /// What comes on which flow.
    pub(super) incoming: BTreeMap<u32, Incoming>,
    /// Rises when the node forgets: settlements of before are void.
    pub(super) generation: u64,
    /// Deliveries that were given back, by when they are due.
    pub(super) retries: BTreeSet<(Time, u32, Option<u64>)>,
    /// Requests that were given up and of which the node is not told yet, and when they would have been.
    pub(super) given_up: VecDeque<(u64, Time)>,
    /// Why the link is to be closed.
    pub(super) closing: Option<String>,
    pub(super) closed: bool,
    /// The user is done: goodbye is said when everything is taken over, or at this time.
    pub(super) leave_by: Option<Time>,
    /// What the node said when it said goodbye.
    pub(super) goodbye: Option<(GoodbyeCode, String)>,
}

#[derive(Clone, Copy)]
pub(super) enum Incoming {
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

fn token_of(notifies: &mut Slab<Notify>, notify: Notify) -> u64 {
    match notify {
        Notify::Count => UNTOLD,
        notify => notifies.insert(notify) as u64,
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
            taken: VecDeque::new(),
            notifies: Slab::new(),
            incoming: BTreeMap::new(),
            generation: FIRST_GENERATION,
            retries: BTreeSet::new(),
            given_up: VecDeque::new(),
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
        let (commands, settlements, retries, cancels) = {
            let mut state = shared.arrived();
            (
                std::mem::take(&mut state.commands),
                state.settlements.take(),
                std::mem::take(&mut state.retries),
                std::mem::take(&mut state.cancels),
            )
        };
        // What was settled before a subscription ended is told before its end.
        self.settle(settlements, now);
        self.retries.extend(retries);
        for command in commands {
            self.command(command, now);
        }
        self.send();
        self.give_up(cancels);
        self.after(now);
    }

    pub(super) fn touch(&mut self) {
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

    pub(super) fn tell(&mut self, signal: &Signal) {
        // Before the first connection and after a reset everything is told anew, so what is full here is told then.
        if let Err(error) = self.session.signal(signal.encode()) {
            tracing::warn!(%error, "control message not queued");
        }
        self.touch();
    }

    fn settle(&mut self, settlements: Vec<Settlement>, now: Time) {
        for settlement in settlements {
            let Settlement { first, count, .. } = settlement;
            let (generation, flow) = settlement.place;
            if generation != self.generation {
                continue;
            }
            if let Some(failure) = settlement.failure {
                for sequence in first..first + count {
                    self.session.fail(flow, sequence, failure, now);
                }
            }
            self.session.done_all(flow, first, count, now);
            self.touch();
        }
    }

    /// Moves what is queued into the session, as far as credit reaches.
    fn send(&mut self) {
        let shared = self.shared.clone();
        let mut wake = Vec::new();
        {
            let mut state = shared.lock();
            // One round: what publishers add meanwhile wakes this thread again, and what was taken over is written first.
            for _ in 0..state.outbox.dirty() {
                let Some(slot) = state.outbox.next_dirty() else {
                    break;
                };
                let Some(flow) = self.flow_of(slot) else {
                    continue;
                };
                // All at once where there is credit for it, so that publishers wait less for the lock.
                let room = self.session.room(flow);
                let all = &mut self.taken;
                state.outbox.take_all(slot, room, all, &mut wake);
                if !all.is_empty() {
                    drop(state);
                    self.push_taken(flow);
                    state = shared.lock();
                    continue;
                }
                while let Some((cost, waiting)) = state.outbox.front(slot) {
                    if !self.session.admits(flow, cost) {
                        self.session.want(flow, waiting, waiting * cost, cost);
                        break;
                    }
                    let Some(queued) = state.outbox.pop(slot, &mut wake) else {
                        break;
                    };
                    let token = token_of(&mut self.notifies, queued.notify);
                    let pushed = self.session.push(flow, queued.record, token);
                    debug_assert!(pushed.is_ok(), "room was checked");
                }
                self.touched = self.link;
            }
        }
        wake.into_iter().for_each(std::task::Waker::wake);
    }

    /// Moves what was taken out of a slot into the session; there is credit for all of it.
    fn push_taken(&mut self, flow: u32) {
        let Some(mut pushing) = self.session.pushing(flow) else {
            debug_assert!(false, "the flow was opened");
            return;
        };
        for queued in self.taken.drain(..) {
            let token = token_of(&mut self.notifies, queued.notify);
            let pushed = pushing.push(queued.record, token);
            debug_assert!(pushed.is_ok(), "room was checked");
        }
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
            let opened = self.session.open_flow(definition.encode());
            let flow = opened.or_else(|| self.shared_flow(slot))?;
            self.flows[slot] = Some(flow);
            self.slots.entry(flow).or_default().push(slot);
        }
        self.flows[slot]
    }

    /// A flow of another slot for messages to subjects, where the node takes no more flows.
    fn shared_flow(&self, slot: usize) -> Option<u32> {
        if slot == REPLIES {
            return None;
        }
        let open = self.flows.iter().skip(REPLIES + 1).flatten();
        let count = open.clone().count();
        open.copied().nth(slot.checked_rem(count)?)
    }

    pub(super) fn after(&mut self, now: Time) {
        let mut moved = false;
        loop {
            if let Some(releases) = self.session.poll_releases() {
                moved = true;
                self.released(&releases);
                continue;
            }
            let Some(event) = self.session.poll_event() else {
                break;
            };
            self.handle(event, now);
        }
        self.send_cancels(now);
        if moved {
            self.shared.progress.notify_waiters();
        }
        self.leave_when_done(now);
        self.touch();
    }

    /// Says goodbye once the user is done and nothing is left to send.
    pub(super) fn leave_when_done(&mut self, now: Time) {
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

    fn released(&mut self, releases: &Releases) {
        let failure = releases.result.err();
        let shared = self.shared.clone();
        let mut state = shared.lock();
        match failure {
            None => state.stats.acknowledged += releases.count,
            Some(failure) => {
                *state.stats.failed.entry(failure.name()).or_default() += releases.count;
            }
        }
        if releases.token == UNTOLD {
            return;
        }
        for token in releases.tokens() {
            let notify = usize::try_from(token).ok();
            match notify.and_then(|token| self.notifies.try_remove(token)) {
                Some(Notify::Receipt(receipt)) => {
                    let outcome = failure.map_or(Ok(()), |it| Err(ReceiptError::Failed(it)));
                    let _ = receipt.send(outcome);
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
            Event::Credit { flow } | Event::Reduced { flow } => {
                let mut state = self.shared.lock();
                for slot in self.slots.get(&flow).into_iter().flatten() {
                    state.outbox.mark(*slot);
                }
                drop(state);
                self.send();
            }
            Event::Signal { payload } => self.signalled(payload, now),
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
            state.generation = self.generation;
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
}
