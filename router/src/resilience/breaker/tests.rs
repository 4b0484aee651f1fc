#![allow(clippy::unwrap_used)]

use super::*;
use crate::resilience::{ErrorClass, laws};
use proptest::prelude::*;

const FAILED: Ended = Ended::failure(ErrorClass::Timeout, Duration::from_millis(1));
const DONE: Ended = Ended::success(Duration::from_millis(1));

fn exact() -> BreakerConfig {
    BreakerConfig {
        sleep_window_jitter_percentage: 0.0,
        ..BreakerConfig::default()
    }
}

fn breaker(config: BreakerConfig) -> Breaker {
    Breaker::new(&config, 1).unwrap()
}

fn at(milliseconds: u64) -> Time {
    Time::ZERO + Duration::from_millis(milliseconds)
}

fn call(breaker: &mut Breaker, ended: Ended, now: Time) {
    let permit = breaker.admit(now).unwrap();
    breaker.ended(permit, ended, now);
}

fn opened(now: Time) -> Breaker {
    let mut breaker = breaker(exact());
    for _ in 0..20 {
        call(&mut breaker, FAILED, now);
    }
    breaker
}

#[test]
fn nineteen_failures_leave_it_closed_and_the_twentieth_opens_it() {
    let mut breaker = breaker(exact());
    for _ in 0..19 {
        call(&mut breaker, FAILED, at(100));
        assert_eq!(breaker.state(at(100)), BreakerState::Closed);
    }
    call(&mut breaker, FAILED, at(100));
    assert_eq!(
        breaker.state(at(100)),
        BreakerState::Open { until: at(5100) }
    );
    assert_eq!(
        breaker.admit(at(1100)).unwrap_err(),
        Refusal::after(RefusalReason::CircuitOpen, Duration::from_secs(4))
    );
}

#[test]
fn one_trial_after_five_seconds_and_its_success_closes() {
    let mut breaker = opened(at(0));
    assert!(breaker.admit(at(4999)).is_err());
    let trial = breaker.admit(at(5000)).unwrap();
    for _ in 0..100 {
        assert!(breaker.admit(at(5001)).is_err(), "one trial at a time");
    }
    breaker.ended(trial, DONE, at(5002));
    assert_eq!(breaker.state(at(5002)), BreakerState::Closed);
    for _ in 0..19 {
        call(&mut breaker, FAILED, at(5003));
    }
    assert_eq!(
        breaker.state(at(5003)),
        BreakerState::Closed,
        "the old window is forgotten"
    );
}

#[test]
fn a_failed_trial_opens_it_for_another_sleep_window() {
    let mut breaker = opened(at(0));
    let trial = breaker.admit(at(5000)).unwrap();
    breaker.ended(trial, FAILED, at(5100));
    assert!(breaker.admit(at(10_099)).is_err());
    assert!(breaker.admit(at(10_100)).is_ok());
}

#[test]
fn late_outcomes_from_before_the_opening_do_not_decide_the_trial() {
    let mut breaker = breaker(exact());
    let late: Vec<_> = (0..10).map(|_| breaker.admit(at(0)).unwrap()).collect();
    for _ in 0..20 {
        call(&mut breaker, FAILED, at(0));
    }
    let trial = breaker.admit(at(5000)).unwrap();
    let mut late = late.into_iter();
    for permit in late.by_ref().take(5) {
        breaker.ended(permit, DONE, at(5001));
    }
    assert!(breaker.admit(at(5002)).is_err(), "an old success closed it");
    for permit in late {
        breaker.ended(permit, FAILED, at(5003));
    }
    assert_eq!(
        breaker.state(at(5003)),
        BreakerState::HalfOpen { until: at(10_000) }
    );
    breaker.ended(trial, DONE, at(5004));
    assert_eq!(breaker.state(at(5004)), BreakerState::Closed);
    assert_eq!(breaker.in_flight(), 0);
}

#[test]
fn a_trial_that_nobody_hears_of_again_has_failed_after_a_sleep_window() {
    let mut breaker = opened(at(0));
    let lost = breaker.admit(at(5000)).unwrap();
    assert_eq!(breaker.next_timeout(), Some(at(10_000)));
    breaker.handle_timeout(at(10_000));
    assert_eq!(
        breaker.state(at(10_000)),
        BreakerState::Open { until: at(15_000) }
    );
    let trial = breaker.admit(at(15_000)).unwrap();
    breaker.ended(lost, DONE, at(15_001));
    assert!(
        breaker.admit(at(15_001)).is_err(),
        "the lost one decides no more"
    );
    breaker.ended(trial, DONE, at(15_002));
    assert_eq!(breaker.state(at(15_002)), BreakerState::Closed);
}

#[test]
fn mistakes_of_the_message_count_neither_way() {
    let mistake = Ended::failure(ErrorClass::Validation, Duration::ZERO);
    let mut breaker = breaker(exact());
    for _ in 0..1000 {
        call(&mut breaker, mistake, at(0));
    }
    for _ in 0..19 {
        call(&mut breaker, FAILED, at(0));
    }
    assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    call(&mut breaker, FAILED, at(0));
    assert!(
        breaker.admit(at(0)).is_err(),
        "a thousand mistakes were counted as successes"
    );
    let trial = breaker.admit(at(5000)).unwrap();
    breaker.ended(trial, mistake, at(5000));
    assert!(breaker.admit(at(5000)).is_ok(), "the next one may try");
}

#[test]
fn failures_that_have_left_the_window_are_forgotten() {
    let mut breaker = breaker(exact());
    for second in 0..100 {
        call(&mut breaker, FAILED, at(1000 * second));
    }
    assert_eq!(
        breaker.state(at(99_000)),
        BreakerState::Closed,
        "ten in ten seconds"
    );
}

#[test]
fn slow_calls_open_it_too() {
    let mut breaker = breaker(BreakerConfig {
        slow_call_duration: Some(Duration::from_millis(100)),
        slow_call_rate_percentage: 50.0,
        ..exact()
    });
    let slow = Ended::success(Duration::from_millis(100));
    for _ in 0..11 {
        call(&mut breaker, DONE, at(0));
    }
    for _ in 0..10 {
        call(&mut breaker, slow, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    }
    call(&mut breaker, slow, at(0));
    assert!(breaker.admit(at(0)).is_err(), "11 of 22 are slow");
}

#[test]
fn the_jitter_spreads_trials_and_never_hastens_them() {
    let mut ends = Vec::new();
    for seed in 0..100 {
        let mut breaker = Breaker::new(&BreakerConfig::default(), seed).unwrap();
        for _ in 0..20 {
            call(&mut breaker, FAILED, at(0));
        }
        let BreakerState::Open { until } = breaker.state(at(0)) else {
            panic!()
        };
        assert!(until >= at(5000) && until <= at(5500), "{until}");
        ends.push(until);
    }
    ends.sort();
    ends.dedup();
    assert!(ends.len() > 90, "{} different ends", ends.len());
}

#[test]
fn what_cannot_be_is_refused() {
    let wrong = [
        BreakerConfig {
            request_volume_threshold: 0,
            ..exact()
        },
        BreakerConfig {
            error_threshold_percentage: 0.0,
            ..exact()
        },
        BreakerConfig {
            error_threshold_percentage: 101.0,
            ..exact()
        },
        BreakerConfig {
            error_threshold_percentage: f64::NAN,
            ..exact()
        },
        BreakerConfig {
            sleep_window: Duration::ZERO,
            ..exact()
        },
        BreakerConfig {
            sleep_window_jitter_percentage: -1.0,
            ..exact()
        },
        BreakerConfig {
            rolling_window: Duration::from_millis(9),
            ..exact()
        },
        BreakerConfig {
            slow_call_duration: Some(Duration::ZERO),
            ..exact()
        },
        BreakerConfig {
            slow_call_rate_percentage: 0.0,
            ..exact()
        },
    ];
    for config in wrong {
        let error = Breaker::new(&config, 0).unwrap_err();
        assert!(error.to_string().contains("give a number from"), "{error}");
    }
}

#[test]
fn it_keeps_the_laws() {
    laws::check_route_guard(|| Box::new(Breaker::new(&BreakerConfig::default(), 7).unwrap()));
    let eager = BreakerConfig {
        request_volume_threshold: 1,
        error_threshold_percentage: 1.0,
        sleep_window: Duration::from_millis(50),
        ..BreakerConfig::default()
    };
    laws::check_route_guard(|| Box::new(Breaker::new(&eager, 7).unwrap()));
}

/// The plain model: every outcome with its time, in a list that is counted anew each time.
struct Model {
    outcomes: Vec<(u64, bool)>,
    /// Until when it sleeps; then it is half open.
    sleeps: Option<u64>,
    /// Since when a trial is out.
    trial: Option<u64>,
    period: u32,
}

const WINDOW: u64 = 1_000;
const SLEEP: u64 = 300;

impl Model {
    fn settle(&mut self, now: u64) {
        if let Some(since) = self.trial
            && since + SLEEP <= now
        {
            (self.trial, self.sleeps) = (None, Some(since + 2 * SLEEP));
            self.period += 1;
        }
    }

    fn admit(&mut self, now: u64) -> Option<u32> {
        self.settle(now);
        if let Some(end) = self.sleeps {
            if self.trial.is_some() || now < end {
                return None;
            }
            self.trial = Some(now);
            self.period += 1;
        }
        Some(self.period)
    }

    fn ended(&mut self, period: u32, failed: bool, now: u64) {
        self.settle(now);
        if period != self.period {
            return;
        }
        if self.trial.take().is_some() {
            self.period += 1;
            self.sleeps = failed.then_some(now + SLEEP);
            self.outcomes.clear();
        } else if self.sleeps.is_none() {
            self.outcomes.push((now, failed));
            let bucket = |time: u64| time / (WINDOW / 10);
            let seen = self
                .outcomes
                .iter()
                .filter(|(time, _)| bucket(*time) + 10 > bucket(now));
            let failed = seen.clone().filter(|(_, failed)| *failed).count();
            let all = seen.count();
            if all >= 5 && failed * 2 >= all {
                self.sleeps = Some(now + SLEEP);
                self.period += 1;
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_the_model(
        steps in proptest::collection::vec((0u64..40, 0u8..8, any::<prop::sample::Index>()), 1..400),
        failing in 0u8..6,
    ) {
        let mut breaker = breaker(BreakerConfig {
            request_volume_threshold: 5,
            sleep_window: Duration::from_millis(SLEEP),
            rolling_window: Duration::from_millis(WINDOW),
            ..exact()
        });
        let mut model = Model { outcomes: Vec::new(), sleeps: None, trial: None, period: 0 };
        let mut flying = Vec::new();
        let mut now = 0;
        for (step, kind, index) in steps {
            now += step;
            if kind < 4 {
                let (answer, expected) = (breaker.admit(at(now)), model.admit(now));
                prop_assert_eq!(answer.is_ok(), expected.is_some(), "at {}", now);
                if let (Ok(permit), Some(period)) = (answer, expected) {
                    flying.push((permit, period));
                }
            } else if !flying.is_empty() {
                let (permit, period) = flying.swap_remove(index.index(flying.len()));
                let failed = kind - 4 < failing.min(4);
                breaker.ended(permit, if failed { FAILED } else { DONE }, at(now));
                model.ended(period, failed, now);
            }
        }
    }
}
