//! The session's state and what its owner can ask of it; the peer's frames are handled here.

use super::config::{Local, Peer, SessionConfig};
use super::error::{ProtocolError, PushError, SignalError};
use super::event::{Event, Release};
use super::receive::ReceiveFlow;
use super::send::SendFlow;
use super::signal::Signals;
use crate::link::LaneId;
use crate::wire::control::{CONTROL_FRAME_MAX, SIGNAL_MAX};
use crate::wire::{
    BatchDecoder, BatchEncoder, Control, Failure, FlowAck, FrameKind, FrameReader, GoodbyeCode,
    Hello, Record, VERSION_MAX, VERSION_MIN,
};
use bytes::Bytes;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use std::collections::{HashMap, VecDeque};

/// Where a session stands with its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// No link.
    Down,
    /// A link is up; the peer's hello is awaited.
    Greeting,
    /// The peer remembers the session; its positions are awaited.
    Resuming,
    /// Both ends agree; records flow.
    Live,
    /// Goodbye was said. Only what says so is still written.
    Leaving,
}

/// One session with one peer. See the [module](super) for its invariants.
#[derive(Debug)]
pub struct Session {
    pub(super) config: SessionConfig,
    pub(super) local: Local,
    pub(super) peer: Option<Peer>,
    pub(super) state: SessionState,
    pub(super) number: u64,
    pub(super) incarnation: u64,
    /// Whether the peer is known to know the incarnation.
    confirmed: bool,
    pub(super) lanes: u8,
    pub(super) peer_message_max: u64,
    pub(super) peer_flows_max: u32,

    // A fixed hasher: two runs of one seed must do the same in the same order.
    pub(super) send_flows: HashMap<u32, SendFlow, FixedState>,
    pub(super) receive_flows: HashMap<u32, ReceiveFlow, FixedState>,
    next_flow: u32,
    /// Receiving flows whose end is announced: the last sequence still to come.
    pub(super) closing: HashMap<u32, u64, FixedState>,
    pub(super) signals: Signals<Bytes>,
    /// Frames of failures, which must not be lost in a cut.
    pub(super) failures: Signals<(u32, Vec<(u64, Failure)>)>,

    readers: Vec<FrameReader>,
    decoders: Vec<BatchDecoder>,
    pub(super) encoders: Vec<BatchEncoder>,
    /// Sending flows with something to write, by data lane.
    pub(super) ready: Vec<VecDeque<u32>>,

    pub(super) hello: Option<Hello>,
    pub(super) resume: bool,
    pub(super) pong: Option<u64>,
    pub(super) ping_due: bool,
    pub(super) goodbye: Option<(GoodbyeCode, String)>,
    pub(super) to_open: VecDeque<u32>,
    pub(super) to_close: VecDeque<(u32, u64)>,
    pub(super) to_want: VecDeque<u32>,
    /// Receiving flows whose positions changed since the last ack.
    pub(super) dirty: VecDeque<u32>,
    /// When the ack may no longer wait for company.
    pub(super) ack_at: Option<Time>,
    /// Whether that time has come, so that nobody needs to be woken for it again.
    pub(super) ack_due: bool,

    pub(super) last_heard: Time,
    pub(super) next_ping: Time,
    pub(super) silent: bool,

    pub(super) events: VecDeque<Event>,
    pub(super) releases: VecDeque<Release>,
    spare: Vec<Vec<Record>>,
}

impl Session {
    /// A session without a link. `number` names it among those of its dialer. `incarnation` is 0 at the dialer; the
    /// acceptor chooses it at random, not 0.
    pub fn new(config: SessionConfig, local: Local, number: u64, incarnation: u64) -> Self {
        let lanes = config.lanes.clamp(1, LaneId::MAX.number());
        Self {
            local,
            peer: None,
            state: SessionState::Down,
            number,
            incarnation,
            confirmed: false,
            lanes,
            peer_message_max: config.message_max,
            peer_flows_max: config.flows_max,
            send_flows: HashMap::default(),
            receive_flows: HashMap::default(),
            next_flow: 0,
            closing: HashMap::default(),
            signals: Signals::new(),
            failures: Signals::new(),
            readers: Vec::new(),
            decoders: Vec::new(),
            encoders: Vec::new(),
            ready: vec![VecDeque::new(); usize::from(lanes)],
            hello: None,
            resume: false,
            pong: None,
            ping_due: false,
            goodbye: None,
            to_open: VecDeque::new(),
            to_close: VecDeque::new(),
            to_want: VecDeque::new(),
            dirty: VecDeque::new(),
            ack_at: None,
            ack_due: false,
            last_heard: Time::default(),
            next_ping: Time::default(),
            silent: false,
            events: VecDeque::new(),
            releases: VecDeque::new(),
            spare: Vec::new(),
            config,
        }
    }

    /// Where the session stands.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Whether records flow.
    pub fn is_live(&self) -> bool {
        self.state == SessionState::Live
    }

    /// The other end, once it has said hello.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// The number of this session among those of its dialer.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The incarnation both ends agreed on; 0 at a dialer that never reached its peer.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// How many data lanes are used.
    pub fn lanes(&self) -> u8 {
        self.lanes
    }

    /// Largest body the peer accepts, in bytes.
    pub fn message_max(&self) -> u64 {
        self.peer_message_max.min(self.config.message_max)
    }

    /// The dialer's link is up: say hello.
    pub fn link_up(&mut self, now: Time) {
        self.start_link(now);
        self.state = SessionState::Greeting;
        self.hello = Some(self.make_hello());
    }

    /// The acceptor's link is up, and the dialer's hello came on it. The owner found this session by it. `incarnation`
    /// is used if the peer does not go on with the session's own: random, not 0.
    pub fn accept(
        &mut self,
        hello: Hello,
        incarnation: u64,
        now: Time,
    ) -> Result<(), ProtocolError> {
        self.start_link(now);
        let same_peer = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.id == hello.id && peer.epoch == hello.epoch);
        let resumed = same_peer && hello.incarnation == self.incarnation;
        let known = self.peer.is_some();
        let died = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.epoch != hello.epoch);
        self.agree(&hello)?;
        if same_peer && hello.incarnation == 0 && !self.confirmed {
            // The answer to its first hello was cut off: neither end has taken anything from the other.
            self.signals.resume();
            self.failures.resume();
            // What was closed meanwhile the peer never heard of.
            self.to_close.clear();
            for flow in self.send_flows.values_mut() {
                flow.rewind();
            }
            self.hello = Some(self.make_hello());
            self.go_live(true);
            return Ok(());
        }
        if !resumed {
            self.incarnation = incarnation;
            self.confirmed = false;
            if known {
                self.reset(died);
            }
        }
        self.hello = Some(self.make_hello());
        self.greeted(resumed);
        Ok(())
    }

    /// The link is gone. What was on its way is kept until the next link says what arrived.
    pub fn link_down(&mut self) {
        if self.state != SessionState::Leaving {
            self.state = SessionState::Down;
        }
        self.ack_at = None;
        self.ack_due = false;
        self.silent = false;
    }

    /// Says goodbye: nothing else is written from here on, and the link can be closed once this is.
    pub fn leave(&mut self, code: GoodbyeCode, reason: &str) {
        self.goodbye = Some((code, reason.to_owned()));
        self.state = SessionState::Leaving;
    }

    /// Opens a sending flow. It has no credit before the peer grants some. `None` at the limit of flows.
    pub fn open_flow(&mut self, definition: Bytes) -> Option<u32> {
        if self.send_flows.len() >= self.config.flows_max.min(self.peer_flows_max) as usize {
            return None;
        }
        let id = self.next_flow;
        self.next_flow = self.next_flow.wrapping_add(1);
        let lane = self.lane_of(id);
        self.send_flows.insert(id, SendFlow::new(definition, lane));
        self.to_open.push_back(id);
        Some(id)
    }

    /// Closes a sending flow of which nothing is under way; otherwise `false` and nothing happens.
    pub fn close_flow(&mut self, flow: u32) -> bool {
        if !self.send_flows.get(&flow).is_some_and(SendFlow::is_idle) {
            return false;
        }
        self.abandon_flow(flow);
        true
    }

    /// Room of a sending flow in messages and bytes.
    #[inline]
    pub fn room(&self, flow: u32) -> (u64, u64) {
        self.send_flows.get(&flow).map_or((0, 0), SendFlow::room)
    }

    /// Whether a sending flow takes a record of this cost now. If not, an [`Event::Credit`] will follow.
    #[inline]
    pub fn admits(&self, flow: u32, cost: u64) -> bool {
        let (messages, bytes) = self.room(flow);
        messages > 0 && bytes >= cost
    }

    /// Queues a record. `token` comes back in its [`Release`].
    #[inline]
    pub fn push(&mut self, flow: u32, record: Record, token: u64) -> Result<(), PushError> {
        let Some(send) = self.send_flows.get_mut(&flow) else {
            return Err(PushError::NoFlow(record));
        };
        send.push(record, token).map_err(PushError::NoCredit)?;
        if !send.ready {
            send.ready = true;
            self.ready[usize::from(send.lane.number()) - 1].push_back(flow);
        }
        Ok(())
    }

    /// Tells the peer that records wait for credit on a flow: how many, how heavy, and how heavy the first.
    pub fn want(&mut self, flow: u32, messages: u64, bytes: u64, next: u64) {
        if let Some(send) = self.send_flows.get_mut(&flow) {
            if send.wanted.is_none() {
                self.to_want.push_back(flow);
            }
            send.wanted = Some((messages, bytes, next));
        }
    }

    /// How many records are retained on a sending flow, for the ledger's walk.
    pub fn retained(&self, flow: u32) -> usize {
        self.send_flows.get(&flow).map_or(0, SendFlow::retained)
    }

    /// Whether every record pushed on every flow has been taken over and passed on by the peer.
    pub fn is_settled(&self) -> bool {
        self.send_flows.values().all(SendFlow::is_idle)
    }

    /// Whether every record pushed on every flow has been taken over by the peer, or has ended.
    pub fn is_taken_over(&self) -> bool {
        self.send_flows.values().all(|flow| flow.retained() == 0)
    }

    /// Sets the window of a receiving flow: what may be held or on its way, in messages and bytes.
    pub fn set_window(&mut self, flow: u32, messages: u64, bytes: u64, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.set_window(messages, bytes);
            let short = receive.is_short();
            self.mark(flow, short, now);
        }
    }

    /// What a receiving flow may hold at most from here: granted and not settled, in messages and bytes.
    pub fn exposure(&self, flow: u32) -> (u64, u64) {
        self.receive_flows
            .get(&flow)
            .map_or((0, 0), ReceiveFlow::exposure)
    }

    /// Messages and bytes that are held of a receiving flow.
    pub fn held(&self, flow: u32) -> (u64, u64) {
        self.receive_flows
            .get(&flow)
            .map_or((0, 0), ReceiveFlow::held)
    }

    /// The definition of a receiving flow.
    pub fn definition(&self, flow: u32) -> Option<&Bytes> {
        self.receive_flows
            .get(&flow)
            .map(|receive| &receive.definition)
    }

    /// A received message now exists in `copies` places, at least one, each of which must be [`done`](Self::done).
    #[inline]
    pub fn hold(&mut self, flow: u32, sequence: u64, copies: u32) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.window.hold(sequence, copies);
        }
    }

    /// In how many places a received message exists.
    pub fn copies(&self, flow: u32, sequence: u64) -> u32 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.copies(sequence))
    }

    /// Whether a received message ever existed in several places.
    pub fn was_split(&self, flow: u32, sequence: u64) -> bool {
        self.receive_flows.get(&flow).is_some_and(|receive| receive.window.was_split(sequence))
    }

    /// One copy of a received message was passed on or has ended. Whether it was the last one.
    #[inline]
    pub fn done(&mut self, flow: u32, sequence: u64, now: Time) -> bool {
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return false;
        };
        let last = receive.done(sequence);
        if last {
            let short = receive.is_short();
            self.mark(flow, short, now);
        }
        last
    }

    /// Up to where all messages of a receiving flow are settled.
    pub fn settled(&self, flow: u32) -> u64 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.settled())
    }

    /// How many signals wait for their ack.
    pub fn signals_waiting(&self) -> usize {
        self.signals.len()
    }

    /// How many received messages of a flow still exist here, counted one by one.
    pub fn unfinished(&self, flow: u32) -> u64 {
        self.receive_flows
            .get(&flow)
            .map_or(0, |receive| receive.window.unfinished())
    }

    /// Positions of a sending flow: pushed, received by the peer, settled by the peer.
    pub fn sent(&self, flow: u32) -> (u64, u64, u64) {
        self.send_flows
            .get(&flow)
            .map_or((0, 0, 0), SendFlow::positions)
    }

    /// A received message ended badly; the peer is told. [`done`](Self::done) is still to be called.
    pub fn fail(&mut self, flow: u32, sequence: u64, failure: Failure, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow) {
            receive.failures.push((sequence, failure));
            self.mark(flow, true, now);
        }
    }

    /// Sends an ordered message to the floor above at the peer. It survives cuts, not a peer that forgets.
    pub fn signal(&mut self, payload: Bytes) -> Result<(), SignalError> {
        if payload.len() > SIGNAL_MAX {
            return Err(SignalError::TooLarge);
        }
        if self.signals.len() >= self.config.signals_max {
            return Err(SignalError::Full);
        }
        self.signals.push(payload);
        Ok(())
    }

    /// The next event.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next release.
    #[inline]
    pub fn poll_release(&mut self) -> Option<Release> {
        self.releases.pop_front()
    }

    /// Takes the vector of an [`Event::Records`] back, to be used again.
    pub fn recycle(&mut self, mut records: Vec<Record>) {
        records.clear();
        if self.spare.len() < 8 {
            self.spare.push(records);
        }
    }

    /// Bytes came on a lane. After an error the link must be closed. Data lanes are read only while the session
    /// [is live](Self::is_live): a peer that is live first may be quick, and the link holds its bytes meanwhile.
    pub fn receive(&mut self, lane: LaneId, chunk: Bytes, now: Time) -> Result<(), ProtocolError> {
        self.last_heard = now;
        let index = usize::from(lane.number());
        if index >= self.readers.len() {
            return Err(ProtocolError::Unexpected {
                what: "a lane beyond the agreed number",
            });
        }
        self.readers[index].push(chunk);
        loop {
            let frame = self.readers[index]
                .next()
                .map_err(|error| ProtocolError::Wire { lane, error })?;
            let Some((kind, payload)) = frame else {
                return Ok(());
            };
            self.confirmed |= self.state != SessionState::Greeting;
            if lane.is_control() {
                let control = Control::decode(kind, payload)
                    .map_err(|error| ProtocolError::Wire { lane, error })?;
                self.handle_control(control, now)?;
            } else if kind == FrameKind::Batch {
                self.handle_batch(lane, payload, now)?;
            } else {
                return Err(ProtocolError::Unexpected {
                    what: "a control frame on a data lane",
                });
            }
        }
    }

    fn lane_of(&self, flow: u32) -> LaneId {
        data_lane(flow, self.lanes)
    }

    fn start_link(&mut self, now: Time) {
        let data_limit = self.config.message_max as usize + 64 * 1024 + self.config.frame_target;
        self.readers = (0..=self.lanes)
            .map(|lane| {
                FrameReader::new(if lane == 0 {
                    CONTROL_FRAME_MAX
                } else {
                    data_limit
                })
            })
            .collect();
        self.decoders = (0..=self.lanes).map(|_| BatchDecoder::new()).collect();
        self.encoders = (0..=self.lanes).map(|_| BatchEncoder::new()).collect();
        self.pong = None;
        self.ping_due = false;
        self.silent = false;
        self.last_heard = now;
        self.next_ping = now + self.config.heartbeat;
    }

    fn make_hello(&self) -> Hello {
        Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            role: self.local.role,
            id: self.local.id,
            epoch: self.local.epoch,
            name: self.local.name.clone(),
            session: self.number,
            incarnation: self.incarnation,
            lanes: self.lanes,
            message_max: self.config.message_max,
            flows_max: self.config.flows_max,
        }
    }

    fn agree(&mut self, hello: &Hello) -> Result<(), ProtocolError> {
        if hello.versions.0 > VERSION_MAX || hello.versions.1 < VERSION_MIN {
            return Err(ProtocolError::Version {
                peer: hello.versions,
            });
        }
        // Flows are pinned to lanes for the life of the session, so the number is fixed by the first hello.
        if self.peer.is_none() {
            self.lanes = self.lanes.min(hello.lanes).max(1);
            self.ready.truncate(usize::from(self.lanes));
            let lanes = self.lanes;
            for ready in &mut self.ready {
                ready.clear();
            }
            for (&id, flow) in &mut self.send_flows {
                flow.lane = data_lane(id, lanes);
                flow.ready = false;
            }
        }
        self.peer_message_max = hello.message_max;
        self.peer_flows_max = hello.flows_max;
        self.peer = Some(Peer {
            role: hello.role,
            id: hello.id,
            epoch: hello.epoch,
            name: hello.name.clone(),
        });
        Ok(())
    }

    /// Both hellos are known: wait for positions, or go.
    fn greeted(&mut self, resumed: bool) {
        if resumed {
            self.state = SessionState::Resuming;
            self.resume = true;
            // The peer's positions say which of the flows that were closed it still has open.
            self.to_close.clear();
            for flow in self.send_flows.values_mut() {
                flow.opened = false;
            }
        } else {
            self.go_live(false);
        }
    }

    fn go_live(&mut self, resumed: bool) {
        self.state = SessionState::Live;
        self.to_open.clear();
        let mut ids: Vec<u32> = self.send_flows.keys().copied().collect();
        ids.sort_unstable();
        for ready in &mut self.ready {
            ready.clear();
        }
        for id in ids {
            let Some(flow) = self.send_flows.get_mut(&id) else {
                continue;
            };
            if !flow.opened {
                self.to_open.push_back(id);
            }
            flow.ready = flow.has_sendable();
            if flow.ready {
                self.ready[usize::from(flow.lane.number()) - 1].push_back(id);
            }
            if flow.wanted.is_some() && !self.to_want.contains(&id) {
                self.to_want.push_back(id);
            }
        }
        self.events.push_back(Event::Up { resumed });
    }

    fn handle_control(&mut self, control: Control, now: Time) -> Result<(), ProtocolError> {
        match (self.state, control) {
            (SessionState::Greeting, Control::Hello(hello)) => self.handle_hello(&hello),
            (
                SessionState::Resuming,
                Control::Resume {
                    flows,
                    signals,
                    failures,
                    last,
                },
            ) => {
                self.ack_control(signals, failures)?;
                self.handle_resume(&flows, last, now)
            }
            (_, Control::Goodbye { code, reason }) => {
                self.events.push_back(Event::Goodbye { code, reason });
                Ok(())
            }
            (SessionState::Leaving | SessionState::Down, _) => Ok(()),
            (SessionState::Greeting, _) => Err(ProtocolError::Unexpected {
                what: "a frame before the hello",
            }),
            (_, Control::Ping { nonce }) => {
                self.pong = Some(nonce);
                Ok(())
            }
            (_, Control::Pong { .. }) => Ok(()),
            (SessionState::Resuming, _) => Err(ProtocolError::Unexpected {
                what: "a frame before the resume is complete",
            }),
            (SessionState::Live, control) => self.handle_live(control, now),
        }
    }

    fn handle_hello(&mut self, hello: &Hello) -> Result<(), ProtocolError> {
        let died = self
            .peer
            .as_ref()
            .is_some_and(|peer| peer.epoch != hello.epoch || peer.id != hello.id);
        let known = self.peer.is_some();
        let lanes = self.lanes;
        self.agree(hello)?;
        if self.lanes != lanes {
            self.readers.truncate(usize::from(self.lanes) + 1);
        }
        let resumed =
            !died && known && self.incarnation != 0 && hello.incarnation == self.incarnation;
        self.incarnation = hello.incarnation;
        if known && !resumed {
            self.reset(died);
        }
        self.greeted(resumed);
        Ok(())
    }

    fn ack_control(&mut self, signals: u64, failures: u64) -> Result<(), ProtocolError> {
        if !self.signals.ack(signals) || !self.failures.ack(failures) {
            return Err(ProtocolError::Unexpected {
                what: "an ack of a control message that was never sent",
            });
        }
        Ok(())
    }

    fn handle_resume(
        &mut self,
        flows: &[FlowAck],
        last: bool,
        now: Time,
    ) -> Result<(), ProtocolError> {
        for ack in flows {
            match self.send_flows.get_mut(&ack.flow) {
                Some(flow) => {
                    if !flow.resume(ack) {
                        return Err(ProtocolError::Flow {
                            what: "resumes what was never sent",
                            flow: ack.flow,
                        });
                    }
                    // The ack that said so may have been cut off, and its repetition will say nothing new.
                    self.events.push_back(Event::Credit { flow: ack.flow });
                }
                // Closed while the peer was away: it must not wait for more.
                None => self.to_close.push_back((ack.flow, ack.received)),
            }
        }
        if last {
            self.signals.resume();
            self.failures.resume();
            let mut ids: Vec<u32> = self.receive_flows.keys().copied().collect();
            ids.sort_unstable();
            for id in ids {
                self.mark(id, true, now);
            }
            self.go_live(true);
        }
        Ok(())
    }

    fn handle_live(&mut self, control: Control, now: Time) -> Result<(), ProtocolError> {
        match control {
            Control::Hello(_) => Err(ProtocolError::Unexpected {
                what: "a second hello",
            }),
            Control::Resume { .. } => Err(ProtocolError::Unexpected {
                what: "a resume of a new session",
            }),
            Control::Open { flow, definition } => {
                if self.receive_flows.len() >= self.config.flows_max as usize {
                    return Err(ProtocolError::Flow {
                        what: "one more than the limit",
                        flow,
                    });
                }
                let lane = self.lane_of(flow);
                if self.receive_flows.contains_key(&flow) {
                    return Err(ProtocolError::Flow {
                        what: "opened twice",
                        flow,
                    });
                }
                self.receive_flows
                    .insert(flow, ReceiveFlow::new(definition.clone(), lane));
                self.events.push_back(Event::Opened { flow, definition });
                Ok(())
            }
            Control::Close { flow, last } => self.handle_close(flow, last),
            Control::Ack {
                signals,
                failures,
                flows,
            } => {
                self.ack_control(signals, failures)?;
                flows.iter().try_for_each(|ack| self.handle_ack(ack))
            }
            Control::Failed {
                sequence,
                flow,
                messages,
            } => {
                let new = self
                    .failures
                    .receive(sequence)
                    .ok_or(ProtocolError::Unexpected {
                        what: "a frame of failures that leaves a gap",
                    })?;
                self.ack_within(self.config.ack_delay, now);
                if let Some(send) = self.send_flows.get_mut(&flow)
                    && new
                {
                    for (sequence, failure) in messages {
                        send.failed(flow, sequence, failure, &mut self.releases);
                    }
                }
                Ok(())
            }
            Control::Pending {
                flow,
                messages,
                bytes,
                next,
            } => {
                self.events.push_back(Event::Pending {
                    flow,
                    messages,
                    bytes,
                    next,
                });
                Ok(())
            }
            Control::Signal { sequence, payload } => {
                let new = self
                    .signals
                    .receive(sequence)
                    .ok_or(ProtocolError::Unexpected {
                        what: "a signal that leaves a gap",
                    })?;
                self.ack_within(self.config.ack_delay, now);
                if new {
                    self.events.push_back(Event::Signal { payload });
                }
                Ok(())
            }
            // Handled in every state before.
            Control::Ping { .. } | Control::Pong { .. } | Control::Goodbye { .. } => Ok(()),
        }
    }

    fn handle_ack(&mut self, ack: &FlowAck) -> Result<(), ProtocolError> {
        // An ack may cross the close of its flow.
        let Some(flow) = self.send_flows.get_mut(&ack.flow) else {
            return Ok(());
        };
        let Some(more) = flow.ack(ack.flow, ack, &mut self.releases) else {
            return Err(ProtocolError::Flow {
                what: "acks what was never sent",
                flow: ack.flow,
            });
        };
        if more {
            if !flow.ready && flow.has_sendable() {
                flow.ready = true;
                self.ready[usize::from(flow.lane.number()) - 1].push_back(ack.flow);
            }
            self.events.push_back(Event::Credit { flow: ack.flow });
        }
        Ok(())
    }

    fn handle_close(&mut self, flow: u32, last: u64) -> Result<(), ProtocolError> {
        let Some(receive) = self.receive_flows.get(&flow) else {
            return Err(ProtocolError::Flow {
                what: "closed but not open",
                flow,
            });
        };
        if receive.received() < last {
            self.closing.insert(flow, last);
        } else {
            self.end_receiving(flow);
        }
        Ok(())
    }

    fn end_receiving(&mut self, flow: u32) {
        self.closing.remove(&flow);
        self.dirty.retain(|id| *id != flow);
        if let Some(receive) = self.receive_flows.remove(&flow) {
            self.events.push_back(Event::Closed {
                flow,
                window: receive.window,
            });
        }
    }

    fn handle_batch(
        &mut self,
        lane: LaneId,
        payload: Bytes,
        now: Time,
    ) -> Result<(), ProtocolError> {
        if self.state != SessionState::Live {
            return match self.state {
                SessionState::Leaving | SessionState::Down => Ok(()),
                _ => Err(ProtocolError::Unexpected {
                    what: "data before the hello",
                }),
            };
        }
        let mut records = self.spare.pop().unwrap_or_default();
        let header = self.decoders[usize::from(lane.number())]
            .decode(payload, self.config.message_max, now, &mut records)
            .map_err(|error| ProtocolError::Wire { lane, error })?;
        let flow = header.flow;
        let Some(receive) = self.receive_flows.get_mut(&flow) else {
            return Err(ProtocolError::Flow {
                what: "data on a flow that is not open",
                flow,
            });
        };
        if receive.lane != lane {
            return Err(ProtocolError::Flow {
                what: "data on a lane that is not the flow's",
                flow,
            });
        }
        let expected = receive.received() + 1;
        if header.first != expected {
            return Err(ProtocolError::Gap {
                flow,
                expected,
                found: header.first,
            });
        }
        let mut urgent = false;
        for record in &records {
            receive.receive(flow, record.cost())?;
            urgent |= record.head.ack != crate::wire::AckLevel::None;
        }
        let received = receive.received();
        let urgent = urgent || receive.is_short();
        self.events.push_back(Event::Records {
            flow,
            first: expected,
            records,
        });
        self.mark(flow, urgent, now);
        if self
            .closing
            .get(&flow)
            .is_some_and(|last| *last <= received)
        {
            self.end_receiving(flow);
        }
        Ok(())
    }

    /// The positions of a flow are to be told: at once if somebody waits for them, else with company.
    fn mark(&mut self, flow: u32, urgent: bool, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow)
            && !receive.dirty
        {
            receive.dirty = true;
            self.dirty.push_back(flow);
        }
        self.ack_within(
            if urgent {
                std::time::Duration::ZERO
            } else {
                self.config.ack_delay
            },
            now,
        );
    }

    fn ack_within(&mut self, delay: std::time::Duration, now: Time) {
        let at = now + delay;
        if !self.ack_due && self.ack_at.is_none_or(|earlier| at < earlier) {
            self.ack_at = Some(at);
        }
    }
}

/// The lane that a flow is pinned to.
fn data_lane(flow: u32, lanes: u8) -> LaneId {
    LaneId::new(1 + (flow % u32::from(lanes)) as u8).unwrap_or(LaneId::CONTROL)
}
