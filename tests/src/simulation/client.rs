//! A client of a node: the client's side of the protocol written a second time, straight on [`Session`] and
//! [`Signal`], with a script of what to do when and a log of what happened.

use super::script::{Pace, Publication, Step, Subscription};
use bytes::{Bytes, BytesMut};
use mcpbus::protocol::{Cancel, Definition, Signal};
use mcpbus_actors::{Key, Time};
use mcpbus_transport::bridge::{LinkHandle, Owner};
use mcpbus_transport::link::LaneId;
use mcpbus_transport::session::{Event, Local, Session, SessionConfig, SessionState};
use mcpbus_transport::wire::{
    Extra, Failure, GoodbyeCode, Head, ProducerId, Record, ReplyAddress, Role,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer of a responder.
    Reply,
    /// The node says that the responder is gone.
    Lost,
}

/// What became of one message that a client published.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was published.
    pub publication: Publication,
    /// When the script said so.
    pub at: Time,
    /// When the session took it.
    pub pushed: Option<Time>,
    /// How its acknowledgement ended, and when.
    pub result: Option<(Time, Result<(), Failure>)>,
    /// Answers to it, where it is a request.
    pub answers: Vec<Answer>,
    /// When it was given up without an answer.
    pub cancelled: Option<Time>,
}

/// A message that reached a subscription.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: Time,
    /// Who published it, and which of its messages it is.
    pub message: (usize, usize),
    /// When it was settled.
    pub settled: Option<Time>,
}

/// A subscription and what came of it.
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// What was asked for.
    pub wanted: Subscription,
    /// When every reachable node knew of it.
    pub ready: Option<Time>,
    /// When it was last: a client that was given up subscribes anew.
    pub confirmed: Option<Time>,
    /// When the client ended it.
    pub ended: Option<Time>,
    /// When another client took it over.
    pub taken: Option<Time>,
    /// What came, in order.
    pub deliveries: Vec<Delivery>,
    /// When the slow consumer takes the next message.
    pub(super) free_at: Time,
    /// Deliveries that are not settled: index, flow, sequence.
    pub(super) open: VecDeque<(usize, u32, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Incoming {
    Subscription(usize),
    Replies,
}

/// A client.
pub struct Client {
    index: usize,
    pub(super) id: u128,
    pub(super) session: Session,
    link: Option<LinkHandle>,
    touched: Option<LinkHandle>,
    closing: Option<String>,
    script: VecDeque<(Time, Step)>,
    /// What it published.
    pub sent: Vec<Sent>,
    /// What it subscribed to.
    pub subscriptions: Vec<Subscribed>,
    flows: BTreeMap<Arc<str>, u32>,
    /// Records that wait for credit, by flow; tokens are indices into `sent`, or none for answers.
    pub(super) waiting: BTreeMap<u32, VecDeque<(Record, u64)>>,
    heads: BTreeMap<(Arc<str>, u8), Arc<Head>>,
    pub(super) incoming: BTreeMap<u32, Incoming>,
    pub(super) replies: Option<u32>,
    session_config: SessionConfig,
    /// How often its process died.
    pub restarts: u64,
    /// How often the node came back without memory.
    pub resets: u64,
    /// Messages that the node had taken over when it died.
    pub lost: u64,
    /// Whether goodbye was said.
    pub leaving: bool,
    /// What went wrong that never may.
    pub violations: Vec<String>,
}

impl Client {
    /// A client with a script in the order of time.
    pub fn new(
        index: usize,
        session: SessionConfig,
        number: u64,
        script: Vec<(Time, Step)>,
    ) -> Self {
        let id = 0xc11e_0000 + index as u128;
        let local = Local {
            role: Role::Client,
            id,
            epoch: 1,
            name: format!("client-{index}"),
        };
        Self {
            index,
            id,
            session: Session::new(session.clone(), local, number, 0),
            session_config: session,
            restarts: 0,
            link: None,
            touched: None,
            closing: None,
            script: script.into(),
            sent: Vec::new(),
            subscriptions: Vec::new(),
            flows: BTreeMap::new(),
            waiting: BTreeMap::new(),
            heads: BTreeMap::new(),
            incoming: BTreeMap::new(),
            replies: None,
            resets: 0,
            lost: 0,
            leaving: false,
            violations: Vec::new(),
        }
    }

    /// A link to the node is up.
    pub fn link_dialed(&mut self, link: LinkHandle, now: Time) {
        self.link = Some(link);
        self.closing = None;
        self.session.link_up(now);
        self.touched = self.link;
    }

    /// Whether the script is played, everything published has its result and everything received is settled.
    pub fn is_done(&self) -> bool {
        self.script.is_empty()
            && self.session.is_settled()
            && self.waiting.values().all(VecDeque::is_empty)
            && self.sent.iter().all(|sent| sent.result.is_some())
            && self
                .subscriptions
                .iter()
                .all(|subscribed| subscribed.open.is_empty())
    }

    /// Says goodbye.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.session.leave(GoodbyeCode::Done, "the run is over");
        self.touched = self.link;
    }

    /// The process dies, and another begins in its place: it subscribes as before, and knows nothing of what came.
    pub fn restart(&mut self, number: u64) {
        let config = self.session_config.clone();
        let local = Local {
            role: Role::Client,
            id: self.id,
            epoch: 1,
            name: format!("client-{}", self.index),
        };
        self.session = Session::new(config, local, number, 0);
        self.link = None;
        self.closing = None;
        self.incoming.clear();
        self.flows.clear();
        self.waiting.clear();
        self.replies = None;
        self.restarts += 1;
        self.ask_again();
    }

    /// Stalled subscriptions go on.
    pub fn heal(&mut self, now: Time) {
        for subscribed in &mut self.subscriptions {
            if subscribed.wanted.pace == Pace::Stalled {
                subscribed.wanted.pace = Pace::Immediate;
                subscribed.free_at = now;
            }
        }
    }

    /// Where it stands, for a failure's report.
    pub fn describe(&self) -> String {
        let open: Vec<usize> = self
            .subscriptions
            .iter()
            .map(|subscribed| subscribed.open.len())
            .collect();
        let subscriptions: Vec<_> = self
            .subscriptions
            .iter()
            .map(|known| (&known.wanted.pattern, known.ready, known.taken, known.ended))
            .collect();
        let pending: Vec<usize> = (0..self.sent.len())
            .filter(|index| self.sent[*index].result.is_none())
            .collect();
        let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
        format!(
            "client {} ({subscriptions:?}): {:?}, script {}, waiting {waiting}, without result {pending:?}, unsettled {open:?}, settled {}",
            self.index,
            self.session.state(),
            self.script.len(),
            self.session.is_settled(),
        )
    }

    fn tell(&mut self, signal: &Signal) {
        if let Err(error) = self.session.signal(signal.encode()) {
            self.violations
                .push(format!("a signal was refused: {error}"));
        }
    }

    fn play(&mut self, step: Step, now: Time) {
        match step {
            Step::Subscribe(wanted) => {
                let number = self.subscriptions.len();
                let subscribed = Subscribed {
                    wanted,
                    ready: None,
                    confirmed: None,
                    ended: None,
                    taken: None,
                    deliveries: Vec::new(),
                    free_at: Time::ZERO,
                    open: VecDeque::new(),
                };
                self.subscriptions.push(subscribed);
                self.ask(number);
            }
            Step::Unsubscribe(number) => {
                if let Some(subscribed) = self.subscriptions.get_mut(number) {
                    subscribed.ended = Some(now);
                    self.tell(&Signal::Unsubscribe {
                        subscription: number as u32,
                    });
                }
            }
            Step::Publish(publication) => self.publish(publication, now),
            Step::Cancel(index) => self.cancel(index, now),
            Step::Delete(number) => {
                if let Some(subscribed) = self.subscriptions.get_mut(number) {
                    subscribed.ended = Some(now);
                    self.delete(number);
                }
            }
        }
    }

    /// Gives a request up: here, if it is still here, and wherever it may be.
    fn cancel(&mut self, index: usize, now: Time) {
        let sent = &mut self.sent[index];
        if !sent.answers.is_empty() || matches!(sent.result, Some((_, Err(_)))) {
            return;
        }
        sent.cancelled = Some(now);
        for waiting in self.waiting.values_mut() {
            if let Some(place) = waiting.iter().position(|(_, token)| *token == index as u64) {
                waiting.remove(place);
                sent.result = Some((now, Err(Failure::Cancelled)));
                return;
            }
        }
        let cancel = Cancel {
            address: ReplyAddress {
                node: 0,
                session: 0,
                correlation: index as u64,
            },
            left: Duration::from_secs(30),
        };
        let requests = vec![cancel];
        self.tell(&Signal::Cancel { requests });
    }

    /// Asks for the end of a durable subscription; again when its answer may have been lost.
    fn delete(&mut self, number: usize) {
        if let Some(durable) = self.subscriptions[number].wanted.durable.clone() {
            let question = number as u32;
            self.tell(&Signal::Delete { question, durable });
        }
    }

    /// Subscribes anew, as far as the client still wants to, at a node that knows nothing of it.
    fn ask_again(&mut self) {
        for number in 0..self.subscriptions.len() {
            // Settlements of before are void.
            self.subscriptions[number].open.clear();
            let subscribed = &self.subscriptions[number];
            match (subscribed.ended, subscribed.taken) {
                (None, None) => self.ask(number),
                (Some(_), _) => self.delete(number),
                _ => {}
            }
        }
    }

    fn ask(&mut self, number: usize) {
        let wanted = &self.subscriptions[number].wanted;
        let signal = Signal::Subscribe {
            subscription: number as u32,
            pattern: wanted.pattern.clone(),
            group: wanted.group.clone(),
            durable: wanted.durable.clone(),
        };
        self.tell(&signal);
    }

    fn publish(&mut self, publication: Publication, now: Time) {
        let index = self.sent.len();
        let subject: Arc<str> = publication.subject.as_str().into();
        let level = publication.level;
        let id = self.id;
        let head = self
            .heads
            .entry((subject.clone(), level as u8))
            .or_insert_with(|| {
                Arc::new(Head {
                    producer: ProducerId { id, epoch: 1 },
                    subject: subject.clone(),
                    kind: 7,
                    ack: level.wire(),
                    hops: 0,
                })
            });
        let reply = ReplyAddress {
            node: 0,
            session: 0,
            correlation: index as u64,
        };
        let mut body = BytesMut::with_capacity(16 + publication.size);
        body.extend_from_slice(&(self.index as u64).to_le_bytes());
        body.extend_from_slice(&(index as u64).to_le_bytes());
        body.resize(16 + publication.size, index as u8);
        let record = Record {
            head: head.clone(),
            sequence: index as u64 + 1,
            key: publication.key.map(Key::from),
            deadline: publication.time_to_live.map(|time| now + time),
            extra: publication.request.then(|| {
                Box::new(Extra {
                    reply: Some(reply),
                    ..Extra::default()
                })
            }),
            body: body.freeze(),
        };
        self.sent.push(Sent {
            publication,
            at: now,
            pushed: None,
            result: None,
            answers: Vec::new(),
            cancelled: None,
        });
        let flow = match self.flows.get(&subject) {
            Some(flow) => Some(*flow),
            None => self.session.open_flow(Definition::Publish.encode()),
        };
        let Some(flow) = flow else {
            return self.violations.push("a flow was refused".into());
        };
        self.flows.insert(subject, flow);
        self.waiting
            .entry(flow)
            .or_default()
            .push_back((record, index as u64));
    }

    /// Moves what waits into the session, as far as credit reaches.
    fn send(&mut self, now: Time) {
        for (&flow, waiting) in &mut self.waiting {
            while let Some((record, token)) = waiting.pop_front() {
                let cost = record.cost();
                if !self.session.admits(flow, cost) {
                    waiting.push_front((record, token));
                    let messages = waiting.len() as u64;
                    self.session.want(flow, messages, messages * cost, cost);
                    break;
                }
                if let Some(sent) = self.sent.get_mut(token as usize) {
                    sent.pushed = Some(now);
                }
                if self.session.push(flow, record, token).is_err() {
                    self.violations
                        .push("a record was refused although it was admitted".into());
                }
            }
        }
    }

    fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Reset { lost, .. } => {
                self.resets += 1;
                self.lost += lost.iter().map(|(_, count)| count).sum::<u64>();
                self.incoming.clear();
                self.ask_again();
            }
            Event::Opened { flow, definition } => self.opened(flow, definition, now),
            Event::Closed { flow, .. } => {
                self.incoming.remove(&flow);
                for subscribed in &mut self.subscriptions {
                    subscribed.open.retain(|(_, open, _)| *open != flow);
                }
            }
            Event::Records {
                flow,
                first,
                mut records,
            } => {
                for (offset, record) in records.drain(..).enumerate() {
                    self.arrived(flow, first + offset as u64, record, now);
                }
                self.session.recycle(records);
            }
            Event::Pending { flow, next, .. } => {
                // A message that is larger than the window would wait for ever.
                if let Some(Incoming::Subscription(number)) = self.incoming.get(&flow) {
                    let window = self.subscriptions[*number].wanted.window;
                    self.session
                        .set_window(flow, window.0, window.1.max(next), now);
                }
            }
            Event::Signal { payload } => self.signalled(payload, now),
            Event::Goodbye { code, reason } => {
                if code == GoodbyeCode::Protocol {
                    self.violations
                        .push(format!("the node says that a rule was broken: {reason}"));
                }
                self.closing = Some(format!("goodbye: {code}: {reason}"))
            }
            Event::Silent => self.closing = Some("the node is silent".into()),
            _ => {}
        }
    }

    fn after(&mut self, now: Time) {
        loop {
            if let Some(release) = self.session.poll_release() {
                if release.token == u64::MAX {
                    continue;
                }
                match self.sent.get_mut(release.token as usize) {
                    Some(sent) if sent.result.is_none() => {
                        sent.result = Some((now, release.result))
                    }
                    _ => self
                        .violations
                        .push(format!("message {} was released twice", release.token)),
                }
                continue;
            }
            let Some(event) = self.session.poll_event() else {
                break;
            };
            self.handle(event, now);
        }
        self.consume(now);
        self.send(now);
        self.touched = self.link;
    }
}

impl Owner for Client {
    fn receive(&mut self, link: LinkHandle, lane: LaneId, bytes: Bytes, now: Time) {
        if self.link != Some(link) {
            return;
        }
        if let Err(error) = self.session.receive(lane, bytes, now) {
            self.violations
                .push(format!("the node broke the protocol: {error}"));
            self.session
                .leave(GoodbyeCode::Protocol, &error.to_string());
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
            self.touched = self.link;
        }
    }

    fn wants_close(&self, link: LinkHandle) -> Option<String> {
        if self.link != Some(link) {
            return Some("a newer link is up".into());
        }
        if self.session.state() == SessionState::Leaving {
            return Some("goodbye".into());
        }
        self.closing.clone()
    }

    fn link_down(&mut self, link: LinkHandle, _reason: &str, _now: Time) {
        if self.link == Some(link) {
            self.link = None;
            self.session.link_down();
        }
    }

    fn poll_touched(&mut self) -> Option<LinkHandle> {
        self.touched.take()
    }

    fn next_timeout(&self) -> Option<Time> {
        let script = self.script.front().map(|(at, _)| *at);
        let busy = self
            .subscriptions
            .iter()
            .filter(|subscribed| !subscribed.open.is_empty());
        let consume = busy
            .map(|subscribed| subscribed.free_at)
            .filter(|at| *at != Time::MAX)
            .min();
        self.session
            .next_timeout()
            .into_iter()
            .chain(script)
            .chain(consume)
            .min()
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.session.next_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        while self.script.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, step)) = self.script.pop_front() {
                self.play(step, now);
            }
        }
        self.after(now);
    }
}
