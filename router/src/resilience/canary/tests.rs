#![allow(clippy::unwrap_used)]

use super::*;
use crate::resilience::{ErrorClass, Random};
use proptest::prelude::*;

/// How a simulated version behaves.
#[derive(Clone, Copy)]
struct Behaviour {
    errors: f64,
    rejects: f64,
    latency: Duration,
}

const GOOD: Behaviour = Behaviour {
    errors: 0.5,
    rejects: 1.0,
    latency: Duration::from_millis(10),
};

impl Behaviour {
    fn ended(&self, random: &mut Random) -> Ended {
        let percent = random.up_to(999_999) as f64 / 10_000.0;
        // Half of it to once and a half.
        let latency = self.latency / 2 + self.latency.mul_f64(random.up_to(1000) as f64 / 1000.0);
        if percent < self.errors {
            Ended::failure(ErrorClass::Internal, latency)
        } else if percent < self.errors + self.rejects {
            Ended::failure(ErrorClass::Validation, latency)
        } else {
            Ended::success(latency)
        }
    }
}

/// Sends `per_second` messages by the weight, until the state ends or the time is over. The canary turns from good to
/// `turned` at `turns`. Gives the canary and the time of its end.
fn run(
    per_second: u64,
    turns: Duration,
    turned: Behaviour,
    seconds: u64,
    seed: u64,
) -> (Canary, Duration) {
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
    let mut random = Random::new(seed);
    let mut now = Time::ZERO;
    for message in 0..seconds * per_second {
        now = Time::from_nanos(message * 1_000_000_000 / per_second);
        let to_canary = random.up_to(99) < u64::from(canary.weight());
        let bad = to_canary && now >= Time::ZERO + turns;
        let (version, behaviour) = match (to_canary, bad) {
            (true, true) => (Version::Canary, turned),
            (true, false) => (Version::Canary, GOOD),
            (false, _) => (Version::Stable, GOOD),
        };
        canary.ended(version, behaviour.ended(&mut random), now);
        if message % per_second == 0 {
            canary.handle_timeout(now);
        }
        if !matches!(canary.state(), CanaryState::Step(_)) {
            break;
        }
    }
    (canary, now.saturating_since(Time::ZERO))
}

#[test]
fn a_bad_canary_is_back_at_zero_percent_within_ten_seconds() {
    let bad = [
        Behaviour {
            errors: 20.0,
            ..GOOD
        },
        Behaviour {
            errors: 100.0,
            ..GOOD
        },
        Behaviour {
            rejects: 20.0,
            ..GOOD
        },
        Behaviour {
            latency: Duration::from_millis(40),
            ..GOOD
        },
        // Little enough to drown in what was counted since the step began.
        Behaviour {
            latency: Duration::from_millis(22),
            ..GOOD
        },
    ];
    for (kind, behaviour) in bad.into_iter().enumerate() {
        for seed in 0..5 {
            // From the start, late in a step, and at a later step.
            for turns in [0, 40, 100].map(Duration::from_secs) {
                let (canary, end) = run(1000, turns, behaviour, 300, seed);
                assert_eq!(canary.weight(), 0, "kind {kind}: {:?}", canary.state());
                let after = end.saturating_sub(turns);
                assert!(
                    after <= Duration::from_secs(10),
                    "kind {kind}, seed {seed}: {after:?}"
                );
            }
        }
    }
}

#[test]
fn a_good_canary_is_promoted_after_its_steps() {
    for seed in 0..15 {
        let (canary, end) = run(500, Duration::MAX, GOOD, 400, seed);
        assert_eq!(canary.state(), CanaryState::Promoted, "seed {seed}");
        assert_eq!(canary.weight(), 100);
        assert_eq!(end.as_secs(), 240, "four steps of a minute");
    }
}

#[test]
fn too_few_outcomes_neither_promote_nor_compare_but_failures_in_a_row_end_it() {
    let (canary, _) = run(1, Duration::MAX, GOOD, 600, 1);
    assert_eq!(canary.state(), CanaryState::Step(0));
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
    let failed = Ended::failure(ErrorClass::Unavailable, Duration::ZERO);
    for _ in 0..9 {
        assert_eq!(canary.ended(Version::Canary, failed, Time::ZERO), None);
    }
    let ended = canary.ended(Version::Canary, failed, Time::ZERO).unwrap();
    assert_eq!(
        ended,
        CanaryState::RolledBack(RollbackReason::ConsecutiveFailures(10))
    );
    assert_eq!(canary.weight(), 0);
    assert_eq!(canary.next_timeout(), None);
}

#[test]
fn a_few_errors_are_no_share_of_anything_and_the_tenth_makes_one() {
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
    let done = Ended::success(Duration::from_millis(10));
    let failed = Ended::failure(ErrorClass::Timeout, Duration::from_millis(10));
    for _ in 0..10_000 {
        canary.ended(Version::Stable, done, Time::ZERO);
    }
    for message in 0..72 {
        let ended = if message % 8 == 0 { failed } else { done };
        assert_eq!(canary.ended(Version::Canary, ended, Time::ZERO), None);
    }
    canary.ended(Version::Canary, failed, Time::ZERO);
    let state = canary.handle_timeout(Time::ZERO);
    assert!(
        matches!(
            state,
            Some(CanaryState::RolledBack(RollbackReason::Errors(..)))
        ),
        "{state:?}"
    );
}

#[test]
fn a_bad_time_of_both_versions_is_not_the_canary_s_fault() {
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
    let mut random = Random::new(1);
    let bad = Behaviour {
        errors: 30.0,
        latency: Duration::from_millis(100),
        ..GOOD
    };
    for message in 0..20_000 {
        let now = Time::from_nanos(message * 1_000_000);
        for version in [Version::Stable, Version::Canary] {
            let ended = bad.ended(&mut random);
            // A row of ten is not what is tested.
            canary.row = 0;
            assert_eq!(canary.ended(version, ended, now), None, "{message}");
        }
    }
}

#[test]
fn what_is_taken_back_stays_so_and_somebody_may_ask_for_it() {
    let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
    assert_eq!((canary.weight(), canary.scope()), (5, Scope::Node));
    assert_eq!(
        canary.abort(),
        CanaryState::RolledBack(RollbackReason::Asked)
    );
    let late = Time::ZERO + Duration::from_secs(3600);
    assert_eq!(canary.handle_timeout(late), None);
    assert_eq!(
        canary.ended(Version::Canary, Ended::success(Duration::ZERO), late),
        None
    );
    assert_eq!(canary.weight(), 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let ok = CanaryConfig::default;
    for wrong in [
        CanaryConfig {
            steps: vec![],
            ..ok()
        },
        CanaryConfig {
            steps: vec![5, 5],
            ..ok()
        },
        CanaryConfig {
            steps: vec![0],
            ..ok()
        },
        CanaryConfig {
            steps: vec![50, 101],
            ..ok()
        },
        CanaryConfig {
            min_step_time: Duration::ZERO,
            ..ok()
        },
        CanaryConfig {
            min_samples: 9,
            ..ok()
        },
        CanaryConfig {
            max_error_delta: f64::NAN,
            ..ok()
        },
        CanaryConfig {
            max_reject_delta: -1.0,
            ..ok()
        },
        CanaryConfig {
            max_latency_factor: 0.9,
            ..ok()
        },
        CanaryConfig {
            consecutive_failures: 0,
            ..ok()
        },
    ] {
        assert!(Canary::new(wrong.clone(), Time::ZERO).is_err(), "{wrong:?}");
    }
}

proptest! {
    /// The plain model of its states: the weight goes up by the steps or down to 0, never before its time.
    #[test]
    fn the_weight_goes_up_step_by_step_or_to_nothing(
        steps in proptest::collection::vec((0u64..2000, 0u8..20, 1usize..30), 1..300),
    ) {
        let mut canary = Canary::new(CanaryConfig::default(), Time::ZERO).unwrap();
        let (mut now, mut since, mut weight) = (0, 0, 5);
        for (step, kind, times) in steps {
            now += step;
            let at = Time::ZERO + Duration::from_millis(now);
            for _ in 0..times {
                let class = if kind == 0 { Some(ErrorClass::Timeout) } else { None };
                let ended = Ended { class, latency: Duration::from_millis(1) };
                canary.ended(Version::Canary, ended, at);
                canary.ended(Version::Stable, Ended::success(Duration::from_millis(1)), at);
            }
            canary.handle_timeout(at);
            let new = canary.weight();
            if new != weight {
                let next = match weight { 5 => 25, 25 => 50, 50 => 100, _ => 0 };
                prop_assert!(new == 0 || new == next, "{} -> {}", weight, new);
                prop_assert!(new == 0 || now >= since + 60_000, "{} after {}", new, now - since);
                (weight, since) = (new, now);
            }
        }
    }
}
