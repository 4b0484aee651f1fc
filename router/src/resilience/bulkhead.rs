//! A bound on what one destination holds, so that a dead one does not take everything.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::{Ended, Permit, Refusal, RefusalReason, RouteGuard};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of a [`Bulkhead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadConfig {
    max_concurrent: u32,
    max_waiting: u32,
    max_wait: Duration,
}

impl BulkheadConfig {
    /// At most `max_concurrent` (1 to 1,000,000) messages in flight, and at most `max_waiting` (0 to 1,000,000) that wait
    /// for a place, each at most `max_wait` (up to an hour; without a queue it says nothing).
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] where a number cannot be.
    pub fn new(
        max_concurrent: u32,
        max_waiting: u32,
        max_wait: Duration,
    ) -> Result<Self, ConfigError> {
        within(
            "max_concurrent",
            f64::from(max_concurrent),
            1.0,
            1e6,
            "messages",
        )?;
        within("max_waiting", f64::from(max_waiting), 0.0, 1e6, "messages")?;
        let least = if max_waiting > 0 { 1.0 } else { 0.0 };
        duration("max_wait", max_wait, least, HOUR)?;
        Ok(Self {
            max_concurrent,
            max_waiting,
            max_wait,
        })
    }

    /// Whether messages may wait for a place at all.
    #[must_use]
    pub const fn has_queue(&self) -> bool {
        self.max_waiting > 0
    }
}

/// A place in the queue of a [`Bulkhead`]. It ends with [`Bulkhead::enter`] or [`Bulkhead::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place is left, or the queue stays longer for ever"]
pub struct Waiting {
    until: Time,
}

impl Waiting {
    /// When it has waited long enough: then it leaves.
    #[must_use]
    pub const fn until(&self) -> Time {
        self.until
    }
}

/// Bounded concurrency and a bounded queue for one destination, after Hystrix and resilience4j.
///
/// [`admit`](RouteGuard::admit) is for a message that goes now or not at all. A message that may wait takes a
/// place with [`wait`](Self::wait) and comes back when one has ended; nobody overtakes those that wait. The messages
/// themselves lie with the caller, who asks for them in their order. Its state is the shard's.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    config: BulkheadConfig,
    in_flight: u32,
    waiting: u32,
}

impl Bulkhead {
    /// An empty one.
    #[must_use]
    pub const fn new(config: BulkheadConfig) -> Self {
        Self {
            config,
            in_flight: 0,
            waiting: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many more may be in flight, those that wait included.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.config.max_concurrent - self.in_flight
    }

    /// Whether messages may wait for a place at all.
    #[must_use]
    pub const fn has_queue(&self) -> bool {
        self.config.has_queue()
    }

    /// Whether a message that has waited since then may take a place in the queue now, or wait on.
    ///
    /// # Errors
    ///
    /// The queue is full, or the message has waited as long as it may.
    pub fn check_queue(&self, since: Time, now: Time) -> Result<(), Refusal> {
        if self.waiting < self.config.max_waiting && now < since + self.config.max_wait {
            Ok(())
        } else {
            Err(Refusal::new(RefusalReason::BulkheadFull))
        }
    }

    /// A place in the queue for a message that waits since then: now, or earlier where it had to leave another place.
    ///
    /// # Errors
    ///
    /// The queue is full.
    pub fn wait(&mut self, since: Time) -> Result<Waiting, Refusal> {
        if self.waiting == self.config.max_waiting {
            return Err(Refusal::new(RefusalReason::BulkheadFull));
        }
        self.waiting += 1;
        Ok(Waiting {
            until: since + self.config.max_wait,
        })
    }

    /// The first of those that wait goes, if there is room.
    ///
    /// # Errors
    ///
    /// There is no room yet: the place in the queue comes back.
    pub fn enter(&mut self, waiting: Waiting) -> Result<Permit, Waiting> {
        if self.in_flight == self.config.max_concurrent {
            return Err(waiting);
        }
        self.leave(waiting);
        self.in_flight += 1;
        Ok(Permit(0))
    }

    /// It waits no longer: its time is over, or it was cancelled.
    pub fn leave(&mut self, _waiting: Waiting) {
        self.waiting -= 1;
    }
}

impl RouteGuard for Bulkhead {
    fn name(&self) -> &'static str {
        "bulkhead"
    }

    fn check(&self, _now: Time) -> Result<(), Refusal> {
        // A place that comes free belongs to those that wait.
        if self.in_flight + self.waiting < self.config.max_concurrent {
            Ok(())
        } else {
            Err(Refusal::new(RefusalReason::BulkheadFull))
        }
    }

    #[inline]
    fn admit(&mut self, now: Time) -> Result<Permit, Refusal> {
        self.check(now)?;
        self.in_flight += 1;
        Ok(Permit(0))
    }

    #[inline]
    fn ended(&mut self, permit: Permit, _ended: Ended, now: Time) {
        self.give_back(permit, now);
    }

    #[inline]
    fn give_back(&mut self, _permit: Permit, _now: Time) {
        debug_assert!(self.in_flight > 0, "a permit was settled twice");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn in_flight(&self) -> u64 {
        u64::from(self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::laws;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn bulkhead(concurrent: u32, waiting: u32) -> Bulkhead {
        Bulkhead::new(BulkheadConfig::new(concurrent, waiting, Duration::from_secs(1)).unwrap())
    }

    #[test]
    fn the_sixth_of_five_is_refused_and_goes_when_one_has_ended() {
        let mut bulkhead = bulkhead(5, 0);
        let now = Time::ZERO;
        let mut permits: Vec<_> = (0..5).map(|_| bulkhead.admit(now).unwrap()).collect();
        let refusal = bulkhead.admit(now).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::BulkheadFull);
        bulkhead.ended(permits.pop().unwrap(), Ended::success(Duration::ZERO), now);
        permits.push(bulkhead.admit(now).unwrap());
        for permit in permits {
            bulkhead.give_back(permit, now);
        }
        assert_eq!(bulkhead.in_flight(), 0);
    }

    #[test]
    fn nobody_overtakes_who_waits() {
        let mut bulkhead = bulkhead(1, 1);
        let first = bulkhead.admit(Time::ZERO).unwrap();
        let place = bulkhead.wait(Time::ZERO).unwrap();
        assert_eq!(place.until(), Time::ZERO + Duration::from_secs(1));
        assert!(
            bulkhead.wait(Time::ZERO).is_err(),
            "the queue has one place"
        );
        let place = bulkhead.enter(place).unwrap_err();
        bulkhead.give_back(first, Time::ZERO);
        assert!(
            bulkhead.admit(Time::ZERO).is_err(),
            "the place is not for a newcomer"
        );
        let second = bulkhead.enter(place).unwrap();
        bulkhead.give_back(second, Time::ZERO);
        assert!(bulkhead.check(Time::ZERO).is_ok());
    }

    #[test]
    fn time_that_was_waited_elsewhere_counts() {
        let mut bulkhead = bulkhead(1, 1);
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        assert!(bulkhead.check_queue(at(0), at(999)).is_ok());
        assert!(
            bulkhead.check_queue(at(0), at(1000)).is_err(),
            "it has waited as long as it may"
        );
        let place = bulkhead.wait(at(200)).unwrap();
        assert_eq!(place.until(), at(1200));
        assert!(
            bulkhead.check_queue(at(300), at(300)).is_err(),
            "it is full"
        );
        bulkhead.leave(place);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let make = |concurrent, waiting, wait| BulkheadConfig::new(concurrent, waiting, wait);
        assert!(make(0, 0, Duration::ZERO).is_err());
        assert!(
            make(1, 1, Duration::ZERO).is_err(),
            "a queue in which nobody may wait"
        );
        assert!(make(1, 0, Duration::ZERO).is_ok());
        assert!(make(1, 1, Duration::MAX).is_err());
    }

    #[test]
    fn it_keeps_the_laws() {
        laws::check_route_guard(|| Box::new(bulkhead(7, 0)));
    }

    proptest! {
        /// The plain model: a set of those in flight and a queue.
        #[test]
        fn it_is_the_model(
            concurrent in 1u32..6,
            queue in 0u32..4,
            steps in proptest::collection::vec(0u8..5, 0..200),
        ) {
            let mut bulkhead = bulkhead(concurrent, queue);
            let mut flying = Vec::new();
            let mut places = VecDeque::new();
            for step in steps {
                match step {
                    0 => {
                        let fits = flying.len() + places.len() < concurrent as usize;
                        let answer = bulkhead.admit(Time::ZERO);
                        prop_assert_eq!(answer.is_ok(), fits);
                        flying.extend(answer);
                    }
                    1 => {
                        let fits = places.len() < queue as usize;
                        let answer = bulkhead.wait(Time::ZERO);
                        prop_assert_eq!(answer.is_ok(), fits);
                        places.extend(answer);
                    }
                    2 => if let Some(place) = places.pop_front() {
                        let fits = flying.len() < concurrent as usize;
                        match bulkhead.enter(place) {
                            Ok(permit) => { prop_assert!(fits); flying.push(permit) }
                            Err(place) => { prop_assert!(!fits); places.push_front(place) }
                        }
                    },
                    3 => if let Some(place) = places.pop_back() { bulkhead.leave(place) },
                    _ => if let Some(permit) = flying.pop() { bulkhead.give_back(permit, Time::ZERO) },
                }
                prop_assert_eq!(bulkhead.in_flight(), flying.len() as u64);
                prop_assert_eq!(bulkhead.waiting() as usize, places.len());
            }
        }
    }
}
