//! How a run ends and pauses: drained, stopped, paused, resumed, run dry, stuck.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::stage::{Out, owned};
use mcpbus_actors::topology::{Placement, Topology};

use crate::{PLACEMENTS, assert_at_rest, collector};

#[test]
fn a_drain_ends_endless_producers_and_loses_nothing() {
    for placement in PLACEMENTS {
        let sum = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&sum);
        let (started, first) = mpsc::sync_channel(1);
        let mut t = Topology::new("drain");
        t.placement(placement);
        t.default_capacity(Capacity::messages(16));
        let endless = t.produce_iter("endless", 0..u64::MAX);
        let blocking = t.produce_blocking("blocking", |emitter| {
            let mut number = 0;
            while emitter.send(number).is_ok() {
                number += 1;
            }
        });
        let [left, right] = t.broadcast("copy", t.merge([endless, blocking]));
        let left = t.process(
            "left",
            left,
            owned(|n: u64, out: &mut Out<'_, u64>| out.emit(n)),
        );
        t.consume("count", [left, right], move |_: &u64| {
            let _ = started.try_send(());
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        first.recv().unwrap();
        let report = running.drain_blocking().unwrap();
        assert_at_rest(&report);
        let total = report.ledger.total();
        assert_eq!(total.delivered, total.accepted, "{report}");
        assert_eq!(
            report.ledger.stage("count").unwrap().consumed,
            sum.load(Ordering::SeqCst)
        );
    }
}

#[test]
fn a_stop_counts_what_was_in_flight_as_cancelled() {
    for placement in PLACEMENTS {
        let (entered, wait) = mpsc::sync_channel(0);
        let mut t = Topology::new("stop");
        t.placement(placement);
        t.default_capacity(Capacity::messages(8));
        let endless = t.produce_iter("endless", 0..u64::MAX);
        let passed = t.process("pass", endless, |n: &u64, out: &mut Out<'_, u64>| {
            out.emit(*n)
        });
        t.output("tx", passed);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let mut running = t.start().unwrap();
        let mut receiver = running.take_output::<u64>("tx").unwrap();
        std::thread::spawn(move || {
            for expected in 0..5 {
                assert_eq!(receiver.blocking_recv(), Some(expected));
            }
            entered.send(receiver).unwrap();
        });
        let receiver = wait.recv().unwrap();
        let report = running.stop_blocking().unwrap();
        drop(receiver);
        assert!(
            report.ledger.total().cancelled + report.ledger.total().held > 0,
            "{report}"
        );
        assert_eq!(running.ledger().residual(), 0, "{}", running.report());
        assert_eq!(running.ledger().total().held, 0, "{}", running.report());
    }
}

#[tokio::test]
async fn a_pause_holds_everything_and_a_resume_goes_on() {
    let mut t = Topology::new("pause");
    let rx = t.input::<u64>("rx");
    let tx = t.process("pass", rx, |n: &u64, out: &mut Out<'_, u64>| out.emit(*n));
    t.output("tx", tx);
    let mut running = t.start().unwrap();
    let (sender, mut receiver) = (
        running.take_input::<u64>("rx").unwrap(),
        running.take_output::<u64>("tx").unwrap(),
    );
    sender.send(1).await.unwrap();
    assert_eq!(receiver.recv().await, Some(1));
    running.pause();
    while running.report().stage("pass").unwrap().status != StageStatus::Paused {
        tokio::task::yield_now().await;
    }
    sender.send(2).await.unwrap();
    tokio::task::yield_now().await;
    assert!(receiver.try_recv().is_err());
    running.resume();
    assert_eq!(receiver.recv().await, Some(2));
    drop(sender);
    assert_at_rest(&running.wait().await.unwrap());
}

#[test]
fn a_loop_with_one_edge_that_drops_runs_dry_and_ends() {
    for placement in [Placement::OneThread, Placement::Threads] {
        let (seen, consumer) = collector();
        let mut t = Topology::new("loop");
        t.placement(placement);
        let source = t.produce_iter("source", 1..=5u64);
        let (feedback, again) = t.feedback::<u64>("again");
        let [done, more] = t.route("halve", t.merge([source, again]), |n: &u64| *n > 1);
        let halved = t.process("step", more, |n: &u64, out: &mut Out<'_, u64>| {
            out.emit(n / 2)
        });
        t.close_loop(feedback, halved.overflow(Overflow::DropOldest));
        t.consume("store", done, consumer);
        let report = t.run_blocking().unwrap();
        assert_eq!(*seen.lock().unwrap(), [1, 1, 1, 1, 1]);
        assert_at_rest(&report);
    }
}

#[test]
fn a_stage_that_does_not_come_back_is_reported_as_stuck() {
    let (open, gate) = mpsc::sync_channel::<()>(0);
    let gate = Arc::new(Mutex::new(gate));
    let mut t = Topology::new("stuck");
    t.placement(Placement::Threads)
        .stuck_after(Duration::from_millis(1));
    let source = t.produce_iter("source", 0..1u64);
    t.consume("slow", source, move |_: &u64| {
        let _ = gate.lock().unwrap().recv();
    });
    let mut running = t.start().unwrap();
    while !running.report().stage("slow").unwrap().stuck {
        std::thread::yield_now();
    }
    drop(open);
    assert_at_rest(&running.wait_blocking().unwrap());
}
