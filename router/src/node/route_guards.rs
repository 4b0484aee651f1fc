//! The guards of one route as a node keeps them.

use super::flow::InFlowId;
use super::places::{PlaceQueue, Ticket};
use crate::policy::{Destination, destination_id};
use crate::resilience::{
    Bulkhead, Canary, CanaryConfig, CanaryState, DestinationGuards, Ended, MessageGuards,
    OutlierDetection, Permit, Refusal, RefusalReason, RouteGuard, Version, Waiting,
};
use crate::routing::{LimitKey, Route, RouteLimit};
use mcpbus_actors::Time;
use std::time::Duration;

/// How often a canary is asked whether its step ends, where its time has passed but too few outcomes are known.
const CANARY_ASKS: Duration = Duration::from_secs(1);

/// The guards of one route.
pub(super) struct Guards {
    /// Asked once for each message.
    pub(super) message: MessageGuards,
    /// What has a limit of its own.
    pub(super) limit_key: Option<LimitKey>,
    /// By destination; empty where nothing stands before them.
    destinations: Vec<DestinationGuards>,
    /// Those that wait for room at each.
    queues: Vec<PlaceQueue>,
    outliers: Option<OutlierDetection>,
    canary: Option<Rollout>,
    /// The place of the fallback among the route's groups.
    pub(super) fallback: Option<usize>,
    hears: bool,
    /// Whether its limit lets messages wait for their turn.
    pub(super) delays: bool,
}

/// A canary and its place among the destinations.
struct Rollout {
    config: CanaryConfig,
    /// Its first step begins with the first message.
    canary: Option<Canary>,
    destination: usize,
    /// When it is asked whether its step ends.
    due: Option<Time>,
}

impl Guards {
    pub(super) fn new(route: &Route) -> Self {
        let guards = &route.guards;
        let ids: Vec<u64> = route
            .destinations
            .iter()
            .map(|to| destination_id(&to.group))
            .collect();
        // The route table has refused what cannot be.
        let guard = |id: &u64| DestinationGuards::new(&guards.destination, *id).unwrap_or_default();
        let stands = guards.destination != Default::default();
        let outliers = guards.outlier;
        let outliers = outliers.and_then(|config| OutlierDetection::new(config, &ids).ok());
        let rollout = guards.canary.as_ref().and_then(|config| {
            let mut places = route.destinations.iter();
            Some(Rollout {
                config: config.config.clone(),
                canary: None,
                due: None,
                destination: places.position(|to| to.group == config.group)?,
            })
        });
        let destinations: Vec<_> = match stands {
            true => ids.iter().map(guard).collect(),
            false => Vec::new(),
        };
        Self {
            message: guards.message_guards().unwrap_or_default(),
            limit_key: match guards.limit {
                Some(RouteLimit::Each(key, _)) => Some(key),
                _ => None,
            },
            queues: destinations.iter().map(|_| PlaceQueue::default()).collect(),
            destinations,
            outliers,
            canary: rollout,
            fallback: guards.fallback.as_ref().map(|_| route.groups().count() - 1),
            hears: guards.guard_destinations(),
            delays: guards.limit.is_some_and(|limit| limit.delays()),
        }
    }

    /// Takes over what is the same in the guards of a route that this one replaces; `moved` are the places of the groups that
    /// remain, there and here.
    pub(super) fn take_over(
        &mut self,
        old: &mut Self,
        (route, replaced): (&Route, &Route),
        moved: &[(usize, usize)],
    ) {
        if route.guards.destination == replaced.guards.destination {
            for &(from, to) in moved {
                let (old, new) = (&mut old.destinations, &mut self.destinations);
                if let (Some(old), Some(new)) = (old.get_mut(from), new.get_mut(to)) {
                    std::mem::swap(old, new);
                }
            }
        }
        if route.guards.outlier == replaced.guards.outlier
            && let Some(mut outliers) = old.outliers.take()
        {
            let ids = route
                .destinations
                .iter()
                .map(|to| destination_id(&to.group));
            outliers.set_destinations(&ids.collect::<Vec<_>>());
            self.outliers = Some(outliers);
        }
        if route.guards.canary == replaced.guards.canary
            && let (Some(old), Some(new)) = (&mut old.canary, &mut self.canary)
        {
            (new.canary, new.due) = (old.canary.take(), old.due.take());
        }
    }

    /// Whether destinations are to hear how messages ended.
    pub(super) fn guard_destinations(&self) -> bool {
        self.hears
    }

    /// Whether a destination lets messages through now.
    pub(super) fn check(&self, destination: usize, now: Time) -> Result<(), Refusal> {
        if let Some(outliers) = &self.outliers {
            outliers.check(destination, now)?;
        }
        let guard = self.destinations.get(destination);
        guard.map_or(Ok(()), |guard| guard.check(now))
    }

    /// The same for a message that may wait there, and waits since then.
    pub(super) fn check_or_wait(
        &self,
        destination: usize,
        since: Time,
        now: Time,
    ) -> Result<(), Refusal> {
        if let Some(outliers) = &self.outliers {
            outliers.check(destination, now)?;
        }
        let guard = self.destinations.get(destination);
        guard.map_or(Ok(()), |guard| guard.check_or_wait(since, now))
    }

    /// The same for a message that waits there: that others are before it is no refusal.
    pub(super) fn check_waiting(&self, destination: usize, now: Time) -> Result<(), Refusal> {
        if let Some(outliers) = &self.outliers {
            outliers.check(destination, now)?;
        }
        let guard = self.destinations.get(destination);
        guard.map_or(Ok(()), |guard| guard.check_waiting(now))
    }

    /// Whether messages for a destination have to wait for room there now.
    pub(super) fn must_wait(&self, destination: usize, now: Time) -> bool {
        let guard = self.destinations.get(destination);
        let bulkhead = guard.and_then(DestinationGuards::bulkhead);
        bulkhead.is_some_and(|bulkhead| bulkhead.has_queue() && bulkhead.check(now).is_err())
    }

    /// Whether messages can wait for room at a destination.
    pub(super) fn has_queue(&self, destination: usize) -> bool {
        let guard = self.destinations.get(destination);
        let bulkhead = guard.and_then(DestinationGuards::bulkhead);
        bulkhead.is_some_and(Bulkhead::has_queue)
    }

    /// How many messages wait for room at a destination.
    pub(super) fn waiting(&self, destination: usize) -> usize {
        self.queues.get(destination).map_or(0, PlaceQueue::len)
    }

    /// Whether this many messages have places at a destination, and none waits while there is room.
    pub(super) fn check_queue(&self, destination: usize, known: usize) -> Result<(), String> {
        let guard = self.destinations.get(destination);
        let Some(bulkhead) = guard.and_then(DestinationGuards::bulkhead) else {
            return match known {
                0 => Ok(()),
                _ => Err(format!("{known} wait where there is no queue")),
            };
        };
        let (waiting, offered) = self.queues[destination].parts();
        let (counted, room) = (bulkhead.waiting() as usize, bulkhead.room());
        let all = waiting + offered as usize;
        if (all, all) != (known, counted) || offered > room || waiting > 0 && offered < room {
            return Err(format!(
                "{known} places, {waiting} wait and {offered} were offered room in the queue, {counted} in the bulkhead with room for {room}"
            ));
        }
        Ok(())
    }

    /// A place in the queue of a destination for a message, by its flow and sequence, which waits since then.
    pub(super) fn wait(
        &mut self,
        destination: usize,
        message: (InFlowId, u64),
        since: Time,
        now: Time,
    ) -> Result<(Ticket, Waiting), Refusal> {
        self.check_or_wait(destination, since, now)?;
        let guard = self.destinations.get_mut(destination);
        let bulkhead = guard.and_then(DestinationGuards::bulkhead_mut);
        match self.queues.get_mut(destination).zip(bulkhead) {
            Some((queue, bulkhead)) => {
                let waiting = bulkhead.wait(since)?;
                Ok((queue.push(message), waiting))
            }
            None => Err(Refusal::new(RefusalReason::BulkheadFull)),
        }
    }

    /// The right to send a message to the destination that it has waited for.
    pub(super) fn enter(
        &mut self,
        destination: usize,
        ticket: Ticket,
        waiting: Waiting,
        now: Time,
    ) -> Result<Permit, (Waiting, Refusal)> {
        let Some(guard) = self.destinations.get_mut(destination) else {
            return Err((waiting, Refusal::new(RefusalReason::BulkheadFull)));
        };
        let permit = guard.enter(waiting, now)?;
        if let Some(queue) = self.queues.get_mut(destination) {
            queue.remove(ticket);
        }
        Ok(permit)
    }

    /// A message waits no longer.
    pub(super) fn leave(&mut self, destination: usize, ticket: Ticket, waiting: Waiting) {
        if let Some(queue) = self.queues.get_mut(destination) {
            queue.remove(ticket);
        }
        let guard = self.destinations.get_mut(destination);
        if let Some(bulkhead) = guard.and_then(DestinationGuards::bulkhead_mut) {
            bulkhead.leave(waiting);
        }
    }

    /// The next message that there is room for at a destination.
    pub(super) fn offer(&mut self, destination: usize) -> Option<(InFlowId, u64)> {
        let guard = self.destinations.get(destination)?;
        let room = guard.bulkhead()?.room();
        self.queues.get_mut(destination)?.offer(room)
    }

    /// The right to send a message to a destination; none is needed where nothing stands before it.
    pub(super) fn permit(
        &mut self,
        destination: usize,
        now: Time,
    ) -> Result<Option<Permit>, Refusal> {
        let guard = self.destinations.get_mut(destination);
        guard.map(|guard| guard.admit(now)).transpose()
    }

    /// A message comes: a canary that has not begun begins.
    pub(super) fn begin(&mut self, now: Time) {
        if let Some(rollout) = &mut self.canary
            && rollout.canary.is_none()
            && let Ok(canary) = Canary::new(rollout.config.clone(), now)
        {
            rollout.due = canary.next_timeout();
            rollout.canary = Some(canary);
        }
    }

    /// The weight of a destination among the others of its route: a canary has its share, the others share the rest.
    pub(super) fn weight(&self, at: usize, destinations: &[Destination]) -> u32 {
        let own = destinations[at].weight;
        let Some(rollout) = &self.canary else {
            return own;
        };
        let percent = rollout.canary.as_ref().map_or(0, Canary::weight);
        if at != rollout.destination {
            return own * (100 - percent);
        }
        let stable = destinations.iter().enumerate();
        let stable = stable.filter(|(place, to)| *place != at && to.mirror == 0);
        stable.map(|(_, to)| to.weight).sum::<u32>() * percent
    }

    /// A message that a destination had has ended, or has come back without an outcome.
    pub(super) fn ended(
        &mut self,
        destination: usize,
        permit: Option<Permit>,
        ended: Option<Ended>,
        now: Time,
    ) {
        if let (Some(guard), Some(permit)) = (self.destinations.get_mut(destination), permit) {
            match ended {
                Some(ended) => guard.ended(permit, ended, now),
                None => guard.give_back(permit, now),
            }
        }
        let Some(ended) = ended else {
            return;
        };
        if let Some(outliers) = &mut self.outliers
            && outliers.ended(destination, ended, now)
        {
            tracing::warn!(destination, "a destination is ejected: it fails too often");
        }
        if let Some(rollout) = &mut self.canary {
            let version = match destination == rollout.destination {
                true => Version::Canary,
                false => Version::Stable,
            };
            if let Some(canary) = &mut rollout.canary {
                let change = canary.ended(version, ended, now);
                rollout.changed(change, now);
            }
        }
    }

    /// Where the canary stands, for its destination.
    pub(super) fn canary(&self, destination: usize) -> Option<CanaryState> {
        let rollout = self.canary.as_ref();
        let rollout = rollout.filter(|rollout| rollout.destination == destination)?;
        rollout.canary.as_ref().map(Canary::state)
    }

    /// When one of them changes without a message.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let guards = self
            .destinations
            .iter()
            .filter_map(RouteGuard::next_timeout);
        let outliers = self.outliers.as_ref();
        let canary = self.canary.as_ref();
        guards
            .chain(outliers.and_then(OutlierDetection::next_timeout))
            .chain(canary.and_then(|rollout| rollout.due))
            .min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        for guard in &mut self.destinations {
            if guard.next_timeout().is_some_and(|at| at <= now) {
                guard.handle_timeout(now);
            }
        }
        if let Some(outliers) = &mut self.outliers {
            outliers.handle_timeout(now);
        }
        if let Some(rollout) = &mut self.canary
            && rollout.due.is_some_and(|due| due <= now)
        {
            let change = rollout.canary.as_mut();
            let change = change.and_then(|canary| canary.handle_timeout(now));
            rollout.changed(change, now);
        }
    }
}

impl Rollout {
    fn changed(&mut self, change: Option<CanaryState>, now: Time) {
        let Some(canary) = &self.canary else {
            return;
        };
        let next = canary.next_timeout();
        if self.due.is_none_or(|due| due <= now) || change.is_some() {
            self.due = next.map(|next| next.max(now + CANARY_ASKS));
        }
        let share = canary.weight();
        match change {
            Some(CanaryState::Step(step)) => tracing::info!(step, share, "a canary gets more"),
            Some(CanaryState::Promoted) => tracing::info!(share, "a canary is promoted"),
            Some(CanaryState::RolledBack(reason)) => {
                tracing::warn!(%reason, "a canary is rolled back");
            }
            None => {}
        }
    }
}
