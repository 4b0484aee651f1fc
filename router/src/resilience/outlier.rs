//! Destinations that do worse than they should are left out for a time.

use super::config_error::{ConfigError, HOUR, duration, within};
use super::{Ended, Refusal, RefusalReason};
use mcpbus_actors::Time;
use std::time::Duration;

/// The setting of [`OutlierDetection`], with Envoy's names where it has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierConfig {
    /// Failures one after the other that eject a destination at once: 1 to 1,000,000 (default 5).
    pub consecutive_failures: u32,
    /// Share of failures within an interval, in percent, that ejects at its end: above 0, up to 100 (default 85).
    pub failure_percentage: f64,
    /// Outcomes within an interval below which the share says nothing: 1 to 1,000,000 (default 50).
    pub request_volume: u32,
    /// Length of an interval: 10 ms to an hour (default 10 s).
    pub interval: Duration,
    /// How long the first ejection lasts; the second twice as long, the third three times: 1 ms to an hour (default
    /// 30 s).
    pub base_ejection_time: Duration,
    /// How long one lasts at most: not below the first, up to an hour (default 300 s).
    pub max_ejection_time: Duration,
    /// Most destinations that are ejected at a time, in percent of all: above 0, up to 100 (default 50). At least one may
    /// be, and never the last one.
    pub max_ejection_percentage: f64,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percentage: 85.0,
            request_volume: 50,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percentage: 50.0,
        }
    }
}

impl OutlierConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let failures = f64::from(self.consecutive_failures);
        within("consecutive_failures", failures, 1.0, 1e6, "failures")?;
        within(
            "failure_percentage",
            self.failure_percentage,
            0.01,
            100.0,
            "percent",
        )?;
        within(
            "request_volume",
            f64::from(self.request_volume),
            1.0,
            1e6,
            "calls",
        )?;
        within(
            "max_ejection_percentage",
            self.max_ejection_percentage,
            0.01,
            100.0,
            "percent",
        )?;
        duration("interval", self.interval, 10.0, HOUR)?;
        duration("base_ejection_time", self.base_ejection_time, 1.0, HOUR)?;
        duration("max_ejection_time", self.max_ejection_time, 1.0, HOUR)?;
        if self.base_ejection_time > self.max_ejection_time {
            return Err(ConfigError::Contradiction {
                larger: "base_ejection_time",
                smaller: "max_ejection_time",
                advice: "the first ejection cannot be longer than the longest; raise the longest",
            });
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Destination {
    id: u64,
    consecutive: u32,
    all: u64,
    failed: u64,
    /// How many ejections its next one is long, less one; falls with each interval without one.
    ejections: u32,
    ejected_until: Option<Time>,
}

/// Watches the destinations of one route and ejects those that fail, after Envoy's outlier detection.
///
/// A destination is ejected when it fails so many times one after the other, or when at the end of an interval too
/// large a share of its outcomes were failures. Each ejection lasts longer than the one before; intervals without one
/// shorten the next again. When all do badly it is not the destinations: so only a part of them is ejected, and never
/// the last. Errors that say nothing about the destination are not counted. Outcomes of a destination that is ejected,
/// of calls from before, are not counted.
///
/// Destinations are asked about by their place in the list. Its state is the shard's.
#[derive(Clone, Debug)]
pub struct OutlierDetection {
    config: OutlierConfig,
    destinations: Vec<Destination>,
    /// When the present interval ends; it begins with the first outcome.
    interval_ends: Option<Time>,
}

impl OutlierDetection {
    /// For the destinations with these stable ids.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a setting cannot be.
    pub fn new(config: OutlierConfig, ids: &[u64]) -> Result<Self, ConfigError> {
        config.check()?;
        let mut detection = Self {
            config,
            destinations: Vec::new(),
            interval_ends: None,
        };
        detection.set_destinations(ids);
        Ok(detection)
    }

    /// The list has changed: what is known of those that remain is kept.
    pub fn set_destinations(&mut self, ids: &[u64]) {
        let mut old = std::mem::take(&mut self.destinations);
        let known = |id: &u64| {
            let place = old.iter().position(|destination| destination.id == *id);
            place
                .map(|place| old.swap_remove(place))
                .unwrap_or(Destination {
                    id: *id,
                    ..Destination::default()
                })
        };
        self.destinations = ids.iter().map(known).collect();
    }

    /// Whether a message may go to the destination at this place; to one that is not in the list it may.
    ///
    /// # Errors
    ///
    /// It is ejected; the refusal says for how long.
    #[inline]
    pub fn check(&self, index: usize, now: Time) -> Result<(), Refusal> {
        match self.destinations.get(index).and_then(|d| d.ejected_until) {
            Some(until) if until > now => Err(Refusal::after(
                RefusalReason::Ejected,
                until.saturating_since(now),
            )),
            _ => Ok(()),
        }
    }

    /// How many are ejected.
    #[must_use]
    pub fn ejected(&self, now: Time) -> usize {
        let ejected = |d: &&Destination| d.ejected_until.is_some_and(|until| until > now);
        self.destinations.iter().filter(ejected).count()
    }

    /// An attempt at the destination at this place has ended. True if the destination is ejected for it.
    pub fn ended(&mut self, index: usize, ended: Ended, now: Time) -> bool {
        self.handle_timeout(now);
        let Some(destination) = self.destinations.get_mut(index) else {
            return false;
        };
        let Some(failed) = ended.counts_as_failure() else {
            return false;
        };
        if destination.ejected_until.is_some() {
            return false;
        }
        self.interval_ends.get_or_insert(now + self.config.interval);
        destination.all += 1;
        if !failed {
            destination.consecutive = 0;
            return false;
        }
        destination.failed += 1;
        destination.consecutive += 1;
        destination.consecutive >= self.config.consecutive_failures && self.eject(index, now)
    }

    /// Ejects it, if there is room among those that are.
    fn eject(&mut self, index: usize, now: Time) -> bool {
        let count = self.destinations.len();
        let most = (count as f64 * self.config.max_ejection_percentage / 100.0) as usize;
        if self.ejected(now) >= most.max(1).min(count.saturating_sub(1)) {
            return false;
        }
        let destination = &mut self.destinations[index];
        destination.ejections += 1;
        let time = self
            .config
            .base_ejection_time
            .saturating_mul(destination.ejections);
        destination.ejected_until = Some(now + time.min(self.config.max_ejection_time));
        destination.consecutive = 0;
        true
    }

    /// When something changes without a call: a destination comes back, or an interval ends.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let back = self.destinations.iter().filter_map(|d| d.ejected_until);
        back.chain(self.interval_ends).min()
    }

    /// What [`next_timeout`](Self::next_timeout) said has come. Too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_timeout().is_none_or(|next| next > now) {
            return;
        }
        for destination in &mut self.destinations {
            if destination.ejected_until.is_some_and(|until| until <= now) {
                // It comes back with a clean slate.
                *destination = Destination {
                    id: destination.id,
                    ejections: destination.ejections,
                    ..Destination::default()
                };
            }
        }
        if self.interval_ends.is_none_or(|ends| ends > now) {
            return;
        }
        self.interval_ends = None;
        for index in 0..self.destinations.len() {
            let destination = &self.destinations[index];
            if destination.ejected_until.is_some() {
                continue;
            }
            let share = destination.failed as f64 * 100.0
                >= self.config.failure_percentage * destination.all as f64;
            let enough = destination.all >= u64::from(self.config.request_volume);
            let used = destination.all > 0;
            let ejected = enough && share && self.eject(index, now);
            let destination = &mut self.destinations[index];
            (destination.all, destination.failed) = (0, 0);
            if used && !ejected {
                destination.ejections = destination.ejections.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resilience::ErrorClass;
    use proptest::prelude::*;

    const FAILED: Ended = Ended::failure(ErrorClass::Unavailable, Duration::ZERO);
    const DONE: Ended = Ended::success(Duration::ZERO);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn detection(count: u64) -> OutlierDetection {
        let ids: Vec<u64> = (0..count).collect();
        OutlierDetection::new(OutlierConfig::default(), &ids).unwrap()
    }

    fn fail(detection: &mut OutlierDetection, index: usize, times: usize, now: Time) -> bool {
        (0..times).any(|_| detection.ended(index, FAILED, now))
    }

    #[test]
    fn the_fifth_failure_in_a_row_ejects_and_the_refusal_says_for_how_long() {
        let mut detection = detection(4);
        assert!(!fail(&mut detection, 1, 4, at(0)));
        detection.ended(1, DONE, at(0));
        assert!(
            !fail(&mut detection, 1, 4, at(0)),
            "a success starts the row anew"
        );
        assert!(fail(&mut detection, 1, 1, at(0)));
        let refusal = detection.check(1, at(10)).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::after(RefusalReason::Ejected, Duration::from_secs(20))
        );
        assert!(detection.check(0, at(10)).is_ok());
        assert!(detection.check(1, at(30)).is_ok());
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_longest_and_good_intervals_shorten_the_next() {
        let mut detection = detection(4);
        let mut now = at(0);
        for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
            assert!(fail(&mut detection, 1, 5, now));
            let until = detection.destinations[1].ejected_until.unwrap();
            assert_eq!(until, now + Duration::from_secs(seconds));
            now = until;
            detection.handle_timeout(now);
        }
        for _ in 0..20 {
            detection.ended(1, DONE, now);
            now += Duration::from_secs(10);
            detection.handle_timeout(now);
        }
        assert!(fail(&mut detection, 1, 5, now));
        assert!(detection.check(1, now + Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn a_large_share_of_failures_ejects_at_the_end_of_the_interval() {
        let mut detection = detection(4);
        for call in 0..60 {
            // Every seventh succeeds: 85.7 % fail, with never more than six in a row were five not the limit.
            detection.destinations[2].consecutive = 0;
            let ended = if call % 7 == 6 { DONE } else { FAILED };
            assert!(!detection.ended(2, ended, at(0)));
        }
        assert_eq!(detection.next_timeout(), Some(at(10)));
        detection.handle_timeout(at(10));
        assert!(detection.check(2, at(39)).is_err());
        assert!(detection.check(2, at(40)).is_ok());
    }

    #[test]
    fn when_all_fail_half_stay_and_the_last_one_always_does() {
        let mut four = detection(4);
        let ejected = |detection: &mut OutlierDetection, count| {
            (0..count).for_each(|index| {
                fail(detection, index, 50, at(0));
            });
            detection.ejected(at(0))
        };
        assert_eq!(ejected(&mut four, 4), 2);
        assert_eq!(ejected(&mut detection(1), 1), 0);
        assert_eq!(ejected(&mut detection(2), 2), 1);
        let all = OutlierConfig {
            max_ejection_percentage: 100.0,
            ..OutlierConfig::default()
        };
        let mut all = OutlierDetection::new(all, &[1, 2, 3]).unwrap();
        assert_eq!(ejected(&mut all, 3), 2);
    }

    #[test]
    fn what_is_known_stays_with_a_destination_whose_place_changes() {
        let mut detection = detection(4);
        fail(&mut detection, 1, 5, at(0));
        detection.set_destinations(&[9, 3, 1]);
        assert!(detection.check(2, at(1)).is_err());
        assert!(detection.check(1, at(1)).is_ok());
        assert!(detection.check(17, at(1)).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let ok = OutlierConfig::default();
        for wrong in [
            OutlierConfig {
                consecutive_failures: 0,
                ..ok
            },
            OutlierConfig {
                failure_percentage: f64::NAN,
                ..ok
            },
            OutlierConfig {
                request_volume: 0,
                ..ok
            },
            OutlierConfig {
                interval: Duration::ZERO,
                ..ok
            },
            OutlierConfig {
                max_ejection_time: Duration::from_secs(29),
                ..ok
            },
            OutlierConfig {
                max_ejection_percentage: 0.0,
                ..ok
            },
        ] {
            assert!(OutlierDetection::new(wrong, &[1]).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// The plain model: the last outcomes of each destination as a list, ejections by failures in a row only.
        #[test]
        fn it_is_the_model(
            count in 1usize..6,
            steps in proptest::collection::vec((0u64..4, 0usize..6, any::<bool>()), 1..400),
        ) {
            let ids: Vec<u64> = (0..count as u64).collect();
            let config = OutlierConfig {
                consecutive_failures: 3,
                request_volume: 1_000_000,
                // One interval over all: the ejections are never forgotten.
                interval: Duration::from_secs(3600),
                base_ejection_time: Duration::from_secs(5),
                max_ejection_time: Duration::from_secs(12),
                ..OutlierConfig::default()
            };
            let mut detection = OutlierDetection::new(config, &ids).unwrap();
            let mut model: Vec<(u32, u64, u64)> = vec![(0, 0, 0); count];
            let most = (count / 2).max(1).min(count - 1);
            let mut now = 0;
            for (step, index, failed) in steps {
                now += step;
                let index = index % count;
                for (place, state) in model.iter().enumerate() {
                    prop_assert_eq!(detection.check(place, at(now)).is_err(), state.2 > now);
                }
                detection.ended(index, if failed { FAILED } else { DONE }, at(now));
                let ejected = model.iter().filter(|state| state.2 > now).count();
                let state = &mut model[index];
                if state.2 > now {
                    continue;
                }
                state.0 = if failed { state.0 + 1 } else { 0 };
                if state.0 >= 3 && ejected < most {
                    state.1 += 1;
                    *state = (0, state.1, now + (5 * state.1).min(12));
                }
            }
        }
    }
}
