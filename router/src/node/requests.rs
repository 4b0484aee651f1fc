//! Requests that were handed on and not answered: who has them, so that a cancel can follow them and a requester hears when its
//! responder is gone.
//!
//! A request without an answer is forgotten when it has expired. At the limit no more are followed: they are answered all the
//! same, and end at their deadline.

use super::core::NodeCore;
use super::flow::{InFlowId, Purpose};
use super::ledger::Outcome;
use super::peer::PeerId;
use crate::cancelled::{Cancelled, RequestKey, request_key};
use crate::protocol::{CANCELS_MAX, Cancel, Signal};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::planted::{Fault, planted};
use mcpbus_transport::wire::{Failure, Record, ReplyAddress, Role};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Signals that may wait for a peer before cancels wait for those to be acknowledged, and go together.
const SIGNALS_AHEAD: usize = 16;
/// Cancels that may wait so for one peer.
const CANCELS_AHEAD: usize = 4096;

/// A request that was handed on.
struct UnderWay {
    deadline: Time,
    takers: SmallVec<[PeerId; 1]>,
}

/// The requests that a node follows.
pub(super) struct Requests {
    under_way: HashMap<RequestKey, UnderWay, FixedState>,
    deadlines: BTreeSet<(Time, RequestKey)>,
    cancelled: Cancelled,
    limit: usize,
}

impl Requests {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            under_way: HashMap::default(),
            deadlines: BTreeSet::new(),
            cancelled: Cancelled::new(limit),
            limit,
        }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether nobody waits for a request any more.
    #[inline]
    pub(super) fn is_cancelled(&self, record: &Record) -> bool {
        let extra = record.extra.as_ref();
        self.cancelled
            .contains(extra.and_then(|extra| extra.reply.as_ref()))
    }

    /// A peer is given a request. Whether it is followed.
    fn handed(
        &mut self,
        key: RequestKey,
        deadline: Option<Time>,
        taker: PeerId,
        now: Time,
    ) -> bool {
        while let Some(&(deadline, expired)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.under_way.remove(&expired);
        }
        if let Some(known) = self.under_way.get_mut(&key) {
            if !known.takers.contains(&taker) {
                known.takers.push(taker);
            }
            return true;
        }
        if self.under_way.len() >= self.limit {
            return false;
        }
        let deadline = deadline.unwrap_or(Time::MAX);
        let takers = SmallVec::from_slice(&[taker]);
        self.under_way.insert(key, UnderWay { deadline, takers });
        self.deadlines.insert((deadline, key));
        true
    }

    /// A request is over.
    pub(super) fn over(&mut self, key: RequestKey) {
        self.remove(key);
    }

    fn remove(&mut self, key: RequestKey) -> Option<UnderWay> {
        let known = self.under_way.remove(&key)?;
        self.deadlines.remove(&(known.deadline, key));
        Some(known)
    }

    /// A peer is gone. The requests that it had, in their order.
    pub(super) fn taker_gone(&mut self, taker: PeerId) -> Vec<RequestKey> {
        let mut had = Vec::new();
        let mut over = Vec::new();
        for (key, known) in &mut self.under_way {
            if known.takers.contains(&taker) {
                known.takers.retain(|other| *other != taker);
                had.push(*key);
                over.extend(known.takers.is_empty().then_some(*key));
            }
        }
        for key in over {
            self.remove(key);
        }
        had.sort_unstable();
        had
    }

    /// The requests of a requester, with the time that they have left.
    fn of_requester(&self, node: u128, session: u64, now: Time) -> Vec<(RequestKey, Duration)> {
        let all = self.under_way.iter();
        let its = all.filter(|((at, of, _), _)| (*at, *of) == (node, session));
        let mut its: Vec<(RequestKey, Duration)> = its
            .map(|(key, known)| (*key, known.deadline.saturating_since(now)))
            .collect();
        its.sort_unstable();
        its
    }
}

impl NodeCore {
    /// A request was handed to a peer.
    pub(super) fn follow_request(&mut self, request: &Record, taker: PeerId, now: Time) {
        let Some(reply) = request.extra.as_ref().and_then(|extra| extra.reply) else {
            return;
        };
        let followed = self
            .requests
            .handed(request_key(&reply), request.deadline, taker, now);
        let responder = self.peers.get(taker).map(|peer| peer.role);
        if followed && responder == Some(Role::Client) {
            self.reserve_reply(request);
        }
    }

    /// A client that may have had requests does not answer them: their requesters are told at once.
    pub(super) fn responder_gone(&mut self, id: PeerId) {
        for address in self.requests.taker_gone(id) {
            self.responder_lost(address);
        }
    }

    /// A client is gone: nobody waits for the answers to what it asked.
    pub(super) fn requester_gone(&mut self, serial: u64, now: Time) {
        let gone = self.requests.of_requester(self.config.id, serial, now);
        self.cancel_onward(gone, now);
    }

    /// A peer says that nobody waits for the answers to these requests, which came from it or are on their way.
    pub(super) fn cancel_heard(&mut self, id: PeerId, cancels: Vec<Cancel>, now: Time) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        let mut wanted: BTreeMap<RequestKey, Duration> = BTreeMap::new();
        for Cancel { mut address, left } in cancels {
            if peer.role == Role::Client {
                // It can cancel requests of its own only.
                address.node = self.config.id;
                address.session = peer.serial;
            }
            wanted.insert(request_key(&address), left);
        }
        let flows: Vec<InFlowId> = peer.incoming.values().copied().collect();
        for flow in flows.into_iter().chain(peer.detached.clone()) {
            self.withdraw(flow, &mut wanted, now);
        }
        self.cancel_onward(wanted, now);
    }

    /// Ends those of the requests that wait in a flow, and strikes off what was nowhere else.
    fn withdraw(&mut self, id: InFlowId, wanted: &mut BTreeMap<RequestKey, Duration>, now: Time) {
        let Some(inflow) = self.inflows.get(id) else {
            return;
        };
        if matches!(inflow.purpose, Purpose::Replies) || !inflow.has_waiting() {
            return;
        }
        let queued = inflow
            .queue
            .iter()
            .map(|(sequence, record)| (*sequence, record));
        let parked = inflow.parked.iter().flat_map(|parked| parked.records());
        let found: Vec<(u64, RequestKey)> = queued
            .chain(parked)
            .filter_map(|(sequence, record)| {
                let reply = record.extra.as_ref()?.reply.as_ref()?;
                let key = request_key(reply);
                wanted.contains_key(&key).then_some((sequence, key))
            })
            .collect();
        for (sequence, key) in found {
            self.unpark(id, sequence);
            let inflow = &mut self.inflows[id];
            let place = inflow
                .queue
                .partition_point(|(waiting, _)| *waiting < sequence);
            let Some((_, record)) = inflow.queue.remove(place) else {
                continue;
            };
            inflow.chosen.take_if(|chosen| chosen.sequence == sequence);
            let outcome = Outcome::Failed(Failure::Cancelled);
            self.end(id, sequence, &record, outcome, now);
            // One that was taken back may have other copies out.
            if !self.requests.under_way.contains_key(&key) {
                wanted.remove(&key);
            }
            self.schedule(id);
        }
    }

    /// Sends cancels after requests that were handed on, and notes them for those that are still to come.
    fn cancel_onward(
        &mut self,
        requests: impl IntoIterator<Item = (RequestKey, Duration)>,
        now: Time,
    ) {
        let mut onward: BTreeMap<PeerId, Vec<Cancel>> = BTreeMap::new();
        for (key, left) in requests {
            if !planted(Fault::EarlyCancelForgotten) {
                self.requests.cancelled.insert(key, left, now);
            }
            let Some(known) = self.requests.remove(key) else {
                continue;
            };
            let (node, session, correlation) = key;
            let address = ReplyAddress {
                node,
                session,
                correlation,
            };
            if planted(Fault::CancelStays) {
                continue;
            }
            for taker in known.takers {
                onward
                    .entry(taker)
                    .or_default()
                    .push(Cancel { address, left });
            }
        }
        for (taker, cancels) in onward {
            if let Some(peer) = self.peers.get_mut(taker) {
                // Beyond that the requests end at their deadlines.
                let room = CANCELS_AHEAD.saturating_sub(peer.cancels.len());
                peer.cancels.extend(cancels.into_iter().take(room));
            }
            self.send_cancels(taker);
        }
    }

    /// Tells a peer which of the requests that it has are cancelled, as far as it keeps up with its signals.
    pub(super) fn send_cancels(&mut self, id: PeerId) {
        while let Some(peer) = self.peers.get_mut(id)
            && !peer.cancels.is_empty()
            && peer.session.signals_waiting() < SIGNALS_AHEAD
        {
            let count = peer.cancels.len().min(CANCELS_MAX);
            let requests = peer.cancels.drain(..count).collect();
            self.tell(id, &Signal::Cancel { requests });
        }
    }
}
