//! The laws of guards as tests that any implementation can run, one's own too.

use super::{Admission, Ended, ErrorClass, Headers, MessageGuard, Random, RouteGuard};
use mcpbus_actors::Time;
use std::time::Duration;

/// Holds a message guard to the laws of [`MessageGuard`]; `make` gives a fresh one. For tests.
///
/// # Panics
///
/// When a law is broken; the message names it.
pub fn check_message_guard(make: impl Fn() -> Box<dyn MessageGuard>) {
    for seed in 0..20 {
        let (mut one, mut other) = (make(), make());
        let mut random = Random::new(seed);
        let mut now = Time::ZERO + Duration::from_secs(1);
        for _ in 0..500 {
            now += Duration::from_micros(random.up_to(30_000));
            // A clock that goes back is a mistake of the caller, and harmless.
            let seen = if random.up_to(9) == 0 {
                now.saturating_sub(Duration::from_millis(random.up_to(100)))
            } else {
                now
            };
            let mut headers =
                Headers::new(seen.saturating_sub(Duration::from_millis(random.up_to(20))))
                    .priority(random.up_to(3) as u8)
                    .limit_key(random.up_to(5));
            if random.up_to(2) == 0 {
                headers = headers.deadline(seen + Duration::from_millis(random.up_to(100)));
            }
            let answer = one.admit(&headers, seen);
            assert_eq!(
                answer,
                other.admit(&headers, seen),
                "law 1: equal histories were answered differently"
            );
            match answer {
                Admission::Until(turn) => {
                    assert!(turn > seen, "law 3: {turn} is not later than {seen}");
                    assert!(
                        headers.deadline.is_none_or(|deadline| turn < deadline),
                        "law 3: held until {turn}, deadline {:?}",
                        headers.deadline
                    );
                    if random.up_to(4) == 0 {
                        one.give_back(&headers, seen);
                        other.give_back(&headers, seen);
                    }
                }
                Admission::Refuse(refusal) | Admission::Divert(refusal) => {
                    if let Some(after) = refusal.retry_after {
                        now = now.max(seen) + after;
                        let again = Headers {
                            deadline: None,
                            arrived: Some(now),
                            ..headers
                        };
                        let answer = one.admit(&again, now);
                        other.admit(&again, now);
                        let refused = match answer {
                            Admission::Refuse(again) | Admission::Divert(again) => {
                                again.reason == refusal.reason
                            }
                            Admission::Pass | Admission::Until(_) => false,
                        };
                        assert!(
                            !refused,
                            "law 4: {refusal:?} at {seen} is still so at {now}"
                        );
                    }
                }
                Admission::Pass => {}
            }
        }
        for headers in [
            Headers::default(),
            Headers::new(Time::MAX).deadline(Time::ZERO),
            Headers::default()
                .deadline(Time::MAX)
                .priority(u8::MAX)
                .limit_key(u64::MAX),
        ] {
            for now in [Time::ZERO, Time::MAX, Time::ZERO] {
                // Law 5: an answer, whatever it is.
                one.admit(&headers, now);
                one.give_back(&headers, now);
            }
        }
    }
}

/// Holds a route guard to the laws of [`RouteGuard`]; `make` gives a fresh one, always with the same seed. For tests.
///
/// # Panics
///
/// When a law is broken; the message names it.
pub fn check_route_guard(make: impl Fn() -> Box<dyn RouteGuard>) {
    for seed in 0..20 {
        let (mut one, mut other) = (make(), make());
        let mut random = Random::new(seed);
        let mut now = Time::ZERO + Duration::from_secs(1);
        let mut flying = Vec::new();
        // Runs of successes and of failures: states change.
        let mut failing = false;
        for _ in 0..2_000 {
            now += Duration::from_micros(random.up_to(20_000));
            if random.up_to(100) == 0 {
                failing = !failing;
            }
            match random.up_to(9) {
                0..=4 => {
                    let checked = one.check(now);
                    let answer = one.admit(now);
                    assert_eq!(
                        checked,
                        answer.as_ref().map(|_| ()).map_err(|refusal| *refusal),
                        "law 4: check and admit disagree"
                    );
                    let twin = other.admit(now);
                    assert_eq!(
                        answer, twin,
                        "law 1: equal histories were answered differently"
                    );
                    match (answer, twin) {
                        (Ok(permit), Ok(twin)) if random.up_to(5) == 0 => {
                            one.give_back(permit, now);
                            other.give_back(twin, now);
                            assert_eq!(one.check(now), checked, "law 3: a trace was left");
                        }
                        (Ok(permit), Ok(twin)) => flying.push((permit, twin, now)),
                        (Err(refusal), _) => {
                            if let Some(after) = refusal.retry_after {
                                let later = one.check(now + after);
                                assert!(
                                    later.err().is_none_or(|r| r.reason != refusal.reason),
                                    "law 5: {refusal:?} at {now} is still so after it"
                                );
                            }
                        }
                        _ => {}
                    }
                }
                5..=8 if !flying.is_empty() => {
                    let index = random.up_to(flying.len() as u64 - 1) as usize;
                    let (permit, twin, since) = flying.swap_remove(index);
                    let latency = now.saturating_since(since);
                    let ended = if failing {
                        let class = ErrorClass::ALL[random.up_to(9) as usize];
                        Ended::failure(class, latency)
                    } else {
                        Ended::success(latency)
                    };
                    one.ended(permit, ended, now);
                    other.ended(twin, ended, now);
                }
                _ => {
                    if let Some(time) = one.next_timeout() {
                        assert_eq!(other.next_timeout(), Some(time), "law 1: other timers");
                        now = now.max(time);
                        one.handle_timeout(now);
                        other.handle_timeout(now);
                        assert!(
                            one.next_timeout().is_none_or(|next| next > time),
                            "law 6: the timer of {time} does not end"
                        );
                    }
                }
            }
            assert_eq!(
                one.in_flight(),
                flying.len() as u64,
                "law 2: permits were miscounted"
            );
        }
        for (permit, twin, since) in flying.drain(..) {
            one.give_back(permit, since);
            drop(twin);
        }
        assert_eq!(
            one.in_flight(),
            0,
            "law 2: a settled permit is still counted"
        );
        for now in [Time::ZERO, Time::MAX, Time::ZERO] {
            // Law 7: an answer, whatever it is.
            one.handle_timeout(now);
            if let Ok(permit) = one.admit(now) {
                one.ended(
                    permit,
                    Ended::failure(ErrorClass::Timeout, Duration::MAX),
                    now,
                );
            }
        }
    }
}
