//! Windows in a topology.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcpbus_actors::channel::Capacity;
use mcpbus_actors::stage::window::{self, Windowed};
use mcpbus_actors::topology::Topology;
use mcpbus_actors::{Envelope, Key, Reason};

use crate::{PLACEMENTS, assert_at_rest};

/// Message `n` of key `n % 7` happens at `n`; every hundredth comes 50 late.
fn envelope(number: u64) -> Envelope<u64> {
    let mut envelope = Envelope::new(number);
    let late = if number % 100 == 99 { 50 } else { 0 };
    envelope
        .header
        .set_event_time(Some(number.cast_signed() - late));
    envelope.header.set_key(Some(Key(number % 7)));
    envelope
}

#[test]
fn windows_account_for_every_message_and_come_in_order() {
    let count = 10_000;
    let mut first = None;
    for placement in PLACEMENTS {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        let mut t = Topology::new("windows");
        t.placement(placement);
        t.default_capacity(Capacity::messages(16));
        let source = t.produce_blocking("source", move |emitter| {
            for number in 0..count {
                emitter.send_envelope(envelope(number)).unwrap();
            }
        });
        let sums = t.aggregate_with("sums", source, || {
            let ten = Duration::from_nanos(10);
            window::tumbling(ten, 0u64, |count: &mut u64, _: &u64| *count += 1)
        });
        // Of each window of ten, those of all keys: their event time puts them into the same window.
        let windows = t.aggregate_with("again", sums, || {
            let all = |count: &mut u64, one: &Windowed<u64>| *count += one.value;
            window::session(Duration::from_nanos(1), 0u64, all, |count, more| {
                *count += more
            })
        });
        t.consume("store", windows, move |window: &Windowed<u64>| {
            keep.lock().unwrap().push(window.clone());
        });
        let report = t.run_blocking().unwrap();
        assert_at_rest(&report);
        let edge = report.ledger.edge("source->sums").unwrap();
        assert_eq!(edge.dead.get(Reason::Rejected), count / 100);
        assert_eq!(edge.delivered, count - count / 100);
        let seen = seen.lock().unwrap().clone();
        assert!(seen.is_sorted_by_key(|window| (window.end, window.key)));
        assert_eq!(
            seen.iter().map(|window| window.value).sum::<u64>(),
            edge.delivered
        );
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen);
    }
}

#[test]
fn what_a_refused_message_completes_is_emitted_all_the_same() {
    for placement in PLACEMENTS {
        let mut t = Topology::new("refused");
        t.placement(placement);
        let rx = t.input::<u64>("rx");
        let windows = t.aggregate_with("windows", rx, || {
            let size = Duration::from_nanos(20);
            let count = |count: &mut u64, _: &u64| *count += 1;
            window::sliding(size, size / 2, 0u64, count).max_windows(2)
        });
        t.output("tx", windows);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        let sender = running.take_input::<u64>("rx").unwrap();
        let mut receiver = running.take_output::<Windowed<u64>>("tx").unwrap();
        // The second needs two windows of its own and completes one of two: there is room for one only.
        for (key, time) in [(1, 5), (2, 12)] {
            let mut envelope = Envelope::new(0);
            envelope.header.set_event_time(Some(time));
            envelope.header.set_key(Some(Key(key)));
            sender.blocking_send_envelope(envelope).unwrap();
        }
        assert_eq!(receiver.blocking_recv().unwrap().end, 10);
        drop(sender);
        assert_eq!(receiver.blocking_recv().unwrap().end, 20);
        assert_eq!(receiver.blocking_recv(), None);
        let report = running.wait_blocking().unwrap();
        assert_eq!(report.ledger.edge("rx").unwrap().dead.get(Reason::Quota), 1);
        assert_at_rest(&report);
    }
}
