//! Several guards as one.

use super::{
    Adaptive, AdaptiveConfig, Admission, Breaker, BreakerConfig, Bulkhead, BulkheadConfig,
    ConfigError, Deadline, Ended, Headers, MessageGuard, Permit, Refusal, RefusalReason,
    RouteGuard, Scope, Waiting,
};
use super::{adaptive, breaker};
use mcpbus_actors::Time;

/// The message guards of one route, in the order in which they are asked: what costs nothing to refuse first.
///
/// The first that refuses or diverts decides, and those before it get back what they gave. When several make the message
/// wait, it goes when the last of them lets it.
#[derive(Default)]
pub struct MessageGuards {
    deadline: Option<Deadline>,
    guards: Vec<Box<dyn MessageGuard>>,
}

impl MessageGuards {
    /// None: everything passes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the route's deadlines, which are asked first: the others go by the deadline that they give.
    #[must_use]
    pub fn with_deadline(self, deadline: Deadline) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// The deadline that the message has on this route; it travels on with it.
    #[must_use]
    pub fn deadline(&self, headers: &Headers, now: Time) -> Option<Time> {
        match &self.deadline {
            Some(deadline) => deadline.assign(headers, now),
            None => headers.deadline,
        }
    }

    /// With one more, which is asked last.
    #[must_use]
    pub fn with(mut self, guard: impl MessageGuard + 'static) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deadline.is_none() && self.guards.is_empty()
    }

    /// The names of the guards, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let deadline = self.deadline.iter().map(|guard| guard.name());
        deadline.chain(self.guards.iter().map(|guard| guard.name()))
    }
}

impl MessageGuard for MessageGuards {
    fn name(&self) -> &'static str {
        "guards"
    }

    #[inline]
    fn admit(&mut self, headers: &Headers, now: Time) -> Admission {
        let mut headers = *headers;
        if let Some(deadline) = &mut self.deadline {
            let answer = deadline.admit(&headers, now);
            if answer != Admission::Pass {
                return answer;
            }
            headers.deadline = deadline.assign(&headers, now);
        }
        let mut all = Admission::Pass;
        for index in 0..self.guards.len() {
            match self.guards[index].admit(&headers, now) {
                Admission::Pass => {}
                Admission::Until(turn) => {
                    all = match all {
                        Admission::Until(other) => Admission::Until(turn.max(other)),
                        _ => Admission::Until(turn),
                    };
                }
                refused @ (Admission::Refuse(_) | Admission::Divert(_)) => {
                    for guard in &mut self.guards[..index] {
                        guard.give_back(&headers, now);
                    }
                    return refused;
                }
            }
        }
        all
    }

    fn give_back(&mut self, headers: &Headers, now: Time) {
        for guard in &mut self.guards {
            guard.give_back(headers, now);
        }
    }

    /// The widest of theirs.
    fn scope(&self) -> Scope {
        let scopes = self.guards.iter().map(|guard| guard.scope());
        scopes.fold(Scope::Stateless, |widest, scope| match (widest, scope) {
            (Scope::Node, _) | (_, Scope::Node) => Scope::Node,
            (Scope::Shard, _) | (_, Scope::Shard) => Scope::Shard,
            _ => Scope::Stateless,
        })
    }
}

/// Which guards stand before each destination of a route.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct DestinationGuardsConfig {
    /// The circuit breaker.
    pub breaker: Option<BreakerConfig>,
    /// Bounded concurrency.
    pub bulkhead: Option<BulkheadConfig>,
    /// Concurrency that finds its bound.
    pub adaptive: Option<AdaptiveConfig>,
}

/// The guards of one destination as one, without a table of functions: they are asked for each message.
///
/// All of them must agree. The breaker is asked last, so that a trial is not used up by a message that finds no room.
#[derive(Clone, Debug, Default)]
pub struct DestinationGuards {
    bulkhead: Option<Bulkhead>,
    adaptive: Option<Adaptive>,
    breaker: Option<Breaker>,
    in_flight: u64,
}

/// Bits of a permit that are the breaker's; the others are those of adaptive concurrency.
const BREAKER_BITS: u32 = breaker::PERIODS.ilog2();
const _: () = assert!(BREAKER_BITS + adaptive::PERIODS.ilog2() <= u64::BITS);

impl DestinationGuards {
    /// Fresh guards. `seed` is for what they leave to chance; another for each destination.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: &DestinationGuardsConfig, seed: u64) -> Result<Self, ConfigError> {
        let breaker = config.breaker.as_ref();
        Ok(Self {
            bulkhead: config.bulkhead.map(Bulkhead::new),
            adaptive: config.adaptive.map(Adaptive::new).transpose()?,
            breaker: breaker
                .map(|breaker| Breaker::new(breaker, seed))
                .transpose()?,
            in_flight: 0,
        })
    }

    /// The circuit breaker, for reports.
    #[must_use]
    pub const fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// The bulkhead, for reports.
    #[must_use]
    pub const fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// The bulkhead, for places in its queue.
    pub const fn bulkhead_mut(&mut self) -> Option<&mut Bulkhead> {
        self.bulkhead.as_mut()
    }

    /// Adaptive concurrency, for reports.
    #[must_use]
    pub const fn adaptive(&self) -> Option<&Adaptive> {
        self.adaptive.as_ref()
    }

    /// Whether one that may wait for a place of the bulkhead is let through, now or then. `since` is when it began to wait.
    ///
    /// # Errors
    ///
    /// The bulkhead's queue is full too, the message has waited as long as it may, or another guard refuses.
    pub fn check_or_wait(&self, since: Time, now: Time) -> Result<(), Refusal> {
        if let Some(bulkhead) = &self.bulkhead
            && let Err(full) = bulkhead.check(now)
        {
            bulkhead.check_queue(since, now).map_err(|_| full)?;
        }
        self.check_others(now)
    }

    /// As [`check`](RouteGuard::check), for one that has a place in the bulkhead's queue: that it is full is no obstacle.
    ///
    /// # Errors
    ///
    /// A guard besides the bulkhead refuses, or there is no queue and the bulkhead does.
    pub fn check_waiting(&self, now: Time) -> Result<(), Refusal> {
        match &self.bulkhead {
            Some(bulkhead) if !bulkhead.has_queue() => self.check(now),
            _ => self.check_others(now),
        }
    }

    /// Lets one go that has a place in the bulkhead's queue. The caller asks for them in their order.
    ///
    /// # Errors
    ///
    /// There is no room yet, or another guard refuses: the place comes back.
    pub fn enter(&mut self, waiting: Waiting, now: Time) -> Result<Permit, (Waiting, Refusal)> {
        let full = Refusal::new(RefusalReason::BulkheadFull);
        let Some(bulkhead) = self.bulkhead.as_mut().filter(|known| known.room() > 0) else {
            return Err((waiting, full));
        };
        // The breaker comes last of those that may refuse, so that a trial is not used up in vain.
        let breaker = check(&self.adaptive, now).and_then(|()| admit(&mut self.breaker, now));
        let breaker = match breaker {
            Ok(permit) => permit,
            Err(refusal) => return Err((waiting, refusal)),
        };
        // Neither refuses what it has just been found to allow.
        let _says_nothing = bulkhead.enter(waiting).map_err(|waiting| (waiting, full))?;
        let adaptive = admit(&mut self.adaptive, now).unwrap_or_default();
        self.in_flight += 1;
        Ok(Permit(breaker | adaptive << BREAKER_BITS))
    }

    fn check_others(&self, now: Time) -> Result<(), Refusal> {
        check(&self.adaptive, now)?;
        check(&self.breaker, now)
    }

    /// The permits of the parts; a bulkhead's says nothing.
    #[inline]
    fn settle(&mut self, permit: Permit, now: Time, ended: Option<Ended>) {
        debug_assert!(self.in_flight > 0, "a permit was settled twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        let breaker = Permit(permit.0 & ((1 << BREAKER_BITS) - 1));
        let adaptive = Permit(permit.0 >> BREAKER_BITS);
        settle(&mut self.breaker, breaker, now, ended);
        settle(&mut self.adaptive, adaptive, now, ended);
        settle(&mut self.bulkhead, Permit(0), now, ended);
    }
}

#[inline]
fn settle(guard: &mut Option<impl RouteGuard>, permit: Permit, now: Time, ended: Option<Ended>) {
    let Some(guard) = guard else { return };
    match ended {
        Some(ended) => guard.ended(permit, ended, now),
        None => guard.give_back(permit, now),
    }
}

#[inline]
fn check(guard: &Option<impl RouteGuard>, now: Time) -> Result<(), Refusal> {
    guard.as_ref().map_or(Ok(()), |guard| guard.check(now))
}

#[inline]
fn admit(guard: &mut Option<impl RouteGuard>, now: Time) -> Result<u64, Refusal> {
    guard
        .as_mut()
        .map_or(Ok(0), |guard| Ok(guard.admit(now)?.0))
}

impl RouteGuard for DestinationGuards {
    fn name(&self) -> &'static str {
        "destination"
    }

    #[inline]
    fn check(&self, now: Time) -> Result<(), Refusal> {
        check(&self.bulkhead, now)?;
        check(&self.adaptive, now)?;
        check(&self.breaker, now)
    }

    #[inline]
    fn admit(&mut self, now: Time) -> Result<Permit, Refusal> {
        check(&self.bulkhead, now)?;
        check(&self.adaptive, now)?;
        let breaker = admit(&mut self.breaker, now)?;
        // Neither refuses what it has just been found to allow.
        admit(&mut self.bulkhead, now)?;
        let adaptive = admit(&mut self.adaptive, now)?;
        self.in_flight += 1;
        Ok(Permit(breaker | adaptive << BREAKER_BITS))
    }

    #[inline]
    fn ended(&mut self, permit: Permit, ended: Ended, now: Time) {
        self.settle(permit, now, Some(ended));
    }

    #[inline]
    fn give_back(&mut self, permit: Permit, now: Time) {
        self.settle(permit, now, None);
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn next_timeout(&self) -> Option<Time> {
        self.breaker.as_ref().and_then(Breaker::next_timeout)
    }

    fn handle_timeout(&mut self, now: Time) {
        if let Some(breaker) = &mut self.breaker {
            breaker.handle_timeout(now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::{
        Deadline, DeadlineConfig, ErrorClass, LeakyBucket, LeakyBucketConfig, Shed, ShedConfig,
        TokenBucket, TokenBucketConfig, WhenLimited, laws,
    };
    use std::time::Duration;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn tokens(rate: f64, burst: u32, when_limited: WhenLimited) -> TokenBucket {
        TokenBucket::new(TokenBucketConfig::new(rate, burst, when_limited).unwrap())
    }

    #[test]
    fn a_refusal_gives_back_what_the_guards_before_it_gave() {
        let mut guards = MessageGuards::new()
            .with(tokens(1.0, 2, WhenLimited::Reject))
            .with(Deadline::new(DeadlineConfig::default()).unwrap());
        let late = Headers::default().deadline(at(1));
        for _ in 0..10 {
            let expired = Admission::Refuse(Refusal::new(RefusalReason::Expired));
            assert_eq!(guards.admit(&late, at(1)), expired);
        }
        assert_eq!(guards.admit(&Headers::default(), at(1)), Admission::Pass);
        assert_eq!(guards.admit(&Headers::default(), at(1)), Admission::Pass);
        assert!(matches!(
            guards.admit(&Headers::default(), at(1)),
            Admission::Refuse(_)
        ));
    }

    #[test]
    fn the_deadline_of_the_route_counts_for_all() {
        let second = Some(Duration::from_secs(1));
        let config = DeadlineConfig {
            default_ttl: second,
            ..DeadlineConfig::default()
        };
        let patient = WhenLimited::Delay {
            max: Duration::from_secs(60),
        };
        let mut guards = MessageGuards::new()
            .with_deadline(Deadline::new(config).unwrap())
            .with(tokens(0.5, 1, patient));
        let message = Headers::new(at(0));
        assert_eq!(guards.deadline(&message, at(0)), Some(at(1000)));
        assert_eq!(guards.admit(&message, at(0)), Admission::Pass);
        assert!(
            matches!(guards.admit(&message, at(0)), Admission::Refuse(_)),
            "its turn is after a second"
        );
        let patient = message.deadline(at(5000));
        assert_eq!(guards.admit(&patient, at(0)), Admission::Until(at(2000)));
        assert_eq!(
            guards.names().collect::<Vec<_>>(),
            ["deadline", "token_bucket"]
        );
    }

    #[test]
    fn of_several_turns_the_last_counts() {
        let patient = WhenLimited::Delay {
            max: Duration::from_secs(60),
        };
        let leaky = LeakyBucket::new(LeakyBucketConfig::new(2.0, patient).unwrap());
        let mut guards = MessageGuards::new()
            .with(tokens(1.0, 1, patient))
            .with(leaky);
        assert_eq!(guards.admit(&Headers::default(), at(0)), Admission::Pass);
        assert_eq!(
            guards.admit(&Headers::default(), at(0)),
            Admission::Until(at(1000))
        );
        assert_eq!(
            guards.names().collect::<Vec<_>>(),
            ["token_bucket", "leaky_bucket"]
        );
        assert_eq!(guards.scope(), Scope::Shard);
    }

    fn all() -> DestinationGuardsConfig {
        DestinationGuardsConfig {
            breaker: Some(BreakerConfig::default()),
            bulkhead: Some(BulkheadConfig::new(7, 0, Duration::ZERO).unwrap()),
            adaptive: Some(AdaptiveConfig::default()),
        }
    }

    #[test]
    fn a_full_bulkhead_does_not_use_up_the_trial() {
        let config = DestinationGuardsConfig {
            adaptive: None,
            ..all()
        };
        let mut guards = DestinationGuards::new(&config, 1).unwrap();
        let stuck: Vec<_> = (0..6).map(|_| guards.admit(at(0)).unwrap()).collect();
        for _ in 0..20 {
            let permit = guards.admit(at(0)).unwrap();
            let failed = Ended::failure(ErrorClass::Timeout, Duration::ZERO);
            guards.ended(permit, failed, at(0));
        }
        let refused = guards.admit(at(1)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::CircuitOpen);
        let trial = guards.admit(at(6000)).unwrap();
        let full = guards.admit(at(6000)).unwrap_err();
        assert_eq!(full.reason, RefusalReason::BulkheadFull);
        guards.ended(trial, Ended::success(Duration::ZERO), at(6001));
        stuck
            .into_iter()
            .for_each(|permit| guards.give_back(permit, at(6001)));
        assert_eq!(guards.in_flight(), 0);
        assert!(guards.check(at(6001)).is_ok());
    }

    #[test]
    fn one_that_waits_goes_in_its_turn_and_a_breaker_that_opens_meanwhile_gives_its_place_back() {
        let config = DestinationGuardsConfig {
            bulkhead: Some(BulkheadConfig::new(1, 1, Duration::from_secs(9)).unwrap()),
            adaptive: None,
            breaker: Some(BreakerConfig {
                request_volume_threshold: 1,
                ..BreakerConfig::default()
            }),
        };
        let mut guards = DestinationGuards::new(&config, 1).unwrap();
        let first = guards.admit(at(0)).unwrap();
        assert!(guards.check(at(0)).is_err());
        assert!(guards.check_or_wait(at(0), at(0)).is_ok());
        let place = guards.bulkhead_mut().unwrap().wait(at(0)).unwrap();
        assert!(guards.check_or_wait(at(0), at(0)).is_err(), "it is full");
        let (place, full) = guards.enter(place, at(1)).unwrap_err();
        assert_eq!(full.reason, RefusalReason::BulkheadFull);
        guards.ended(first, Ended::success(Duration::ZERO), at(1));
        let second = guards.enter(place, at(1)).unwrap();
        let place = guards.bulkhead_mut().unwrap().wait(at(1)).unwrap();
        assert!(guards.check_waiting(at(2)).is_ok());
        let failed = Ended::failure(ErrorClass::Timeout, Duration::ZERO);
        guards.ended(second, failed, at(2));
        let refused = guards.check_waiting(at(2)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::CircuitOpen);
        let (place, refused) = guards.enter(place, at(2)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::CircuitOpen);
        assert_eq!(guards.in_flight(), 0);
        guards.bulkhead_mut().unwrap().leave(place);
        assert_eq!(guards.bulkhead().unwrap().waiting(), 0);
    }

    #[test]
    fn chains_keep_the_laws() {
        laws::check_message_guard(|| {
            Box::new(
                MessageGuards::new()
                    .with_deadline(Deadline::new(DeadlineConfig::default()).unwrap())
                    .with(Shed::new(&ShedConfig::default()).unwrap())
                    .with(tokens(
                        70.0,
                        5,
                        WhenLimited::Delay {
                            max: Duration::from_millis(50),
                        },
                    )),
            )
        });
        laws::check_route_guard(|| Box::new(DestinationGuards::new(&all(), 3).unwrap()));
        let none = DestinationGuardsConfig::default();
        laws::check_route_guard(|| Box::new(DestinationGuards::new(&none, 3).unwrap()));
    }
}
