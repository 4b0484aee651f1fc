#![allow(clippy::unwrap_used)]

use super::*;
use crate::resilience::{Random, laws};
use proptest::prelude::*;
use std::collections::VecDeque;

fn at(milliseconds: u64) -> Time {
    Time::ZERO + Duration::from_millis(milliseconds)
}

fn shed() -> Shed {
    Shed::new(&ShedConfig::default()).unwrap()
}

/// Messages per second that the simulated worker can handle.
const CAPACITY: f64 = 1000.0;
/// After which time an answer is of use to nobody.
const PATIENCE: Duration = Duration::from_millis(500);
/// Messages that the simulated queue holds; what comes when it is full is dropped.
const QUEUE: usize = 5000;

/// What became of the messages of one class that arrived within one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    offered: f64,
    good: f64,
    worst: Duration,
}

/// One worker behind one queue, first in first out. `load` is offered in each second as a multiple of the capacity, at
/// random times; every tenth message is urgent. Gives ordinary and urgent messages by the second of their arrival.
fn simulate(load: &[f64], mut guard: Option<Shed>) -> Vec<[Second; 2]> {
    let mut random = Random::new(11);
    let mut seconds = vec![[Second::default(); 2]; load.len()];
    let mut queue: VecDeque<(Time, u8)> = VecDeque::new();
    let work = Duration::from_secs_f64(1.0 / CAPACITY);
    let (mut arrival, mut free, mut count) = (Time::ZERO, Time::ZERO, 0_u64);
    loop {
        let second = (arrival.as_nanos() / 1_000_000_000) as usize;
        let Some(multiple) = load.get(second) else {
            return seconds;
        };
        // What the worker does before the next message comes.
        while free <= arrival
            && let Some((arrived, priority)) = queue.pop_front()
        {
            let now = free.max(arrived);
            let headers = Headers::new(arrived).priority(priority);
            let pass = guard
                .as_mut()
                .is_none_or(|guard| guard.admit(&headers, now) == Admission::Pass);
            if pass {
                free = now + work;
                let latency = free.saturating_since(arrived);
                let index = (arrived.as_nanos() / 1_000_000_000) as usize;
                let seen = &mut seconds[index][usize::from(priority > 0)];
                seen.good += f64::from(u8::from(latency <= PATIENCE));
                seen.worst = seen.worst.max(latency);
            }
        }
        let priority = if count % 10 == 0 { 4 } else { 0 };
        count += 1;
        seconds[second][usize::from(priority > 0)].offered += 1.0;
        if queue.len() < QUEUE {
            queue.push_back((arrival, priority));
        }
        let uniform = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        arrival += Duration::from_secs_f64(-(1.0 - uniform).ln() / (multiple * CAPACITY));
    }
}

/// Good answers per second, of both classes, over these seconds.
fn goodput(seconds: &[[Second; 2]]) -> f64 {
    let good: f64 = seconds.iter().flatten().map(|second| second.good).sum();
    good / seconds.len() as f64
}

/// Twenty seconds of this multiple, then twelve of four fifths of the capacity.
fn run(multiple: f64, guard: Option<Shed>) -> Vec<[Second; 2]> {
    let load: Vec<f64> = (0..32)
        .map(|second| if second < 20 { multiple } else { 0.8 })
        .collect();
    simulate(&load, guard)
}

#[test]
fn goodput_stays_above_nine_tenths_of_its_peak_at_one_two_five_and_ten_times_the_capacity() {
    let runs: Vec<_> = [1.0, 2.0, 5.0, 10.0]
        .map(|multiple| run(multiple, Some(shed())))
        .into();
    let goodputs: Vec<f64> = runs.iter().map(|run| goodput(&run[2..20])).collect();
    let peak = goodputs.iter().copied().fold(0.0, f64::max);
    assert!(peak > 0.95 * CAPACITY, "{goodputs:?}");
    for goodput in &goodputs {
        assert!(*goodput >= 0.9 * peak, "{goodputs:?}");
    }
}

#[test]
fn it_is_normal_again_within_ten_seconds() {
    for multiple in [2.0, 5.0, 10.0] {
        let run = run(multiple, Some(shed()));
        for [ordinary, urgent] in &run[30..31] {
            assert_eq!(
                ordinary.good + urgent.good,
                ordinary.offered + urgent.offered
            );
            assert!(ordinary.worst < Duration::from_millis(100), "{ordinary:?}");
        }
    }
}

#[test]
fn without_it_nearly_all_work_is_too_late_so_the_simulation_can_tell() {
    let run = run(2.0, None);
    assert!(
        goodput(&run[8..20]) < 0.1 * CAPACITY,
        "{}",
        goodput(&run[8..20])
    );
}

#[test]
fn the_urgent_get_through_while_the_ordinary_are_shed() {
    let run = run(5.0, Some(shed()));
    let share = |class: usize| {
        let of =
            |value: fn(&Second) -> f64| run[2..20].iter().map(|s| value(&s[class])).sum::<f64>();
        of(|second| second.good) / of(|second| second.offered)
    };
    assert!(share(1) > 0.99, "urgent: {}", share(1));
    assert!(share(0) < 0.2, "ordinary: {}", share(0));
}

#[test]
fn a_burst_is_not_overload_and_an_idle_time_ends_it() {
    let mut guard = shed();
    for millisecond in 30..100 {
        let waited = Headers::new(at(millisecond - 25));
        assert_eq!(guard.admit(&waited, at(millisecond)), Admission::Pass);
    }
    for millisecond in 100..140 {
        guard.admit(&Headers::new(at(millisecond - 25)), at(millisecond));
    }
    assert!(guard.overloaded());
    let late = Headers::new(at(100_000));
    assert_eq!(
        guard.admit(&late, at(100_050)),
        Admission::Pass,
        "the queue was empty"
    );
    assert!(!guard.overloaded());
}

#[test]
fn what_cannot_be_is_refused() {
    let ok = ShedConfig::default();
    for wrong in [
        ShedConfig {
            target: Duration::ZERO,
            ..ok
        },
        ShedConfig {
            interval: Duration::from_millis(19),
            ..ok
        },
        ShedConfig {
            interval: Duration::MAX,
            ..ok
        },
    ] {
        assert!(Shed::new(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn it_keeps_the_laws() {
    laws::check_message_guard(|| Box::new(shed()));
    let quick = ShedConfig {
        target: Duration::from_millis(2),
        interval: Duration::from_millis(20),
    };
    laws::check_message_guard(|| Box::new(Shed::new(&quick).unwrap()));
}

proptest! {
    /// The plain model: all waits in a list, looked at backwards.
    #[test]
    fn it_is_the_model(
        steps in proptest::collection::vec((1u64..20, 0u64..60, 0u8..3), 1..300),
    ) {
        let mut guard = shed();
        let mut seen: Vec<(u64, bool)> = Vec::new();
        let (mut overloaded, mut changed, mut now) = (false, 0, 1000);
        let mut last = 0;
        for (step, waited, priority) in steps {
            now += step;
            let headers = Headers::new(at(now - waited)).priority(priority);
            if now - waited > last {
                (overloaded, changed) = (false, seen.len());
            }
            last = now;
            seen.push((now, waited > 20));
            // The run of waits that contradict the present state, since it began.
            let run = seen[changed..].iter().rev().take_while(|(_, long)| *long != overloaded);
            if run.last().is_some_and(|(first, _)| now - first >= 100) {
                (overloaded, changed) = (!overloaded, seen.len());
            }
            let refused = overloaded && waited > 20 << priority;
            prop_assert_eq!(guard.admit(&headers, at(now)) != Admission::Pass, refused);
        }
    }
}
