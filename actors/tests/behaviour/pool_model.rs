//! A worker pool gives what one worker gives.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{Context, Input, Out, Processor, sorted_by};
use mcpbus_actors::supervisor::RestartPolicy;
use mcpbus_actors::topology::{Placement, PoolOrder, Report, Topology, Workers};
use mcpbus_actors::{Key, Message, Outcome, Reason};
use proptest::prelude::*;

use crate::{PLACEMENTS, assert_at_rest};

/// A number whose key is its last digit.
#[derive(Clone, Debug, PartialEq, Message)]
struct Keyed {
    #[message(key)]
    key: u64,
    number: u64,
}

fn keyed(number: u64) -> Keyed {
    Keyed {
        key: number % 10,
        number,
    }
}

/// What becomes of a number.
fn expected(number: u64) -> Option<Vec<u64>> {
    match number % 23 {
        // Refused, and a panic.
        7 | 11 => None,
        3 => Some(Vec::new()),
        5 => Some(vec![number; 3]),
        _ => Some(vec![number]),
    }
}

/// Gives what is expected, at the second attempt where the number says so.
#[derive(Clone, Default)]
struct Work {
    tried: Option<u64>,
}

impl Processor<Keyed, Keyed> for Work {
    fn process(
        &mut self,
        input: Input<'_, Keyed>,
        out: &mut Out<'_, Keyed>,
        _: &mut Context<'_>,
    ) -> Outcome {
        let number = input.number;
        for number in expected(number).unwrap_or(vec![number]) {
            out.emit(keyed(number));
        }
        assert!(number % 23 != 11, "{number} is bad");
        if number % 23 == 7 {
            return Outcome::reject(Reason::Rejected);
        }
        if number % 19 == 2 && self.tried != Some(number) {
            self.tried = Some(number);
            return Outcome::retry();
        }
        Outcome::Done
    }
}

fn run(count: u64, workers: Workers, capacity: usize, placement: Placement) -> (Vec<u64>, Report) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let mut t = Topology::new("pool");
    t.placement(placement);
    t.default_capacity(Capacity::messages(capacity));
    t.restart_policy(RestartPolicy {
        max_restarts: u32::MAX,
        first_pause: Duration::ZERO,
        ..Default::default()
    });
    let source = t.produce_iter("source", (0..count).map(keyed));
    let out = t.pool("work", source, workers, Work::default());
    t.consume("store", out, move |keyed: &Keyed| {
        keep.lock().unwrap().push(keyed.number)
    });
    let report = t.run_blocking().unwrap();
    let seen = seen.lock().unwrap().clone();
    (seen, report)
}

fn by_key(numbers: &[u64]) -> BTreeMap<u64, Vec<u64>> {
    let mut keys = BTreeMap::<u64, Vec<u64>>::new();
    for number in numbers {
        keys.entry(number % 10).or_default().push(*number);
    }
    keys
}

fn workers() -> impl Strategy<Value = Workers> {
    let order = prop_oneof![
        Just(PoolOrder::Unordered),
        Just(PoolOrder::Ordered),
        Just(PoolOrder::ByKey)
    ];
    (1..6usize, order, 1..4usize, any::<bool>()).prop_map(|(count, order, queue, threads)| {
        let workers = Workers::new(count).order(order).queue(queue);
        if threads {
            workers
        } else {
            workers.without_threads()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Against one worker that takes one message after the other.
    #[test]
    fn a_pool_gives_what_one_worker_gives(
        workers in workers(),
        count in 0..400u64,
        capacity in 1..20usize,
        placement in 0..3usize,
    ) {
        let (seen, report) = run(count, workers, capacity, PLACEMENTS[placement]);
        prop_assert_eq!(report.ledger.residual(), 0, "{}", report);
        prop_assert_eq!(report.ledger.total().held, 0, "{}", report);
        let model: Vec<u64> = (0..count).filter_map(expected).flatten().collect();
        let of = |reason, number| (
            report.ledger.total().dead.get(reason),
            (0..count).filter(|n| n % 23 == number).count() as u64,
        );
        let (rejected, expected_rejected) = of(Reason::Rejected, 7);
        prop_assert_eq!(rejected, expected_rejected);
        let (panicked, expected_panicked) = of(Reason::Panic, 11);
        prop_assert_eq!(panicked, expected_panicked);
        match workers.order_of_outputs() {
            PoolOrder::Ordered => prop_assert_eq!(seen, model),
            PoolOrder::ByKey => prop_assert_eq!(by_key(&seen), by_key(&model)),
            PoolOrder::Unordered => {
                let (mut seen, mut model) = (seen, model);
                seen.sort_unstable();
                model.sort_unstable();
                prop_assert_eq!(seen, model);
            }
        }
    }
}

#[test]
fn a_key_always_has_the_same_worker() {
    let seen = Arc::new(Mutex::new(BTreeMap::<Option<Key>, Vec<usize>>::new()));
    let shared = Arc::clone(&seen);
    let mut t = Topology::new("sticky");
    let source = t.produce_iter("source", (0..300).map(keyed));
    let workers = Workers::new(4).order(PoolOrder::ByKey);
    let out = t.pool_with("work", source, workers, move |worker| {
        let seen = Arc::clone(&shared);
        move |keyed: &Keyed, out: &mut Out<'_, u64>| {
            seen.lock()
                .unwrap()
                .entry(keyed.key())
                .or_default()
                .push(worker);
            out.emit(keyed.number);
        }
    });
    t.consume("store", out, |_: &u64| ());
    assert_at_rest(&t.run_blocking().unwrap());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 10);
    assert!(
        seen.values()
            .all(|workers| workers.iter().all(|one| *one == workers[0]))
    );
    let used: std::collections::BTreeSet<usize> = seen.values().map(|workers| workers[0]).collect();
    assert!(used.len() > 1);
}

/// Pools and merges of endless inputs that are drained or stopped in the middle.
#[test]
fn a_drain_and_a_stop_account_for_everything_in_a_pool_and_a_merge() {
    let orders = [PoolOrder::Unordered, PoolOrder::Ordered, PoolOrder::ByKey];
    let cases = PLACEMENTS.into_iter().flat_map(|placement| {
        let orders = orders.into_iter();
        orders.flat_map(move |order| [true, false].map(|drain| (placement, order, drain)))
    });
    for (placement, order, drain) in cases {
        let (enough, reached) = mpsc::sync_channel(1);
        let mut t = Topology::new("ends");
        t.placement(placement);
        t.default_capacity(Capacity::messages(5));
        let sources = ["even", "odd"].map(|name| {
            let first = u64::from(name == "odd");
            t.produce_iter(name, (first..).step_by(2).map(keyed))
        });
        let merged = t.merge_sorted("merged", sources, sorted_by(|keyed: &Keyed| keyed.number));
        let workers = Workers::new(3).order(order);
        let work = |keyed: &Keyed, out: &mut Out<'_, u64>| out.emit(keyed.number);
        let out = t.pool("work", merged, workers, work);
        let (mut seen, mut last) = (0, None);
        t.consume("store", out, move |number: &u64| {
            let rises = last.replace(*number) < Some(*number);
            assert!(
                rises || order != PoolOrder::Ordered,
                "{number} is out of order"
            );
            seen += 1;
            if seen == 500 {
                let _ = enough.try_send(());
            }
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        reached.recv().unwrap();
        let report = if drain {
            running.drain_blocking().unwrap()
        } else {
            running.stop_blocking().unwrap()
        };
        assert_at_rest(&report);
        let total = report.ledger.total();
        assert_eq!(report.stage("store").unwrap().panics, 0);
        assert!(!drain || total.delivered == total.accepted, "{report}");
        assert_eq!(total.dead.total(), 0);
    }
}
