//! Worker pools: several workers for one stage.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::stage::Out;
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Placement, PoolOrder, Report, Topology, Workers};
use mcpbus_actors::{Envelope, ManualClock, Time};

use crate::{assert_at_rest, collector};

/// Only for tests that would otherwise hang when they fail.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Where workers wait for each other, so that a test sees how many work at once without any clock.
#[derive(Default)]
struct Meeting {
    state: Mutex<Met>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy)]
struct Met {
    started: u64,
    inside: usize,
    /// How often a group went on together.
    rounds: u64,
    gave_up: bool,
}

impl Meeting {
    /// Waits until `group` workers are inside. The last ones of `all` do not wait: each may lie in the queue of one who does.
    fn wait(&self, group: usize, all: u64) {
        let mut state = self.state.lock().unwrap();
        state.started += 1;
        state.inside += 1;
        if state.inside == group || all - state.started < group as u64 {
            state.inside = 0;
            state.rounds += 1;
            self.changed.notify_all();
            return;
        }
        let round = state.rounds;
        let waiting = |state: &mut Met| state.rounds == round && !state.gave_up;
        let (mut state, timeout) = self
            .changed
            .wait_timeout_while(state, GIVE_UP, waiting)
            .unwrap();
        state.gave_up |= timeout.timed_out();
    }
}

/// In how many rounds so many workers are done with `all` messages, where each waits for as many others as there are.
fn rounds(workers: usize, all: u64, order: PoolOrder) -> u64 {
    let meeting = Arc::new(Meeting::default());
    let inside = Arc::clone(&meeting);
    let mut t = Topology::new("rounds");
    let source = t.produce_iter("source", 0..all);
    let workers_of = Workers::new(workers).order(order);
    let done = t.pool(
        "wait",
        source,
        workers_of,
        move |n: &u64, out: &mut Out<'_, u64>| {
            inside.wait(workers, all);
            out.emit(*n);
        },
    );
    let (seen, consumer) = collector();
    t.consume("store", done, consumer);
    let report = t.run_blocking().unwrap();
    assert_at_rest(&report);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, (0..all).collect::<Vec<_>>());
    let state = *meeting.state.lock().unwrap();
    assert!(!state.gave_up, "fewer than {workers} worked at once");
    state.rounds
}

#[test]
fn as_many_workers_as_there_are_wait_at_once() {
    let one = rounds(1, 200, PoolOrder::Unordered);
    assert_eq!(one, 200);
    for workers in [2, 4, 8] {
        for order in [PoolOrder::Unordered, PoolOrder::Ordered] {
            let many = rounds(workers, 200, order);
            let most = one.div_ceil(workers as u64) + workers as u64;
            assert!(
                many <= most,
                "{workers} workers needed {many} rounds, more than {most}"
            );
        }
    }
}

#[test]
fn a_worker_that_is_stuck_keeps_no_more_than_its_own_queue() {
    let all = 500;
    for queue in [1, 3] {
        let done = Arc::new((Mutex::new(0u64), Condvar::new()));
        let shared = Arc::clone(&done);
        let mut t = Topology::new("stuck");
        t.restart_policy(RestartPolicy::never());
        let source = t.produce_iter("source", 0..all);
        let workers = Workers::new(2).queue(queue);
        let out = t.pool(
            "work",
            source,
            workers,
            move |n: &u64, out: &mut Out<'_, u64>| {
                let (count, changed) = &*shared;
                let mut count = count.lock().unwrap();
                if *n == 0 {
                    // Behind this one wait what it took along and what lies in its queue.
                    let others = all - 1 - 2 * queue as u64;
                    let waiting = |count: &mut u64| *count < others;
                    count = changed
                        .wait_timeout_while(count, GIVE_UP, waiting)
                        .unwrap()
                        .0;
                    assert!(
                        *count >= others,
                        "the other worker stood still after {count}"
                    );
                }
                *count += 1;
                changed.notify_all();
                out.emit(*n);
            },
        );
        let (seen, consumer) = collector();
        t.consume("store", out, consumer);
        let report = t.run_blocking().unwrap();
        assert_at_rest(&report);
        assert_eq!(seen.lock().unwrap().len() as u64, all);
        assert_eq!(report.stage("work.1").unwrap().panics, 0);
    }
}

#[test]
fn an_output_is_sent_before_the_next_message_is_handled() {
    let seen = Arc::new((Mutex::new(0u64), Condvar::new()));
    let (handled, stored) = (Arc::clone(&seen), Arc::clone(&seen));
    let mut t = Topology::new("prompt");
    t.restart_policy(RestartPolicy::never());
    let source = t.produce_iter("source", 0..50u64);
    let work = move |n: &u64, out: &mut Out<'_, u64>| {
        let (count, changed) = &*handled;
        let waiting = |count: &mut u64| *count < *n;
        let count = changed
            .wait_timeout_while(count.lock().unwrap(), GIVE_UP, waiting)
            .unwrap()
            .0;
        assert!(*count >= *n, "what was emitted before {n} has not arrived");
        out.emit(*n);
    };
    let out = t.pool("work", source, Workers::new(1), work);
    t.consume("store", out, move |_: &u64| {
        *stored.0.lock().unwrap() += 1;
        stored.1.notify_all();
    });
    let report = t.run_blocking().unwrap();
    assert_at_rest(&report);
    assert_eq!(report.stage("work.1").unwrap().panics, 0);
}

#[test]
fn an_ordered_pool_goes_ahead_within_its_bound() {
    let (queue, ahead) = (2, 10);
    let gate = Arc::new((Mutex::new((0usize, false)), Condvar::new()));
    let shared = Arc::clone(&gate);
    let mut t = Topology::new("ahead");
    let source = t.produce_iter("source", 0..10_000u64);
    let workers = Workers::new(3)
        .order(PoolOrder::Ordered)
        .queue(queue)
        .ahead(ahead);
    let out = t.pool(
        "work",
        source,
        workers,
        move |n: &u64, out: &mut Out<'_, u64>| {
            let (state, changed) = &*shared;
            let state = state.lock().unwrap();
            if *n == 0 {
                drop(changed.wait_while(state, |(_, open)| !*open).unwrap());
            } else {
                let mut state = state;
                state.0 += 1;
            }
            out.emit(*n);
        },
    );
    let (seen, consumer) = collector();
    t.consume("store", out, consumer);
    t.placement(Placement::Threads);
    let mut running = t.start().unwrap();
    // Until nothing moves any more.
    let stands = |report: &Report| {
        let waits = |stage: &str| report.stage(stage).unwrap().status == StageStatus::Waiting;
        ["source", "work.dispatch", "work.2", "work.3", "work"]
            .into_iter()
            .all(waits)
    };
    let mut count = 0;
    loop {
        let report = running.report();
        let now = gate.0.lock().unwrap().0;
        if stands(&report) && now == count && now >= 2 * ahead {
            break;
        }
        count = now;
        std::thread::yield_now();
    }
    // Each of the others: what lies in its edge, what was taken of it, and what it holds itself.
    assert!(count <= 2 * (2 * ahead + 2), "{count} messages were ahead");
    assert!(seen.lock().unwrap().is_empty());
    gate.0.lock().unwrap().1 = true;
    gate.1.notify_all();
    let report = running.wait_blocking().unwrap();
    assert_at_rest(&report);
    assert_eq!(*seen.lock().unwrap(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn an_ordered_pool_does_not_wait_for_what_expired() {
    let clock = ManualClock::new();
    let mut t = Topology::new("expired");
    t.placement(Placement::Threads);
    t.clock(clock.clone());
    let rx = t.input::<u64>("rx");
    let workers = Workers::new(2).order(PoolOrder::Ordered);
    let advance = clock.clone();
    let out = t.pool(
        "work",
        rx,
        workers,
        move |n: &u64, out: &mut Out<'_, u64>| {
            if *n == 1 {
                advance.set(Time::from_nanos(50));
            }
            out.emit(*n);
        },
    );
    t.output("tx", out);
    let mut running = t.start().unwrap();
    let sender = running.take_input::<u64>("rx").unwrap();
    let mut receiver = running.take_output::<u64>("tx").unwrap();
    for body in 0..20u64 {
        let mut envelope = Envelope::new(body);
        let deadline = if body % 3 == 2 { 40 } else { 1000 };
        envelope
            .header
            .set_deadline(Some(Time::from_nanos(deadline)));
        if body == 2 {
            assert_eq!(
                (receiver.blocking_recv(), receiver.blocking_recv()),
                (Some(0), Some(1))
            );
        }
        sender.blocking_send_envelope(envelope).unwrap();
    }
    for body in (3..20).filter(|body| body % 3 != 2) {
        assert_eq!(receiver.blocking_recv(), Some(body));
    }
    drop(sender);
    let report = running.wait_blocking().unwrap();
    assert_eq!(report.ledger.total().expired, 6);
    assert_at_rest(&report);
}

#[test]
fn a_plan_shows_the_workers_and_bounds_what_they_hold() {
    let mut t = Topology::new("plan");
    let source = t.produce_iter("source", 0..3u64);
    let out = t.pool(
        "work",
        source,
        Workers::new(3).queue(2),
        |n: &u64, out: &mut Out<'_, u64>| {
            out.emit(*n);
        },
    );
    t.consume("store", out, |_: &u64| ());
    let plan = t.plan();
    let names: Vec<&str> = plan
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "source",
            "work.dispatch",
            "work.1",
            "work.2",
            "work.3",
            "work",
            "store"
        ]
    );
    assert!(plan.stages[2..5].iter().all(|worker| worker.on_thread));
    let edge = plan
        .edges
        .iter()
        .find(|edge| edge.name == "work.dispatch->work.2")
        .unwrap();
    assert_eq!(edge.capacity.max_messages(), 2);
}
