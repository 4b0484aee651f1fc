//! The destinations of routes: which one a policy chooses, how much each has to do, and the copies for mirrors.
//!
//! What no policy reads is not kept up: a route without a mirror whose policy does not read the load costs nothing here.

use super::core::NodeCore;
use super::decide::{Decision, GroupMembers, NO_MEMBER, Out, RouteChoice, Selection};
use super::flow::{InFlowId, Tracked, from_token, is_tracked, token, token_without_flow};
use super::ledger::Outcome;
use super::peer::PeerId;
use crate::policy::{Choice, Destination, Meta};
use crate::resilience::{Ended, Refusal};
use foldhash::fast::FixedState;
use mcpbus_actors::Time;
use mcpbus_transport::wire::{AckLevel, Head, Record};
use slab::Slab;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of copies for mirrors that may be under way from one node, for the memory bound of a node with mirrors. What is
/// more is dropped.
pub const MIRROR_MEMORY: u64 = 4 << 20;
/// Most heads of copies that are remembered.
const HEADS_MAX: usize = 8192;

/// By address of a head and whether its copies go to another node: that head, and that of the copies.
type Heads = HashMap<(usize, bool), (Arc<Head>, Arc<Head>), FixedState>;

/// Copies for mirrors that are under way.
#[derive(Default)]
pub(super) struct Mirrored {
    /// What each weighs.
    copies: Slab<u64>,
    bytes: u64,
    heads: Heads,
}

impl Mirrored {
    /// The head of a copy: nobody waits for it.
    fn head(&mut self, head: &Arc<Head>, onward: bool) -> Arc<Head> {
        if self.heads.len() >= HEADS_MAX {
            self.heads.clear();
        }
        // The first of the two keeps the address its own.
        let known = self.heads.entry((Arc::as_ptr(head) as usize, onward));
        let made = known.or_insert_with(|| {
            let copy = Head {
                ack: AckLevel::None,
                hops: head.hops + u8::from(onward),
                ..Head::clone(head)
            };
            (head.clone(), Arc::new(copy))
        });
        made.1.clone()
    }
}

impl NodeCore {
    /// What was chosen for a message that had to wait, if that still holds.
    pub(super) fn still_chosen(
        &mut self,
        id: InFlowId,
        sequence: u64,
        route: &RouteChoice,
    ) -> Option<usize> {
        let chosen = self.inflows[id].chosen_destination?;
        if chosen.sequence != sequence || chosen.destination >= route.groups.len() {
            return None;
        }
        let group = &route.groups[chosen.destination];
        if !self.route_states[route.route].reads_load || self.is_reachable(group.as_ref()) {
            return Some(chosen.destination);
        }
        self.unchoose(id);
        None
    }

    /// What was chosen for the message at the front of a flow holds no more: it is chosen anew.
    pub(super) fn unchoose(&mut self, id: InFlowId) {
        if let Some(place) = &self.inflows[id].place {
            self.leave_place(id, place.sequence);
        }
        self.inflows[id].chosen = None;
        if let Some(chosen) = self.inflows[id].chosen_destination.take() {
            let state = self.route_states.get_mut(chosen.route);
            if let Some(given) = state.and_then(|state| state.given.get_mut(chosen.destination)) {
                *given = given.saturating_sub(1);
            }
        }
    }

    /// Asks the policy, with what it reads of the load, about a message that waits for room since then. Destinations whose guards let
    /// nothing through, and where it cannot wait either, are drained for it.
    pub(super) fn ask_policy(
        &mut self,
        meta: &Meta<'_>,
        route: &RouteChoice,
        since: Time,
        now: Time,
    ) -> Choice {
        let state = &mut self.route_states[route.route];
        if !state.keeps_load() {
            return state.policy.choose(meta, &route.destinations);
        }
        state.guards.begin(now);
        let state = &self.route_states[route.route];
        let known = route.destinations.iter().zip(&route.groups);
        let destinations: SmallVec<[Destination; 8]> = known
            .zip(&state.loads)
            .enumerate()
            .map(|(at, ((destination, group), load))| Destination {
                weight: match state.guards.check_or_wait(at, since, now) {
                    Ok(()) => state.guards.weight(at, &route.destinations),
                    Err(_) => 0,
                },
                healthy: !state.reads_load || self.is_reachable(group.as_ref()),
                in_flight: load.in_flight(),
                latency: load.latency(now),
                ..*destination
            })
            .collect();
        self.route_states[route.route]
            .policy
            .choose(meta, &destinations)
    }

    /// Whether a link is up that leads to a member of a group.
    fn is_reachable(&self, group: Option<&GroupMembers>) -> bool {
        let is_up = |peer: PeerId| {
            let peer = self.peers.get(peer);
            peer.is_some_and(|peer| peer.down_since.is_none())
        };
        let entries = group.into_iter().flat_map(|group| &group.entries);
        let mut entries = entries.filter_map(|index| self.entries.get(*index as usize));
        entries.any(|entry| {
            if entry.target.origin == self.config.id {
                entry.local.iter().any(|member| is_up(member.peer))
            } else {
                self.hop(entry.target.origin).is_some_and(is_up)
            }
        })
    }

    /// Notes which flow leads to the destination that was chosen for a message: the last of the selection, where its load
    /// is kept up. `None` while that is out of reach.
    pub(super) fn note_out(
        &mut self,
        id: InFlowId,
        route: usize,
        selection: &Selection,
    ) -> Option<()> {
        if !self.route_states[route].keeps_load() {
            return Some(());
        }
        let last: Selection = selection.last().into_iter().copied().collect();
        let out = self.flows_for(&last, false)?.first().copied();
        if let Some(chosen) = &mut self.inflows[id].chosen_destination {
            chosen.out = out;
        }
        Some(())
    }

    /// A message is about to be handed on: its copy for the mirror goes with it. Returns the flow of its destination if that is to
    /// hear how it ended.
    ///
    /// # Errors
    ///
    /// The guards of its destination let no more through since it was chosen.
    pub(super) fn chosen_goes(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        now: Time,
    ) -> Result<Option<Out>, Refusal> {
        let Some(chosen) = self.inflows[id].chosen_destination else {
            return Ok(None);
        };
        if chosen.sequence != sequence || (chosen.copy.is_none() && chosen.out.is_none()) {
            return Ok(None);
        }
        let state = &self.route_states[chosen.route];
        // Who replaced a route does not know what it sends.
        let out = chosen.out.filter(|_| state.replaced.is_none());
        let place = (chosen.route, chosen.destination);
        let permit = match out {
            Some(_) => self.enter_destination(id, sequence, place, now)?,
            None => None,
        };
        self.inflows[id].chosen_destination = None;
        if let Some(copy) = chosen.copy
            && !self.mirror(id, record, chosen.route, copy)
        {
            self.route_states[chosen.route].dropped += 1;
        }
        if let Some(out) = out {
            let loads = &mut self.route_states[chosen.route].loads;
            if let Some(load) = loads.get_mut(chosen.destination) {
                load.started();
            }
            let tracked = Tracked {
                route: chosen.route,
                destination: chosen.destination,
                since: now,
                permit,
                deadline: record.deadline,
                out,
                position: 0,
                told: false,
            };
            let (_, low) = from_token(token(id, sequence));
            self.watch_deadline(id, low, &tracked);
            self.route_states[chosen.route].tracked += 1;
            if let Some(earlier) = self.inflows[id].tracked.insert(low, tracked) {
                self.forget_deadline(id, low, &earlier);
                self.settle_load(earlier, None, now);
            }
        }
        Ok(out)
    }

    /// Hands a copy to a mirror, if it can go at once.
    fn mirror(&mut self, id: InFlowId, record: &Record, route: usize, copy: usize) -> bool {
        let Some(decision) = self
            .decision(id, &record.head)
            .map(|known| known.decision.clone())
        else {
            return false;
        };
        let Some(out) = self.mirror_out(&decision, copy, record) else {
            return false;
        };
        let cost = record.cost();
        if self.mirrored.bytes + cost > MIRROR_MEMORY {
            return false;
        }
        let head = self.mirrored.head(&record.head, out.onward);
        let Some(peer) = self.peers.get_mut(out.peer) else {
            return false;
        };
        if !peer.session.admits(out.flow, cost) {
            // The next one may find credit.
            peer.session.want(out.flow, 1, cost, cost);
            self.touch(out.peer);
            return false;
        }
        let mut record = Record {
            head,
            ..record.clone()
        };
        if let Some(extra) = &mut record.extra {
            // An answer of the mirror would come instead of that of the destination.
            extra.reply = None;
        }
        let number = self.mirrored.copies.insert(cost);
        self.mirrored.bytes += cost;
        let pushed = peer
            .session
            .push(out.flow, record, token_without_flow(number));
        debug_assert!(pushed.is_ok());
        self.touch(out.peer);
        self.count_route(route, copy);
        true
    }

    fn mirror_out(&mut self, decision: &Decision, copy: usize, record: &Record) -> Option<Out> {
        let key = record.key.map(|key| key.value());
        let group = decision.route.as_ref()?.groups.get(copy)?.as_ref()?;
        let mut selection = Selection::new();
        selection.push((group.choose(key)?, NO_MEMBER));
        self.choose_members(&mut selection, key).ok()?;
        self.flows_for(&selection, false)?.first().copied()
    }

    /// A copy for a mirror was taken over, or is gone.
    pub(super) fn mirrored_ended(&mut self, number: usize) {
        if let Some(cost) = self.mirrored.copies.try_remove(number) {
            self.mirrored.bytes = self.mirrored.bytes.saturating_sub(cost);
        }
    }

    /// The copy of a message that its destination has is back, or has ended with this outcome.
    pub(super) fn destination_done(&mut self, token: u64, outcome: Option<Outcome>, now: Time) {
        if !is_tracked(token) {
            return;
        }
        let (id, low) = from_token(token);
        let inflow = self.inflows.get_mut(id);
        if let Some(tracked) = inflow.and_then(|inflow| inflow.tracked.remove(&low)) {
            self.forget_deadline(id, low, &tracked);
            self.settle_load(tracked, outcome, now);
        }
    }

    fn settle_load(&mut self, tracked: Tracked, outcome: Option<Outcome>, now: Time) {
        let took = now.saturating_since(tracked.since);
        let ended = match outcome {
            Some(Outcome::Delivered) => Some(Ended::success(took)),
            Some(Outcome::Failed(failure)) => Some(Ended::failure(failure.into(), took)),
            Some(Outcome::Shed(_)) | None => None,
        };
        if let Some(state) = self.route_states.get_mut(tracked.route) {
            state.tracked = state.tracked.saturating_sub(1);
        }
        let place = (tracked.route, tracked.destination, tracked.permit);
        let (route, destination, permit) = self.present_place(place);
        let Some(state) = self.route_states.get_mut(route) else {
            return;
        };
        if let Some(load) = state.loads.get_mut(destination) {
            match ended {
                Some(_) => load.ended(took, now),
                None => load.given_back(),
            }
        }
        if !tracked.told {
            state.guards.ended(destination, permit, ended, now);
            self.offer_places(route, destination);
        }
    }

    /// A link is down: what waits for it may have to go elsewhere, where policies read the load.
    pub(super) fn reconsider_waiting(&mut self, peer: PeerId) {
        if !self.route_states.iter().any(|(_, state)| state.reads_load) {
            return;
        }
        let Some(state) = self.peers.get(peer) else {
            return;
        };
        let outgoing = state.outgoing.values();
        let waiting: Vec<InFlowId> = outgoing
            .flat_map(|out| out.waiters.iter().copied())
            .collect();
        self.version += 1;
        waiting.into_iter().for_each(|id| self.schedule(id));
    }

    pub(super) fn count_route(&mut self, route: usize, destination: usize) {
        if let Some(count) = self.route_states[route].given.get_mut(destination) {
            *count += 1;
        }
    }
}
