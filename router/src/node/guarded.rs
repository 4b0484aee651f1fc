//! Guards of routes: whether a message goes on. The order stands in one place, [`NodeCore::choose_destination`]: message guards,
//! then the policy among the destinations whose guards let messages through, then the fallback. The permit of a destination is taken
//! when the message is handed on, and settled when its copy has ended.
//!
//! A message that has to wait for its turn, or for room at its destination, keeps its credit; what must stay behind it on its flow waits
//! too, the rest goes on. A route without guards costs a comparison.

use super::core::NodeCore;
use super::decide::RouteChoice;
use super::flow::{Admitted, ChosenDestination, InFlowId};
use super::places::Found;
use crate::policy::{Choice, Meta};
use crate::resilience::{Admission, Headers, MessageGuard, Refusal, RefusalReason};
use crate::routing::LimitKey;
use mcpbus_actors::Time;
use mcpbus_transport::wire::{Failure, Record};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Why a message does not go on now.
pub(super) enum Held {
    /// Its turn comes at this time.
    Until(Time),
    /// It fails.
    Refused(Failure),
}

fn failure(refusal: Refusal) -> Failure {
    if refusal.reason == RefusalReason::Expired {
        return Failure::Expired;
    }
    let after = refusal.retry_after;
    let millis = after.map_or(0, |after| after.as_nanos().div_ceil(1_000_000).max(1));
    Failure::Limited {
        retry_after: u32::try_from(millis).unwrap_or(u32::MAX),
    }
}

impl NodeCore {
    /// Which destination of its route a message goes to. One that has to wait keeps to the first answer and is counted once,
    /// unless the policy reads the load and its destination is out of reach by now.
    pub(super) fn choose_destination(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        route: &RouteChoice,
        now: Time,
    ) -> Result<Choice, Held> {
        if let Some(chosen) = self.still_chosen(id, sequence, route) {
            match self.find_place(id, sequence, record, (route.route, chosen), now) {
                Found::Room => return Ok(Choice::One(chosen)),
                Found::Place(wake) => return Err(Held::Until(wake)),
                Found::Neither(_) => self.unchoose(id),
            }
        }
        let diverted = self.admit_message(id, sequence, record, route.route, now)?;
        let choice = match diverted {
            None => {
                let mut meta = Meta::new(record.key, record.sequence, record.body.len());
                if let Some(extra) = &record.extra {
                    meta = meta.labelled(&extra.labels);
                }
                let since = self.waits_since(id, sequence, now);
                self.ask_policy(&meta, route, since, now)
            }
            Some(_) => Choice::None,
        };
        let (destination, copy) = match choice {
            Choice::One(destination) => (destination, None),
            Choice::Copied { to, copy } => (to, Some(copy)),
            Choice::All => return Ok(choice),
            Choice::None => {
                let since = self.waits_since(id, sequence, now);
                match self.fall_back(route, diverted, since, now) {
                    None => return Ok(choice),
                    Some(fallback) => (fallback?, None),
                }
            }
        };
        self.inflows[id].chosen_destination = Some(ChosenDestination {
            sequence,
            route: route.route,
            destination,
            copy,
            out: None,
        });
        self.count_route(route.route, destination);
        match self.find_place(id, sequence, record, (route.route, destination), now) {
            Found::Room => Ok(Choice::One(destination)),
            Found::Place(wake) => Err(Held::Until(wake)),
            Found::Neither(refusal) => {
                self.unchoose(id);
                Err(Held::Refused(failure(refusal)))
            }
        }
    }

    /// Asks the message guards, once for each message. `Some` diverts it.
    fn admit_message(
        &mut self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        route: usize,
        now: Time,
    ) -> Result<Option<Refusal>, Held> {
        if self.route_states[route].guards.message.is_empty() {
            return Ok(None);
        }
        let known = self.inflows[id].admitted;
        let from = match known {
            Some(known) if (known.sequence, known.route) == (sequence, route) => known.from,
            _ => {
                let headers = self.headers(id, sequence, record, route, now);
                let guards = &mut self.route_states[route].guards.message;
                let from = match guards.admit(&headers, now) {
                    Admission::Pass => now,
                    Admission::Until(turn) => turn,
                    Admission::Divert(refusal) => return Ok(Some(refusal)),
                    Admission::Refuse(refusal) => return Err(Held::Refused(failure(refusal))),
                };
                self.inflows[id].admitted = Some(Admitted {
                    sequence,
                    route,
                    from,
                    deadline: guards.deadline(&headers, now),
                });
                from
            }
        };
        if from > now {
            return Err(Held::Until(from));
        }
        Ok(None)
    }

    /// What the guards of a route read of a message.
    fn headers(
        &self,
        id: InFlowId,
        sequence: u64,
        record: &Record,
        route: usize,
        now: Time,
    ) -> Headers {
        Headers {
            deadline: record.deadline,
            priority: record.extra.as_ref().map_or(0, |extra| extra.priority),
            bytes: record.body.len(),
            limit_key: self.limit_key(id, record, route),
            ..Headers::new(self.inflows[id].arrivals.of(sequence).unwrap_or(now))
        }
    }

    /// Which of the limits of a route is a message's.
    pub(super) fn limit_key(&self, id: InFlowId, record: &Record, route: usize) -> u64 {
        match self.route_states[route].guards.limit_key {
            None => 0,
            Some(LimitKey::Key) => record.key.map_or(0, |key| key.value()),
            Some(LimitKey::Subject) => xxh3_64(record.head.subject.as_bytes()),
            Some(LimitKey::Identity) => {
                let peer = self.peers.get(self.inflows[id].peer);
                peer.map_or(0, |peer| xxh3_64(peer.identity.as_bytes()))
            }
        }
    }

    /// Gives a message the deadline that it has on its route.
    pub(super) fn assign_deadline(&self, id: InFlowId, sequence: u64, record: &mut Record) {
        let admitted = self.inflows[id].admitted;
        if let Some(admitted) = admitted.filter(|admitted| admitted.sequence == sequence) {
            record.deadline = admitted.deadline;
        }
    }

    /// Where a message goes that is diverted, or that every destination refuses: `None` where none refuses and it can only wait.
    fn fall_back(
        &self,
        route: &RouteChoice,
        diverted: Option<Refusal>,
        since: Time,
        now: Time,
    ) -> Option<Result<usize, Held>> {
        let guards = &self.route_states[route.route].guards;
        let refusals = route
            .destinations
            .iter()
            .enumerate()
            .filter_map(|(at, to)| {
                let asked = to.ready && guards.weight(at, &route.destinations) > 0;
                asked
                    .then(|| guards.check_or_wait(at, since, now).err())
                    .flatten()
            });
        let soonest = refusals.min_by_key(|refusal| refusal.retry_after.unwrap_or(Duration::MAX));
        let refusal = diverted.or(soonest)?;
        let fallback = guards.fallback.filter(|at| {
            let group = route.groups.get(*at);
            group.is_some_and(Option::is_some)
        });
        Some(fallback.ok_or(Held::Refused(failure(refusal))))
    }

    /// A message that was let through does not go after all.
    pub(super) fn not_admitted(&mut self, id: InFlowId, sequence: u64, record: &Record, now: Time) {
        let admitted = self.inflows[id].admitted;
        if let Some(admitted) = admitted.filter(|admitted| admitted.sequence == sequence) {
            self.inflows[id].admitted = None;
            let headers = self.headers(id, sequence, record, admitted.route, now);
            let guards = &mut self.route_states[admitted.route].guards.message;
            guards.give_back(&headers, now);
        }
    }

    /// When the next message has its turn, or a guard of a destination changes.
    pub(super) fn next_guard_timeout(&self) -> Option<Time> {
        let turn = self.turns.first().map(|(turn, ..)| *turn);
        let timed = self.timed_routes.iter();
        let states = timed.filter_map(|id| self.route_states.get(*id));
        let guards = states.filter_map(|state| state.guards.next_timeout());
        let overdue = self.overdue.first().map(|(deadline, ..)| *deadline);
        turn.into_iter().chain(guards).chain(overdue).min()
    }

    /// Lets those go on whose turn has come.
    pub(super) fn handle_guard_timeout(&mut self, now: Time) {
        while let Some(&(turn, id, sequence)) = self.turns.first()
            && turn <= now
        {
            self.turns.pop_first();
            self.waited(id, sequence, now);
            self.unpark(id, sequence);
            self.schedule(id);
        }
        self.tell_overdue(now);
        for id in &self.timed_routes {
            if let Some(state) = self.route_states.get_mut(*id) {
                state.guards.handle_timeout(now);
            }
        }
    }
}
