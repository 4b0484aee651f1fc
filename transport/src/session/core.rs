//! The session's state, and what its owner can ask of it.

use super::config::{Local, MESSAGE_MAX, Peer, SessionConfig};
use super::error::SignalError;
use super::event::{Event, Release, Releases};
use super::receive::ReceiveFlow;
use super::releases::ReleaseQueue;
use super::round_trip::RoundTrip;
use super::send::SendFlow;
use super::signal::Signals;
#[cfg(test)]
use super::tests::Fault;
use crate::link::LaneId;
use crate::wire::control::SIGNAL_MAX;
use crate::wire::frame::FRAME_TARGET_MAX;
use crate::wire::{
    BatchDecoder, BatchEncoder, Failure, FrameReader, GoodbyeCode, Hello, Record, VERSION_MAX,
    VERSION_MIN,
};
use bytes::Bytes;
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

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
    pub(super) confirmed: bool,
    /// Oldest and newest wire version that this end speaks.
    pub(super) versions: (u8, u8),
    /// The wire version that both ends speak.
    pub(super) version: u8,
    /// Which link of the session this is.
    pub(super) link: u64,
    /// Frames that were written for an earlier link, and did nothing.
    pub(super) stale: u64,
    #[cfg(test)]
    pub(super) planted: Option<Fault>,
    /// Whether a frame of a kind that only the next version knows is to be written.
    #[cfg(test)]
    pub(super) newer: bool,
    pub(super) round_trip: RoundTrip,
    pub(super) lanes: u8,
    /// Bytes that a data frame is filled to; longer bodies go in parts.
    pub(super) frame_target: usize,
    /// The greatest weight of a sending flow so far.
    pub(super) heaviest: u8,
    pub(super) peer_message_max: u64,
    pub(super) peer_flows_max: u32,

    // A fixed hasher: two runs of one seed must do the same in the same order.
    pub(super) send_flows: HashMap<u32, SendFlow, FixedState>,
    pub(super) receive_flows: HashMap<u32, ReceiveFlow, FixedState>,
    pub(super) next_flow: u32,
    /// Receiving flows whose end is announced: the last sequence still to come, and bytes of the body of the one after.
    pub(super) closing: HashMap<u32, (u64, u64), FixedState>,
    pub(super) signals: Signals<Bytes>,
    /// Frames of failures, which must not be lost in a cut.
    pub(super) failures: Signals<(u32, Vec<(u64, Failure)>)>,

    pub(super) readers: Vec<FrameReader>,
    pub(super) decoders: Vec<BatchDecoder>,
    pub(super) encoders: Vec<BatchEncoder>,
    /// Sending flows with something to write, by data lane.
    pub(super) ready: Vec<VecDeque<u32>>,

    pub(super) hello: Option<Hello>,
    pub(super) resume: bool,
    pub(super) pong: Option<u64>,
    pub(super) ping_due: bool,
    pub(super) goodbye: Option<(GoodbyeCode, String)>,
    pub(super) to_open: VecDeque<u32>,
    pub(super) to_close: VecDeque<(u32, u64, u64)>,
    pub(super) to_want: VecDeque<u32>,
    /// Receiving flows whose revoke is to be written.
    pub(super) to_revoke: VecDeque<u32>,
    /// Revokes to confirm: flow, and where the grant is.
    pub(super) to_confirm: VecDeque<(u32, u64, u64)>,
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
    pub(super) releases: ReleaseQueue,
    pub(super) spare: Vec<Vec<Record>>,
}

impl Session {
    /// A session without a link. `number` names it among those of its dialer. `incarnation` is 0 at the dialer; the
    /// acceptor chooses it at random, not 0.
    pub fn new(mut config: SessionConfig, local: Local, number: u64, incarnation: u64) -> Self {
        config.message_max = config.message_max.min(MESSAGE_MAX);
        let lanes = config.lanes.clamp(1, LaneId::MAX.number());
        Self {
            local,
            peer: None,
            state: SessionState::Down,
            number,
            incarnation,
            confirmed: false,
            versions: (VERSION_MIN, VERSION_MAX),
            version: VERSION_MIN,
            link: 0,
            stale: 0,
            #[cfg(test)]
            planted: None,
            #[cfg(test)]
            newer: false,
            round_trip: RoundTrip::default(),
            lanes,
            frame_target: config.frame_target.clamp(1, FRAME_TARGET_MAX),
            heaviest: 1,
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
            to_revoke: VecDeque::new(),
            to_confirm: VecDeque::new(),
            dirty: VecDeque::new(),
            ack_at: None,
            ack_due: false,
            last_heard: Time::default(),
            next_ping: Time::default(),
            silent: false,
            events: VecDeque::new(),
            releases: ReleaseQueue::default(),
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

    /// The wire version in use: the newest that both ends speak.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Frames that were refused because they were written for an earlier link of the session.
    pub fn stale_frames(&self) -> u64 {
        self.stale
    }

    /// The smoothed time from a ping to its pong on this link; `None` before the first pong.
    pub fn smoothed_rtt(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    /// How many data lanes are used.
    pub fn lanes(&self) -> u8 {
        self.lanes
    }

    /// Largest body the peer accepts, in bytes.
    pub fn message_max(&self) -> u64 {
        self.peer_message_max.min(self.config.message_max)
    }

    /// How many signals wait for their ack.
    pub fn signals_waiting(&self) -> usize {
        self.signals.len()
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

    /// Whether the next event is an [`Event::Reset`]: releases that come with it concern what it hands over.
    pub fn reset_is_next(&self) -> bool {
        matches!(self.events.front(), Some(Event::Reset { .. }))
    }

    /// The next release.
    #[inline]
    pub fn poll_release(&mut self) -> Option<Release> {
        self.releases.pop()
    }

    /// The next releases that are alike, for owners whose work is less for all of them together.
    #[inline]
    pub fn poll_releases(&mut self) -> Option<Releases> {
        self.releases.pop_run()
    }

    /// Takes the vector of an [`Event::Records`] back, to be used again.
    pub fn recycle(&mut self, mut records: Vec<Record>) {
        records.clear();
        if self.spare.len() < 8 {
            self.spare.push(records);
        }
    }

    pub(super) fn lane_of(&self, flow: u32) -> LaneId {
        data_lane(flow, self.lanes)
    }

    /// The positions of a flow are to be told: at once if somebody waits for them, else with company.
    pub(super) fn mark(&mut self, flow: u32, urgent: bool, now: Time) {
        if let Some(receive) = self.receive_flows.get_mut(&flow)
            && !receive.dirty
        {
            receive.dirty = true;
            self.dirty.push_back(flow);
        }
        self.ack_soon(urgent, now);
    }

    pub(super) fn ack_soon(&mut self, urgent: bool, now: Time) {
        let delay = match urgent {
            true => Duration::ZERO,
            false => self.config.ack_delay,
        };
        self.ack_within(delay, now);
    }

    pub(super) fn ack_within(&mut self, delay: std::time::Duration, now: Time) {
        let at = now + delay;
        if !self.ack_due && self.ack_at.is_none_or(|earlier| at < earlier) {
            self.ack_at = Some(at);
        }
    }
}

/// The lane that a flow is pinned to.
pub(super) fn data_lane(flow: u32, lanes: u8) -> LaneId {
    LaneId::new(1 + (flow % u32::from(lanes)) as u8).unwrap_or(LaneId::CONTROL)
}
