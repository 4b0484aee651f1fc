//! What becomes of a message: tried again, dead, expired, shed or refused.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mcpbus_actors::channel::{Capacity, Overflow};
use mcpbus_actors::runtime::StageStatus;
use mcpbus_actors::stage::{Context, Out, Producer, Progress};
use mcpbus_actors::topology::{Placement, Topology};
use mcpbus_actors::{Envelope, ManualClock, Outcome, Reason, ShedReason, Time};

use crate::{assert_at_rest, collector};

#[test]
fn a_message_is_tried_five_times_then_dead_and_its_outputs_are_taken_back() {
    let (seen, consumer) = collector();
    let tries = Arc::new(AtomicUsize::new(0));
    let mut t = Topology::new("retry");
    t.placement(Placement::OneThread);
    let source = t.produce_iter("source", 0..10u64);
    let count = Arc::clone(&tries);
    let out = t.process("flaky", source, move |n: &u64, out: &mut Out<'_, u64>| {
        out.emit(*n);
        match n {
            3 => {
                count.fetch_add(1, Ordering::SeqCst);
                Outcome::retry()
            }
            7 => Outcome::reject(Reason::Decode),
            // Succeeds at the third attempt.
            5 if count.fetch_add(100, Ordering::SeqCst) < 200 => Outcome::retry(),
            _ => Outcome::Done,
        }
    });
    t.consume("store", out, consumer);
    let mut running = t.start().unwrap();
    let report = running.wait_blocking().unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 4, 5, 6, 8, 9]);
    assert_eq!(tries.load(Ordering::SeqCst), 5 + 300);
    let edge = report.ledger.edge("source->flaky").unwrap();
    assert_eq!(
        (
            edge.dead.get(Reason::MaxDeliver),
            edge.dead.get(Reason::Decode),
            edge.delivered
        ),
        (1, 1, 8)
    );
    assert_at_rest(&report);
    let letters = running.dead_letters().take();
    let bodies: Vec<(u64, u8)> = letters
        .into_iter()
        .map(|letter| {
            (
                *letter.body.unwrap().downcast::<u64>().unwrap(),
                letter.header.attempt(),
            )
        })
        .collect();
    assert_eq!(bodies, [(3, 5), (7, 0)]);
}

#[test]
fn an_expired_message_never_reaches_a_handler() {
    struct Deadlines(u64);
    impl Producer<u64> for Deadlines {
        fn produce(&mut self, out: &mut Out<'_, u64>, cx: &mut Context<'_>) -> Progress {
            let mut envelope = Envelope::new(self.0);
            if self.0 % 2 == 1 {
                envelope.header.set_deadline(Some(cx.now()));
            } else {
                envelope
                    .header
                    .set_deadline(Some(cx.now() + Duration::from_secs(1)));
            }
            out.emit_envelope(envelope);
            self.0 += 1;
            if self.0 == 10 {
                Progress::Finished
            } else {
                Progress::More
            }
        }
    }
    let (seen, consumer) = collector();
    let clock = ManualClock::new();
    clock.set(Time::from_nanos(5));
    let mut t = Topology::new("deadlines");
    t.clock(clock).placement(Placement::OneThread);
    let source = t.produce("source", Deadlines(0));
    t.consume("store", source, consumer);
    let report = t.run_blocking().unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 2, 4, 6, 8]);
    assert_eq!(report.ledger.edge("source->store").unwrap().expired, 5);
    assert_at_rest(&report);
}

#[test]
fn full_edges_shed_or_refuse_by_their_policy_and_everything_is_counted() {
    for (overflow, lossy) in [
        (Overflow::DropNewest, true),
        (Overflow::DropOldest, true),
        (Overflow::Fail, false),
    ] {
        let (open, gate) = mpsc::sync_channel::<()>(0);
        let gate = Arc::new(Mutex::new(gate));
        let mut t = Topology::new("full");
        t.placement(Placement::Threads);
        let source = t
            .produce_iter("source", 0..5000u64)
            .capacity(Capacity::messages(4))
            .overflow(overflow);
        t.consume("slow", source, move |n: &u64| {
            if *n == 0 {
                let _ = gate.lock().unwrap().recv();
            }
        });
        let mut running = t.start().unwrap();
        while running.report().stage("source").unwrap().status != StageStatus::Finished {
            std::thread::yield_now();
        }
        drop(open);
        let report = running.wait_blocking().unwrap();
        assert_at_rest(&report);
        let counts = report.ledger.edge("source->slow").unwrap();
        assert_eq!(counts.accepted, 5000, "{report}");
        let lost = if lossy {
            counts.shed.get(ShedReason::Overflow)
        } else {
            counts.dead.get(Reason::Quota)
        };
        assert!(lost > 4000, "{report}");
        assert_eq!(counts.delivered + lost, 5000);
    }
}
