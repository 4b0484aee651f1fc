//! Ordered fan-in: several sorted inputs as one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::{by_event_time, sorted_by};
use mcpbus_actors::topology::{EdgeBound, Placement, Topology};
use mcpbus_actors::{Envelope, ManualClock, Reason, Time};
use proptest::prelude::*;

use crate::{PLACEMENTS, assert_at_rest, collector};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Against sorting everything at once. Some inputs have messages out of order.
    #[test]
    fn a_merge_gives_what_sorting_gives(
        mut inputs in prop::collection::vec(prop::collection::vec(0..1000u64, 0..200), 1..6),
        disorder in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        capacity in 1..10usize,
        placement in 0..3usize,
    ) {
        for input in &mut inputs {
            input.sort_unstable();
        }
        let mut misplaced = 0;
        if let Some((input, place)) = &disorder {
            let input = input.get_mut(&mut inputs);
            if !input.is_empty() {
                let place = place.index(input.len());
                // Larger than all before it, and smaller than what its input began with.
                let number = input[place] + 1;
                input.insert(place + 1, number);
                input.insert(place + 2, 0);
                input[place + 3..].iter_mut().for_each(|later| *later = (*later).max(number));
                misplaced = usize::from(number > 0);
            }
        }
        let mut model: Vec<u64> = inputs.concat();
        let (seen, consumer) = collector();
        let mut t = Topology::new("merge");
        t.placement(PLACEMENTS[placement]);
        t.default_capacity(Capacity::messages(capacity));
        let ports: Vec<_> = inputs
            .into_iter()
            .enumerate()
            .map(|(index, input)| t.produce_iter(&format!("source{index}"), input))
            .collect();
        let merged = t.merge_sorted("merged", ports, sorted_by(|n: &u64| *n));
        t.consume("store", merged, consumer);
        let report = t.run_blocking().unwrap();
        prop_assert_eq!(report.ledger.residual(), 0, "{}", report);
        prop_assert_eq!(report.ledger.total().held, 0, "{}", report);
        prop_assert_eq!(report.ledger.total().dead.get(Reason::Rejected), misplaced as u64);
        model.sort_unstable();
        if misplaced > 0 {
            model.remove(0);
        }
        let seen = seen.lock().unwrap();
        prop_assert_eq!(&*seen, &model);
    }
}

#[test]
fn an_idle_input_holds_the_others_back_within_their_bounds_until_it_ends() {
    for placement in PLACEMENTS {
        let mut t = Topology::new("idle");
        t.placement(placement);
        t.default_capacity(Capacity::messages(8));
        let silent = t.input::<u64>("silent");
        let busy = t.produce_iter("busy", 0..100_000u64);
        let (seen, consumer) = collector();
        let merged = t.merge_sorted("merged", [busy, silent], sorted_by(|n: &u64| *n));
        t.consume("store", merged, consumer);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        let sender = running.take_input::<u64>("silent").unwrap();
        // What goes round once more shows that nothing else passes before it.
        sender.blocking_send(3).unwrap();
        while seen.lock().unwrap().len() < 5 {
            std::thread::yield_now();
        }
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 3]);
        let ledger = running.ledger();
        let edge = ledger.edge("busy->merged").unwrap();
        // What lies in the edge, and what the merge took of it.
        assert!(edge.held <= 16, "{}", edge.held);
        drop(sender);
        let report = running.wait_blocking().unwrap();
        assert_at_rest(&report);
        assert_eq!(seen.lock().unwrap().len(), 100_001);
    }
}

#[test]
fn with_patience_an_idle_input_is_passed_over() {
    for placement in PLACEMENTS {
        let mut t = Topology::new("patience");
        t.placement(placement);
        let silent = t.input::<u64>("silent");
        let busy = t.produce_iter("busy", 0..100u64);
        let merge = sorted_by(|n: &u64| *n).patience(Duration::from_millis(5));
        let merged = t.merge_sorted("merged", [busy, silent], merge);
        t.output("out", merged);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        let sender = running.take_input::<u64>("silent").unwrap();
        let mut receiver = running.take_output::<u64>("out").unwrap();
        for number in 0..100 {
            assert_eq!(receiver.blocking_recv(), Some(number));
        }
        sender.blocking_send(50).unwrap();
        sender.blocking_send(99).unwrap();
        assert_eq!(receiver.blocking_recv(), Some(99));
        drop(sender);
        assert_eq!(receiver.blocking_recv(), None);
        let report = running.wait_blocking().unwrap();
        let edge = report.ledger.edge("silent").unwrap();
        assert_eq!((edge.delivered, edge.dead.get(Reason::Rejected)), (1, 1));
        assert_at_rest(&report);
    }
}

#[test]
fn a_key_that_panics_costs_one_message_and_the_order_stays() {
    for placement in PLACEMENTS {
        let mut t = Topology::new("panic");
        t.placement(placement);
        let left = t.produce_iter("left", (0..200u64).step_by(2));
        let right = t.produce_iter("right", (0..200u64).skip(1).step_by(2));
        let merge = sorted_by(|n: &u64| {
            assert!(n % 50 != 33, "{n} is bad");
            *n
        });
        let merged = t.merge_sorted("merged", [left, right], merge);
        let (seen, consumer) = collector();
        t.consume("store", merged, consumer);
        let report = t.run_blocking().unwrap();
        let expected: Vec<u64> = (0..200).filter(|n| n % 50 != 33).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(report.stage("merged").unwrap().panics, 4);
        assert_eq!(report.ledger.total().dead.get(Reason::Panic), 4);
        assert_at_rest(&report);
    }
}

#[test]
fn what_expires_while_it_waits_does_not_pass() {
    let clock = ManualClock::new();
    let mut t = Topology::new("expiry");
    t.placement(Placement::Threads);
    t.clock(clock.clone());
    let (left, right) = (t.input::<u64>("left"), t.input::<u64>("right"));
    let merged = t.merge_sorted("merged", [left, right], by_event_time());
    t.output("out", merged);
    let mut running = t.start().unwrap();
    let senders = ["left", "right"].map(|name| running.take_input::<u64>(name).unwrap());
    let mut receiver = running.take_output::<u64>("out").unwrap();
    let message = |body: u64, deadline: u64| {
        let mut envelope = Envelope::new(body);
        envelope.header.set_event_time(Some(body.cast_signed()));
        envelope
            .header
            .set_deadline(Some(Time::from_nanos(deadline)));
        envelope
    };
    for (body, deadline) in [(2, 10), (4, 100)] {
        senders[0]
            .blocking_send_envelope(message(body, deadline))
            .unwrap();
    }
    senders[1].blocking_send_envelope(message(1, 100)).unwrap();
    assert_eq!(receiver.blocking_recv(), Some(1));
    clock.set(Time::from_nanos(20));
    senders[1].blocking_send_envelope(message(5, 100)).unwrap();
    assert_eq!(receiver.blocking_recv(), Some(4));
    drop(senders);
    assert_eq!(receiver.blocking_recv(), Some(5));
    let report = running.wait_blocking().unwrap();
    assert_eq!(report.ledger.edge("left").unwrap().expired, 1);
    assert_at_rest(&report);
}

#[test]
fn a_merge_counts_what_it_holds_of_each_input_in_its_bound() {
    let bound = |inputs: usize| {
        let mut t = Topology::new("bound");
        let ports: Vec<_> = (0..inputs)
            .map(|index| t.produce_iter(&format!("source{index}"), 0..3u64))
            .collect();
        let merged = t.merge_sorted("merged", ports, sorted_by(|n: &u64| *n));
        t.consume("store", merged, |_: &u64| ());
        t.plan().memory_bound()
    };
    // With each further input comes what lies in its edge, in its source's outputs, and in the merge's hands.
    let (queue, turn) = {
        let bound = EdgeBound::of::<u64>(Capacity::default());
        (bound.queue, bound.turn)
    };
    assert_eq!(bound(5) - bound(4), queue + 2 * turn);
}
